#!/usr/bin/env python3
"""Inputs to begin with, out of the fixtures: seeds.py DIRECTORY makes DIRECTORY/TARGET/NAME.

What is in corpus/ came from these, fuzzing and -merge=1; this is for a corpus from scratch.
"""
import base64
import hashlib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/fixtures"
LARGEST = 12 << 10
profiles = list(json.loads((ROOT / "src/convert/profiles.json").read_text()))
out = pathlib.Path(sys.argv[1])


def put(target, head, body):
    data = bytes(n % 256 for n in head) + (body if isinstance(body, bytes) else body.encode())
    if len(data) <= LARGEST:
        path = out / target / hashlib.sha1(data).hexdigest()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def text(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def raw(chunk):
    return base64.b64decode(chunk[4:]) if chunk.startswith("b64:") else chunk.encode()


for n, path in enumerate(sorted(FIXTURES.glob("*/*.json"))):
    case = json.loads(path.read_text())
    which = profiles.index(case["provider_profile"]) if case.get("provider_profile") in profiles else 0
    given, kind = case["input"], case["direction"]
    if kind == "request":
        put("request", [which, 0], text(given))
        put("request", [which, 1 << n % 8], text(given))
        put("request", [n % len(profiles), 0], text(given))
    if "request" in case:
        put("request", [which, 0], text(case["request"]))
    if kind == "response":
        put("response", [which, n % 3, 0], text(given))
    if kind == "error":
        put("response", [which, n % 3, n], text(given["body"]))
    if kind == "stream":
        if isinstance(given, dict):
            body = b"".join(raw(chunk) for chunk in given["raw"])
        else:
            body = b"".join(b"data: " + text(payload).encode() + b"\n\n" for payload in given)
        put("stream", [which, 0, n], body)
        put("stream", [which, n % 3 + 16, n + 1], body)
        put("sse", [3, n], body)
for n, path in enumerate(sorted(FIXTURES.glob("captures/*/*"))):
    body = path.read_bytes()
    if path.suffix == ".sse":
        put("stream", [profiles.index("llamacpp"), n % 3, n], body)
        put("sse", [n % 4, n], body)
    elif ".req." not in path.name and path.suffix == ".json":
        put("response", [profiles.index("llamacpp"), n % 3, n], body)

for path in [ROOT / "config.example.json", *ROOT.glob("tests/**/*config*.json"), *ROOT.glob("tests/cmd/**/*.json")]:
    put("config", [], path.read_bytes())
for path in ROOT.glob("docs/*.md"):
    for block in re.findall(r"```json\n(.*?)```", path.read_text(), re.S):
        put("config", [], block)
everything = {}
for key, field in json.loads((ROOT / "config.schema.json").read_text())["properties"].items():
    everything[key] = field.get("default", "${FUZZ_KEY}" if "ak" == key else None)
put("config", [], json.dumps(everything))
for body in ('{"ak": "${FUZZ_KEY}", "default_model": "${FUZZ_KEY}", "providers": []}', '{"api_key": "sk-abcdefgh1234", "ak": tru'):
    put("config", [], body)
for limit in range(3):
    put("sse", [limit, 1], b"\xef\xbb\xbf: hi\r\n\r\nretry: 3\nid: 7\ndata: one\n\nevent: x\rdata:two\rdata: 3\r\rdata\n\ndata: [DONE]")
