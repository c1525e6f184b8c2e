"""Compares answers with the expectations of tests/fixtures (rules: its README)."""
from __future__ import annotations

import json
import re

WILD = {
    "<<msg_id>>": re.compile(r"msg_[A-Za-z0-9]{20,}"),
    "<<tool_id>>": re.compile(r"toolu_[A-Za-z0-9]{20,}"),
    "<<signature>>": re.compile(r"cp1\..*", re.S),
    "<<request_id>>": re.compile(r"req_.*"),
}
JOINED = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
# of every answer, or of the connection: not part of what an error says
NEUTRAL = {"content-type", "content-length", "date", "request-id", "connection", "keep-alive", "transfer-encoding",
           "vary", "server", "cache-control", "x-claude-proxy-warnings", "x-claude-proxy-provider"}


def show(v) -> str:
    text = json.dumps(v, ensure_ascii=False)
    return text if len(text) <= 300 else text[:297] + "..."


def differs(want, got, at="") -> str | None:
    """The first difference, or None."""
    here = at or "the value"
    if isinstance(want, str) and want.startswith("<<"):
        if want == "<<int>>":
            good = isinstance(got, int) and not isinstance(got, bool) and got >= 0
        else:
            good = isinstance(got, str) and WILD[want].fullmatch(got) is not None
        return None if good else f"{here}: {show(got)} where {want} is expected"
    if type(want) is not type(got):
        return f"{here}: {show(got)} where {show(want)} is expected"
    if isinstance(want, dict):
        for k, v in want.items():
            if k not in got:
                if k == "request_id":
                    continue
                return f"{here}: no {k!r} (expected {show(v)})"
            if d := differs(v, got[k], f"{at}.{k}" if at else k):
                return d
        for k, v in got.items():
            if k not in want and v is not None and not (k == "request_id" and want.get("type") == "error"):
                return f"{here}: unexpected {k!r}: {show(v)}"
        return None
    if isinstance(want, list):
        for i, (w, g) in enumerate(zip(want, got)):
            if d := differs(w, g, f"{at}.{i}" if at else str(i)):
                return d
        if len(want) != len(got):
            more = got[len(want):] or want[len(got):]
            return f"{here}: {len(got)} items where {len(want)} are expected, from {show(more[0])} on"
        return None
    return None if want == got else f"{here}: {show(got)} where {show(want)} is expected"


def is_delta(event: dict) -> bool:
    delta = event.get("delta")
    return event.keys() == {"type", "index", "delta"} and event["type"] == "content_block_delta" and isinstance(delta, dict) \
        and type(event["index"]) is int and delta.get("type") in JOINED and delta.keys() == {"type", JOINED[delta["type"]]}


def joined(events: list) -> list:
    """Without pings, neighbouring deltas of one kind and block in one."""
    out: list = []
    for e in events:
        if e.get("type") == "ping":
            continue
        last = out[-1] if out else {}
        if is_delta(e) and is_delta(last) and last["index"] == e["index"] and last["delta"]["type"] == e["delta"]["type"]:
            key = JOINED[e["delta"]["type"]]
            out[-1] = {**e, "delta": {**e["delta"], key: last["delta"][key] + e["delta"][key]}}
        else:
            out.append(e)
    return out


def stream_differs(want: list, got: list) -> str | None:
    return differs(joined(want), joined(got), "event")


def error_differs(want: dict, status: int, headers: dict, body) -> str | None:
    if status != want["status"]:
        return f"status {status} where {want['status']} is expected: {show(body)}"
    if d := differs(want["body"], body, "body"):
        return d
    got = {k.lower(): v for k, v in headers.items() if k.lower() not in NEUTRAL}
    return differs({k.lower(): v for k, v in want.get("headers", {}).items()}, got, "headers")


def events_of(raw: bytes) -> list:
    """The events of an Anthropic stream; the event name must be the type."""
    out = []
    for block in raw.decode("utf-8").replace("\r\n", "\n").split("\n\n"):
        name, data = None, []
        for line in block.split("\n"):
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
        if data:
            e = json.loads("\n".join(data))
            if name != e.get("type"):
                raise ValueError(f"event name {name!r} with type {e.get('type')!r}")
            out.append(e)
    return out
