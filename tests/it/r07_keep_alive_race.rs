//! R7: a pooled connection that closes while the next request is on its way costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::program::Program;
use crate::support::upstream::ok;
use crate::support::*;

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

/// Every pooled connection is one that will close: the second attempt must not take the next.
#[test]
fn the_second_attempt_has_a_connection_of_its_own() {
    const MANY: usize = 20;
    let there = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&there);
    let up = Upstream::start(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        count.fetch_add(1, Ordering::SeqCst);
        // All at once, so that each has a connection.
        while count.load(Ordering::SeqCst) < MANY {
            std::thread::sleep(Duration::from_millis(2));
        }
        conn.write(ok(&completion("hello")));
        // The idle clock runs out at the very moment the next request comes.
        if conn.number < MANY {
            conn.request();
            conn.close();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let mut clients: Vec<Client> = (0..MANY).map(|_| Client::connect(proxy.addr)).collect();
    for client in &mut clients {
        client.send("POST", "/v1/messages", &[], &message("hi", false));
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    for n in 1..=MANY {
        let answer = post(proxy.addr, &message("hi", n % 2 == 0));
        assert_eq!(answer.status, 200, "{n}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!((up.seen().len(), up.connections()), (MANY + 2 * n, MANY + n));
    }
}

/// It is no second attempt in the sense of R3: nothing was answered, and no budget is touched.
#[test]
fn the_log_counts_it() {
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.write(ok(&completion("hello")));
            if conn.number == 0 {
                conn.request();
                return;
            }
        }
    });
    let config = format!(
        r#"{{"port": 0, "workers": 1, "providers": [{{"name": "p", "base_url": "{}", "api_key": "",
            "models": [{{"id": "m"}}]}}]}}"#,
        up.base()
    );
    let program = Program::start(&["serve"], &config);
    for _ in 0..2 {
        assert_eq!(post(program.addr(), &message("hi", false)).status, 200);
    }
    eventually("both are in the log", || program.output().matches("outcome=\"done\"").count() == 2);
    let output = program.output();
    assert_eq!(output.matches("attempts=1 retries=0").count(), 1, "{output}");
    assert_eq!(output.matches("attempts=2 retries=1").count(), 1, "{output}");
    assert_eq!(up.seen().len(), 3);
}
