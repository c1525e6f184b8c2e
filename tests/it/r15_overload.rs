//! R15: overload sheds at once (529, `retry-after`); health answers all the same; room comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::grammar::End;
use crate::support::upstream::ok;
use crate::support::*;

#[test]
fn of_200_clients_8_are_served_and_the_others_told_at_once() {
    const LIMIT: usize = 8;
    const CLIENTS: usize = 200;
    let go = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&go);
    let up = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("one "));
            while !told.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            for event in [&text("two"), &finish("stop"), DONE] {
                conn.chunk(event);
            }
            conn.end_chunks();
        }
    });
    let mut config = config(&up.base());
    config.max_concurrent_requests = LIMIT;
    config.workers = 2;
    let proxy = Proxy::start(config);
    let addr = proxy.addr;

    let began = Instant::now();
    let refused = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let refused = Arc::clone(&refused);
            std::thread::spawn(move || {
                let answer = post(addr, &message("hi", n % 4 != 0));
                if answer.status == 529 {
                    assert_eq!(answer.error().0, "overloaded_error");
                    assert_eq!(answer.header("retry-after"), Some("1"));
                    refused.fetch_add(1, Ordering::SeqCst);
                    return false;
                }
                assert_eq!(answer.status, 200);
                true
            })
        })
        .collect();
    // While the eight hold all the room.
    eventually("all others are told", || refused.load(Ordering::SeqCst) == CLIENTS - LIMIT);
    let at = began.elapsed();
    for path in ["/health", "/ready", "/status", "/", "/v1/models"] {
        assert_eq!(ask(addr, "GET", path, &[], b"").status, 200, "{path}");
    }
    let counted = ask(addr, "POST", "/v1/messages/count_tokens", &[], &message("hi", false));
    assert_eq!(counted.status, 529, "counting is work, too");
    assert_eq!(up.connections(), LIMIT, "nobody else was sent upstream");

    go.store(true, Ordering::SeqCst);
    let served = clients.into_iter().map(|c| c.join().unwrap()).filter(|served| *served).count();
    assert_eq!(served, LIMIT);
    // And the room is there again: exactly as much as before.
    for _ in 0..3 {
        let again: Vec<_> =
            (0..LIMIT).map(|_| std::thread::spawn(move || post(addr, &message("hi", true)))).collect();
        for client in again {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.events().1), (200, End::Complete));
        }
    }
    eprintln!("overload: {LIMIT} of {CLIENTS} served, the others told within {at:?}");
}

#[test]
fn room_comes_back_when_clients_leave() {
    let up = Upstream::one_word();
    let mut config = config(&up.base());
    config.max_concurrent_requests = 2;
    let proxy = Proxy::start(config);
    let running: Vec<Client> = (0..2).map(|_| Client::streaming(proxy.addr)).collect();
    for stream in [true, false] {
        let answer = post(proxy.addr, &message("hi", stream));
        assert_eq!((answer.status, answer.error().0.as_str()), (529, "overloaded_error"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(up.connections(), 2, "nobody else was sent upstream");
    drop(running);
    eventually("both upstream connections closed", || up.gone() == 2);
    Client::streaming(proxy.addr);
}

/// An upstream that needs 20 ms for an answer.
fn slow_upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while conn.request().is_some() {
            std::thread::sleep(Duration::from_millis(20));
            conn.write(ok(&completion("hello")));
        }
    })
}

#[test]
fn a_client_that_floods_one_connection_takes_one_place() {
    const FLOOD: usize = 100;
    let up = slow_upstream();
    let mut config = config(&up.base());
    config.max_concurrent_requests = 2;
    let proxy = Proxy::start(config);
    let addr = proxy.addr;
    let flood = std::thread::spawn(move || {
        let mut client = Client::connect(addr);
        for _ in 0..FLOOD {
            client.send("POST", "/v1/messages", &[], &message("flood", false));
        }
        for _ in 0..FLOOD {
            assert_eq!(client.answer().status, 200);
        }
    });
    eventually("the flood has begun", || !up.seen().is_empty());
    let mut polite = 0;
    while !flood.is_finished() {
        assert_eq!(post(addr, &message("polite", false)).status, 200);
        polite += 1;
    }
    flood.join().unwrap();
    assert!(polite > FLOOD / 10, "{polite}");
    eprintln!("flood: {polite} polite requests served beside {FLOOD} pipelined ones, none refused");
}

#[test]
fn a_flood_beyond_the_limit_starves_nobody_who_tries_again() {
    let up = slow_upstream();
    let mut config = config(&up.base());
    config.max_concurrent_requests = 4;
    let proxy = Proxy::start(config);
    let addr = proxy.addr;
    let over = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..16)
        .map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut refused = 0;
                while !over.load(Ordering::SeqCst) {
                    refused += usize::from(post(addr, &message("flood", false)).status == 529);
                    // A refused one that came without a pause would be a flood of refusals alone.
                    std::thread::sleep(Duration::from_millis(2));
                }
                refused
            })
        })
        .collect();
    let began = Instant::now();
    let mut tries = 0;
    for _ in 0..20 {
        loop {
            tries += 1;
            assert!(began.elapsed() < 3 * PATIENCE, "starved after {tries} tries");
            if post(addr, &message("polite", false)).status == 200 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    over.store(true, Ordering::SeqCst);
    let refused: usize = flood.into_iter().map(|f| f.join().unwrap()).sum();
    assert!(refused > 0, "it was a flood");
    eprintln!("flood: 20 polite requests served in {tries} tries while {refused} others were refused");
}
