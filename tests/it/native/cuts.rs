//! A stream that is cut anywhere is never shown as complete, and what the client has is whole events.

use std::time::Duration;

use super::STREAM;
use crate::support::native::native;
use crate::support::*;

/// From here on the last event is whole but for its blank line, which is made up for.
const COMPLETE: usize = STREAM.len() - 2;
/// The end of the first event.
fn first() -> usize {
    STREAM.find("\n\n").unwrap() + 2
}

/// The length of the events that are whole in the first `cut` bytes.
fn whole_events(cut: usize) -> usize {
    STREAM.as_bytes()[..cut].windows(2).rposition(|w| w == b"\n\n").unwrap() + 2
}

/// Answers with the beginning of the stream that the request names, and breaks off.
fn cutting(reset: bool, chunked: bool) -> Upstream {
    Upstream::start(move |mut conn| {
        let Some(seen) = conn.request() else { return };
        let cut: usize = seen.json()["messages"][0]["content"].as_str().unwrap().parse().unwrap();
        let bytes = &STREAM.as_bytes()[..cut];
        if chunked {
            conn.stream_head();
            for piece in bytes.chunks(300) {
                conn.chunk(piece);
            }
        } else {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            conn.write([head.as_bytes(), bytes].concat());
        }
        if reset {
            // What was sent has to arrive before the reset overtakes it.
            std::thread::sleep(Duration::from_millis(2));
            conn.reset();
        } else {
            conn.close();
        }
    })
}

fn check(cut: usize, answer: &client::Answer, arrived: bool) {
    let body = String::from_utf8(answer.body.clone()).unwrap();
    if answer.status != 200 {
        assert!(cut < first() || !arrived, "{cut}: {body}");
        assert_eq!(answer.status, 502, "{cut}");
        answer.error();
        return;
    }
    if body == STREAM {
        assert!(cut >= COMPLETE, "{cut}");
        return;
    }
    let (passed, error) =
        body.split_at(body.find("event: error\n").unwrap_or_else(|| panic!("{cut}: {body}")));
    assert!(STREAM.starts_with(passed) && passed.ends_with("\n\n"), "{cut}: {passed}");
    assert!(!passed.contains("message_stop"), "{cut}");
    if arrived {
        assert!(cut < COMPLETE, "{cut}");
        let whole = whole_events(cut);
        assert_eq!(passed.len(), whole, "{cut}: every event that came whole has passed");
    }
    assert_eq!(error.matches("\n\n").count(), 1, "{cut}: {error}");
    let error: serde_json::Value =
        serde_json::from_str(error.strip_prefix("event: error\ndata: ").unwrap()).unwrap();
    let kind = if passed.contains("content_block_stop") { "api_error" } else { "overloaded_error" };
    assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &kind.into()), "{cut}");
    assert!(answer.complete, "{cut}");
}

#[test]
fn by_the_end_of_the_connection_at_every_byte() {
    for chunked in [true, false] {
        let up = cutting(false, chunked);
        let proxy = Proxy::start(native(&up.base()));
        for cut in 0..=STREAM.len() {
            check(cut, &post(proxy.addr, &message(&cut.to_string(), true)), true);
        }
    }
}

#[test]
fn by_a_reset() {
    let up = cutting(true, true);
    let proxy = Proxy::start(native(&up.base()));
    for cut in (0..=STREAM.len()).step_by(5) {
        check(cut, &post(proxy.addr, &message(&cut.to_string(), true)), false);
    }
}

#[test]
fn by_silence() {
    let up = Upstream::start(|mut conn| {
        let Some(seen) = conn.request() else { return };
        let cut: usize = seen.json()["messages"][0]["content"].as_str().unwrap().parse().unwrap();
        conn.stream_head();
        if cut > 0 {
            conn.chunk(&STREAM[..cut]);
        }
        conn.hang();
    });
    let mut config = native(&up.base());
    config.stream_idle_timeout = Duration::from_millis(300);
    config.upstream_timeout = Duration::from_secs(1);
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &message("0", true));
    assert_eq!((answer.status, answer.error().0.as_str()), (504, "timeout_error"));
    for cut in [first(), first() + 50, COMPLETE - 60] {
        let answer = post(proxy.addr, &message(&cut.to_string(), true));
        let body = String::from_utf8(answer.body).unwrap();
        let whole = whole_events(cut);
        let error = body.strip_prefix(&STREAM[..whole]).unwrap();
        assert!(
            error.starts_with("event: error\n") && error.contains("it sent nothing for 300 ms"),
            "{error}"
        );
    }
    eventually("every connection was let go", || up.gone() == 4);
}

/// Pings of ours stand between events, also while one of the upstream's is half here.
#[test]
fn pings_stand_between_events() {
    let half = first() + 40;
    let up = Upstream::start(move |mut conn| {
        conn.request();
        conn.stream_head();
        conn.chunk(&STREAM[..half]);
        std::thread::sleep(Duration::from_millis(400));
        conn.chunk(&STREAM[half..]);
        conn.end_chunks();
    });
    let mut config = native(&up.base());
    config.ping_interval = Duration::from_millis(50);
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &message("hi", true));
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let body = String::from_utf8(answer.body).unwrap();
    assert!(body.matches(ping).count() >= 3, "{body}");
    assert_eq!(body.replace(ping, ""), STREAM);
}

#[test]
fn a_client_that_goes_takes_its_request_with_it() {
    for stream in [false, true] {
        for started in [false, true] {
            let up = Upstream::start(move |mut conn| {
                conn.request();
                if started {
                    conn.stream_head();
                    conn.chunk(&STREAM[..first()]);
                }
                conn.hang();
            });
            let proxy = Proxy::start(native(&up.base()));
            let mut client = Client::connect(proxy.addr);
            client.send("POST", "/v1/messages", &[], &message("hi", stream));
            eventually("the upstream was asked", || up.seen().len() == 1);
            if stream && started {
                client.until("message_start");
            }
            drop(client);
            eventually("the upstream was let go", || up.gone() == 1);
        }
    }
}

#[test]
fn a_shutdown_ends_it_with_an_event() {
    let up = Upstream::start(|mut conn| {
        conn.request();
        conn.stream_head();
        conn.chunk(&STREAM[..first() + 30]);
        conn.hang();
    });
    let mut config = native(&up.base());
    config.shutdown_grace = Duration::from_millis(100);
    let proxy = Proxy::start(config);
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("message_start");
    proxy.signal();
    let body = String::from_utf8(client.answer().body).unwrap();
    let error = body.strip_prefix(&STREAM[..first()]).unwrap();
    assert!(error.starts_with("event: error\n") && error.contains("overloaded_error"), "{error}");
    proxy.join();
}

/// Memory for one stream is bounded, and so is a whole answer.
#[test]
fn answers_without_an_end_are_ended() {
    let up = Upstream::start(|mut conn| {
        let Some(seen) = conn.request() else { return };
        conn.stream_head();
        let stream = seen.json()["stream"] == true;
        if stream {
            conn.chunk(&STREAM[..first()]);
        }
        conn.chunk(if stream { "data: {\"x\":\"" } else { "{\"x\":\"" });
        let piece = vec![b'x'; 1 << 20];
        while conn.chunk(&piece) {}
    });
    let proxy = Proxy::start(native(&up.base()));
    let answer = post(proxy.addr, &message("hi", true));
    let body = String::from_utf8(answer.body).unwrap();
    let error = body.strip_prefix(&STREAM[..first()]).unwrap();
    assert!(error.contains("an event of more than 16777216 bytes"), "{error}");
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!(answer.status, 502);
    assert!(answer.error().1.contains("larger than 67108864 bytes"));
}
