//! Overload sheds at once; health answers all the same; room comes back.

use crate::support::*;

#[test]
fn beyond_the_limit_529_at_once() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("one"));
            conn.hang();
        }
    });
    let mut config = config(&up.base());
    config.max_concurrent_requests = 2;
    let proxy = Proxy::start(config);
    let running: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = Client::connect(proxy.addr);
            client.send("POST", "/v1/messages", &[], &message("hi", true));
            client.until("one");
            client
        })
        .collect();

    for stream in [true, false] {
        let answer = post(proxy.addr, &message("hi", stream));
        assert_eq!((answer.status, answer.error().0.as_str()), (529, "overloaded_error"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    for path in ["/health", "/ready", "/v1/models"] {
        assert_eq!(ask(proxy.addr, "GET", path, &[], b"").status, 200, "{path}");
    }
    assert_eq!(up.connections(), 2, "nobody else was sent upstream");

    drop(running);
    eventually("both upstream connections closed", || up.gone() == 2);
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("one");
}
