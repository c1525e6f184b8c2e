//! The proxy with `tls`: what clients see of it, and what they may do to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::json;

use crate::grammar::End;
use crate::support::client::Answer;
use crate::support::program::Program;
use crate::support::tls::{Authority, Issued, client};
use crate::support::upstream::ok;
use crate::support::*;

/// Answers every request, whole or as a stream.
fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if seen.json()["stream"] == true {
                conn.stream(&[&text("Hi"), &finish("stop"), &usage(), DONE]);
            } else {
                conn.write(ok(&completion("Hi")));
            }
        }
    })
}

fn write(dir: &Path, issued: &Issued) {
    std::fs::write(dir.join("cert.pem"), issued.certificate.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), issued.key.serialize_pem()).unwrap();
}

/// The program with a certificate, in front of this upstream.
fn serve(upstream: &Upstream, issued: &Issued, args: &[&str]) -> Program {
    let config = json!({"port": 0, "ak": "sesame-123", "tls": {"cert": "cert.pem", "key": "key.pem"},
        "workers": 1,
        "providers": [{"base_url": upstream.base(), "api_key": "", "models": [{"id": "m"}]}]});
    Program::start_in(args, &config.to_string(), |dir, _: &mut Command| write(dir, issued))
}

fn ask(client: &mut Client, stream: bool) -> Answer {
    let headers = [("x-api-key", "sesame-123"), ("content-type", "application/json")];
    client.send("POST", "/v1/messages", &headers, &message("Hello", stream));
    client.answer()
}

fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    Client::connect_tls(addr, config, "127.0.0.1").unwrap()
}

#[test]
fn whole_answers_and_streams() {
    let (authority, upstream) = (Authority::new("Test CA"), upstream());
    let program = serve(&upstream, &authority.issue(&["127.0.0.1"], |_| {}), &["serve"]);
    let config = client(&authority, &[]);
    let mut client = connect(program.addr(), &config);
    for stream in [false, true, true, false] {
        let answer = ask(&mut client, stream);
        assert_eq!(answer.status, 200, "{answer:?}");
        if stream {
            assert_eq!((answer.text().as_str(), answer.events().1), ("Hi", End::Complete));
        } else {
            assert_eq!(answer.json()["content"][0]["text"], "Hi");
        }
    }
    // Without the key nobody comes in here either.
    client.send("POST", "/v1/messages", &[], &message("Hello", false));
    assert_eq!(client.answer().status, 401);
    let output = program.output();
    assert!(output.contains("listens on https://127.0.0.1:"), "{output}");
    assert!(output.contains("ANTHROPIC_BASE_URL=https://127.0.0.1:"), "{output}");
    assert!(!output.contains("NODE_EXTRA_CA_CERTS"), "its root is not in the file: {output}");
}

/// TLS on both sides, with more than any buffer holds.
#[test]
fn large_bodies_pass_both_ways() {
    let authority = Authority::new("Test CA");
    let (question, answer) = ("q".repeat(3 << 20), "a".repeat(5 << 20));
    let whole = ok(&completion(&answer));
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), move |mut conn| {
        while conn.request().is_some() {
            conn.write(&whole);
        }
    });
    let config = json!({"port": 0, "tls": {"cert": "cert.pem", "key": "key.pem"}, "log_body_max_chars": 0,
        "providers": [{"base_url": upstream.base(), "api_key": "", "ca_file": "ca.pem", "models": [{"id": "m"}]}]});
    let program = Program::start_in(&["serve"], &config.to_string(), |dir, _| {
        write(dir, &authority.issue(&["127.0.0.1"], |_| {}));
        std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    });
    let mut client = connect(program.addr(), &client(&authority, &[]));
    for _ in 0..2 {
        client.send("POST", "/v1/messages", &[], &message(&question, false));
        let reply = client.answer();
        assert_eq!(reply.status, 200);
        assert!(reply.json()["content"][0]["text"] == answer, "{} bytes", reply.body.len());
    }
    let seen = upstream.seen();
    assert!(seen.iter().all(|s| s.json()["messages"][0]["content"] == question));
    assert_eq!((seen.len(), upstream.connections()), (2, 1));
}

#[test]
fn http_1_1_alone_is_offered() {
    let (authority, upstream) = (Authority::new("Test CA"), upstream());
    let program = serve(&upstream, &authority.issue(&["127.0.0.1"], |_| {}), &["serve"]);
    let addr = program.addr();
    let mut both = connect(addr, &client(&authority, &["h2", "http/1.1"]));
    assert_eq!(both.alpn().as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(ask(&mut both, true).status, 200);
    let refused = Client::connect_tls(addr, &client(&authority, &["h2"]), "127.0.0.1");
    assert!(refused.err().unwrap().to_string().contains("NoApplicationProtocol"));
}

/// A client that leaves takes its request with it, with close_notify or without.
#[test]
fn a_client_that_leaves_is_noticed() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start(|mut conn| {
        conn.request();
        conn.stream_head();
        conn.chunk(text("Hi"));
        conn.hang();
    });
    let program = serve(&upstream, &authority.issue(&["127.0.0.1"], |_| {}), &["serve"]);
    let config = client(&authority, &[]);
    for (n, leave) in [Client::close, Client::reset, |client: Client| client.half_close()].iter().enumerate()
    {
        let mut client = connect(program.addr(), &config);
        let headers = [("x-api-key", "sesame-123")];
        client.send("POST", "/v1/messages", &headers, &message("Hello", true));
        client.until("Hi");
        leave(client);
        eventually("the upstream is hung up on", || upstream.gone() == n + 1);
    }
    let output = program.output();
    assert!(!output.contains("ERROR"), "{output}");
}

/// What is not TLS is closed at once; who forgot the `s` of `https` is told so.
#[test]
fn plain_http_is_refused() {
    let (authority, upstream) = (Authority::new("Test CA"), upstream());
    let program = serve(&upstream, &authority.issue(&["127.0.0.1"], |_| {}), &["serve"]);
    let addr = program.addr();
    let large = "x".repeat(500_000);
    for body in ["", "{}", &large] {
        let mut plain = Client::connect(addr);
        plain.send("POST", "/v1/messages", &[("x-api-key", "sesame-123")], body.as_bytes());
        let answer = plain.answer();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{answer:?}");
        let told = "this port speaks TLS: begin the base URL with https://";
        assert_eq!(answer.error(), ("invalid_request_error".to_owned(), told.to_owned()));
        assert!(plain.head().is_none(), "closed");
    }
    for bytes in [&b"\0\0\0\0\0\0"[..], b"get / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        // An alert at most: record type 21.
        assert!(said.is_empty() || said[0] == 21, "{said:?}");
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(ask(&mut connect(addr, &client(&authority, &[])), false).status, 200);
}

/// Handshakes that go on for ever end after five seconds, and until then keep nobody out.
#[test]
fn slow_handshakes_hold_nobody_up() {
    const SLOW: usize = 400;
    let (authority, upstream) = (Authority::new("Test CA"), upstream());
    let program = serve(&upstream, &authority.issue(&["127.0.0.1"], |_| {}), &["serve"]);
    let (addr, config) = (program.addr(), client(&authority, &[]));
    let began = Instant::now();
    let mut slow: Vec<TcpStream> = (0..SLOW)
        .map(|n| {
            let mut stream = TcpStream::connect(addr).unwrap();
            // Nothing, or the beginning of a handshake.
            stream.write_all(&[22, 3, 1, 2, 0, 1][..n % 7]).unwrap();
            stream
        })
        .collect();
    let answer = ask(&mut connect(addr, &config), false);
    assert_eq!(answer.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "it had to wait for them: {:?}", began.elapsed());
    // A byte now and then does not buy more time.
    let mut dribble = slow.pop().unwrap();
    let dribbling = std::thread::spawn(move || {
        while dribble.write_all(&[0]).is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
        Instant::now()
    });
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let ended = dribbling.join().unwrap().max(Instant::now());
    assert!(ended - began < Duration::from_secs(20), "they were closed after {:?}", ended - began);
    assert_eq!(ask(&mut connect(addr, &config), true).status, 200);
}

/// A certificate that clients have to be told of is told of.
#[test]
fn what_claude_code_is_told() {
    let (authority, upstream) = (Authority::named(&["gpu.lan", "*.gpu.lan", "10.0.0.9"]), upstream());
    let own = authority.own();
    let program = serve(&upstream, &own, &["serve", "--host", "0.0.0.0"]);
    let port = program.addr().port();
    // The certificate has no 127.0.0.1.
    eventually("it says what Claude Code needs", || program.output().contains("NODE_EXTRA_CA_CERTS="));
    let output = program.output();
    assert!(output.contains(&format!("ANTHROPIC_BASE_URL=https://gpu.lan:{port}")), "{output}");
    let line = output.lines().find(|l| l.contains("NODE_EXTRA_CA_CERTS=")).unwrap();
    let path = line.split_once('=').unwrap().1;
    assert_eq!(std::fs::read_to_string(path).unwrap(), own.certificate.pem());

    let (code, output) = serve(&upstream, &own, &["env", "--port", "1", "--shell", "bash"]).end();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("export ANTHROPIC_BASE_URL=https://gpu.lan:1\n"), "{output}");
    assert!(output.contains("export NODE_EXTRA_CA_CERTS="), "{output}");
    // `run` is for this machine alone.
    let shown = ["run", "--", "sh", "-c", "echo \"$ANTHROPIC_BASE_URL <$NODE_EXTRA_CA_CERTS>\""];
    let (code, output) = serve(&upstream, &own, &shown).end();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("http://127.0.0.1:") && output.contains(" <>"), "{output}");
}

/// SIGHUP reads the files again: new connections see the new certificate, open ones go on.
#[cfg(unix)]
#[test]
fn a_reload_brings_the_new_certificate() {
    let upstream = upstream();
    let [old, new] = ["Old CA", "New CA"].map(Authority::new);
    let issued = old.issue(&["127.0.0.1"], |_| {});
    let program = serve(&upstream, &issued, &["serve", "--log-format", "json"]);
    let addr = program.addr();
    let trusts = |authority: &Authority| {
        // A client of its own each time: one that was here before may resume its session.
        Client::connect_tls(addr, &client(authority, &[]), "127.0.0.1").is_ok()
    };
    let mut open = connect(addr, &client(&old, &[]));
    assert!(trusts(&old) && !trusts(&new));
    // A key that does not fit changes nothing.
    let fresh = new.issue(&["127.0.0.1"], |_| {});
    std::fs::write(program.dir().join("cert.pem"), fresh.certificate.pem()).unwrap();
    program.signal("HUP");
    eventually("it is refused", || program.output().contains("is not the key of the first certificate"));
    assert!(trusts(&old) && !trusts(&new));
    write(program.dir(), &fresh);
    program.signal("HUP");
    eventually("it is read again", || program.lines("the configuration was reloaded").len() == 1);
    let line = program.lines("the configuration was reloaded").pop().unwrap();
    assert_eq!(line["changes"], "settings changed: tls");
    assert_eq!(program.lines("these settings change only with a restart").len(), 0);
    assert!(trusts(&new) && !trusts(&old));
    assert_eq!(ask(&mut open, true).status, 200);
    // TLS itself does not come or go.
    let config = std::fs::read_to_string(program.dir().join("config.json")).unwrap();
    let plain = config.replace("\"tls\"", "\"x\"");
    std::fs::write(program.dir().join("config.json"), plain).unwrap();
    program.signal("HUP");
    let warned = || program.lines("these settings change only with a restart");
    eventually("it is read once more", || warned().len() == 1);
    assert_eq!(warned()[0]["keys"], "tls");
    assert_eq!(ask(&mut connect(addr, &client(&new, &[])), true).status, 200);
}

/// SIGTERM closes connections that wait for their next request, and lets a stream end.
#[cfg(unix)]
#[test]
fn it_ends_in_order() {
    let authority = Authority::new("Test CA");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            conn.stream_head();
            conn.chunk(text("Hi"));
            if seen.json()["messages"].to_string().contains("wait") {
                wait.lock().unwrap().recv().unwrap();
            }
            conn.chunk([&finish("stop"), &usage(), DONE].concat());
            conn.end_chunks();
        }
    });
    let mut program = serve(&upstream, &authority.issue(&["127.0.0.1"], |_| {}), &["serve"]);
    let config = client(&authority, &[]);
    let mut idle = connect(program.addr(), &config);
    assert_eq!(ask(&mut idle, true).status, 200);
    let mut busy = connect(program.addr(), &config);
    busy.send("POST", "/v1/messages", &[("x-api-key", "sesame-123")], &message("wait", true));
    busy.until("Hi");
    program.signal("TERM");
    assert!(idle.head().is_none(), "closed");
    assert!(!program.has_ended());
    go.send(()).unwrap();
    assert_eq!(busy.answer().events().1, End::Complete);
    assert_eq!(program.end().0, Some(0));
}
