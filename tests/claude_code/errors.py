"""What the upstream refuses: what Claude Code tells its user, and what it tries again."""
from __future__ import annotations

from pathlib import Path

from stage import KEY, scenario, tools_of
from upstream import either, error


@scenario
def error_in_the_upstreams_words(t):
    t.up.play(error(403, "your plan does not include this model", "permission_error"))
    s = t.claude("Hello?", fails=True)
    assert "your plan does not include this model" in s.answer, s.result
    assert s.result["api_error_status"] == 403 and len(t.up.seen) == 1, (s.result, len(t.up.seen))


@scenario
def rate_limit(t):
    """429 with retry-after, longer than the proxy itself would wait: waits that long, then goes on."""
    t.up.play(error(429, "Rate limit reached, slow down", "requests", "rate_limit_exceeded", {"retry-after": "3"}), either("Here I am."))
    s = t.claude("Hello?")
    assert s.answer == "Here I am." and len(t.up.seen) == 2, (s.result, len(t.up.seen))
    waited = t.up.seen[1].at - t.up.seen[0].at
    assert waited >= 3, waited
    retry = next(e for e in s.lines if e.get("subtype") == "api_retry")
    assert retry["error_status"] == 429 and 3000 <= retry["retry_delay_ms"] < 6000, retry


@scenario
def overloaded(t):
    """The proxy tries once more, then Claude Code does."""
    busy = error(503, "The server is overloaded", "server_error")
    t.up.play(busy, busy, either("Here I am."))
    s = t.claude("Hello?")
    assert s.answer == "Here I am." and len(t.up.seen) == 3, (s.result, len(t.up.seen))
    assert next(e for e in s.lines if e.get("subtype") == "api_retry")["error_status"] == 529, s.lines


@scenario
def account_is_empty(t):
    """No money: waiting does not help, so nothing is tried again."""
    t.up.play(error(429, "You exceeded your current quota, please check your plan and billing details.", "insufficient_quota",
                    "insufficient_quota"))
    s = t.claude("Hello?", fails=True, env={"CLAUDE_CODE_MAX_RETRIES": None})
    assert "exceeded your current quota" in s.answer and len(t.up.seen) == 1, (s.result, len(t.up.seen))


@scenario
def upstream_refuses_its_key(t):
    """The user is told whose key it is at once, not after minutes; not to log in."""
    t.serve(provider_keys={"name": "acme"})
    t.up.play(error(401, "Incorrect API key provided: x-api-key sk-t**77aa.", "invalid_request_error", "invalid_api_key"))
    s = t.claude("Hello?", fails=True, env={"CLAUDE_CODE_MAX_RETRIES": None}, limit=60)
    assert "`acme`" in s.answer and "Incorrect API key provided" in s.answer and "401" in s.answer, s.result
    assert "login" not in s.answer.lower() and "log in" not in s.answer.lower() and "x-api-key" not in s.answer, s.answer
    assert s.result["api_error_status"] == 401 and len(t.up.seen) == 1, (s.result, len(t.up.seen))


@scenario
def proxy_refuses_the_clients_key(t):
    t.up.play(either("never"))
    s = t.claude("Hello?", fails=True, key="wrong", env={"CLAUDE_CODE_MAX_RETRIES": None}, limit=60)
    assert "401" in s.answer and "login" not in s.answer.lower() and not t.up.seen, (s.result, len(t.up.seen))
    assert KEY not in s.stdout


@scenario
def unknown_model(t):
    """The ids that exist are in the message."""
    t.up.play(either("never"))
    s = t.claude("Hello?", fails=True, model="no-such-model")
    assert "no-such-model" in s.answer and not t.up.seen, s.result


@scenario
def budget_is_used_up(t):
    """Said at once, in words that tell whose budget it is and when it begins anew; nothing is tried again, however long that is."""
    t.serve(model={"price": {"input": 1, "output": 1}}, keys=[{"name": "alice", "key": "open-alice-3f9c", "budget": 0}],
            budgets={"path": str(Path(t.home) / "spent.redb")})
    t.up.play(either("never"))
    s = t.claude("Hello?", fails=True, key="open-alice-3f9c", env={"CLAUDE_CODE_MAX_RETRIES": None}, limit=60)
    assert "the budget of key `alice` for today is used up" in s.answer and "midnight UTC" in s.answer, s.result
    assert s.result["api_error_status"] == 429 and not t.up.seen, (s.result, len(t.up.seen))
    assert not [e for e in s.lines if e.get("subtype") == "api_retry"], s.lines
    # another key of the same proxy works
    t.up.play(either("Here I am."))
    assert t.claude("Hello?").answer == "Here I am."


@scenario
def key_may_not_use_the_model(t):
    """Said at once, with the model's name."""
    t.serve(others=({"id": "other"},), keys=[{"name": "alice", "key": "open-alice-3f9c", "models": ["other"]}])
    t.up.play(either("Here I am."))
    s = t.claude("Hello?", fails=True, key="open-alice-3f9c", env={"CLAUDE_CODE_MAX_RETRIES": None}, limit=60)
    assert "the key `alice` may not use the model `glm-test`" in s.answer and "login" not in s.answer.lower(), s.result
    assert s.result["api_error_status"] == 403 and not t.up.seen, (s.result, len(t.up.seen))
    assert t.claude("Hello?", key="open-alice-3f9c", model="other").answer == "Here I am."


LIMITS = {
    "openai": ("max_tokens is too large: {asked}. This model supports at most 16384 completion tokens, whereas you provided {asked}.", 16384),
    "deepseek": ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
    "qwen": ("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]", 8192),
    "groq": ("`max_completion_tokens` must be less than or equal to `16384`, the maximum value for `max_completion_tokens` is less than "
             "the `context_window` for this model", 16384),
}


def asks_for_less(t, profile: str, words: str, limit: int) -> None:
    def asked(seen):
        return seen.body.get("max_completion_tokens") or seen.body["max_tokens"]

    def answer(seen):
        if asked(seen) > limit:
            return error(400, words.format(asked=asked(seen)))
        return either("Short enough.")(seen)
    t.serve(profile)
    t.up.play(answer)
    s = t.claude("Hello?")
    assert s.answer == "Short enough.", s.result
    assert [asked(r) for r in t.up.seen] == [32000, limit], [asked(r) for r in t.up.seen]


def register() -> None:
    for family, (words, limit) in LIMITS.items():
        def play(t, family=family, words=words, limit=limit):
            asks_for_less(t, family, words, limit)
        play.__name__ = f"max_tokens_too_high_{family}"
        scenario(play)


register()


@scenario
def max_tokens_lowered_by_the_configuration(t):
    t.serve(model={"max_output_tokens": 8192})
    t.up.play(either("Short enough."))
    s = t.claude("Hello?")
    assert s.answer == "Short enough." and t.up.only.body["max_tokens"] == 8192, t.up.only.body["max_tokens"]


@scenario
def bad_request_of_unknown_kind(t):
    """Claude Code tries without its newest features, then says what the upstream said."""
    t.up.play(error(400, "the gizmo is out of range", "invalid_request_error"))
    s = t.claude("Hello?", fails=True)
    assert "the gizmo is out of range" in s.answer and s.result["api_error_status"] == 400, s.result
    assert 1 <= len(t.up.seen) <= 6 and all(tools_of(r) for r in t.up.seen), len(t.up.seen)
