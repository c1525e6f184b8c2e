#!/usr/bin/env python3
"""Measures the process itself and prints what it found beside the goals; exit code 1 where one is missed. ../run builds
everything and calls this; env as for bench.py. Takes about two minutes, writes out/process.json.

MB is 1024 x 1024 bytes. Memory is what is the process's alone (RssAnon) where growth is meant, and all that is resident
(VmRSS) where it is compared with nothing.
"""
import argparse
import json
import os
import signal
import statistics
import sys
import time

import processes
import targets as targ
from processes import HERE, Target

GOALS = [
    # key, what, unit, at most
    ("idle_mb", "resident memory when idle, one worker", "MB", 8),
    ("start_ms", "start to listening", "ms", 50),
    ("size_mb", "size of the stripped program", "MB", 15),
    ("left_mb", "what a 2 MB request leaves behind after a second", "MB", 0.5),
    ("left3_mb", "what three of them leave behind, one after the other", "MB", 2),
    ("drift_mb", "growth of memory from 20,000 to 120,000 requests", "MB", 1),
    ("first_ms", "first delta at 200 streams, later than through floor-actix (median)", "ms", 0.3),
    ("delta_ms", "p99 of the delay of a delta at 200 streams, more than through floor-actix", "ms", 0.3),
]


def status_mb(pid, key):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith(key + ":"))


def start_ms(t):
    """Starts the target; milliseconds until its port takes a connection."""
    began = time.monotonic()
    t.start(step=0.0005)
    return (time.monotonic() - began) * 1000


def idle(t, times=9):
    """Start to listening, and memory two seconds later: medians."""
    starts, memory = [], []
    for _ in range(times):
        starts.append(start_ms(t))
        if len(memory) < 3:
            time.sleep(2)
            memory.append(status_mb(t.proc.pid, "VmRSS"))
        t.stop()
    return statistics.median(starts), statistics.median(memory)


def good(t, spec, args):
    r = t.load(spec, args, 120)
    if r["errors"]:
        raise RuntimeError(f"{t.name}: {r['errors']} {r['sample'][:300]}")
    return r


def left(t):
    """What 2 MB requests leave behind: memory a second after the first and after the third, beyond what it was before."""
    found = []
    for _ in range(3):
        t.start()
        for body in ("small", "claude"):
            good(t, "bench-t1-0-600", ["--body", body, "--conc", "2", "--secs", "0.5", "--warmup", "0.2"])
        time.sleep(1)
        before = status_mb(t.proc.pid, "RssAnon")
        after = []
        for _ in range(3):  # an allocator may learn from the first
            answer = t.load("bench-t1-0-600", ["--body", "huge", "--once", "--timeout", "1"], 30)
            if '"stop_reason"' not in answer:
                raise RuntimeError(f"{t.name}: {answer[:300]}")
            time.sleep(0.2)  # with the second for which `--once` waits
            after.append(status_mb(t.proc.pid, "RssAnon") - before)
        found.append((after[0], after[-1]))
        t.stop()
    return [max(which) for which in zip(*found)]


def drift(t):
    """Growth of memory over 100,000 requests, after 20,000; small ones, whole and streamed, and large ones."""
    t.start()
    memory = []
    for _ in range(6):
        for n, spec, args in ((10_000, "bench-t1-0-600", []), (8_000, "bench-t8-0-24", ["--stream", "1"]),
                              (2_000, "bench-t1-0-600", ["--body", "claude"])):
            good(t, spec, [*args, "--conc", "16", "--secs", "60", "--warmup", "0", "--max", str(n)])
        time.sleep(1)
        memory.append(status_mb(t.proc.pid, "RssAnon"))
    t.stop()
    print(f"after each 20,000 requests: {' '.join(f'{m:.1f}' for m in memory)} MB", file=sys.stderr)
    return memory[-1] - memory[0]


def delays(product, floor, rounds=5):
    """200 streams of a second each, 20 deltas a second: first delta and p99 of a delta, beyond the floor's."""
    first, delta = [], []
    product.start()
    floor.start()
    for n in range(rounds):
        found = {}
        for t in (product, floor) if n % 2 else (floor, product):
            found[t] = good(t, "bench-t20-50000-24", ["--stream", "1", "--conc", "200", "--ramp", "1", "--warmup", "1", "--secs", "4"])
        first.append(found[product]["ttft"]["p50"] - found[floor]["ttft"]["p50"])
        delta.append(found[product]["event"]["p99"] - found[floor]["event"]["p99"])
    return statistics.median(first) / 1000, statistics.median(delta) / 1000


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    ctx = processes.Context(HERE / "out" / "process")
    by_name = {d["name"]: Target(d, i, ctx) for i, d in enumerate(targ.TARGETS)}
    product, floor = by_name["claude-proxy"], by_name["floor-actix"]
    for t in (product, floor):
        if t.missing():
            sys.exit(f"{t.name}: {t.missing()} is not there")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        ctx.start_mock()
        got = {"size_mb": os.path.getsize(targ.PRODUCT) / 2**20}
        got["start_ms"], got["idle_mb"] = idle(product)
        got["left_mb"], got["left3_mb"] = left(product)
        got["drift_mb"] = drift(product)
        got["first_ms"], got["delta_ms"] = delays(product, floor)
    except RuntimeError as e:
        sys.exit(str(e))
    finally:
        product.stop()
        floor.stop()
        ctx.stop_mock()
    (HERE / "out" / "process.json").write_text(json.dumps({"machine": processes.machine(), "got": got}) + "\n")
    print(table(got))
    return 1 if missed(got) else 0


def missed(got):
    return [key for key, _, _, limit in GOALS if got[key] > limit]


def table(got):
    lines = ["| what | measured | goal, at most | |", "|---|---|---|---|"]
    for key, what, unit, limit in GOALS:
        lines.append(f"| {what} | {got[key]:.2f} {unit} | {limit} {unit} | {'SHORT' if got[key] > limit else 'ok'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
