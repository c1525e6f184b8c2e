"""What one request is about, drawn from a seed: the upstream does it, and the client knows what has to come of it.

A plan travels inside the request, as the text of its one message, so that neither side has to ask the other.
"""
from __future__ import annotations

import json
import random

MARK = "PLAN "
WORDS = ("stream", "naïve", "Straße", "日本", "🙂", "quote\"d", "back\\slash", "tab\t", "line\n", "<think>", "data:", "[DONE]", "a", "of")
# What the upstream does wrong, each before the answer is whole.
CUTS = ("fin", "rst", "half-chunk", "stall", "no-head")
STATUSES = (429, 500, 503)


def draw(rng: random.Random, name: str) -> dict:
    """A plan for a request to /v1/messages."""
    kind = rng.choices(("text", "tools", "reasoning", "everything", "large"), (40, 20, 15, 15, 3))[0]
    plan = {
        "id": name,
        "seed": rng.getrandbits(31),
        "kind": kind,
        "stream": rng.random() < 0.8,
        "deltas": rng.randint(1, 60),
        "pause": rng.choice((0, 0, 0.002, 0.01, 0.03)),
        "framing": rng.choice(("chunked", "chunked", "close", "length")),
        "piece": rng.choice((7, 100, 1400, 16384)),
    }
    fate = rng.random()
    if fate < 0.15:
        plan["cut"] = rng.choices(CUTS, (4, 4, 4, 1, 3))[0]
        plan["at"] = rng.random()
    elif fate < 0.25:
        plan["status"] = rng.choice(STATUSES)
    # Of two upstreams, the first alone or both have the fault.
    plan["where"] = rng.choice(("a", "both"))
    return plan


def of(message: str) -> dict:
    return json.loads(message[len(MARK):])


def words(rng: random.Random, name: str, n: int) -> str:
    return f"[{name}] " + " ".join(rng.choice(WORDS) for _ in range(n)) + " end"


def answer(plan: dict) -> dict:
    """The answer in full: reasoning, text, calls (name, arguments)."""
    rng = random.Random(plan["seed"])
    name, kind, n = plan["id"], plan["kind"], plan["deltas"]
    out = {"reasoning": "", "text": "", "calls": []}
    if kind in ("reasoning", "everything"):
        out["reasoning"] = words(rng, name, n)
    if kind != "tools":
        out["text"] = words(rng, name, 60_000 if kind == "large" else n)
    if kind in ("tools", "everything"):
        for i in range(rng.randint(1, 3)):
            out["calls"].append((f"tool_{i}", {"who": name, "what": words(rng, name, n // 2), "n": [i, None, 1.5]}))
    return out


def parts(text: str, rng: random.Random, n: int) -> list[str]:
    """The text in at most n parts."""
    cuts = sorted({0, len(text), *(rng.randint(0, len(text)) for _ in range(n - 1))})
    return [text[a:b] for a, b in zip(cuts, cuts[1:])]


def deltas(plan: dict) -> list[dict]:
    """The same as the deltas of a stream."""
    said, rng, n = answer(plan), random.Random(plan["seed"] + 1), plan["deltas"]
    n = 200 if plan["kind"] == "large" else n
    out: list[dict] = [{"role": "assistant", "content": ""}]
    out += [{"reasoning_content": p} for p in parts(said["reasoning"], rng, n)]
    out += [{"content": p} for p in parts(said["text"], rng, n)]
    for i, (name, arguments) in enumerate(said["calls"]):
        text = json.dumps(arguments, ensure_ascii=rng.random() < 0.5)
        call = {"index": i, "id": f"call_{plan['id']}_{i}", "type": "function", "function": {"name": name, "arguments": ""}}
        out.append({"tool_calls": [call]})
        out += [{"tool_calls": [{"index": i, "function": {"arguments": p}}]} for p in parts(text, rng, n)]
    return out


def chunk(delta: dict, finish=None, **more) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "served",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def finish(plan: dict) -> str:
    return "tool_calls" if answer(plan)["calls"] else "stop"


def stream(plan: dict) -> tuple[list[bytes], list[bytes]]:
    """Events up to the end of the answer, and those that end it."""
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    end = [chunk({}, finish(plan)), chunk({}, usage=usage).replace(b'"choices": [{"index": 0, "delta": {}, "finish_reason": null}]', b'"choices": []'),
           b"data: [DONE]\n\n"]
    return [chunk(d) for d in deltas(plan)], end


def whole(plan: dict) -> bytes:
    said = answer(plan)
    message = {"role": "assistant", "content": said["text"] or None, "reasoning_content": said["reasoning"] or None}
    if said["calls"]:
        message["tool_calls"] = [{"id": f"call_{plan['id']}_{i}", "type": "function", "function": {"name": n, "arguments": json.dumps(a)}}
                                 for i, (n, a) in enumerate(said["calls"])]
    return json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "served",
                       "choices": [{"index": 0, "message": message, "finish_reason": finish(plan)}],
                       "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}}).encode()
