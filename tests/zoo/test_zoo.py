"""A tool loop with thinking through every profile, against an upstream that refuses what its provider refuses."""
from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import anthropic
import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "harness")]

from animals import DETAILS, FIELD, Animal, details  # noqa: E402
from proxy import Proxy, provider  # noqa: E402
from rules import RULES  # noqa: E402

PROFILES = json.loads((Path(__file__).resolve().parents[2] / "src/convert/profiles.json").read_text())
PIXEL = base64.b64encode(bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00050001ff89993d1d0000000049454e44ae426082"
)).decode()
TOOLS = [
    {"name": "weather", "description": "Weather of a city", "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False,
        "properties": {"city": {"type": "string", "format": "hostname"}, "days": {"type": "integer", "exclusiveMinimum": 0},
                       "unit": {"const": "celsius"}}, "required": ["city"]}},
    {"name": "mcp__files__" + "read_everything_" * 4, "description": "A long name", "input_schema": {
        "type": "object", "properties": {"paths": {"type": "array", "items": {"type": "string"}}}, "$defs": {"x": {"type": "string"}}}},
]
REASONING = "Zwei Städte — two calls. \"Quotes\", \\ and\nlines."
WEATHER, FILES = TOOLS[0]["name"], TOOLS[1]["name"]


@pytest.fixture(params=list(PROFILES))
def zoo(request):
    animal = Animal(request.param)
    model = {"id": "m", "remote_id": "served"}
    with Proxy({"providers": [provider(animal.url, model, profile=request.param)]}) as proxy:
        client = anthropic.Anthropic(base_url=proxy.url, api_key="none", max_retries=0)
        yield animal, client
    animal.stop()


def ask(client, streamed: bool, messages: list, **more):
    args = {"model": "m", "max_tokens": 8000, "messages": messages, **more}
    if not streamed:
        return client.messages.create(**args)
    with client.messages.stream(**args) as s:
        return s.get_final_message()


def offered(animal) -> list:
    return [t["function"]["name"] for t in animal.last.body["tools"]]


def kinds(message) -> list:
    return [b.type for b in message.content]


def history(message) -> dict:
    return {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in message.content]}


def test_every_profile_has_an_animal():
    assert set(PROFILES) == set(RULES)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
def test_tool_loop_with_thinking(zoo, streamed):
    animal, client = zoo
    name = animal.provider
    reasons = name in FIELD or name in DETAILS or name in ("mistral", "generic")
    common = {"system": [{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}}], "tools": TOOLS,
              "thinking": {"type": "enabled", "budget_tokens": 2048}, "stop_sequences": ["STOP", "HALT"], "metadata": {"user_id": "u"}}

    # 1: two calls at once
    messages = [{"role": "user", "content": "Weather in Köln and Rome, and the files."}]
    animal.says((REASONING, "Looking.", [(WEATHER, {"city": "Köln", "days": 12345678901234567890}), (WEATHER, {"city": "Rome"})]))
    one = ask(client, streamed, messages, **common)
    assert animal.refused == []
    # Gemini's signature travels in a thinking block of its own
    assert [k for k in kinds(one) if k != "thinking"] == ["text", "tool_use", "tool_use"]
    assert kinds(one).count("thinking") == (1 if reasons or name == "gemini" else 0)
    assert not reasons or kinds(one)[0] == "thinking"
    assert one.stop_reason == "tool_use" and one.model == "m"
    assert [b.input for b in one.content if b.type == "tool_use"] == [{"city": "Köln", "days": 12345678901234567890}, {"city": "Rome"}]
    if reasons:
        assert one.content[0].thinking == REASONING and one.content[0].signature
    assert (one.usage.input_tokens, one.usage.cache_read_input_tokens) == (36, 64)
    assert one.usage.output_tokens == (27 if name == "xai" else 20)
    sent = animal.last.body
    assert sent["model"] == "served" and "cache_control" not in json.dumps({**sent, "messages": []})
    renamed = offered(animal)[1]
    assert len(renamed) <= 64

    # 2: results in the wrong order, one failed, one with an image, and a reminder behind them, as Claude Code sends them
    uses = [b for b in one.content if b.type == "tool_use"]
    messages += [history(one), {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": uses[1].id, "is_error": True, "content": "no such city"},
        {"type": "tool_result", "tool_use_id": uses[0].id, "content": [
            {"type": "text", "text": "12 degrees"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]},
        {"type": "text", "text": "<system-reminder>Be brief.</system-reminder>"}]}]
    animal.says((REASONING, "Now the files.", [(renamed, {"paths": ["a", "b"]})]))
    two = ask(client, streamed, messages, **common)
    assert animal.refused == []
    assert [b.name for b in two.content if b.type == "tool_use"] == [FILES]
    past = [m for m in animal.last.messages if m["role"] == "assistant"][0]
    if PROFILES[name].get("echo") in ("reasoning", "reasoning_content"):
        assert past[FIELD[name]] == REASONING
    if name in DETAILS:
        assert past["reasoning_details"] == details(name, REASONING)
    if name == "mistral":
        assert past["content"][0] == {"type": "thinking", "thinking": [{"type": "text", "text": REASONING}]}
    tools = [m for m in animal.last.messages if m["role"] == "tool"]
    assert [m["tool_call_id"] for m in tools] == [c["id"] for c in past["tool_calls"]]
    assert "12 degrees" in json.dumps(tools[0]["content"]) and "no such city" in json.dumps(tools[1]["content"])
    assert json.loads(past["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln", "days": 12345678901234567890}

    # 3: the end, after a call whose result is empty; a word of the system in mid-conversation; reasoning without a call
    use = next(b for b in two.content if b.type == "tool_use")
    messages += [history(two), {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id}]},
                 {"role": "system", "content": "The user's locale is de-DE."}]
    animal.says((REASONING, "Warm.", []))
    three = client.beta.messages.create(model="m", max_tokens=8000, messages=messages, **common)
    assert animal.refused == []
    assert three.stop_reason == "end_turn" and three.content[-1].text == "Warm."

    # 4: a new question after all of that; a forced tool, which Anthropic allows without thinking only
    messages += [{"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in three.content]},
                 {"role": "user", "content": [{"type": "text", "text": "And this?"}, {
                     "type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]}]
    plain = {k: v for k, v in common.items() if k != "thinking"}
    for choice in ({"type": "any"}, {"type": "tool", "name": FILES}, {"type": "auto", "disable_parallel_tool_use": True}, {"type": "none"}):
        animal.says(("", "", [(renamed, {"paths": []})]))
        four = client.beta.messages.create(model="m", max_tokens=8000, messages=messages, tool_choice=choice, **plain)
        assert animal.refused == [], choice
        assert four.stop_reason == "tool_use" and kinds(four) == ["tool_use"], choice


def test_reasoning_switched_off_by_the_configuration():
    """Upstreams that think unless told not to want their reasoning back: they have to be told."""
    for name in PROFILES:
        animal = Animal(name)
        with Proxy({"providers": [provider(animal.url, {"id": "m", "reasoning": False}, profile=name)]}) as proxy:
            client = anthropic.Anthropic(base_url=proxy.url, api_key="none", max_retries=0)
            animal.says(("", "Looking.", [(WEATHER, {"city": "Rome"})]))
            messages = [{"role": "user", "content": "Weather?"}]
            think = {"thinking": {"type": "enabled", "budget_tokens": 2048}, "tools": TOOLS}
            one = ask(client, True, messages, **think)
            use = next(b for b in one.content if b.type == "tool_use")
            messages += [history(one), {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "warm"}]}]
            animal.says(("", "Warm.", []))
            assert ask(client, False, messages, **think).content[-1].text == "Warm."
        assert animal.refused == [], name
        animal.stop()


def test_history_of_another_provider(zoo):
    """A session that began with Claude itself: signatures, ids and blocks that this upstream never made."""
    animal, client = zoo
    animal.says(("", "Fine.", []))
    messages = [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "I read.", "signature": "EqQBCgIYAhIkYjM4"},
            {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
            {"type": "text", "text": ""},
            {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9_and_far_too_long_for_some", "name": WEATHER, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "",
                                      "tool_use_id": "toolu_01A09q90qw90lq917835lq9_and_far_too_long_for_some"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Done. "}]},
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_without_result", "name": WEATHER, "input": {"city": "x"}}]},
        {"role": "user", "content": "Forget it."},
    ]
    answer = client.messages.create(model="m", max_tokens=100, messages=messages, tools=TOOLS, extra_body={"temperature": 0.4})
    assert animal.refused == []
    assert answer.content[-1].text == "Fine."


def test_structured_output(zoo):
    animal, client = zoo
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    animal.says(("", '{"city":"Rome"}', []))
    answer = client.messages.create(model="m", max_tokens=100, messages=[{"role": "user", "content": "Where?"}],
                                    output_config={"format": {"type": "json_schema", "schema": schema}})
    assert animal.refused == []
    assert json.loads(answer.content[-1].text) == {"city": "Rome"}
    assert "response_format" in animal.last.body


def test_refusals_reach_the_client(zoo):
    """The provider's own words, as an invalid_request_error, whatever form it puts them in."""
    animal, client = zoo
    animal.play(lambda seen: animal._refuse("the zoo is closed"))
    with pytest.raises(anthropic.BadRequestError) as e:
        client.messages.create(model="m", max_tokens=100, messages=[{"role": "user", "content": "Hello"}])
    assert "the zoo is closed" in e.value.message
