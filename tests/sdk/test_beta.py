"""The beta namespace, tool_runner included."""
from __future__ import annotations

import asyncio

import anthropic
import pytest
from conftest import KEY, NEWEST, USER
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


@newest_only
def test_tool_runner_of_the_async_client(up, proxy):
    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """The weather of a city."""
        await asyncio.sleep(0)
        return f"rain in {city}"
    up.play(whole(None, [call("a", "weather", {"city": "Oslo"}), call("b", "weather", {"city": "Rome"})]), whole("Rain."))

    async def run():
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=20) as c:
            return await c.beta.messages.tool_runner(model="plain", max_tokens=99, messages=USER, tools=[weather]).until_done()
    assert asyncio.run(run()).content[0].text == "Rain."
    assert [m["content"] for m in up.last.messages if m["role"] == "tool"] == ["rain in Oslo", "rain in Rome"]


@newest_only
def test_tool_runner_with_a_tool_that_fails(up, client):
    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        raise RuntimeError("no network")
    up.play(whole(None, [call("a", "weather", {"city": "Oslo"})]), whole("Sorry."))
    assert client.beta.messages.tool_runner(model="plain", max_tokens=99, messages=USER, tools=[weather]).until_done().content[0].text == "Sorry."
    result = up.last.messages[2]["content"]
    assert result.startswith("Error: ") and "no network" in result


@newest_only
def test_tool_runner_stops_at_max_iterations(up, client):
    @anthropic.beta_tool
    def clock() -> str:
        """The time."""
        return "noon"
    up.play(whole(None, [call("a", "clock", {})]))
    m = client.beta.messages.tool_runner(model="plain", max_tokens=99, messages=USER, tools=[clock], max_iterations=2).until_done()
    assert (m.stop_reason, len(up.seen)) == ("tool_use", 2)


@newest_only
def test_message_thread_goes_on_without_one(up, client):
    up.play(whole("Hello."), whole("Fine."))
    thread = client.beta.messages.thread(model="plain", max_tokens=64, system="Be brief.", unsupported_request_behavior="continue_unthreaded")
    assert thread.send({"role": "user", "content": "Hi"}).content[0].text == "Hello."
    assert thread.send({"role": "user", "content": "How are you?"}).content[0].text == "Fine."
    assert up.last.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
                                {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "How are you?"}]


@newest_only
@pytest.mark.parametrize("streamed", [False, True])
def test_structured_output_with_pydantic(up, client, streamed):
    import pydantic

    class City(pydantic.BaseModel):
        name: str
        people: int
    ask = {"model": "plain", "max_tokens": 64, "messages": USER, "output_format": City}
    if streamed:
        up.play(stream(text=['{"name":"Os', 'lo","people":7', "00000}"]))
        with client.beta.messages.stream(**ask) as s:
            m = s.get_final_message()
    else:
        up.play(whole('{"name":"Oslo","people":700000}'))
        m = client.beta.messages.parse(**ask)
    assert m.parsed_output == City(name="Oslo", people=700000)
    assert up.only.body["response_format"]["json_schema"]["schema"]["required"] == ["name", "people"]


def test_models(client):
    assert [m.id for m in client.beta.models.list(limit=2)] == [m.id for m in client.models.list()]
    assert client.beta.models.retrieve("plain").display_name == "Plain"


@pytest.mark.parametrize("ask", [
    lambda c: c.messages.batches.create(requests=[]),
    lambda c: c.messages.batches.retrieve("msgbatch_1"),
    lambda c: list(c.messages.batches.list()),
    lambda c: list(c.beta.files.list()),
    lambda c: c.beta.files.upload(file=("a.txt", b"hello", "text/plain")),
    lambda c: c.beta.files.delete("file_1"),
], ids=["batches.create", "batches.retrieve", "batches.list", "files.list", "files.upload", "files.delete"])
def test_what_does_not_exist_here(up, client, ask):
    with pytest.raises(anthropic.NotFoundError) as e:
        ask(client)
    assert e.value.body["error"]["type"] == "not_found_error" and e.value.request_id.startswith("req_")
    assert up.seen == []
