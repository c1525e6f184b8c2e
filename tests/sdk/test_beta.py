"""The beta namespace, tool_runner included."""
from __future__ import annotations

import anthropic
import pytest
from conftest import NEWEST, USER
from upstream import call, stream, whole

newest_only = pytest.mark.skipif(not NEWEST, reason="came with a later SDK")


def test_create_and_stream(up, client):
    up.play(whole("Hello!"))
    m = client.beta.messages.create(model="plain", max_tokens=9, messages=USER, betas=["interleaved-thinking-2025-05-14"])
    assert m.content[0].text == "Hello!"
    up.play(stream(text=["He", "llo"]))
    with client.beta.messages.stream(model="plain", max_tokens=9, messages=USER, betas=["context-1m-2025-08-07"]) as s:
        assert s.get_final_message().content[0].text == "Hello"


def test_count_tokens(client):
    assert client.beta.messages.count_tokens(model="plain", messages=USER).input_tokens > 0


def test_mid_conversation_system_message(up, client):
    up.play(whole("ok"))
    client.beta.messages.create(model="plain", max_tokens=9, messages=[*USER, {"role": "system", "content": "Now in French."}])
    assert up.only.messages == [{"role": "user", "content": "hi\n\n<system-reminder>\nNow in French.\n</system-reminder>"}]


def test_thread_is_refused_in_the_words_that_sdks_know(up, client):
    with pytest.raises(anthropic.BadRequestError) as e:
        client.beta.messages.create(model="plain", max_tokens=9, messages=USER, extra_body={"thread": {"type": "create"}})
    assert e.value.body["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert up.seen == []


@newest_only
def test_tool_runner_goes_on_with_full_histories(up, client):
    cities = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: its name
        """
        cities.append(city)
        return f"rain in {city}"
    up.play(whole(None, [call("a", "weather", {"city": "Oslo"}), call("b", "weather", {"city": "Rome"})]),
            whole(None, [call("c", "weather", {"city": "Bonn"})]), whole("Rain everywhere."))
    runner = client.beta.messages.tool_runner(model="plain", max_tokens=99, messages=USER, tools=[weather])
    final = runner.until_done()
    assert final.content[0].text == "Rain everywhere."
    assert sorted(cities) == ["Bonn", "Oslo", "Rome"]
    assert len(up.seen) == 3                       # the refused thread request never went up
    assert all("thread" not in s.body for s in up.seen)
    assert up.last.roles == ["user", "assistant", "tool", "tool", "assistant", "tool"]
    assert [m["content"] for m in up.last.messages if m["role"] == "tool"] == ["rain in Oslo", "rain in Rome", "rain in Bonn"]


@newest_only
def test_tool_runner_streamed(up, client):
    @anthropic.beta_tool
    def clock() -> str:
        """The time."""
        return "noon"
    up.play(stream(calls=[call("a", "clock", {})]), stream(text=["It is ", "noon."]))
    texts = []
    for s in client.beta.messages.tool_runner(model="plain", max_tokens=99, messages=USER, tools=[clock], stream=True):
        texts.append("".join(e.text for e in s if e.type == "text"))
    assert texts == ["", "It is noon."]
    assert up.last.roles == ["user", "assistant", "tool"]


@newest_only
def test_safeguards_are_answered_as_unsupported(up, client):
    up.play(whole("ok"))
    m = client.beta.messages.create(model="plain", max_tokens=9, messages=USER, extra_body={
        "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {"v": 1}}]})
    assert m.to_dict()["safeguard_results"] == [{"type": "dangerous_tool_use", "status": {"type": "unsupported"}}]
