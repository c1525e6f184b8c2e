"""Pydantic AI's agent on its Anthropic model."""
from __future__ import annotations

import asyncio

import pydantic
import pytest
from conftest import KEY, check_two_turns, cut_in_the_arguments
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.providers.anthropic import AnthropicProvider
from upstream import call, error, stream, whole


@pytest.fixture
def agent(proxy):
    def make(model="plain", **more):
        agent = Agent(AnthropicModel(model, provider=AnthropicProvider(base_url=proxy.url, api_key=KEY)), **more)
        agent.ran = []

        @agent.tool_plain
        def weather(city: str) -> str:
            """The weather of a city."""
            agent.ran.append(city)
            return f"rain in {city}"
        return agent
    return make


def run(agent, prompt) -> tuple[list, object]:
    async def events():
        async with agent.run_stream_events(prompt) as stream:
            return [e async for e in stream]
    got = asyncio.run(events())
    return got, got[-1].result


def test_tool_loop(two_turns, agent):
    a = agent(instructions="Be brief.")
    events, result = run(a, "Weather?")
    assert result.output == "It rains ☔."
    assert sorted(a.ran) == ["Oslo", "Rome"]
    heard = "".join(e.part.content if e.event_kind == "part_start" else e.delta.content_delta for e in events
                    if (e.event_kind == "part_start" and e.part.part_kind == "text")
                    or (e.event_kind == "part_delta" and e.delta.part_delta_kind == "text"))
    assert heard == "Let me look.It rains ☔."
    assert (result.usage.requests, result.usage.tool_calls, result.usage.cache_read_tokens) == (2, 2, 10)
    check_two_turns(two_turns)


def test_thinking_goes_back(up, agent):
    up.play(stream({"reasoning_content": "I must "}, {"reasoning_content": "look."}, calls=[call("a", "weather", {"city": "Oslo"})]),
            stream(text="Rain."))
    settings = AnthropicModelSettings(anthropic_thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=4000)
    events, result = run(agent("deep", model_settings=settings), "Weather?")
    assert result.output == "Rain."
    assert up.last.messages[1]["reasoning_content"] == "I must look."
    assert [p.content for m in result.all_messages() for p in m.parts if p.part_kind == "thinking"] == ["I must look."]


def test_structured_output(up, agent):
    class City(pydantic.BaseModel):
        name: str
        people: int
    up.play(lambda seen: whole(None, [call("c", seen.body["tools"][-1]["function"]["name"], {"name": "Oslo", "people": 700000})]))
    assert agent(output_type=City).run_sync("Where?").output == City(name="Oslo", people=700000)
    assert up.only.body["tool_choice"] == "required"


def test_refused_key_names_the_provider(up, agent):
    up.play(error(401, "bad key"))
    with pytest.raises(ModelHTTPError) as e:
        agent().run_sync("Weather?")
    assert e.value.status_code == 401 and "house" in str(e.value.body)


def test_stream_that_dies_runs_no_half_call(up, agent):
    up.play(cut_in_the_arguments())
    a = agent()
    with pytest.raises(ModelAPIError):
        run(a, "Weather?")
    assert a.ran == []
