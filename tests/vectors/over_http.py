"""Every fixture through `claude-proxy serve`, with a scripted upstream on its other side."""
from __future__ import annotations

import base64
import http.client
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from compare import differs, error_differs, events_of, show, stream_differs  # noqa: E402
from proxy import KEY, Proxy, provider  # noqa: E402
from replayed import CAPTURE, check  # noqa: E402
from upstream import Answer, Upstream, either  # noqa: E402

PLAIN = {"model": "m", "max_tokens": 1024, "messages": [{"role": "user", "content": "q"}]}
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


def post(proxy: Proxy, body: dict) -> tuple[int, dict, bytes]:
    c = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    try:
        c.request("POST", "/v1/messages", json.dumps(body, ensure_ascii=False).encode(),
                  {"content-type": "application/json", "x-api-key": KEY, "anthropic-version": "2023-06-01"})
        r = c.getresponse()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
    finally:
        c.close()


def pieces(case) -> list[bytes]:
    """What the upstream sends, in the pieces the case was written with."""
    given = case["input"]
    if isinstance(given, dict):
        return [base64.b64decode(p[4:]) if p.startswith("b64:") else p.encode() for p in given["raw"]]
    return [f"data: {p}\n\n".encode() for p in given]


def recut(parts: list[bytes], size: int) -> list[bytes]:
    data = b"".join(parts)
    return [data[i:i + size] for i in range(0, len(data), size)]


def http_error(case, got) -> str | None:
    status, headers, raw = got
    try:
        body = json.loads(raw)
    except ValueError:
        return f"status {status} with a body that is no JSON: {raw[:200]!r}"
    return error_differs(case["expected"]["http_error"], status, headers, body)


def request(proxy, up, case):
    up.play(either("ok"))
    got = status, headers, raw = post(proxy, case["input"])
    if "http_error" in case["expected"]:
        yield "", http_error(case, got) or ("the upstream was called" if up.seen else None)
        return
    if status != 200:
        yield "", f"status {status}: {raw[:300]!r}"
        return
    yield "", differs(case["expected"], up.only.body)
    want, has = sorted(case.get("expected_warnings", [])), headers.get("x-claude-proxy-warnings", "")
    tokens = [t.strip() for t in has.split(",") if t.strip()]
    yield "warnings", None if sorted(tokens) == want else f"{has!r} where {want} are expected"


def response(proxy, up, case):
    up.play(Answer(headers=JSON, parts=[json.dumps(case["input"], ensure_ascii=False).encode()]))
    got = status, _, raw = post(proxy, {**case["request"], "stream": False})
    if "http_error" in case["expected"]:
        yield "", http_error(case, got)
    elif status != 200:
        yield "", f"status {status}: {raw[:300]!r}"
    else:
        yield "", differs(case["expected"], json.loads(raw))


def stream(proxy, up, case):
    own = pieces(case)
    cuts = {"": own, "in 7-byte pieces": recut(own, 7), "in one piece": [b"".join(own)]}
    if isinstance(case["input"], list):
        cuts["with CRLF"] = [p.replace(b"\n", b"\r\n") for p in own]
    for how, parts in cuts.items():
        up.play(Answer(headers=SSE, parts=parts))
        got = status, headers, raw = post(proxy, {**case["request"], "stream": True})
        if isinstance(case["expected"], dict):
            yield how, http_error(case, got)
        elif status != 200 or not headers.get("content-type", "").startswith("text/event-stream"):
            yield how, f"status {status}, {headers.get('content-type')}: {raw[:300]!r}"
        else:
            try:
                yield how, stream_differs(case["expected"], events_of(raw))
            except ValueError as e:
                yield how, f"not an event stream: {e}: {raw[:300]!r}"


def error(proxy, up, case):
    given = case["input"]
    text = given["body"] if isinstance(given["body"], str) else json.dumps(given["body"], ensure_ascii=False)
    kind = {} if "content-type" in given["headers"] else ({"content-type": "text/plain"} if isinstance(given["body"], str) else JSON)
    in_stream = given["headers"].get("content-type", "").startswith("text/event-stream")
    for how, streamed in (("", in_stream), ("whole" if in_stream else "streamed", not in_stream)):
        if in_stream and not streamed:
            continue                      # no server answers a whole request with a stream
        up.play(Answer(given["status"], {**given["headers"], **kind}, [text.encode()]))
        got = post(proxy, {**PLAIN, "stream": streamed})
        yield how, http_error({"expected": {"http_error": case["expected"]}}, got)


DIRECTIONS = {"request": request, "response": response, "stream": stream, "error": error}


def run(cases: list[dict]):
    """Yields (name of the check, what is wrong or None)."""
    up = Upstream()
    by_profile: dict = {}
    for case in cases:
        by_profile.setdefault(case["provider_profile"], []).append(case)
    for profile, group in by_profile.items():
        models = {(c["input"] if c["direction"] == "request" else c.get("request", PLAIN)).get("model", "m") for c in group}
        config = {"ak": KEY, "providers": [provider(up.url, *({"id": m} for m in sorted(models)), profile=profile)]}
        with Proxy(config, *CAPTURE) as proxy:
            for case in group:
                try:
                    for what, wrong in DIRECTIONS[case["direction"]](proxy, up, case):
                        yield f"http {case['name']}{' ' + what if what else ''}", wrong
                except Exception as e:
                    yield f"http {case['name']}", f"{type(e).__name__}: {show(str(e))}"
            yield from check(proxy, profile)
    up.stop()
