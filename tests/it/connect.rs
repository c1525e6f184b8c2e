//! A tunnel through an HTTP proxy, by CONNECT: what is said to it, and what it may do wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claude_proxy::config;
use claude_proxy::config::Config;
use serde_json::json;

use crate::support::config::{UPSTREAM_KEY, add_model, change};
use crate::support::program::Program;
use crate::support::tls::Authority;
use crate::support::upstream::{Conn, ok};
use crate::support::*;

/// A name that only the proxy can resolve.
const HOST: &str = "api.provider.invalid";
const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// Answers every request, whole or as a stream.
fn talk(mut conn: Conn) {
    while let Some(seen) = conn.request() {
        if seen.json()["stream"] == true {
            conn.stream(&[&text("Hi"), &finish("stop"), &usage(), DONE]);
        } else {
            conn.write(ok(&completion("Hi")));
        }
    }
}

/// A proxy that opens every tunnel, to `to`; with everything that clients sent through them.
fn opening(to: SocketAddr) -> (Upstream, Arc<Mutex<Vec<u8>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&sent);
    let proxy = Upstream::start(move |mut conn| {
        if conn.request().is_some() {
            let heard = Arc::clone(&heard);
            conn.write(OPEN);
            conn.relay(to, move |bytes| heard.lock().unwrap().extend_from_slice(bytes));
        }
    });
    (proxy, sent)
}

fn through(config: &mut Config, proxy: &str) {
    let proxy = config::Proxy::parse(proxy, "proxy_url").unwrap();
    change(config, |provider| provider.proxy = Some(Arc::new(proxy.clone())));
}

/// The whole request for a tunnel.
fn connect(target: &str, more: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n")
}

#[test]
fn plain_and_encrypted_upstreams() {
    let authority = Authority::new("Test CA");
    for tls in [true, false] {
        let server = tls.then(|| authority.server(&[HOST]));
        let upstream = Upstream::run("127.0.0.1:0".parse().unwrap(), server, move |conn| {
            assert_eq!(conn.server_name().as_deref(), tls.then_some(HOST));
            talk(conn);
        });
        let (proxy, sent) = opening(upstream.addr);
        let scheme = if tls { "https" } else { "http" };
        let mut config = trusting(&format!("{scheme}://{HOST}"), &authority);
        through(&mut config, &format!("{}/", proxy.base().replace("://", "://us%2Ber:p%40ss:w%C3%B6rd@")));
        let ours = Proxy::start(config);
        for stream in [false, true, true, false] {
            let answer = post(ours.addr, &message("Hello", stream));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        // One tunnel, and it is all that the proxy was asked for.
        let target = format!("{HOST}:{}", if tls { 443 } else { 80 });
        let basic = "Proxy-Authorization: Basic dXMrZXI6cEBzczp3w7ZyZA==\r\n";
        let seen: Vec<String> = proxy.seen().into_iter().map(|s| s.head).collect();
        assert_eq!(seen, [connect(&target, basic)]);
        assert_eq!((proxy.connections(), upstream.connections(), upstream.seen().len()), (1, 1, 4));
        for seen in upstream.seen() {
            assert_eq!(seen.header("host"), Some(HOST));
            assert!(seen.header("proxy-authorization").is_none(), "{}", seen.head);
            assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", seen.head);
        }
        let sent = sent.lock().unwrap();
        let shows = sent.windows(UPSTREAM_KEY.len()).any(|w| w == UPSTREAM_KEY.as_bytes());
        assert_eq!(shows, !tls, "inside TLS the proxy sees no key");
    }
}

#[test]
fn addresses_are_written_as_urls_have_them() {
    for (host, target) in [("[::1]", "[::1]:8443"), ("10.0.0.1", "10.0.0.1:8443"), ("gpu", "gpu:8443")] {
        let proxy = Upstream::start(|mut conn| {
            conn.request();
            conn.write("HTTP/1.1 503 X\r\n\r\n");
        });
        let mut config = config(&format!("https://{host}:8443"));
        through(&mut config, &proxy.base());
        let ours = Proxy::start(config);
        post(ours.addr, &message("Hello", false)).error();
        assert_eq!(proxy.seen()[0].head, connect(target, ""));
    }
}

/// Connections are shared by what is on the same way, and by nothing else.
#[test]
fn providers_with_other_proxies_have_other_connections() {
    let upstream = Upstream::start(talk);
    let (one, _) = opening(upstream.addr);
    let (two, _) = opening(upstream.addr);
    let mut config = config(&upstream.base());
    through(&mut config, &one.base());
    let mut other = crate::support::config(&upstream.base());
    through(&mut other, &two.base());
    let mut second = Arc::try_unwrap(other.models.remove(0)).unwrap();
    second.id = "n".to_owned();
    config.models.push(Arc::new(second));
    add_model(&mut config, "direct", &upstream.base(), "generic");
    let ours = Proxy::start(config);
    let ask = |model: &str| {
        let body = String::from_utf8(message("Hello", false)).unwrap();
        post(ours.addr, body.replace("\"m\"", &format!("{model:?}")).as_bytes()).status
    };
    for model in ["m", "n", "direct", "m", "n", "direct"] {
        assert_eq!(ask(model), 200, "{model}");
    }
    assert_eq!((one.seen().len(), two.seen().len(), upstream.connections()), (1, 1, 3));
}

/// One request through a proxy with this script: the error, without what is the same in all.
fn refusal(url: &str, script: impl Fn(Conn) + Send + Sync + 'static) -> String {
    let proxy = Upstream::start(script);
    let mut config = config(&format!("https://{HOST}"));
    config.connect_timeout = Duration::from_millis(300);
    through(&mut config, &proxy.base().replace("://", url));
    let ours = Proxy::start(config);
    let answer = post(ours.addr, &message("Hello", false));
    let (kind, message) = answer.error();
    let late = message.contains("within");
    assert_eq!(
        (answer.status, kind.as_str()),
        if late { (504, "timeout_error") } else { (502, "api_error") }
    );
    assert!(!message.contains("sesame"), "{message}");
    // What may pass may be asked for twice.
    assert!((1..=2).contains(&proxy.connections()));
    let place = format!("upstream up.example: the proxy {} (proxy_url) ", proxy.addr);
    message.strip_prefix(&place).unwrap_or_else(|| panic!("{message}")).to_owned()
}

#[test]
fn what_a_proxy_may_answer_instead() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(20_000));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let basic = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
    let ntlm = "HTTP/1.1 407 X\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\ncontent-length: 9\r\n\r\nforbidden";
    for (url, answer, sentence) in [
        ("://", basic, "wants a user name and password (HTTP 407): write http://NAME:PASSWORD@ into its URL"),
        ("://me:sesame-123@", basic, "refuses the user name and password in its URL (HTTP 407)"),
        ("://me:sesame-123@", ntlm, "wants to be logged in to by NTLM, Negotiate (HTTP 407)"),
        (
            "://",
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "opened no tunnel to api.provider.invalid:443 (HTTP 403 Forbidden): its rules forbid the host, or a port other than 443",
        ),
        (
            "://",
            "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
            "opened no tunnel to api.provider.invalid:443 (HTTP 502 Bad Gateway): perhaps it cannot reach the host",
        ),
        ("://", "HTTP/1.1 405\r\n\r\n", "(HTTP 405): it may be no proxy that knows CONNECT"),
        ("://", "HTTP/1.1 302 Found\r\nlocation: http://login\r\n\r\n", "(HTTP 302 Found)"),
        ("://", "SSH-2.0-OpenSSH_9.9\r\n", "does not answer in HTTP: is it an HTTP proxy?"),
        ("://", "\x15\x03\x01\0\x02\x02\x46", "does not answer in HTTP: is it an HTTP proxy?"),
        ("://", &long, "answered with a head of more than 16384 bytes"),
        ("://", &interim, "answered with a head of more than 16384 bytes"),
        ("://", "", "closed the connection instead of opening a tunnel"),
    ] {
        let answer = answer.to_owned();
        let told = refusal(url, move |mut conn| {
            conn.request();
            conn.write(&answer);
            conn.close();
        });
        assert!(told.contains(sentence), "{told}");
    }
}

#[test]
fn a_proxy_that_says_nothing() {
    for begun in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let told = refusal("://", move |mut conn| {
            conn.request();
            conn.write(begun);
            conn.hang();
        });
        assert_eq!(told, "opened no tunnel within 300 ms");
    }
}

#[test]
fn a_proxy_that_closes_at_every_byte_of_its_answer() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&[HOST]), talk);
    let to = upstream.addr;
    // So many bytes of the answer come, each in a write of its own.
    let most = Arc::new(AtomicUsize::new(0));
    let given = Arc::clone(&most);
    let proxy = Upstream::start(move |mut conn| {
        conn.request();
        let (bytes, most) = (OPEN.as_bytes(), given.load(Ordering::SeqCst));
        for byte in &bytes[..most] {
            conn.write([*byte]);
        }
        if most == bytes.len() {
            conn.relay(to, |_| {});
        }
    });
    let mut config = trusting(&format!("https://{HOST}"), &authority);
    through(&mut config, &proxy.base());
    let ours = Proxy::start(config);
    for n in 0..OPEN.len() {
        most.store(n, Ordering::SeqCst);
        let (_, told) = post(ours.addr, &message("Hello", false)).error();
        assert!(told.ends_with("closed the connection instead of opening a tunnel"), "{n}: {told}");
    }
    most.store(OPEN.len(), Ordering::SeqCst);
    assert_eq!(post(ours.addr, &message("Hello", false)).status, 200);
    assert_eq!(upstream.seen().len(), 1);
}

/// What follows the head of the proxy's answer is the upstream's.
#[test]
fn bytes_behind_the_head_are_kept() {
    let proxy = Upstream::start(|mut conn| {
        conn.request();
        conn.write(format!("{OPEN}{}", ok(&completion("early"))));
        conn.request();
        conn.hang();
    });
    let mut config = config(&format!("http://{HOST}"));
    through(&mut config, &proxy.base());
    let ours = Proxy::start(config);
    let answer = post(ours.addr, &message("Hello", false));
    assert_eq!(answer.json()["content"][0]["text"], "early");
}

#[test]
fn a_proxy_that_is_not_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, sentence) in [
        (format!("http://127.0.0.1:{port}"), "cannot be reached: connection refused"),
        ("http://no-such-proxy.invalid:3128".to_owned(), "its host name could not be resolved"),
    ] {
        let mut config = config(&format!("https://{HOST}"));
        through(&mut config, &url);
        let ours = Proxy::start(config);
        let (_, told) = post(ours.addr, &message("Hello", true)).error();
        assert!(told.contains(&format!("the proxy {} (proxy_url) ", &url[7..])), "{told}");
        assert!(told.ends_with(sentence), "{told}");
    }
}

/// A proxy that looks into TLS has a certificate of its own, and gets no key.
#[test]
fn a_proxy_that_looks_into_tls() {
    let upstream = Upstream::start_tls(Authority::new("Company CA").server(&[HOST]), talk);
    let (proxy, sent) = opening(upstream.addr);
    let mut config = config(&format!("https://{HOST}"));
    through(&mut config, &proxy.base());
    let ours = Proxy::start(config);
    let (_, told) = post(ours.addr, &message("Hello", false)).error();
    assert!(told.contains("a proxy which looks into TLS") && told.contains("`ca_file`"), "{told}");
    let sent = sent.lock().unwrap();
    assert!(!sent.windows(UPSTREAM_KEY.len()).any(|w| w == UPSTREAM_KEY.as_bytes()));
    assert_eq!(upstream.seen().len(), 0);
}

/// As a user has it: variables of the environment, and files beside config.json.
#[test]
fn the_environment_names_the_proxy() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&[HOST, "127.0.0.1"]), talk);
    let (proxy, _) = opening(upstream.addr);
    let url = proxy.base().replace("://", "://me:sesame-123@");
    let provider = |base: &str, more: serde_json::Value| {
        let mut provider =
            json!({"base_url": base, "api_key": "k", "ca_file": "ca.pem", "models": [{"id": "m"}]});
        provider.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"port": 0, "providers": [provider]}).to_string()
    };
    let far = format!("https://{HOST}");
    for (base, more, env, tunnels) in [
        (&*far, json!({}), &[("HTTPS_PROXY", &*url), ("NO_PROXY", "example.com")][..], 1),
        (&*far, json!({}), &[("https_proxy", &*url), ("REQUEST_METHOD", "GET")], 1),
        (&*far, json!({}), &[("ALL_PROXY", &*url)], 1),
        (&*far, json!({"proxy_url": url}), &[("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")], 1),
        (&*upstream.base(), json!({}), &[("HTTPS_PROXY", "http://127.0.0.1:1")], 0),
        (&*upstream.base(), json!({"proxy_url": ""}), &[("HTTPS_PROXY", "http://127.0.0.1:1")], 0),
        (&*upstream.base(), json!({"proxy_url": url}), &[], 1),
    ] {
        let before = proxy.seen().len();
        let program =
            Program::start_in(&["serve", "--log-level", "trace"], &provider(base, more), |dir, command| {
                std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
                command.envs(env.iter().copied());
            });
        let answer = post(program.addr(), &message("Hello", false));
        assert_eq!(answer.status, 200, "{base} {env:?}: {answer:?}");
        assert_eq!(proxy.seen().len() - before, tunnels, "{base} {env:?}");
        let output = program.output();
        assert!(!output.contains("sesame") && !output.contains("bWU6c2VzYW1l"), "{output}");
        assert_eq!(output.contains("a tunnel is open"), tunnels > 0, "{output}");
    }
    // What it would not be asked through is asked directly, and is not there.
    let program = Program::start_in(&["ping-upstream", "m"], &provider(&far, json!({})), |dir, command| {
        std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
        command.env("HTTPS_PROXY", &url).env("NO_PROXY", ".provider.invalid");
    });
    let (code, output) = program.end();
    assert!(code == Some(1) && output.contains("could not be resolved"), "{output}");
    assert!(!output.contains("sesame"), "{output}");
}

/// `http` upstreams go through a tunnel too.
#[test]
fn the_environment_names_a_proxy_for_http() {
    let upstream = Upstream::start(talk);
    let (proxy, _) = opening(upstream.addr);
    let config = json!({"port": 0, "providers": [
        {"base_url": format!("http://{HOST}:8000"), "api_key": "k", "models": [{"id": "m"}]}]});
    for (env, status) in [
        (&[("HTTP_PROXY", &*proxy.base())][..], 200),
        // A client of a CGI program could have set it.
        (&[("HTTP_PROXY", &*proxy.base()), ("REQUEST_METHOD", "POST")], 502),
        (&[("HTTPS_PROXY", &*proxy.base())], 502),
    ] {
        let program = Program::start_in(&["serve"], &config.to_string(), |_, command| {
            command.envs(env.iter().copied());
        });
        let answer = post(program.addr(), &message("Hello", false));
        assert_eq!(answer.status, status, "{env:?}: {answer:?}");
    }
    assert_eq!(proxy.seen().len(), 1);
    assert_eq!(proxy.seen()[0].head, connect(&format!("{HOST}:8000"), ""));
}

/// One that cannot be used stops the start, and nothing is asked without it.
#[test]
fn a_proxy_that_cannot_be_used() {
    let config = json!({"port": 0, "providers": [
        {"base_url": format!("https://{HOST}"), "api_key": "k", "models": [{"id": "m"}]}]});
    let program = Program::start_in(&["serve"], &config.to_string(), |_, command| {
        command.env("ALL_PROXY", "socks5://me:sesame-123@127.0.0.1:1080");
    });
    let (code, output) = program.end();
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("environment variable `ALL_PROXY`") && output.contains("SOCKS"), "{output}");
    assert!(!output.contains("sesame"), "{output}");
}
