//! R9: a client that goes takes its upstream request with it, at once: its permit, its
//! descriptors, and without an error in the log.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::program::Program;
use crate::support::tls::{self, Authority};
use crate::support::upstream::Conn;
use crate::support::*;

/// What the promise says, and what a busy machine may take.
const PROMISED: Duration = Duration::from_millis(100);
const GENEROUS: Duration = Duration::from_secs(1);

const WAYS: [&str; 3] = ["closes", "resets", "half-closes"];

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

/// Where the exchange is when its client leaves: how far the upstream goes, whether a stream
/// was asked for, and what the client has seen by then.
const STATES: [(&str, bool, &str); 7] = [
    ("before the head", true, ""),
    ("before the head", false, ""),
    ("head", true, ""),
    ("endless", true, "one"),
    ("silence", true, "one"),
    ("half a completion", false, ""),
    // A stream that is folded into one answer.
    ("silence", false, ""),
];

fn play(conn: &mut Conn, state: &str) {
    match state {
        "head" => conn.stream_head(),
        "silence" => {
            conn.stream_head();
            conn.chunk(text("one"));
        }
        "half a completion" => {
            conn.write(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":",
            );
        }
        "endless" => {
            conn.stream_head();
            while conn.chunk(text("one")) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        _ => {}
    }
}

/// An upstream that does what the request says and tells when its client has closed.
struct Watched {
    up: Upstream,
    gone: Receiver<Instant>,
}

fn watched() -> Watched {
    let (told, gone) = channel();
    let told = Mutex::new(told);
    let up = Upstream::start(move |mut conn| {
        let told = told.lock().unwrap().clone();
        while let Some(seen) = conn.request() {
            let state = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
            if state == "quick" {
                let stream = seen.json()["stream"] == true;
                if stream {
                    conn.stream(&[&text("quick"), &finish("stop"), DONE]);
                } else {
                    conn.write(upstream::ok(&completion("quick")));
                }
                continue;
            }
            play(&mut conn, &state);
            conn.until_gone();
            let _ = told.send(Instant::now());
            return;
        }
    });
    Watched { up, gone }
}

/// Leaves in one state and returns how long the upstream's side stayed open.
fn once(addr: std::net::SocketAddr, watched: &Watched, state: (&str, bool, &str), how: &str) -> Duration {
    once_as(Client::connect(addr), watched, state, how)
}

fn once_as(mut client: Client, watched: &Watched, state: (&str, bool, &str), how: &str) -> Duration {
    let (what, stream, sight) = state;
    let before = watched.up.seen().len();
    client.send("POST", "/v1/messages", &[], &message(what, stream));
    eventually("the upstream was asked", || watched.up.seen().len() > before);
    if sight.is_empty() {
        // What the upstream sent, if anything, has come to the proxy.
        std::thread::sleep(Duration::from_millis(20));
    } else {
        client.until(sight);
    }
    let left = Instant::now();
    let kept = leave(how, client);
    let gone = watched.gone.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{state:?} {how}: {e}"));
    drop(kept);
    gone.saturating_duration_since(left)
}

/// Says how long it took, and that it was not too long.
fn judge(name: &str, mut took: Vec<(Duration, String)>) {
    took.sort();
    let (median, (worst, at)) = (took[took.len() / 2].0, took.last().unwrap());
    let late = took.iter().filter(|(t, _)| *t > PROMISED).count();
    eprintln!(
        "R9 {name}: {} clients left; the upstream was let go after {:.1} ms (median), {:.1} ms at most ({at}); \
         {late} took more than {} ms",
        took.len(),
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3,
        PROMISED.as_millis()
    );
    assert!(*worst <= GENEROUS, "{worst:?}: {at}");
}

#[test]
fn the_upstream_and_the_permit_are_let_go_at_once() {
    let watched = watched();
    let proxy = Proxy::start(config(&watched.up.base()));
    let mut took = Vec::new();
    for _ in 0..3 {
        for state in STATES {
            for how in WAYS {
                let time = once(proxy.addr, &watched, state, how);
                took.push((time, format!("{} {how}, stream {}", state.0, state.1)));
                let left = Instant::now();
                eventually("the permit is back", || proxy.load.running() == 0);
                assert!(left.elapsed() <= GENEROUS);
            }
        }
    }
    judge("in process", took);
    assert_eq!(post(proxy.addr, &message("quick", true)).text(), "quick");
}

#[test]
fn many_at_once() {
    const MANY: usize = 200;
    let watched = watched();
    let proxy = Proxy::start(config(&watched.up.base()));
    let clients: Vec<Client> = (0..MANY)
        .map(|n| {
            let mut client = Client::connect(proxy.addr);
            let state = ["before the head", "silence"][n % 2];
            client.send("POST", "/v1/messages", &[], &message(state, true));
            client
        })
        .collect();
    eventually("all are asked", || watched.up.seen().len() == MANY);
    assert_eq!(proxy.load.running(), MANY);
    let left = Instant::now();
    for (n, client) in clients.into_iter().enumerate() {
        leave(WAYS[n % 2], client);
    }
    let mut last = left;
    for _ in 0..MANY {
        last = last.max(watched.gone.recv_timeout(PATIENCE).expect("it is let go"));
    }
    eventually("the permits are back", || proxy.load.running() == 0);
    let took = last.saturating_duration_since(left);
    eprintln!(
        "R9 {MANY} clients left at once: the last upstream was let go after {:.1} ms",
        took.as_secs_f64() * 1e3
    );
    assert!(took <= 2 * GENEROUS, "{took:?}");
}

/// A client that leaves while it still sends never gets to an upstream.
#[test]
fn while_the_request_is_being_sent() {
    let watched = watched();
    let proxy = Proxy::start(config(&watched.up.base()));
    for how in WAYS {
        for chunked in [false, true] {
            let mut client = Client::connect(proxy.addr);
            let head = if chunked {
                "transfer-encoding: chunked\r\n\r\n5\r\n{\"mod"
            } else {
                "content-length: 5000\r\n\r\n{\"mod"
            };
            client.write(format!("POST /v1/messages HTTP/1.1\r\nhost: p\r\n{head}"));
            eventually("its body is being received", || proxy.load.receiving() == 1);
            assert_eq!(proxy.load.running(), 0, "it is admitted when its body is whole");
            let left = Instant::now();
            let _kept = leave(how, client);
            eventually("nobody waits for the rest", || proxy.load.receiving() == 0);
            assert!(left.elapsed() <= GENEROUS, "{how}");
        }
    }
    assert_eq!(watched.up.connections(), 0);
}

/// The upstream does not read, so that the request is still on its way up when its client leaves.
#[test]
fn while_the_request_is_being_passed_on() {
    let (told, gone) = channel();
    let told = Mutex::new(told);
    let up = Upstream::start(move |mut conn| {
        let told = told.lock().unwrap().clone();
        conn.small_buffers();
        // Reads its head, and nothing more for as long as the buffers last.
        std::thread::sleep(Duration::from_millis(300));
        while conn.request().is_some() {}
        let _ = told.send(Instant::now());
    });
    let proxy = Proxy::start(config(&up.base()));
    for (n, how) in WAYS.into_iter().enumerate() {
        let mut client = Client::connect(proxy.addr);
        client.send("POST", "/v1/messages", &[], &message(&"x".repeat(16 << 20), true));
        eventually("the upstream is connected", || up.connections() == n + 1);
        std::thread::sleep(Duration::from_millis(100));
        let left = Instant::now();
        let _kept = leave(how, client);
        eventually("the permit is back", || proxy.load.running() == 0);
        assert!(left.elapsed() <= GENEROUS, "{how}");
        gone.recv_timeout(PATIENCE).expect("the upstream was let go");
    }
    assert!(up.seen().is_empty(), "no request came through whole");
}

#[test]
fn the_program_says_client_gone_and_keeps_no_descriptors() {
    let watched = watched();
    let config = json!({"port": 0, "workers": 2, "providers": [{"name": "up", "base_url": watched.up.base(),
        "api_key": "k", "models": [{"id": "m"}]}]});
    let program = Program::start(&["serve", "--log-format", "json"], &config.to_string());
    let addr = program.addr();
    // Connections of its own to the upstream are pooled from here on.
    for stream in [true, false] {
        assert_eq!(post(addr, &message("quick", stream)).status, 200);
    }
    eventually("its two lines", || program.lines("request").len() == 2);
    #[cfg(target_os = "linux")]
    let before = program.descriptors();
    let mut took = Vec::new();
    for state in STATES {
        for how in WAYS {
            took.push((once(addr, &watched, state, how), format!("{} {how}", state.0)));
        }
    }
    let mut left = took.len();
    for how in WAYS {
        let mut client = Client::connect(addr);
        client.write("POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: 5000\r\n\r\n{\"model\":");
        std::thread::sleep(Duration::from_millis(20));
        let _kept = leave(how, client);
        left += 1;
    }
    eventually("a line for each", || program.lines("request").len() == 2 + left);
    let lines = program.lines("request");
    let outcome = |name: &str| lines.iter().filter(|l| l["outcome"] == name).count();
    assert_eq!((outcome("done"), outcome("client_gone")), (2, left), "{lines:#?}");
    assert!(lines.iter().all(|l| l["level"] == "INFO"), "{lines:#?}");
    assert!(!program.output().contains("\"level\":\"ERROR\""), "{}", program.output());
    #[cfg(target_os = "linux")]
    {
        eventually("its descriptors are back", || program.descriptors() <= before);
        eprintln!("R9 descriptors: {before} before {left} clients left, {} after", program.descriptors());
    }
    judge("the program", took);
    assert_eq!(post(addr, &message("quick", true)).text(), "quick");
}

/// The same for clients that come by TLS; none of them says close_notify.
#[test]
fn clients_over_tls() {
    let watched = watched();
    let authority = Authority::new("Test CA");
    let issued = authority.issue(&["127.0.0.1"], |_| {});
    let config = json!({"port": 0, "tls": {"cert": "cert.pem", "key": "key.pem"},
        "providers": [{"base_url": watched.up.base(), "api_key": "k", "models": [{"id": "m"}]}]});
    let program = Program::start_in(&["serve", "--log-format", "json"], &config.to_string(), |dir, _| {
        std::fs::write(dir.join("cert.pem"), issued.certificate.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), issued.key.serialize_pem()).unwrap();
    });
    let tls = tls::client(&authority, &[]);
    let mut took = Vec::new();
    for state in STATES {
        for how in WAYS {
            let client = Client::connect_tls(program.addr(), &tls, "127.0.0.1").unwrap();
            took.push((once_as(client, &watched, state, how), format!("{} {how}", state.0)));
        }
    }
    let left = took.len();
    eventually("a line for each", || program.lines("request").len() == left);
    let lines = program.lines("request");
    assert!(lines.iter().all(|l| l["outcome"] == "client_gone" && l["level"] == "INFO"), "{lines:#?}");
    judge("over TLS", took);
}

/// What was in the middle of being written when its client left is lost, and nothing else.
#[test]
fn other_clients_of_the_same_worker_go_on() {
    let watched = watched();
    let proxy = Proxy::start(config(&watched.up.base()));
    let stay = Arc::new(Mutex::new(Client::connect(proxy.addr)));
    stay.lock().unwrap().send("POST", "/v1/messages", &[], &message("silence", true));
    stay.lock().unwrap().until("one");
    for how in WAYS {
        once(proxy.addr, &watched, ("endless", true, "one"), how);
        assert_eq!(proxy.load.running(), 1, "the one that stays");
        assert_eq!(post(proxy.addr, &message("quick", false)).status, 200);
        assert_eq!(ask(proxy.addr, "GET", "/health", &[], b"").status, 200);
    }
}
