"""Web search and fetch: the proxy carries out server tools, the SDK's types read what comes of it."""
from __future__ import annotations

import json

import pytest
from conftest import USER, config, connect
from proxy import Proxy
from upstream import Answer, Upstream, call, error, stream, whole

SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}
HITS = [{"title": "Rust 1.99", "url": "https://blog.example.org/rust", "content": "It is fast & safe.", "publishedDate": "2026-01-02T00:00:00"},
        {"title": "Other", "url": "https://other.example.com/", "content": "Something else."}]


def service(seen) -> Answer:
    """A search service and a web site in one."""
    if seen.path.startswith("/search"):
        return Answer(headers={"content-type": "application/json"}, parts=[json.dumps({"results": HITS}).encode()])
    if seen.path == "/page":
        return Answer(headers={"content-type": "text/html"}, parts=[b"<title>Page</title><p>Hello from the page.</p>"])
    return error(404)


@pytest.fixture(scope="module")
def web():
    up = Upstream()
    up.play(service)
    yield up
    up.stop()


@pytest.fixture(scope="module")
def searching(shared_upstream, web):
    more = {"web_search": {"provider": "searxng", "base_url": web.url}, "web_fetch": True,
            "web_fetch_private_hosts": [f"127.0.0.1:{web.port}"]}
    with Proxy(config(shared_upstream, **more)) as p:
        yield p


@pytest.fixture
def client(searching):
    with connect(searching) as c:
        yield c


def rounds(*answers):
    """The n-th answer where the model was told n results; a stream or whole, as the request asks."""
    def choose(seen):
        text, calls = answers[min(seen.roles.count("tool"), len(answers) - 1)]
        return (stream if seen.body.get("stream") else whole)(text=text, calls=calls)
    return choose


LOOK = ("I look.", [call("call_1", "web_search", {"query": "rust"})])
SAY = ("Rust 1.99 is out: [Rust](https://blog.example.org/rust).", [])


def check(m):
    assert [b.type for b in m.content] == ["text", "server_tool_use", "web_search_tool_result", "text"]
    _, use, found, last = m.content
    assert use.id.startswith("srvtoolu_") and (use.name, use.input) == ("web_search", {"query": "rust"})
    assert found.tool_use_id == use.id
    assert [(r.type, r.title, r.url) for r in found.content] == [("web_search_result", h["title"], h["url"]) for h in HITS]
    assert all(r.encrypted_content for r in found.content) and found.content[0].page_age
    assert last.text == SAY[0]
    c, = last.citations
    assert (c.type, c.url, c.title, c.cited_text) == (
        "web_search_result_location", HITS[0]["url"], "Rust 1.99", "It is fast & safe.")
    assert c.encrypted_index
    assert m.stop_reason == "end_turn" and m.usage.server_tool_use.web_search_requests == 1


def test_whole(up, client):
    up.play(rounds(LOOK, SAY))
    check(client.messages.create(model="plain", max_tokens=64, messages=USER, tools=[SEARCH]))
    assert len(up.seen) == 2


def test_streamed(up, client):
    up.play(rounds(LOOK, SAY))
    with client.messages.stream(model="plain", max_tokens=64, messages=USER, tools=[SEARCH]) as s:
        events = list(s)
        m = s.get_final_message()
    check(m)
    kinds = [e.type for e in events]
    assert kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop") == 1
    assert "".join(e.text for e in events if e.type == "text") == "I look." + SAY[0]
    assert [e.citation.url for e in events if e.type == "citation"] == [HITS[0]["url"]]


def test_the_next_turn_takes_the_blocks_back(up, client):
    up.play(rounds(LOOK, SAY))
    first = client.messages.create(model="plain", max_tokens=64, messages=USER, tools=[SEARCH])
    before = up.last.body["messages"]
    history = [*USER, {"role": "assistant", "content": first.content}, {"role": "user", "content": "more"}]
    m = client.messages.create(model="plain", max_tokens=64, messages=history, tools=[SEARCH])
    assert m.stop_reason == "end_turn"
    assert up.last.body["messages"][:len(before)] == before, "the upstream's prompt cache still fits"
    assert up.last.roles == ["user", "assistant", "tool", "assistant", "user"]


def test_fetch(up, client, web):
    url = f"{web.url}/page"
    up.play(rounds((None, [call("c", "web_fetch", {"url": url})]), ("It says hello.", [])))
    ask = {"model": "plain", "max_tokens": 64, "messages": [{"role": "user", "content": f"read {url}"}], "tools": [FETCH]}
    m = client.beta.messages.create(**ask, betas=["web-fetch-2025-09-10"])
    assert [b.type for b in m.content] == ["server_tool_use", "web_fetch_tool_result", "text"]
    page = m.content[1].content
    page = page if isinstance(page, dict) else page.model_dump()
    assert (page["type"], page["url"], page["content"]["title"]) == ("web_fetch_result", url, "Page")
    assert "Hello from the page." in page["content"]["source"]["data"] and page["retrieved_at"]
    assert "Hello from the page." in up.last.messages[2]["content"]


def test_an_error_result(up, client):
    three = [call(f"c{n}", "web_search", {"query": f"q{n}"}) for n in range(4)]
    up.play(rounds((None, three), (None, three), (None, three), (None, three), ("Done.", [])))
    m = client.messages.create(model="plain", max_tokens=64, messages=USER, tools=[SEARCH])
    results = [b.content for b in m.content if b.type == "web_search_tool_result"]
    assert [r.error_code if hasattr(r, "error_code") else len(r) for r in results] == [2, 2, 2, "max_uses_exceeded"]
    assert m.content[-1].text == "Done." and m.usage.server_tool_use.web_search_requests == 3
