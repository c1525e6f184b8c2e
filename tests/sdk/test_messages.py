"""messages.create: one request, one answer."""
from __future__ import annotations

import asyncio

import anthropic
import pytest
from conftest import KEY, USER
from upstream import either, usage, whole


def test_create(up, ask):
    up.play(whole("Hello!", use=usage(12, 3)))
    m = ask()
    assert (m.type, m.role, m.model, m.stop_reason, m.stop_sequence) == ("message", "assistant", "plain", "end_turn", None)
    assert [b.text for b in m.content] == ["Hello!"]
    assert (m.usage.input_tokens, m.usage.output_tokens) == (12, 3)
    assert m.id.startswith("msg_")
    seen = up.only
    assert seen.path == "/v1/chat/completions"
    assert seen.body["model"] == "remote-plain"
    assert seen.body["max_tokens"] == 64
    assert seen.messages == USER
    assert not seen.body.get("stream")


def test_keys_stay_on_their_side(up, ask):
    up.play(whole("ok"))
    ask()
    assert up.only.headers["authorization"] == "Bearer sk-test-upstream-77aa"
    assert KEY not in str(up.only.headers) + up.only.raw.decode()


def test_system_as_text_and_as_blocks(up, ask):
    up.play(whole("ok"))
    ask(system="Be brief.")
    ask(system=[{"type": "text", "text": "x-anthropic-billing-header: cc_version=2.abc; cc_entrypoint=cli;"},
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "Be kind."}])
    assert up.seen[0].messages[0] == {"role": "system", "content": "Be brief."}
    assert up.seen[1].messages[0] == {"role": "system", "content": "Be brief.\n\nBe kind."}


def test_conversation_keeps_its_roles_and_order(up, ask):
    up.play(whole("ok"))
    ask(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
                  {"role": "user", "content": "d"}])
    assert up.only.messages == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                                {"role": "user", "content": "c\n\nd"}]


def test_stop_sequences(up, ask):
    up.play(whole("one", finish="stop", use=usage()))
    ask(stop_sequences=["END", " ", "STOP"])
    assert up.only.body["stop"] == ["END", "STOP"]


def test_sampling_goes_through_and_top_k_is_reported(up, client):
    up.play(whole("ok"))
    raw = client.messages.with_raw_response.create(
        model="plain", max_tokens=9, messages=USER, extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 4})
    assert (up.only.body["temperature"], up.only.body["top_p"]) == (0.5, 0.9)
    assert "top_k" not in up.only.body
    assert raw.headers["x-claude-proxy-warnings"] == "dropped:top_k"


@pytest.mark.parametrize("finish,stop_reason", [("length", "max_tokens"), ("content_filter", "refusal"), ("stop", "end_turn")])
def test_stop_reason(up, ask, finish, stop_reason):
    up.play(whole("cut", finish=finish))
    assert ask().stop_reason == stop_reason


def test_cached_tokens_are_not_counted_twice(up, ask):
    up.play(whole("ok", use=usage(100, 7, cached=80)))
    u = ask().usage
    assert (u.input_tokens, u.cache_read_input_tokens, u.cache_creation_input_tokens, u.output_tokens) == (20, 80, 0, 7)


def test_written_cache_tokens_and_thinking_tokens(up, ask):
    up.play(whole("ok", use=usage(100, 7, prompt_tokens_details={"cached_tokens": 10, "cache_write_tokens": 50},
                                  completion_tokens_details={"reasoning_tokens": 3})))
    u = ask().usage
    assert (u.input_tokens, u.cache_read_input_tokens, u.cache_creation_input_tokens, u.output_tokens) == (40, 10, 50, 7)
    assert u.to_dict()["output_tokens_details"] == {"thinking_tokens": 3}


def test_two_megabytes(up, ask):
    long = "äöü 🌍 line\n" * (2**21 // 17)
    up.play(whole(long))
    m = ask(messages=[{"role": "user", "content": long}])
    assert len(up.only.raw) > 2_000_000
    assert up.only.messages[0]["content"] == long and m.content[0].text == long


def test_request_id(up, client):
    up.play(whole("ok"))
    raw = client.messages.with_raw_response.create(model="plain", max_tokens=9, messages=USER)
    m = raw.parse()
    assert raw.headers["request-id"].startswith("req_")
    assert m._request_id == raw.headers["request-id"]


def test_alias(up, ask):
    up.play(whole("ok"))
    m = ask(model="claude-opus-5-20260901")
    assert m.model == "claude-opus-5-20260901"
    assert up.only.body["model"] == "remote-plain"


def test_bearer_token(proxy, up):
    up.play(whole("ok"))
    with anthropic.Anthropic(base_url=proxy.url, auth_token=KEY, api_key=None, max_retries=0) as c:
        assert c.messages.create(model="plain", max_tokens=9, messages=USER).content[0].text == "ok"


def test_twenty_at_once_with_the_async_client(proxy, up):
    up.play(lambda seen: either(f"re {seen.messages[0]['content']}")(seen))

    async def all_of_them():
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=20) as c:
            async def one(i):
                m = await c.messages.create(model="plain", max_tokens=9, messages=[{"role": "user", "content": f"n{i}"}])
                return m.content[0].text

            async def streamed(i):
                async with c.messages.stream(model="plain", max_tokens=9, messages=[{"role": "user", "content": f"n{i}"}]) as s:
                    return "".join([t async for t in s.text_stream])
            return await asyncio.gather(*[(one if i % 2 else streamed)(i) for i in range(20)])
    assert asyncio.run(all_of_them()) == [f"re n{i}" for i in range(20)]


def test_max_tokens_of_zero_calls_nobody(up, ask):
    m = ask(max_tokens=0)
    assert (m.content, m.stop_reason, m.usage.output_tokens) == ([], "max_tokens", 0)
    assert up.seen == []
