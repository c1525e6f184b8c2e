//! PDF documents as text: `pdf_text`.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::samples::{Page, locked, pdf};
use crate::support::metrics::Metrics;
use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

fn start(up: &Upstream, profile: &str, pdf_text: bool) -> Program {
    let config = json!({"port": 0, "workers": 2, "pdf_text": pdf_text, "providers": [
        {"name": "up", "base_url": up.base(), "api_key": "sk-1", "profile": profile,
            "models": [{"id": "m"}]}]});
    let args = ["serve", "--log-format", "json", "--log-level", "info,claude_proxy::server::media=debug"];
    Program::start(&args, &config.to_string())
}

fn document(pdf: &[u8]) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(pdf);
    json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}})
}

fn asking(content: Value, stream: bool) -> Vec<u8> {
    json!({"model": "m", "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": content}]})
        .to_string()
        .into_bytes()
}

/// What the upstream was told at last.
fn told(up: &Upstream) -> String {
    up.seen().pop().unwrap().json()["messages"][0]["content"].as_str().unwrap().to_owned()
}

const HEAD: &str = "its text, without pictures and layout]";

#[test]
fn the_text_takes_the_place_of_the_document() {
    let up = Upstream::hello();
    let proxy = start(&up, "generic", true);
    let mut titled = document(&pdf(&[Page::Text("Hello PDF"), Page::Blank]));
    titled["title"] = "Letter".into();
    let mut turns = vec![
        json!({"role": "user", "content": [titled, {"type": "text", "text": "What does it say?"}]}),
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
            "content": [{"type": "text", "text": "PDF file read"}, document(&pdf(&[Page::Text("Other")]))]}]}),
    ];
    let mut before = String::new();
    for stream in [false, true] {
        let body = json!({"model": "m", "max_tokens": 64, "stream": stream, "messages": turns});
        let answer = post(proxy.addr(), body.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-claude-proxy-warnings"), Some("degraded:document_pdf"));
        let messages = up.seen().pop().unwrap().json()["messages"].clone();
        let first = format!(
            "<document title=\"Letter\">\n[PDF of 2 pages: {HEAD}\n\n[page 1]\nHello PDF\n\n[page 2]\n[no text]\n</document>\n\nWhat does it say?"
        );
        assert_eq!(messages[0]["content"], first);
        let result =
            format!("PDF file read\n\n<document>\n[PDF of 1 page: {HEAD}\n\n[page 1]\nOther\n</document>");
        assert_eq!(messages[2]["content"], result);
        let text = messages.to_string();
        assert!(text.starts_with(before.trim_end_matches(']')), "{before}\n{text}");
        before = text;
        turns.push(json!({"role": "assistant", "content": "hello"}));
        turns.push(json!({"role": "user", "content": "And?"}));
    }
    // Two documents, in both turns.
    assert_eq!(proxy.lines("a PDF document was read").len(), 2);
    let metrics = Metrics::of(proxy.addr(), None);
    assert_eq!(metrics.sum("claude_proxy_conversion_losses_total", &[("loss", "degraded:document_pdf")]), 2);
}

#[test]
fn many_that_bring_the_same_document_have_it_read_once() {
    let up = Upstream::hello();
    let proxy = start(&up, "generic", true);
    let addr = proxy.addr();
    let pages = [Page::Text("Shared"); 60];
    let body = asking(json!([document(&pdf(&pages))]), false);
    let clients: Vec<_> = (0..25)
        .map(|_| {
            let body = body.clone();
            std::thread::spawn(move || post(addr, &body).status)
        })
        .collect();
    assert!(clients.into_iter().all(|c| c.join().unwrap() == 200));
    assert_eq!(proxy.lines("a PDF document was read").len(), 1);
    let all = up.seen();
    assert!(all.iter().all(|seen| String::from_utf8_lossy(&seen.body).contains("[page 60]\\nShared")));
}

#[test]
fn what_cannot_be_read_says_why() {
    let up = Upstream::hello();
    let proxy = start(&up, "generic", true);
    for (bytes, why) in [
        (b"PK\x03\x04 a zip".to_vec(), "it is no PDF, or too broken to read"),
        (locked(), "it needs a password"),
    ] {
        for _ in 0..2 {
            let answer = post(proxy.addr(), &asking(json!([document(&bytes)]), false));
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("x-claude-proxy-warnings"), Some("dropped:document_pdf"));
            assert_eq!(told(&up), format!("<document>\n[This PDF cannot be read: {why}.]\n</document>"));
        }
    }
    assert_eq!(proxy.lines("a PDF document could not be read").len(), 2, "once each");
    let scanned = post(proxy.addr(), &asking(json!([document(&pdf(&[Page::Blank]))]), false));
    assert_eq!(scanned.header("x-claude-proxy-warnings"), Some("degraded:document_pdf"));
    assert!(told(&up).contains("[PDF of 1 page without any text: scanned, perhaps."), "{}", told(&up));
}

#[test]
fn only_where_it_is_wanted() {
    let up = Upstream::hello();
    let body = asking(json!([document(&pdf(&[Page::Text("Hello PDF")]))]), false);
    let off = start(&up, "generic", false);
    assert_eq!(post(off.addr(), &body).header("x-claude-proxy-warnings"), Some("dropped:document_pdf"));
    assert!(told(&up).contains("PDF input is not supported by this upstream"));
    let takes_them = start(&up, "openai", true);
    assert_eq!(post(takes_them.addr(), &body).header("x-claude-proxy-warnings"), None);
    let part = up.seen().pop().unwrap().json()["messages"][0]["content"][0].clone();
    assert_eq!(part["type"], "file");
    let on = start(&up, "generic", true);
    let url = json!([{"type": "document", "source": {"type": "url", "url": "http://127.0.0.1:9/x.pdf"}}]);
    let answer = post(on.addr(), &asking(url, false));
    assert_eq!(answer.header("x-claude-proxy-warnings"), Some("dropped:document_url"));
    assert!(on.lines("a PDF document was read").is_empty());
}

#[test]
fn a_count_goes_by_the_pages_until_the_text_is_known() {
    let up = Upstream::hello();
    let proxy = start(&up, "generic", true);
    let body = asking(json!([document(&pdf(&[Page::Text("Hello PDF"), Page::Text("More")]))]), false);
    let count = || {
        let answer = ask(proxy.addr(), "POST", "/v1/messages/count_tokens", &[], &body);
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    let before = count();
    assert!((1200..1300).contains(&before), "{before}");
    post(proxy.addr(), &body);
    let after = count();
    assert!((20..80).contains(&after), "{after}");
}

/// What a page unpacks to does not get into the proxy's memory, and takes nobody else's page away.
#[cfg(target_os = "linux")]
#[test]
fn bombs_go_off_elsewhere() {
    let up = Upstream::hello();
    let proxy = start(&up, "generic", true);
    post(proxy.addr(), &message("warm", false));
    let before = proxy.resident();
    for (operators, count, want) in [
        // 600 MB of text: more than the library unpacks.
        (
            "BT (AAAAAAAA) Tj ET\n",
            30 << 20,
            "[page 1]\nBefore\n\n[page 2]\n[cannot be read]\n\n[page 3]\nAfter",
        ),
        // States pushed for ever: for that the library has no limit, and the process has one.
        ("q ", 16 << 20, "[page 1]\nBefore\n[the rest is left out: reading it takes too much memory]"),
    ] {
        let bomb = Page::Packed(operators, count);
        let pages = pdf(&[Page::Text("Before"), bomb, Page::Text("After")]);
        let answer = post(proxy.addr(), &asking(json!([document(&pages)]), false));
        assert_eq!(
            (answer.status, answer.header("x-claude-proxy-warnings")),
            (200, Some("degraded:document_pdf"))
        );
        assert!(told(&up).contains(want), "{operators}: {}", told(&up));
        assert_eq!(proxy.children(), 0);
    }
    let lone = pdf(&[Page::Packed("q ", 16 << 20)]);
    let answer = post(proxy.addr(), &asking(json!([document(&lone)]), false));
    assert_eq!(
        (answer.status, answer.header("x-claude-proxy-warnings")),
        (200, Some("dropped:document_pdf"))
    );
    assert!(told(&up).contains("[This PDF cannot be read: reading it takes too much time or memory.]"));
    // The bodies of four requests and their copies, at most.
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown}");
    assert_eq!(post(proxy.addr(), &message("still there", false)).status, 200);
}

/// A client that leaves takes its question with it: nothing goes on reading.
#[cfg(target_os = "linux")]
#[test]
fn nobody_reads_for_a_client_that_left() {
    let up = Upstream::hello();
    let proxy = start(&up, "generic", true);
    // Seconds of work, if nobody stops it.
    let slow = [Page::Packed("q Q ", 12 << 20); 8];
    let mut client = Client::connect(proxy.addr());
    client.send("POST", "/v1/messages", &[], &asking(json!([document(&pdf(&slow))]), false));
    eventually("a process reads", || proxy.children() == 1);
    client.close();
    eventually("it is gone", || proxy.children() == 0);
    // It did not come to its end, neither by itself nor at its deadline.
    let told =
        ["a PDF document was read", "a PDF document could not be read"].map(|line| proxy.lines(line).len());
    assert_eq!((told, up.seen().len()), ([0, 0], 0));
}

/// What `web_fetch` brings is a PDF: the model gets its text, and so does the client.
#[test]
fn a_fetched_pdf_becomes_its_text() {
    let page = String::from_utf8(pdf(&[Page::Text("Hello from afar")])).unwrap();
    let pages = Upstream::answering(http(200, &[("content-type", "application/pdf")], &page));
    let url = format!("{}/paper.pdf", pages.base());
    let wanted = url.clone();
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let asked = seen.json();
            let last = asked["messages"].as_array().unwrap().last().unwrap();
            if last["role"] == "tool" {
                conn.write(ok(&completion("It greets.")));
                continue;
            }
            let call = json!({"id": "call_0", "type": "function",
                "function": {"name": "web_fetch", "arguments": json!({"url": wanted}).to_string()}});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            conn.write(ok(&json!({"id": "c", "object": "chat.completion", "model": "m", "created": 1,
                "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})
            .to_string()));
        }
    });
    let config = json!({"port": 0, "pdf_text": true, "web_fetch": true,
        "web_fetch_private_hosts": [pages.addr.to_string()], "providers": [
            {"base_url": up.base(), "api_key": "sk-1", "profile": "generic", "models": [{"id": "m"}]}]});
    let proxy = Program::start(&["serve"], &config.to_string());
    let asked = json!({"model": "m", "max_tokens": 64, "tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}],
        "messages": [{"role": "user", "content": format!("What is in {url} ?")}]});
    let answer = post(proxy.addr(), asked.to_string().as_bytes());
    assert_eq!(answer.status, 200);
    let text = "[page 1]\nHello from afar";
    let content = answer.json()["content"].clone();
    let document = &content[1]["content"]["content"];
    assert_eq!(document["source"]["type"], "text", "{content}");
    assert!(document["source"]["data"].as_str().unwrap().ends_with(text), "{content}");
    let seen = up.seen().pop().unwrap().json();
    let told = seen["messages"].as_array().unwrap().last().unwrap();
    assert!(told["content"].as_str().unwrap().contains(text), "{told}");
}
