"""What each provider refuses: a strict reading of its documentation and of its error messages as people met them.

A rule gives the message of a 400 or None. The zoo's upstream runs all rules of a provider on every request, so that a
wrong mapping fails as loudly here as it would there.
"""
from __future__ import annotations

import re

COMMON = {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "temperature", "top_p", "stop",
          "response_format", "user", "max_tokens"}
MESSAGE = {"system": {"role", "content", "name"}, "developer": {"role", "content", "name"},
           "user": {"role", "content", "name"}, "assistant": {"role", "content", "name", "tool_calls", "refusal"},
           "tool": {"role", "content", "tool_call_id", "name"}}


def thinking_on(body) -> bool:
    """DeepSeek V4, Kimi K2.5 and newer, Qwen 3.5 and newer think unless they are told not to."""
    kind = (body.get("thinking") or {}).get("type")
    return kind != "disabled" and body.get("enable_thinking") is not False


def forced(body) -> bool:
    choice = body.get("tool_choice")
    return choice == "required" or isinstance(choice, dict)


# --- rules of all ----------------------------------------------------------------

def well_formed(body):
    """What every implementation of Chat Completions checks."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: must be a list that is not empty"
    open_calls: list = []
    for i, m in enumerate(messages):
        role = m.get("role")
        if role not in MESSAGE:
            return f"messages[{i}].role: {role!r}"
        if role == "tool":
            if m.get("tool_call_id") not in open_calls:
                return f"messages[{i}]: a tool message must answer a preceding message with 'tool_calls'"
            open_calls.remove(m["tool_call_id"])
            continue
        if open_calls:
            return f"messages[{i}]: tool_call_ids without response messages: {open_calls}"
        if role == "assistant":
            calls = m.get("tool_calls")
            if calls is not None and not calls:
                return f"messages[{i}].tool_calls: empty array"
            if m.get("content") is None and not calls:
                return f"messages[{i}]: content or tool_calls must be set"
            open_calls = [c["id"] for c in calls or []]
            if len(set(open_calls)) != len(open_calls):
                return f"messages[{i}]: the same id twice"
            for c in calls or []:
                if set(c) - {"id", "type", "function", "index", "extra_content"} or set(c["function"]) != {"name", "arguments"}:
                    return f"messages[{i}].tool_calls: unknown or missing fields in {c}"
                if not isinstance(c["function"]["arguments"], str) or not c["function"]["arguments"].startswith("{"):
                    return f"messages[{i}].tool_calls: arguments are no JSON object"
        elif m.get("content") is None:
            return f"messages[{i}].content: null"
    if open_calls:
        return f"messages: tool_call_ids without response messages: {open_calls}"
    if "tools" in body and not body["tools"]:
        return "tools: [] is too short"
    if "tool_choice" in body and "tools" not in body:
        return "tool_choice is only allowed when tools are specified"
    if body.get("stream_options") and not body.get("stream"):
        return "stream_options is only allowed when streaming"
    for t in body.get("tools", []):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", t["function"]["name"]):
            return f"tools: the name {t['function']['name']!r}"
        if t["function"].get("parameters", {}).get("type") != "object":
            return "tools: parameters must be of type object"
    return None


# --- building blocks ---------------------------------------------------------------

def fields(*more, without=()):
    """Unknown top-level fields are refused."""
    known = (COMMON | set(more)) - set(without)

    def rule(body):
        unknown = set(body) - known
        return f"Unrecognized request arguments supplied: {sorted(unknown)}" if unknown else None
    return rule


def message_fields(**more):
    """Unknown fields of messages are refused."""
    def rule(body):
        for i, m in enumerate(body["messages"]):
            unknown = set(m) - MESSAGE[m["role"]] - set(more.get(m["role"], ()))
            if unknown:
                return f"property 'messages.{i}.{sorted(unknown)[0]}' is unsupported"
        return None
    return rule


def choices(*allowed):
    """`named`: a function may be named."""
    def rule(body):
        choice = body.get("tool_choice")
        kind = "named" if isinstance(choice, dict) else choice
        return None if choice is None or kind in allowed else f"tool_choice {choice!r} is not supported"
    return rule


def stops(most):
    def rule(body):
        stop = body.get("stop")
        stop = [stop] if isinstance(stop, str) else stop or []
        return f"stop: at most {most}, got {len(stop)}" if len(stop) > most or ("stop" in body and most == 0) else None
    return rule


def ids(pattern, what):
    def rule(body):
        for m in body["messages"]:
            for id in [c["id"] for c in m.get("tool_calls") or []] + ([m["tool_call_id"]] if m["role"] == "tool" else []):
                if not re.fullmatch(pattern, id):
                    return f"Tool call id was {id} but must be {what}"
        return None
    return rule


def system_first(body):
    """Chat templates raise this."""
    late = [i for i, m in enumerate(body["messages"]) if m["role"] in ("system", "developer") and i > 0]
    return f"System message must be at the beginning (found one at {late[0]})" if late else None


def no_images(body):
    parts = [p for m in body["messages"] if isinstance(m.get("content"), list) for p in m["content"]]
    kinds = {p["type"] for p in parts} - {"text"}
    return f"unknown variant `{sorted(kinds)[0]}`, expected `text`" if kinds else None


def images_as_data(body):
    for m in body["messages"]:
        for p in m["content"] if isinstance(m.get("content"), list) else ():
            if p["type"] == "image_url" and not p["image_url"]["url"].startswith("data:"):
                return "invalid image input: only base64 data is supported"
    return None


def no_forced_choice_while_thinking(body):
    return "Thinking mode does not support this tool_choice" if forced(body) and thinking_on(body) else None


def default_sampling(body):
    if body.get("temperature", 1) != 1 or body.get("top_p", 1) != 1:
        return "invalid temperature: only 1 is allowed for this model"
    return None


def json_schema_refused(body):
    return "This response_format type is unavailable now" if (body.get("response_format") or {}).get("type") == "json_schema" else None


def content_is_never_null(body):
    null = [i for i, m in enumerate(body["messages"]) if m.get("content") is None]
    return f"messages[{null[0]}].content: null is not a string" if null else None


def reasoning_on(messages, field, where):
    """`field` on assistant messages: on all, or on those with tool calls."""
    for i, m in enumerate(messages):
        if m["role"] == "assistant" and (where == "all" or m.get("tool_calls")) and not isinstance(m.get(field), str):
            return f"thinking is enabled but {field} is missing in assistant message at index {i}"
    return None


# --- the providers' own --------------------------------------------------------------

def openai_strict(body):
    for t in body.get("tools", []):
        schema = t["function"].get("parameters", {})
        if t["function"].get("strict") and (schema.get("additionalProperties") is not False
                                            or set(schema.get("required", ())) != set(schema.get("properties", {}))):
            return f"Invalid schema for function '{t['function']['name']}': additionalProperties must be false, all required"
    return None


def o_series(body):
    for name in ("max_tokens", "temperature", "top_p", "stop"):
        if name in body:
            return f"Unsupported parameter: '{name}' is not supported with this model"
    return None


def gpt54(body):
    if body.get("tools") and body.get("reasoning_effort", "none") != "none":
        return "Function tools with reasoning_effort are not supported for this model in /v1/chat/completions"
    return None


def deepseek(body):
    return reasoning_on(body["messages"], "reasoning_content", "all") if thinking_on(body) else None


def moonshot(body):
    if thinking_on(body) and (wrong := reasoning_on(body["messages"], "reasoning_content", "calls")):
        return wrong
    for i, m in enumerate(body["messages"]):
        if m["role"] == "assistant" and m.get("content") in ("", []) and not m.get("tool_calls"):
            return f"message at position {i} with role 'assistant' must not be empty"
    return None


def zai(body):
    if not 0 <= body.get("temperature", 0.5) <= 1:
        return "1210: temperature must be in [0,1]"
    return None


def minimax(body):
    if body.get("reasoning_split") is not True:
        return "the zoo's MiniMax wants reasoning_split, or reasoning would stand in the text"
    for i, m in enumerate(body["messages"]):
        if m["role"] == "assistant" and "<think>" in str(m.get("content")):
            return f"messages[{i}]: reasoning in the text although reasoning_split is on"
    return None


GEMINI_NOT = {"$schema", "$id", "$ref", "$defs", "definitions", "exclusiveMinimum", "exclusiveMaximum", "propertyNames",
              "patternProperties", "additionalProperties", "const", "not", "if", "then", "else"}


def gemini_schema(body):
    def walk(schema, at):
        if not isinstance(schema, dict):
            return None
        wrong = set(schema) & GEMINI_NOT
        if wrong:
            return f'Invalid JSON payload received. Unknown name "{sorted(wrong)[0]}" at \'{at}\': Cannot find field.'
        if schema.get("format") not in (None, "enum", "date-time"):
            return f"{at}: only 'enum' and 'date-time' are supported for STRING type"
        below = [(s, f"{at}.{n}") for n, s in schema.get("properties", {}).items()]
        below += [(schema["items"], f"{at}.items")] if "items" in schema else []
        below += [(s, f"{at}.anyOf") for s in schema.get("anyOf", ())]
        return next((w for w in (walk(s, a) for s, a in below) if w), None)
    return next((w for t in body.get("tools", []) if (w := walk(t["function"].get("parameters"), t["function"]["name"]))), None)


def gemini_signatures(body):
    last_user = max((i for i, m in enumerate(body["messages"]) if m["role"] == "user"), default=0)
    for i, m in enumerate(body["messages"]):
        if i < last_user or not m.get("tool_calls"):
            continue
        google = (m["tool_calls"][0].get("extra_content") or {}).get("google") or {}
        if not google.get("thought_signature"):
            return f"Function call is missing a thought_signature in functionCall parts. ({m['tool_calls'][0]['function']['name']})"
    return None


def mistral_order(body):
    before = None
    for i, m in enumerate(body["messages"]):
        if before == "tool" and m["role"] not in ("tool", "assistant"):
            return f"Unexpected role '{m['role']}' after role 'tool'"
        if m["role"] == "assistant" and not m.get("tool_calls") and not m.get("content"):
            return "Assistant message must have either content or tool_calls, but not none."
        before = m["role"]
    return None if before in ("user", "tool") else f"Expected last role User or Tool, got {before}"


def llamacpp(body):
    if isinstance(body.get("tool_choice"), dict):
        return "Invalid tool_choice: an object is not supported"
    return None


OPENAI = [fields("max_completion_tokens", "parallel_tool_calls"), message_fields(), stops(4), ids(r".{1,40}", "at most 40 characters"),
          openai_strict]
LOCAL = [system_first, images_as_data]

RULES = {
    "generic": [stops(4), system_first],
    "openai": OPENAI,
    "openai_reasoning": [fields("max_completion_tokens", "parallel_tool_calls", "reasoning_effort"), *OPENAI[1:], o_series],
    "openai_gpt54": [fields("max_completion_tokens", "parallel_tool_calls", "reasoning_effort"), *OPENAI[1:], o_series, gpt54],
    "openrouter": [message_fields(assistant={"reasoning", "reasoning_details"}), stops(4)],
    "deepseek": [message_fields(assistant={"reasoning_content", "prefix"}), no_images, json_schema_refused, stops(16),
                 no_forced_choice_while_thinking, deepseek],
    "zai": [fields("thinking", "tool_stream", "reasoning_effort", without={"stream_options"}),
            message_fields(assistant={"reasoning_content"}), choices("auto"), stops(1), json_schema_refused, zai],
    "moonshot": [message_fields(assistant={"reasoning_content"}), default_sampling, ids(r"functions\.[\w-]+:\d+", "functions.NAME:N"),
                 no_forced_choice_while_thinking, moonshot],
    "minimax": [fields("max_completion_tokens", "reasoning_split", "thinking", without={"tool_choice"}),
                message_fields(assistant={"reasoning_details"}), json_schema_refused, system_first, minimax],
    "qwen": [message_fields(assistant={"reasoning_content"}), system_first, no_forced_choice_while_thinking],
    "gemini": [fields("reasoning_effort", "max_completion_tokens", "extra_body"), message_fields(), gemini_schema, gemini_signatures],
    "mistral": [fields("parallel_tool_calls", "random_seed", "safe_prompt", without={"stream_options", "user"}),
                message_fields(assistant={"prefix"}), ids(r"[A-Za-z0-9]{9}", "a-z, A-Z, 0-9, with a length of 9"), mistral_order],
    "xai": [fields("max_completion_tokens", "parallel_tool_calls", "reasoning_effort"), message_fields(), stops(0)],
    "groq": [fields("max_completion_tokens", "parallel_tool_calls", "reasoning_effort", "reasoning_format"),
             message_fields(assistant={"reasoning"}), content_is_never_null, stops(4)],
    "cerebras": [fields("max_completion_tokens", "reasoning_effort", "reasoning_format", "clear_thinking", without={"stream_options"}),
                 message_fields(), no_images, stops(4)],
    "vllm": LOCAL,
    "sglang": LOCAL,
    "llamacpp": [*LOCAL, llamacpp, content_is_never_null],
    "llama_cpp_python": [content_is_never_null, json_schema_refused, no_images, system_first],
    "ollama": LOCAL,
    "azure": [fields("max_completion_tokens", "parallel_tool_calls"), message_fields(), stops(4), ids(r".{1,40}", "at most 40 characters"),
              openai_strict],
    "copilot": [message_fields(), stops(4)],
}


def refusal(provider: str, body: dict) -> str | None:
    return next((w for rule in (well_formed, *RULES[provider]) if (w := rule(body))), None)
