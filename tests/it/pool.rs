//! Pooled connections: dead ones are skipped, the keep-alive race costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::upstream::ok;
use crate::support::*;

#[test]
fn connections_are_reused() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    for _ in 0..5 {
        client.send("POST", "/v1/messages", &[], &message("hi", false));
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!((up.seen().len(), up.connections()), (5, 1));
}

#[test]
fn streams_give_their_connection_back() {
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.stream_head();
            for event in [&text("a"), &finish("stop"), &usage(), DONE] {
                conn.chunk(event);
            }
            // The framing's end comes a little later, as from real servers.
            std::thread::sleep(Duration::from_millis(20));
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    for stream in [true, true, true] {
        assert_eq!(post(proxy.addr, &message("hi", stream)).status, 200);
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!((up.seen().len(), up.connections()), (3, 1));
}

#[test]
fn the_keep_alive_race_is_won() {
    // The first request on a connection is answered; the second is read and then the
    // connection closes, as it does when a server's idle clock runs out at that moment.
    for reset in [false, true] {
        let up = Upstream::start(move |mut conn| {
            if conn.request().is_none() {
                return;
            }
            conn.write(ok(&completion("hello")));
            if conn.number == 0 && conn.request().is_some() {
                if reset {
                    conn.reset();
                } else {
                    conn.close();
                }
                return;
            }
            while conn.request().is_some() {
                conn.write(ok(&completion("hello")));
            }
        });
        let proxy = Proxy::start(config(&up.base()));
        let big = message(&"x".repeat(200_000), false);
        for body in [&message("hi", false), &big, &big] {
            let answer = post(proxy.addr, body);
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        }
        let seen = up.seen();
        // The second attempt has a connection of its own, which is not kept.
        assert_eq!((seen.len(), up.connections()), (4, 3));
        assert_eq!(seen[1].body, seen[2].body, "sent again byte for byte");
    }
}

#[test]
fn a_new_connection_that_closes_is_not_tried_again() {
    let up = Upstream::start(|mut conn| {
        conn.request();
        conn.close();
    });
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!(answer.status, 502);
    let (kind, message) = answer.error();
    assert_eq!(kind, "api_error");
    assert!(message.contains("closed the connection without an answer"), "{message}");
    assert_eq!(up.seen().len(), 1);
}

/// awc's liveness probe is fooled by tokio's cooperative budget once more than about 128
/// dead connections are in the pool.
#[test]
fn a_pool_full_of_dead_connections_harms_nobody() {
    const MANY: usize = 300;
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let up = Upstream::start(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        if conn.number >= MANY {
            // After the restart: a server as they are.
            conn.write(ok(&completion("hello")));
            while conn.request().is_some() {
                conn.write(ok(&completion("hello")));
            }
            return;
        }
        // All at once, so that no connection is used twice.
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        conn.write(ok(&completion("hello")));
        // Closes when the client has the answer: all connections die idle in the pool.
        std::thread::sleep(Duration::from_millis(300));
        conn.close();
    });
    let proxy = Proxy::start(config(&up.base()));
    let mut clients: Vec<Client> = (0..MANY)
        .map(|_| {
            let mut client = Client::connect(proxy.addr);
            client.send("POST", "/v1/messages", &[], &message("hi", false));
            client
        })
        .collect();
    eventually("all are upstream", || up.seen().len() == MANY);
    open.store(true, Ordering::SeqCst);
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    std::thread::sleep(Duration::from_millis(600));
    let before = up.seen().len();
    for _ in 0..20 {
        let answer = post(proxy.addr, &message("hi", false));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
    assert_eq!(up.seen().len() - before, 20);
    assert_eq!(up.connections(), MANY + 1, "dead connections were skipped, not tried");
}
