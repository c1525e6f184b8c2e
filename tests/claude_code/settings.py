"""Settings of Claude Code: what docs/claude-code.md says of them is so."""
from __future__ import annotations

import json

from overflow import SUMMARY
from stage import KEY, MODEL, Proxy, provider, results_of, scenario, text_of, tools_of
from tools import loop
from upstream import call, either, usage


def grows(t, prompt_tokens: int):
    """Reads a file again and again; the upstream reports a prompt of so many tokens from the second answer on."""
    path = t.file("part.txt", "a line\n" * 100)
    kinds = []

    def answer(seen):
        asked = text_of(seen.messages[-1]["content"])
        if SUMMARY in seen.raw.decode():
            kinds.append("after")
            return either("Done.", use=usage(9000, 5))(seen)
        if "<summary>" in asked and "TEXT ONLY" in asked:
            kinds.append("compact")
            return either(f"<summary>{SUMMARY}</summary>", use=usage(9000, 5))(seen)
        kinds.append("turn")
        n = len(results_of(seen))
        use = usage(prompt_tokens if n else 20000, 5)
        if n == 4:
            return either("Done.", use=use)(seen)
        return either(None, [call(f"call_{n}", "Read", {"file_path": path, "offset": n + 1})], use=use)(seen)
    t.up.play(answer)
    return kinds


@scenario
def window_is_a_million_by_default(t):
    """Why the window has to be told: 190,000 tokens in use, and nothing is compacted."""
    kinds = grows(t, 190_000)
    s = t.claude("Read it.")
    assert kinds == ["turn"] * 5 and s.answer == "Done.", kinds
    assert s.result["modelUsage"][MODEL]["contextWindow"] == 1_000_000, s.result["modelUsage"]


@scenario
def window_told(t):
    """CLAUDE_CODE_MAX_CONTEXT_TOKENS: the reported usage starts a compaction in time."""
    kinds = grows(t, 100_000)
    s = t.claude("Read it.", env={"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "128000"})
    assert kinds == ["turn", "turn", "compact", "after"] and s.answer == "Done.", kinds
    assert s.result["modelUsage"][MODEL]["contextWindow"] == 128_000, s.result["modelUsage"]


@scenario
def auto_compact_window(t):
    kinds = grows(t, 100_000)
    s = t.claude("Read it.", env={"CLAUDE_CODE_AUTO_COMPACT_WINDOW": "128000"})
    assert kinds == ["turn", "turn", "compact", "after"] and s.answer == "Done.", kinds


@scenario
def small_window_told_both_ways(t):
    """As `run` and `env` tell it: the variable that knows no less than 100,000 does not outdo the other."""
    kinds = grows(t, 40_000)
    s = t.claude("Read it.", env={"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "64000", "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "64000"})
    assert kinds == ["turn", "turn", "compact", "after"] and s.answer == "Done.", kinds


@scenario
def max_output_tokens(t):
    t.up.play(either("Hello."))
    t.claude("Hello?", env={"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "8192"})
    assert t.up.only.body["max_tokens"] == 8192, t.up.only.body["max_tokens"]


@scenario
def effort_and_thinking(t):
    t.serve("deepseek")
    t.up.play(either("Hello."))
    t.claude("Hello?")
    assert t.up.only.body["thinking"] == {"type": "enabled"} and t.up.only.body["reasoning_effort"] == "high", t.up.only.body.keys()
    t.up.play(either("Hello."))
    t.claude("Hello?", env={"CLAUDE_CODE_EFFORT_LEVEL": "low"})
    assert t.up.only.body["reasoning_effort"] == "low"
    t.up.play(either("Hello."))
    t.claude("Hello?", env={"MAX_THINKING_TOKENS": "0"})
    assert "thinking" not in t.up.only.body


@scenario
def tool_search_off(t):
    """All tools at once, the request is larger; with it (the default) the late ones wait."""
    t.up.play(either("Hello."))
    t.claude("Hello?")
    few, small = tools_of(t.up.only), len(t.up.only.raw)
    t.up.play(either("Hello."))
    t.claude("Hello?", env={"ENABLE_TOOL_SEARCH": "false"})
    assert len(tools_of(t.up.only)) > len(few) and len(t.up.only.raw) > 1.3 * small and "ToolSearch" not in tools_of(t.up.only)


@scenario
def few_tools(t):
    """For models with a small window."""
    t.up.play(loop(call("call_echo", "Bash", {"command": "echo small"}), "Done."))
    s = t.claude("Say small.", "--tools", "Bash,Edit,Read")
    assert s.answer == "Done." and sorted(tools_of(t.turns[0])) == ["Bash", "Edit", "Read"] and len(t.turns[0].raw) < 25_000


@scenario
def sessions_begin_alike(t):
    """What a prompt cache needs: another session in the same folder has the same tools and system prompt, to the byte."""
    first = []
    for question in ("What is six times seven?", "And what is the capital of France?"):
        t.up.play(either("Hello."))
        t.claude(question)
        body = t.up.only.body
        first.append(json.dumps([body["tools"], body["messages"][0]]))
        assert "cc_version" not in t.up.only.raw.decode()
    assert first[0] == first[1]


@scenario
def keys_and_addresses(t):
    """Either variable for the key; an address that ends in `/` or `/v1`."""
    t.serve()
    for env, end in (({"ANTHROPIC_AUTH_TOKEN": None, "ANTHROPIC_API_KEY": KEY}, ""), ({"ANTHROPIC_API_KEY": "another"}, ""), ({}, "/"), ({}, "/v1")):
        t.up.play(either("Hello."))
        assert t.claude("Hello?", env=env, url=t.proxy.url + end).answer == "Hello." and len(t.up.seen) == 1, (env, end)


@scenario
def models_are_found(t):
    t.up.play(either("Hello."))
    relay = t.relay()
    t.claude("Hello?", url=relay.url, env={"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1"})
    listed = next(r for r in relay.seen if r.path.startswith("/v1/models"))
    assert listed.status == 200 and [m["id"] for m in json.loads(listed.answer)["data"]] == [MODEL], listed


@scenario
def subagent_model(t):
    """CLAUDE_CODE_SUBAGENT_MODEL: agents ask another model of the configuration."""
    both = provider(t.up.url, {"id": MODEL}, {"id": "small", "remote_id": "small-remote"}, profile="generic")
    with Proxy({"ak": KEY, "providers": [both]}) as proxy:
        def answer(seen):
            if seen.body["model"] == "small-remote":
                return either("The small one says hello.")(seen)
            return loop(call("call_agent", "Agent", {"description": "Ask", "prompt": "Say hello", "subagent_type": "general-purpose",
                                                     "run_in_background": False}), "Done.")(seen)
        t.up.play(answer)
        t.proxy = proxy
        s = t.claude("Ask an agent.", env={"CLAUDE_CODE_SUBAGENT_MODEL": "small"})
    assert s.answer == "Done." and [r.body["model"] for r in t.up.seen] == [MODEL, "small-remote", MODEL]
    assert "The small one says hello." in results_of(t.up.last)["call_agent"]


@scenario
def web_search(t):
    """The search is a request of its own with a tool of Anthropic's servers: the model answers from what it knows."""
    def answer(seen):
        if not tools_of(seen):
            return either("It rains in London.")(seen)
        return loop(call("call_find", "ToolSearch", {"query": "select:WebSearch"}),
                    call("call_search", "WebSearch", {"query": "weather in London"}), "It rains.")(seen)
    t.up.play(answer)
    s = t.claude("How is the weather in London?")
    assert s.answer == "It rains." and "It rains in London." in s.outputs()["call_search"], s.outputs()
    side = [r for r in t.up.seen if not tools_of(r)]
    assert len(side) == 1 and "tools" not in side[0].body and "tool_choice" not in side[0].body, [list(r.body) for r in side]
    assert "weather in London" in side[0].raw.decode()
