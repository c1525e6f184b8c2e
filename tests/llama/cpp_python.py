#!/usr/bin/env python3
"""llama-cpp-python's own server behind the proxy: another implementation, with habits of its own.

usage: cpp_python.py URL      (tests/upstreams/run_llama_cpp_python.sh start prints it)      the binary: $CLAUDE_PROXY_BIN
"""
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

import anthropic  # noqa: E402
from checks import run  # noqa: E402
from proxy import KEY, Proxy, provider  # noqa: E402

USER = [{"role": "user", "content": "Hello!"}]
TOOL = {"name": "get_time", "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}}
LONG = [{"role": "user", "content": "word " * 5000}]


def streamed(client, **ask):
    with client.messages.stream(model="tiny", **ask) as s:
        return s.get_final_message()


def text(client):
    whole = client.messages.create(model="tiny", max_tokens=60, messages=USER)
    assert whole.stop_reason == "end_turn" and whole.content[0].text and whole.usage.output_tokens > 1, whole
    # it sends no usage in streams: the numbers are estimates
    live = streamed(client, max_tokens=60, messages=USER)
    assert live.stop_reason == "end_turn" and live.content[0].text and live.usage.input_tokens > 0 < live.usage.output_tokens, live


def cut_by_max_tokens(client):
    m = client.messages.create(model="tiny", max_tokens=2, messages=USER)
    assert m.stop_reason == "max_tokens" and m.usage.output_tokens == 2, m


def named_tool_loop(client):
    """Each delta repeats id, type and name, with a second copy in `function_call`."""
    ask = {"max_tokens": 200, "tools": [TOOL]}
    for m in (streamed(client, messages=USER, tool_choice={"type": "tool", "name": "get_time"}, **ask),
              client.messages.create(model="tiny", messages=USER, tool_choice={"type": "tool", "name": "get_time"}, **ask)):
        assert m.stop_reason == "tool_use" and [b.type for b in m.content] == ["tool_use"], m
        assert m.content[0].name == "get_time" and list(m.content[0].input) == ["zone"], m
    answer = client.messages.create(model="tiny", **ask, messages=[
        *USER, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": m.content[0].id, "content": "noon"}]}])
    assert answer.content, answer


def json_schema_in_the_prompt(client):
    """It knows json_object alone, and answers 500 to json_schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    m = client.messages.create(model="tiny", max_tokens=200, messages=USER, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert isinstance(json.loads(m.content[-1].text), dict), m


def overflow(client):
    try:
        client.messages.create(model="tiny", max_tokens=60, messages=LONG)
    except anthropic.BadRequestError as e:
        assert e.body["error"]["message"].startswith("prompt is too long: ") and "> 2048 maximum" in e.message, e
    else:
        raise AssertionError("an overflow was answered")


def overflow_in_a_stream(client):
    """It answers 200 and not one byte: an error, and at once."""
    began = time.monotonic()
    try:
        streamed(client, max_tokens=60, messages=LONG)
    except anthropic.InternalServerError as e:
        assert "empty" in e.message and time.monotonic() - began < 30, e
    else:
        raise AssertionError("an overflow was answered")


def leaving_ends_the_generation(client):
    """The next request would have to wait for one that goes on for nobody."""
    with client.messages.stream(model="tiny", max_tokens=1500, messages=USER) as s:
        next(iter(s.text_stream))
    began = time.monotonic()
    assert client.messages.create(model="tiny", max_tokens=5, messages=USER).content
    assert time.monotonic() - began < 20


def main() -> int:
    config = {"ak": KEY, "providers": [{**provider(sys.argv[1], {"id": "tiny"}, profile="llama_cpp_python"), "api_key": ""}]}
    checks = [text, cut_by_max_tokens, named_tool_loop, json_schema_in_the_prompt, overflow, overflow_in_a_stream,
              leaving_ends_the_generation]
    with Proxy(config) as proxy, anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=120) as client:
        return run(checks, client, told=(AssertionError, anthropic.APIError))


if __name__ == "__main__":
    sys.exit(main())
