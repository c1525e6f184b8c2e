#!/usr/bin/env python3
"""Real Claude Code sessions, headless, through the built binary, against a scripted upstream.

usage: run.py CLAUDE-EXECUTABLE [NAME...] [--long] [--show] [--jobs N]

  NAME      only these scenarios (or those whose names begin so)
  --long    also those that take minutes
  --show    what Claude Code printed and what reached the upstream
  --jobs N  how many at once (3)
  --list    the names

The binary: $CLAUDE_PROXY_BIN. The last line is `N passed, M failed`.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stage import SCENARIOS, Stage, binary  # noqa: E402
import auto_mode, compaction, content, errors, overflow, settings, streams, tools, web  # noqa: E401, E402, F401


def play(name: str, claude: str, show: bool) -> tuple[str, float, str]:
    """The scenario's name, its seconds, and what went wrong (nothing: empty)."""
    began = time.monotonic()
    problem = ""
    try:
        with Stage(claude, show) as stage:
            try:
                SCENARIOS[name][0](stage)
            except Exception as e:
                problem = f"{type(e).__name__}: {e}\n{traceback.format_exc(limit=-3)}"
                if stage.proxy is not None:
                    problem += f"--- the proxy's log ends\n{stage.proxy.text()[-800:]}"
    except Exception as e:
        problem = problem or f"{type(e).__name__}: {e}\n{traceback.format_exc(limit=-3)}"
    return name, time.monotonic() - began, problem


def main() -> int:
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("claude")
    p.add_argument("names", nargs="*")
    p.add_argument("--long", action="store_true")
    p.add_argument("--show", action="store_true")
    p.add_argument("--list", action="store_true")
    p.add_argument("--jobs", type=int, default=3)
    args = p.parse_intermixed_args()
    chosen = [n for n, (_, long) in SCENARIOS.items() if not long or args.long]
    if args.names:
        chosen = [n for n in SCENARIOS if any(n.startswith(given) for given in args.names)]
        if not chosen:
            p.error(f"no scenario is called {' or '.join(args.names)}")
    if args.list:
        print("\n".join(f"{n}  (long)" if long else n for n, (_, long) in SCENARIOS.items()))
        return 0
    claude = os.path.abspath(args.claude)
    binary()                               # ends here, not in a thread, if there is none
    version = subprocess.run([claude, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    print(version.stdout.strip(), flush=True)
    passed = failed = 0
    with ThreadPoolExecutor(max_workers=args.jobs) as pool:
        for done in as_completed([pool.submit(play, name, claude, args.show) for name in chosen]):
            name, took, problem = done.result()
            passed, failed = (passed, failed + 1) if problem else (passed + 1, failed)
            print(f"FAIL  {name} ({took:.1f} s): {problem}" if problem else f"pass  {name} ({took:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
