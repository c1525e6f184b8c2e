//! Byte for byte, both ways, and which headers cross.

use std::sync::{Arc, Barrier};

use claude_proxy::config::Secret;

use super::{JSON, MESSAGE, SSE, STREAM, answer};
use crate::support::config::UPSTREAM_KEY;
use crate::support::native::native;
use crate::support::upstream::http;
use crate::support::*;

/// Requests that a converter would write differently, each with the model's name as `"m"`.
fn odd_requests(stream: bool) -> Vec<String> {
    [
        r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}],"stream":STREAM}"#,
        " {\r\n\t\"stream\" : STREAM ,\"unknown\":{\"a\":[1,{}]},\"max_tokens\":4096, \"model\":\"m\"\n, \"messages\":[]}\n\n",
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"\u00e9\/é\ud83d\ude42 \"model\":\"m\"","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"EqQBCkgI"},{"type":"redacted_thinking","data":"x"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"n":12345678901234567890,"f":1.0,"e":1E3}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[]},{"type":"brand_new","x":[]}]}],"model":"m","stream":STREAM,"thinking":{"type":"enabled","budget_tokens":1024},"temperature":1.00,"thread":{"type":"create"},"max_tokens":0}"#,
        r#"{"model":"m","stream":STREAM}"#,
    ]
    .map(|body| body.replace("STREAM", if stream { "true" } else { "false" }))
    .to_vec()
}

#[test]
fn requests_and_whole_answers_are_the_same_bytes() {
    let up = Upstream::answering(http(200, &[JSON], MESSAGE));
    let proxy = Proxy::start(native(&up.base()));
    for (n, body) in odd_requests(false).iter().enumerate() {
        let answer = post(proxy.addr, body.as_bytes());
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(String::from_utf8(answer.body.clone()).unwrap(), MESSAGE);
        assert_eq!(answer.header("content-length"), Some(MESSAGE.len().to_string().as_str()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let sent = String::from_utf8(up.seen()[n].body.clone()).unwrap();
        let at = body.find("\"model\"").unwrap() + "\"model\"".len();
        // The last place: one body has the words in a text before.
        let at = if n == 2 { body.rfind("\"model\":\"m\"").unwrap() + "\"model\"".len() } else { at };
        let want = format!("{}{}", &body[..at], body[at..].replacen("\"m\"", "\"remote-m\"", 1));
        assert_eq!(sent, want);
    }
}

#[test]
fn streams_are_the_same_bytes_however_they_come() {
    // Larger than one read, and in pieces that cut lines and characters.
    let delta = STREAM.split_inclusive("\n\n").nth(7).unwrap();
    let long = STREAM.replacen(delta, &delta.repeat(2000), 1);
    for (size, whole) in [(1, STREAM), (7, STREAM), (1000, &*long), (70_000, &*long)] {
        let said = whole.to_owned();
        let up = Upstream::start(move |mut conn| {
            while conn.request().is_some() {
                conn.stream_head();
                for piece in said.as_bytes().chunks(size) {
                    conn.chunk(piece);
                }
                conn.end_chunks();
            }
        });
        let proxy = Proxy::start(native(&up.base()));
        for body in &odd_requests(true)[..2] {
            let answer = post(proxy.addr, body.as_bytes());
            assert_eq!((answer.status, answer.complete), (200, true));
            assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            assert!(answer.body == whole.as_bytes(), "{}", String::from_utf8_lossy(&answer.body));
        }
        assert_eq!(up.connections(), 1, "the connection is used again");
    }
}

#[test]
fn each_event_passes_as_soon_as_it_is_whole() {
    let turn = Arc::new(Barrier::new(2));
    let upstream_s = Arc::clone(&turn);
    let up = Upstream::start(move |mut conn| {
        conn.request();
        conn.stream_head();
        for event in STREAM.split_inclusive("\n\n") {
            let (head, tail) = event.split_at(event.len() - 1);
            conn.chunk(head);
            conn.chunk(tail);
            upstream_s.wait();
        }
        conn.end_chunks();
    });
    let proxy = Proxy::start(native(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    for event in STREAM.split_inclusive("\n\n") {
        // The next one is not even sent yet.
        client.until(event);
        turn.wait();
    }
    assert_eq!(client.answer().body, STREAM.as_bytes());
}

#[test]
fn the_name_is_routed_and_replaced() {
    let up = Upstream::answering(http(200, &[JSON], MESSAGE));
    let mut config = native(&up.base());
    config.aliases.push(("claude-*".to_owned(), "m".to_owned()));
    let proxy = Proxy::start(config);
    for name in ["m", "claude-x", "m[1m]", r"\u006d"] {
        let body = format!(r#"{{"model":"{name}","messages":[]}}"#);
        assert_eq!(post(proxy.addr, body.as_bytes()).status, 200, "{name}");
        let sent = up.seen().pop().unwrap().body;
        assert_eq!(sent, br#"{"model":"remote-m","messages":[]}"#, "{name}");
    }
    // A second spelling of the key is no way around the configuration.
    for body in [r#"{"model":"m","mod\u0065l":"other"}"#, r#"{"model":"other","model":"m"}"#] {
        let answer = post(proxy.addr, body.as_bytes());
        assert_eq!((answer.status, answer.error().1.as_str()), (400, "model: given twice"));
    }
    for (body, status) in [
        ("{", 400),
        ("[]", 400),
        ("{}", 400),
        (r#"{"model":"x"}"#, 404),
        (r#"{"model":"m","stream":1}"#, 400),
    ] {
        let answer = post(proxy.addr, body.as_bytes());
        assert_eq!(answer.status, status, "{body}");
        answer.error();
    }
    assert_eq!(up.seen().len(), 4);
}

/// Names and values of a head, in alphabetical order.
fn headers(head: &str) -> Vec<(String, String)> {
    let lines = head.lines().skip(1).filter_map(|l| l.split_once(':'));
    let mut all: Vec<_> = lines.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    all.sort();
    all
}

fn names(head: &str) -> String {
    headers(head).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

#[test]
fn three_things_cross_besides_the_body() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            conn.write(answer(&seen.body));
        }
    });
    let mut config = native(&up.base());
    config.ak = Some(Secret::new("ak-inbound"));
    let proxy = Proxy::start(config);
    let client = [
        ("x-api-key", "ak-inbound"),
        ("authorization", "Bearer ak-inbound"),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", "context-1m-2025-08-07,oauth-2025-04-20"),
        ("anthropic-beta", "brand-new"),
        ("anthropic-workspace-id", "w"),
        ("anthropic-dangerous-direct-browser-access", "true"),
        ("cookie", "session=secret"),
        ("user-agent", "claude-cli/2.1.330"),
        ("x-app", "cli"),
        ("x-claude-code-session-id", "5e551011"),
        ("accept-encoding", "gzip, br"),
        ("idempotency-key", "i"),
    ];
    for stream in [false, true] {
        for query in ["", "?beta=true", "?x=y&beta=true&api-version=1"] {
            let path = format!("/v1/messages{query}");
            assert_eq!(ask(proxy.addr, "POST", &path, &client, &message("hi", stream)).status, 200);
            let seen = up.seen().pop().unwrap();
            let path = if query.is_empty() { "/v1/messages" } else { "/v1/messages?beta=true" };
            assert!(seen.head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{}", seen.head);
            assert_eq!(
                names(&seen.head),
                "accept accept-encoding anthropic-beta anthropic-beta anthropic-version authorization \
                 content-length content-type date host user-agent x-api-key"
            );
            assert_eq!(seen.header("x-api-key"), Some(UPSTREAM_KEY));
            assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {UPSTREAM_KEY}")));
            assert_eq!(seen.header("anthropic-version"), Some("2026-10-21"));
            let betas: Vec<_> =
                headers(&seen.head).into_iter().filter(|(n, _)| n == "anthropic-beta").collect();
            assert_eq!((&*betas[0].1, &*betas[1].1), ("brand-new", "context-1m-2025-08-07,oauth-2025-04-20"));
            assert!(!seen.head.contains("ak-inbound") && !seen.head.contains("secret"));
        }
    }
    ask(proxy.addr, "POST", "/v1/messages", &[("x-api-key", "ak-inbound")], &message("hi", false));
    let seen = up.seen().pop().unwrap();
    assert_eq!((seen.header("anthropic-version"), seen.header("anthropic-beta")), (Some("2023-06-01"), None));
    let wrong = ask(proxy.addr, "POST", "/v1/messages", &[("x-api-key", "other")], &message("hi", false));
    assert_eq!((wrong.status, up.seen().len()), (401, 7));
}

#[test]
fn what_the_configuration_says_of_headers_stays() {
    let up = Upstream::answering(http(200, &[JSON], MESSAGE));
    let mut config = native(&up.base());
    let mut model = Arc::try_unwrap(config.models.remove(0)).unwrap();
    let mut provider = Arc::try_unwrap(model.provider).unwrap();
    provider.headers = [
        ("Anthropic-Version", "2023-06-01"),
        ("anthropic-beta", "from-config"),
        ("authorization", "Basic x"),
    ]
    .map(|(name, value)| (name.to_owned(), Secret::new(value)))
    .to_vec();
    model.provider = Arc::new(provider);
    config.models.push(Arc::new(model));
    let proxy = Proxy::start(config);
    let client = [("anthropic-version", "2026-10-21"), ("anthropic-beta", "from-client")];
    ask(proxy.addr, "POST", "/v1/messages", &client, &message("hi", false));
    let seen = up.seen().pop().unwrap();
    let all = headers(&seen.head);
    let of = |name: &str| all.iter().filter(|(n, _)| n == name).map(|(_, v)| &**v).collect::<Vec<_>>();
    assert_eq!(of("anthropic-version"), ["2023-06-01"]);
    assert_eq!(of("anthropic-beta"), ["from-client", "from-config"]);
    assert_eq!((of("authorization"), of("x-api-key")), (vec!["Basic x"], vec![UPSTREAM_KEY]));
}

#[test]
fn only_listed_headers_come_back() {
    for stream in [false, true] {
        let odd = [
            if stream { SSE } else { JSON },
            ("request-id", "req_theirs"),
            ("anthropic-organization-id", "org"),
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("retry-after", "3"),
            ("set-cookie", "a=b"),
            ("server", "cloudflare"),
            ("cf-ray", "x"),
        ];
        let up = Upstream::answering(http(200, &odd, if stream { STREAM } else { MESSAGE }));
        let proxy = Proxy::start(native(&up.base()));
        let answer = post(proxy.addr, &message("hi", stream));
        let framing =
            if stream { "cache-control content-type date" } else { "content-length content-type date" };
        let mut want: Vec<&str> = framing.split(' ').collect();
        want.extend([
            "anthropic-ratelimit-requests-remaining",
            "request-id",
            "retry-after",
            "x-claude-proxy-provider",
        ]);
        want.extend(stream.then_some("transfer-encoding"));
        want.sort_unstable();
        assert_eq!(names(&answer.head), want.join(" "));
        assert_eq!(answer.header("x-claude-proxy-provider"), Some("messages.example"));
        assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), Some("7"));
        let id = answer.header("request-id").unwrap();
        assert!(id.starts_with("req_") && id != "req_theirs");
    }
}
