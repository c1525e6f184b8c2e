"""How each provider answers: where its reasoning stands, how tool calls come, what ends the stream, where usage is."""
from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from rules import refusal  # noqa: E402
from upstream import Answer, Seen, Upstream, sse  # noqa: E402

FIELD = {"deepseek": "reasoning_content", "zai": "reasoning_content", "moonshot": "reasoning_content", "qwen": "reasoning_content",
         "xai": "reasoning_content", "sglang": "reasoning_content", "llamacpp": "reasoning_content", "groq": "reasoning", "cerebras": "reasoning",
         "vllm": "reasoning", "ollama": "reasoning"}
DETAILS = {"openrouter", "minimax"}
SIGNATURE = "c2lnbmF0dXJlLW9mLXRoZS1zdGVw"


def details(provider: str, text: str) -> list:
    if provider == "minimax":
        return [{"type": "reasoning.text", "id": "reasoning-text-1", "format": "MiniMax-response-v1", "index": 0, "text": text}]
    return [{"type": "reasoning.text", "text": text, "signature": SIGNATURE, "id": "rs_1", "format": "anthropic-claude-v1", "index": 0}]


class Animal(Upstream):
    """One provider. Each answer: (reasoning, text, [(tool, arguments)])."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self.provider, self.refused, self.calls = provider, [], 0

    def says(self, *answers) -> None:
        queue = list(answers)

        def answer(seen: Seen) -> Answer:
            wrong = refusal(self.provider, seen.body)
            if wrong:
                self.refused.append(wrong)
                return self._refuse(wrong)
            said = queue.pop(0)
            return (self._stream if seen.body.get("stream") else self._whole)(seen, *said)
        self.play(answer)

    def _refuse(self, message: str) -> Answer:
        json_type = {"content-type": "application/json"}
        if self.provider == "minimax":
            body = {"id": "x", "choices": None, "base_resp": {"status_code": 2013, "status_msg": f"invalid params, {message}"}}
            return Answer(200, json_type, [json.dumps(body).encode()])
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        body = {"error": error}
        if self.provider == "gemini":
            body = [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]
        if self.provider == "mistral":
            return Answer(422, json_type, [json.dumps({"object": "error", "message": message, "type": "invalid_request_error"}).encode()])
        return Answer(400, json_type, [json.dumps(body).encode()])

    def _id(self, name: str) -> str:
        n, self.calls = self.calls, self.calls + 1
        return {"moonshot": f"functions.{name}:{n}", "mistral": f"mis{n:06d}", "gemini": ""}.get(self.provider, f"call_{n:024d}")

    def _calls(self, calls) -> list:
        out = []
        for n, (name, arguments) in enumerate(calls):
            one = {"id": self._id(name), "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            if self.provider == "gemini" and n == 0:
                one["extra_content"] = {"google": {"thought_signature": SIGNATURE}}
            out.append(one)
        return out

    def _usage(self) -> dict:
        use = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        if self.provider == "deepseek":
            use |= {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}
        elif self.provider == "moonshot":
            use |= {"cached_tokens": 64}
        elif self.provider == "mistral":
            use |= {"num_cached_tokens": 64}
        elif self.provider == "xai":
            use |= {"total_tokens": 127, "completion_tokens_details": {"reasoning_tokens": 7}, "prompt_tokens_details": {"cached_tokens": 64}}
        else:
            use |= {"prompt_tokens_details": {"cached_tokens": 64}}
        return use

    def _finish(self, calls) -> str:
        return "tool_calls" if calls and self.provider not in ("gemini", "ollama") else "stop"

    def _message(self, reasoning, text, calls, base: dict) -> dict:
        message = {**base, "content": text}
        if calls:
            message["tool_calls"] = calls
        if reasoning and self.provider in FIELD:
            message[FIELD[self.provider]] = reasoning
        if reasoning and self.provider in DETAILS:
            message["reasoning_details"] = details(self.provider, reasoning)
            if self.provider == "openrouter":
                message["reasoning"] = reasoning
        if reasoning and self.provider == "mistral":
            message["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": reasoning}]}, {"type": "text", "text": text}]
        if reasoning and self.provider == "generic":
            message["content"] = f"<think>\n{reasoning}\n</think>\n\n{text}"
        return message

    def _whole(self, seen, reasoning, text, calls) -> Answer:
        calls = self._calls(calls)
        message = self._message(reasoning, text, calls, {"role": "assistant"})
        choices = [{"index": 0, "message": message, "finish_reason": self._finish(calls)}]
        if self.provider == "copilot" and calls:
            choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "tool_calls"},
                       {"index": 0, "message": {"role": "assistant", "tool_calls": calls}, "finish_reason": "tool_calls"}]
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "served", "choices": choices, "usage": self._usage()}
        if self.provider == "minimax":
            body["base_resp"] = {"status_code": 0, "status_msg": ""}
        return Answer(headers={"content-type": "application/json"}, parts=[json.dumps(body, ensure_ascii=False).encode()])

    def _deltas(self, reasoning, text, calls) -> list:
        half = lambda s: (s[: len(s) // 2], s[len(s) // 2:])  # noqa: E731
        out = [{"role": "assistant", "content": ""}]
        if reasoning:
            for n, part in enumerate(half(reasoning)):
                if self.provider in FIELD:
                    out.append({FIELD[self.provider]: part})
                elif self.provider in DETAILS:
                    piece = details(self.provider, part)
                    if self.provider == "openrouter" and n == 0:
                        del piece[0]["signature"]
                    out.append({"reasoning_details": piece, **({"reasoning": part} if self.provider == "openrouter" else {})})
                elif self.provider == "mistral":
                    out.append({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": part}]}]})
                elif self.provider == "generic":
                    out.append({"content": ("<think>\n" + part) if n == 0 else part + "\n</think>\n\n"})
        out += [{"content": part} for part in half(text) if part]
        for n, call in enumerate(calls):
            args = call["function"]["arguments"]
            if self.provider in ("xai", "cerebras", "ollama", "gemini"):           # each call whole, Gemini's without an index
                out.append({"tool_calls": [call if self.provider == "gemini" else {**call, "index": n}]})
                continue
            out.append({"tool_calls": [{**call, "index": n, "function": {**call["function"], "arguments": ""}}]})
            for part in half(args):
                again = {"id": "", "type": "function"} if self.provider == "qwen" else {}
                name = {"name": ""} if self.provider == "qwen" else {}
                out.append({"tool_calls": [{"index": n, **again, "function": {**name, "arguments": part}}]})
        return out

    def _stream(self, seen, reasoning, text, calls) -> Answer:
        calls = self._calls(calls)

        def chunk(choices, **more):
            return sse({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "served", "choices": choices, **more})

        parts = []
        if self.provider == "azure":
            parts.append(sse({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}))
        if self.provider == "openrouter":
            parts.append(b": OPENROUTER PROCESSING\n\n")
        if self.provider == "deepseek":
            parts.append(b": keep-alive\n\n")
        for delta in self._deltas(reasoning, text, calls):
            index = 1 if self.provider == "copilot" and "tool_calls" in delta else 0
            parts.append(chunk([{"index": index, "delta": delta, "finish_reason": None}]))
        last = {"index": 0, "delta": {}, "finish_reason": self._finish(calls)}
        use = self._usage()
        asked = (seen.body.get("stream_options") or {}).get("include_usage")
        if self.provider == "moonshot":
            parts.append(chunk([{**last, "usage": use}]))
        elif self.provider == "groq":
            parts.append(chunk([last], x_groq={"id": "req", "usage": use}))
        elif self.provider in ("mistral", "zai", "cerebras"):
            parts.append(chunk([last], usage=use))
        else:
            parts.append(chunk([last]))
            if asked:
                parts.append(chunk([], usage=use))
        parts.append(b"data: [DONE]\n\n")
        return Answer(headers={"content-type": "text/event-stream"}, parts=parts)
