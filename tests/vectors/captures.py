"""The captures of real servers, played by the scripted upstream: what they said must reach the client, all of it, in order."""
from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

from compare import events_of
from over_http import post
from proxy import KEY, Proxy, binary, provider
from replayed import CAPTURE, check
from through_convert import fold
from upstream import Answer, Upstream

CAPTURES = Path(__file__).resolve().parent.parent / "fixtures/captures"
PROFILES = {"llama-server": "llamacpp", "llama-server-ping": "llamacpp", "llama-server-smollm2": "llamacpp", "llama-server-think": "llamacpp",
            "llama-server-lifecycle": "llamacpp", "llama-server-vision-key": "llamacpp", "llama-cpp-python": "generic", "llama-cpp-python-functions": "generic"}
STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
ASK = {"model": "m", "max_tokens": 4000, "messages": [{"role": "user", "content": "q"}],
       "thinking": {"type": "enabled", "budget_tokens": 2000},
       "tools": [{"name": n, "input_schema": {"type": "object"}} for n in ("get_weather", "add", "list_files", "place")]}


def said(body: bytes, streamed: bool) -> dict:
    """The plainest reading of the upstream's answer."""
    out: dict = {"thinking": "", "text": "", "calls": {}, "stop": None, "usage": None}
    docs = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")] if streamed else [json.loads(body)]
    for doc in docs:
        out["usage"] = doc.get("usage") or out["usage"]
        for choice in doc.get("choices", []):
            m = choice.get("delta" if streamed else "message") or {}
            out["thinking"] += m.get("reasoning_content") or ""
            out["text"] += m.get("content") or ""
            for i, c in enumerate(m.get("tool_calls") or []):
                call = out["calls"].setdefault(c.get("index", i), {"name": None, "arguments": ""})
                call["name"] = call["name"] or c["function"].get("name")
                call["arguments"] += c["function"].get("arguments") or ""
            out["stop"] = choice.get("finish_reason") or out["stop"]
    return out


def unlike(message: dict, want: dict) -> str | None:
    blocks = message["content"]
    got = {"thinking": "".join(b["thinking"] for b in blocks if b["type"] == "thinking"),
           "text": "".join(b["text"] for b in blocks if b["type"] == "text"),
           "calls": [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]}
    calls = [(c["name"], json.loads(c["arguments"] or "{}")) for _, c in sorted(want["calls"].items())]
    for what, value in (("thinking", want["thinking"]), ("text", want["text"]), ("calls", calls)):
        if got[what] != value and got[what] != (value.strip() if what == "text" else value):
            return f"{what}: {got[what]!r} where the server said {value!r}"
    stop = "tool_use" if calls and want["stop"] != "length" else STOPS[want["stop"]]
    if message["stop_reason"] != stop:
        return f"stop_reason {message['stop_reason']} after finish_reason {want['stop']}"
    u, up = message["usage"], want["usage"]
    if up and (u["output_tokens"] != up["completion_tokens"] or
               u["input_tokens"] + u["cache_read_input_tokens"] + u["cache_creation_input_tokens"] != up["prompt_tokens"]):
        return f"usage {u} where the server said {up}"
    return None


def judged(status: int, raw: bytes, want: dict | None, upstream_status: int) -> str | None:
    """`want` None: an error is due."""
    if want is None:
        body = json.loads(raw)
        if status < 400 or body.get("type") != "error":
            return f"status {status} where an error is due: {raw[:200]!r}"
        expected = {200: 502, 503: 529}.get(upstream_status, upstream_status)
        if "image input is not supported" in body["error"]["message"]:
            expected = 400                              # the server says 500, and clients would try again
        return None if status == expected else f"status {status} where {expected} is expected: {raw[:200]!r}"
    if status != 200:
        return f"status {status}: {raw[:300]!r}"
    if raw.lstrip().startswith(b"{"):
        return unlike(json.loads(raw), want)
    message = fold(events_of(raw))
    return unlike(message, want) if message else f"the stream ended in an error: {raw[-300:]!r}"


def cut(raw: bytes, want: dict) -> str | None:
    """A server that died: what it said is there, and then an error. Never an end as if that were all."""
    events = events_of(raw)
    text = "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
    if text != want["text"]:
        return f"{text!r} where the server said {want['text']!r}"
    return None if events[-1]["type"] == "error" else f"the stream ended with {events[-1]['type']}"


def run(_cases=None):
    """Yields (name of the check, what is wrong or None)."""
    up = Upstream()
    with open(CAPTURES / "INDEX.tsv") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    config = {"ak": KEY, "providers": [provider(up.url, {"id": s, "remote_id": "m"}, profile=p) for s, p in PROFILES.items()]}
    with Proxy(config, *CAPTURE) as proxy:
        for row in rows:
            name, status, streamed = f"{row['server']}/{row['case']}", int(row["status"]), row["answer"] == "sse"
            if row["case"] == "raw_models":
                continue
            body = (CAPTURES / row["server"] / f"{row['case']}.{row['answer']}").read_bytes()
            want = said(body, streamed) if status == 200 and body else None
            if row["server"] == "llama-server-lifecycle" and streamed:
                up.play(Answer(status, {"content-type": row["content_type"]}, [body], end="cut"))
                yield f"http capture {name}", cut(post(proxy, {**ASK, "model": row["server"], "stream": True})[2], want)
                continue
            # a whole answer is asked for as a stream where the profile says so, and then arrives as one
            for ask_stream in ([True, False] if streamed else [False]):
                if streamed and not ask_stream and PROFILES[row["server"]] != "llamacpp":
                    continue
                up.play(Answer(status, {"content-type": row["content_type"]}, [body]))
                try:
                    got = post(proxy, {**ASK, "model": row["server"], "stream": ask_stream})
                    wrong = judged(got[0], got[2], want, status)
                except Exception as e:
                    wrong = f"{type(e).__name__}: {e}"
                yield f"http capture {name} {'streamed' if ask_stream else 'whole'}", wrong
            if want is None:
                continue
            p = subprocess.run([binary(), "convert", "--profile", PROFILES[row["server"]], "--request", "/dev/stdin",
                                str(CAPTURES / row["server"] / f"{row['case']}.{row['answer']}")],
                               input=json.dumps(ASK).encode(), capture_output=True, timeout=30)
            try:
                wrong = judged(200, p.stdout, want, 200) if p.returncode == 0 else f"exit code {p.returncode}: {p.stderr[:300]!r}"
            except Exception as e:
                wrong = f"{type(e).__name__}: {e}"
            yield f"convert capture {name}", wrong
        yield from check(proxy, "captures")
    up.stop()
