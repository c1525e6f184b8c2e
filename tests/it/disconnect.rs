//! A client that goes takes its upstream request with it.

use crate::support::*;

/// How a client leaves.
fn leave(how: &str, client: Client) -> Option<Client> {
    match how {
        "closes" => drop(client),
        "resets" => client.reset(),
        _ => {
            client.half_close();
            return Some(client);
        }
    }
    None
}

#[test]
fn before_the_upstream_answered() {
    for stream in [true, false] {
        for how in ["closes", "resets", "half-closes"] {
            let up = Upstream::start(|mut conn| {
                if conn.request().is_some() {
                    conn.hang();
                }
            });
            let proxy = Proxy::start(config(&up.base()));
            let mut client = Client::connect(proxy.addr);
            client.send("POST", "/v1/messages", &[], &message("hi", stream));
            eventually("the upstream was asked", || up.seen().len() == 1);
            let _kept = leave(how, client);
            eventually("the upstream was let go", || up.gone() == 1);
        }
    }
}

#[test]
fn in_the_middle_of_a_stream_and_in_its_silence() {
    for endless in [true, false] {
        for how in ["closes", "resets", "half-closes"] {
            let up = Upstream::start(move |mut conn| {
                if conn.request().is_none() {
                    return;
                }
                conn.stream_head();
                conn.chunk(text("one"));
                if endless {
                    while conn.chunk(text("more")) {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                }
                conn.hang();
            });
            let proxy = Proxy::start(config(&up.base()));
            let mut client = Client::connect(proxy.addr);
            client.send("POST", "/v1/messages", &[], &message("hi", true));
            client.until("one");
            let _kept = leave(how, client);
            eventually("the upstream was let go", || up.gone() == 1);
            assert_eq!(ask(proxy.addr, "GET", "/health", &[], b"").status, 200);
        }
    }
}
