//! R16: SIGTERM: `/ready` 503, no new work, streams finish, at the deadline error events, exit
//! 0; a second signal ends now.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::program::Program;
use crate::support::*;

#[test]
fn a_stream_across_the_signal_finishes() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_none() {
            return;
        }
        conn.stream_head();
        for n in 0..25 {
            conn.chunk(text(&format!("w{n} ")));
            std::thread::sleep(Duration::from_millis(100));
        }
        for event in [&finish("stop"), &usage(), DONE] {
            conn.chunk(event);
        }
        conn.end_chunks();
    });
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("w0 ");
    let status = |path: &str| ask(proxy.addr, "GET", path, &[], b"").status;
    assert_eq!(status("/ready"), 200);

    proxy.signal();
    eventually("not ready any more", || status("/ready") == 503);
    assert_eq!(status("/health"), 200, "alive all the same");
    eventually("nothing new is accepted", || std::net::TcpStream::connect(proxy.addr).is_err());

    let answer = client.answer();
    assert_eq!((answer.events().1, answer.complete), (End::Complete, true));
    assert!(answer.text().ends_with("w24 "));
    proxy.join();
}

#[test]
fn at_the_deadline_clients_are_told() {
    let up = Upstream::one_word();
    let mut config = config(&up.base());
    config.shutdown_grace = Duration::from_millis(1500);
    let proxy = Proxy::start(config);
    let mut client = Client::streaming(proxy.addr);
    proxy.signal();
    let answer = client.answer();
    let (events, end) = answer.events();
    assert_eq!((end, answer.complete), (End::Error, true));
    assert_eq!(events.last().unwrap()["error"]["type"], "overloaded_error");
    proxy.join();
}

#[test]
fn whole_requests_are_told_too() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.hang();
        }
    });
    let mut config = config(&up.base());
    config.shutdown_grace = Duration::from_millis(1500);
    let proxy = Proxy::start(config);
    for stream in [false, true] {
        let mut client = Client::connect(proxy.addr);
        client.send("POST", "/v1/messages", &[], &message("hi", stream));
        eventually("the upstream was asked", || up.seen().len() == 1 + usize::from(stream));
        if !stream {
            continue;
        }
        proxy.signal();
        let answer = client.answer();
        assert_eq!((answer.status, answer.error().0.as_str()), (529, "overloaded_error"));
    }
    proxy.join();
}

#[test]
fn a_second_signal_ends_at_once() {
    let up = Upstream::one_word();
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::streaming(proxy.addr);
    proxy.signal();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!proxy.has_ended());
    proxy.signal();
    eventually("it ended", || proxy.has_ended());
    assert!(!client.answer().complete);
}

/// Load balancers that have not looked yet still send requests: they are answered, on connections
/// that close, so that the next request goes elsewhere.
#[test]
fn a_lame_duck_still_answers_and_closes_its_connections() {
    let up = Upstream::hello();
    let proxy = Proxy::start(config(&up.base()));
    // Before: kept open.
    let mut kept: Vec<Client> = (0..3).map(|_| Client::connect(proxy.addr)).collect();
    for client in &mut kept {
        client.send("GET", "/health", &[], b"");
        assert_eq!(client.answer().header("connection"), None);
    }
    proxy.signal();
    eventually("it has begun", || ask(proxy.addr, "GET", "/ready", &[], b"").status == 503);
    let mut idle = kept.pop().unwrap();
    for (n, client) in kept.iter_mut().enumerate() {
        client.send("POST", "/v1/messages", &[], &message("hi", n == 0));
        let answer = client.answer();
        assert_eq!((answer.status, answer.complete), (200, true));
        assert_eq!(answer.header("connection"), Some("close"), "{}", answer.head);
        assert!(client.is_closed());
    }
    let new = post(proxy.addr, &message("hi", true));
    assert_eq!((new.status, new.text().as_str()), (200, "hello"), "a new connection too");
    // One that nobody uses holds nobody up.
    let began = Instant::now();
    eventually("it ended", || proxy.has_ended());
    assert!(idle.is_closed());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

/// actix takes no further order once it waits for connections to end, so this has its own test.
#[test]
fn a_second_signal_after_the_lame_duck_ends_at_once_too() {
    let up = Upstream::one_word();
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::streaming(proxy.addr);
    proxy.signal();
    eventually("nothing new is accepted", || std::net::TcpStream::connect(proxy.addr).is_err());
    std::thread::sleep(Duration::from_millis(200));
    assert!(!proxy.has_ended());
    let began = Instant::now();
    proxy.signal();
    eventually("it ended", || proxy.has_ended());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(!client.answer().complete);
    eventually("the upstream is let go", || up.gone() == 1);
}

/// At the deadline its stream is told, but it does not listen: it is not waited for.
#[test]
fn a_client_that_does_not_read_is_not_waited_for() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            let much = text(&"x".repeat(64 << 10));
            while conn.chunk(&much) {}
        }
    });
    let mut config = config(&up.base());
    config.shutdown_grace = Duration::from_millis(1200);
    let proxy = Proxy::start(config);
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("message_start");
    // Until every buffer on the way is full.
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    proxy.signal();
    eventually("it ended", || proxy.has_ended());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

fn file(up: &Upstream, more: Value) -> String {
    let mut config = json!({"port": 0, "providers": [{"name": "up", "base_url": up.base(), "api_key": "",
        "models": [{"id": "m"}]}]});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config.to_string()
}

/// Says `one `, then `two` a good while later.
fn slow(pause: Duration) -> Upstream {
    Upstream::start(move |mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("one "));
            std::thread::sleep(pause);
            for event in [&text("two"), &finish("stop"), DONE] {
                conn.chunk(event);
            }
            conn.end_chunks();
        }
    })
}

/// The program: a stream across the signal, one beyond the deadline, and the exit code.
#[cfg(unix)]
#[test]
fn signals_end_the_program_with_success() {
    for name in ["TERM", "INT"] {
        let up = slow(Duration::from_millis(1500));
        let program = Program::start(&["serve"], &file(&up, json!({})));
        let mut client = Client::connect(program.addr());
        client.send("POST", "/v1/messages", &[], &message("hi", true));
        client.until("one ");
        program.signal(name);
        assert_eq!(client.answer().text(), "one two");
        let (code, output) = program.end();
        assert_eq!(code, Some(0), "{output}");
    }
}

#[cfg(unix)]
#[test]
fn the_program_is_gone_soon_after_the_deadline() {
    let up = slow(Duration::from_secs(20));
    let program = Program::start(&["serve"], &file(&up, json!({"shutdown_grace_seconds": 1.5})));
    let mut client = Client::connect(program.addr());
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("one ");
    let began = Instant::now();
    program.signal("TERM");
    let answer = client.answer();
    let (events, end) = answer.events();
    assert_eq!((end, answer.complete), (End::Error, true));
    assert_eq!(events.last().unwrap()["error"]["type"], "overloaded_error");
    let (code, output) = program.end();
    assert_eq!(code, Some(0), "{output}");
    // Deadline + 1 s, and a little for a machine that is busy.
    assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_program_now() {
    for pause in [200, 1300] {
        let up = slow(Duration::from_secs(20));
        let mut program = Program::start(&["serve"], &file(&up, json!({})));
        let _client = Client::streaming(program.addr());
        program.signal("TERM");
        std::thread::sleep(Duration::from_millis(pause));
        assert!(!program.has_ended());
        program.signal("TERM");
        assert_eq!(program.end().0, Some(0));
    }
}

/// A reload neither keeps the program nor counts; before, it moves the deadline.
#[cfg(unix)]
#[test]
fn sighup_on_the_way_out_is_ignored() {
    let up = slow(Duration::from_millis(1500));
    let config = file(&up, json!({"shutdown_grace_seconds": 0.1}));
    let program = Program::start(&["serve", "--log-format", "json"], &config);
    let path = program.dir().join("config.json");
    let mut client = Client::connect(program.addr());
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("one ");
    std::fs::write(&path, file(&up, json!({"shutdown_grace_seconds": 20}))).unwrap();
    program.signal("HUP");
    eventually("reloaded", || program.lines("the configuration was reloaded").len() == 1);
    program.signal("TERM");
    std::thread::sleep(Duration::from_millis(100));
    std::fs::write(&path, file(&up, json!({"shutdown_grace_seconds": 0}))).unwrap();
    program.signal("HUP");
    eventually("it is ignored", || {
        program.lines("shutting down: the configuration is not read again").len() == 1
    });
    assert_eq!(client.answer().text(), "one two", "the deadline is that of the reload before");
    let (code, output) = program.end();
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(output.matches("the configuration was reloaded").count(), 1, "{output}");
}
