#!/usr/bin/env python3
"""All fixtures through the built binary: over HTTP, through `claude-proxy convert`, and the captures through both.

usage: run.py [--http] [--convert] [--captures] [--verbose] [NAME-GLOB...]      the binary: $CLAUDE_PROXY_BIN
"""
from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "harness")]

import captures  # noqa: E402
import over_http  # noqa: E402
import through_convert  # noqa: E402

FIXTURES = HERE.parent / "fixtures"


def load(globs) -> list[dict]:
    files = [f for d in ("request", "response", "stream", "error") for f in sorted((FIXTURES / d).glob("*.json"))]
    cases = [json.loads(f.read_text()) for f in files]
    return [c for c in cases if not globs or any(fnmatch.fnmatch(c["name"], g) for g in globs)]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--http", action="store_true", help="only over HTTP")
    p.add_argument("--convert", action="store_true", help="only through convert")
    p.add_argument("--captures", action="store_true", help="only the captures of real servers")
    p.add_argument("--verbose", action="store_true", help="each check, not only the failures")
    p.add_argument("names", nargs="*", metavar="NAME-GLOB")
    a = p.parse_args()
    cases = load(a.names)
    chosen = {over_http: a.http, through_convert: a.convert, captures: a.captures}
    ways = [w for w, on in chosen.items() if on] or [w for w in chosen if w is not captures or not a.names]
    passed = failed = 0
    for way in ways:
        for name, wrong in way.run(cases):
            passed, failed = passed + (wrong is None), failed + (wrong is not None)
            if wrong is not None:
                print(f"FAIL  {name}: {wrong}")
            elif a.verbose:
                print(f"pass  {name}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
