"""One proxy for a run, one scripted upstream behind it, emptied for each test."""
from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

import pytest  # noqa: E402
from proxy import KEY, Proxy, provider  # noqa: E402
from upstream import Upstream, call, stream, usage  # noqa: E402


@pytest.fixture(scope="session")
def shared_upstream():
    up = Upstream()
    yield up
    up.stop()


@pytest.fixture(scope="session")
def proxy(shared_upstream):
    with Proxy({"ak": KEY, "providers": [
        provider(shared_upstream.url, {"id": "plain", "remote_id": "remote-plain"}, profile="generic", name="house"),
        provider(shared_upstream.url, {"id": "deep"}, profile="deepseek"),
    ]}) as p:
        yield p


@pytest.fixture
def up(shared_upstream):
    shared_upstream.play()
    return shared_upstream


@pytest.fixture
def two_turns(up):
    """A turn of text and two calls, then the answer."""
    up.play(stream(text=["Let me ", "look."], calls=[call("a", "weather", {"city": "Oslo"}), call("b", "weather", {"city": "Rome"})]),
            stream(text=["It ", "rains ☔."], use=usage(30, 5, cached=10)))
    return up


def check_two_turns(up) -> None:
    """What reached the upstream by then, whatever the agent."""
    first, second = up.seen
    assert (first.body["model"], first.body["stream"]) == ("remote-plain", True)
    assert first.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}]
    [tool] = first.body["tools"]
    assert tool["function"]["name"] == "weather"
    assert tool["function"]["parameters"]["properties"]["city"]["type"] == "string"
    assert second.body["tools"] == first.body["tools"]
    assert second.messages[:2] == first.messages
    assert second.messages[2:] == [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [
            call("a", "weather", '{"city":"Oslo"}'), call("b", "weather", '{"city":"Rome"}')]},
        {"role": "tool", "tool_call_id": "a", "content": "rain in Oslo"},
        {"role": "tool", "tool_call_id": "b", "content": "rain in Rome"}]


def cut_in_the_arguments():
    """A stream that ends after one complete call, in the middle of the second."""
    return stream(calls=[call("a", "weather", {"city": "Oslo"}), call("b", "weather", '{"city": "Ro')], done=False, end="cut")
