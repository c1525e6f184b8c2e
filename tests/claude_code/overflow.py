"""A conversation that grows beyond the model's window: Claude Code compacts it and goes on, whatever the upstream calls it."""
from __future__ import annotations

from stage import results_of, scenario, text_of
from upstream import call, either, error

READS = 4
SUMMARY = "The four files were read; SUMMARY-OF-THE-SESSION."
WORDS = {
    "openai": error(400, "This model's maximum context length is 128000 tokens. However, your messages resulted in 130009 tokens. "
                    "Please reduce the length of the messages.", code="context_length_exceeded"),
    "vllm": error(400, "This model's maximum context length is 32768 tokens. However, you requested 0 output tokens and your prompt "
                  "contains at least 33000 input tokens, for a total of at least 33000 tokens. Please reduce the length of the input "
                  "prompt or the number of requested output tokens.", "BadRequestError", code=400),
    "llamacpp": error(400, "request (33000 tokens) exceeds the available context size (32768 tokens), try increasing it",
                      "exceed_context_size_error", code=400),
    "deepseek": error(400, "This model's maximum context length is 131072 tokens. However, you requested 165000 tokens (133000 in the "
                      "messages, 32000 in the completion). Please reduce the length of the messages or completion.",
                      code="invalid_request_error"),
    "zai": error(400, "Prompt exceeds max length", code="1261"),
    "qwen": error(400, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 98304]", code="invalid_parameter_error"),
    "gemini": error(400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
}


def compacts(t, profile: str, words) -> None:
    """Four files are read; the fifth request is too long; after the compaction the session ends well."""
    files = [t.file(f"part{i}.txt", f"line of part {i}\n" * 300) for i in range(READS)]
    kinds = []

    def answer(seen):
        asked = text_of(seen.messages[-1]["content"])
        if SUMMARY in seen.raw.decode():
            kinds.append("after")
            return either("All four are read.")(seen)
        if "<summary>" in asked and "TEXT ONLY" in asked:
            kinds.append("compact")
            return either(f"<analysis>Four reads.</analysis>\n<summary>{SUMMARY}</summary>")(seen)
        n = len(results_of(seen))
        if n >= READS:
            kinds.append("too long")
            return words
        kinds.append("read")
        return either(None, [call(f"call_{n}", "Read", {"file_path": files[n]})])(seen)
    t.serve(profile)
    t.up.play(answer)
    s = t.claude("Read the four files.")
    assert s.answer == "All four are read.", s.result
    assert any(e.get("subtype") == "compact_boundary" and e["compact_metadata"]["trigger"] == "auto" for e in s.lines), s.stdout[-2000:]
    # once too long, once compacted, once gone on: nothing is tried in vain
    assert kinds == ["read"] * READS + ["too long", "compact", "after"], kinds
    after = t.up.last
    assert SUMMARY in after.raw.decode() and "Read the four files." not in [text_of(m["content"]) for m in after.messages]


def register() -> None:
    for family, words in WORDS.items():
        def play(t, family=family, words=words):
            compacts(t, family, words)
        play.__name__ = f"compaction_{family}"
        scenario(play)


register()


@scenario
def too_long_from_the_start(t):
    """Nothing to compact: the user is told, with both numbers."""
    t.up.play(error(400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 12000 tokens.",
                    code="context_length_exceeded"))
    s = t.claude("Hello?", fails=True)
    assert s.result["terminal_reason"] == "prompt_too_long" and "Prompt is too long" in s.answer, s.result


@scenario
def answer_would_not_fit(t):
    """vLLM refuses prompt + max_tokens: asked again with what fits."""
    def answer(seen):
        if seen.body["max_tokens"] > 20768:
            return error(400, f"'max_tokens' or 'max_completion_tokens' is too large: {seen.body['max_tokens']}. This model's maximum "
                         f"context length is 32768 tokens and your request has 12000 input tokens ({seen.body['max_tokens']} > 32768 - "
                         "12000).", "BadRequestError", code=400)
        return either("It fits.")(seen)
    t.up.play(answer)
    s = t.claude("Hello?")
    assert s.answer == "It fits." and [r.body["max_tokens"] for r in t.up.seen] == [32000, 19768], [r.body["max_tokens"] for r in t.up.seen]
