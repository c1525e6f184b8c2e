//! The way out: streams finish, at the deadline they are told, a second signal ends all.

use std::time::Duration;

use crate::grammar::End;
use crate::support::*;

#[test]
fn a_stream_across_the_signal_finishes() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_none() {
            return;
        }
        conn.stream_head();
        for n in 0..25 {
            conn.chunk(text(&format!("w{n} ")));
            std::thread::sleep(Duration::from_millis(100));
        }
        for event in [&finish("stop"), &usage(), DONE] {
            conn.chunk(event);
        }
        conn.end_chunks();
    });
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("w0 ");
    let mut probe = Client::connect(proxy.addr);
    probe.send("GET", "/ready", &[], b"");
    assert_eq!(probe.answer().status, 200);

    proxy.signal();
    eventually("not ready any more", || {
        probe.send("GET", "/ready", &[], b"");
        probe.answer().status == 503
    });
    probe.send("GET", "/health", &[], b"");
    assert_eq!(probe.answer().status, 200, "alive all the same");
    eventually("nothing new is accepted", || std::net::TcpStream::connect(proxy.addr).is_err());

    let answer = client.answer();
    assert_eq!((answer.events().1, answer.complete), (End::Complete, true));
    assert!(answer.text().ends_with("w24 "));
    proxy.join();
}

#[test]
fn at_the_deadline_clients_are_told() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("one"));
            conn.hang();
        }
    });
    let mut config = config(&up.base());
    config.shutdown_grace = Duration::from_millis(1500);
    let proxy = Proxy::start(config);
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("one");
    proxy.signal();
    let answer = client.answer();
    let (events, end) = answer.events();
    assert_eq!((end, answer.complete), (End::Error, true));
    assert_eq!(events.last().unwrap()["error"]["type"], "overloaded_error");
    proxy.join();
}

#[test]
fn whole_requests_are_told_too() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.hang();
        }
    });
    let mut config = config(&up.base());
    config.shutdown_grace = Duration::from_millis(1500);
    let proxy = Proxy::start(config);
    for stream in [false, true] {
        let mut client = Client::connect(proxy.addr);
        client.send("POST", "/v1/messages", &[], &message("hi", stream));
        eventually("the upstream was asked", || up.seen().len() == 1 + usize::from(stream));
        if !stream {
            continue;
        }
        proxy.signal();
        let answer = client.answer();
        assert_eq!((answer.status, answer.error().0.as_str()), (529, "overloaded_error"));
    }
    proxy.join();
}

#[test]
fn a_second_signal_ends_at_once() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("one"));
            conn.hang();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("one");
    proxy.signal();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!proxy.has_ended());
    proxy.signal();
    eventually("it ended", || proxy.has_ended());
    assert!(!client.answer().complete);
}
