"""Images, documents, thinking, structured output."""
from __future__ import annotations

import base64

import pytest
from conftest import NEWEST, USER, config, connect
from proxy import Proxy
from upstream import call, either, whole

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
# Its table of objects is missing, as in many a real one.
PDF = base64.b64encode(b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj
4 0 obj<</Length 42>>stream
BT /F1 24 Tf 72 700 Td (Hello PDF) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Size 6/Root 1 0 R>>
""").decode()
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def user(*blocks):
    return [{"role": "user", "content": list(blocks)}]


def text(t):
    return {"type": "text", "text": t}


def image(source):
    return {"type": "image", "source": source}


def test_images(up, ask):
    up.play(whole("A cat."))
    ask(messages=user(text("What?"), image({"type": "base64", "media_type": "image/png", "data": PNG}),
                      image({"type": "url", "url": "https://example.com/cat.jpg"})))
    assert up.only.messages[0]["content"] == [
        {"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}}]


def test_image_for_a_model_without_eyes(up, client):
    up.play(whole("?"))
    raw = client.messages.with_raw_response.create(
        model="blind", max_tokens=9, messages=user(text("What?"), image({"type": "base64", "media_type": "image/png", "data": PNG})))
    assert up.only.messages[0]["content"] == "What?\n\n[image omitted: this model does not accept images]"
    assert raw.headers["x-claude-proxy-warnings"] == "dropped:image"


def test_image_described_for_a_model_without_eyes(up):
    up.play(lambda seen: whole("A cat.") if seen.body["model"] == "oai" else whole("I see: a cat."))
    with Proxy(config(up, vision_model="oai")) as proxy, connect(proxy) as client:
        for _ in range(2):
            raw = client.messages.with_raw_response.create(
                model="blind", max_tokens=9, messages=user(text("What?"), image({"type": "base64", "media_type": "image/png", "data": PNG})))
            assert raw.headers["x-claude-proxy-warnings"] == "degraded:image"
            assert raw.parse().content[0].text == "I see: a cat."
        count = client.messages.count_tokens(model="blind", messages=user(
            text("What?"), image({"type": "base64", "media_type": "image/png", "data": PNG})))
        assert count.input_tokens < 100
    eye, told, again = up.seen
    assert eye.messages[0]["content"][0] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert told.messages[0]["content"].startswith("What?\n\n[image, described by oai,")
    assert told.messages[0]["content"].endswith("<image_description>\nA cat.\n</image_description>")
    assert again.raw == told.raw


def test_text_document(up, ask):
    up.play(whole("ok"))
    ask(messages=user({"type": "document", "title": "Notes & <more>", "source": {
        "type": "text", "media_type": "text/plain", "data": "line 1\nline 2"}}, text("Sum up.")))
    content = up.only.messages[0]["content"]
    assert content.startswith('<document title="Notes &amp; &lt;more>') and "line 1\nline 2\n</document>" in content
    assert content.endswith("\n\nSum up.")


def test_pdf_is_left_out_and_says_so(up, client):
    up.play(whole("ok"))
    pdf = base64.b64encode(b"%PDF-1.4 not much").decode()
    raw = client.messages.with_raw_response.create(model="plain", max_tokens=9, messages=user(
        {"type": "document", "title": "Bill", "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}}, text("Sum up.")))
    content = up.only.messages[0]["content"]
    assert "[document omitted: Bill: PDF input is not supported by this upstream]" in content
    assert pdf not in content
    assert raw.headers["x-claude-proxy-warnings"] == "dropped:document_pdf"


def test_pdf_becomes_its_text(up):
    up.play(either("ok"))
    with Proxy(config(up, pdf_text=True)) as proxy, connect(proxy) as client:
        raw = client.messages.with_raw_response.create(model="plain", max_tokens=9, messages=user(
            {"type": "document", "title": "Bill", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}, text("Sum up.")))
        assert raw.headers["x-claude-proxy-warnings"] == "degraded:document_pdf"
        with client.messages.stream(model="plain", max_tokens=9, messages=user(
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf",
                                                "data": base64.b64encode(b"no PDF").decode()}})) as answer:
            answer.until_done()
            assert answer.response.headers["x-claude-proxy-warnings"] == "dropped:document_pdf"
    content = up.seen[0].messages[0]["content"]
    assert content.startswith('<document title="Bill">\n[PDF of 1 page') and "[page 1]\nHello PDF\n</document>" in content
    assert "[This PDF cannot be read: it is no PDF, or too broken to read.]" in up.last.messages[0]["content"]


def test_pdf_for_an_upstream_that_reads_it(up, ask):
    up.play(whole("ok"))
    pdf = base64.b64encode(b"%PDF-1.4 not much").decode()
    ask(model="oai", messages=user({"type": "document", "title": "Bill", "source": {
        "type": "base64", "media_type": "application/pdf", "data": pdf}}))
    parts = up.only.messages[0]["content"]
    assert [p["type"] for p in parts] == ["file"] and pdf in parts[0]["file"]["file_data"]


def test_thinking_goes_back_where_the_upstream_needs_it(up, ask):
    up.play(whole(None, [call("c1", "clock", {})], reasoning_content="I need the time."), whole("Noon."))
    think = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000, "model": "deep",
             "tools": [{"name": "clock", "input_schema": {"type": "object"}}]}
    m = ask(**think)
    assert [b.type for b in m.content] == ["thinking", "tool_use"]
    assert m.content[0].thinking == "I need the time." and m.content[0].signature.startswith("cp1.")
    ask(**think, messages=[*USER, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in m.content]},
                           {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "12:00"}]}])
    assert up.last.messages[1]["reasoning_content"] == "I need the time."
    assert up.last.messages[1]["tool_calls"][0]["id"] == "c1"
    assert up.seen[0].body["thinking"] == {"type": "enabled"}


def test_reasoning_that_nobody_asked_for_is_not_shown(up, ask):
    up.play(whole("42", reasoning_content="secret"))
    m = ask(model="deep")
    assert [b.type for b in m.content] == ["text"] and m.content[0].text == "42"


def test_think_tags_become_a_thinking_block(up, ask):
    up.play(whole("<think>\nhm\n</think>\n\n42"))
    m = ask(max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000})
    assert [(b.type, getattr(b, "thinking", None) or b.text) for b in m.content] == [("thinking", "hm"), ("text", "42")]


def test_foreign_signature_is_not_replayed(up, client):
    up.play(whole("ok"))
    raw = client.messages.with_raw_response.create(model="deep", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000}, messages=[
        *USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "elsewhere", "signature": "EqQBCkYIBxgC"}, text("a")]},
        {"role": "user", "content": "go on"}])
    assert "elsewhere" not in up.only.raw.decode()
    assert "dropped:foreign_thinking" in raw.headers["x-claude-proxy-warnings"]


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_structured_output(up, ask, field):
    up.play(whole('{"n":7}'))
    form = {"type": "json_schema", "schema": SCHEMA}
    m = ask(model="oai", extra_body={"output_config": {"format": form}} if field == "output_config" else {field: form})
    sent = up.only.body["response_format"]
    assert sent["type"] == "json_schema"
    assert (sent["json_schema"]["name"], sent["json_schema"]["schema"]) == ("response", SCHEMA)
    assert sent["json_schema"]["strict"] is True
    assert m.content[0].text == '{"n":7}'


@pytest.mark.skipif(not NEWEST, reason="messages.parse came later")
def test_parse_into_a_model(up, client):
    import pydantic

    class Number(pydantic.BaseModel):
        n: int
    up.play(whole('{"n":7}'))
    m = client.messages.parse(model="plain", max_tokens=64, messages=USER, output_format=Number)
    assert m.parsed_output == Number(n=7)
    assert up.only.body["response_format"]["json_schema"]["schema"]["properties"]["n"]["type"] == "integer"


def test_structured_output_where_only_json_mode_exists(up, ask):
    up.play(whole('{"n":7}'))
    ask(model="deep", system="Be exact.", extra_body={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}})
    assert up.only.body["response_format"] == {"type": "json_object"}
    assert up.only.messages[0]["content"].startswith("Be exact.") and '"additionalProperties":false' in up.only.messages[0]["content"]
