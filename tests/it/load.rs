//! Many streams at once, and readers that do not keep up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::grammar::End;
use crate::support::*;

#[test]
fn streams_do_not_mix() {
    const MANY: usize = 120;
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            // Says back what it was asked, in pieces that are cut anywhere.
            let name = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
            let words: Vec<String> = (0..20).map(|n| text(&format!("{name}-{n} "))).collect();
            let mut wire = words.concat();
            wire.push_str(&finish("stop"));
            wire.push_str(DONE);
            conn.stream_head();
            for piece in wire.as_bytes().chunks(61) {
                conn.chunk(piece);
            }
            conn.end_chunks();
        }
    });
    let mut config = config(&up.base());
    config.workers = 2;
    let proxy = Proxy::start(config);
    let addr = proxy.addr;
    let clients: Vec<_> = (0..MANY)
        .map(|n| {
            std::thread::spawn(move || {
                let name = format!("client{n}");
                let answer = post(addr, &message(&name, true));
                assert_eq!(answer.events().1, End::Complete);
                let want: Vec<String> = (0..20).map(|n| format!("{name}-{n} ")).collect();
                assert_eq!(answer.text(), want.concat());
                answer.header("request-id").unwrap().to_owned()
            })
        })
        .collect();
    let ids: std::collections::HashSet<String> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    assert_eq!(ids.len(), MANY);
}

#[test]
fn a_reader_that_stops_slows_its_upstream_and_nobody_else() {
    let written = Arc::new(AtomicUsize::new(0));
    let endless = Arc::new(AtomicBool::new(true));
    let (count, first) = (Arc::clone(&written), Arc::clone(&endless));
    let up = Upstream::start(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        if !first.swap(false, Ordering::SeqCst) {
            return conn.stream(&[&text("quick"), &finish("stop"), DONE]);
        }
        conn.stream_head();
        let event = text(&"x".repeat(8000));
        while conn.chunk(&event) {
            count.fetch_add(event.len(), Ordering::SeqCst);
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    let mut before = 0;
    eventually("the upstream stands still", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = written.load(Ordering::SeqCst);
        let still = now > 0 && now == before;
        before = now;
        still
    });
    // What the kernel's buffers of four sockets hold, and little of ours.
    assert!(before < 64 << 20, "{before} bytes were read for a client that reads none");
    assert_eq!(post(proxy.addr, &message("hi", true)).text(), "quick");
    drop(client);
}
