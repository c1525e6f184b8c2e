//! R3: retries only before the first byte to the client, only where that is safe (nothing sent, a
//! reused connection closed unanswered, 429 with a short retry-after, 502, 503, 529), one extra
//! attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::grammar::End;
use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

/// Answers with these, one after the other over all connections, then with the last.
fn answering(answers: Vec<String>) -> Upstream {
    let next = AtomicUsize::new(0);
    Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            let at = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            if !conn.write(&answers[at]) {
                return;
            }
        }
    })
}

fn refusal(status: u16, headers: &[(&str, &str)]) -> String {
    http(status, headers, r#"{"error":{"message":"because"}}"#)
}

/// One refusal and then an answer: how many requests there were, and what the client got.
fn once(refusal: &str, stream: bool) -> (usize, u16) {
    let up = answering(vec![refusal.to_owned(), ok(&completion("fine"))]);
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", stream));
    let seen = up.seen();
    if let [first, second] = seen.as_slice() {
        assert_eq!(first.body, second.body, "sent again byte for byte");
        assert_eq!(answer.status, 200);
    }
    if answer.status != 200 {
        assert!(answer.error().1.contains("because"), "{:?}", answer.error());
    }
    assert_eq!(answer.header("x-claude-proxy-provider"), Some("up.example"));
    (seen.len(), answer.status)
}

#[test]
fn each_status() {
    for stream in [false, true] {
        for status in [502, 503, 529] {
            assert_eq!(once(&refusal(status, &[]), stream), (2, 200), "{status}");
        }
        for (status, told) in [
            (400, 400),
            (401, 401),
            (402, 402),
            (403, 403),
            (404, 404),
            (408, 504),
            (409, 409),
            (413, 413),
            (422, 400),
            (429, 429),
            (500, 500),
            (504, 504),
        ] {
            assert_eq!(once(&refusal(status, &[]), stream), (1, told), "{status}");
        }
    }
}

#[test]
fn how_long_the_upstream_asks_to_wait() {
    for (status, headers, requests, told) in [
        (429, ("retry-after", "0"), 2, 200),
        (429, ("retry-after-ms", "20"), 2, 200),
        (429, ("retry-after", "3"), 1, 429),
        (429, ("retry-after", "Fri, 31 Dec 2999 23:59:59 GMT"), 1, 429),
        (429, ("retry-after", "soon"), 1, 429),
        (503, ("retry-after", "1"), 2, 200),
        (503, ("retry-after", "60"), 1, 529),
        (529, ("x-should-retry", "false"), 1, 529),
        (503, ("x-should-retry", "false"), 1, 529),
        (503, ("x-should-retry", "true"), 2, 200),
        (500, ("x-should-retry", "true"), 1, 500),
    ] {
        let began = std::time::Instant::now();
        assert_eq!(once(&refusal(status, &[headers]), false), (requests, told), "{status} {headers:?}");
        if headers == ("retry-after", "1") {
            assert!(began.elapsed() >= Duration::from_secs(1), "it waits as long as it is asked to");
        }
    }
}

#[test]
fn one_extra_attempt_and_no_more() {
    for stream in [false, true] {
        for refusal in [refusal(503, &[]), refusal(529, &[]), refusal(429, &[("retry-after", "0")])] {
            let up = answering(vec![refusal]);
            let proxy = Proxy::start(config(&up.base()));
            let answer = post(proxy.addr, &message("hi", stream));
            assert!(matches!(answer.status, 429 | 529), "{}", answer.status);
            assert_eq!(up.seen().len(), 2);
        }
    }
}

#[test]
fn an_error_inside_a_200_counts_like_its_status() {
    let sse = [("content-type", "text/event-stream")];
    let json = [("content-type", "application/json")];
    for (error, requests, told) in [
        (r#"{"error":{"message":"because","code":503}}"#, 2, 200),
        (r#"{"error":{"message":"because","type":"overloaded_error"}}"#, 2, 200),
        (r#"{"error":{"message":"because","code":"502"}}"#, 2, 200),
        (r#"{"error":{"message":"because","code":429}}"#, 1, 429),
        (r#"{"error":{"message":"because","code":500}}"#, 1, 500),
        (r#"{"error":{"message":"because"}}"#, 1, 502),
        (r#"{"error":{"message":"because: maximum context length is 5 tokens"}}"#, 1, 400),
    ] {
        for stream in [false, true] {
            for answer in [http(200, &sse, &format!("data: {error}\n\n")), http(200, &json, error)] {
                let up = answering(vec![answer, ok(&completion("fine"))]);
                let proxy = Proxy::start(config(&up.base()));
                let answer = post(proxy.addr, &message("hi", stream));
                assert_eq!((up.seen().len(), answer.status), (requests, told), "{error} {stream}");
            }
        }
    }
}

#[test]
fn nothing_is_tried_again_after_the_first_byte() {
    let error = "data: {\"error\":{\"message\":\"because\",\"code\":503}}\n\n";
    for cut in [false, true] {
        let up = Upstream::start(move |mut conn| {
            while conn.request().is_some() {
                conn.stream_head();
                conn.chunk(text("one"));
                if cut {
                    return conn.reset();
                }
                conn.chunk(error);
                conn.end_chunks();
            }
        });
        let proxy = Proxy::start(config(&up.base()));
        let answer = post(proxy.addr, &message("hi", true));
        assert_eq!((answer.status, answer.events().1), (200, End::Error));
        assert_eq!(answer.header("x-claude-proxy-provider"), Some("up.example"));
        assert_eq!(up.seen().len(), 1);
    }
}

/// What may have been worked on is not sent twice: the provider may have counted it.
#[test]
fn what_was_sent_and_not_answered_is_not_sent_again() {
    type Script = fn(upstream::Conn);
    let scripts: [Script; 4] = [
        |conn| conn.close(),
        |conn| conn.reset(),
        |mut conn| assert!(conn.write("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"id\":")),
        |conn| conn.hang(),
    ];
    for (n, script) in scripts.into_iter().enumerate() {
        for stream in [false, true] {
            let up = Upstream::start(move |mut conn| {
                if conn.request().is_some() {
                    script(conn);
                }
            });
            let mut config = config(&up.base());
            config.upstream_timeout = Duration::from_millis(500);
            let proxy = Proxy::start(config);
            let answer = post(proxy.addr, &message("hi", stream));
            assert_eq!(answer.status, if n == 3 { 504 } else { 502 });
            assert_eq!(up.seen().len(), 1, "script {n}");
        }
    }
}

/// Nothing was sent, so that no upstream can count it: the log tells.
#[test]
fn a_refused_connection_is_tried_once_more() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        r#"{{"port": 0, "workers": 1, "providers": [{{"name": "p", "base_url": "http://127.0.0.1:{port}",
            "api_key": "", "models": [{{"id": "m"}}]}}]}}"#
    );
    let program = Program::start(&["serve"], &config);
    assert_eq!(post(program.addr(), &message("hi", false)).status, 502);
    let line = "attempts=2 retries=1 rotations=0 fallbacks=0";
    eventually("the request is in the log", || program.output().contains(line));
}

/// A client that leaves while a second attempt is waited for takes it along.
#[test]
fn a_client_that_leaves_is_not_served_by_a_second_attempt() {
    let up = answering(vec![refusal(503, &[("retry-after", "1")])]);
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", false));
    eventually("the upstream was asked", || up.seen().len() == 1);
    drop(client);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(up.seen().len(), 1);
}

/// R3's clock: a second attempt has no time of its own.
#[test]
fn both_attempts_share_one_clock() {
    let first = Arc::new(AtomicUsize::new(0));
    let up = Upstream::start(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(600));
            conn.write(refusal(503, &[]));
            conn.close();
        } else {
            conn.hang();
        }
    });
    let mut config = config(&up.base());
    config.upstream_timeout = Duration::from_millis(1200);
    let proxy = Proxy::start(config);
    let began = std::time::Instant::now();
    let answer = post(proxy.addr, &message("hi", true));
    // The first error is the one that is told.
    assert_eq!((answer.status, up.seen().len()), (529, 2));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1150) && took < Duration::from_millis(1750), "{took:?}");
}
