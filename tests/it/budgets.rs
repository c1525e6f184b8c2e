//! What requests cost, and budgets: who has used up a day's is refused, before the upstream is
//! asked, until the next day, also after a restart.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::grammar::End;
use crate::keys::checked;
use crate::support::metrics::Metrics;
use crate::support::program::Program;
use crate::support::upstream::{Conn, ok};
use crate::support::*;

/// Each answer takes 7 tokens in and 3 out: at these prices 37 millionths.
const UNIT: f64 = 0.000_037;

/// Model `m` at `up` for 1 in, 10 out, 0.5 cached; keys with budgets for so many answers.
fn file(up: &str, dir: &Path, alice: f64, per_day: f64) -> Value {
    json!({"port": 0, "workers": 2, "ak": "open-all", "log_body_max_chars": 0,
    "log_stream_text_preview_chars": 0,
    "keys": [{"name": "alice", "key": "open-alice", "budget": alice * UNIT}, {"name": "bob", "key": "open-bob"}],
    "budgets": {"per_day": per_day * UNIT, "path": dir.join("spent.redb")},
    "providers": [{"name": "up", "base_url": up, "api_key": "sk-upstream", "profile": "generic",
        "models": [{"id": "m", "price": {"input": 1, "output": 10, "cached": 0.5}},
            {"id": "dear", "price": {"input": 100, "output": 1000}}]}]})
}

fn obey(mut conn: Conn) {
    while let Some(seen) = conn.request() {
        let body = seen.json();
        let word = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        match word.as_str() {
            "cut" | "hang" => {
                conn.stream_head();
                // 40 bytes are 10 tokens, as they are estimated.
                conn.chunk(text(&"four".repeat(10)));
                return if word == "cut" { conn.close() } else { conn.hang() };
            }
            "cached" => drop(conn.write(ok(&completion("hello").replace(
                "\"prompt_tokens\":7",
                "\"prompt_tokens\":1007,\"prompt_tokens_details\":{\"cached_tokens\":1000}",
            )))),
            "500" => drop(conn.write(upstream::http(500, &[], r#"{"error":{"message":"no"}}"#))),
            _ if body["stream"] == true => {
                conn.stream(&[&text("Hello"), &text(" there"), &finish("stop"), &usage(), DONE]);
            }
            _ => drop(conn.write(ok(&completion("Hello there")))),
        }
    }
}

fn body(model: &str, word: &str, stream: bool) -> Vec<u8> {
    json!({"model": model, "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": word}]})
        .to_string()
        .into_bytes()
}

fn say(addr: SocketAddr, key: &str, word: &str, stream: bool) -> client::Answer {
    ask(addr, "POST", "/v1/messages", &[("x-api-key", key)], &body("m", word, stream))
}

/// The sum of a metric in money.
fn money(addr: SocketAddr, name: &str, labels: &[(&str, &str)]) -> f64 {
    let now = Metrics::of(addr, Some("open-all"));
    let fits =
        |s: &&metrics::Sample| labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|have| have == v));
    now.families[name].samples.iter().filter(fits).map(|s| s.value).sum()
}

fn spent(addr: SocketAddr, key: &str) -> f64 {
    money(addr, "claude_proxy_key_cost_total", &[("key", key)])
}

/// To the nearest millionth, in millionths.
fn micros(amount: f64) -> u64 {
    (amount * 1e6).round() as u64
}

fn refusals(addr: SocketAddr, key: &str) -> u64 {
    Metrics::of(addr, Some("open-all")).sum("claude_proxy_budget_refusals_total", &[("key", key)])
}

#[test]
fn who_has_spent_the_budget_is_refused_and_nobody_else() {
    let (up, dir) = (Upstream::start(obey), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(checked(&file(&up.base(), dir.path(), 2.5, 100.0)));
    let addr = proxy.addr;
    for key in ["ak", "alice", "bob"] {
        assert_eq!((micros(spent(addr, key)), refusals(addr, key)), (0, 0), "{key}");
    }
    // Something is left before the third, so it is let in.
    for (n, stream) in [(1, false), (2, true), (3, false)] {
        let answer = say(addr, "open-alice", "hi", stream);
        assert_eq!(answer.status, 200);
        eventually("it is counted", || micros(spent(addr, "alice")) == 37 * n);
    }
    assert_eq!(up.seen().len(), 3);
    for stream in [false, true] {
        let answer = say(addr, "open-alice", "hi", stream);
        let (kind, message) = answer.error();
        assert_eq!((answer.status, kind.as_str()), (429, "rate_limit_error"));
        assert!(
            message.starts_with("the budget of key `alice` for today is used up: 0.000111 of 0.0000925 are spent. It begins anew at midnight UTC, in "),
            "{message}"
        );
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=24 * 3600).contains(&wait), "{wait}");
    }
    assert_eq!((up.seen().len(), refusals(addr, "alice")), (3, 2));
    // What costs nothing goes on, and so do the others.
    let count = ask(
        addr,
        "POST",
        "/v1/messages/count_tokens",
        &[("x-api-key", "open-alice")],
        &body("m", "hi", false),
    );
    assert_eq!(count.status, 200);
    assert_eq!(
        (say(addr, "open-bob", "hi", false).status, say(addr, "open-all", "hi", false).status),
        (200, 200)
    );
    assert_eq!(micros(money(addr, "claude_proxy_cost_total", &[("model", "m")])), 5 * 37);
    assert_eq!(micros(money(addr, "claude_proxy_cost_total", &[("model", "dear")])), 0);
}

#[test]
fn a_budget_of_all_is_for_each() {
    let (up, dir) = (Upstream::start(obey), tempfile::tempdir().unwrap());
    let mut config = file(&up.base(), dir.path(), 1.0, 1.0);
    let proxy = Proxy::start(checked(&config));
    for key in ["open-all", "open-bob", "open-alice"] {
        assert_eq!(say(proxy.addr, key, "hi", false).status, 200);
        eventually("it is used up", || say(proxy.addr, key, "hi", false).status == 429);
    }
    drop(proxy);
    // Without a key all clients are one.
    for key in ["ak", "keys"] {
        config.as_object_mut().unwrap().remove(key);
    }
    let proxy = Proxy::start(checked(&config));
    let say = || ask(proxy.addr, "POST", "/v1/messages", &[], &body("m", "hi", false));
    assert_eq!(say().status, 200);
    eventually("it is used up", || say().status == 429);
    assert!(say().error().1.contains("key `anonymous`"));
}

#[test]
fn every_way_to_end_is_paid_by_what_is_known() {
    let (up, dir) = (Upstream::start(obey), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(checked(&file(&up.base(), dir.path(), 1e6, 1e6)));
    let addr = proxy.addr;
    // The upstream tells what was cached: 7 in, 1000 cached, 3 out.
    assert_eq!(say(addr, "open-alice", "cached", false).status, 200);
    eventually("cached", || micros(spent(addr, "alice")) == 7 + 500 + 30);

    // A stream that broke off, or was left: no usage has come, so it is estimated.
    let answer = say(addr, "open-bob", "cut", true);
    assert_eq!((answer.status, answer.events().1), (200, End::Error));
    eventually("cut", || spent(addr, "bob") > 0.0);
    let cut = micros(spent(addr, "bob"));
    assert!((100 + 1..100 + 50).contains(&cut), "10 tokens out, some in: {cut}");
    let mut client = Client::connect(addr);
    client.send("POST", "/v1/messages", &[("x-api-key", "open-bob")], &body("m", "hang", true));
    client.until("four");
    drop(client);
    eventually("left", || micros(spent(addr, "bob")) == 2 * cut);

    // An upstream that has failed is not paid.
    assert!(say(addr, "open-all", "500", false).status >= 500);
    eventually("it is over", || {
        Metrics::of(addr, Some("open-all")).sum("claude_proxy_key_requests_total", &[("key", "ak")]) == 1
    });
    assert_eq!(micros(spent(addr, "ak")), 0);
    let dear = ask(addr, "POST", "/v1/messages", &[("x-api-key", "open-all")], &body("dear", "hi", false));
    assert_eq!(dear.status, 200);
    eventually("dear", || micros(spent(addr, "ak")) == 3700);
}

#[test]
fn answers_that_pass_through_are_paid_as_their_upstream_counts() {
    const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n";
    let delta = format!(
        "event: content_block_delta\ndata: {}\n\n",
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "four".repeat(100)}})
    );
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let said = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
            if said == "hang" {
                conn.stream_head();
                conn.chunk(START);
                conn.chunk(&delta);
                return conn.hang();
            }
            let stream = seen.json()["stream"] == true;
            let kind = if stream { "text/event-stream" } else { "application/json" };
            let body = if stream { crate::native::STREAM } else { crate::native::MESSAGE };
            conn.write(upstream::http(200, &[("content-type", kind)], body));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut config = file(&up.base(), dir.path(), 1e6, 1e6);
    config["providers"][0]["api"] = json!("anthropic");
    config["providers"][0].as_object_mut().unwrap().remove("profile");
    let proxy = Proxy::start(checked(&config));
    let addr = proxy.addr;
    // 25 in, 9 cached, 15 out.
    assert_eq!(say(addr, "open-alice", "hi", false).status, 200);
    eventually("whole", || micros(spent(addr, "alice") * 10.0) == 250 + 45 + 1500);
    // Four more were written to the cache.
    assert_eq!(say(addr, "open-bob", "hi", true).status, 200);
    eventually("streamed", || micros(spent(addr, "bob") * 10.0) == 250 + 40 + 45 + 1500);
    // How many tokens 400 bytes are was to be told at the end: 100, as they are estimated.
    let mut client = Client::connect(addr);
    client.send("POST", "/v1/messages", &[("x-api-key", "open-all")], &body("m", "hang", true));
    client.until("fourfour");
    drop(client);
    eventually("left", || spent(addr, "ak") > 0.0);
    let left = micros(spent(addr, "ak"));
    assert!((25 + 950..25 + 1050).contains(&left), "{left}");
}

#[cfg(unix)]
#[test]
fn questions_of_the_proxys_own_and_rounds_of_web_tools_are_paid() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if seen.head.starts_with("GET") {
                conn.write(ok(r#"{"query": "q", "results": []}"#));
                continue;
            }
            let body = seen.json();
            let told = body["messages"].as_array().unwrap().iter().any(|m| m["role"] == "tool");
            if body["tools"].is_array() && !told {
                let call = json!({"index": 0, "id": "c1", "type": "function",
                    "function": {"name": "web_search", "arguments": "{\"query\":\"q\"}"}});
                let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
                conn.stream(&[&format!("data: {chunk}\n\n"), &finish("tool_calls"), &usage(), DONE]);
            } else if body["stream"] == true {
                conn.stream(&[&text("Hello"), &finish("stop"), &usage(), DONE]);
            } else {
                conn.write(ok(&completion("A cat.")));
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut config = file(&up.base(), dir.path(), 1e6, 1e6);
    config["vision_model"] = json!("dear");
    config["web_search"] = json!({"provider": "searxng", "base_url": up.base()});
    config["providers"][0]["models"][0]["vision"] = json!(false);
    let program = Program::start(&["serve", "--log-format", "json"], &config.to_string());
    let addr = program.addr();
    let say = |key: &str, content: &Value, tools: &Value| {
        let body = json!({"model": "m", "max_tokens": 64, "stream": true, "tools": tools,
            "messages": [{"role": "user", "content": content}]});
        let answer = ask(addr, "POST", "/v1/messages", &[("x-api-key", key)], body.to_string().as_bytes());
        assert_eq!((answer.status, answer.events().1), (200, End::Complete));
    };
    // The image was described by the dear one, for the one who sent it.
    say(
        "open-alice",
        &json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aW1hZ2U="}}]),
        &json!([]),
    );
    eventually("both", || micros(spent(addr, "alice")) == 3700 + 37);
    let cost = |model| micros(money(addr, "claude_proxy_cost_total", &[("model", model)]));
    assert_eq!((cost("dear"), cost("m")), (3700, 37));
    // Two rounds.
    say("open-bob", &json!("search"), &json!([{"type": "web_search_20250305", "name": "web_search"}]));
    eventually("both", || micros(spent(addr, "bob")) == 2 * 37);
    eventually("lines", || program.lines("request").len() == 2);
    let of = |line: &Value| micros(line["cost"].as_f64().unwrap());
    let lines = program.lines("request");
    assert_eq!((of(&lines[0]), of(&lines[1])), (3737, 74));
    assert_eq!(of(&program.lines("side request")[0]), 3700);
}

#[cfg(unix)]
#[test]
fn the_log_tells_and_a_reload_changes_budgets_at_once() {
    let (up, dir) = (Upstream::start(obey), tempfile::tempdir().unwrap());
    let start = |config: &Value| Program::start(&["serve", "--log-format", "json"], &config.to_string());
    let mut config = file(&up.base(), dir.path(), 1.0, 100.0);
    let program = start(&config);
    let addr = program.addr();
    assert_eq!(say(addr, "open-alice", "hi", true).status, 200);
    eventually("it is used up", || say(addr, "open-alice", "hi", false).status == 429);
    eventually("a line for each", || program.lines("request").len() >= 2);
    let lines = program.lines("request");
    assert_eq!(
        (&lines[0]["key"], &lines[0]["cost"], &lines[0]["status"]),
        (&json!("alice"), &json!(UNIT), &json!(200))
    );
    let refused = lines.last().unwrap();
    assert_eq!(
        (&refused["key"], &refused["status"], &refused["outcome"]),
        (&json!("alice"), &json!(429), &json!("refused"))
    );
    assert!(refused["error"].as_str().unwrap().contains("used up"));
    let said = program.lines("the budget of a key is used up for today");
    assert_eq!((said.len(), &said[0]["key"]), (1, &json!("alice")));

    config["keys"][0]["budget"] = json!(50.0 * UNIT);
    std::fs::write(program.dir().join("config.json"), config.to_string()).unwrap();
    program.signal("HUP");
    eventually("a reload", || program.lines("the configuration was reloaded").len() == 1);
    assert_eq!(say(addr, "open-alice", "hi", false).status, 200);
    config["keys"][0]["budget"] = json!(2.0 * UNIT);
    std::fs::write(program.dir().join("config.json"), config.to_string()).unwrap();
    program.signal("HUP");
    eventually("a reload", || program.lines("the configuration was reloaded").len() == 2);
    assert_eq!(say(addr, "open-alice", "hi", false).status, 429);

    // Nothing is lost at an end that is told.
    program.signal("TERM");
    assert_eq!(program.end().0, Some(0));
    let program = start(&config);
    assert_eq!(say(program.addr(), "open-alice", "hi", false).status, 429);
    let spent = program.lines("spent so far today");
    let alice = spent.iter().find(|line| line["key"] == "alice").unwrap();
    assert_eq!((&alice["spent"], &alice["budget"]), (&json!("0.000074"), &json!("0.000074")));
}

#[test]
fn it_lives_in_the_file_of_the_threads() {
    let (up, dir) = (Upstream::start(obey), tempfile::tempdir().unwrap());
    let mut config = file(&up.base(), dir.path(), 1.0, 100.0);
    config["threads"] = json!({"path": dir.path().join("both.redb")});
    config["budgets"].as_object_mut().unwrap().remove("path");
    let thread = json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}],
        "thread": {"type": "create"}});
    let headers = [("x-api-key", "open-alice"), crate::threads::BETA];
    let create = |addr| ask(addr, "POST", "/v1/messages", &headers, thread.to_string().as_bytes());
    let proxy = Proxy::start(checked(&config));
    assert_eq!(create(proxy.addr).status, 200);
    eventually("it is used up", || create(proxy.addr).status == 429);
    drop(proxy);
    let proxy = Proxy::start(checked(&config));
    assert_eq!(create(proxy.addr).status, 429);
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files, ["both.redb"]);
}

/// Set: how often the proxy is killed.
const KILLS: &str = "CLAUDE_PROXY_KILLS";

#[cfg(unix)]
#[test]
fn what_is_on_disk_outlives_a_kill_and_counts_once() {
    const CLIENTS: usize = 4;
    let kills = std::env::var(KILLS).ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let (up, dir) = (Upstream::start(obey), tempfile::tempdir().unwrap());
    let config = file(&up.base(), dir.path(), 1e6, 1e6).to_string();
    // In units: what was there at the start, what the log said last, what was sent since.
    let (mut known, mut lost) = (0, 0);
    let sent = AtomicU64::new(0);
    for kill in 0..=kills {
        let program = Program::start(
            &["serve", "--log-format", "json", "--log-level", "info,claude_proxy::store=debug"],
            &config,
        );
        let addr = program.addr();
        eventually("it tells what was spent", || program.lines("spent so far today").len() == 3);
        let told =
            program.lines("spent so far today").into_iter().find(|line| line["key"] == "alice").unwrap();
        let told = micros(told["spent"].as_str().unwrap().parse().unwrap());
        assert_eq!(told % 37, 0, "a part of an answer");
        let (units, most) = (told / 37, sent.load(Ordering::Relaxed));
        assert!((known..=most).contains(&units), "kill {kill}: on disk {known}, sent {most}, there {units}");
        lost += most - units;
        // What is lost stays lost.
        sent.store(units, Ordering::Relaxed);
        if kill == kills {
            program.signal("TERM");
            program.end();
            break;
        }
        let before = units;
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let sent = &sent;
                scope.spawn(move || {
                    for n in 0.. {
                        if std::net::TcpStream::connect(addr).is_err() {
                            return;
                        }
                        let mut client_ = Client::connect(addr);
                        sent.fetch_add(1, Ordering::Relaxed);
                        let stream = (client + n) % 2 == 0;
                        client_.send(
                            "POST",
                            "/v1/messages",
                            &[("x-api-key", "open-alice")],
                            &body("m", "hi", stream),
                        );
                        let Some((status, head)) = client_.head() else { return };
                        assert_eq!(status, 200);
                        if !client_.rest(status, head, true).complete {
                            return;
                        }
                    }
                });
            }
            let written = || program.lines("a sum of what was spent is on disk").len();
            eventually("sums are written", || written() > 3 + kill % 5);
            std::thread::sleep(Duration::from_micros(977 * kill as u64));
            program.signal("KILL");
        });
        let (_, output) = program.end();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let on_disk =
            lines.filter(|l| l["message"] == "a sum of what was spent is on disk" && l["key"] == "alice");
        known =
            on_disk.map(|l| l["picos"].as_str().unwrap().parse::<u64>().unwrap() / 37_000_000).max().unwrap();
        assert!(known > before);
    }
    eprintln!("{kills} kills: {known} answers noted, {lost} that were sent are not");
}
