//! Conversations that the proxy keeps (`threads`): the client sends what is new, the upstream sees
//! all of it, and a turn is on disk before its answer is told to be whole.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use claude_proxy::config::{Config, Secret, Threads};
use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::client::Answer;
use crate::support::program::Program;
use crate::support::upstream::ok;
use crate::support::*;

pub const BETA: (&str, &str) = ("anthropic-beta", "message-threads-2026-08-12");

/// Answers with the number of messages that it saw.
pub fn counting() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let body = seen.json();
            let said = format!("saw {}", body["messages"].as_array().unwrap().len());
            if body["stream"] == true {
                conn.stream(&[&text(&said), &finish("stop"), &usage(), DONE]);
            } else {
                conn.write(ok(&completion(&said)));
            }
        }
    })
}

fn keeping(base: &str, dir: &Path) -> Config {
    let mut config = config(base);
    config.extras.threads = Some(Threads {
        path: dir.join("threads.redb"),
        max_bytes: 1 << 30,
        max_age: Duration::from_secs(30 * 24 * 3600),
    });
    config
}

/// A request with `thread`: `from` is the id that it continues from.
pub fn body(from: Option<&str>, messages: &Value, stream: bool) -> Value {
    let thread = match from {
        Some(id) => json!({"type": "continue", "previous_message_id": id}),
        None => json!({"type": "create"}),
    };
    json!({"model": "m", "max_tokens": 64, "stream": stream, "messages": messages, "thread": thread})
}

fn send(addr: SocketAddr, body: &Value) -> Answer {
    ask(addr, "POST", "/v1/messages", &[BETA], body.to_string().as_bytes())
}

/// The id of an answer, which has to be whole, and its text.
fn said(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    if answer.header("content-type").unwrap().starts_with("text/event-stream") {
        let (events, end) = answer.events();
        assert_eq!(end, End::Complete);
        return (events[0]["message"]["id"].as_str().unwrap().to_owned(), answer.text());
    }
    let message = answer.json();
    (message["id"].as_str().unwrap().to_owned(), message["content"][0]["text"].as_str().unwrap().to_owned())
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

/// `error.details.error_code`.
fn code(answer: &Answer) -> Value {
    answer.json()["error"]["details"]["error_code"].clone()
}

/// The roles and texts of what an upstream saw.
fn seen(body: &Value) -> Vec<(String, String)> {
    let text = |m: &Value| m["content"].as_str().map_or_else(|| m["content"].to_string(), str::to_owned);
    let messages = body["messages"].as_array().unwrap();
    messages.iter().map(|m| (m["role"].as_str().unwrap().to_owned(), text(m))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn the_upstream_sees_the_whole_conversation() {
    for stream in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let up = counting();
        let proxy = Proxy::start(keeping(&up.base(), dir.path()));
        let mut first = body(None, &user("one"), stream);
        first["system"] = json!("be brief");
        first["tools"] = json!([{"name": "f", "input_schema": {"type": "object"}}]);
        let (id, text) = said(&send(proxy.addr, &first));
        assert_eq!(text, "saw 2");
        let (id, text) = said(&send(proxy.addr, &body(Some(&id), &user("two"), !stream)));
        assert_eq!(text, "saw 4");
        let new = json!([{"role": "user", "content": "three"}, {"role": "user", "content": "more"}]);
        let (_, _) = said(&send(proxy.addr, &body(Some(&id), &new, stream)));
        let bodies: Vec<Value> = up.seen().iter().map(upstream::Seen::json).collect();
        assert_eq!(
            seen(&bodies[2]),
            pairs(&[
                ("system", "be brief"),
                ("user", "one"),
                ("assistant", "saw 2"),
                ("user", "two"),
                ("assistant", "saw 4"),
                ("user", "three\n\nmore"),
            ]),
        );
        assert_eq!(bodies[0]["tools"], bodies[2]["tools"]);
        // Byte for byte: what one turn sent is how the next one begins.
        let messages = |n: usize| {
            let body = String::from_utf8(up.seen()[n].body.clone()).unwrap();
            let at = body.find("\"messages\":[").unwrap();
            let end = body[at..].find("}]").unwrap();
            body[at..at + end].to_owned()
        };
        assert!(messages(1).starts_with(&messages(0)), "{}\n{}", messages(0), messages(1));
        assert!(messages(2).starts_with(&messages(1)));
    }
}

#[test]
fn who_continues_twice_has_two_branches() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let proxy = Proxy::start(keeping(&up.base(), dir.path()));
    let (id, _) = said(&send(proxy.addr, &body(None, &user("one"), false)));
    for branch in ["left", "right"] {
        let (id, _) = said(&send(proxy.addr, &body(Some(&id), &user(branch), true)));
        said(&send(proxy.addr, &body(Some(&id), &user("next"), false)));
    }
    let bodies: Vec<Value> = up.seen().iter().map(upstream::Seen::json).collect();
    for (n, branch) in [(2, "left"), (4, "right")] {
        let want = [
            ("user", "one"),
            ("assistant", "saw 1"),
            ("user", branch),
            ("assistant", "saw 3"),
            ("user", "next"),
        ];
        assert_eq!(seen(&bodies[n]), pairs(&want));
    }
}

#[test]
fn an_unknown_answer_makes_the_client_send_all() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let proxy = Proxy::start(keeping(&up.base(), dir.path()));
    said(&send(proxy.addr, &body(None, &user("x"), true)));
    let mine = body(Some("msg_01never"), &user("x"), true);
    let answer = send(proxy.addr, &mine);
    let metrics = metrics::Metrics::of(proxy.addr, None);
    let turns = |turn| metrics.sum("claude_proxy_thread_turns_total", &[("turn", turn)]);
    assert_eq!((turns("kept"), turns("not_found"), turns("failed")), (1, 1, 0));
    assert_eq!((answer.status, answer.error().0.as_str()), (404, "not_found_error"));
    assert_eq!(code(&answer), "thread_not_found");
    assert_eq!(up.seen().len(), 1);
}

#[test]
fn another_key_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let with_key = |key: &str| {
        let mut config = keeping(&up.base(), dir.path());
        config.ak = Some(Secret::new(key));
        config
    };
    let proxy = Proxy::start(with_key("first"));
    let ask = |key: &str, body: &Value| {
        let headers = [BETA, ("x-api-key", key)];
        ask(proxy.addr, "POST", "/v1/messages", &headers, body.to_string().as_bytes())
    };
    let (id, _) = said(&ask("first", &body(None, &user("one"), false)));
    let next = body(Some(&id), &user("two"), false);
    proxy.reload.apply(with_key("second")).unwrap();
    let stolen = ask("second", &next);
    let unknown = ask("second", &body(Some("msg_01never"), &user("two"), false));
    assert_eq!((stolen.status, unknown.status), (404, 404));
    let plain = |answer: &Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("request_id");
        body
    };
    assert_eq!(plain(&stolen), plain(&unknown), "nothing tells that it exists");
    proxy.reload.apply(with_key("first")).unwrap();
    assert_eq!(said(&ask("first", &next)).1, "saw 3");
}

#[test]
fn what_a_thread_keeps_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let proxy = Proxy::start(keeping(&up.base(), dir.path()));
    let (id, _) = said(&send(proxy.addr, &body(None, &user("one"), false)));
    let mut next = body(Some(&id), &user("two"), false);
    next["system"] = json!("another");
    let answer = send(proxy.addr, &next);
    assert_eq!((answer.status, code(&answer)), (400, json!("thread_fingerprint_mismatch")));
}

#[test]
fn without_the_setting_or_the_beta_it_is_refused_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let off = Proxy::start(config(&up.base()));
    let on = Proxy::start(keeping(&up.base(), dir.path()));
    let create = body(None, &user("one"), false);
    for answer in [send(off.addr, &create), post(on.addr, create.to_string().as_bytes())] {
        assert_eq!((answer.status, code(&answer)), (400, json!("thread_unsupported_request")));
    }
    assert!(up.seen().is_empty());
    // And with the beta, but without `thread`, nothing is kept.
    let mut plain = create;
    plain.as_object_mut().unwrap().remove("thread");
    let (id, _) = said(&send(on.addr, &plain));
    assert_eq!(send(on.addr, &body(Some(&id), &user("two"), false)).status, 404);
}

#[test]
fn an_answer_that_failed_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("half"));
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(keeping(&up.base(), dir.path()));
    let answer = send(proxy.addr, &body(None, &user("one"), true));
    let (events, end) = answer.events();
    assert_eq!(end, End::Error);
    let id = events[0]["message"]["id"].as_str().unwrap();
    assert_eq!(send(proxy.addr, &body(Some(id), &user("two"), true)).status, 404);
}

#[test]
fn an_answer_that_was_left_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("half"));
            conn.until_gone();
        }
    });
    let proxy = Proxy::start(keeping(&up.base(), dir.path()));
    let mut client = Client::connect(proxy.addr);
    let create = body(None, &user("one"), true).to_string();
    client.send("POST", "/v1/messages", &[BETA], create.as_bytes());
    client.until("half");
    let raw = client.raw();
    let at = raw.find("msg_01").unwrap();
    let id: String = raw[at..].chars().take_while(|c| *c != '"').collect();
    client.reset();
    eventually("the upstream is let go", || up.gone() == 1);
    assert_eq!(send(proxy.addr, &body(Some(&id), &user("two"), true)).status, 404);
}

#[test]
fn calls_and_their_results_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let call = |index: usize, id: &str, arguments: &str| {
        let call = json!({"index": index, "id": id, "type": "function",
            "function": {"name": "f", "arguments": arguments}});
        format!("data: {}\n\n", json!({"choices": [{"delta": {"tool_calls": [call]}}]}))
    };
    let calls = [call(0, "call_a", r#"{"k": 1.50, "t": "\"é\u00e9"}"#), call(1, "call_b", "{}")];
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let last = seen.json()["messages"].as_array().unwrap().last().unwrap()["role"].clone();
            if last == "tool" {
                conn.stream(&[&text("done"), &finish("stop"), DONE]);
            } else {
                conn.stream(&[&text("I look."), &calls[0], &calls[1], &finish("tool_calls"), DONE]);
            }
        }
    });
    let proxy = Proxy::start(keeping(&up.base(), dir.path()));
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "42"});
    let results = json!([{"role": "user", "content": [result("call_a"), result("call_b")]}]);
    let mut create = body(None, &user("one"), true);
    create["tools"] = tools.clone();
    let first = send(proxy.addr, &create);
    let (id, _) = said(&first);
    assert_eq!(said(&send(proxy.addr, &body(Some(&id), &results, true))).1, "done");
    // A client that keeps its history itself sends the same upstream.
    let content = {
        let (events, _) = first.events();
        let mut input = String::new();
        for event in &events {
            if event["index"] == 1 {
                input.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
            }
        }
        format!(
            r#"[{{"type":"text","text":"I look."}},{{"type":"tool_use","id":"call_a","name":"f","input":{input}}},{{"type":"tool_use","id":"call_b","name":"f","input":{{}}}}]"#
        )
    };
    let whole = format!(
        r#"{{"model":"m","max_tokens":64,"stream":true,"tools":{tools},"messages":[{{"role":"user","content":"one"}},{{"role":"assistant","content":{content}}},{}]}}"#,
        results[0]
    );
    said(&post(proxy.addr, whole.as_bytes()));
    let bodies = up.seen();
    assert_eq!(
        String::from_utf8_lossy(&bodies[1].body),
        String::from_utf8_lossy(&bodies[2].body),
        "byte for byte"
    );
}

#[test]
fn a_conversation_is_no_longer_than_a_body_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let mut config = keeping(&up.base(), dir.path());
    config.max_body_bytes = 10_000;
    let proxy = Proxy::start(config);
    let long = "x".repeat(6000);
    let (id, _) = said(&send(proxy.addr, &body(None, &user(&long), false)));
    let answer = send(proxy.addr, &body(Some(&id), &user(&long), false));
    assert_eq!((answer.status, answer.error().0.as_str()), (413, "request_too_large"));
    assert_eq!(said(&send(proxy.addr, &body(Some(&id), &user("short"), false))).1, "saw 3");
}

#[test]
fn a_thread_larger_than_all_that_is_kept_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let mut config = keeping(&up.base(), dir.path());
    config.extras.threads.as_mut().unwrap().max_bytes = 20_000;
    let proxy = Proxy::start(config);
    let answer = send(proxy.addr, &body(None, &user(&"x".repeat(30_000)), false));
    assert_eq!((answer.status, code(&answer)), (400, json!("thread_unsupported_request")));
    // The oldest go, whole; what goes on stays.
    let begin = |n: usize| said(&send(proxy.addr, &body(None, &user(&"x".repeat(3000 + n)), false))).0;
    let ids: Vec<String> = (0..20).map(begin).collect();
    let continued = |id: &str| send(proxy.addr, &body(Some(id), &user("next"), false)).status;
    eventually("the first is gone", || continued(&ids[0]) == 404);
    assert_eq!(continued(&ids[19]), 200);
}

#[test]
fn tokens_are_counted_of_the_whole_conversation() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let proxy = Proxy::start(keeping(&up.base(), dir.path()));
    let words = "many words in a row ".repeat(100);
    let (id, _) = said(&send(proxy.addr, &body(None, &user(&words), false)));
    let count = |headers: &[(&str, &str)], body: &Value| {
        let answer =
            ask(proxy.addr, "POST", "/v1/messages/count_tokens", headers, body.to_string().as_bytes());
        (answer.status, answer.json()["input_tokens"].as_u64())
    };
    let (status, tokens) = count(&[BETA], &body(Some(&id), &user("x"), false));
    assert!(status == 200 && tokens.unwrap() > 400, "{tokens:?}");
    let (_, alone) = count(&[], &json!({"model": "m", "messages": user("x")}));
    assert!(alone.unwrap() < 100);
}

#[test]
fn no_output_is_a_turn_too() {
    for stream in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let up = counting();
        let proxy = Proxy::start(keeping(&up.base(), dir.path()));
        let mut create = body(None, &user("one"), stream);
        create["max_tokens"] = json!(0);
        let answer = send(proxy.addr, &create);
        let id =
            if stream { answer.events().0[0]["message"]["id"].clone() } else { answer.json()["id"].clone() };
        said(&send(proxy.addr, &body(id.as_str(), &user("two"), stream)));
        let bodies = up.seen();
        assert_eq!(bodies.len(), 1);
        assert_eq!(seen(&bodies[0].json()), pairs(&[("user", "one\n\ntwo")]));
    }
}

/// Many at once on two workers: each has its own conversation, and one file serves them all.
#[test]
fn workers_share_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let up = counting();
    let mut config = keeping(&up.base(), dir.path());
    config.workers = 2;
    let proxy = Proxy::start(config);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let addr = proxy.addr;
            scope.spawn(move || {
                let mut from: Option<String> = None;
                for turn in 0..12 {
                    let answer = send(addr, &body(from.as_deref(), &user("x"), (n + turn) % 2 == 0));
                    let (id, text) = said(&answer);
                    assert_eq!(text, format!("saw {}", 2 * turn + 1));
                    from = Some(id);
                }
            });
        }
    });
}

#[test]
fn two_proxies_do_not_share_a_file() {
    let up = counting();
    let file = json!({"port": 0, "threads": {"path": "threads.redb"},
        "providers": [{"name": "up", "base_url": up.base(), "api_key": "k", "models": [{"id": "m"}]}]});
    let first = Program::start(&["serve"], &file.to_string());
    let (id, _) = said(&send(first.addr(), &body(None, &user("one"), true)));
    let path = first.dir().join("threads.redb");
    let mut shared = file.clone();
    shared["threads"]["path"] = json!(path);
    let (status, output) = Program::start(&["serve"], &shared.to_string()).end();
    assert_ne!(status, Some(0));
    assert!(output.contains("another process has this file open"), "{output}");
    // Killed, it leaves a file that the next one opens.
    let text = std::fs::read(&path).unwrap();
    assert!(!text.is_empty());
    first.signal("KILL");
    let (_, _) = first.end();
    let again = Program::start_in(&["serve"], &file.to_string(), |dir, _| {
        std::fs::write(dir.join("threads.redb"), text).unwrap();
    });
    assert_eq!(said(&send(again.addr(), &body(Some(&id), &user("two"), true))).1, "saw 3");
}

#[test]
fn the_disk_is_full() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let up = counting();
    let file = json!({"port": 0, "threads": {"path": "threads.redb"},
        "providers": [{"name": "up", "base_url": up.base(), "api_key": "k", "models": [{"id": "m"}]}]});
    // No file may become larger than 400 KB: what is beyond cannot be written.
    let program = Program::start_as(&file.to_string(), |program, _| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" serve", program]);
        command
    });
    let addr = program.addr();
    let long = "x".repeat(60_000);
    let mut kept = Vec::new();
    let failed = loop {
        let stream = kept.len() % 2 == 0;
        let answer = send(addr, &body(None, &user(&long), stream));
        let whole = answer.status == 200 && (!stream || answer.events().1 == End::Complete);
        if !whole {
            break (stream, answer);
        }
        kept.push(said(&answer).0);
        assert!(kept.len() < 40, "it never fills");
    };
    assert!(!kept.is_empty());
    let (stream, answer) = failed;
    if stream {
        assert_eq!(answer.events().1, End::Error, "never told to be whole");
    } else {
        assert_eq!((answer.status, answer.header("x-should-retry")), (500, Some("false")));
        assert_eq!(code(&answer), "thread_unsupported_request");
    }
    // The next is told before it costs anything.
    let asked = up.seen().len();
    let answer = send(addr, &body(None, &user("x"), false));
    assert_eq!((answer.status, code(&answer)), (400, json!("thread_unsupported_request")));
    assert_eq!(up.seen().len(), asked);
    // Requests without threads go on.
    assert_eq!(post(addr, &message("x", false)).status, 200);
}
