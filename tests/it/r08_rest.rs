//! R8: a provider that keeps failing rests (5 connect or 5xx faults in a row), then one probe finds
//! out; a key with 401, 402, 403 or 429 rests alone; with everything resting the best is still
//! tried. How long, and how that grows, is a table in `upstream::breaker`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use claude_proxy::server::Bound;
use serde_json::json;

use crate::support::config::{chain, keys};
use crate::support::program::Program;
use crate::support::upstream::{Seen, http, ok};
use crate::support::*;

/// The first rest, where a test waits for its end.
const REST: Duration = Duration::from_millis(700);

fn short(bound: &mut Bound) {
    bound.rest(REST);
}

/// What the upstream does.
const FINE: usize = 0;
const BAD: usize = 1;
const HANGS: usize = 2;

/// An upstream that does what it is told at the time.
fn moody() -> (Upstream, Arc<AtomicUsize>) {
    let mood = Arc::new(AtomicUsize::new(FINE));
    let told = Arc::clone(&mood);
    let up = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            if told.load(Ordering::SeqCst) == HANGS {
                // Until it is told otherwise.
                while told.load(Ordering::SeqCst) == HANGS {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            let answer = if told.load(Ordering::SeqCst) == FINE {
                ok(&completion("fine"))
            } else {
                http(500, &[], r#"{"error":{"message":"because"}}"#)
            };
            if !conn.write(answer) {
                return;
            }
        }
    });
    (up, mood)
}

fn provider(proxy: &Proxy) -> String {
    let answer = post(proxy.addr, &message("hi", false));
    answer.header("x-claude-proxy-provider").unwrap().to_owned()
}

#[test]
fn five_faults_then_a_rest_then_one_probe() {
    let ((first, mood), (second, _)) = (moody(), moody());
    let mut config = chain(&[(&first.base(), "generic"), (&second.base(), "generic")]);
    config.workers = 2;
    let proxy = Proxy::start_with(config, short);
    mood.store(BAD, Ordering::SeqCst);
    for n in 1..=5 {
        assert_eq!(provider(&proxy), "f1");
        assert_eq!(first.seen().len(), n);
    }
    // It rests: nobody waits for it any more.
    for _ in 0..20 {
        assert_eq!(provider(&proxy), "f1");
    }
    assert_eq!(first.seen().len(), 5);
    std::thread::sleep(REST + REST / 5);
    // One of ten finds out how it is, the others do not wait for that.
    mood.store(HANGS, Ordering::SeqCst);
    let asked: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = Client::connect(proxy.addr);
            client.send("POST", "/v1/messages", &[], &message("hi", false));
            client
        })
        .collect();
    eventually("nine were answered, one probes", || second.seen().len() == 25 + 9 && first.seen().len() == 6);
    mood.store(BAD, Ordering::SeqCst);
    for mut client in asked {
        assert_eq!(client.answer().header("x-claude-proxy-provider"), Some("f1"));
    }
    assert_eq!(first.seen().len(), 6, "exactly one probe");
    // It failed: the next rest is twice as long.
    std::thread::sleep(REST + REST / 5);
    assert_eq!(provider(&proxy), "f1");
    assert_eq!(first.seen().len(), 6);
    std::thread::sleep(REST);
    mood.store(FINE, Ordering::SeqCst);
    assert_eq!([provider(&proxy), provider(&proxy)], ["m", "m"], "the probe was well, all is forgotten");
    assert_eq!(first.seen().len(), 8);
}

#[test]
fn a_probe_whose_client_leaves_is_no_verdict() {
    let ((first, mood), (second, _)) = (moody(), moody());
    let proxy = Proxy::start_with(chain(&[(&first.base(), "generic"), (&second.base(), "generic")]), short);
    mood.store(BAD, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(provider(&proxy), "f1");
    }
    std::thread::sleep(REST + REST / 5);
    mood.store(HANGS, Ordering::SeqCst);
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", false));
    eventually("it probes", || first.seen().len() == 6);
    assert_eq!(provider(&proxy), "f1", "others do not wait for the probe");
    drop(client);
    mood.store(FINE, Ordering::SeqCst);
    eventually("the next one may probe", || provider(&proxy) == "m");
    assert_eq!(first.seen().len(), 7);
}

/// A provider that cannot be reached, or does not answer in time, is no better than one that
/// answers 500; what it says of one request is no fault.
#[test]
fn what_counts() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (second, _) = moody();
    let proxy = Proxy::start(chain(&[(&format!("http://{gone}"), "generic"), (&second.base(), "generic")]));
    // Two attempts each, until it rests.
    for _ in 0..3 {
        assert_eq!(provider(&proxy), "f1");
    }
    let first = Upstream::start_on(gone, |mut conn| {
        while conn.request().is_some() {
            conn.write(ok(&completion("fine")));
        }
    });
    assert_eq!(provider(&proxy), "f1");
    assert_eq!(first.seen().len(), 0, "it rests");

    let ((first, mood), (second, _)) = (moody(), moody());
    let mut config = chain(&[(&first.base(), "generic"), (&second.base(), "generic")]);
    config.upstream_timeout = Duration::from_millis(200);
    let proxy = Proxy::start(config);
    mood.store(HANGS, Ordering::SeqCst);
    for _ in 0..8 {
        assert_eq!(provider(&proxy), "f1");
    }
    assert_eq!(first.seen().len(), 5, "the last three did not wait for it");
    mood.store(FINE, Ordering::SeqCst);

    for status in [400, 404, 408, 409, 422] {
        let first = Upstream::answering(http(status, &[], "{}"));
        let proxy = Proxy::start(chain(&[(&first.base(), "generic"), (&second.base(), "generic")]));
        for _ in 0..8 {
            post(proxy.addr, &message("hi", false));
        }
        assert_eq!(first.seen().len(), 8, "{status}");
    }
}

#[test]
fn with_everything_resting_the_best_is_still_tried() {
    for more in [false, true] {
        let ((first, mood), (second, other)) = (moody(), moody());
        let (a, b) = (first.base(), second.base());
        let both = [(a.as_str(), "generic"), (b.as_str(), "generic")];
        let proxy = Proxy::start(chain(if more { &both } else { &both[..1] }));
        for mood in [&mood, &other] {
            mood.store(BAD, Ordering::SeqCst);
        }
        assert_eq!(ask(proxy.addr, "GET", "/ready", &[], b"").status, 200);
        for n in 1..=5 {
            assert_eq!(post(proxy.addr, &message("hi", true)).status, 500);
            assert_eq!((first.seen().len(), second.seen().len()), (n, if more { n } else { 0 }));
        }
        let ready = ask(proxy.addr, "GET", "/ready", &[], b"");
        assert_eq!((ready.status, ready.json()["reason"].as_str()), (503, Some("no usable provider")));
        // One of them is asked, once.
        let asked = || first.seen().len() + second.seen().len();
        let before = asked();
        assert_eq!(post(proxy.addr, &message("hi", true)).status, 500);
        assert_eq!(asked(), before + 1);
        // And as soon as it works, all is well.
        for mood in [&mood, &other] {
            mood.store(FINE, Ordering::SeqCst);
        }
        for _ in 0..3 {
            assert_eq!(post(proxy.addr, &message("hi", true)).status, 200);
        }
        assert_eq!(ask(proxy.addr, "GET", "/ready", &[], b"").status, 200);
    }
}

/// Answers by the key that it is asked with; says which keys came, in order.
fn keyed(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            conn.write(answer(key_of(&seen)));
        }
    })
}

fn key_of(seen: &Seen) -> &str {
    seen.header("authorization").unwrap().strip_prefix("Bearer ").unwrap()
}

fn keys_seen(up: &Upstream) -> String {
    up.seen().iter().map(key_of).collect()
}

fn several(up: &Upstream, names: &[&str]) -> claude_proxy::config::Config {
    let mut config = chain(&[(&up.base(), "generic")]);
    keys(&mut config, names);
    config
}

#[test]
fn keys_are_used_in_turn() {
    let up = keyed(|_| ok(&completion("fine")));
    let mut config = several(&up, &["a", "b", "c"]);
    config.workers = 2;
    let proxy = Proxy::start(config);
    for _ in 0..9 {
        assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    }
    assert_eq!(keys_seen(&up), "abcabcabc");
}

#[test]
fn a_key_that_is_refused_rests_alone() {
    for stream in [false, true] {
        for status in [401, 402, 403, 429] {
            let up = keyed(move |key| match key {
                "b" => http(status, &[], r#"{"error":{"message":"not b"}}"#),
                _ => ok(&completion("fine")),
            });
            let proxy = Proxy::start_with(several(&up, &["a", "b", "c"]), short);
            let mut bodies = Vec::new();
            for _ in 0..5 {
                let answer = post(proxy.addr, &message("hi", stream));
                assert_eq!((answer.status, answer.header("x-claude-proxy-provider")), (200, Some("m")));
                bodies.extend(up.seen().iter().map(|s| s.body.clone()));
            }
            // The second request met it, took the next, and nobody met it again.
            let seen = keys_seen(&up);
            assert_eq!(seen.matches('b').count(), 1, "{seen}");
            assert!(seen.starts_with("abc") && seen.len() == 6, "{seen}");
            assert!(bodies.windows(2).all(|w| w[0] == w[1]), "the same bytes with every key");
            std::thread::sleep(REST + REST / 5);
            for _ in 0..3 {
                assert_eq!(post(proxy.addr, &message("hi", stream)).status, 200);
            }
            assert_eq!(keys_seen(&up).matches('b').count(), 2, "tried again after its rest");
        }
    }
}

#[test]
fn a_limited_key_rests_as_long_as_it_is_told() {
    let up = keyed(|key| match key {
        "a" => http(429, &[("retry-after", "1")], "{}"),
        _ => ok(&completion("fine")),
    });
    let proxy = Proxy::start(several(&up, &["a", "b"]));
    for _ in 0..4 {
        assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    }
    assert_eq!(keys_seen(&up), "abbbb", "another key at once, no second for the first");
    std::thread::sleep(Duration::from_millis(1050));
    for _ in 0..2 {
        assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    }
    assert_eq!(keys_seen(&up).matches('a').count(), 2);
}

#[test]
fn every_key_once_and_then_the_client_is_told() {
    for (status, told) in [(401, "false"), (429, "none")] {
        let up = keyed(move |key| {
            // The last to come back first.
            let wait = if key == "c" { "20" } else { "40" };
            http(status, &[("retry-after", wait)], r#"{"error":{"message":"because"}}"#)
        });
        let proxy = Proxy::start(several(&up, &["a", "b", "c"]));
        let answer = post(proxy.addr, &message("hi", false));
        assert_eq!((answer.status, keys_seen(&up).as_str()), (status, "abc"));
        assert_eq!(answer.header("x-should-retry").unwrap_or("none"), told);
        assert_eq!(answer.header("retry-after"), (status == 429).then_some("20"));
        // All rest: the best one is tried, alone.
        assert_eq!(post(proxy.addr, &message("hi", false)).status, status);
        assert_eq!(keys_seen(&up).len(), 4);
        assert!(status == 401 || keys_seen(&up).ends_with('c'));
        let ready = ask(proxy.addr, "GET", "/ready", &[], b"").status;
        assert_eq!(ready, if status == 401 { 503 } else { 200 }, "a limit is no reason to look elsewhere");
    }
}

/// With a fallback, a provider whose keys all rest is passed over.
#[test]
fn when_all_keys_rest_the_fallback_is_asked_at_once() {
    let up = keyed(|_| http(429, &[("retry-after", "30")], "{}"));
    let (second, _) = moody();
    let mut config = chain(&[(&second.base(), "generic"), (&up.base(), "generic")]);
    keys(&mut config, &["a", "b"]);
    // The one with two keys is the one that clients ask for.
    Arc::get_mut(&mut config.models[0]).unwrap().fallbacks.clear();
    Arc::get_mut(&mut config.models[1]).unwrap().fallbacks.push("m".to_owned());
    config.aliases.push(("two".to_owned(), "f1".to_owned()));
    let proxy = Proxy::start(config);
    let body = String::from_utf8(message("hi", false)).unwrap().replace(r#""model":"m""#, r#""model":"two""#);
    for _ in 0..3 {
        let answer = post(proxy.addr, body.as_bytes());
        assert_eq!(answer.header("x-claude-proxy-provider"), Some("m"));
    }
    assert_eq!(keys_seen(&up), "ab");
}

/// A limit passes, a refused key seldom gets better: who tells the client to give up is asked
/// last.
#[test]
fn a_limit_is_the_better_hope() {
    let limited = Upstream::answering(http(429, &[("retry-after", "30")], "{}"));
    let refused = Upstream::answering(http(401, &[], "{}"));
    for first_is_limited in [false, true] {
        let (a, b) = if first_is_limited { (&limited, &refused) } else { (&refused, &limited) };
        let proxy = Proxy::start(chain(&[(&a.base(), "generic"), (&b.base(), "generic")]));
        for n in 0..4 {
            let answer = post(proxy.addr, &message("hi", n % 2 == 0));
            assert_eq!((answer.status, answer.header("x-should-retry")), (429, None), "{n}");
            assert_eq!(answer.header("retry-after"), Some("30"));
        }
    }
    // It rests for a limit while its fallback turns out to have a bad key: it gets a chance.
    let (up, mood) = (keyed(|_| http(429, &[("retry-after", "30")], "{}")), Arc::new(AtomicUsize::new(FINE)));
    let told = Arc::clone(&mood);
    let second = keyed(move |_| match told.load(Ordering::SeqCst) {
        FINE => ok(&completion("fine")),
        _ => http(401, &[], "{}"),
    });
    let proxy = Proxy::start(chain(&[(&up.base(), "generic"), (&second.base(), "generic")]));
    assert_eq!(provider(&proxy), "f1");
    mood.store(BAD, Ordering::SeqCst);
    assert_eq!(post(proxy.addr, &message("hi", false)).status, 429);
    assert_eq!((up.seen().len(), second.seen().len()), (2, 2));
}

/// Who rests goes on resting when the configuration is read again; a new key or a new address is
/// somebody else.
#[test]
fn a_reload_wakes_nobody() {
    let ((first, mood), (second, _)) = (moody(), moody());
    let both = |path: &str| {
        let mut config = chain(&[(&first.base(), "generic"), (&second.base(), "generic")]);
        let model = Arc::get_mut(&mut config.models[0]).unwrap();
        let mut provider = claude_proxy::config::Provider::clone(&model.provider);
        provider.base_url.push_str(path);
        model.provider = Arc::new(provider);
        config
    };
    mood.store(BAD, Ordering::SeqCst);
    let proxy = Proxy::start(both(""));
    for _ in 0..7 {
        assert_eq!(provider(&proxy), "f1");
    }
    assert_eq!(first.seen().len(), 5);
    proxy.reload.apply(both("")).unwrap();
    assert_eq!(provider(&proxy), "f1");
    assert_eq!(first.seen().len(), 5, "it still rests");
    proxy.reload.apply(both("/elsewhere")).unwrap();
    assert_eq!(provider(&proxy), "f1");
    assert_eq!(first.seen().len(), 6, "nothing is known of this one");

    let up = keyed(|key| if key == "a" { http(401, &[], "{}") } else { ok(&completion("fine")) });
    let proxy = Proxy::start(several(&up, &["a", "b"]));
    assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    assert_eq!(keys_seen(&up), "ab");
    proxy.reload.apply(several(&up, &["c", "a"])).unwrap();
    for _ in 0..3 {
        assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    }
    assert_eq!(keys_seen(&up), "abccc", "the refused one rests, the new one does not");
}

/// Keys and providers by name, in the log as well: none of the keys is shown.
#[test]
fn the_log_tells_what_was_tried_and_no_key() {
    let up = keyed(|key| match key {
        "sk-sentinel-1" => {
            http(401, &[], r#"{"error":{"message":"wrong key sk-sentinel-1 or sk-sentinel-2"}}"#)
        }
        _ => http(500, &[], r#"{"error":{"message":"trouble with sk-sentinel-2"}}"#),
    });
    let (second, _) = moody();
    let config = json!({"port": 0, "workers": 1, "providers": [
        {"name": "two keys", "base_url": up.base(), "api_keys": ["sk-sentinel-1", "sk-sentinel-2"],
            "models": [{"id": "m", "fallbacks": ["n"]}]},
        {"name": "other", "base_url": second.base(), "api_key": "", "models": [{"id": "n"}]},
    ]});
    let program = Program::start(&["--log-level", "trace", "serve"], &config.to_string());
    let answer = post(program.addr(), &message("hi", false));
    assert_eq!((answer.status, answer.header("x-claude-proxy-provider")), (200, Some("other")));
    let line = "model=m provider=other remote=n attempts=3 retries=0 rotations=1 fallbacks=1";
    eventually("the request is in the log", || program.output().contains(line));
    let output = program.output();
    assert!(output.contains("the key was refused and rests provider=two keys key=1 status=401"), "{output}");
    assert!(
        output.contains("asking a fallback request_id=") && output.contains("trouble with [key]"),
        "{output}"
    );
    assert!(!output.contains("sentinel"), "{output}");
}
