#!/usr/bin/env python3
"""Puts the results into docs/performance.md, between its markers, and draws docs/growth.svg. ../run calls this.

What is new in out/ replaces what ../results has; the document is made from ../results and ../instructions alone.
"""
import contextlib
import io
import json
import math
import shutil
import sys

import plot
import process
import scenarios as scen
import tables
from processes import HERE

ROOT = HERE.parent.parent
RESULTS = HERE.parent / "results"
DOC = ROOT / "docs" / "performance.md"
KEPT = ("scenario", "target", "round", "failed", "requests", "rps", "eps", "cpu_us", "mock_us", "rss_before_kb", "rss_stream_kb", "hwm_kb",
        "leaked", "errors", "foreign", "steal")
QUANTILES = {"lat": ("p50", "p99"), "ttft": ("p50",), "event": ("p50", "p99")}


def rounded(v):
    """Four digits are more than a measurement has."""
    if not isinstance(v, float) or v == 0:
        return v
    v = round(v, 3 - math.floor(math.log10(abs(v))))
    return int(v) if v == int(v) else v


def slim(row):
    if "about" in row:
        return row
    out = {k: rounded(row[k]) for k in KEPT if row.get(k) is not None}
    for h, qs in QUANTILES.items():
        if row.get(h):
            out[h] = {q: rounded(row[h][q]) for q in qs}
    return out


def fetch():
    """Takes what is new in out/."""
    RESULTS.mkdir(exist_ok=True)
    for name in ("scenarios", "growth"):
        raw = HERE / "out" / name / "raw.jsonl"
        if raw.exists():
            with open(raw) as f:
                lines = [json.dumps(slim(json.loads(line)), separators=(",", ":")) for line in f]
            (RESULTS / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for name in ("process.json", "microbenchmarks.txt"):
        if (HERE / "out" / name).exists():
            shutil.copy(HERE / "out" / name, RESULTS / name)


def about(name):
    return json.loads((RESULTS / f"{name}.jsonl").read_text().split("\n", 1)[0])["about"]


def ratios(rows):
    """CPU of everyone, as a multiple of floor-actix."""
    names = [n for n in dict.fromkeys(r["target"] for r in rows) if n not in ("direct", "floor-actix", "floor-tcp")]
    by = {(r["scenario"], r["target"], r["round"]): r for r in rows if "failed" not in r and not r["errors"]}
    lines = ["| scenario | floor-actix, CPU µs | " + " | ".join(names) + " |", "|---|" + "---|" * (len(names) + 1)]
    for s in scen.SCENARIOS:
        floor = {k: r["cpu_us"] for (sc, t, k), r in by.items() if sc == s["name"] and t == "floor-actix" and r.get("cpu_us")}
        if not floor:
            continue
        cells = []
        for n in names:
            found = [by[s["name"], n, k]["cpu_us"] / us for k, us in floor.items() if by.get((s["name"], n, k), {}).get("cpu_us")]
            cells.append(tables.fmt(tables.med(found)))
        unit = "a request" if s["unit"] == "req" else "1,000 events"
        lines.append(f"| `{s['name']}` | {tables.fmt(tables.med(list(floor.values())))} {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def scenarios():
    rows = tables.read([RESULTS / "scenarios.jsonl"])
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        tables.goals(rows, HERE / "goals.json", {r["scenario"] for r in rows})
    return (f"{about('scenarios')}.\n\n### CPU, as a multiple of floor-actix\n\n{ratios(rows)}\n\n### Goals\n{said.getvalue()}"
            f"\n### Everything\n{tables.report(rows)}")


def growth():
    rows = tables.read([RESULTS / "growth.jsonl"])
    (ROOT / "docs" / "growth.svg").write_text(plot.growth(rows))
    lines = [f"{about('growth')}.\n", "![How cost grows, one panel for each dimension](growth.svg)\n",
             "| | from | to | claude-proxy, at both ends | power | floor-actix | power |", "|---|---|---|---|---|---|---|"]
    for title, dim, x, value, unit in plot.PANELS:
        cells = []
        for name in ("claude-proxy", "floor-actix"):
            line = plot.points(rows, dim, value).get(name)
            if not line or len(line) < 3:
                cells += ["-", "-"]
                continue
            cells += [f"{tables.fmt(line[0][1])} to {tables.fmt(line[-1][1])}", f"{plot.exponent(line):.2f}"]
        ends = [s["x"] for s in scen.GROWTH if s["dim"] == dim]
        lines.append(f"| {title}: {unit} | {ends[0]:,} | {ends[-1]:,} {x} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def static():
    found = json.loads((RESULTS / "process.json").read_text())
    return f"{found['machine']}.\n\n{process.table(found['got'])}"


def instructions():
    found = json.loads((HERE.parent / "instructions" / "baseline.json").read_text())
    lines = [f"rustc {found['made_with']['rustc']}, {found['made_with']['cpu']}.\n", "| case | instructions |", "|---|---|"]
    return "\n".join(lines + [f"| `{case}` | {n:,} |" for case, n in found["instructions"].items()])


def microbenchmarks():
    return f"```text\n{(RESULTS / 'microbenchmarks.txt').read_text().strip()}\n```"


def main():
    fetch()
    text = DOC.read_text()
    parts = {"scenarios": scenarios, "growth": growth, "process": static, "instructions": instructions, "microbenchmarks": microbenchmarks}
    for name, make in parts.items():
        begin, end = f"<!-- {name}: made by benches/run doc -->\n", f"<!-- end of {name} -->"
        try:
            made = make()
        except FileNotFoundError as e:
            print(f"{name}: not measured yet ({e.filename})", file=sys.stderr)
            continue
        before, rest = text.split(begin, 1)
        text = before + begin + "\n" + made.strip() + "\n\n" + end + rest.split(end, 1)[1]
    DOC.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
