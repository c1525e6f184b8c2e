//! R24: TLS is verified. Wrong host, expired and self-signed certificates are refused with a
//! sentence that helps; `ca_file` works.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use claude_proxy::config::{Config, Roots};
use rcgen::date_time_ymd;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::grammar::End;
use crate::support::config::{UPSTREAM_KEY, add_model, change};
use crate::support::tls::{Authority, self_signed, server_with};
use crate::support::upstream::{Conn, ok};
use crate::support::*;

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

/// The URL of an upstream under another name for its address.
fn named(upstream: &Upstream, host: &str) -> String {
    format!("https://{host}:{}", upstream.addr.port())
}

/// The proxy's error for a provider that it cannot talk to; whole and as a stream it is the same.
#[track_caller]
fn refused(config: Config) -> String {
    let proxy = Proxy::start(config);
    let [whole, stream] = [false, true].map(|stream| {
        let answer = post(proxy.addr, &message("Hello", stream));
        let (kind, message) = answer.error();
        let expected = if answer.status == 504 { "timeout_error" } else { "api_error" };
        assert!(kind == expected && [502, 504].contains(&answer.status), "{answer:?}");
        message
    });
    assert_eq!(whole, stream);
    whole
}

/// The proxy's error for an upstream with this certificate: both handshakes fail, and nothing
/// of a request was sent.
#[track_caller]
fn refuses(server: Arc<ServerConfig>, host: &str, roots: Option<Arc<Roots>>) -> String {
    let upstream = Upstream::start_tls(server, talk);
    let mut config = config(&named(&upstream, host));
    change(&mut config, |provider| provider.roots.clone_from(&roots));
    let told = refused(config);
    eventually("both handshakes end", || upstream.refused().len() == 2);
    assert_eq!((upstream.connections(), upstream.seen().len()), (2, 0), "one attempt each, no request");
    assert!(told.starts_with("upstream up.example: the TLS handshake failed: "), "{told}");
    told
}

#[test]
fn a_provider_with_an_authority_of_its_own() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), talk);
    let proxy = Proxy::start(trusting(&upstream.base(), &authority));
    for stream in [false, true, true, false] {
        let answer = post(proxy.addr, &message("Hello", stream));
        assert_eq!(answer.status, 200, "{answer:?}");
        if stream {
            assert_eq!(answer.text(), "Hi");
        } else {
            assert_eq!(answer.json()["content"][0]["text"], "Hi");
        }
    }
    assert_eq!((upstream.connections(), upstream.seen().len()), (1, 4), "pooled");
}

/// Names go into SNI, addresses do not; a server that could speak HTTP/2 is not asked to.
#[test]
fn names_and_addresses() {
    let authority = Authority::new("Test CA");
    for (host, bind, name, sni) in [
        ("localhost", "127.0.0.1:0", "localhost", Some("localhost")),
        ("LocalHost", "127.0.0.1:0", "localhost", Some("localhost")),
        ("127.0.0.1", "127.0.0.1:0", "127.0.0.1", None),
        ("[::1]", "[::1]:0", "::1", None),
    ] {
        let mut server = (*authority.server(&[name])).clone();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let agreed = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&agreed);
        let upstream = Upstream::run(bind.parse().unwrap(), Some(Arc::new(server)), move |conn| {
            noted.lock().unwrap().push((conn.server_name(), conn.alpn()));
            talk(conn);
        });
        let proxy = Proxy::start(trusting(&named(&upstream, host), &authority));
        let answer = post(proxy.addr, &message("Hello", false));
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        let expected = (sni.map(str::to_owned), Some(b"http/1.1".to_vec()));
        assert_eq!(*agreed.lock().unwrap(), [expected]);
        let asked = format!("{host}:{}", upstream.addr.port());
        assert_eq!(upstream.seen()[0].header("host"), Some(asked.as_str()));
    }
}

#[test]
fn tls_1_2_will_do() {
    let authority = Authority::new("Test CA");
    let issued = authority.issue(&["127.0.0.1"], |_| {});
    let key = PrivateKeyDer::try_from(issued.key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(ring)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.certificate.der().clone()], key)
        .unwrap();
    let upstream = Upstream::start_tls(Arc::new(server), talk);
    let proxy = Proxy::start(trusting(&upstream.base(), &authority));
    assert_eq!(post(proxy.addr, &message("Hello", true)).text(), "Hi");
}

#[test]
fn a_body_that_ends_with_the_connection_is_read() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), |mut conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        for event in [&text("Hi"), &finish("stop"), &usage(), DONE] {
            conn.write(event);
        }
        conn.close();
    });
    let proxy = Proxy::start(trusting(&upstream.base(), &authority));
    let answer = post(proxy.addr, &message("Hello", true));
    assert_eq!((answer.text().as_str(), answer.events().1), ("Hi", End::Complete));
}

/// A connection that its upstream has closed, in whatever way, is not used again.
#[test]
fn connections_that_were_closed_in_the_pool() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), |mut conn| {
        conn.request();
        conn.write(ok(&completion("Hi")));
        match conn.number % 3 {
            0 => conn.close(),
            1 => conn.cut(),
            _ => conn.reset(),
        }
    });
    let proxy = Proxy::start(trusting(&upstream.base(), &authority));
    for n in 1..=9 {
        assert_eq!(post(proxy.addr, &message("Hello", false)).status, 200);
        assert_eq!(upstream.seen().len(), n, "each was asked once");
    }
}

/// An end that anybody could have made is the end of no answer.
#[test]
fn a_stream_that_is_cut_without_close_notify() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), |mut conn| {
        conn.request();
        conn.stream_head();
        conn.chunk(text("Hi"));
        conn.cut();
    });
    let proxy = Proxy::start(trusting(&upstream.base(), &authority));
    let answer = post(proxy.addr, &message("Hello", true));
    assert_eq!((answer.text().as_str(), answer.events().1), ("Hi", End::Error));
}

#[test]
fn nobody_that_is_trusted_signed_it() {
    let (ours, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
    for server in [self_signed(&["127.0.0.1"]).server, ours.server(&["127.0.0.1"])] {
        let told = refuses(server, "127.0.0.1", None);
        assert!(told.contains("not signed by an authority that this system trusts"), "{told}");
        assert!(told.contains("name it in the provider's `ca_file`"), "{told}");
    }
    let told = refuses(ours.server(&["127.0.0.1"]), "127.0.0.1", other.roots());
    assert!(told.ends_with("trusts, nor by one of the provider's `ca_file`"), "{told}");
    // An authority of the same name.
    let told = refuses(ours.server(&["127.0.0.1"]), "127.0.0.1", Authority::new("Test CA").roots());
    assert!(!told.contains("http"), "{told}");
}

/// Self-signed certificates are their own `ca_file`, unless they claim to be an authority.
#[test]
fn self_signed_certificates() {
    let issued = self_signed(&["127.0.0.1"]);
    let roots = Some(Arc::new(Roots::parse(issued.certificate.pem().as_bytes()).unwrap()));
    let upstream = Upstream::start_tls(issued.server, talk);
    let mut config = config(&upstream.base());
    change(&mut config, |provider| provider.roots.clone_from(&roots));
    let proxy = Proxy::start(config);
    assert_eq!(post(proxy.addr, &message("Hello", false)).status, 200);

    let authority = Authority::named(&["127.0.0.1"]);
    let told = refuses(authority.own().server, "127.0.0.1", authority.roots());
    assert!(told.contains("an authority's own (CA:TRUE)"), "{told}");
}

#[test]
fn it_is_for_another_name() {
    let authority = Authority::new("Test CA");
    let told = refuses(authority.server(&["api.example", "*.gpu.example"]), "localhost", authority.roots());
    assert!(
        told.ends_with("its certificate is for another host name: it has api.example, *.gpu.example"),
        "{told}"
    );
    let told = refuses(authority.server(&["10.0.0.1", "localhost"]), "127.0.0.1", authority.roots());
    assert!(told.ends_with("it has 10.0.0.1, localhost"), "{told}");
    let many: Vec<String> = (0..9).map(|n| format!("h{n}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let told = refuses(authority.server(&many), "127.0.0.1", authority.roots());
    assert!(told.ends_with("h4.example and 4 more"), "{told}");
}

#[test]
fn it_is_too_old_or_too_new() {
    let authority = Authority::new("Test CA");
    let server = authority
        .issue(&["127.0.0.1"], |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 2, 3);
        })
        .server;
    let told = refuses(server, "127.0.0.1", authority.roots());
    assert!(told.contains("has expired (2021-02-03T00:00:00Z, ") && told.contains(" days ago)"), "{told}");
    let server = authority
        .issue(&["127.0.0.1"], |params| {
            params.not_before = date_time_ymd(2999, 1, 1);
            params.not_after = date_time_ymd(3000, 1, 1);
        })
        .server;
    let told = refuses(server, "127.0.0.1", authority.roots());
    assert!(told.contains("not valid yet (2999-01-01T00:00:00Z): is this machine's clock right?"), "{told}");
}

/// What is not TLS, or stops being it: nothing but a handshake is sent to it.
#[test]
fn no_tls_there() {
    // A fatal alert in TLS's records: protocol_version, handshake_failure.
    let alert = |code: u8| vec![21, 3, 1, 0, 2, 2, code];
    for (answer, sentence) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "should base_url begin with http://?"),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "it does not speak TLS there"),
        (alert(70), "nothing as new as TLS 1.2"),
        (alert(40), "HandshakeFailure"),
        (Vec::new(), "it closed the connection; does it speak TLS there?"),
        (vec![22, 3, 3, 0], "it closed the connection"),
    ] {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&sent);
        let upstream = Upstream::start(move |mut conn| {
            heard.lock().unwrap().extend(conn.bytes().unwrap());
            conn.write(&answer);
            conn.close();
        });
        let told = refused(config(&named(&upstream, "127.0.0.1")));
        assert!(told.contains(sentence), "{told}");
        let sent = sent.lock().unwrap();
        assert_eq!(sent[..2], [22, 3], "a handshake");
        for secret in [UPSTREAM_KEY, "POST", "Hello"] {
            assert!(!sent.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret}");
        }
    }
}

#[test]
fn a_handshake_that_hangs() {
    let upstream = Upstream::start(Conn::hang);
    let mut config = config(&named(&upstream, "127.0.0.1"));
    config.connect_timeout = Duration::from_millis(200);
    assert_eq!(refused(config), "upstream up.example: no connection within 200 ms");
    eventually("it is hung up", || upstream.gone() == upstream.connections());
}

/// What one provider's `ca_file` vouches for is nothing to another, not even its connections.
#[test]
fn roots_are_one_providers() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), talk);
    let mut config = trusting(&upstream.base(), &authority);
    add_model(&mut config, "n", &upstream.base(), "generic");
    let proxy = Proxy::start(config);
    let ask = |model: &str| {
        let body = String::from_utf8(message("Hello", false)).unwrap();
        post(proxy.addr, body.replace("\"m\"", &format!("{model:?}")).as_bytes())
    };
    for _ in 0..3 {
        assert_eq!(ask("m").status, 200);
        let (_, told) = ask("n").error();
        assert!(told.contains("not signed by an authority that this system trusts"), "{told}");
    }
    assert_eq!(upstream.seen().len(), 3);
    assert_eq!(upstream.connections(), 4, "one for `m`, and one refused for each request to `n`");
}

/// A server that wants a certificate of us: TLS 1.3 says so after the handshake.
#[test]
fn it_wants_a_certificate_of_ours() {
    let authority = Authority::new("Test CA");
    let server = server_with(&authority.issue(&["127.0.0.1"], |_| {}), Some(&authority));
    let upstream = Upstream::start_tls(server, talk);
    let told = refused(trusting(&upstream.base(), &authority));
    assert!(told.contains("certificate of its clients"), "{told}");
    assert_eq!(upstream.seen().len(), 0);
}
