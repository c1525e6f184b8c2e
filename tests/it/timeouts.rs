//! Every clock towards the upstream, with small values.

use std::time::{Duration, Instant};

use crate::grammar::End;
use crate::support::*;

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn no_answer_is_504() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.hang();
        }
    });
    let mut config = config(&up.base());
    config.upstream_timeout = SHORT;
    let proxy = Proxy::start(config);
    for stream in [false, true] {
        let answer = post(proxy.addr, &message("hi", stream));
        assert_eq!(answer.status, 504);
        let (kind, message) = answer.error();
        assert_eq!(
            (kind.as_str(), message.as_str()),
            ("timeout_error", "upstream up.example: no answer within 300 ms")
        );
    }
    eventually("both were let go", || up.gone() == 2);
}

#[test]
fn a_head_without_an_event_is_504_too() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.hang();
        }
    });
    let mut config = config(&up.base());
    config.upstream_timeout = SHORT;
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &message("hi", true));
    assert_eq!((answer.status, answer.error().0.as_str()), (504, "timeout_error"));
}

#[test]
fn whole_answers_are_bounded_in_total() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_none() {
            return;
        }
        conn.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{");
        for _ in 0..100 {
            if !conn.write(" ") {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut config = config(&up.base());
    config.upstream_timeout = SHORT;
    let proxy = Proxy::start(config);
    let began = Instant::now();
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!((answer.status, answer.error().0.as_str()), (504, "timeout_error"));
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[test]
fn connecting_is_bounded() {
    // A full backlog: the kernel drops further SYNs, so that connecting hangs.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let _fill: Vec<_> =
        (0..3).map(|_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200))).collect();
    let mut config = config(&format!("http://{addr}"));
    config.connect_timeout = SHORT;
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!(answer.status, 504);
    let (kind, message) = answer.error();
    assert_eq!(
        (kind.as_str(), message.as_str()),
        ("timeout_error", "upstream up.example: no connection within 300 ms")
    );
}

#[test]
fn silence_in_a_stream_ends_it_and_pings_do_not_hide_it() {
    let up = Upstream::one_word();
    let mut config = config(&up.base());
    config.stream_idle_timeout = Duration::from_millis(900);
    config.ping_interval = Duration::from_millis(200);
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &message("hi", true));
    let (events, end) = answer.events();
    assert_eq!((answer.status, end, answer.complete), (200, End::Error, true));
    assert!(events.iter().filter(|e| e["type"] == "ping").count() >= 2, "{events:?}");
    let error = &events.last().unwrap()["error"];
    // No block was complete: clients re-issue only this type.
    assert_eq!(error["type"], "overloaded_error");
    assert_eq!(error["message"], "upstream up.example: it sent nothing for 900 ms");
    assert_eq!(answer.text(), "one");
    eventually("the upstream was let go", || up.gone() == 1);
}

#[test]
fn comments_are_signs_of_life() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_none() {
            return;
        }
        conn.stream_head();
        conn.chunk(text("early "));
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(200));
            conn.chunk(": PROCESSING\n\n");
        }
        for event in [&text("late"), &finish("stop"), &usage(), DONE] {
            conn.chunk(event);
        }
        conn.end_chunks();
    });
    let mut config = config(&up.base());
    config.stream_idle_timeout = Duration::from_millis(900);
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &message("hi", true));
    assert_eq!((answer.events().1, answer.text().as_str()), (End::Complete, "early late"));
}

#[test]
fn a_quiet_stream_is_pinged_and_goes_on() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_none() {
            return;
        }
        conn.stream_head();
        conn.chunk(text("a"));
        std::thread::sleep(Duration::from_millis(700));
        for event in [&text("b"), &finish("stop"), &usage(), DONE] {
            conn.chunk(event);
        }
        conn.end_chunks();
    });
    let mut config = config(&up.base());
    config.ping_interval = Duration::from_millis(200);
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &message("hi", true));
    let (events, end) = answer.events();
    assert_eq!((end, answer.text().as_str()), (End::Complete, "ab"));
    let pings = events.iter().filter(|e| e["type"] == "ping").count();
    assert!((1..=4).contains(&pings), "{pings}");
}
