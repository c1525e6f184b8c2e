#!/usr/bin/env python3
"""Black-box conformance run of a Messages-to-Chat-Completions proxy.  See README.md."""
from __future__ import annotations

import argparse
import asyncio
import copy
import fnmatch
import json
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import cases  # noqa: E402
import config_keys  # noqa: E402
import rules  # noqa: E402
import sdk  # noqa: E402
import wire  # noqa: E402
from cases import checks_py  # noqa: E402
from judge import built_in, judge, label  # noqa: E402
from match import MISSING, Matcher, look, short  # noqa: E402
from mock import Mock  # noqa: E402
from observe import observe  # noqa: E402
from report import AREAS, report, verdict  # noqa: E402
from targets import INBOUND_KEY, TARGETS  # noqa: E402

# --------------------------------------------------------------------------
# requests
# --------------------------------------------------------------------------


def resolve(v, names, root):
    """Fills $model, $ref and $repeat in a request."""
    if isinstance(v, dict):
        if len(v) == 1:
            (k, arg), = v.items()
            if k == "$model":
                base, _, suffix = arg.partition("+")
                return names("model", base) + suffix
            if k == "$ref":
                got = look(root, arg)
                return None if got is MISSING else got
            if k == "$repeat":
                return arg["text"] * arg["times"]
        return {k: resolve(x, names, root) for k, x in v.items()}
    if isinstance(v, list):
        return [resolve(x, names, root) for x in v]
    return v


def mark(body, tag: str):
    """Puts the case marker at the end of the last user text."""
    body = copy.deepcopy(body)
    for m in reversed(body.get("messages") if isinstance(body.get("messages"), list) else []):
        if not isinstance(m, dict) or m.get("role") != "user":
            continue
        if isinstance(m.get("content"), str):
            m["content"] += f" {tag}"
            return body
        for b in reversed(m["content"] if isinstance(m.get("content"), list) else []):
            if isinstance(b, dict) and b.get("type") == "text" and isinstance(b.get("text"), str):
                b["text"] += f" {tag}"
                return body
    return body


class Env:
    def __init__(self, args, target, mock) -> None:
        self.args, self.target, self.mock = args, target, mock
        self.runs: dict = {}
        self.broken: dict = {}
        self.serial = 0

    def headers(self, run, req, body) -> list:
        out = [("Host", f"{run.host}:{run.port}")]
        if body is not None:
            out.append(("Content-Type", "application/json"))
        auth = req.get("auth")
        if auth == "x-api-key" and run.key:
            out.append(("x-api-key", run.key))
        elif auth == "bearer" and run.key:
            out.append(("Authorization", f"Bearer {run.key}"))
        out.append(("anthropic-version", "2023-06-01"))
        if not req.get("keep_alive"):
            out.append(("Connection", "close"))
        for k, v in req["headers"]:
            out = [h for h in out if h[0].lower() != k.lower()]
            if v is not None:
                out.append((k, v.replace("{{key}}", run.key or "")))
        return out

    def build(self, run, case, i, st, root, play):
        """(headers, body bytes, JSON body, name of the script)"""
        req = st["request"]
        self.serial += 1
        name = f"{case['id']}.{i}.{play}.{self.serial}"
        tag = f"[[case:{name}]]"
        js = None
        if "json" in req:
            js = resolve(req["json"], run.names, root)
            if isinstance(js, dict) and not req.get("no_mark"):
                js = mark(js, tag)
            data = json.dumps(js, ensure_ascii=False).encode("utf-8", "surrogatepass")
            data = data.replace(b"[[case]]", tag.encode())
        elif "raw" in req:
            data = re.sub(r"\{\{model:([^}]+)\}\}", lambda m: run.names("model", m[1]), req["raw"]).replace(
                "[[case]]", tag).encode("utf-8", "surrogatepass")
        else:
            data = None
        if req.get("gzip") and data is not None:
            import gzip
            data = gzip.compress(data)
        path = re.sub(r"\{model:([^}]+)\}", lambda m: run.names("model", m[1]), req["path"])
        path = re.sub(r"\{model_enc:([^}]+)\}",
                      lambda m: __import__("urllib.parse").parse.quote(run.names("model", m[1]), safe=""), path)
        return self.headers(run, req, data), data, js, name, run.prefix + path


# --------------------------------------------------------------------------
# one play: request in, everything observed out
# --------------------------------------------------------------------------


async def play(env: Env, run, case, i, st, root) -> dict:
    headers, data, js, name, path = env.build(run, case, i, st, root, "raw")
    req, cl = st["request"], st.get("client") or {}
    if st.get("upstream") is not None:
        env.mock.script(name, st["upstream"])
    else:
        env.mock.script(name, {"completion": {"choices": []}})
    n = cl.get("close_after_events")
    t_closed = None
    reply = await wire.fetch(
        run.host, run.port, req["method"], path, headers, data, timeout=st.get("timeout", 15.0),
        chunked=bool(req.get("chunked")), wait_continue=bool(req.get("expect_continue")),
        on_event=(lambda r: len(r.events) >= n) if n else None, close_after_s=cl.get("close_after_s"))
    records = env.mock.records.get(name, [])
    if cl:
        t_closed = reply.t_end
        for r in records:                        # wait for the proxy to let go of its upstream
            try:
                await asyncio.wait_for(r.over.wait(), cl.get("wait_s", 6.0))
            except asyncio.TimeoutError:
                pass
    ctx = observe(reply, records, t_closed)
    ctx["request"] = js if len(data or b"") < 400_000 else None
    ctx["_sent"] = data
    return ctx


# --------------------------------------------------------------------------
# checks
# --------------------------------------------------------------------------


async def run_case(env: Env, case) -> dict:
    result = {"id": case["id"], "area": case["area"], "group": case["group"], "source": case["source"],
              "title": case["title"], "checks": [], "skipped": None}
    run = env.runs.get(case["instance"])
    missing = [n for n in case["needs"] if not config_keys.known(env.target.name, n)]
    if case["instance"] not in env.target.instances:
        result["skipped"] = f"this target has no `{case['instance']}` instance"
        return result
    if missing:
        result["skipped"] = f"no config key known for {', '.join(missing)}"
        return result

    def note(step_no, name, severity, reason):
        result["checks"].append({"step": step_no, "check": name, "severity": severity, "ok": reason is None,
                                 "reason": reason})

    if run is None:
        note(0, "instance", "must", f"instance {case['instance']} did not start: {env.broken.get(case['instance'])}")
        return result
    t0 = time.monotonic()
    root: dict = {"steps": []}
    if case.get("custom"):
        for severity, name, reason in await getattr(checks_py, case["custom"])(env, run, case):
            note(0, name, severity, reason)
    for i, st in enumerate(case["steps"]):
        if not run.alive():
            note(i, "alive", "must", "the target process has ended")
            break
        ctx = await play(env, run, case, i, st, root)
        root["steps"].append(ctx)
        matcher = Matcher(root, run.names)
        for name, severity, reason in built_in(env, run, case, st, ctx):
            note(i, name, severity, reason)
        for c in st["checks"]:
            if "fn" in c:
                reason = await getattr(checks_py, c["fn"])(env, run, ctx, **c.get("args", {}))
            else:
                reason = judge(c, matcher, ctx)
            note(i, label(c), c["severity"], reason)
        js = st["request"].get("json")
        if (sdk.anthropic and not env.args.no_sdk and st.get("sdk", True) and not st.get("client") and isinstance(js, dict)
                and js.get("stream") is True and st["expect"] != "http" and st["request"].get("auth")
                and st["request"]["path"].startswith("/v1/messages")
                and isinstance(js.get("messages"), list) and "max_tokens" in js):
            note(i, "sdk-stream", "must", await sdk_play(env, run, case, i, st, root, ctx))
    if case["case_checks"]:
        matcher = Matcher(root, run.names)
        for c in case["case_checks"]:
            note("all", label(c), c["severity"], judge(c, matcher, root))
    if not run.alive():
        note("all", "alive", "must", "the target process has ended")
    if env.args.show:
        show(case, root["steps"])
    result["seconds"] = round(time.monotonic() - t0, 2)
    return result


def show(case, contexts) -> None:
    """What went over the wire, for --show."""
    for i, ctx in enumerate(contexts):
        print(f"--- {case['id']} step {i}\n>>> client: {short((ctx['_sent'] or b'').decode('utf-8', 'replace'), 1500)}")
        for u in ctx["upstreams"]:
            print(f">>> upstream saw {u['method']} {u['path']}: {short(u['body'], 1500)}")
        print(f"<<< {ctx['status']} {ctx['headers']}\n{ctx['raw'][:4000]}\n<<< ended {ctx['ended']} after {ctx['elapsed']} s")


async def sdk_play(env: Env, run, case, i, st, root, ctx) -> str | None:
    headers, _, js, name, _ = env.build(run, case, i, st, root, "sdk")
    env.mock.script(name, st["upstream"] if st.get("upstream") is not None else {"completion": {"choices": []}})
    keep = [h for h in st["request"]["headers"] if h[0].lower().startswith("anthropic-")]
    try:
        final, exc, events = await asyncio.wait_for(sdk.stream(run, js, keep), st.get("timeout", 15.0) + 5)
    except asyncio.TimeoutError:
        return "the SDK did not come to an end"
    if exc is not None:
        text = f"SDK raised {type(exc).__name__}: {str(exc)[:160]}"
        if not isinstance(exc, sdk.anthropic.APIError) or isinstance(exc, sdk.anthropic.APIConnectionError):
            return text
        return None if st["expect"] != "message" else text
    if st["expect"] == "error":
        return f"SDK returned a message (stop_reason {final.get('stop_reason')}) where an error was due"
    return sdk.differs(rules.Stream(events).message(), final)


# --------------------------------------------------------------------------
# the run
# --------------------------------------------------------------------------


def select(args) -> list[dict]:
    out = []
    for c in cases.CASES:
        if args.area and c["area"] not in args.area:
            continue
        if args.skip_timing and c["group"] == "timing":
            continue
        if args.case and not any(fnmatch.fnmatch(c["id"], p) for p in args.case):
            continue
        out.append(c)
    return out


async def amain(args) -> int:
    chosen = select(args)
    if not chosen:
        print("no case selected\n0 passed, 0 failed")
        return 2
    target = TARGETS[args.target](args)
    mock = Mock()
    await mock.start(args.mock_port)
    env = Env(args, target, mock)
    wanted = [i for i in dict.fromkeys(c["instance"] for c in chosen
                                       if all(config_keys.known(target.name, n) for n in c["needs"]))
              if i in target.instances]
    traits = list(config_keys.TRAITS.get(target.name, {}))
    t0 = time.monotonic()
    results: dict = {}
    try:
        async def bring_up(instance):
            try:
                env.runs[instance] = await target.start(instance, mock.port, traits)
            except (RuntimeError, OSError) as e:
                env.broken[instance] = str(e)
                print(f"instance {instance} did not start: {e}", file=sys.stderr)
        await asyncio.gather(*[bring_up(i) for i in wanted])
        t1 = time.monotonic()
        lanes = {"normal": asyncio.Semaphore(args.jobs), "timing": asyncio.Semaphore(32)}

        async def one(c):
            async with lanes[c["group"]]:
                results[c["id"]] = await run_case(env, c)
        shared = [c for c in chosen if not c["exclusive"]]
        # the waiting ones first, they cost time but no work
        await asyncio.gather(*[one(c) for c in sorted(shared, key=lambda c: c["group"] != "timing")])
        for c in chosen:
            if c["exclusive"]:
                await one(c)
        print(f"{len(chosen)} cases on {target.name}: start {t1 - t0:.1f} s, run {time.monotonic() - t1:.1f} s\n")
    finally:
        for run in env.runs.values():
            await run.stop()
        if args.keep_logs:
            print(f"logs and configs are kept in {target.work}", file=sys.stderr)
        else:
            target.cleanup()
        await mock.stop()
    ordered = [results[c["id"]] for c in chosen]
    summary = report(ordered, args, target.name)
    if args.json:
        Path(args.json).write_text(json.dumps({**summary, "cases": [{**r, "verdict": verdict(r)} for r in ordered]},
                                              indent=1, ensure_ascii=False, default=str))
    return 1 if args.fail_on != "never" and summary["failed"] else 0


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--target", choices=list(TARGETS), default="claude-proxy")
    p.add_argument("--list", action="store_true", help="print the cases that would run, and stop")
    p.add_argument("--area", action="append", choices=AREAS)
    p.add_argument("--case", action="append", metavar="GLOB", help="case ids, may be repeated")
    p.add_argument("--skip-timing", action="store_true", help="leave out the cases that wait for timeouts")
    p.add_argument("--jobs", type=int, default=6)
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--quiet", action="store_true", help="list only what is not clean")
    p.add_argument("--verbose", action="store_true", help="every failed check in full")
    p.add_argument("--show", action="store_true", help="print what went over the wire")
    p.add_argument("--no-sdk", action="store_true")
    p.add_argument("--keep-logs", action="store_true")
    p.add_argument("--fail-on", choices=("must", "any", "never"), default="must")
    p.add_argument("--mock-port", type=int, default=0)
    p.add_argument("--base-url", help="target base-url: where it listens")
    p.add_argument("--key", default=INBOUND_KEY, help="target base-url: its inbound key")
    p.add_argument("--model", default="claude-mock-1")
    p.add_argument("--remote", default=None)
    p.add_argument("--upstream-key", default=None)
    args = p.parse_args()
    if args.list:
        for c in select(args):
            print(f"{c['area']:8}  {c['id']:40}  {c['title']}  ({c['source']})")
        return
    if not args.target:
        p.error("--target is required")
    if args.target == "base-url" and not args.base_url:
        p.error("--target base-url needs --base-url and --mock-port")
    if sdk.anthropic is None and not args.no_sdk:
        sys.exit("the anthropic package is not installed (see README.md); --no-sdk goes without")
    sys.exit(asyncio.run(amain(args)))


if __name__ == "__main__":
    main()
