#!/usr/bin/env python3
"""llama.cpp's own server behind the proxy, the official SDK before it.

usage: run.py LLAMA-URL      (tests/upstreams/run_llama_server.sh start prints it)   the binary: $CLAUDE_PROXY_BIN
"""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

import anthropic  # noqa: E402
from proxy import KEY, Proxy, binary, provider  # noqa: E402

USER = [{"role": "user", "content": "Hello!"}]
WEATHER = {"name": "get_weather", "description": "Get the current weather", "input_schema": {
    "type": "object", "properties": {"location": {"type": "string", "description": "City name"}}, "required": ["location"]}}


def whole(client):
    m = client.messages.create(model="tiny", max_tokens=60, messages=USER)
    assert [b.type for b in m.content] == ["text"] and m.content[0].text == "Hello! I am a tiny test model.", m
    assert m.stop_reason == "end_turn" and m.usage.input_tokens > 0 and m.usage.output_tokens > 3, m


def streamed(client):
    with client.messages.stream(model="tiny", max_tokens=60, messages=USER) as s:
        parts = list(s.text_stream)
        m = s.get_final_message()
    assert "".join(parts) == m.content[0].text == "Hello! I am a tiny test model.", m
    assert len(parts) > 3, f"{len(parts)} deltas: the answer did not stream"
    assert m.stop_reason == "end_turn" and m.usage.output_tokens > 3, m


def cut_by_max_tokens(client):
    m = client.messages.create(model="tiny", max_tokens=3, messages=USER)
    assert m.stop_reason == "max_tokens" and m.usage.output_tokens == 3, m


def tool_loop(client):
    """A named tool_choice, which this server ignores unless the proxy turns it into something that it knows."""
    other = {"name": "get_time", "input_schema": {"type": "object"}}
    ask = {"model": "tiny", "max_tokens": 200, "tools": [other, WEATHER]}
    first = [{"role": "user", "content": "What is the weather in Paris?"}]
    with client.messages.stream(**ask, messages=first, tool_choice={"type": "tool", "name": "get_weather"}) as s:
        m = s.get_final_message()
    calls = [b for b in m.content if b.type == "tool_use"]
    assert m.stop_reason == "tool_use" and [c.name for c in calls] == ["get_weather"], m
    assert isinstance(calls[0].input.get("location"), str), calls
    answer = client.messages.create(**ask, messages=[
        *first, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny, 21 degrees"}]}])
    assert answer.stop_reason == "end_turn" and answer.content[-1].type == "text" and answer.content[-1].text, answer


def overflow(client):
    try:
        client.messages.create(model="tiny", max_tokens=60, messages=[{"role": "user", "content": "word " * 20000}])
    except anthropic.BadRequestError as e:
        assert e.body["error"]["message"].startswith("prompt is too long: "), e
        assert " tokens > 2048 maximum" in e.body["error"]["message"], e
    else:
        raise AssertionError("an overflow was answered")


def ping(_client):
    """What `ping-upstream` finds out about this server when it is told nothing, and that its advice is then enough."""
    def run(models: dict, *args: str, **provider_keys):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "config.json"
            path.write_text(json.dumps({"providers": [{
                "name": "llama", "base_url": sys.argv[1], "api_key": "", "models": [{"id": "tiny", **models}], **provider_keys}]}))
            return subprocess.run([binary(), "--config", path, "ping-upstream", *args], capture_output=True, text=True, timeout=300)

    done = run({}, "--json")
    assert done.returncode == 0 and done.stderr == "", done
    found = json.loads(done.stdout)["pings"][0]
    assert found["ok"] and found["fits"]["profile"] == "llamacpp", found
    assert found["suggest"] == {"provider": {"profile": "llamacpp"}, "model": {"vision": False, "context_window": 2048}}, found
    probes = {p["probe"]: p["result"] for p in found["probes"]}
    for probe in ("whole", "stream", "usage_in_stream", "tools", "tool_choice_required", "json_schema", "stop"):
        assert probes[probe] == "yes", (probe, found)
    # What the profile `llamacpp` makes up for.
    assert probes["tool_choice_named"] == "odd" and probes["image"] == "no", found
    done = run({"vision": False, "context_window": 2048}, "--suggest", profile="llamacpp")
    assert done.returncode == 0 and done.stdout == "" and "nothing to change" in done.stderr, done
    done = run({}, "--quick", "--count", "3", profile="llamacpp")
    assert done.returncode == 0 and "6 requests" in done.stdout, done


def main() -> int:
    passed = failed = 0
    config = {"ak": KEY, "providers": [{**provider(sys.argv[1], {"id": "tiny"}, profile="llamacpp"), "api_key": ""}]}
    with Proxy(config) as proxy, anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=60) as client:
        for check in (whole, streamed, cut_by_max_tokens, tool_loop, overflow, ping):
            try:
                check(client)
                passed += 1
                print(f"pass  {check.__name__}")
            except Exception as e:
                failed += 1
                print(f"FAIL  {check.__name__}: {type(e).__name__}: {e}")
                if not isinstance(e, (AssertionError, anthropic.APIError)):
                    traceback.print_exc()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
