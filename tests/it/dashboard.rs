//! The dashboard: who may see it, what it tells, what it never tells, and that it costs others
//! nothing.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use claude_proxy::config::{Config, Secret};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::config::UPSTREAM_KEY;
use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

const KEY: &str = "ak-dashboard-sentinel";

/// A request with its own Host.
fn send(client: &mut Client, method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &str) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if method == "POST" {
        write!(head, "content-length: {}\r\n", body.len()).unwrap();
    }
    client.write(format!("{head}\r\n{body}"));
}

fn at(proxy: &Proxy, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut client = Client::connect(proxy.addr);
    send(&mut client, method, path, &proxy.addr.to_string(), headers, body);
    let (status, head) = client.head().expect("an answer");
    client.rest(status, head, method != "HEAD")
}

fn get(proxy: &Proxy, path: &str, headers: &[(&str, &str)]) -> Answer {
    at(proxy, "GET", path, headers, "")
}

fn snapshot(proxy: &Proxy) -> Value {
    let answer = get(proxy, "/dashboard/snapshot.json", &[("x-api-key", KEY)]);
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.json()
}

fn with_key(up: &Upstream) -> Config {
    let mut config = config(&up.base());
    config.ak = Some(Secret::new(KEY));
    config
}

fn post_message(proxy: &Proxy, text: &str, stream: bool) -> Answer {
    ask(proxy.addr, "POST", "/v1/messages", &[("x-api-key", KEY)], &message(text, stream))
}

/// The events that have come: their names and data.
fn events(raw: &str) -> Vec<(String, Value)> {
    let blocks = raw.split("\n\n").filter(|block| block.contains("event: "));
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name).map(|v| v.trim_end().to_owned()))
    };
    let parse = |block: &str| {
        let name = field(block, "event: ")?;
        Some((name, serde_json::from_str(&field(block, "data: ")?).ok()?))
    };
    blocks.filter_map(parse).collect()
}

/// Opens the events, and waits for the first.
fn follow(proxy: &Proxy, headers: &[(&str, &str)]) -> Client {
    let mut client = Client::connect(proxy.addr);
    send(&mut client, "GET", "/dashboard/events", &proxy.addr.to_string(), headers, "");
    let (status, head) = client.head().unwrap();
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("text/event-stream") && head.contains("no-store"), "{head}");
    client.until("\n\n");
    client
}

#[test]
fn without_the_key_there_is_only_a_form() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(with_key(&up));
    post_message(&proxy, "hi", false);
    for headers in
        [&[][..], &[("x-api-key", "wrong")], &[("authorization", "Bearer wrong")], &[("cookie", "a=b")]]
    {
        let page = get(&proxy, "/dashboard", headers);
        let text = String::from_utf8(page.body.clone()).unwrap();
        assert_eq!(page.status, 401);
        assert!(text.contains("type=\"password\"") && !text.contains("<script"), "{text}");
        assert!(!text.contains("up.example") && !text.contains(KEY), "{text}");
        for path in ["/dashboard/events", "/dashboard/snapshot.json"] {
            let answer = get(&proxy, path, headers);
            assert_eq!((answer.status, answer.error().0.as_str()), (401, "authentication_error"), "{path}");
        }
    }
    // A key in the address is none: it would be in somebody's log.
    assert_eq!(get(&proxy, &format!("/dashboard?key={KEY}"), &[]).status, 401);
    let bearer = format!("Bearer {KEY}");
    for headers in [[("x-api-key", KEY)], [("authorization", bearer.as_str())]] {
        assert_eq!(get(&proxy, "/dashboard", &headers).status, 200);
        assert_eq!(get(&proxy, "/dashboard/snapshot.json", &headers).json()["ended"][0]["model"], "m");
    }
}

/// `name=token` of the cookie that a sign-in gives.
fn signed_in(proxy: &Proxy) -> String {
    let form = format!("key={KEY}");
    let answer = at(proxy, "POST", "/dashboard", &[], &form);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard")), "{}", answer.head);
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn a_session_opens_the_page_and_nothing_else() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(with_key(&up));
    let wrong = at(&proxy, "POST", "/dashboard", &[], "key=wrong");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));

    let answer = at(&proxy, "POST", "/dashboard", &[], &format!("a=b&key=+{KEY}+"));
    let cookie = answer.header("set-cookie").unwrap();
    for part in ["; Path=/dashboard;", "Max-Age=43200;", "; HttpOnly;", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(KEY) && !cookie.contains("Secure"), "{cookie}");
    let secure = at(&proxy, "POST", "/dashboard", &[("x-forwarded-proto", "https")], &format!("key={KEY}"));
    assert!(secure.header("set-cookie").unwrap().ends_with("; Secure"));

    let pair = signed_in(&proxy);
    let cookies = format!("other=1; {pair}");
    let session = [("cookie", cookies.as_str())];
    let page = get(&proxy, "/dashboard", &session);
    assert_eq!((page.status, get(&proxy, "/dashboard/snapshot.json", &session).status), (200, 200));
    assert!(String::from_utf8_lossy(&page.body).contains("method=\"post\"><button"), "there is a way out");
    for path in ["/v1/models", "/metrics"] {
        assert_eq!(get(&proxy, path, &session).status, 401, "{path}");
    }
    // A token that was changed, and one of an older proxy.
    let changed = format!("{}{}", &pair[..pair.len() - 1], if pair.ends_with('0') { "1" } else { "0" });
    assert_eq!(get(&proxy, "/dashboard", &[("cookie", &changed)]).status, 401);
    let other = Proxy::start(with_key(&up));
    assert_eq!(get(&other, "/dashboard", &session).status, 401);

    let mut watching = follow(&proxy, &session);
    let out = at(&proxy, "POST", "/dashboard/sign-out", &session, "");
    assert_eq!(out.status, 303);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(get(&proxy, "/dashboard", &session).status, 401);
    watching.until("event: bye");
    assert!(watching.raw().contains("\"signed out\""));
}

#[test]
fn another_key_ends_every_session() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(with_key(&up));
    let pair = signed_in(&proxy);
    let session = [("cookie", pair.as_str())];
    let mut watching = follow(&proxy, &session);
    let mut by_header = follow(&proxy, &[("x-api-key", KEY)]);
    let mut next = with_key(&up);
    next.ak = Some(Secret::new("another-key"));
    proxy.reload.apply(next).unwrap();
    assert_eq!(get(&proxy, "/dashboard", &session).status, 401);
    for client in [&mut watching, &mut by_header] {
        client.until("event: bye");
    }
}

#[test]
fn forms_of_other_sites_are_refused() {
    let up = Upstream::answering("");
    let proxy = Proxy::start(with_key(&up));
    let own = format!("http://{}", proxy.addr);
    let form = format!("key={KEY}");
    for (headers, status) in [
        (&[("origin", own.as_str())][..], 303),
        (&[("origin", own.as_str()), ("sec-fetch-site", "same-origin")], 303),
        (&[("sec-fetch-site", "none")], 303),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", own.as_str()), ("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
    ] {
        for path in ["/dashboard", "/dashboard/sign-out"] {
            let answer = at(&proxy, "POST", path, headers, &form);
            assert_eq!(answer.status, status, "{path} {headers:?}");
            assert_eq!(answer.header("set-cookie").is_some(), status == 303);
        }
    }
    let large = format!("key={}", "k".repeat(5000));
    assert_eq!(at(&proxy, "POST", "/dashboard", &[], &large).status, 413);
}

#[test]
fn without_a_key_other_names_may_not_read_along() {
    let up = Upstream::answering("");
    let proxy = Proxy::start(config(&up.base()));
    let port = proxy.addr.port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        ("localhost".to_owned(), 200),
        (format!("[::1]:{port}"), 200),
        ("10.1.2.3".to_owned(), 200),
        (format!("evil.example:{port}"), 403),
        ("127.0.0.1.evil.example".to_owned(), 403),
        ("localhost.evil.example".to_owned(), 403),
        (String::new(), 403),
    ] {
        for path in ["/dashboard", "/dashboard/snapshot.json", "/dashboard/events"] {
            let mut client = Client::connect(proxy.addr);
            send(&mut client, "GET", path, &host, &[], "");
            let told = client.head().unwrap().0;
            // Another part refuses a Host that is empty.
            assert!(told == status || (host.is_empty() && told == 400), "{path} {host}: {told}");
        }
    }
}

#[test]
fn browsers_are_told_to_be_strict() {
    let up = Upstream::answering("");
    let proxy = Proxy::start(with_key(&up));
    for (headers, scripts) in [(&[("x-api-key", KEY)][..], "script-src 'sha256-"), (&[], "script-src 'none'")]
    {
        let page = get(&proxy, "/dashboard", headers);
        let policy = page.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            scripts,
            "style-src 'sha256-",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
    for path in ["/dashboard", "/dashboard/snapshot.json", "/dashboard/events"] {
        let mut client = Client::connect(proxy.addr);
        send(&mut client, "GET", path, "localhost", &[("x-api-key", KEY)], "");
        let (status, head) = client.head().unwrap();
        let answer = Answer { status, head, body: Vec::new(), complete: true };
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let head = at(&proxy, "HEAD", "/dashboard", &[("x-api-key", KEY)], "");
    assert_eq!(head.status, 200);
    for (method, path) in [
        ("PUT", "/dashboard"),
        ("GET", "/dashboard/sign-out"),
        ("POST", "/dashboard/events"),
        ("DELETE", "/dashboard/snapshot.json"),
    ] {
        assert_eq!(at(&proxy, method, path, &[("x-api-key", KEY)], "").status, 405, "{method} {path}");
    }
    assert_eq!(get(&proxy, "/dashboard/nothing", &[("x-api-key", KEY)]).status, 404);
}

#[test]
fn switched_off_there_is_nothing() {
    let up = Upstream::answering(ok(&completion("hello")));
    let on = with_key(&up);
    let off = Config { dashboard: false, ..on.clone() };
    let proxy = Proxy::start(off.clone());
    post_message(&proxy, "hi", false);
    for path in ["/dashboard", "/dashboard/events", "/dashboard/snapshot.json", "/dashboard/sign-out"] {
        let answer = get(&proxy, path, &[("x-api-key", KEY)]);
        assert_eq!((answer.status, answer.error().0.as_str()), (404, "not_found_error"), "{path}");
    }
    assert_eq!(at(&proxy, "POST", "/dashboard", &[], &format!("key={KEY}")).status, 404);
    // Switched on it knows nothing of before.
    proxy.reload.apply(on.clone()).unwrap();
    assert_eq!(snapshot(&proxy)["ended"], Value::Null);
    post_message(&proxy, "hi", false);
    assert_eq!(snapshot(&proxy)["ended"].as_array().unwrap().len(), 1);
    let mut watching = follow(&proxy, &[("x-api-key", KEY)]);
    proxy.reload.apply(off).unwrap();
    watching.until("event: bye");
    proxy.reload.apply(on).unwrap();
    assert_eq!(snapshot(&proxy)["ended"], Value::Null, "forgotten");
}

/// An upstream that says a word, and the rest when it is told to.
fn in_two_steps() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let up = Upstream::start(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        conn.stream_head();
        conn.chunk(text("one two three four"));
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        for event in [&finish("stop"), &usage(), DONE] {
            conn.chunk(event);
        }
        conn.end_chunks();
    });
    (up, go)
}

#[test]
fn a_stream_is_seen_while_it_runs_and_when_it_has_ended() {
    let (up, go) = in_two_steps();
    let proxy = Proxy::start(with_key(&up));
    let mut watching = follow(&proxy, &[("x-api-key", KEY), ("last-event-id", "7")]);
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[("x-api-key", KEY)], &message("hi", true));
    client.until("four");
    watching.until("\"tokens\":5");
    let mut state = Value::Null;
    eventually("it runs", || {
        state = snapshot(&proxy);
        state["running"][0]["tokens"] == 5
    });
    let running = &state["running"][0];
    assert_eq!(
        (&running["model"], &running["provider"], &running["remote"], &running["told"]),
        (&json!("m"), &json!("up.example"), &json!("remote-m"), &json!(false))
    );
    assert_eq!((&state["server"]["running"], &state["ended"]), (&json!(1), &Value::Null));
    go.send(()).unwrap();
    assert_eq!(client.answer().status, 200);
    watching.until("\"ended\":[");
    let all = watching.raw();
    assert!(all.contains("retry: 2000\n"), "{all}");
    let told = events(&all);
    assert_eq!(told[0].0, "snapshot");
    assert!(told[1..].iter().all(|(name, _)| name == "change"), "{all}");
    assert!(told.iter().all(|(_, data)| data["now"].is_u64()), "{all}");
    for (n, block) in all.split("event: ").skip(1).enumerate() {
        assert!(block.contains(&format!("\nid: {}\n", n + 1)), "{block}");
    }

    let state = snapshot(&proxy);
    let ended = &state["ended"][0];
    assert_eq!(
        (&ended["status"], &ended["outcome"], &ended["output"], &ended["input"], &ended["stop_reason"]),
        (&json!(200), &json!("done"), &json!(3), &json!(7), &json!("end_turn"))
    );
    assert_eq!((&ended["number"], &ended["id"]), (&json!(1), &running["id"]));
    assert_eq!((&state["running"], &state["server"]["running"]), (&Value::Null, &json!(0)));
    let points = state["points"].as_array().unwrap();
    let sum = |key: &str| points.iter().map(|p| p[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("requests"), sum("failed"), sum("input")), (1, 0, 7));
}

#[test]
fn what_went_wrong_is_told_and_who_rests() {
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.write(http(500, &[], r#"{"error":{"message":"<img src=x onerror=alert(1)>"}}"#));
        }
    });
    let proxy = Proxy::start(with_key(&up));
    let states = |state: &Value| state["providers"][0].clone();
    let provider = states(&snapshot(&proxy));
    assert_eq!(
        (&provider["name"], &provider["until"], &provider["usable"]),
        (&json!("up.example"), &Value::Null, &json!(true))
    );
    assert_eq!((&provider["models"], provider["keys"].as_array().unwrap().len()), (&json!(["m"]), 1));
    for _ in 0..5 {
        assert_eq!(post_message(&proxy, "hi", true).status, 500);
    }
    assert_eq!(post_message(&proxy, "hi", false).status, 500);
    let state = snapshot(&proxy);
    let ended = state["ended"].as_array().unwrap();
    assert!(ended.iter().all(|e| e["outcome"] == "refused" && e["status"] == 500), "{ended:?}");
    assert!(
        ended[0]["error"].as_str().unwrap().contains("<img src=x"),
        "as it came: the page makes no markup of it"
    );
    let provider = states(&state);
    assert!(provider["until"].as_u64().unwrap() > state["now"].as_u64().unwrap(), "{provider}");
    assert_eq!(provider["usable"], false);
    // What has no place is told, too.
    assert_eq!(ask(proxy.addr, "POST", "/v1/messages", &[("x-api-key", KEY)], b"{").status, 400);
    let last = snapshot(&proxy)["ended"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["status"], &last["id"]), (&json!(400), &Value::Null));
}

#[test]
fn two_hundred_are_remembered() {
    let up = Upstream::answering("");
    let proxy = Proxy::start(with_key(&up));
    for _ in 0..205 {
        assert_eq!(ask(proxy.addr, "POST", "/v1/messages", &[("x-api-key", KEY)], b"{").status, 400);
    }
    let state = snapshot(&proxy);
    let ended = state["ended"].as_array().unwrap();
    assert_eq!((ended.len(), &ended[0]["number"], &ended[199]["number"]), (200, &json!(6), &json!(205)));
}

/// All that the proxy tells about these requests, with and without streams.
fn told_about(config: Config) -> String {
    let proxy = Proxy::start(config);
    let mut watching = follow(&proxy, &[("x-api-key", KEY)]);
    for stream in [true, false] {
        assert_eq!(post_message(&proxy, "question-sentinel", stream).status, 200);
    }
    watching.until("\"number\":2");
    format!("{} {}", watching.raw(), snapshot(&proxy))
}

#[test]
fn texts_are_told_only_where_that_is_configured() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let words = format!("answer-sentinel, and your key is {UPSTREAM_KEY}, {KEY}");
            if seen.json()["stream"] == true {
                conn.stream(&[&text(&words), &finish("stop"), &usage(), DONE]);
            } else {
                conn.write(ok(&completion(&words)));
            }
        }
    });
    let config = with_key(&up);
    let told = told_about(config.clone());
    assert!(!told.contains("question-sentinel") && !told.contains("answer-sentinel"), "{told}");
    assert!(!told.contains(UPSTREAM_KEY) && !told.contains(KEY), "{told}");

    let told = told_about(Config { dashboard_content: true, ..config.clone() });
    for words in ["question-sentinel", "answer-sentinel, and your key is [key]"] {
        assert_eq!(told.matches(words).count(), 4, "{words}: {told}");
    }
    assert!(!told.contains(UPSTREAM_KEY) && !told.contains(KEY), "{told}");

    // A reload that takes it back leaves nothing of it.
    let proxy = Proxy::start(Config { dashboard_content: true, ..config.clone() });
    post_message(&proxy, "question-sentinel", true);
    eventually("it is told", || snapshot(&proxy).to_string().contains("question-sentinel"));
    proxy.reload.apply(config.clone()).unwrap();
    assert!(!snapshot(&proxy).to_string().contains("-sentinel, and"));
    proxy.reload.apply(Config { dashboard_content: true, ..config }).unwrap();
    assert!(!snapshot(&proxy).to_string().contains("question-sentinel"), "it was forgotten, not hidden");
}

#[test]
fn there_are_few_viewers_and_they_take_no_places() {
    let up = Upstream::answering(ok(&completion("hello")));
    let mut config = with_key(&up);
    config.max_concurrent_requests = 1;
    let proxy = Proxy::start(config);
    let headers = [("x-api-key", KEY)];
    let mut viewers: Vec<Client> = (0..16).map(|_| follow(&proxy, &headers)).collect();
    let answer = get(&proxy, "/dashboard/events", &headers);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")));
    assert_eq!(post_message(&proxy, "hi", false).status, 200, "they are no requests");
    assert_eq!(proxy.load.running(), 0);
    viewers.pop().unwrap().close();
    let mut room = None;
    eventually("one that left makes room", || {
        let mut client = Client::connect(proxy.addr);
        send(&mut client, "GET", "/dashboard/events", "localhost", &headers, "");
        let found = client.head().unwrap().0 == 200;
        room = found.then_some(client);
        found
    });
}

#[test]
fn viewers_are_told_of_the_end_and_do_not_hold_it_up() {
    let up = Upstream::answering("");
    let proxy = Proxy::start(with_key(&up));
    let mut watching = follow(&proxy, &[("x-api-key", KEY)]);
    proxy.signal();
    watching.until("event: bye");
    assert!(watching.raw().contains("data: \"draining\""));
    // Long before the 30 s of grace are over; PATIENCE bounds the rest of it.
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let waiting = std::thread::spawn(move || {
        proxy.join();
        told.store(true, Ordering::Release);
    });
    eventually("it ends", || ended.load(Ordering::Acquire));
    waiting.join().unwrap();
}

#[cfg(unix)]
#[test]
fn the_program_tells_findings_and_lines_and_never_the_key() {
    let config = |more: &str| {
        format!(
            r#"{{"port": 0, "ak": "{KEY}", {more} "providers": [{{"name": "up", "base_url": "http://127.0.0.1:1",
                "api_key": "sk-upstream-sentinel", "models": [{{"id": "m"}}]}}]}}"#
        )
    };
    let program = Program::start(&["serve", "--log-format", "json"], &config(r#""prot": 1,"#));
    let addr = program.addr();
    let state = || {
        let mut client = Client::connect(addr);
        send(&mut client, "GET", "/dashboard/snapshot.json", "proxy.lan:99", &[("x-api-key", KEY)], "");
        client.answer().json()
    };
    let told = state();
    let codes = |told: &Value| {
        told["findings"].as_array().unwrap().iter().map(|f| f["code"].clone()).collect::<Vec<_>>()
    };
    assert!(codes(&told).contains(&json!("unknown-key")), "{told}");
    let lines = told["setup"][0]["lines"].as_array().unwrap();
    assert_eq!(lines[0], "export ANTHROPIC_BASE_URL=http://proxy.lan:99");
    assert_eq!(lines[1], "export ANTHROPIC_AUTH_TOKEN=<the value of `ak`>");
    assert!(!told.to_string().contains("sentinel"), "{told}");

    std::fs::write(program.dir().join("config.json"), config("")).unwrap();
    program.signal("HUP");
    eventually("it is read again", || state()["server"]["generation"] == 2);
    assert!(!codes(&state()).contains(&json!("unknown-key")));
}

/// Two people with keys of their own, and who runs the proxy.
#[test]
fn texts_and_budgets_are_shown_to_their_owner_and_to_ak() {
    let up = Upstream::answering(ok(&completion("hello")));
    let json = json!({"port": 0, "ak": KEY, "dashboard_content": true,
        "keys": [{"name": "ann", "key": "key-of-ann"}, {"name": "bob", "key": "key-of-bob"}],
        "providers": [{"name": "up", "base_url": up.base(), "api_key": "k", "models": [
            {"id": "m", "price": {"input": 1.0, "output": 2.0}}]}]});
    let checked = claude_proxy::config::check(&json.to_string(), &|_| Err(std::env::VarError::NotPresent));
    let proxy = Proxy::start(checked.config.unwrap());
    for (key, words) in [("key-of-ann", "ann-asks"), ("key-of-bob", "bob-asks"), (KEY, "ak-asks")] {
        let answer = ask(proxy.addr, "POST", "/v1/messages", &[("x-api-key", key)], &message(words, false));
        assert_eq!(answer.status, 200);
    }
    let sees = |key: &str| {
        let state = get(&proxy, "/dashboard/snapshot.json", &[("x-api-key", key)]).json();
        let ended = state["ended"].as_array().unwrap();
        assert_eq!(ended.len(), 3);
        assert_eq!(
            ended.iter().map(|e| e["key"].as_str().unwrap()).collect::<Vec<_>>(),
            ["ann", "bob", "ak"]
        );
        assert!((ended[0]["cost"].as_f64().unwrap() - 0.000_013).abs() < 1e-12, "{}", ended[0]);
        ended.iter().filter_map(|e| e["question"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(sees("key-of-ann"), ["ann-asks"]);
    assert_eq!(sees("key-of-bob"), ["bob-asks"]);
    assert_eq!(sees(KEY), ["ann-asks", "bob-asks", "ak-asks"]);
    // A session is its key's.
    let answer = at(&proxy, "POST", "/dashboard", &[], "key=key-of-ann");
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let state = get(&proxy, "/dashboard/snapshot.json", &[("cookie", &cookie)]).json();
    assert!(state.to_string().contains("ann-asks") && !state.to_string().contains("bob-asks"), "{state}");
}
