"""Tables and goals from the rows of a run."""
import json
import math
import statistics
import sys

import scenarios as scen


def read(paths):
    """The rows of earlier runs."""
    rows = []
    for path in paths:
        with open(path) as f:
            rows += [json.loads(line) for line in f]
    return [r for r in rows if "about" not in r]


def med(xs):
    xs = [x for x in xs if x is not None]
    return statistics.median(xs) if xs else None


def fmt(x, digits=3):
    if x is None:
        return "-"
    if x == 0:
        return "0"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    d = max(0, digits - 1 - int(math.floor(math.log10(abs(x)))))
    return f"{x:.{min(d, 3)}f}"


def report(rows, floors=("nginx", "floor-hyper", "floor-actix")):
    """Tables, one for each scenario. rows: dicts with scenario, target, round and the window's numbers."""
    out = []
    by = {}
    for r in rows:
        by.setdefault((r["scenario"], r["target"]), []).append(r)
    names = list(dict.fromkeys(r["target"] for r in rows))
    defs = {s["name"]: s for s in scen.SCENARIOS + scen.GROWTH}
    floors = [f for f in floors if f in names]
    for sc in dict.fromkeys(r["scenario"] for r in rows):
        s = defs[sc]
        kev = s["unit"] == "kev"
        hold, stream = bool(s.get("fresh")), "--stream" in s["args"]
        head = ["target", "events/s" if kev else "req/s"]
        if stream:
            head += ["TTFT p50 ms", "event p50 us", "event p99 us", "added p50 us"]
        else:
            head += ["p50 us", "p99 us", "added p50 us"]
        head += ["CPU us/1k events" if kev else "CPU us/req"]
        head += [f"CPU / {f}" for f in floors] + [f"rate / {floors[0]}"] if floors else []
        head += ["peak RSS MB"] + (["idle MB", "KB/stream", "leaked"] if hold else []) + ["errors"]
        out.append(f"\n### {sc}: {s['text']}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for name in names:
            rs = by.get((sc, name))
            if not rs:
                continue
            bad = [r for r in rs if "failed" in r]
            rs = [r for r in rs if "failed" not in r]
            if not rs:
                out.append(f"| {name} | failed: {bad[0]['failed'][:100]} |" + " |" * (len(head) - 2))
                continue

            def paired(other, f):
                o = {r["round"]: r for r in by.get((sc, other), []) if "failed" not in r}
                return med([f(r, o[r["round"]]) for r in rs if r["round"] in o])

            def q(r, h, k):
                return r[h][k] if r.get(h) else None

            def sub(h, k):
                def f(r, o):
                    a, b = q(r, h, k), q(o, h, k)
                    return a - b if a is not None and b is not None else None
                return f

            def ratio(k):
                return lambda r, o: r[k] / o[k] if r.get(k) and o.get(k) else None
            rate = "eps" if kev else "rps"
            row = [name, fmt(med([r[rate] for r in rs]))]
            if stream:
                tt = med([q(r, "ttft", "p50") for r in rs])
                row += [fmt(tt / 1000) if tt else "-", fmt(med([q(r, "event", "p50") for r in rs])),
                        fmt(med([q(r, "event", "p99") for r in rs])), fmt(paired("direct", sub("event", "p50")))]
            else:
                row += [fmt(med([q(r, "lat", "p50") for r in rs])), fmt(med([q(r, "lat", "p99") for r in rs])),
                        fmt(paired("direct", sub("lat", "p50")))]
            row += [fmt(med([r["cpu_us"] for r in rs]))]
            row += [fmt(paired(f, ratio("cpu_us"))) for f in floors]
            if floors:
                row += [fmt(paired(floors[0], ratio(rate)))]
            row += [fmt(med([r["hwm_kb"] for r in rs]) / 1024) if name != "direct" else "-"]
            if hold:
                row += [fmt(med([r["rss_before_kb"] for r in rs]) / 1024) if name != "direct" else "-",
                        fmt(med([r.get("rss_stream_kb") for r in rs])), str(max(r.get("leaked", 0) for r in rs))]
            errs = {}
            for r in rs:
                for k, v in r["errors"].items():
                    errs[k] = errs.get(k, 0) + v
            row += [" ".join(f"{k}:{v}" for k, v in errs.items()) or "0"]
            out.append("| " + " | ".join(row) + " |")
        rs = [r for r in rows if r["scenario"] == sc and "failed" not in r]
        if rs:
            out.append(f"\nforeign load {fmt(med([r['foreign'] for r in rs]))}, steal {fmt(med([r['steal'] for r in rs]))} "
                       f"of the machine (median); mock {fmt(med([r['mock_us'] for r in rs if r['target'] != 'direct']))} "
                       f"CPU us/{'1k events' if kev else 'req'}; rounds {max(r['round'] for r in rs) + 1}")
    return "\n".join(out)


def goals(rows, want, asked, name="claude-proxy", floor="floor-actix"):
    """Prints the goals (a file of them) of the scenarios asked for beside what was measured; 1 where one is missed or was not measured."""
    with open(want) as f:
        want = json.load(f)
    unknown = set(want) - {s["name"] for s in scen.SCENARIOS}
    if unknown:
        sys.exit(f"goals for unknown scenarios: {' '.join(sorted(unknown))}")
    short = judged = 0
    print("\n| scenario | what | measured | goal | |\n|---|---|---|---|---|")
    for sc, g in want.items():
        if sc not in asked:
            continue
        mine = {r["round"]: r for r in rows if r["scenario"] == sc and r["target"] == name and "failed" not in r}
        base = {r["round"]: r for r in rows if r["scenario"] == sc and r["target"] == floor and "failed" not in r}
        failed = [r for r in rows if r["scenario"] == sc and r["target"] == name and ("failed" in r or r["errors"])]
        got = dict(ratio=med([r["cpu_us"] / base[k]["cpu_us"] for k, r in mine.items()
                              if r.get("cpu_us") and k in base and base[k].get("cpu_us")]),
                   kb_stream=med([r.get("rss_stream_kb") for r in mine.values()]),
                   leaked=max((r["leaked"] for r in mine.values() if "leaked" in r), default=None))
        for what, limit in g.items():
            ok = got[what] is not None and got[what] <= limit and not failed
            short += not ok
            judged += 1
            word = "ok" if ok else "errors" if failed else "not measured" if got[what] is None else "SHORT"
            print(f"| {sc} | {what} | {fmt(got[what])} | {limit} | {word} |")
    print(f"\n{judged - short} of {judged} goals hold")
    return 1 if short or not judged else 0


