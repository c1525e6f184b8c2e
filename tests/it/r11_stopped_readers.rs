//! R11: a reader that stopped is cut: TCP_USER_TIMEOUT on accepted sockets, 60 s but in tests.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use crate::grammar::End;
use crate::support::*;

const LIMIT: Duration = Duration::from_secs(1);

/// Endless for `endless`; silent for three limits for `silent`; else quick.
fn upstream() -> Upstream {
    let event = text(&"x".repeat(8000));
    Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let body = String::from_utf8(seen.body).unwrap();
            conn.stream_head();
            if body.contains("endless") {
                conn.small_buffers();
                while conn.chunk(&event) {}
                return conn.wait_gone();
            }
            conn.chunk(text("one"));
            if body.contains("silent") {
                std::thread::sleep(3 * LIMIT);
            }
            conn.chunk([finish("stop"), DONE.to_owned()].concat());
            conn.end_chunks();
        }
    })
}

#[test]
fn a_reader_that_never_reads_is_cut_and_its_upstream_with_it() {
    let up = upstream();
    let proxy = Proxy::start_with(config(&up.base()), |bound| bound.client_write(LIMIT).unwrap());
    let mut stopped: Vec<Client> = (0..4).map(|_| Client::connect_small(proxy.addr)).collect();
    let began = Instant::now();
    for client in &mut stopped {
        client.send("POST", "/v1/messages", &[], &message("endless", true));
    }
    eventually("they run", || proxy.load.running() == 4);
    // Whoever reads, or has nothing to read, is not cut.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let answer = post(proxy.addr, &message("silent", true));
            assert_eq!((answer.events().1, answer.text().as_str()), (End::Complete, "one"));
        });
        scope.spawn(|| {
            let mut client = Client::connect_small(proxy.addr);
            client.send("POST", "/v1/messages", &[], &message("endless", true));
            let mut read = 0;
            while began.elapsed() < 3 * LIMIT {
                let some = client.skip_some(64 << 10);
                assert!(some > 0, "a client that reads was cut after {read} bytes");
                read += some;
            }
        });
        eventually("the stopped ones are cut", || proxy.load.running() <= 2);
        let took = began.elapsed();
        eprintln!(
            "R11 4 clients that never read, limit {LIMIT:?}: cut and their permits back after {:.2} s",
            took.as_secs_f64()
        );
        assert!(took >= LIMIT && took < 5 * LIMIT + Duration::from_secs(2), "{took:?}");
    });
    eventually("their upstreams were let go", || up.gone() == 5);
    eventually("all permits are back", || proxy.load.running() == 0);
    for client in &mut stopped {
        // What the system still has for it, and then the reset.
        while client.skip_some(1 << 20) > 0 {}
        assert!(!client.write("GET /health HTTP/1.1\r\nhost: p\r\n\r\n") || client.skip_some(1) == 0);
    }
    assert_eq!(post(proxy.addr, &message("quick", true)).text(), "one");
}
