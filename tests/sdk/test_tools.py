"""Tools over several turns, as a program with its own loop has them."""
from __future__ import annotations

import json

from conftest import USER
from upstream import call, whole

WEATHER = {"name": "weather", "description": "of a city", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
CLOCK = {"name": "clock", "input_schema": {"type": "object"}}


def test_loop_of_three_turns(up, ask):
    up.play(whole(None, [call("call_1", "weather", {"city": "Oslo"})]),
            whole("Now the time.", [call("call_2", "clock", {})]), whole("Rain at noon."))
    messages = list(USER)
    for answer in ("rain", "noon", None):
        m = ask(messages=messages, tools=[WEATHER, CLOCK])
        if m.stop_reason != "tool_use":
            break
        use = next(b for b in m.content if b.type == "tool_use")
        messages += [{"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
                     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": answer}]}]
    assert (m.stop_reason, m.content[0].text) == ("end_turn", "Rain at noon.")
    last = up.last
    assert last.roles == ["user", "assistant", "tool", "assistant", "tool"]
    first, second = last.messages[1], last.messages[3]
    assert first["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert first["content"] is None and second["content"] == "Now the time."
    assert [(m["tool_call_id"], m["content"]) for m in last.messages if m["role"] == "tool"] == [("call_1", "rain"), ("call_2", "noon")]
    # what was said before keeps its bytes, so that the upstream's prompt cache holds
    for before, after in zip(up.seen, up.seen[1:]):
        assert after.messages[:len(before.messages)] == before.messages


def test_tool_definition(up, ask):
    up.play(whole("ok"))
    ask(tools=[{**WEATHER, "cache_control": {"type": "ephemeral"}}, CLOCK])
    weather, clock = (t["function"] for t in up.only.body["tools"])
    assert weather == {"name": "weather", "description": "of a city", "parameters": WEATHER["input_schema"]}
    assert clock == {"name": "clock", "parameters": {"type": "object", "properties": {}}}
    assert "tool_choice" not in up.only.body


def test_parallel_results_go_up_in_the_order_of_the_calls(up, ask):
    up.play(whole(None, [call("a", "weather", {"city": "Oslo"}), call("b", "weather", {"city": "Rome"})]), whole("done"))
    m = ask(tools=[WEATHER])
    assert [(b.id, b.input["city"]) for b in m.content] == [("a", "Oslo"), ("b", "Rome")]
    ask(tools=[WEATHER], messages=[*USER, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "sun"}]},
            {"type": "tool_result", "tool_use_id": "a", "content": "rain"}, {"type": "text", "text": "Go on."}]}])
    assert up.last.roles == ["user", "assistant", "tool", "tool", "user"]
    assert [m["content"] for m in up.last.messages[2:]] == ["rain", "sun", "Go on."]


def test_failed_tool(up, ask):
    up.play(whole("ok"))
    ask(tools=[WEATHER], messages=[*USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "no network", "is_error": True}]}])
    assert up.only.messages[2] == {"role": "tool", "tool_call_id": "x", "content": "Error: no network"}


def test_tool_choice(up, ask):
    up.play(whole("ok"))
    for choice in ({"type": "auto"}, {"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "clock"}, {"type": "none"}):
        ask(tools=[WEATHER, CLOCK], tool_choice=choice)
    assert [s.body.get("tool_choice") for s in up.seen] == [
        "auto", "required", {"type": "function", "function": {"name": "clock"}}, "none"]
    assert up.seen[1].body["parallel_tool_calls"] is False


def test_long_name_comes_back_as_it_was(up, ask):
    name = "mcp__a-very-long-server-name-that-somebody-chose__and_a_tool_name_beyond_all_limits_x"

    def answer(seen):
        sent = seen.body["tools"][0]["function"]["name"]
        assert len(sent) <= 64
        return whole(None, [call("c", sent, {})])
    up.play(answer)
    m = ask(tools=[{"name": name, "input_schema": {"type": "object"}}])
    assert m.content[0].name == name


def test_broken_arguments_are_an_error_not_a_call(up, ask):
    import anthropic
    import pytest
    up.play(whole(None, [call("c", "weather", '{"city": "Os')]))
    with pytest.raises(anthropic.InternalServerError) as e:
        ask(tools=[WEATHER])
    assert "weather" in str(e.value)


def test_large_numbers_keep_their_digits(up, ask):
    up.play(whole(None, [call("a", "weather", '{"id":9007199254740993123,"price":1.10}')]), whole("ok"))
    m = ask(tools=[WEATHER])
    assert m.content[0].input == {"id": 9007199254740993123, "price": 1.1}
    ask(tools=[WEATHER], messages=[*USER, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "ok"}]}])
    assert up.last.messages[1]["tool_calls"][0]["function"]["arguments"] == '{"id":9007199254740993123,"price":1.1}'


def test_image_in_a_tool_result(up, ask):
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
    up.play(whole("ok"))
    ask(tools=[CLOCK], messages=[*USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "clock", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": [
            {"type": "text", "text": "a picture"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}]}]}])
    assert up.only.roles == ["user", "assistant", "tool", "user"]
    assert "a picture" in up.only.messages[2]["content"]
    assert [p["image_url"]["url"] for p in up.only.messages[3]["content"] if p["type"] == "image_url"] == [f"data:image/png;base64,{png}"]
    assert json.dumps(up.only.body).count(png) == 1
