//! R33: metrics tell the truth: what the upstream and the clients counted is what `/metrics`
//! says, and no label is made by anybody outside.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use claude_proxy::config::{self, Config};
use claude_proxy::observe::metrics::names::{self, Kind};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::metrics::Metrics;
use crate::support::upstream::{Conn, http, ok};
use crate::support::*;

fn checked(json: &Value) -> Config {
    let checked = config::check(&json.to_string(), &|_| Err(std::env::VarError::NotPresent));
    checked.config.unwrap_or_else(|| panic!("{:?}", checked.findings))
}

/// Models `m` and `gone` at `up`; `dead` at an address where nobody listens, and its fallback
/// `m`; and one with an odd name.
fn config_of(up: &str) -> Value {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    json!({"port": 0, "workers": 2, "ak": "ak-sentinel", "max_concurrent_requests": 3,
    "log_body_max_chars": 0, "log_stream_text_preview_chars": 0, "aliases": {"claude-*": "m"},
    "providers": [
        {"name": "up", "base_url": up, "api_key": "sk-sentinel-0123", "profile": "generic",
            "models": [{"id": "m"}, {"id": "gone"}, {"id": "o\"d\\d 模"}]},
        {"name": "nobody", "base_url": format!("http://{nobody}"), "api_key": "", "profile": "generic",
            "models": [{"id": "dead", "fallbacks": ["m"]}, {"id": "alone"}]},
    ]})
}

/// Does what the last message says.
fn obey(mut conn: Conn) {
    while let Some(seen) = conn.request() {
        let body = seen.json();
        let messages = body["messages"].as_array().unwrap();
        let word = messages.last().unwrap()["content"].as_str().unwrap().to_owned();
        match word.as_str() {
            "400" | "429" | "500" => {
                let status = word.parse().unwrap();
                conn.write(http(status, &[("retry-after", "600")], r#"{"error":{"message":"no"}}"#));
            }
            "cut" => {
                conn.stream_head();
                conn.chunk(text("one"));
                return conn.close();
            }
            "cut whole" => {
                conn.write(
                    "HTTP/1.1 200 OK\r\ncontent-length: 500\r\ncontent-type: application/json\r\n\r\n{\"id\"",
                );
                return conn.close();
            }
            "hang" => {
                conn.stream_head();
                conn.chunk(text("one"));
                return conn.hang();
            }
            "say nothing" => return conn.hang(),
            _ if body["stream"] == true => {
                conn.stream(&[&text("Hello"), &text(" there"), &finish("stop"), &usage(), DONE]);
            }
            _ => drop(conn.write(ok(&completion("Hello there")))),
        }
    }
}

const KEY: [(&str, &str); 1] = [("x-api-key", "ak-sentinel")];

fn request(model: &str, word: &str, stream: bool) -> Vec<u8> {
    json!({"model": model, "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": word}]})
        .to_string()
        .into_bytes()
}

fn say(addr: SocketAddr, body: &[u8]) -> Answer {
    ask(addr, "POST", "/v1/messages", &KEY, body)
}

fn begin(addr: SocketAddr, model: &str, word: &str) -> Client {
    let mut client = Client::connect(addr);
    client.send("POST", "/v1/messages", &KEY, &request(model, word, true));
    client
}

#[test]
fn what_both_sides_counted_is_what_it_says() {
    let up = Upstream::start(obey);
    let proxy = Proxy::start(checked(&config_of(&up.base())));
    let addr = proxy.addr;
    let now = || Metrics::of(addr, Some("ak-sentinel"));
    assert_eq!(now().sum("claude_proxy_requests_total", &[]), 0);

    // Everything to model `m`: (word, stream, how often), the status, the outcome.
    let plan = [
        (("hi", false, 3), 200, "done"),
        (("hi", true, 4), 200, "done"),
        (("cut", true, 2), 200, "failed"),
        (("hi", false, 1), 200, "done"),
        (("cut whole", false, 1), 502, "refused"),
        (("400", true, 2), 400, "refused"),
        (("500", false, 1), 500, "refused"),
        (("hi", true, 1), 200, "done"),
    ];
    let (mut received, mut sent, mut asked) = (0, 0, 0);
    for ((word, stream, times), status, _) in plan {
        for n in 0..times {
            // By its name, and by an alias.
            let body = request(if n == 0 { "m" } else { "claude-opus" }, word, stream);
            let answer = say(addr, &body);
            assert_eq!((answer.status, answer.complete), (status, true), "{word}");
            received += body.len();
            sent += answer.body.len();
            asked += 1;
        }
    }
    eventually("all have ended", || now().sum("claude_proxy_requests_total", &[]) == asked);
    let seen = now();
    let of_m = [("model", "m"), ("provider", "up")];
    let mut want = std::collections::BTreeMap::<(u16, &str), u64>::new();
    for ((_, _, times), status, outcome) in plan {
        *want.entry((status, outcome)).or_default() += times;
    }
    for ((status, outcome), times) in &want {
        let labels = [of_m[0], of_m[1], ("status", &status.to_string()), ("outcome", outcome)];
        assert_eq!(seen.sum("claude_proxy_requests_total", &labels), *times, "{status} {outcome}");
    }
    assert_eq!(seen.sum("claude_proxy_requests_total", &of_m), asked, "and nothing else");
    assert_eq!(seen.sum("claude_proxy_request_body_bytes_total", &of_m), received as u64);
    assert_eq!(seen.sum("claude_proxy_response_body_bytes_total", &of_m), sent as u64);
    for (_, outcome) in want.keys() {
        let labels = [of_m[0], of_m[1], ("outcome", *outcome)];
        let all = seen.sum("claude_proxy_requests_total", &labels);
        assert_eq!(seen.sum("claude_proxy_request_duration_seconds_count", &labels), all, "{outcome}");
    }
    assert_eq!(seen.sum("claude_proxy_request_duration_seconds_count", &of_m), asked);
    for (reason, times) in [("end_turn", 9), ("none", asked - 9)] {
        let labels = [of_m[0], of_m[1], ("stop_reason", reason)];
        assert_eq!(seen.sum("claude_proxy_requests_total", &labels), times, "{reason}");
    }
    // Nine answers, two streams that were cut, and the whole one of which some bytes came.
    assert_eq!(seen.sum("claude_proxy_first_byte_seconds_count", &of_m), 9 + 2 + 1);
    // Streams alone: the cut ones had said something.
    assert_eq!(seen.sum("claude_proxy_first_token_seconds_count", &of_m), 5 + 2);
    // Each was sent; nothing was made of the one that was cut as a whole, and of errors.
    for (part, times) in [("request", asked), ("answer", 9 + 2)] {
        let labels = [of_m[0], of_m[1], ("part", part)];
        assert_eq!(seen.sum("claude_proxy_own_seconds_count", &labels), times, "{part}");
    }
    for (kind, each) in [("input", 7), ("output", 3), ("cache_read", 0)] {
        let labels = [of_m[0], of_m[1], ("kind", kind)];
        let extra = seen.sum("claude_proxy_tokens_total", &labels);
        assert_eq!(extra, 9 * each, "{kind}");
    }
    let attempts = |m: &Metrics, result: &str| {
        m.sum("claude_proxy_upstream_attempts_total", &[("provider", "up"), ("result", result)])
    };
    let results = names::RESULTS.map(|r| (r, attempts(&seen, r)));
    assert_eq!(
        results,
        [("ok", 12), ("http_4xx", 2), ("http_429", 0), ("http_5xx", 1), ("fault", 0), ("cancelled", 0)]
    );
    assert_eq!(up.seen().len() as u64, asked, "each of them came");
    let faults = |m: &Metrics, provider: &str| {
        names::STAGES.map(|stage| {
            m.sum("claude_proxy_upstream_faults_total", &[("provider", provider), ("stage", stage)])
        })
    };
    assert_eq!(faults(&seen, "up"), [0, 0, 0, 3]);

    // Nobody listens: a second attempt, and the fallback; and a model that has none.
    assert_eq!(say(addr, &request("dead", "hi", false)).status, 200);
    assert_eq!(say(addr, &request("alone", "hi", false)).status, 502);
    let m = now();
    let refused =
        m.sum("claude_proxy_upstream_attempts_total", &[("provider", "nobody"), ("result", "fault")]);
    assert_eq!(faults(&m, "nobody"), [refused, 0, 0, 0]);
    let retries = m.sum("claude_proxy_retries_total", &[("provider", "nobody")]);
    assert_eq!(refused, 2 + retries, "each was asked once, and some again");
    assert_eq!(m.sum("claude_proxy_fallbacks_total", &[("model", "dead"), ("provider", "nobody")]), 1);
    assert_eq!(m.sum("claude_proxy_fallbacks_total", &[]), 1);
    assert_eq!(m.sum("claude_proxy_requests_total", &[("model", "dead")]), 0, "`m` answered");
    assert_eq!(m.sum("claude_proxy_requests_total", &of_m), asked + 1);
    let labels = [("model", "alone"), ("status", "502"), ("outcome", "refused")];
    assert_eq!(m.sum("claude_proxy_requests_total", &labels), 1);
    assert_eq!(m.sum("claude_proxy_upstream_resting", &[]), 0);

    // Full: three run, the next one is turned away; then they leave, one before any answer.
    let mut running = vec![begin(addr, "gone", "hang"), begin(addr, "gone", "hang")];
    for client in &mut running {
        client.until("one");
    }
    let before = up.seen().len();
    running.push(begin(addr, "gone", "say nothing"));
    eventually("the third has come", || up.seen().len() == before + 1);
    let turned_away = say(addr, &request("m", "hi", true));
    assert_eq!(turned_away.status, 529);
    let m = now();
    let of_gone = [("model", "gone"), ("provider", "up")];
    assert_eq!(m.sum("claude_proxy_requests_in_flight", &[]), 3);
    assert_eq!(m.sum("claude_proxy_requests_limit", &[]), 3);
    assert_eq!(m.sum("claude_proxy_streams_in_flight", &of_gone), 2);
    assert_eq!(m.sum("claude_proxy_streams_in_flight", &[]), 2);
    let unknown = [("model", "unknown"), ("provider", "unknown")];
    let labels = [unknown[0], unknown[1], ("status", "529"), ("outcome", "refused")];
    assert_eq!(m.sum("claude_proxy_requests_total", &labels), 1);
    drop(running);
    eventually("they have left", || now().sum("claude_proxy_requests_total", &of_gone) == 3);
    let m = now();
    let left = |status| {
        m.sum("claude_proxy_requests_total", &[of_gone[0], ("status", status), ("outcome", "client_gone")])
    };
    assert_eq!((left("200"), left("none")), (2, 1));
    assert_eq!(attempts(&m, "cancelled"), 1);
    assert_eq!(m.sum("claude_proxy_streams_in_flight", &[]), 0);
    assert_eq!(m.sum("claude_proxy_requests_in_flight", &[]), 0);
    assert_eq!(faults(&m, "up"), [0, 0, 0, 3], "that was not the upstream's doing");

    // Rate limited: its key rests, and is asked all the same, as it is the only one.
    assert_eq!(say(addr, &request("m", "429", false)).status, 429);
    assert_eq!(attempts(&now(), "http_429"), 1);
    let rests = |provider, scope| {
        now().sum("claude_proxy_upstream_rests_total", &[("provider", provider), ("scope", scope)])
    };
    assert_eq!((rests("up", "key"), rests("up", "provider")), (1, 0));
    assert_eq!(rests("nobody", "provider"), 0, "not yet");
    let mut alone = 1;
    while rests("nobody", "provider") == 0 {
        assert_eq!(say(addr, &request("alone", "hi", false)).status, 502);
        alone += 1;
        assert!(alone < 30, "it never rests");
    }
    assert_eq!(now().sum("claude_proxy_upstream_resting", &[("provider", "nobody")]), 1);
    assert_eq!(say(addr, &request("alone", "hi", false)).status, 502);
    assert_eq!(rests("nobody", "provider"), 1, "it rests already");
    alone += 1;

    // Not routed; not counted as a request; no request at all.
    let before = now();
    for (body, status) in [(request("nobody-knows", "hi", true), 404), (b"{".to_vec(), 400)] {
        assert_eq!(say(addr, &body).status, status);
        let labels = [unknown[0], ("status", &*status.to_string())];
        assert_eq!(now().sum("claude_proxy_requests_total", &labels), 1);
    }
    let all = before.sum("claude_proxy_requests_total", &[]) + 2;
    let count = || ask(addr, "POST", "/v1/messages/count_tokens", &KEY, &request("m", "hi", false)).status;
    assert_eq!((count(), count()), (200, 200));
    assert_eq!(post(addr, &request("m", "hi", false)).status, 401);
    assert_eq!(ask(addr, "GET", "/v1/models", &KEY, b"").status, 200);
    assert_eq!(ask(addr, "GET", "/nothing/here", &[], b"").status, 404);
    assert_eq!(ask(addr, "PUT", "/v1/messages", &KEY, b"").status, 405);
    let m = now();
    assert_eq!(m.sum("claude_proxy_requests_total", &[]), all);
    let answers = |endpoint, status| {
        m.sum("claude_proxy_http_responses_total", &[("endpoint", endpoint), ("status", status)])
    };
    assert_eq!((answers("count_tokens", "200"), answers("models", "200")), (2, 1));
    assert_eq!((answers("messages", "401"), answers("messages", "405"), answers("other", "404")), (1, 1, 1));
    // 9 and 2 cut ones; `dead`; two that were left.
    assert_eq!(answers("messages", "200"), 11 + 1 + 2);
    assert_eq!((answers("messages", "529"), answers("messages", "502")), (1, 1 + alone));

    // What was lost.
    assert_eq!(m.sum("claude_proxy_conversion_losses_total", &[]), 0);
    let mut body: Value = serde_json::from_slice(&request("m", "hi", true)).unwrap();
    body["top_k"] = 5.into();
    body["mcp_servers"] = json!([]);
    let answer = say(addr, body.to_string().as_bytes());
    let told: BTreeSet<&str> = answer.header("x-claude-proxy-warnings").unwrap().split(", ").collect();
    assert!(told.contains("dropped:top_k"), "{told:?}");
    eventually("it has ended", || now().sum("claude_proxy_requests_total", &[]) == all + 1);
    let m = now();
    for loss in names::LOSS_TOKENS {
        let n = m.sum("claude_proxy_conversion_losses_total", &[("loss", loss)]);
        assert_eq!(n, u64::from(told.contains(loss)), "{loss}");
    }

    // Reloads.
    proxy.reload.refused();
    proxy.reload.apply(checked(&config_of(&up.base()))).unwrap();
    let m = now();
    let reloads = |result| m.sum("claude_proxy_config_reloads_total", &[("result", result)]);
    assert_eq!((reloads("ok"), reloads("refused"), m.sum("claude_proxy_config_generation", &[])), (1, 1, 2));
    assert_eq!(m.sum("claude_proxy_requests_total", &[]), all + 1, "counts stay");
    assert_eq!(m.sum("claude_proxy_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1);
    assert_eq!(m.sum("claude_proxy_panics_total", &[]), 0);
}

#[test]
fn names_and_labels_are_those_that_are_documented() {
    let up = Upstream::start(obey);
    let proxy = Proxy::start(checked(&config_of(&up.base())));
    for word in ["hi", "cut", "400"] {
        say(proxy.addr, &request("o\"d\\d 模", word, true));
    }
    eventually("they have ended", || {
        let m = Metrics::of(proxy.addr, Some("ak-sentinel"));
        // Odd names come out as they are.
        m.sum("claude_proxy_requests_total", &[("model", "o\"d\\d 模")]) == 3
    });
    let m = Metrics::of(proxy.addr, Some("ak-sentinel"));
    let exposed: BTreeSet<String> = m.families.keys().cloned().collect();
    assert_eq!(exposed, names::ALL.iter().map(names::Name::exposed).collect());
    for name in names::ALL {
        let family = &m.families[&name.exposed()];
        assert_eq!((family.kind.as_str(), &*family.help), (name.kind.as_str(), &*format!("{}.", name.help)));
        assert!(!family.samples.is_empty(), "{}", name.base);
        for sample in &family.samples {
            let mut labels: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
            if name.kind == Kind::Histogram {
                labels.remove("le");
            }
            assert_eq!(labels, name.labels.iter().copied().collect(), "{sample:?}");
        }
    }
}

#[test]
fn nobody_outside_makes_a_series() {
    let up = Upstream::start(obey);
    let proxy = Proxy::start(checked(&config_of(&up.base())));
    let addr = proxy.addr;
    let strange = |n: usize| {
        let mut statuses = Vec::new();
        statuses.push(say(addr, &request(&format!("model-of-{n}"), "hi", n.is_multiple_of(2))).status);
        statuses.push(ask(addr, "GET", &format!("/path/{n}"), &KEY, b"").status);
        statuses.push(ask(addr, "GET", &format!("/v1/models/{n}"), &KEY, b"").status);
        statuses.push(ask(addr, &format!("X{n}"), "/v1/models", &KEY, b"").status);
        let body = json!({"model": "claude-whatever", "max_tokens": 9, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": format!("block_of_{n}")}, {"type": "text", "text": "yes"}]},
            {"role": "user", "content": "hi"}]});
        statuses.push(say(addr, body.to_string().as_bytes()).status);
        statuses
    };
    let now = || Metrics::of(addr, Some("ak-sentinel"));
    // The scrape itself is counted, too.
    now();
    assert_eq!(strange(0), [404, 404, 404, 405, 200]);
    let before = now();
    for n in 1..60 {
        strange(n);
    }
    let m = now();
    assert_eq!(m.sum("claude_proxy_requests_total", &[("model", "unknown")]), 60);
    assert_eq!(m.sum("claude_proxy_conversion_losses_total", &[("loss", "dropped_block")]), 60);
    assert_eq!(m.len(), before.len());
    // Five models and the unknown, two providers, and what does not depend on them.
    assert!(m.len() < 750, "{}", m.len());
    let text = format!("{m:?}");
    assert!(!text.contains("sentinel") && !text.contains("model-of-"));
}

#[test]
fn it_needs_the_key() {
    let up = Upstream::start(obey);
    let proxy = Proxy::start(checked(&config_of(&up.base())));
    let status = |headers: &[(&str, &str)]| ask(proxy.addr, "GET", "/metrics", headers, b"").status;
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&[("authorization", "Bearer wrong")]), 401);
    assert_eq!(status(&[("authorization", "Bearer ak-sentinel")]), 200);
    assert_eq!(status(&KEY), 200);
    let mut open = config_of(&up.base());
    open.as_object_mut().unwrap().remove("ak");
    proxy.reload.apply(checked(&open)).unwrap();
    assert_eq!(status(&[]), 200, "without `ak` nothing needs one");
    assert_eq!(ask(proxy.addr, "HEAD", "/metrics", &[], b"").status, 200);
    assert_eq!(ask(proxy.addr, "POST", "/metrics", &[], b"").status, 405);
}
