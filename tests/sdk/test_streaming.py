"""messages.stream and stream=True."""
from __future__ import annotations

import asyncio

import anthropic
import pytest
from conftest import KEY, USER
from upstream import call, chunk, error, sse, stream, usage, Answer

ASK = {"model": "plain", "max_tokens": 64, "messages": USER}
SSE = {"content-type": "text/event-stream"}


def test_text_stream_and_final_message(up, client):
    up.play(stream(text=["Hel", "lo ", "wörld 🌍"], use=usage(11, 4, cached=5)))
    with client.messages.stream(**ASK) as s:
        assert "".join(s.text_stream) == "Hello wörld 🌍"
        m = s.get_final_message()
    assert (m.model, m.stop_reason, [b.text for b in m.content]) == ("plain", "end_turn", ["Hello wörld 🌍"])
    assert (m.usage.input_tokens, m.usage.cache_read_input_tokens, m.usage.output_tokens) == (6, 5, 4)
    assert up.only.body["stream"] is True
    assert up.only.body["stream_options"] == {"include_usage": True}


def test_raw_events_in_order(up, client):
    up.play(stream(text=["a", "b"]))
    kinds = [e.type for e in client.messages.create(**ASK, stream=True)]
    deltas = kinds.count("content_block_delta")
    assert kinds == ["message_start", "content_block_start", *["content_block_delta"] * deltas, "content_block_stop",
                     "message_delta", "message_stop"]
    assert deltas >= 1


def test_helper_events(up, client):
    up.play(stream(text=["a", "b"]))
    with client.messages.stream(**ASK) as s:
        got = [e for e in s]
    assert "".join(e.text for e in got if e.type == "text") == "ab"
    assert got[-1].type == "message_stop" and got[-1].message.content[0].text == "ab"


def test_tool_input_streams(up, client):
    args = {"path": "/tmp/ä b.txt", "lines": [1, 2, 3]}
    up.play(stream(text="Let me look.", calls=[call("call_1", "read", args)]))
    with client.messages.stream(**ASK, tools=[{"name": "read", "input_schema": {"type": "object"}}]) as s:
        partial = "".join(e.partial_json for e in s if e.type == "input_json")
        m = s.get_final_message()
    assert [b.type for b in m.content] == ["text", "tool_use"]
    assert (m.content[1].id, m.content[1].name, m.content[1].input) == ("call_1", "read", args)
    assert m.stop_reason == "tool_use"
    assert __import__("json").loads(partial) == args


def test_partial_tool_input_grows(up, client):
    args = {"path": "/tmp/ä b.txt", "lines": [1, 2, 3]}
    up.play(stream(calls=[call("call_1", "read", args)]))
    with client.messages.stream(**ASK, tools=[{"name": "read", "input_schema": {"type": "object"}}]) as s:
        snapshots = [e.snapshot for e in s if e.type == "input_json"]
    assert len(snapshots) >= 2 and snapshots[-1] == args
    for before, after in zip(snapshots, snapshots[1:]):
        assert set(before or {}) <= set(after)


def test_final_text_request_id_and_block_events(up, client):
    up.play(stream(text=["a", "b"], calls=[call("c", "read", {"n": 1})]))
    with client.messages.stream(**ASK, tools=[{"name": "read", "input_schema": {"type": "object"}}]) as s:
        blocks = [e.content_block for e in s if e.type == "content_block_stop"]
        assert s.get_final_text() == "ab"
        assert s.response.headers["request-id"].startswith("req_")
    assert [(b.type, getattr(b, "input", None)) for b in blocks] == [("text", None), ("tool_use", {"n": 1})]


def test_async_stream(up, proxy):
    up.play(stream(text=["He", "llo"]))

    async def run():
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=20) as c:
            async with c.messages.stream(**ASK) as s:
                return "".join([t async for t in s.text_stream]), await s.get_final_message()
    heard, m = asyncio.run(run())
    assert heard == m.content[0].text == "Hello"


@pytest.mark.parametrize("size", [1, 7])
def test_characters_split_over_chunks(up, client, size):
    text = "Zwölf 🦊 füchse, 漢字"
    whole = b"".join(sse(chunk({"content": text}))[:-2] + b"\r\n\r\n" for _ in range(3)) + b"".join(stream().parts)
    up.play(Answer(headers=SSE, parts=[whole[i:i + size] for i in range(0, len(whole), size)]))
    with client.messages.stream(**ASK) as s:
        assert s.get_final_text() == text * 3


def test_written_cache_tokens(up, client):
    use = usage(100, 7, prompt_tokens_details={"cached_tokens": 10, "cache_write_tokens": 50})
    up.play(stream(text="ok", use=use))
    with client.messages.stream(**ASK) as s:
        u = s.get_final_message().usage
    assert (u.input_tokens, u.cache_read_input_tokens, u.cache_creation_input_tokens, u.output_tokens) == (40, 10, 50, 7)


def test_parallel_calls_in_order(up, client):
    up.play(stream(calls=[call("a1", "read", {"n": 1}), call("b2", "read", {"n": 2}), call("c3", "write", "")]))
    with client.messages.stream(**ASK, tools=[{"name": n, "input_schema": {"type": "object"}} for n in ("read", "write")]) as s:
        m = s.get_final_message()
    assert [(b.id, b.name, b.input) for b in m.content] == [("a1", "read", {"n": 1}), ("b2", "read", {"n": 2}), ("c3", "write", {})]


def test_thinking_streams_with_its_signature(up, client):
    up.play(stream({"reasoning_content": "Let me "}, {"reasoning_content": "think."}, text="42"))
    with client.messages.stream(**{**ASK, "model": "deep", "max_tokens": 4096},
                                thinking={"type": "enabled", "budget_tokens": 2048}) as s:
        seen = "".join(e.thinking for e in s if e.type == "thinking")
        m = s.get_final_message()
    assert seen == "Let me think."
    assert [b.type for b in m.content] == ["thinking", "text"]
    assert m.content[0].thinking == "Let me think." and m.content[0].signature.startswith("cp1.")


def test_cut_after_text_raises(up, client):
    up.play(stream(text=["half of", " it"], done=False, end="cut"))
    with pytest.raises(anthropic.APIError) as e:
        with client.messages.stream(**ASK) as s:
            s.get_final_message()
    assert "closed the stream before the response was complete" in str(e.value)


def test_reset_after_text_raises(up, client):
    up.play(stream(text=["half"], done=False, end="reset"))
    with pytest.raises(anthropic.APIError):
        with client.messages.stream(**ASK) as s:
            s.get_final_message()


def test_clean_end_without_finish_reason_raises(up, client):
    up.play(stream(text=["half"], done=False))
    with pytest.raises(anthropic.APIError):
        with client.messages.stream(**ASK) as s:
            s.get_final_message()


def test_error_in_mid_stream_raises_with_its_words(up, client):
    up.play(Answer(headers=SSE, parts=[sse(chunk({"content": "par"})), sse({"error": {"message": "GPU fell off", "code": 500}})]))
    with pytest.raises(anthropic.APIError) as e:
        with client.messages.stream(**ASK) as s:
            s.get_final_message()
    assert "GPU fell off" in str(e.value)


def test_error_before_the_first_event_is_an_http_error(up, client):
    up.play(error(429, "slow down", "rate_limit_error"))
    with pytest.raises(anthropic.RateLimitError) as e:
        with client.messages.stream(**ASK) as s:
            s.get_final_message()
    assert e.value.status_code == 429 and "slow down" in str(e.value)


def test_idle_stream_ends_with_an_error(up, hasty):
    from conftest import connect
    up.play(Answer(headers=SSE, parts=[sse(chunk({"content": "a"})), sse(chunk({"content": "b"}))], pause=6))
    with connect(hasty) as c, pytest.raises(anthropic.APIError):
        with c.messages.stream(**ASK) as s:
            s.get_final_message()


def test_leaving_early_ends_the_upstream_request(up, client):
    import time
    left = []

    def endless(seen):
        class Parts(list):
            def __iter__(self):
                for i in range(200):
                    yield sse(chunk({"content": f"{i} "}))
                left.append("ran to its end")
        return Answer(headers=SSE, parts=Parts(), pause=0.05)
    up.play(endless)
    with client.messages.stream(**ASK) as s:
        next(iter(s.text_stream))
    time.sleep(1.0)
    assert left == []
    with client.messages.stream(**ASK) as s:     # and the proxy serves the next one
        assert next(iter(s.text_stream)).startswith("0")
