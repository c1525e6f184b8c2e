//! Errors pass in Anthropic's own words, and become such words where they are none.

use super::{JSON, MESSAGE, SSE, STREAM, error};
use crate::support::config::UPSTREAM_KEY;
use crate::support::native::native;
use crate::support::upstream::http;
use crate::support::*;

/// What a client gets for an upstream that answers so.
fn got(upstream: &str, stream: bool) -> client::Answer {
    let up = Upstream::answering(upstream);
    let proxy = Proxy::start(native(&up.base()));
    post(proxy.addr, &message("hi", stream))
}

#[test]
fn anthropic_s_own_words_pass() {
    let waits = [JSON, ("retry-after", "7"), ("x-should-retry", "true"), ("request-id", "req_theirs")];
    let object = r#"{"type":"rate_limit_error","message":"m \"x\" é","details":{"a":[1.0]},"resets_at":12345678901234567890}"#;
    let body = format!(r#"{{"type":"error","error":{object},"request_id":"req_theirs"}}"#);
    for stream in [false, true] {
        for status in [400, 402, 403, 404, 413, 422, 500] {
            let answer = got(&http(status, &waits, &body), stream);
            assert_eq!(answer.status, status);
            answer.error();
            let id = answer.header("request-id").unwrap();
            let want = format!(r#"{{"type":"error","error":{object},"request_id":"{id}"}}"#);
            assert_eq!(String::from_utf8_lossy(&answer.body), want);
            assert_eq!(answer.header("retry-after"), Some("7"));
            assert_eq!(answer.header("x-should-retry"), Some("true"));
        }
        for (status, retry) in [(429, None), (529, Some("false"))] {
            let waits: Vec<_> = retry.map(|r| ("x-should-retry", r)).into_iter().chain([JSON]).collect();
            let answer = got(&http(status, &waits, &body), stream);
            assert_eq!((answer.status, answer.header("retry-after")), (status, None), "none is invented");
            assert_eq!(answer.header("x-should-retry"), retry);
        }
    }
}

#[test]
fn what_is_none_of_them_is_converted() {
    for stream in [false, true] {
        let html = got(&http(502, &[("content-type", "text/html")], "<html>Bad Gateway</html>"), stream);
        assert_eq!(
            (html.status, html.error().1.as_str()),
            (502, "upstream returned HTTP 502 with a non-JSON body")
        );
        let openai = got(&http(422, &[JSON], r#"{"error":{"message":"no such field"}}"#), stream);
        assert_eq!((openai.status, openai.error().1.as_str()), (400, "no such field"));
        let key = got(&http(401, &[JSON], &error("authentication_error", "invalid x-api-key")), stream);
        assert_eq!((key.status, key.header("x-should-retry")), (401, Some("false")));
        assert_eq!(
            key.error(),
            (
                "authentication_error".to_owned(),
                "the key of provider `messages.example` was refused by the upstream: invalid API key"
                    .to_owned()
            )
        );
        let moved = got("HTTP/1.1 307 X\r\nlocation: http://elsewhere\r\ncontent-length: 0\r\n\r\n", stream);
        assert!(moved.status == 502 && moved.error().1.contains("redirect"));
        let packed = got(&http(200, &[JSON, ("content-encoding", "gzip")], "x"), stream);
        assert!(packed.status == 502 && packed.error().1.contains("gzip"));
    }
}

#[test]
fn keys_that_are_repeated_are_blotted_out() {
    let words = error("invalid_request_error", &format!("no such key: {UPSTREAM_KEY}"));
    let event = format!("event: error\ndata: {words}\n\n");
    let later = format!("{}{event}", STREAM.split_inclusive("\n\n").next().unwrap());
    for (upstream, stream) in [
        (http(403, &[JSON], &words), false),
        (http(403, &[JSON], &words), true),
        (http(200, &[JSON], &words), false),
        (http(200, &[SSE], &event), true),
        (http(200, &[SSE], &later), true),
    ] {
        let body = String::from_utf8(got(&upstream, stream).body).unwrap();
        assert!(body.contains("no such key: [key]") && !body.contains(UPSTREAM_KEY), "{body}");
    }
}

/// Headers that cross hold a time, a number or a word, and no key.
#[test]
fn headers_that_cross_repeat_no_key() {
    let odd = [
        ("retry-after", UPSTREAM_KEY),
        ("retry-after-ms", "soon"),
        ("anthropic-ratelimit-key", UPSTREAM_KEY),
        ("anthropic-ratelimit-unified-status", "allowed"),
        ("anthropic-ratelimit-long", &"x".repeat(200)),
    ];
    let with = |kind| [&odd[..], &[kind]].concat();
    for (upstream, stream) in [
        (http(400, &with(JSON), &error("invalid_request_error", "no")), false),
        (http(200, &with(JSON), MESSAGE), false),
        (http(200, &with(SSE), STREAM), true),
    ] {
        let head = got(&upstream, stream).head;
        assert!(head.contains("anthropic-ratelimit-unified-status: allowed"), "{head}");
        for gone in [UPSTREAM_KEY, "retry-after", "-key", "-long"] {
            assert!(!head.contains(gone), "{gone}: {head}");
        }
    }
}

#[test]
fn an_error_as_the_first_event_is_an_http_error() {
    for (kind, status) in [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("invalid_request_error", 400),
        ("api_error", 500),
    ] {
        for before in ["", ": hello\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n"] {
            let event = format!("{before}event: error\ndata: {}\n\n", error(kind, "words"));
            let answer = got(&http(200, &[SSE], &event), true);
            assert_eq!((answer.status, answer.error()), (status, (kind.to_owned(), "words".to_owned())));
        }
    }
}

#[test]
fn a_later_one_is_told_as_it_came_and_ends_the_stream() {
    let first = STREAM.split_inclusive("\n\n").next().unwrap();
    let event = format!("event: error\ndata: {}\n\n", error("api_error", "words"));
    let answer = got(&http(200, &[SSE], &format!("{first}{event}{STREAM}")), true);
    let body = String::from_utf8(answer.body).unwrap();
    let want = r#"event: error
data: {"type":"error","error":{"type":"api_error","message":"words","details":null}}

"#;
    assert_eq!(body.strip_prefix(first), Some(want));
}

#[test]
fn an_answer_of_another_kind_is_refused() {
    for (upstream, stream, words) in [
        (http(200, &[JSON], MESSAGE), true, "although a stream was asked for"),
        (http(200, &[SSE], STREAM), false, "although none was asked for"),
        (http(200, &[JSON], &completion("x")), false, "no Anthropic message"),
        (http(200, &[SSE], &text("x")), true, "no Anthropic event"),
        (http(200, &[JSON], ""), false, "empty"),
        (http(200, &[SSE], ""), true, "empty"),
        (http(200, &[("content-type", "text/html")], "<html>hi</html>"), false, "non-JSON"),
        (http(200, &[("content-type", "text/html")], "<html>hi</html>"), true, "non-JSON"),
    ] {
        let answer = got(&upstream, stream);
        let (kind, message) = answer.error();
        assert_eq!((answer.status, kind.as_str()), (502, "api_error"), "{message}");
        assert!(message.contains(words), "{message}");
    }
    let busy = http(200, &[JSON], &error("overloaded_error", "words"));
    for stream in [false, true] {
        assert_eq!((got(&busy, stream).status, got(&busy, stream).error().1.as_str()), (529, "words"));
    }
}

#[test]
fn a_whole_answer_that_is_cut_is_none() {
    let end = MESSAGE.trim_end().len();
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let cut: usize = seen.json()["messages"][0]["content"].as_str().unwrap().parse().unwrap();
            if cut.is_multiple_of(2) {
                // Framed as if it were whole.
                conn.write(http(200, &[JSON], &MESSAGE[..cut]));
            } else {
                conn.write(
                    &http(200, &[JSON], MESSAGE)[..http(200, &[JSON], MESSAGE).len() - MESSAGE.len() + cut],
                );
                return conn.close();
            }
        }
    });
    let proxy = Proxy::start(native(&up.base()));
    for cut in (0..end).filter(|cut| MESSAGE.is_char_boundary(*cut)) {
        let answer = post(proxy.addr, &message(&cut.to_string(), false));
        assert_eq!((answer.status, answer.error().0.as_str()), (502, "api_error"), "{cut}");
    }
}
