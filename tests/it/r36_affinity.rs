//! R36: the requests of one session go to a provider with one key, whichever replica they come
//! through, as long as that key is not refused. How evenly sessions spread, and which of them move
//! with a key, is in `upstream::affinity`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use claude_proxy::config::{Api, Config};
use serde_json::{Value, json};

use crate::support::config::{change, keys};
use crate::support::upstream::{http, ok};
use crate::support::*;

const KEYS: [&str; 4] = ["sk-a", "sk-b", "sk-c", "sk-d"];
const SESSION: &str = "x-claude-code-session-id";

/// The end of a key, and the status that it gets.
type Refused = Arc<Mutex<Option<(String, u16)>>>;

/// Answers, unless the key of the request is the one that is out of favour: that gets the status.
fn upstream() -> (Upstream, Refused) {
    let refused = Refused::default();
    let told = Arc::clone(&refused);
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let bearer = seen.header("authorization").unwrap_or_default().to_owned();
            let refused = told.lock().unwrap().clone();
            let answer = match refused.filter(|(key, _)| bearer.ends_with(key.as_str())) {
                Some((_, status)) => http(status, &[], r#"{"error":{"message":"no"}}"#),
                None => ok(&completion("fine")),
            };
            if !conn.write(answer) {
                return;
            }
        }
    });
    (up, refused)
}

fn several(up: &Upstream, order: &[&str]) -> Config {
    let mut config = config(&up.base());
    keys(&mut config, order);
    config.workers = 2;
    config
}

/// The key with which a request got its answer.
fn key_of(up: &Upstream, proxy: &Proxy, headers: &[(&str, &str)], body: &Value) -> String {
    let answer = ask(proxy.addr, "POST", "/v1/messages", headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = up.seen();
    seen.last().unwrap().header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

fn plain() -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

fn with_user(id: &str) -> Value {
    let mut body = plain();
    body["metadata"] = json!({"user_id": id});
    body
}

#[test]
fn one_session_one_key_through_every_replica() {
    let (up, _) = upstream();
    // The second one knows the keys in another order, and has just started.
    let here = Proxy::start(several(&up, &KEYS));
    let there = Proxy::start(several(&up, &["sk-d", "sk-b", "sk-a", "sk-c"]));
    let mut used = Vec::new();
    for n in 0..24 {
        let id = format!("7d1b{n:04}-0000-4000-8000-000000000000");
        let first = key_of(&up, &here, &[(SESSION, &id)], &plain());
        for proxy in [&here, &there, &here, &there] {
            assert_eq!(key_of(&up, proxy, &[(SESSION, &id)], &plain()), first);
        }
        // What the body says of it is the same session, in either form; the header goes first.
        let new = json!({"device_id": "d", "account_uuid": "", "session_id": id}).to_string();
        let old = format!("user_0_account__session_{id}");
        assert_eq!(key_of(&up, &there, &[], &with_user(&new)), first);
        assert_eq!(key_of(&up, &here, &[], &with_user(&old)), first);
        assert_eq!(key_of(&up, &here, &[(SESSION, &id)], &with_user("x_session_other")), first);
        used.push(first);
    }
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, KEYS, "24 sessions use all four");
}

#[test]
fn without_a_session_keys_are_used_in_turn() {
    let (up, _) = upstream();
    let proxy = Proxy::start(several(&up, &KEYS));
    let mut used: Vec<String> = Vec::new();
    for body in [plain(), with_user("somebody"), plain(), with_user("{}")] {
        used.push(key_of(&up, &proxy, &[(SESSION, "")], &body));
    }
    assert_eq!(used, KEYS);
}

#[test]
fn a_refused_key_sends_its_sessions_to_their_next_one_and_gets_them_back() {
    for status in [401, 429] {
        let (up, refused) = upstream();
        let rest = Duration::from_millis(600);
        let proxies = [several(&up, &KEYS), several(&up, &KEYS)]
            .map(|config| Proxy::start_with(config, move |bound| bound.rest(rest)));
        let ids: Vec<String> = (0..16).map(|n| format!("session-{n}")).collect();
        let keys = |proxy: &Proxy| -> Vec<String> {
            ids.iter().map(|id| key_of(&up, proxy, &[(SESSION, id)], &plain())).collect()
        };
        let before = keys(&proxies[0]);
        let bad = before[0].clone();
        *refused.lock().unwrap() = Some((bad.clone(), status));
        let during = keys(&proxies[0]);
        for (before, during) in before.iter().zip(&during) {
            assert!(if *before == bad { *during != bad } else { during == before }, "{status}");
        }
        assert_eq!(keys(&proxies[1]), during, "the other replica finds it out by itself: {status}");
        *refused.lock().unwrap() = None;
        eventually("they are back", || keys(&proxies[0]) == before && keys(&proxies[1]) == before);
    }
}

#[test]
fn what_passes_through_stays_with_its_key_too() {
    let up = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            let answer = json!({"type": "message", "id": "msg_1", "role": "assistant", "model": "x", "content": [],
                "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
            if !conn.write(ok(&answer.to_string())) {
                return;
            }
        }
    });
    let mut config = several(&up, &KEYS);
    change(&mut config, |provider| provider.api = Api::Anthropic);
    let proxy = Proxy::start(config);
    let first = key_of(&up, &proxy, &[], &with_user("u_session_abc"));
    for _ in 0..6 {
        assert_eq!(key_of(&up, &proxy, &[], &with_user("u_session_abc")), first);
        assert_eq!(key_of(&up, &proxy, &[(SESSION, "abc")], &plain()), first);
    }
}
