"""Message threads that the proxy keeps: the SDK sends what is new, the upstream sees all of it."""
from __future__ import annotations

import json

import anthropic
import pytest
from conftest import KEY, NEWEST, USER, config
from proxy import Proxy
from upstream import call, stream, whole

if not NEWEST:
    pytest.skip("came with a later SDK", allow_module_level=True)

LONG = "A long instruction that goes over the wire once. " * 400


@pytest.fixture(scope="module")
def keeping(shared_upstream):
    with Proxy(config(shared_upstream, threads={"path": "threads.redb"})) as p:
        yield p


class Wire(list):
    """What a client sent."""

    def __call__(self, request):
        self.append(request.read())

    @property
    def bodies(self):
        return [json.loads(raw) for raw in self]


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def client(keeping, wire):
    http = anthropic.DefaultHttpxClient(event_hooks={"request": [wire]})
    with anthropic.Anthropic(base_url=keeping.url, api_key=KEY, max_retries=0, timeout=20.0, http_client=http) as c:
        yield c


@anthropic.beta_tool
def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return f"rain in {city}"


def is_prefix(seen):
    """Whether the messages of each request upstream begin as those of the one before it, byte for byte."""
    raws = [s.raw[s.raw.index(b'"messages":['):] for s in seen]
    begins = [raw[:raw.index(b'}],"')] for raw in raws]
    return all(after.startswith(before) for before, after in zip(begins, raws[1:]))


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_runner_sends_only_what_is_new(up, client, wire, streamed):
    say = (lambda text=None, calls=(): stream(text=[text] if text else None, calls=calls)) if streamed else whole
    up.play(say(None, [call("a", "weather", {"city": "Oslo"}), call("b", "weather", {"city": "Rome"})]),
            say("One more.", [call("c", "weather", {"city": "Bonn"})]), say("Rain everywhere."))
    runner = client.beta.messages.tool_runner(model="plain", max_tokens=99, system=LONG, messages=USER, tools=[weather], stream=streamed)
    if streamed:
        for s in runner:
            final = s.get_final_message()
    else:
        final = runner.until_done()
    assert final.content[0].text == "Rain everywhere."
    create, *rest = wire.bodies
    assert create["thread"] == {"type": "create"} and create["system"] == LONG
    assert len(rest) == 2
    for body, raw in zip(rest, wire[1:]):
        assert body["thread"]["type"] == "continue"
        assert [m["role"] for m in body["messages"]] == ["user"] and "system" not in body and "tools" not in body
        assert len(raw) < 1000 < len(LONG)
    # the upstream has seen full histories, each the beginning of the next
    assert [s.roles for s in up.seen] == [
        ["system", "user"], ["system", "user", "assistant", "tool", "tool"],
        ["system", "user", "assistant", "tool", "tool", "assistant", "tool"]]
    assert all(s.messages[0]["content"] == LONG and len(s.body["tools"]) == 1 for s in up.seen)
    assert is_prefix(up.seen)


def test_upstream_sees_what_it_sees_of_full_histories(up, client):
    answers = [whole(None, [call("a", "weather", {"city": "Ålesund \"2\""})]), whole("Rain.")]
    runs = []
    for more in ({}, {"thread": False}):
        up.play(*answers)
        runner = client.beta.messages.tool_runner(model="plain", max_tokens=99, messages=USER, tools=[weather], **more)
        runner.until_done()
        runs.append([s.raw for s in up.seen])
    assert runs[0] == runs[1]


def test_message_thread(up, client, wire):
    up.play(whole("Hello."), stream(text=["Fi", "ne."]), whole("Bye."))
    thread = client.beta.messages.thread(model="plain", max_tokens=64, system="Be brief.")
    assert thread.send({"role": "user", "content": "Hi"}).content[0].text == "Hello."
    with thread.stream({"role": "user", "content": "How are you?"}) as s:
        assert s.get_final_text() == "Fine."
    assert thread.send({"role": "user", "content": "Bye"}).content[0].text == "Bye."
    assert [len(b["messages"]) for b in wire.bodies] == [1, 1, 1]
    assert [(m["role"], m["content"]) for m in up.last.messages] == [
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "How are you?"), ("assistant", "Fine."), ("user", "Bye")]


def test_a_lost_thread_is_sent_again_as_a_whole(up, client, keeping, wire):
    up.play(whole("Hello."), whole("Fine."))
    thread = client.beta.messages.thread(model="plain", max_tokens=64)
    thread.send({"role": "user", "content": "Hi"})
    # it is gone: as if the file had been removed
    thread._state._thread.previous_message_id = "msg_01gone"
    assert thread.send({"role": "user", "content": "How are you?"}).content[0].text == "Fine."
    assert [b["thread"]["type"] for b in wire.bodies] == ["create", "continue", "create"]
    assert up.last.roles == ["user", "assistant", "user"]


def test_errors_have_the_types_of_the_sdk(up, client):
    def ask(thread, **more):
        return client.beta.messages.create(model="plain", max_tokens=9, messages=USER, thread=thread,
                                           betas=["message-threads-2026-08-12"], **more)
    with pytest.raises(anthropic.NotFoundError) as e:
        ask({"type": "continue", "previous_message_id": "msg_01never"})
    assert type(e.value).__name__ == "ThreadNotFoundError"
    up.play(whole("Hello."))
    first = ask({"type": "create"}, system="Be brief.")
    with pytest.raises(anthropic.BadRequestError) as e:
        ask({"type": "continue", "previous_message_id": first.id}, system="Be long.")
    assert type(e.value).__name__ == "ThreadFingerprintMismatchError"
