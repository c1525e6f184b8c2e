"""Every fixture through `claude-proxy convert`: the same expectations as over HTTP."""
from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

from compare import JOINED, differs, error_differs, events_of, joined, stream_differs
from over_http import pieces
from proxy import binary

TOKEN = re.compile(r"\b(?:dropped|degraded|dropped_block|dropped_tool):[\w./-]+|\b(?:synthesized_tool_result|orphan_tool_result)\b")


def convert(where: Path, name: str, data: bytes, *args: str) -> tuple[int, bytes, str]:
    (where / name).write_bytes(data)
    p = subprocess.run([binary(), "convert", *args, name], cwd=where, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    return p.returncode, p.stdout, p.stderr.decode("utf-8", "replace")


def as_json(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def refused(case, got) -> str | None:
    """An error instead of an answer: exit code 1, nothing on stdout but perhaps the error itself, its words on stderr."""
    code, out, err = got
    want = case["expected"]["http_error"]
    if code != 1:
        return f"exit code {code} where 1 is expected: {out[:200]!r} {err[:200]!r}"
    if out.strip():
        try:
            return error_differs(want, want["status"], {}, json.loads(out))
        except ValueError:
            return f"half an answer on stdout: {out[:200]!r}"
    message = want["body"]["error"]["message"]
    return None if message in err else f"stderr does not say {message!r}: {err[:300]!r}"


def answer(got, compare) -> str | None:
    code, out, err = got
    if code != 0:
        return f"exit code {code}: {err[:300]!r}"
    try:
        return compare(out)
    except ValueError as e:
        return f"{e}: {out[:300]!r}"


def request(where, case):
    got = convert(where, "request.json", as_json(case["input"]), "--profile", case["provider_profile"], "--report")
    if "http_error" in case["expected"]:
        yield "", refused(case, got)
        return
    yield "", answer(got, lambda out: differs(case["expected"], json.loads(out)))
    want, has = sorted(case.get("expected_warnings", [])), sorted(set(TOKEN.findall(got[2])))
    yield "report", None if has == want else f"{has} where {want} are expected: {got[2][:300]!r}"


def with_request(where, case) -> tuple:
    (where / "asked.json").write_bytes(as_json(case["request"]))
    return "--profile", case["provider_profile"], "--request", "asked.json"


def response(where, case):
    got = convert(where, "answer.json", as_json(case["input"]), *with_request(where, case))
    yield "", refused(case, got) if "http_error" in case["expected"] else \
        answer(got, lambda out: differs(case["expected"], json.loads(out)))


def fold(events: list) -> dict | None:
    """The message that a client assembles; None when the stream ends in an error."""
    message: dict = {}
    for e in joined(events):
        if e["type"] == "error":
            return None
        if e["type"] == "message_start":
            message = {**e["message"], "content": []}
        elif e["type"] == "content_block_start":
            message["content"].append(dict(e["content_block"]))
        elif e["type"] == "content_block_delta":
            block, d = message["content"][e["index"]], e["delta"]
            if d["type"] == "signature_delta":
                block["signature"] = d["signature"]
            elif d["type"] == "input_json_delta":
                block["input"] = d["partial_json"]
            else:
                block[JOINED[d["type"]]] = block.get(JOINED[d["type"]], "") + d[JOINED[d["type"]]]
        elif e["type"] == "message_delta":
            message.update(e["delta"], usage=e["usage"])
    for block in message["content"]:
        if isinstance(block.get("input"), str):
            try:
                block["input"] = json.loads(block["input"])
            except ValueError:
                return None               # cut by the token limit: a whole answer leaves the call out
    return message


def stream(where, case):
    data = b"".join(pieces(case))
    args = with_request(where, case)
    got = convert(where, "answer.sse", data, *args)
    if isinstance(case["expected"], dict):
        yield "", refused(case, got)
        return
    failed = case["expected"][-1]["type"] == "error"
    code, out, err = got
    try:
        yield "", stream_differs(case["expected"], events_of(out)) if code in ((0, 1) if failed else (0,)) else \
            f"exit code {code}: {err[:300]!r}"
    except ValueError as e:
        yield "", f"{e}: {out[:300]!r}"
    whole = fold(case["expected"])
    if whole is not None:
        got = convert(where, "answer.sse", data, *args, "--whole")
        yield "--whole", answer(got, lambda out: differs(whole, json.loads(out)))


def error(where, case):
    given = case["input"]
    data = given["body"].encode() if isinstance(given["body"], str) else as_json(given["body"])
    got = convert(where, "error.txt", data, "--from", "openai-error", "--status", str(given["status"]),
                  "--profile", case["provider_profile"])
    yield "", answer(got, lambda out: error_differs(case["expected"], case["expected"]["status"], {}, json.loads(out)))


DIRECTIONS = {"request": request, "response": response, "stream": stream, "error": error}


def run(cases: list[dict]):
    """Yields (name of the check, what is wrong or None)."""
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="claude-proxy-convert-") as where:
            try:
                for what, wrong in DIRECTIONS[case["direction"]](Path(where), case):
                    yield f"convert {case['name']}{' ' + what if what else ''}", wrong
            except Exception as e:
                yield f"convert {case['name']}", f"{type(e).__name__}: {e}"
