"""The checks that hold for every case, and the verdict on a case's own."""
from __future__ import annotations

import rules
import sdk
from match import Matcher, look, short


def built_in(env, run, case, st, ctx) -> list[tuple]:
    """(name, severity, reason or None) of the checks that hold for every case."""
    out: list[tuple] = []

    def add(name, severity, reasons):
        out.append((name, severity, "; ".join(reasons) if reasons else None))

    expect = st["expect"]
    wants_stream = isinstance(st["request"].get("json"), dict) and st["request"]["json"].get("stream") is True
    if expect in ("message", "error", "any") and not st.get("client"):
        if ctx["status"] == 0:
            add("answer", "must", [f"no HTTP answer ({ctx['ended']})"])
            return out
        if ctx.get("streamed"):
            add("stream-grammar", "must", ctx["problems"])
            if expect == "message" and ctx["error"]:
                add("answer", "must", [f"error event: {short(ctx['error'])}"])
            if expect == "error" and not ctx["error"]:
                add("answer", "must", [f"a normal end ({ctx['stop_reason']}) where an error was due"])
            if not ctx["error"]:
                add("blocks-sequential", "should", ctx["overlaps"])
                add("no-empty-blocks", "should", ["an empty text or thinking block beside others"]
                    if len(ctx["blocks"]) < len(ctx["all_blocks"]) else [])
                if sdk.anthropic:
                    add("sdk-types", "should", sdk.type_problems(ctx["_events"]))
            if not wants_stream:
                add("content-type", "must", ["an SSE answer to a request without stream:true"])
            elif ctx["status"] != 200:
                add("content-type", "must", [f"SSE with status {ctx['status']}"])
        elif ctx["status"] == 200 and not ctx["error"]:
            if wants_stream:
                add("content-type", "must", [f"{ctx['content_type'] or 'no content-type'} answer to stream:true: "
                                             f"{short(ctx['raw'], 100)}"])
            elif expect == "error":
                add("answer", "must", [f"200 where an error was due: {short(ctx['raw'], 120)}"])
            else:
                probs = rules.message_problems(ctx["body"])
                if ctx["content_type"] != "application/json":
                    probs.append(f"content-type is {ctx['content_type']!r}")
                add("message-shape", "must", probs)
                if sdk.anthropic and not probs:
                    add("sdk-types", "should", sdk.message_type_problems(ctx["body"]))
        else:
            if expect == "message":
                add("answer", "must", [f"HTTP {ctx['status']}: {short(ctx['raw'], 200)}"])
            else:
                probs = rules.error_problems(ctx["body"])
                if ctx["status"] < 400:
                    probs.append(f"an error with status {ctx['status']}")
                if ctx["content_type"] != "application/json":
                    probs.append(f"content-type is {ctx['content_type']!r}")
                add("error-shape", "must", probs)
                if ctx["error"] and ctx["error"]["type"] in rules.ERROR_TYPES and \
                        not rules.status_fits(ctx["status"], ctx["error"]["type"]):
                    add("error-status", "should", [f"status {ctx['status']} with {ctx['error']['type']}"])
                else:
                    add("error-status", "should", [])
        if ctx["ended"] != "clean" and not ctx.get("streamed"):
            add("answer-complete", "must", [f"the response body ended: {ctx['ended']}"])
    if st.get("lint", True) and expect != "http":
        hard, soft = [], []
        for u in ctx["upstreams"]:
            a, b = rules.lint(u["body"])
            hard, soft = hard + a, soft + b
            for k, v in u["header_list"]:
                if run.key and run.key in v:
                    hard.append(f"the client's key went upstream in the header {k}")
        if ctx["upstreams"]:
            add("upstream-valid", "must", list(dict.fromkeys(hard)))
            add("upstream-strict", "should", list(dict.fromkeys(soft)))
    return out


def judge(check, matcher: Matcher, ctx) -> str | None:
    if "any" in check:
        reasons = []
        for alt in check["any"]:
            r = next((x for x in (matcher.why(c["is"], look(ctx, c["at"]), c["at"]) for c in alt) if x), None)
            if r is None:
                return None
            reasons.append(r)
        return " | ".join(reasons)
    return matcher.why(check["is"], look(ctx, check["at"]), check["at"])


def label(check) -> str:
    return check.get("why") or (check.get("at") if "at" in check else check.get("fn")) or "either"
