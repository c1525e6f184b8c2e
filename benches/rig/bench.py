#!/usr/bin/env python3
"""Measures /v1/messages proxies side by side, in interleaved rounds, and prints one table for each scenario.
../run builds everything and calls this.

  bench.py                                    everything that is there
  bench.py --targets floor-actix,claude-proxy --scenarios st-text-c4,ns-small-c16 --secs 3
  bench.py --goals goals.json                 exit code 1 where claude-proxy misses one
  bench.py --growth                           how cost grows, instead of the scenarios
  bench.py --check                            one request per target and shape, no timing; exit code 1 where one is not ok
  bench.py --report OUT/raw.jsonl             the tables and goals of an earlier run
  bench.py --extra more.json                  further targets (same fields as targets.py)

env: CLAUDE_PROXY_BIN  the release binary of claude-proxy
     BENCH_PEERS       where setup.sh put the peers (out/peers)
     CARGO_TARGET_DIR  where the rig was built (target)

In each round every scenario is run against every target, the order turned by one each time, all processes alive
throughout; ratios are taken inside a round and their median reported, so that a noisy neighbour hits both sides.
`foreign` is the share of the machine taken by others during the windows: above about 0.3 read the CPU columns and
ratios, not the wall-clock ones.
"""
import argparse
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time

import processes
import scenarios as scen
import tables
import targets as targ
from processes import Target, close_wait, foreign_share, mock_stats


def cancel_check(t):
    """Hangs up while the upstream is still thinking; does the proxy hang up on the upstream?"""
    out = []
    for stream in (1, 0):
        spec = "bench-t5-1000-24-w3000000"
        body = t.load(spec, ["--dump", "--stream", str(stream)], 10).encode()
        host = t.url.split("/")[2]
        s = socket.create_connection(("127.0.0.1", int(host.split(":")[1])), 2)
        s.sendall((f"POST {t.d.get('path', '/v1/messages')} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
                   f"x-api-key: sk-bench\r\nanthropic-version: 2023-06-01\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body)
        time.sleep(0.8)
        before = close_wait(targ.BASE - 1)
        s.close()
        time.sleep(1.2)
        out.append("yes" if close_wait(targ.BASE - 1) > before else "no")
        time.sleep(2.5)
    return out


def window(t, s, secs):
    """One measured window; returns the load generator's report plus what was derived."""
    args = list(s["args"])
    c = s.get("conc_" + t.kind)
    if c:
        args[args.index("--conc") + 1] = str(c)
    if s.get("fresh"):
        t.stop()
        t.start()
        t.load("bench-t20-0-24", ["--stream", "1", "--conc", "2", "--secs", "0.5", "--warmup", "0.3"], 60)
    length = s.get("secs", secs)
    r = t.load(s["spec"], args + ["--secs", str(length)], 200)
    few = s.get("least", 0)
    if r["requests"] < few and not r["errors"]:  # too few to count CPU by: one longer window
        length = min(10, length * 1.2 * few / max(0.3, r["requests"]))
        r = t.load(s["spec"], args + ["--secs", str(length)], 200)
    n = r["requests"] if s["unit"] == "req" else r["events"] / 1000
    r["cpu_us"] = r["cpu_ns"] / 1000 / n if n and not t.direct else None
    r["mock_us"] = r["mock_cpu_ns"] / 1000 / n if n else None
    if s.get("fresh"):
        conc = int(args[args.index("--conc") + 1])
        r["rss_stream_kb"] = max(0, r["rss_max_kb"] - r["rss_before_kb"]) / conc if not t.direct else None
        time.sleep(1.5)  # the clients are gone: has the proxy dropped its upstream streams?
        r["leaked"] = mock_stats(t.ctx)["streams_open"]
        end = time.time() + (0 if t.direct else 20)
        if r["leaked"]:
            t.stop()
            t.start()
        while mock_stats(t.ctx)["streams_open"] and time.time() < end:
            time.sleep(0.3)
    return r


def check(up):
    """One request of each shape to each target; 1 where an answer is wrong."""
    wrong = 0
    shapes = (("small", 0, "bench-t1-0-60"), ("small", 1, "bench-t2-0-24"), ("small", 1, "bench-f2-0-24"),
              ("claude", 1, "bench-t2-0-24"), ("huge", 0, "bench-t1-0-60"))
    for t in up:
        print(f"\n=== {t.name}")
        for body, stream, spec in shapes:
            if stream and not t.streams:
                continue
            for patience in ("2", "10"):  # the first request of all may take its time
                o = t.load(spec, ["--once", "--body", body, "--stream", str(stream), "--timeout", patience], 60)
                ok = ("message_stop" in o and o.count("~0000") == 2) if stream else '"stop_reason"' in o
                if ok:
                    break
            wrong += not ok
            print(f"--- {body} stream={stream} {spec}: {'ok' if ok else 'NOT OK: ' + o[:3000]}")
        c = cancel_check(t)
        print(f"--- client hangs up before the answer begins, upstream is dropped: stream {c[0]}, non-stream {c[1]}")
    return 1 if wrong or not up else 0


def choose(a, ctx):
    """The targets asked for that are there."""
    defs = list(targ.TARGETS)
    for path in a.extra:
        defs += json.loads(pathlib.Path(path).read_text())
    want = [x for x in a.targets.split(",") if x]
    if unknown := set(want) - {d["name"] for d in defs}:
        sys.exit(f"no target {' '.join(sorted(unknown))}; have: {' '.join(d['name'] for d in defs)}")
    ts = [Target(d, i, ctx) for i, d in enumerate(defs) if (d["name"] in want if want else d.get("default", True))]
    for t in ts:
        if t.missing():
            print(f"left out: {t.name} ({t.missing()} is not there)", file=sys.stderr)
    return [t for t in ts if not t.missing()]


def warm(t):
    for extra in (["--stream", "1"] if t.streams else [], ["--body", "claude"]):
        r = t.load("bench-t20-0-24", extra + ["--conc", "4", "--secs", "1.5", "--warmup", "0.5"], 90)
        if r["errors"]:
            print(f"{t.name}: {r['errors']} {r['sample'][:300]}", file=sys.stderr)


def measure(t, s, rnd, a):
    """One row: a window, or why there is none."""
    end = time.time() + a.quiet_wait
    while time.time() < end and foreign_share() > 0.25:
        time.sleep(0.3)
    row = dict(scenario=s["name"], target=t.name, round=rnd, at=time.time())
    try:
        sc = s if "--warmup" in s["args"] else dict(s, args=s["args"] + ["--warmup", str(a.warmup)])
        row.update(window(t, sc, a.secs))
    except (RuntimeError, subprocess.TimeoutExpired, OSError) as e:
        row["failed"] = str(e)
        t.stop()
        try:
            t.start()
        except RuntimeError as e2:
            print(e2, file=sys.stderr)
    print(f"{rnd} {s['name']:14} {t.name:14} " + (row.get("failed", "")[:120] or
          f"rps {row['rps']:9.1f} eps {row['eps']:9.0f} cpu_us {row['cpu_us'] or 0:9.1f} foreign {row['foreign']:.2f} "
          f"err {row['errors']} {row['sample'][:160] if row['errors'] else ''}"), file=sys.stderr)
    return row


def rounds(up, scs, a, raw):
    """All rows, each written as soon as it is there."""
    rows, beyond, began = [], set(), time.time()
    for rnd in range(a.rounds):
        for s in scs:
            if rnd >= s.get("rounds", 99):
                continue
            turn = rnd % len(up)
            for t in up[turn:] + up[:turn]:
                if t.kind in s.get("skip", []) or (t.name, s.get("dim")) in beyond or "--stream" in s["args"] and not t.streams:
                    continue
                if time.time() - began > a.max_minutes * 60:
                    print("time is up", file=sys.stderr)
                    return rows
                row = measure(t, s, rnd, a)
                # Growth ends where a target needs seconds for one request, or fails.
                if "dim" in s and ("failed" in row or row["errors"] or row["requests"] < s.get("least", 0) / 2):
                    beyond.add((t.name, s["dim"]))
                rows.append(row)
                raw.write(json.dumps(row) + "\n")
                raw.flush()
    return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--targets", default="")
    ap.add_argument("--scenarios", default="")
    ap.add_argument("--growth", action="store_true")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--secs", type=float, default=2.0)
    ap.add_argument("--warmup", type=float, default=0.4)
    ap.add_argument("--extra", action="append", default=[])
    ap.add_argument("--out", help="directory for raw.jsonl and what the targets write")
    ap.add_argument("--quiet-wait", type=float, default=0, help="before each window wait up to so many seconds for a machine less than a quarter busy")
    ap.add_argument("--max-minutes", type=float, default=90)
    ap.add_argument("--check", action="store_true")
    ap.add_argument("--goals", help="JSON: scenario -> {ratio, kb_stream, leaked}, each at most")
    ap.add_argument("--report", nargs="+")
    a = ap.parse_args()
    if a.report:
        rows = tables.read(a.report)
        print(tables.report(rows))
        return tables.goals(rows, a.goals, {r["scenario"] for r in rows}) if a.goals else 0
    every = scen.GROWTH if a.growth else scen.SCENARIOS
    asked = {x for x in a.scenarios.split(",") if x} or {s["name"] for s in every}
    if unknown := asked - {s["name"] for s in every}:
        sys.exit(f"no scenario {' '.join(sorted(unknown))}; have: {' '.join(s['name'] for s in every)}")
    scs = [s for s in every if s["name"] in asked]
    ctx = processes.Context(a.out)
    ts = choose(a, ctx)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` below stops what was started
    try:
        ctx.start_mock()
        up = []
        for t in ts:
            try:
                t.start()
                up.append(t)
            except RuntimeError as e:
                print(f"left out: {e}", file=sys.stderr)
                t.stop()
        if a.check:
            return check(up)
        lacking = {"claude-proxy", "floor-actix"} - {t.name for t in up}
        if a.goals and lacking:
            sys.exit(f"--goals needs {' and '.join(sorted(lacking))} among the targets, up and answering")
        for t in up:  # everyone warm before the first window
            warm(t)
        about = f"{processes.machine()}; {a.rounds} rounds"
        with open(ctx.out / "raw.jsonl", "w") as raw:
            raw.write(json.dumps({"about": about}) + "\n")
            rows = rounds(up, scs, a, raw)
        print(about + "\n" + tables.report(rows))
        print(f"\nraw: {ctx.out}/raw.jsonl", file=sys.stderr)
        return tables.goals(rows, a.goals, asked) if a.goals else 0
    except RuntimeError as e:
        sys.exit(str(e))
    finally:
        for t in ts:
            t.stop()
        ctx.stop_mock()


if __name__ == "__main__":
    sys.exit(main())
