"""Answers, images, documents, structured output, sessions that are taken up again, `/context`."""
from __future__ import annotations

import base64
import json
import struct
import zlib

from stage import KEY, results_of, scenario, text_of, tools_of
from tools import loop
from upstream import call, either, stream, usage, whole


def png(width: int = 16, height: int = 16) -> bytes:
    """A red picture."""
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + b"\xff\0\0" * width for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b""))


def seeing(described: str, answer):
    """Answers for two models at one upstream: `eye` describes images, the other goes by `answer`."""
    def choose(seen):
        return whole(described) if seen.body["model"] == "eye" else answer(seen)
    return choose


def pdf(text: str) -> bytes:
    """One page."""
    stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
               b"<</Length " + str(len(stream)).encode() + b">>stream\n" + stream + b"\nendstream",
               b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    out, offsets = b"%PDF-1.4\n", []
    for i, o in enumerate(objects, 1):
        offsets.append(len(out))
        out += str(i).encode() + b" 0 obj" + o + b"endobj\n"
    table = b"".join(f"{at:010} 00000 n \n".encode() for at in offsets)
    return (out + b"xref\n0 6\n0000000000 65535 f \n" + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n"
            + str(len(out)).encode() + b"\n%%EOF\n")


@scenario
def plain_answer(t):
    t.up.play(either("The answer is forty-two."))
    s = t.claude("What is six times seven?")
    assert s.answer == "The answer is forty-two.", s.result
    assert s.result["usage"]["input_tokens"] == 20 and s.result["usage"]["output_tokens"] == 5, s.result["usage"]
    only = t.up.only
    assert only.body["model"] == "glm-test" and only.body["stream"] is True
    sent = only.raw.decode()
    assert "six times seven" in sent and "x-anthropic-billing-header" not in sent
    assert only.headers["authorization"].endswith("77aa") and KEY not in sent + str(only.headers)
    assert {"Bash", "Read"} <= set(tools_of(only)) and "DeferredToolPlaceholder" not in tools_of(only)


@scenario
def usage_with_a_cache(t):
    """What the upstream counted is what the session reports: cached tokens apart."""
    t.up.play(either("Hello.", use=usage(9000, 7, cached=8000)))
    s = t.claude("Hello?")
    u = s.result["usage"]
    assert (u["input_tokens"], u["cache_read_input_tokens"], u["output_tokens"]) == (1000, 8000, 7), u


@scenario
def image_from_disk(t):
    path = t.file("red.png", png())
    t.serve("openai")
    t.up.play(loop(call("call_png", "Read", {"file_path": path}), "It is red."))
    s = t.claude("Which colour is red.png?")
    assert s.answer == "It is red.", s.result
    last = t.turns[-1]
    at = last.roles.index("tool")
    assert last.messages[at]["tool_call_id"] == "call_png" and last.roles[at + 1] == "user", last.roles
    images = [p["image_url"]["url"] for p in last.messages[at + 1]["content"] if p["type"] == "image_url"]
    assert len(images) == 1 and images[0].startswith("data:image/png;base64,"), images
    assert base64.b64decode(images[0].split(",")[1]).startswith(b"\x89PNG")


@scenario
def image_for_a_model_without_eyes(t):
    path = t.file("red.png", png())
    t.serve("openai", model={"vision": False})
    t.up.play(loop(call("call_png", "Read", {"file_path": path}), "I cannot see it."))
    s = t.claude("Which colour is red.png?")
    assert s.answer == "I cannot see it.", s.result
    last = t.turns[-1]
    assert "base64," not in last.raw.decode() and "image" in results_of(last)["call_png"], results_of(last)
    assert "does not accept images" in last.raw.decode()


@scenario
def image_described_for_a_model_without_eyes(t):
    """What another model saw is in the tool's result; in the turns after it too, and it was asked once."""
    path = t.file("red.png", png())
    t.serve("openai", model={"vision": False}, others=({"id": "eye"},), vision_model="eye")
    t.up.play(seeing("A plain red square, 16 by 16 pixels, without text.", loop(call("call_png", "Read", {"file_path": path}),
                                                                      call("call_ls", "Bash", {"command": "ls"}), "It is red.")))
    s = t.claude("Which colour is red.png?")
    assert s.answer == "It is red.", s.result
    eye = [r for r in t.up.seen if r.body["model"] == "eye"]
    assert len(eye) == 1, len(eye)
    image = [p["image_url"]["url"] for p in eye[0].messages[-1]["content"] if p["type"] == "image_url"]
    assert base64.b64decode(image[0].split(",")[1]).startswith(b"\x89PNG")
    turns = [r for r in t.turns if r.body["model"] != "eye" and "call_png" in results_of(r)]
    assert len(turns) == 2
    told = {results_of(r)["call_png"] for r in turns}
    assert len(told) == 1, told
    assert "<image_description>\nA plain red square, 16 by 16 pixels, without text.\n</image_description>" in told.pop()
    assert all("base64," not in r.raw.decode() for r in turns)


@scenario
def pdf_from_disk(t):
    path = t.file("letter.pdf", pdf("Hello PDF"))
    t.serve("openai")
    t.up.play(loop(call("call_pdf", "Read", {"file_path": path}), "It says hello."))
    s = t.claude("What does letter.pdf say?")
    assert s.answer == "It says hello.", s.result
    last = t.turns[-1]
    at = last.roles.index("tool")
    assert "PDF file read" in results_of(last)["call_pdf"]
    files = [p["file"] for p in last.messages[at + 1]["content"] if p["type"] == "file"]
    assert len(files) == 1 and files[0]["file_data"].startswith("data:application/pdf;base64,"), last.messages[at + 1]
    assert b"Hello PDF" in base64.b64decode(files[0]["file_data"].split(",")[1])


@scenario
def pdf_for_an_upstream_without_files(t):
    """The model is told that there was a document."""
    path = t.file("letter.pdf", pdf("Hello PDF"))
    t.up.play(loop(call("call_pdf", "Read", {"file_path": path}), "I cannot read it."))
    s = t.claude("What does letter.pdf say?")
    assert s.answer == "I cannot read it.", s.result
    result = results_of(t.turns[-1])["call_pdf"]
    assert "PDF file read" in result and "PDF input is not supported by this upstream" in result, result


@scenario
def pdf_text_for_an_upstream_without_files(t):
    """What the document says is in the tool's result."""
    path = t.file("letter.pdf", pdf("Hello PDF"))
    t.serve(pdf_text=True)
    t.up.play(loop(call("call_pdf", "Read", {"file_path": path}), "It says hello."))
    s = t.claude("What does letter.pdf say?")
    assert s.answer == "It says hello.", s.result
    result = results_of(t.turns[-1])["call_pdf"]
    assert "PDF file read" in result and "[page 1]\nHello PDF\n</document>" in result, result
    assert "JVBER" not in t.turns[-1].raw.decode()


@scenario
def json_schema(t):
    """`--json-schema` is a tool: a wrong call is refused by Claude Code, the next one is right."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "name": {"type": "string"}},
              "required": ["n", "name"], "additionalProperties": False}
    t.up.play(loop(call("call_bad", "StructuredOutput", {"n": "x"}), call("call_good", "StructuredOutput", {"n": 42, "name": "\u00e4"}), "Done."))
    s = t.claude("Give me a number with a name.", "--json-schema", json.dumps(schema))
    assert s.result["structured_output"] == {"n": 42, "name": "\u00e4"}, s.result
    assert tools_of(t.turns[0])["StructuredOutput"]["parameters"] == schema
    assert results_of(t.turns[1])["call_bad"].startswith("Error") and "must be integer" in results_of(t.turns[1])["call_bad"]


def thinking_aloud(text: str, calls=()):
    """An answer with DeepSeek's reasoning before it."""
    return stream({"reasoning_content": f"I ponder {text}, "}, {"reasoning_content": "at length."}, text=text, calls=calls)


@scenario
def resume_sends_reasoning_back(t):
    """A session that is taken up again: the upstream gets its reasoning back, with the call it led to."""
    path = t.file("note.txt", "remember the milk\n")
    t.serve("deepseek")
    t.up.play(thinking_aloud("Reading.", [call("call_note", "Read", {"file_path": path})]), thinking_aloud("Noted."))
    first = t.claude("Read my note.")
    assert first.answer == "Noted." and first.blocks("thinking")[0]["thinking"] == "I ponder Reading., at length."
    session = first.result["session_id"]
    before = t.turns[-1].messages
    t.up.play(thinking_aloud("Milk."))
    again = t.claude("What was it?", "--resume", session)
    assert again.answer == "Milk." and again.result["session_id"] == session, again.result
    sent = t.up.only.messages
    assistant = [m for m in sent if m["role"] == "assistant"]
    assert [m.get("reasoning_content") for m in assistant] == ["I ponder Reading., at length.", "I ponder Noted., at length."], assistant
    assert assistant[0]["content"] == "Reading." and assistant[0]["tool_calls"][0]["id"] == "call_note"
    assert "remember the milk" in results_of(t.up.only)["call_note"] and text_of(sent[-1]["content"]).endswith("What was it?")
    assert sent[:len(before)] == before, "the history of the first session is not the beginning of the second"
    t.up.play(either("Still milk."))
    assert t.claude("Once more?", "--continue").answer == "Still milk."
    assert t.up.only.messages[:len(sent)] == sent


@scenario
def reasoning_moves_to_an_upstream_that_wants_none(t):
    """Another upstream takes the session up: no reasoning goes to it, and its own is shown."""
    t.serve("deepseek")
    t.up.play(thinking_aloud("Noted."))
    first = t.claude("Remember 7.")
    t.serve("openai")
    t.up.play(either("Seven."))
    again = t.claude("What was it?", "--resume", first.result["session_id"])
    assert again.answer == "Seven." and "ponder" not in t.up.only.raw.decode(), t.up.only.messages
    assert [m["content"] for m in t.up.only.messages if m["role"] == "assistant"] == ["Noted."]


@scenario
def context_command(t):
    """`/context` counts its parts with some 25 requests at once; none of them goes upstream."""
    t.up.play(either("Hello."))
    relay = t.relay()
    s = t.claude("/context", url=relay.url)
    counts = [r for r in relay.seen if "/count_tokens" in r.path]
    assert len(counts) >= 20 and {r.status for r in counts} == {200}, [(r.path, r.status) for r in relay.seen]
    assert all(json.loads(r.answer)["input_tokens"] > 0 for r in counts)
    assert "Context Usage" in s.answer and "System tools" in s.answer and not t.up.seen, (s.answer, len(t.up.seen))
    most = max(json.loads(r.answer)["input_tokens"] for r in counts)
    assert 3000 < most < 30000, most           # all tools together
