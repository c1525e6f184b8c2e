//! R10: a slow reader slows its upstream; memory is bounded; others are unharmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::program::Program;
use crate::support::*;

/// Clients that read this much a second.
const SLOW: usize = 50;
const PACE: usize = 1024;
/// What the system may hold for one stream: four buffers of two connections.
const KERNEL: usize = 16 << 20;
/// What the proxy may hold for one stream.
const OURS: usize = 256 << 10;

/// Writes without an end where it is asked for, and counts what went out.
fn endless(written: &Arc<AtomicUsize>) -> Upstream {
    let count = Arc::clone(written);
    let event = text(&"x".repeat(8000));
    Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            if !String::from_utf8(seen.body).unwrap().contains("endless") {
                conn.stream(&[&text("quick"), &finish("stop"), DONE]);
                continue;
            }
            conn.small_buffers();
            conn.stream_head();
            while conn.chunk(&event) {
                count.fetch_add(event.len(), Ordering::SeqCst);
            }
            return conn.wait_gone();
        }
    })
}

#[cfg(target_os = "linux")]
#[test]
fn fifty_slow_readers_cost_little_and_harm_nobody() {
    let written = Arc::new(AtomicUsize::new(0));
    let up = endless(&written);
    let config = json!({"port": 0, "workers": 2, "providers": [{"name": "up", "base_url": up.base(),
        "api_key": "k", "models": [{"id": "m"}]}]});
    let program = Program::start(&["serve", "--log-level", "warn"], &config.to_string());
    let addr = program.addr();
    for _ in 0..20 {
        assert_eq!(post(addr, &message("warm", true)).text(), "quick");
    }
    let before = program.resident();
    let read = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..SLOW {
            scope.spawn(|| {
                let mut client = Client::connect_small(addr);
                client.send("POST", "/v1/messages", &[], &message("endless", true));
                while !over.load(Ordering::SeqCst) {
                    read.fetch_add(client.skip_some(PACE), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(200));
                    for _ in 0..4 {
                        if !over.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(200));
                        }
                    }
                }
            });
        }
        let (mut most, mut before_this, mut still) = (0, 0, 0);
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        // Until nothing moves but what the readers take.
        while still < 4 {
            assert!(began.elapsed() < 6 * PATIENCE, "the upstreams never stood still");
            std::thread::sleep(Duration::from_millis(250));
            let asked = Instant::now();
            assert_eq!(post(addr, &message("quick", true)).text(), "quick");
            slowest = slowest.max(asked.elapsed());
            most = most.max(program.resident());
            let now = written.load(Ordering::SeqCst);
            still = if now > 0 && now - before_this < SLOW * 32 * 1024 { still + 1 } else { 0 };
            before_this = now;
        }
        over.store(true, Ordering::SeqCst);
        let (grown, wrote) = (most.saturating_sub(before), written.load(Ordering::SeqCst));
        eprintln!(
            "R10 {SLOW} clients at {PACE} bytes/s for {:.1} s: {} KiB read, {} KiB written by the upstream, resident \
             memory {} KiB before and {} KiB at most ({} KiB a stream); slowest other request {} ms",
            began.elapsed().as_secs_f64(),
            read.load(Ordering::SeqCst) >> 10,
            wrote >> 10,
            before >> 10,
            most >> 10,
            (grown / SLOW) >> 10,
            slowest.as_millis()
        );
        assert!(wrote < SLOW * KERNEL, "{wrote} bytes were taken from the upstream");
        assert!(grown < SLOW * OURS, "{grown} bytes more");
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    });
    eventually("all upstreams were let go", || up.gone() == SLOW);
}

#[test]
fn a_reader_that_stops_slows_its_upstream_and_nobody_else() {
    let written = Arc::new(AtomicUsize::new(0));
    let up = endless(&written);
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect_small(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("endless", true));
    let mut before = 0;
    eventually("the upstream stands still", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = written.load(Ordering::SeqCst);
        let still = now > 0 && now == before;
        before = now;
        still
    });
    assert!(before < KERNEL, "{before} bytes were read for a client that reads none");
    assert_eq!(post(proxy.addr, &message("hi", true)).text(), "quick");
    // And on again when it reads on.
    let mut read = 0;
    while read < before {
        read += client.skip_some(1 << 20);
    }
    eventually("the upstream goes on", || written.load(Ordering::SeqCst) > before);
}
