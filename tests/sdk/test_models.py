"""models and count_tokens: answered by the proxy itself."""
from __future__ import annotations

import datetime

import anthropic
import pytest
from conftest import USER

IDS = ["plain", "blind", "small", "deep", "oai", "dead"]


def test_list(up, client):
    page = client.models.list()
    assert [m.id for m in page.data] == IDS
    assert (page.has_more, page.first_id, page.last_id) == (False, "plain", "dead")
    assert page.data[0].display_name == "Plain" and page.data[1].display_name == "blind"
    assert all(m.type == "model" and isinstance(m.created_at, datetime.datetime) for m in page.data)
    assert up.seen == []


def test_pages(client):
    first = client.models.list(limit=4)
    assert [m.id for m in first.data] == IDS[:4] and first.has_more
    assert [m.id for m in client.models.list(limit=4)] == IDS            # the SDK turns the pages
    assert [m.id for m in client.models.list(limit=2, after_id="blind").data] == ["small", "deep"]
    assert [m.id for m in client.models.list(limit=2, before_id="deep").data] == ["blind", "small"]


def test_retrieve(client):
    m = client.models.retrieve("plain")
    assert (m.id, m.display_name, m.type) == ("plain", "Plain", "model")
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("no-such")


def test_count_tokens(up, client):
    def count(**more):
        return client.messages.count_tokens(**{"model": "plain", "messages": USER, **more}).input_tokens
    short, long = count(), count(messages=[{"role": "user", "content": "The quick brown fox jumps over the lazy dog. " * 100}])
    assert 1 <= short <= 20
    assert 900 <= long <= 1200
    assert count(system="Be brief and kind.") > short
    assert count(tools=[{"name": "weather", "description": "of a city", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}}}}]) > short + 10
    assert up.seen == []


def test_count_tokens_of_an_unknown_model(client):
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="no-such", messages=USER)
