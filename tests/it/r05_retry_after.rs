//! R5: `retry-after` and `retry-after-ms` reach the client, and none is invented.

use crate::support::upstream::http;
use crate::support::*;

#[test]
fn retry_after_crosses_where_waiting_helps_and_is_never_invented() {
    for (upstream, status, crosses) in [
        (429, 429, true),
        (503, 529, true),
        (529, 529, true),
        (500, 500, true),
        (400, 400, false),
        (404, 404, false),
    ] {
        let both = [("retry-after", "7"), ("retry-after-ms", "7000")];
        let up = Upstream::answering(http(upstream, &both, r#"{"error":{"message":"because"}}"#));
        let proxy = Proxy::start(config(&up.base()));
        for stream in [false, true] {
            let answer = post(proxy.addr, &message("hi", stream));
            assert_eq!(answer.status, status);
            assert!(answer.error().1.contains("because"));
            assert_eq!(answer.header("retry-after"), crosses.then_some("7"), "{upstream}");
            assert_eq!(answer.header("retry-after-ms"), crosses.then_some("7000"), "{upstream}");
        }
    }
    let up = Upstream::answering(http(429, &[], r#"{"error":{"message":"because"}}"#));
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!((answer.status, answer.header("retry-after")), (429, None));
}

/// Its other word on trying again: a no is passed on, a yes is for the client to find out.
#[test]
fn x_should_retry_is_passed_on_where_it_says_no() {
    for (status, said, told) in [
        (429, "false", Some("false")),
        (503, "false", Some("false")),
        (429, "true", None),
        (429, "maybe", None),
    ] {
        let up = Upstream::answering(http(status, &[("x-should-retry", said)], "{}"));
        let proxy = Proxy::start(config(&up.base()));
        for stream in [false, true] {
            assert_eq!(
                post(proxy.addr, &message("hi", stream)).header("x-should-retry"),
                told,
                "{status} {said}"
            );
        }
    }
}

/// As the upstream wrote it, whichever of the two it is.
#[test]
fn each_is_passed_on_as_it_is() {
    for (name, value) in [
        ("retry-after", "120"),
        ("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT"),
        ("retry-after-ms", "90000"),
    ] {
        for status in [429, 503] {
            let up = Upstream::answering(http(status, &[(name, value)], "{}"));
            let proxy = Proxy::start(config(&up.base()));
            for stream in [false, true] {
                let answer = post(proxy.addr, &message("hi", stream));
                for header in ["retry-after", "retry-after-ms"] {
                    assert_eq!(answer.header(header), (header == name).then_some(value), "{status} {name}");
                }
            }
        }
    }
}

/// A fault, a timeout, an error inside a 200 and a key at rest have no word on when to come back.
#[test]
fn none_is_invented() {
    let limited = r#"{"error":{"message":"because","code":429}}"#;
    let up = Upstream::answering(http(200, &[("content-type", "application/json")], limited));
    let proxy = Proxy::start(config(&up.base()));
    for stream in [false, true, false] {
        let answer = post(proxy.addr, &message("hi", stream));
        assert_eq!((answer.status, answer.header("retry-after")), (429, None));
    }
    let up = Upstream::start(upstream::Conn::close);
    let proxy = Proxy::start(config(&up.base()));
    for _ in 0..8 {
        let answer = post(proxy.addr, &message("hi", true));
        assert_eq!((answer.status, answer.header("retry-after")), (502, None));
    }
}
