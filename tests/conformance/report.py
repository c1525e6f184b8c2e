"""The table at the end."""
from __future__ import annotations

import sdk

AREAS = ("stream", "request", "response", "error", "endpoint", "limits")


def verdict(r) -> str:
    if r["skipped"]:
        return "skip"
    bad = [c for c in r["checks"] if not c["ok"]]
    if any(c["severity"] == "must" for c in bad):
        return "FAIL"
    return "soft" if bad else "pass"


def report(results, args, target) -> dict:
    width = max((len(r["id"]) for r in results), default=4)
    for r in results:
        v = verdict(r)
        bad = [c for c in r["checks"] if not c["ok"]]
        good = len(r["checks"]) - len(bad)
        reason = r["skipped"] or ""
        if bad:
            first = next((c for c in bad if c["severity"] == "must"), bad[0])
            reason = f"[{first['severity']}] {first['check']}: {first['reason']}"
        if args.quiet and v == "pass":
            continue
        line = f"{v:4}  {r['id']:{width}}  {r['area']:8}  {good:3}/{len(r['checks']):<3} "
        print(line + (reason if args.verbose else reason[:150].replace("\n", " ")))
        if args.verbose:
            for c in bad:
                print(f"        step {c['step']} [{c['severity']}] {c['check']}: {c['reason']}")
    totals: dict = {}
    for r in results:
        t = totals.setdefault(r["area"], {"cases": 0, "clean": 0, "soft": 0, "failed": 0, "skipped": 0,
                                          "must": [0, 0], "should": [0, 0]})
        t["cases"] += 1
        t[{"pass": "clean", "soft": "soft", "FAIL": "failed", "skip": "skipped"}[verdict(r)]] += 1
        for c in r["checks"]:
            t[c["severity"]][0 if c["ok"] else 1] += 1
    print(f"\n{'area':10}{'cases':>6}{'clean':>7}{'soft':>6}{'failed':>8}{'skip':>6}   "
          f"{'must':>11}   {'should':>11}")
    total = {"cases": 0, "clean": 0, "soft": 0, "failed": 0, "skipped": 0, "must": [0, 0], "should": [0, 0]}
    for area in AREAS:
        if area in totals:
            t = totals[area]
            for k in total:
                total[k] = [a + b for a, b in zip(total[k], t[k])] if isinstance(t[k], list) else total[k] + t[k]
            row(area, t)
    row("all", total)
    names: dict = {}
    for r in results:
        for c in r["checks"]:
            if not c["ok"]:
                names.setdefault((c["severity"], c["check"]), []).append(r["id"])
    often = sorted((n for n in names.items() if len(n[1]) > 4), key=lambda n: -len(n[1]))[:8]
    if often:
        print("\nmost frequent: " + "; ".join(f"[{sev}] {name} {len(ids)}x" for (sev, name), ids in often))
    counted = ("must",) if args.fail_on == "must" else ("must", "should")
    passed, failed = (sum(total[severity][i] for severity in counted) for i in (0, 1))
    print(f"\ntarget {target}; SDK anthropic {sdk.VERSION if not args.no_sdk else 'not used'}; clean: every check holds, "
          f"soft: only `should` checks fail, failed: a `must` check fails; counted: {' and '.join(counted)}")
    print(f"{passed} passed, {failed} failed")
    return {"target": target, "totals": totals, "all": total, "passed": passed, "failed": failed}


def row(name, t) -> None:
    print(f"{name:10}{t['cases']:>6}{t['clean']:>7}{t['soft']:>6}{t['failed']:>8}{t['skipped']:>6}   "
          f"{t['must'][0]:>5}/{sum(t['must']):<5}   {t['should'][0]:>5}/{sum(t['should']):<5}")
