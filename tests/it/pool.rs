//! Pooled connections are used again.

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
