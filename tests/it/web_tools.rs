//! Web search and fetch: the proxy carries out what the model calls, and the client gets one
//! message.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use claude_proxy::config::{Config, Engine, Secret, WebSearch};
use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::client::Answer;
use crate::support::program::Program;
use crate::support::upstream::{Conn, Seen, http, ok};
use crate::support::*;

/// A search service like `SearXNG`: two results for every query, `slow` ones late, none for `none`.
fn searxng() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let query = seen.head.split_whitespace().nth(1).unwrap_or_default().to_owned();
            if query.contains("slow") {
                std::thread::sleep(Duration::from_millis(700));
            }
            if query.contains("hang") {
                return conn.hang();
            }
            if query.contains("broken") {
                conn.write(http(500, &[("content-type", "text/plain")], "oops"));
                continue;
            }
            let results = if query.contains("none") {
                json!([])
            } else {
                json!([
                    {"title": "Rust 1.99", "url": "https://blog.example.org/rust-1-99", "content": "It is fast & safe.", "publishedDate": "2026-01-02T00:00:00"},
                    {"title": "Other", "url": "https://other.example.com/page", "content": "Something else."}
                ])
            };
            conn.write(ok(&json!({"query": "q", "results": results}).to_string()));
        }
    })
}

/// A web server with one page.
fn pages() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let page = "<html><head><title>The page</title></head><body><h1>Hello</h1><p>from the page</p></body></html>";
            if seen.head.starts_with("GET /page ") {
                conn.write(http(200, &[("content-type", "text/html; charset=utf-8")], page));
            } else {
                conn.write(http(404, &[("content-type", "text/plain")], "no"));
            }
        }
    })
}

fn searching(base: &str, search: Option<&Upstream>, pages: Option<&Upstream>) -> Config {
    let mut config = config(base);
    config.extras.web_search = search.map(|search| WebSearch {
        engine: Engine::SearXng,
        key: Secret::new(""),
        base_url: search.base(),
        proxy: None,
    });
    config.extras.web_fetch = pages.is_some();
    config.extras.web_fetch_private_hosts = pages.iter().map(|pages| pages.addr.to_string()).collect();
    let web = config.extras.web_tools();
    for model in &mut config.models {
        Arc::get_mut(model).unwrap().spec.web = web;
    }
    config
}

/// How often the model was told a result so far.
fn results(seen: &Seen) -> usize {
    seen.json()["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "tool").count()
}

/// A chunk with a call.
fn call(index: usize, name: &str, arguments: &Value) -> String {
    let call = json!({"index": index, "id": format!("call_{name}_{index}"), "type": "function",
        "function": {"name": name, "arguments": arguments.to_string()}});
    format!("data: {}\n\n", json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
}

/// An upstream that answers each request with what `says` makes of it: chunks of a stream, which
/// become a whole completion where none was asked for.
fn model(says: impl Fn(&Seen) -> Vec<String> + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            answer(&mut conn, &seen, &says(&seen));
        }
    })
}

fn answer(conn: &mut Conn, seen: &Seen, chunks: &[String]) {
    if seen.json()["stream"] == true {
        let mut events: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let usage = usage();
        events.extend([usage.as_str(), DONE]);
        conn.stream(&events);
        return;
    }
    let (mut text, mut calls, mut finish) = (String::new(), Vec::new(), json!("stop"));
    for chunk in chunks {
        let chunk: Value = serde_json::from_str(chunk.trim().trim_start_matches("data: ")).unwrap();
        let choice = &chunk["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        calls.extend(choice["delta"]["tool_calls"].as_array().cloned().unwrap_or_default());
        if choice["finish_reason"].is_string() {
            finish = choice["finish_reason"].clone();
        }
    }
    conn.write(ok(&json!({"id": "c", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "finish_reason": finish,
            "message": {"role": "assistant", "content": text, "tool_calls": calls}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})
    .to_string()));
}

fn request(stream: bool, tools: &Value, text: &str) -> Value {
    json!({"model": "m", "max_tokens": 64, "stream": stream, "tools": tools,
        "messages": [{"role": "user", "content": text}]})
}

fn search_tool() -> Value {
    json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 8})
}

fn fetch_tool() -> Value {
    json!({"type": "web_fetch_20250910", "name": "web_fetch"})
}

/// The message that a client has in the end, streamed or whole.
fn message_of(answer: &Answer) -> Value {
    if answer.header("content-type") == Some("application/json") {
        return answer.json();
    }
    let (events, end) = answer.events();
    assert_eq!(end, End::Complete, "{events:?}");
    fold(&events)
}

fn fold(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut json_of_block = String::new();
    for event in events {
        let at = event["index"].as_u64().map(|n| n as usize);
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                json_of_block.clear();
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = &mut message["content"][at.unwrap()];
                let delta = &event["delta"];
                match delta["type"].as_str().unwrap() {
                    "text_delta" => {
                        let text =
                            format!("{}{}", block["text"].as_str().unwrap(), delta["text"].as_str().unwrap());
                        block["text"] = text.into();
                    }
                    "input_json_delta" => json_of_block.push_str(delta["partial_json"].as_str().unwrap()),
                    "citations_delta" => {
                        if block["citations"].is_null() {
                            block["citations"] = json!([]);
                        }
                        block["citations"].as_array_mut().unwrap().push(delta["citation"].clone());
                    }
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" if !json_of_block.is_empty() => {
                message["content"][at.unwrap()]["input"] = serde_json::from_str(&json_of_block).unwrap();
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

fn types(message: &Value) -> Vec<&str> {
    message["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect()
}

fn ask_for(proxy: &Proxy, body: &Value) -> Answer {
    let answer = post(proxy.addr, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer
}

/// A search, its answer with the source, and what the model and the client are told.
#[test]
fn a_search_and_an_answer_that_cites() {
    let search = searxng();
    let up = model(|seen| match results(seen) {
        0 => {
            vec![text("I look."), call(0, "web_search", &json!({"query": "rust news"})), finish("tool_calls")]
        }
        _ => vec![
            text("Rust 1.99 is out: [Rust]"),
            text("(https://blog.example.org/ru"),
            text("st-1-99)."),
            finish("stop"),
        ],
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    let mut messages = Vec::new();
    for stream in [true, false] {
        let answer = ask_for(&proxy, &request(stream, &json!([search_tool()]), "What is new in Rust?"));
        assert!(answer.complete);
        let message = message_of(&answer);
        assert_eq!(
            types(&message),
            ["text", "server_tool_use", "web_search_tool_result", "text"],
            "{message}"
        );
        let [said, used, found, last] = message["content"].as_array().unwrap().as_slice() else { panic!() };
        assert_eq!(said["text"], "I look.");
        assert_eq!((&used["name"], &used["input"]), (&json!("web_search"), &json!({"query": "rust news"})));
        assert_eq!(found["tool_use_id"], used["id"]);
        assert_eq!(found["content"][0]["url"], "https://blog.example.org/rust-1-99");
        assert_eq!(found["content"][1]["title"], "Other");
        assert_eq!(last["text"], "Rust 1.99 is out: [Rust](https://blog.example.org/rust-1-99).");
        let citations = last["citations"].as_array().unwrap();
        assert_eq!(citations.len(), 1, "{last}");
        assert_eq!(citations[0]["url"], "https://blog.example.org/rust-1-99");
        assert_eq!(citations[0]["title"], "Rust 1.99");
        assert_eq!(citations[0]["cited_text"], "It is fast & safe.");
        assert_eq!(message["stop_reason"], "end_turn");
        let usage = &message["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["output_tokens"]),
            (&json!(14), &json!(6)),
            "of both rounds"
        );
        assert_eq!(usage["server_tool_use"], json!({"web_search_requests": 1, "web_fetch_requests": 0}));
        messages.push(message);
    }
    let seen = up.seen();
    assert_eq!(seen.len(), 4);
    for (first, second) in [(&seen[0], &seen[1]), (&seen[2], &seen[3])] {
        let (first, second) = (first.json(), second.json());
        assert_eq!(first["tools"], second["tools"]);
        assert_eq!(first["tools"][0]["function"]["name"], "web_search");
        let (before, after) = (first["messages"].as_array().unwrap(), second["messages"].as_array().unwrap());
        assert_eq!(before.as_slice(), &after[..before.len()], "the prompt is the same as far as it goes");
        let [asked, told] = &after[before.len()..] else { panic!("{after:?}") };
        assert_eq!((&asked["content"], &told["role"]), (&json!("I look."), &json!("tool")));
        assert_eq!(asked["tool_calls"][0]["id"], told["tool_call_id"]);
        let told = told["content"].as_str().unwrap();
        assert!(told.contains("1. Rust 1.99\nURL: https://blog.example.org/rust-1-99"), "{told}");
        assert!(told.contains("It is fast & safe."), "{told}");
    }
    assert_eq!(search.seen().len(), 2);

    // The next turn says the same upstream as the rounds did.
    let mut next = request(true, &json!([search_tool()]), "What is new in Rust?");
    next["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": messages[0]["content"]}),
        json!({"role": "user", "content": "more"}),
    ]);
    ask_for(&proxy, &next);
    let (round, turn) = (seen[1].json(), up.seen()[4].json());
    let (round, turn) = (round["messages"].as_array().unwrap(), turn["messages"].as_array().unwrap());
    assert_eq!(round.as_slice(), &turn[..round.len()]);
    assert_eq!(turn[round.len()]["content"], "Rust 1.99 is out: [Rust](https://blog.example.org/rust-1-99).");
}

/// As many rounds as the model asks for, several calls at once, results in the order of the calls.
#[test]
fn rounds_and_calls_side_by_side() {
    let search = searxng();
    let up = model(|seen| match results(seen) {
        0 => vec![
            call(0, "web_search", &json!({"query": "slow one"})),
            call(1, "web_search", &json!({"query": "none"})),
            finish("stop"),
        ],
        2 => {
            vec![text("Once more."), call(0, "web_search", &json!({"query": "broken"})), finish("tool_calls")]
        }
        _ => vec![text("Done."), finish("stop")],
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    for stream in [true, false] {
        let message = message_of(&ask_for(&proxy, &request(stream, &json!([search_tool()]), "q")));
        assert_eq!(
            types(&message),
            [
                "server_tool_use",
                "server_tool_use",
                "web_search_tool_result",
                "web_search_tool_result",
                "text",
                "server_tool_use",
                "web_search_tool_result",
                "text"
            ]
        );
        let content = message["content"].as_array().unwrap();
        assert_eq!(content[2]["tool_use_id"], content[0]["id"]);
        assert_eq!(content[2]["content"].as_array().unwrap().len(), 2);
        assert_eq!((&content[3]["tool_use_id"], &content[3]["content"]), (&content[1]["id"], &json!([])));
        assert_eq!(
            content[6]["content"],
            json!({"type": "web_search_tool_result_error", "error_code": "unavailable"})
        );
        assert_eq!(
            message["usage"]["server_tool_use"]["web_search_requests"], 2,
            "what failed is not counted"
        );
        assert_eq!(message["usage"]["input_tokens"], 21);
        assert_eq!(message["stop_reason"], "end_turn");
    }
    let last = up.seen()[2].json();
    assert!(last["messages"].to_string().contains("Error: unavailable."), "the model sees it: {last}");
}

#[test]
fn what_may_not_or_cannot_be_done_is_an_error_result() {
    let search = searxng();
    let pages = pages();
    let named = format!("{}/page", pages.base());
    let missing = format!("{}/missing", pages.base());
    let (page, gone) = (named.clone(), missing.clone());
    let up = model(move |seen| match results(seen) {
        0 => vec![
            call(0, "web_search", &json!({"question": "x"})),
            call(1, "web_search", &json!({"query": "one"})),
            call(2, "web_search", &json!({"query": "two"})),
            call(3, "web_fetch", &json!({"url": page})),
            call(4, "web_fetch", &json!({"url": format!("{page}?leak=1")})),
            call(5, "web_fetch", &json!({"url": "http://127.0.0.1:9/"})),
            call(6, "web_fetch", &json!({"url": gone})),
            finish("tool_calls"),
        ],
        _ => vec![text("Done."), finish("stop")],
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), Some(&pages)));
    let mut tool = search_tool();
    tool["max_uses"] = 2.into();
    let ask = format!("read {named} and {missing}, and http://127.0.0.1:9/");
    for stream in [true, false] {
        let message = message_of(&ask_for(&proxy, &request(stream, &json!([tool, fetch_tool()]), &ask)));
        let content = message["content"].as_array().unwrap();
        let results: Vec<&Value> =
            content.iter().filter(|b| !b["tool_use_id"].is_null()).map(|b| &b["content"]).collect();
        let code = |n: usize| results[n]["error_code"].as_str();
        assert_eq!(code(0), Some("invalid_tool_input"));
        assert!(results[1].is_array());
        assert_eq!(code(2), Some("max_uses_exceeded"));
        assert_eq!(results[3]["type"], "web_fetch_result", "{}", results[3]);
        assert_eq!(results[3]["content"]["title"], "The page");
        let data = results[3]["content"]["source"]["data"].as_str().unwrap();
        assert!(data.contains("Hello") && data.contains("from the page") && !data.contains('<'), "{data}");
        assert_eq!(code(4), Some("url_not_allowed"), "nobody named it");
        assert_eq!(code(5), Some("url_not_allowed"), "named, but private");
        assert_eq!(code(6), Some("url_not_accessible"));
        assert_eq!(
            message["usage"]["server_tool_use"],
            json!({"web_search_requests": 1, "web_fetch_requests": 1})
        );
    }
    assert_eq!(pages.seen().iter().filter(|s| s.head.contains("leak")).count(), 0);
}

/// A page that a search found may be fetched, and so may what the page links to.
#[test]
fn what_a_result_named_may_be_fetched() {
    let pages = pages();
    let url = format!("{}/page", pages.base());
    let found = url.clone();
    let search = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            let results = json!({"results": [{"title": "T", "url": found, "content": "c"}]});
            conn.write(ok(&results.to_string()));
        }
    });
    let wanted = url.clone();
    let up = model(move |seen| match results(seen) {
        0 => vec![call(0, "web_search", &json!({"query": "q"})), finish("tool_calls")],
        1 => vec![call(0, "web_fetch", &json!({"url": wanted})), finish("tool_calls")],
        _ => vec![text("Done."), finish("stop")],
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), Some(&pages)));
    let message = message_of(&ask_for(&proxy, &request(true, &json!([search_tool(), fetch_tool()]), "q")));
    assert_eq!(message["content"][3]["content"]["url"], url, "{message}");
    let told = up.seen()[2].json()["messages"].to_string();
    assert!(told.contains("from the page"), "{told}");
}

/// Domains of the tool are honoured for both tools.
#[test]
fn domains_are_honoured() {
    let (search, pages) = (searxng(), pages());
    let url = format!("{}/page", pages.base());
    let wanted = url.clone();
    let up = model(move |seen| match results(seen) {
        0 => vec![
            call(0, "web_search", &json!({"query": "q"})),
            call(1, "web_fetch", &json!({"url": wanted})),
            finish("tool_calls"),
        ],
        _ => vec![text("Done."), finish("stop")],
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), Some(&pages)));
    let (mut tool, mut fetch) = (search_tool(), fetch_tool());
    tool["blocked_domains"] = json!(["other.example.com"]);
    fetch["allowed_domains"] = json!(["example.com"]);
    let message = message_of(&ask_for(&proxy, &request(true, &json!([tool, fetch]), &url)));
    let content = message["content"].as_array().unwrap();
    let urls: Vec<&Value> = content[2]["content"].as_array().unwrap().iter().map(|h| &h["url"]).collect();
    assert_eq!(urls, ["https://blog.example.org/rust-1-99"]);
    assert_eq!(content[3]["content"]["error_code"], "url_not_allowed");
    tool["allowed_domains"] = json!(["example.org"]);
    let refused = post(proxy.addr, request(true, &json!([tool]), "q").to_string().as_bytes());
    assert_eq!((refused.status, refused.error().0.as_str()), (400, "invalid_request_error"));
}

/// Calls of both kinds in one answer: ours are carried out, the client's are the client's.
#[test]
fn both_kinds_of_calls_in_one_answer() {
    let search = searxng();
    let up = model(|seen| match results(seen) {
        0 => vec![
            call(0, "Bash", &json!({"command": "ls"})),
            call(1, "web_search", &json!({"query": "q"})),
            finish("tool_calls"),
        ],
        _ => vec![text("Done."), finish("stop")],
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    let bash = json!({"name": "Bash", "input_schema": {"type": "object"}});
    for stream in [true, false] {
        let asked = up.seen().len();
        let mut body = request(stream, &json!([search_tool(), bash]), "q");
        let message = message_of(&ask_for(&proxy, &body));
        assert_eq!(types(&message), ["tool_use", "server_tool_use", "web_search_tool_result"]);
        assert_eq!(message["stop_reason"], "tool_use");
        assert_eq!(up.seen().len(), asked + 1, "the client goes on");
        let id = message["content"][0]["id"].clone();
        body["messages"].as_array_mut().unwrap().extend([
            json!({"role": "assistant", "content": message["content"]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "files"}]}),
        ]);
        assert_eq!(message_of(&ask_for(&proxy, &body))["stop_reason"], "end_turn");
        let sent = up.seen().last().unwrap().json();
        let tools: Vec<&Value> =
            sent["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "tool").collect();
        assert_eq!(tools[0]["content"], "files");
        assert!(tools[1]["content"].as_str().unwrap().starts_with("Search results."));
    }
}

/// A model that never stops asking is not offered the tools any more, and ends.
#[test]
fn rounds_are_bounded() {
    let search = searxng();
    let up = model(|seen| {
        let n = results(seen);
        vec![
            text(&format!("{n} ")),
            call(0, "web_search", &json!({"query": format!("q{n}")})),
            finish("tool_calls"),
        ]
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    let mut tool = search_tool();
    tool["max_uses"] = 1000.into();
    for stream in [true, false] {
        let (asked, searched) = (up.seen().len(), search.seen().len());
        let message = message_of(&ask_for(&proxy, &request(stream, &json!([tool]), "q")));
        let seen = up.seen();
        assert_eq!(seen.len() - asked, 11);
        let last = seen.last().unwrap().json();
        assert!(last["tools"].is_null() && seen[seen.len() - 2].json()["tools"].is_array());
        assert_eq!(search.seen().len() - searched, 10);
        assert_eq!(message["stop_reason"], "end_turn");
        let last = message["content"].as_array().unwrap().last().unwrap();
        assert_eq!(last["content"]["error_code"], "max_uses_exceeded");
        assert_eq!(message["usage"]["server_tool_use"]["web_search_requests"], 10);
    }
}

/// A forced call is forced once.
#[test]
fn a_forced_call_comes_to_an_end() {
    let search = searxng();
    let up = model(|seen| {
        if seen.json()["tool_choice"] == "auto" {
            return vec![text("Done."), finish("stop")];
        }
        vec![call(0, "web_search", &json!({"query": "q"})), finish("tool_calls")]
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    let mut body = request(true, &json!([search_tool()]), "q");
    body["tool_choice"] = json!({"type": "tool", "name": "web_search"});
    let message = message_of(&ask_for(&proxy, &body));
    assert_eq!(types(&message), ["server_tool_use", "web_search_tool_result", "text"]);
    assert_eq!(up.seen()[0].json()["tool_choice"]["function"]["name"], "web_search");
}

/// While a search runs the client gets pings, and its leaving ends everything.
#[test]
fn pings_and_a_client_that_leaves() {
    let search = searxng();
    let up = model(|_| {
        vec![text("I look."), call(0, "web_search", &json!({"query": "hang"})), finish("tool_calls")]
    });
    let mut config = searching(&up.base(), Some(&search), None);
    config.ping_interval = Duration::from_millis(100);
    let proxy = Proxy::start(config);
    for stream in [true, false] {
        let body = request(stream, &json!([search_tool()]), "q").to_string();
        let mut client = Client::connect(proxy.addr);
        client.send("POST", "/v1/messages", &[], body.as_bytes());
        if stream {
            client.until("event: ping");
            assert!(client.raw().contains("server_tool_use"), "told as it happens: {}", client.raw());
            assert!(!client.raw().contains("message_delta"));
        }
        let before = search.gone();
        eventually("the search is asked", || search.seen().len() > before);
        drop(client);
        eventually("the search is given up", || search.gone() == before + 1);
    }
}

/// The drain deadline holds while a search runs.
#[test]
fn the_drain_deadline_holds() {
    let search = searxng();
    let up = model(|_| {
        vec![text("I look."), call(0, "web_search", &json!({"query": "hang"})), finish("tool_calls")]
    });
    let mut config = searching(&up.base(), Some(&search), None);
    config.shutdown_grace = Duration::from_secs(1);
    let proxy = Proxy::start(config);
    let body = request(true, &json!([search_tool()]), "q").to_string();
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], body.as_bytes());
    eventually("the search is asked", || search.seen().len() == 1);
    proxy.signal();
    let (events, end) = client.answer().events();
    assert_eq!(end, End::Error);
    assert_eq!(events.last().unwrap()["error"]["type"], "overloaded_error");
    proxy.join();
}

/// The upstream fails in the second round: one error event, or the HTTP error; a second attempt
/// is made before.
#[test]
fn the_upstream_fails_in_a_later_round() {
    let search = searxng();
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if results(&seen) == 0 {
                answer(
                    &mut conn,
                    &seen,
                    &[call(0, "web_search", &json!({"query": "q"})), finish("tool_calls")],
                );
            } else {
                conn.write(http(
                    503,
                    &[("content-type", "application/json")],
                    r#"{"error":{"message":"worn out"}}"#,
                ));
            }
        }
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    let body = |stream| request(stream, &json!([search_tool()]), "q").to_string();
    let answer = post(proxy.addr, body(true).as_bytes());
    let (events, end) = answer.events();
    assert_eq!((answer.status, end), (200, End::Error));
    let error = &events.last().unwrap()["error"];
    assert!(error["message"].as_str().unwrap().contains("worn out"), "{error}");
    assert_eq!(events.iter().filter(|e| e["type"] == "message_start").count(), 1);
    assert_eq!(up.seen().len(), 3, "the second round was tried twice");
    let answer = post(proxy.addr, body(false).as_bytes());
    assert_eq!((answer.status, answer.error().0.as_str()), (529, "overloaded_error"));
    assert!(answer.error().1.contains("worn out"));
}

/// A second round that is cut off in the middle is an error, not an end.
#[test]
fn a_later_round_that_is_cut() {
    let search = searxng();
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if results(&seen) == 0 {
                answer(
                    &mut conn,
                    &seen,
                    &[call(0, "web_search", &json!({"query": "q"})), finish("tool_calls")],
                );
            } else {
                conn.stream_head();
                conn.chunk(text("half"));
                return conn.cut();
            }
        }
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    let answer = post(proxy.addr, request(true, &json!([search_tool()]), "q").to_string().as_bytes());
    let (events, end) = answer.events();
    assert_eq!(end, End::Error);
    assert!(events.iter().any(|e| e["delta"]["text"] == "half"));
}

/// Without the settings nothing is different from what it was.
#[test]
fn without_the_settings_tools_are_dropped() {
    let up = Upstream::hello();
    let proxy = Proxy::start(config(&up.base()));
    let answer = ask_for(&proxy, &request(true, &json!([search_tool(), fetch_tool()]), "q"));
    assert_eq!(
        answer.header("x-claude-proxy-warnings"),
        Some("dropped_tool:web_search_20250305, dropped_tool:web_fetch_20250910")
    );
    assert!(up.seen()[0].json()["tools"].is_null());
}

/// A request that offers the tools and does not use them passes as any other.
#[test]
fn an_answer_without_calls() {
    let search = searxng();
    let up = Upstream::hello();
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    for stream in [true, false] {
        let message = message_of(&ask_for(&proxy, &request(stream, &json!([search_tool()]), "q")));
        assert_eq!((types(&message), &message["stop_reason"]), (vec!["text"], &json!("end_turn")));
        assert!(message["usage"]["server_tool_use"].is_null());
    }
    assert_eq!((up.seen().len(), search.seen().len()), (2, 0));
}

/// Metrics count the calls by tool and outcome.
#[test]
fn metrics_count_calls() {
    let search = searxng();
    let up = model(|seen| match results(seen) {
        0 => vec![
            call(0, "web_search", &json!({"query": "one"})),
            call(1, "web_search", &json!({"query": "broken"})),
            finish("tool_calls"),
        ],
        _ => vec![text("Done."), finish("stop")],
    });
    let proxy = Proxy::start(searching(&up.base(), Some(&search), None));
    ask_for(&proxy, &request(true, &json!([search_tool()]), "q"));
    let text = String::from_utf8(ask(proxy.addr, "GET", "/metrics", &[], b"").body).unwrap();
    let mut wanted = String::new();
    for (tool, outcome, n) in
        [("web_search", "ok", 1), ("web_search", "unavailable", 1), ("web_fetch", "ok", 0)]
    {
        wanted.clear();
        write!(wanted, "claude_proxy_web_requests_total{{tool=\"{tool}\",outcome=\"{outcome}\"}} {n}")
            .unwrap();
        assert!(text.contains(&wanted), "{wanted} in {text}");
    }
}

/// `serve` from a file: the log line counts the calls; the capture says how many rounds there
/// were, holds the last, and cannot be replayed.
#[test]
fn the_log_line_and_the_capture() {
    let search = searxng();
    let up = model(|seen| match results(seen) {
        0 => vec![call(0, "web_search", &json!({"query": "one"})), finish("tool_calls")],
        1 => vec![call(0, "web_search", &json!({"query": "broken"})), finish("tool_calls")],
        _ => vec![text("Done."), finish("stop")],
    });
    let config = json!({"port": 0, "web_search": {"provider": "searxng", "base_url": search.base()},
        "providers": [{"name": "up", "base_url": up.base(), "api_key": "k", "models": [{"id": "m"}]}]});
    let args = ["serve", "--log-format", "json", "--capture", "exchanges"];
    let program = Program::start(&args, &config.to_string());
    let body = request(true, &json!([search_tool()]), "q");
    let answer = post(program.addr(), body.to_string().as_bytes());
    assert_eq!(message_of(&answer)["usage"]["server_tool_use"]["web_search_requests"], 1);
    eventually("its line is there", || program.lines("request").len() == 1);
    let line = program.lines("request").remove(0);
    assert_eq!((&line["web_searches"], &line["web_fetches"]), (&json!(2), &Value::Null), "{line}");
    assert_eq!((&line["attempts"], &line["outcome"]), (&json!(3), &json!("done")), "{line}");
    assert_eq!((&line["input_tokens"], &line["stop_reason"]), (&json!(21), &json!("end_turn")), "{line}");

    let exchanges = program.dir().join("exchanges");
    let folder = || std::fs::read_dir(&exchanges).ok()?.next()?.ok().map(|entry| entry.path());
    eventually("the capture is whole", || folder().is_some_and(|f| f.join("meta.json").exists()));
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder().unwrap().join(name)).unwrap()).unwrap()
    };
    assert_eq!(
        (&read("meta.json")["rounds"], &read("meta.json")["spec"]["web_search"]),
        (&json!(3), &json!(true))
    );
    let sent = read("upstream-request.json");
    assert_eq!(sent["messages"], up.seen()[2].json()["messages"], "the last one");
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_claude-proxy"))
        .args(["convert", "--replay"])
        .arg(&exchanges)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("cannot compare") && said.contains("it took 3 rounds with web tools"), "{said}");
}

/// A thread that the proxy keeps has the searches of its answers in it: the upstream sees the
/// same of it as of a client that sends its whole history.
#[test]
fn a_kept_thread_has_its_searches_in_it() {
    for stream in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let search = searxng();
        let up = model(|seen| match results(seen) {
            0 => {
                vec![text("I look."), call(0, "web_search", &json!({"query": "rust"})), finish("tool_calls")]
            }
            _ => vec![text("Rust is fast."), finish("stop")],
        });
        let mut config = searching(&up.base(), Some(&search), None);
        config.extras.threads = Some(claude_proxy::config::Threads {
            path: dir.path().join("threads.redb"),
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(1000),
        });
        let proxy = Proxy::start(config);
        let send = |body: &Value| {
            let body = body.to_string();
            ask(proxy.addr, "POST", "/v1/messages", &[crate::threads::BETA], body.as_bytes())
        };
        let user = |text: &str| json!({"role": "user", "content": text});
        let mut create = crate::threads::body(None, &json!([user("find it")]), stream);
        create["tools"] = json!([search_tool()]);
        let first = message_of(&send(&create));
        let kinds: Vec<&str> = first["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["type"].as_str().unwrap())
            .collect();
        assert!(kinds.contains(&"server_tool_use") && kinds.contains(&"web_search_tool_result"), "{kinds:?}");
        let next = crate::threads::body(first["id"].as_str(), &json!([user("and?")]), stream);
        assert_eq!(message_of(&send(&next))["stop_reason"], "end_turn");
        let mut whole = create.clone();
        whole.as_object_mut().unwrap().remove("thread");
        whole["messages"] =
            json!([user("find it"), {"role": "assistant", "content": first["content"]}, user("and?")]);
        assert_eq!(message_of(&send(&whole))["stop_reason"], "end_turn");
        let seen = up.seen();
        let (kept, sent) = (&seen[seen.len() - 2], &seen[seen.len() - 1]);
        assert_eq!(String::from_utf8_lossy(&kept.body), String::from_utf8_lossy(&sent.body));
    }
}

/// Calls of the client's tools are judged in whichever round they come; ours are not.
#[test]
fn calls_of_later_rounds_are_judged() {
    let search = searxng();
    let judge = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let messages = seen.json()["messages"].clone();
            let prompt = messages.as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
            let nonce = prompt.split_whitespace().nth(1).unwrap();
            let verdict = json!({"nonce": nonce, "explanation": "It lists.", "decision": "allow"});
            conn.write(ok(&completion(&verdict.to_string())));
        }
    });
    let up = model(|seen| match results(seen) {
        0 => vec![call(0, "web_search", &json!({"query": "q"})), finish("tool_calls")],
        _ => vec![call(0, "Bash", &json!({"command": "ls"})), finish("tool_calls")],
    });
    let mut config = searching(&up.base(), Some(&search), None);
    config::add_model(&mut config, "judge", &judge.base(), "generic");
    config::rename(&mut config, "judge.example");
    config.extras.safeguards_model = Some("judge".to_owned());
    let proxy = Proxy::start(config);
    for stream in [true, false] {
        let mut body = request(
            stream,
            &json!([search_tool(), {"name": "Bash", "input_schema": {"type": "object"}}]),
            "q",
        );
        body["safeguards"] =
            json!([{"type": "dangerous_tool_use", "classifier_context": {"v": 1, "live_cwd": "/w"}}]);
        let answer = ask_for(&proxy, &body);
        let message = message_of(&answer);
        assert_eq!(types(&message), ["server_tool_use", "web_search_tool_result", "tool_use"]);
        let safeguards = if stream {
            let (events, _) = answer.events();
            events.iter().find(|e| e["type"] == "message_delta").unwrap()["delta"]["safeguard_results"]
                .clone()
        } else {
            message["safeguard_results"].clone()
        };
        let uses = safeguards[0]["status"]["tool_uses"].as_object().unwrap();
        let id = message["content"][2]["id"].as_str().unwrap();
        assert_eq!((uses.len(), &uses[id]["outcome"]), (1, &json!("not_flagged")), "{safeguards}");
    }
    assert_eq!(judge.seen().len(), 2);
}
