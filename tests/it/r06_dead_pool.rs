//! R6: dead pooled connections are skipped, not tried: an upstream that restarts costs nobody a
//! retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::upstream::ok;
use crate::support::*;

/// awc's liveness probe is fooled by tokio's cooperative budget once more than about 128
/// dead connections are in the pool.
#[test]
fn a_pool_full_of_dead_connections_harms_nobody() {
    const MANY: usize = 600;
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
