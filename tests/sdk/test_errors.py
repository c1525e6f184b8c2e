"""What a program sees when something fails: class, status, words."""
from __future__ import annotations

import asyncio
import time

import anthropic
import pytest
from conftest import KEY, USER, config, connect
from proxy import Proxy
from upstream import Answer, error, whole

OVERLOADED = getattr(anthropic, "OverloadedError", anthropic.APIStatusError)     # 0.60 has it, but not in public
TOO_LARGE = getattr(anthropic, "RequestTooLargeError", None) or getattr(anthropic, "ContentTooLargeError", anthropic.APIStatusError)


@pytest.mark.parametrize("status,cls,kind", [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (402, getattr(anthropic, "PaymentRequiredError", anthropic.APIStatusError), "billing_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (409, anthropic.ConflictError, "conflict_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (502, anthropic.InternalServerError, "api_error"),
])
def test_upstream_status(up, ask, status, cls, kind):
    up.play(error(status, f"upstream words {status}"))
    with pytest.raises(cls) as e:
        ask()
    assert e.value.status_code == status
    assert e.value.body["error"]["type"] == kind
    assert f"upstream words {status}" in e.value.body["error"]["message"]
    assert e.value.request_id.startswith("req_")


def test_422_is_a_bad_request(up, ask):
    up.play(Answer(422, {"content-type": "application/json"}, [b'{"detail":[{"loc":["body","n"],"msg":"too small"}]}']))
    with pytest.raises(anthropic.BadRequestError) as e:
        ask()
    assert "too small" in str(e.value)


@pytest.mark.parametrize("status", [408, 504, 524])
def test_gateway_timeout(up, ask, status):
    up.play(error(status, "late"))
    with pytest.raises(getattr(anthropic, "GatewayTimeoutError", anthropic.InternalServerError)) as e:
        ask()
    assert e.value.status_code == 504 and e.value.body["error"]["type"] == "timeout_error"


@pytest.mark.parametrize("status", [503, 529])
def test_overloaded(up, ask, status):
    up.play(error(status, "busy"))
    with pytest.raises(OVERLOADED) as e:
        ask()
    assert e.value.status_code == 529 and e.value.body["error"]["type"] == "overloaded_error"


def test_refused_upstream_key(up, ask):
    up.play(error(401, "Incorrect API key provided: sk-test-****77aa"))
    with pytest.raises(anthropic.AuthenticationError) as e:
        ask()
    message = e.value.body["error"]["message"]
    assert "house" in message and "key" in message          # whose key it was
    assert "x-api-key" not in message.lower() and "sk-test-upstream-77aa" not in message


def test_wrong_key(proxy, up):
    with connect(proxy, api_key="wrong") as c, pytest.raises(anthropic.AuthenticationError) as e:
        c.messages.create(model="plain", max_tokens=9, messages=USER)
    assert e.value.body["error"]["type"] == "authentication_error"
    assert KEY not in str(e.value) and up.seen == []


def test_unknown_model_lists_the_known(up, ask):
    with pytest.raises(anthropic.NotFoundError) as e:
        ask(model="no-such")
    message = e.value.body["error"]["message"]
    assert "no-such" in message and all(id in message for id in ("plain", "blind", "small", "deep", "oai", "dead"))
    assert up.seen == []


def test_own_body_limit(shared_upstream):
    from conftest import config
    from proxy import Proxy
    with Proxy(config(shared_upstream, max_body_bytes=20000)) as p, connect(p) as c:
        shared_upstream.play(whole("ok"))
        with pytest.raises(TOO_LARGE) as e:
            c.messages.create(model="plain", max_tokens=9, messages=[{"role": "user", "content": "x" * 30000}])
        assert e.value.status_code == 413 and e.value.body["error"]["type"] == "request_too_large"
        assert shared_upstream.seen == []
        c.messages.create(model="plain", max_tokens=9, messages=[{"role": "user", "content": "x" * 10000}])


def test_upstream_413(up, ask):
    up.play(Answer(413, {"content-type": "text/html"}, [b"<html>Too large</html>"]))
    with pytest.raises(TOO_LARGE) as e:
        ask()
    assert e.value.body["error"]["type"] == "request_too_large" and "<html>" not in str(e.value)


@pytest.mark.parametrize("messages,path", [
    ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0"),
    ([{"role": "user", "content": 5}], "messages.0.content"),
    ([{"role": "nobody", "content": "x"}], "messages.0.role"),
])
def test_invalid_request_names_the_place(up, ask, messages, path):
    with pytest.raises(anthropic.BadRequestError) as e:
        ask(messages=messages)
    assert path in e.value.body["error"]["message"]
    assert up.seen == []


def test_context_overflow(up, ask):
    up.play(error(400, "This model's maximum context length is 1000 tokens. However, your messages resulted in 1009 tokens.",
                  code="context_length_exceeded"))
    with pytest.raises(anthropic.BadRequestError) as e:
        ask(model="small")
    assert e.value.body["error"]["message"] == "prompt is too long: 1009 tokens > 1000 maximum"


def test_retry_after_is_handed_on_and_waited_for(proxy, up):
    up.play(error(429, "slow down", headers={"retry-after": "1"}), whole("ok"))
    with connect(proxy, max_retries=1) as c:
        t = time.monotonic()
        assert c.messages.create(model="plain", max_tokens=9, messages=USER).content[0].text == "ok"
    assert len(up.seen) == 2 and time.monotonic() - t >= 0.9
    up.play(error(429, "slow down", headers={"retry-after": "7"}))
    with connect(proxy) as c, pytest.raises(anthropic.RateLimitError) as e:
        c.messages.create(model="plain", max_tokens=9, messages=USER)
    assert e.value.response.headers["retry-after"] == "7"


def test_no_credit_is_not_retried(proxy, up):
    up.play(error(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota"))
    with connect(proxy, max_retries=2) as c, pytest.raises(anthropic.RateLimitError) as e:
        c.messages.create(model="plain", max_tokens=9, messages=USER)
    assert len(up.seen) == 1 and e.value.response.headers["x-should-retry"] == "false"


def test_upstream_that_is_down(up, ask):
    with pytest.raises(anthropic.InternalServerError) as e:
        ask(model="dead")
    assert e.value.status_code == 502 and e.value.body["error"]["type"] == "api_error"


def test_upstream_that_hangs_up(up, ask):
    up.play(Answer(end="none"))
    with pytest.raises(anthropic.InternalServerError) as e:
        ask()
    assert e.value.status_code == 502


def test_upstream_that_is_slow(up, hasty):
    up.play(Answer(delay=3))
    with connect(hasty) as c, pytest.raises(anthropic.InternalServerError) as e:
        c.messages.create(model="plain", max_tokens=9, messages=USER)
    assert e.value.status_code == 504 and e.value.body["error"]["type"] == "timeout_error"


def test_client_that_has_no_patience(proxy, up):
    up.play(Answer(delay=2))
    with connect(proxy, timeout=0.5) as c, pytest.raises(anthropic.APITimeoutError):
        c.messages.create(model="plain", max_tokens=9, messages=USER)


def test_nobody_listens():
    from proxy import free_port
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{free_port()}", api_key="k", max_retries=0) as c:
        with pytest.raises(anthropic.APIConnectionError):
            c.messages.create(model="plain", max_tokens=9, messages=USER)


def test_whole_answer_cut_short(up, ask):
    up.play(Answer(headers={"content-type": "application/json"}, parts=[b'{"choices":[{"index":0,"mess'], end="cut"))
    with pytest.raises(anthropic.InternalServerError) as e:
        ask()
    assert e.value.status_code == 502


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_sent_again_as_often_as_allowed(proxy, up, status):
    up.play(error(status, headers={"retry-after-ms": "20"}))
    with connect(proxy, max_retries=2) as c, pytest.raises(anthropic.APIStatusError):
        c.messages.create(model="plain", max_tokens=9, messages=USER)
    # The proxy tries some of them once more itself, as long as the provider is not in trouble.
    most = 6 if status in (429, 502, 503, 529) else 3
    assert 3 <= len(up.seen) <= most
    up.play(error(status, headers={"retry-after-ms": "20"}), whole("ok"))
    with connect(proxy, max_retries=2) as c:
        assert c.messages.create(model="plain", max_tokens=9, messages=USER).content[0].text == "ok"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_not_sent_again(proxy, up, status):
    up.play(error(status))
    with connect(proxy, max_retries=2) as c, pytest.raises(anthropic.APIStatusError):
        c.messages.create(model="plain", max_tokens=9, messages=USER)
    assert len(up.seen) == 1


def test_errors_of_the_async_client(proxy, up):
    up.play(error(429, "slow down", "rate_limit_error"))

    async def run():
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=20) as c:
            await c.messages.create(model="plain", max_tokens=9, messages=USER)
    with pytest.raises(anthropic.RateLimitError) as e:
        asyncio.run(run())
    assert e.value.status_code == 429 and e.value.request_id.startswith("req_")


def test_used_up_budget(shared_upstream, tmp_path):
    """Raised at once, although the SDK tries a 429 again by itself."""
    shared_upstream.play(whole("one"), whole("never"))
    one = config(shared_upstream, keys=[{"name": "alice", "key": "open-alice", "budget": 1e-6}], budgets={"path": str(tmp_path / "spent.redb")})
    one["providers"][0]["models"][0]["price"] = {"input": 1, "output": 1}
    with Proxy(one) as proxy:
        client = connect(proxy, api_key="open-alice", max_retries=2)
        assert client.messages.create(model="plain", max_tokens=64, messages=USER).content[0].text == "one"
        with pytest.raises(anthropic.RateLimitError, match="the budget of key `alice` for today is used up") as e:
            for _ in range(50):                           # the last one is counted when it has ended
                shared_upstream.play(whole("one"))
                client.messages.create(model="plain", max_tokens=64, messages=USER)
        assert e.value.body["error"]["type"] == "rate_limit_error"
        assert 0 < int(e.value.response.headers["retry-after"]) <= 24 * 3600 and not shared_upstream.seen


def test_model_that_the_key_may_not_use(shared_upstream):
    shared_upstream.play(whole("never"))
    with Proxy(config(shared_upstream, keys=[{"name": "alice", "key": "open-alice", "models": ["deep"]}])) as proxy:
        client = connect(proxy, api_key="open-alice", max_retries=2)
        with pytest.raises(anthropic.PermissionDeniedError, match="may not use the model `plain`"):
            client.messages.create(model="plain", max_tokens=64, messages=USER)
        assert [m.id for m in client.models.list()] == ["deep"] and not shared_upstream.seen
