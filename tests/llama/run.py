#!/usr/bin/env python3
"""llama.cpp's own server behind the proxy; the official SDK and Claude Code before it.

usage: run.py tiny=URL multi=URL think=URL small=URL [claude=EXECUTABLE]          the binary: $CLAUDE_PROXY_BIN
(tests/upstreams/run_llama_server.sh starts the servers; `think` has to have room for Claude Code's prompt, `small` is the same
model with one slot of 32,768 tokens)
"""
from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

import anthropic  # noqa: E402
from checks import run  # noqa: E402
from proxy import KEY, Proxy, binary, provider  # noqa: E402

ARGS = dict(a.split("=", 1) for a in sys.argv[1:])
USER = [{"role": "user", "content": "Hello!"}]
SAID = "Hello! I am a tiny test model."
THOUGHT = "Okay considering options carefully; ready"


def tool(name: str, argument: str) -> dict:
    return {"name": name, "input_schema": {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}}


TOOLS = [tool("get_time", "zone"), tool("get_weather", "location")]
PIXEL = base64.b64encode(bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00050001ff89993d1d0000000049454e44ae426082"
)).decode()


def both(client, **ask):
    """The same request whole and streamed: both answers, which have to have the same blocks."""
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as s:
        streamed = s.get_final_message()

    def plain(m):
        return [{k: v for k, v in b.model_dump(exclude_none=True).items() if k != "id"} for b in m.content]
    assert plain(whole) == plain(streamed) and whole.stop_reason == streamed.stop_reason, (whole, streamed)
    return whole, streamed


def text(client):
    for m in both(client, model="tiny", max_tokens=60, messages=USER):
        assert [b.type for b in m.content] == ["text"] and m.content[0].text == SAID, m
        used = m.usage.input_tokens + m.usage.cache_read_input_tokens
        assert m.stop_reason == "end_turn" and used > 5 and m.usage.output_tokens > 3, m


def it_streams(client):
    with client.messages.stream(model="tiny", max_tokens=60, messages=USER) as s:
        parts = list(s.text_stream)
    assert "".join(parts) == SAID and len(parts) > 3, parts


def cut_by_max_tokens(client):
    for m in both(client, model="tiny", max_tokens=3, messages=USER):
        assert m.stop_reason == "max_tokens" and m.usage.output_tokens == 3, m


def cut_in_a_tool_call(client):
    """The server's own Messages endpoint shows the raw `<tool_call>` here."""
    for m in both(client, model="tiny", max_tokens=8, messages=USER, tools=TOOLS, tool_choice={"type": "any"}):
        assert m.stop_reason == "max_tokens" and not [b for b in m.content if b.type == "text"], m


def forced_tool(client):
    for m in both(client, model="tiny", max_tokens=200, messages=USER, tools=TOOLS, tool_choice={"type": "any"}):
        calls = [b for b in m.content if b.type == "tool_use"]
        assert m.stop_reason == "tool_use" and len(calls) == 1 and calls[0].name in ("get_time", "get_weather"), m


def named_tool_loop(client):
    """A named tool_choice, which this server ignores unless the proxy turns it into something that it knows."""
    ask = {"model": "tiny", "max_tokens": 200, "tools": TOOLS}
    for name, argument in (("get_weather", "location"), ("get_time", "zone")):
        for m in both(client, **ask, messages=USER, tool_choice={"type": "tool", "name": name}):
            calls = [b for b in m.content if b.type == "tool_use"]
            assert m.stop_reason == "tool_use" and [c.name for c in calls] == [name], m
            assert list(calls[0].input) == [argument] and isinstance(calls[0].input[argument], str), calls
        answer = client.messages.create(**ask, messages=[
            *USER, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny, 21 degrees"}]}])
        assert answer.stop_reason == "end_turn" and answer.content[-1].type == "text" and answer.content[-1].text, answer


def parallel_tools(client):
    ask = {"model": "multi", "max_tokens": 300, "messages": USER, "tools": TOOLS}
    for m in both(client, **ask):
        calls = [b for b in m.content if b.type == "tool_use"]
        assert m.stop_reason == "tool_use" and len(calls) >= 1 and len({c.id for c in calls}) == len(calls), m
        assert all(isinstance(c.input, dict) and c.input for c in calls), m
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": f"result {n}"} for n, c in enumerate(calls)]
    answer = client.messages.create(**{**ask, "messages": [
        *USER, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
        {"role": "user", "content": results[::-1]}]})
    assert answer.stop_reason == "end_turn" and answer.content[-1].text, answer


def json_schema(client):
    """Forced by grammar; the server's own Messages endpoint ignores it."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    for m in both(client, model="tiny", max_tokens=200, messages=USER, output_config={"format": {"type": "json_schema", "schema": schema}}):
        assert list(json.loads(m.content[-1].text)) == ["n"], m


def image_is_refused(client):
    """Once, with the server's words: it calls it an error of its own, and clients would try again."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    try:
        client.messages.create(model="tiny", max_tokens=60, messages=[{"role": "user", "content": [image]}])
    except anthropic.BadRequestError as e:
        assert "image input is not supported" in e.message, e
    else:
        raise AssertionError("an image was taken")


def thinking(client):
    on = {"type": "enabled", "budget_tokens": 1024}
    for m in both(client, model="think", max_tokens=2000, messages=USER, thinking=on):
        assert [b.type for b in m.content] == ["thinking", "text"], m
        assert m.content[0].thinking == THOUGHT and m.content[0].signature and m.content[1].text == SAID, m
    again = client.messages.create(model="think", max_tokens=2000, thinking=on, messages=[
        *USER, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]}, *USER])
    assert again.content[-1].text == SAID, again
    hidden = client.messages.create(model="think", max_tokens=200, messages=USER)
    assert [b.type for b in hidden.content] == ["text"], hidden


def overflow(client):
    try:
        client.messages.create(model="tiny", max_tokens=60, messages=[{"role": "user", "content": "word " * 20000}])
    except anthropic.BadRequestError as e:
        assert e.body["error"]["message"].startswith("prompt is too long: "), e
        assert " tokens > 2048 maximum" in e.body["error"]["message"], e
    else:
        raise AssertionError("an overflow was answered")


def as_good_as_its_own_messages_endpoint(client):
    """The server speaks Anthropic's API itself. Where its answers differ from ours, ours are the better ones, but for one
    thing: it names the stop sequence that ended the text, which its Chat Completions do not tell."""
    asks = {
        "text": {"max_tokens": 60}, "cut": {"max_tokens": 3}, "stop": {"max_tokens": 60, "stop_sequences": ["tiny"]},
        "any": {"max_tokens": 200, "tools": TOOLS, "tool_choice": {"type": "any"}}, "auto": {"max_tokens": 200, "tools": TOOLS},
        "named": {"max_tokens": 200, "tools": TOOLS, "tool_choice": {"type": "tool", "name": "get_time"}},
        "system": {"max_tokens": 60, "system": "Be brief."},
    }

    def plain(m):
        return [(b.type, getattr(b, "text", None), getattr(b, "name", None), getattr(b, "input", None)) for b in m.content]
    with anthropic.Anthropic(base_url=ARGS["tiny"], api_key="none", max_retries=0, timeout=120) as own:
        for name, ask in asks.items():
            ask = {"model": "tiny", "messages": USER, **ask}
            ours, theirs = client.messages.create(**ask), own.messages.create(**ask)
            assert plain(ours) == plain(theirs), (name, ours, theirs)
            assert ours.stop_reason == theirs.stop_reason and ours.usage.output_tokens == theirs.usage.output_tokens, (name, ours, theirs)


def claude_code(client):
    """It answers nonsense, but all of the way: Claude Code with every tool it has (their schemas become one grammar), a
    tool call that the grammar makes valid, its result, the answer."""
    with tempfile.TemporaryDirectory(prefix="claude-code-") as home:
        env = {"PATH": os.environ["PATH"], "HOME": home, "IS_SANDBOX": "1", "ANTHROPIC_BASE_URL": str(client.base_url).rstrip("/"),
               "ANTHROPIC_AUTH_TOKEN": KEY, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
               **{f"ANTHROPIC_DEFAULT_{m}_MODEL": "think" for m in ("OPUS", "SONNET", "HAIKU")}}
        p = subprocess.run([os.path.abspath(ARGS["claude"]), "-p", "Hello!", "--model", "think", "--permission-mode", "bypassPermissions", "--output-format", "stream-json",
                            "--verbose"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, cwd=home, env=env)
    lines = [json.loads(line) for line in p.stdout.splitlines() if line.startswith("{")]
    result = next((e for e in lines if e.get("type") == "result"), {"is_error": None, "result": None})
    assert (p.returncode, result["is_error"], result["result"]) == (0, False, SAID), (p.returncode, p.stdout[-800:], p.stderr[-400:])
    blocks = [b for e in lines if isinstance(e.get("message"), dict) and isinstance(e["message"].get("content"), list)
              for b in e["message"]["content"]]
    kinds = [b["type"] for b in blocks]
    assert {"thinking", "tool_use", "tool_result", "text"} <= set(kinds) and result["usage"]["output_tokens"] > 3, kinds


def claude_code_compacts(_client):
    """A session in a context of 32,768 tokens, as `init` finds it: it compacts before the server has to refuse anything."""
    with tempfile.TemporaryDirectory(prefix="claude-code-") as home:
        home = Path(home)
        config, log = home / "config.json", home / "proxy.log"
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "IS_SANDBOX": "1", "CLAUDE_CODE_SIMPLE": "1",
               "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}

        def proxy(*args: str) -> str:
            done = subprocess.run([binary(), "--config", str(config), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=300, cwd=home, env=env)
            assert done.returncode == 0, done
            return done.stdout
        proxy("init", "--provider", ARGS["small"], "--model", "think")
        assert json.loads(config.read_text())["providers"][0]["models"] == [{"id": "think", "context_window": 32768}], config.read_text()

        def turn(words: int, *args: str) -> tuple[dict, list]:
            lines = [json.loads(line) for line in proxy(
                "run", "--log-file", str(log), "--", os.path.abspath(ARGS["claude"]), "-p", f"{words} words: " + "abc def " * (words // 2),
                "--permission-mode", "bypassPermissions", "--output-format", "stream-json", "--verbose", *args).splitlines()]
            result = next(line for line in lines if line["type"] == "result")
            assert not result["is_error"] and result["result"] == SAID, result
            assert result["modelUsage"]["think"]["contextWindow"] == 32768, result
            return result, [line["compact_metadata"]["trigger"] for line in lines if line.get("subtype") == "compact_boundary"]
        result, compacted = turn(2000)
        for _ in range(5):
            assert not compacted, "it compacts at once"
            result, compacted = turn(1200, "--resume", result["session_id"])
            if compacted:
                break
        assert compacted == ["auto"], result
        statuses = [line.split("status=")[1].split()[0] for line in log.read_text().splitlines() if "status=" in line]
        assert len(statuses) > 4 and set(statuses) == {"200"}, log.read_text()[-3000:]


def ping(_client):
    """What `ping-upstream` finds out about this server when it is told nothing, and that its advice is then enough."""
    def run(models: dict, *args: str, **provider_keys):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "config.json"
            path.write_text(json.dumps({"providers": [{
                "name": "llama", "base_url": ARGS["tiny"], "api_key": "", "models": [{"id": "tiny", **models}], **provider_keys}]}))
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


CHECKS = [text, it_streams, cut_by_max_tokens, cut_in_a_tool_call, forced_tool, named_tool_loop, parallel_tools, json_schema,
          image_is_refused, thinking, as_good_as_its_own_messages_endpoint, overflow, ping]


def main() -> int:
    providers = [{**provider(ARGS[m], {"id": m}, profile="llamacpp"), "api_key": ""} for m in ("tiny", "multi", "think")]
    with Proxy({"ak": KEY, "providers": providers}) as proxy, \
            anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=120) as client:
        return run([*CHECKS, *([claude_code, claude_code_compacts] if "claude" in ARGS else [])], client, told=(AssertionError, anthropic.APIError))


if __name__ == "__main__":
    sys.exit(main())
