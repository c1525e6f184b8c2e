"""LangChain's ChatAnthropic, with the loop that a program writes around it."""
from __future__ import annotations

import anthropic
import pytest
from conftest import KEY, check_two_turns, cut_in_the_arguments
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from upstream import call, error, stream, whole


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@pytest.fixture
def chat(proxy):
    def make(model="plain", **more):
        return ChatAnthropic(**{"model": model, "base_url": proxy.url, "api_key": KEY, "max_retries": 0, "max_tokens": 100, **more})
    return make


def run(model, messages: list) -> tuple[str, object]:
    """Until no tool is called: everything heard, and the last message."""
    heard = ""
    while True:
        message = None
        for piece in model.stream(messages):
            heard += piece.text
            message = piece if message is None else message + piece
        messages.append(message)
        if not message.tool_calls:
            return heard, message
        messages += [weather.invoke(c) for c in message.tool_calls]


def test_tool_loop(two_turns, chat):
    heard, last = run(chat().bind_tools([weather]), [SystemMessage("Be brief."), HumanMessage("Weather?")])
    assert heard == "Let me look.It rains ☔." and last.text == "It rains ☔."
    assert last.usage_metadata["input_token_details"]["cache_read"] == 10
    assert (last.usage_metadata["input_tokens"], last.usage_metadata["output_tokens"]) == (30, 5)
    assert (last.response_metadata["stop_reason"], last.response_metadata["model_name"]) == ("end_turn", "plain")
    check_two_turns(two_turns)


def test_thinking_goes_back(up, chat):
    up.play(stream({"reasoning_content": "I must "}, {"reasoning_content": "look."}, calls=[call("a", "weather", {"city": "Oslo"})]),
            stream(text="Rain."))
    messages = [HumanMessage("Weather?")]
    model = chat("deep", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000})
    heard, _ = run(model.bind_tools([weather]), messages)
    assert heard == "Rain."
    assert [b["reasoning"] for b in messages[1].content_blocks if b["type"] == "reasoning"] == ["I must look."]
    assert up.last.messages[1]["reasoning_content"] == "I must look."


def test_structured_output(up, chat):
    schema = {"title": "City", "description": "of the world", "type": "object", "properties": {
        "name": {"type": "string"}, "people": {"type": "integer"}}, "required": ["name", "people"]}
    up.play(lambda seen: whole(None, [call("c", "City", {"name": "Oslo", "people": 700000})]))
    assert chat().with_structured_output(schema).invoke("Where?") == {"name": "Oslo", "people": 700000}
    assert up.only.body["tool_choice"] == {"type": "function", "function": {"name": "City"}}


def test_refused_key_names_the_provider(up, chat):
    up.play(error(401, "bad key"))
    with pytest.raises(anthropic.AuthenticationError) as e:
        chat().invoke("Weather?")
    assert "house" in str(e.value)


def test_stream_that_dies_raises(up, chat):
    up.play(cut_in_the_arguments())
    with pytest.raises(anthropic.APIError):
        run(chat().bind_tools([weather]), [HumanMessage("Weather?")])
    assert len(up.seen) == 1
