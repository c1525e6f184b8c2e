//! An upstream that is down, resets, redirects, or is no HTTP server at all.

use crate::support::config::UPSTREAM_KEY;
use crate::support::upstream::http;
use crate::support::*;

/// Both kinds of request must get this status, and a message with these words.
fn expect(up: &Upstream, status: u16, kind: &str, words: &str) {
    let proxy = Proxy::start(config(&up.base()));
    for stream in [false, true] {
        let answer = post(proxy.addr, &message("hi", stream));
        let (got, message) = answer.error();
        assert_eq!((answer.status, got.as_str()), (status, kind), "{message}");
        assert!(message.contains(words), "{message}");
        assert!(!message.contains(UPSTREAM_KEY) && !message.contains("/v1/chat"), "{message}");
    }
}

#[test]
fn refused_connections() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let proxy = Proxy::start(config(&format!("http://127.0.0.1:{port}")));
    for stream in [false, true] {
        let answer = post(proxy.addr, &message("hi", stream));
        assert_eq!(answer.status, 502);
        let (kind, message) = answer.error();
        assert_eq!(kind, "api_error");
        assert_eq!(message, "upstream up.example: connecting failed: connection refused");
    }
}

#[test]
fn unknown_hosts() {
    let proxy = Proxy::start(config("http://nobody.invalid"));
    let (kind, message) = post(proxy.addr, &message("hi", true)).error();
    assert_eq!(kind, "api_error");
    assert_eq!(message, "upstream up.example: its host name could not be resolved");
}

#[test]
fn closed_or_reset_without_an_answer() {
    let up = Upstream::start(|mut conn| {
        conn.request();
        conn.close();
    });
    expect(&up, 502, "api_error", "closed the connection without an answer");
    let up = Upstream::start(|mut conn| {
        conn.request();
        conn.reset();
    });
    expect(&up, 502, "api_error", "up.example");
}

#[test]
fn redirects_are_not_followed() {
    let canary = Upstream::answering(http(200, &[], ""));
    for status in [301, 302, 303, 307, 308] {
        let up = Upstream::answering(http(status, &[("location", &canary.base())], ""));
        expect(&up, 502, "api_error", "redirect");
    }
    assert_eq!(canary.connections(), 0);
}
