"""Tool loops: what the model calls is run, and its result reaches the upstream."""
from __future__ import annotations

import json
import sys
from pathlib import Path

from mcp_server import LONG
from stage import Proxy, Session, results_of, scenario, text_of, tools_of
from upstream import call, either


def loop(*steps):
    """Answers a conversation step by step: the nth answer once n results are in it. A side request gets the last."""
    def answer(seen):
        n = len(results_of(seen)) if seen.body.get("tools") else len(steps)
        step = steps[min(n, len(steps) - 1)]
        return (either(step) if isinstance(step, str) else either(None, [step]))(seen)
    return answer


@scenario
def bash_tool(t):
    t.up.play(loop(call("call_bash", "Bash", {"command": "echo $((6 * 7)) > out.txt; cat out.txt", "description": "Six times seven"}),
                   "It printed 42."))
    s = t.claude("Compute six times seven in the shell.")
    assert [(b["id"], b["name"]) for b in s.blocks("tool_use")] == [("call_bash", "Bash")]
    assert s.outputs()["call_bash"].strip() == "42" and s.answer == "It printed 42.", (s.outputs(), s.answer)
    assert (Path(t.work) / "out.txt").read_text() == "42\n"
    assert results_of(t.turns[-1])["call_bash"].strip() == "42" and len(t.turns) == 2
    asked = t.turns[-1].messages[t.turns[-1].roles.index("tool") - 1]["tool_calls"][0]
    assert asked["id"] == "call_bash" and json.loads(asked["function"]["arguments"])["description"] == "Six times seven"


@scenario
def failing_bash_tool(t):
    t.up.play(loop(call("call_bash", "Bash", {"command": "echo partial; exit 3"}), "It failed."))
    s = t.claude("Run it.")
    assert s.answer == "It failed." and s.blocks("tool_result")[0]["is_error"] is True
    result = results_of(t.turns[-1])["call_bash"]
    assert result.lower().startswith("error") and "3" in result and "partial" in result, result


@scenario
def two_reads_at_once(t):
    one, two = t.file("one.txt", "contents-of-the-first-file\n"), t.file("two.txt", "contents-of-the-second-file\n")

    def answer(seen):
        if results_of(seen) or not seen.body.get("tools"):
            return either("Both files were read.")(seen)
        return either(None, [call("call_one", "Read", {"file_path": one}), call("call_two", "Read", {"file_path": two})])(seen)
    t.up.play(answer)
    s = t.claude("Read both files please.")
    assert [(b["id"], b["name"]) for b in s.blocks("tool_use")] == [("call_one", "Read"), ("call_two", "Read")]
    assert s.answer == "Both files were read." and s.result["num_turns"] >= 2, s.result
    last = t.turns[-1]
    results = list(results_of(last).items())
    assert [id for id, _ in results] == ["call_one", "call_two"], results
    assert "contents-of-the-first-file" in results[0][1] and "contents-of-the-second-file" in results[1][1], results
    at = last.roles.index("tool")
    assert [c["id"] for c in last.messages[at - 1]["tool_calls"]] == ["call_one", "call_two"]


@scenario
def edit_a_file(t):
    path = t.file("greeting.txt", "hello \u00e4\u4e16\nbye\n")
    t.up.play(loop(call("call_read", "Read", {"file_path": path}),
                   call("call_edit", "Edit", {"file_path": path, "old_string": "hello \u00e4\u4e16", "new_string": "good day \u00e4\u4e16\U0001f30d"}),
                   "Edited."))
    s = t.claude("Make the greeting polite.")
    assert Path(path).read_text() == "good day \u00e4\u4e16\U0001f30d\nbye\n", Path(path).read_text()
    assert s.answer == "Edited." and [b["name"] for b in s.blocks("tool_use")] == ["Read", "Edit"]
    results = results_of(t.turns[-1])
    assert "hello \u00e4\u4e16" in results["call_read"] and "updated" in results["call_edit"], results
    assert len(t.turns) == 3


@scenario
def subagent(t):
    """The agent has a conversation of its own; its answer is the result of the call."""
    def answer(seen):
        first = next(text_of(m["content"]) for m in seen.messages if m["role"] == "user")
        if "PINEAPPLE" in first:
            return loop(call("call_inner", "Bash", {"command": "echo from-the-agent"}), "The agent says from-the-agent.")(seen)
        return loop(call("call_agent", "Agent", {"description": "Look it up", "prompt": "PINEAPPLE: run echo", "subagent_type":
                                                 "general-purpose", "run_in_background": False}), "The agent is done.")(seen)
    t.up.play(answer)
    s = t.claude("Let an agent look.")
    assert s.answer == "The agent is done.", s.answer
    assert "The agent says from-the-agent." in s.outputs()["call_agent"] and s.outputs()["call_inner"].strip() == "from-the-agent"
    agent = [r for r in t.turns if "PINEAPPLE: run echo" in text_of(next(m for m in r.messages if m["role"] == "user")["content"])]
    main = [r for r in t.turns if r not in agent]
    assert len(agent) == 2 and len(main) == 2, (len(agent), len(main))
    assert "Agent" in tools_of(main[0]) and agent[0].messages[0]["content"] != main[0].messages[0]["content"]
    assert results_of(agent[1])["call_inner"].strip() == "from-the-agent"
    assert "The agent says from-the-agent." in results_of(main[1])["call_agent"]


@scenario
def two_subagents_at_once(t):
    """Two calls in one answer: two streams at the same time, each result with its own call."""
    def answer(seen):
        first = next(text_of(m["content"]) for m in seen.messages if m["role"] == "user")
        for word in ("ALPHA", "BETA"):
            if f"{word} task" in first:
                return either(f"{word} report", pause=0.2)(seen) if seen.body.get("stream") else either(f"{word} report")(seen)
        if results_of(seen) or not seen.body.get("tools"):
            return either("Both are back.")(seen)
        return either(None, [call(f"call_{w}", "Agent", {"description": w, "prompt": f"{w} task", "subagent_type": "general-purpose",
                                                         "run_in_background": False}) for w in ("ALPHA", "BETA")])(seen)
    t.up.play(answer)
    s = t.claude("Send both agents.")
    assert s.answer == "Both are back.", s.answer
    results = results_of(t.turns[-1])
    assert list(results) == ["call_ALPHA", "call_BETA"], results
    assert all(f"{w} report" in results[f"call_{w}"] and f"{w} report" in s.outputs()[f"call_{w}"] for w in ("ALPHA", "BETA"))


def mcp_config() -> str:
    server = {"command": sys.executable, "args": [str(Path(__file__).with_name("mcp_server.py"))]}
    return json.dumps({"mcpServers": {"sums": server}})


@scenario
def mcp_tools(t):
    """Offered at once: a bare schema gets properties, a long name is shortened and restored."""
    def answer(seen):
        long = next((n for n in tools_of(seen) if n.startswith("mcp__sums__look_up")), "none")
        return loop(call("call_sum", "mcp__sums__add", {"a": 40, "b": 2}), call("call_now", "mcp__sums__now", ""),
                    call("call_long", long, {"q": "needle"}), "All three ran.")(seen)
    t.up.play(answer)
    s = t.claude("Add, please.", "--mcp-config", mcp_config(), "--strict-mcp-config", env={"ENABLE_TOOL_SEARCH": "false"})
    assert s.answer == "All three ran.", s.answer
    assert [b["name"] for b in s.blocks("tool_use")] == ["mcp__sums__add", "mcp__sums__now", f"mcp__sums__{LONG}"]
    results = results_of(t.turns[-1])
    assert results == {"call_sum": "the sum is 42", "call_now": "noon, asked with {}", "call_long": "found needle"}, results
    offered = tools_of(t.turns[0])
    assert offered["mcp__sums__now"]["parameters"] == {"type": "object", "properties": {}}, offered["mcp__sums__now"]
    assert all(len(name) <= 64 for name in offered), sorted(offered)


@scenario
def deferred_tools(t):
    """Found through ToolSearch: offered from then on, at the end of the list, so that the prompt cache holds."""
    t.up.play(loop(call("call_search", "ToolSearch", {"query": "select:mcp__sums__add"}),
                   call("call_sum", "mcp__sums__add", {"a": 40, "b": 2}), "Found and added."))
    s = t.claude("Find the adding tool.", "--mcp-config", mcp_config(), "--strict-mcp-config", env={"ENABLE_TOOL_SEARCH": "true"})
    assert s.answer == "Found and added." and s.outputs()["call_sum"] == "the sum is 42", (s.answer, s.outputs())
    before, after = t.turns[0], t.turns[1]
    assert "ToolSearch" in tools_of(before) and "mcp__sums__add" not in tools_of(before), sorted(tools_of(before))
    assert list(tools_of(after)) == [*tools_of(before), "mcp__sums__add"], list(tools_of(after))
    assert "mcp__sums__add" in results_of(after)["call_search"], results_of(after)
    assert after.messages[:len(before.messages)] == before.messages
    assert results_of(t.turns[2]) == {**results_of(after), "call_sum": "the sum is 42"}


@scenario
def unknown_tool(t):
    """A name that was never offered: told to the model, which goes on."""
    t.up.play(loop(call("call_odd", "NoSuchTool", {"x": 1}), "I see, no such tool."))
    s = t.claude("Call something odd.")
    assert s.answer == "I see, no such tool." and "No such tool available" in s.outputs()["call_odd"], s.outputs()
    assert "No such tool available" in results_of(t.turns[-1])["call_odd"]


@scenario
def bash_against_the_demo(t):
    with Proxy(None, "--demo") as proxy:
        s = Session(t.claude_path, proxy.url, t.home, t.work,
                    "Run a Bash command that prints a greeting, then tell me what it printed.", key="none", model="demo").wait()
        uses, results = s.blocks("tool_use"), s.blocks("tool_result")
        assert uses and uses[0]["name"] == "Bash" and uses[0]["input"].get("command"), uses
        assert results and results[0]["tool_use_id"] == uses[0]["id"] and not results[0].get("is_error"), results
        assert text_of(results[0]["content"]).strip(), results
        assert s.code == 0 and s.result["subtype"] == "success" and s.answer.strip() and s.result["num_turns"] >= 2, s.result
        assert proxy.stop() == 0, f"the proxy ended with {proxy.proc.returncode}: {proxy.text()[-800:]}"
