//! R20: what could hide one request inside another is refused and the connection closed, or
//! read in the one way that the standard allows; the upstream sees one request at most, made anew.

use crate::support::upstream::ok;
use crate::support::*;

/// What a hidden request would say.
const HIDDEN: &str = "smuggled";

fn hidden() -> String {
    let body = String::from_utf8(message(HIDDEN, false)).unwrap();
    format!("POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn setup() -> (Upstream, Proxy) {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(config(&up.base()));
    (up, proxy)
}

/// A request whose head and body are written down here, and then the hidden one.
fn raw(head: &str, body: &str) -> String {
    format!("{head}\r\n\r\n{body}{}", hidden())
}

#[test]
fn doubtful_requests_get_400_and_the_end() {
    let (up, proxy) = setup();
    let ours = String::from_utf8(message("ours", false)).unwrap();
    let n = ours.len();
    let chunked = format!("{n:x}\r\n{ours}\r\n0\r\n\r\n");
    let post = "POST /v1/messages HTTP/1.1\r\nhost: p";
    let te = "transfer-encoding";
    let heads = [
        // Two lengths.
        (format!("{post}\r\ncontent-length: {n}\r\n{te}: chunked"), &chunked),
        (format!("{post}\r\n{te}: chunked\r\ncontent-length: {n}"), &chunked),
        (format!("{post}\r\ncontent-length: 0\r\n{te}: chunked"), &chunked),
        (format!("{post}\r\ncontent-length: {n}\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\ncontent-length: {n}\r\ncontent-length: 0"), &ours),
        (format!("{post}\r\ncontent-length: 0\r\nContent-Length: {n}"), &ours),
        (format!("{post}\r\ncontent-length: {n}, {n}"), &ours),
        // No number.
        (format!("{post}\r\ncontent-length: +{n}"), &ours),
        (format!("{post}\r\ncontent-length: -{n}"), &ours),
        (format!("{post}\r\ncontent-length: 0x{n:x}"), &ours),
        (format!("{post}\r\ncontent-length: {n}.0"), &ours),
        (format!("{post}\r\ncontent-length: {n} 0"), &ours),
        (format!("{post}\r\ncontent-length: 1_0"), &ours),
        (format!("{post}\r\ncontent-length:"), &ours),
        (format!("{post}\r\ncontent-length: \"{n}\""), &ours),
        (format!("{post}\r\ncontent-length: 184467440737095516{n}"), &ours),
        // Codings that are not `chunked`, once.
        (format!("{post}\r\n{te}: xchunked"), &chunked),
        (format!("{post}\r\n{te}: chunkedx"), &chunked),
        (format!("{post}\r\n{te}: chunked, chunked"), &chunked),
        (format!("{post}\r\n{te}: chunked\r\n{te}: chunked"), &chunked),
        (format!("{post}\r\n{te}: identity\r\n{te}: chunked"), &chunked),
        (format!("{post}\r\n{te}: chunked\r\n{te}: identity"), &chunked),
        (format!("{post}\r\n{te}: identity"), &chunked),
        (format!("{post}\r\n{te}: gzip, chunked"), &chunked),
        (format!("{post}\r\n{te}: chunked, identity"), &chunked),
        (format!("{post}\r\n{te}: \"chunked\""), &chunked),
        (format!("{post}\r\n{te}: chunked;q=1"), &chunked),
        (format!("{post}\r\n{te}:\u{b}chunked"), &chunked),
        (format!("{post}\r\n{te}: \u{0}chunked"), &chunked),
        (format!("{post}\r\n{te}:"), &chunked),
        (format!("POST /v1/messages HTTP/1.0\r\nhost: p\r\n{te}: chunked"), &chunked),
        (format!("POST /v1/messages HTTP/1.0\r\nhost: p\r\n{te}: chunked\r\ncontent-length: {n}"), &chunked),
        // Names that other parsers read otherwise.
        (format!("{post}\r\n{te} : chunked"), &chunked),
        (format!("{post}\r\n{te}\t: chunked"), &chunked),
        (format!("{post}\r\n {te}: chunked"), &chunked),
        (format!("{post}\r\nx: y\r\n\tfolded\r\n{te}: chunked"), &chunked),
        (format!("{post}\r\nx: y\r\n folded\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\ncontent-length : {n}"), &ours),
        (format!("{post}\r\nno colon here\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\n: no name\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\nx\u{0}y: z\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\nx: y\u{0}z\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\nx: y\rcontent-length: {n}"), &ours),
        (format!("{post}\r\nx: y\r\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\ncontent(length): {n}\r\ncontent-length: {n}"), &ours),
        // Hosts.
        (format!("POST /v1/messages HTTP/1.1\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\nhost: q\r\ncontent-length: {n}"), &ours),
        (format!("{post}\r\nHost: p\r\ncontent-length: {n}"), &ours),
        // Request lines.
        (format!("POST  /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages  HTTP/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages HTTP/1.1 \r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!(" POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST\t/v1/messages\tHTTP/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/mess ages HTTP/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages\u{0} HTTP/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("P(ST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages HTTP/1.2\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages HTTP/2.0\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages HTTP/0.9\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages http/1.1\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages HTTP/1.10\r\nhost: p\r\ncontent-length: {n}"), &ours),
        (format!("POST /v1/messages\r\nhost: p\r\ncontent-length: {n}"), &ours),
        ("GET /v1/models".to_owned(), &String::new()),
        ("PRI * HTTP/2.0".to_owned(), &"SM\r\n\r\n".to_owned()),
        ("\u{16}\u{3}\u{1}\u{2}".to_owned(), &String::new()),
    ];
    for (head, body) in &heads {
        let mut client = Client::connect(proxy.addr);
        client.write(raw(head, body));
        let answer = client.answer();
        assert_eq!((answer.status, answer.error().0.as_str()), (400, "invalid_request_error"), "{head}");
        assert_eq!(client.until_closed().as_deref(), Some(""), "closed, and nothing follows: {head}");
    }
    assert_eq!(up.connections(), 0, "the upstream has seen nothing");
    eprintln!("smuggling: {} heads refused with 400 and the end", heads.len());
}

#[test]
fn chunks_that_are_none_end_the_connection() {
    let (up, proxy) = setup();
    let ours = String::from_utf8(message("ours", false)).unwrap();
    let n = ours.len();
    let bodies = [
        format!("-{n:x}\r\n{ours}\r\n0\r\n\r\n"),
        format!("+{n:x}\r\n{ours}\r\n0\r\n\r\n"),
        format!("0x{n:x}\r\n{ours}\r\n0\r\n\r\n"),
        format!(" {n:x}\r\n{ours}\r\n0\r\n\r\n"),
        format!("\r\n{n:x}\r\n{ours}\r\n0\r\n\r\n"),
        format!("{n:x} {n:x}\r\n{ours}\r\n0\r\n\r\n"),
        format!("{n:x}\n{ours}\r\n0\r\n\r\n"),
        format!("{n:x}\r{ours}\r\n0\r\n\r\n"),
        format!("{n:x}\r\n{ours}\n0\r\n\r\n"),
        format!("{n:x}\r\n{ours}0\r\n\r\n"),
        format!("{:x}\r\n{ours}\r\n0\r\n\r\n", n - 1),
        format!("{n:x};a=b\n{ours}\r\n0\r\n\r\n"),
        format!("{n:x};a=\u{0}\r\n{ours}\r\n0\r\n\r\n"),
        format!("{n:x}\r\n{ours}\r\n0\n\r\n"),
        format!("g\r\n{ours}\r\n0\r\n\r\n"),
        format!("10000000000000000\r\n{ours}\r\n0\r\n\r\n"),
        format!("fffffffffffffffff\r\n{ours}\r\n0\r\n\r\n"),
    ];
    for body in &bodies {
        let mut client = Client::connect(proxy.addr);
        client.write(raw("POST /v1/messages HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked", body));
        // The framing is broken, so there may be no answer at all; a good one there must not be.
        let rest = client.until_closed().expect("closed");
        assert!(!rest.contains("200 OK"), "{body:?}: {rest}");
        assert!(rest.matches("HTTP/1.1 ").count() <= 1, "{body:?}: {rest}");
    }
    // Just below 2^64: waited for, and given up on, as any body that does not come.
    for size in ["ffffffffffffffff", "7fffffffffffffff"] {
        let mut client = Client::connect(proxy.addr);
        let body = format!("{size}\r\n{}", "x".repeat(1000));
        client.write(raw("POST /v1/messages HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked", &body));
        client.half_close();
        let rest = client.until_closed().expect("closed");
        assert!(!rest.contains("200 OK"), "{rest}");
    }
    assert_eq!(up.connections(), 0, "the upstream has seen nothing");
    eprintln!("smuggling: {} bodies in chunks that are none", bodies.len() + 2);
}

#[test]
fn what_the_standard_allows_is_read_in_its_way() {
    let ours = String::from_utf8(message("ours", false)).unwrap();
    let n = ours.len();
    let post = "POST /v1/messages HTTP/1.1\r\nhost: p";
    let chunked = |body: &str| format!("{post}\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let framed = format!("{n:x}\r\n{ours}\r\n0\r\n\r\n");
    for request in [
        format!("{post}\r\ncontent-length: {n}\r\n\r\n{ours}"),
        format!("{post}\r\ncontent-length:{n}\r\n\r\n{ours}"),
        format!("{post}\r\ncontent-length:\t {n} \t\r\n\r\n{ours}"),
        format!("{post}\r\ncontent-length: 000{n}\r\n\r\n{ours}"),
        // Empty lines before a request, and lines that end with a line feed alone (RFC 9112, 2.2).
        format!("\r\n\r\n{post}\r\ncontent-length: {n}\r\n\r\n{ours}"),
        format!("POST /v1/messages HTTP/1.1\nhost: p\ncontent-length: {n}\n\n{ours}"),
        chunked(&framed),
        format!("{post}\r\nTransfer-Encoding: CHUNKED\r\n\r\n{framed}"),
        chunked(&format!("{n:X}\r\n{ours}\r\n0\r\n\r\n")),
        chunked(&format!("0000{n:x}\r\n{ours}\r\n000\r\n\r\n")),
        chunked(&format!("{n:x};name=value;other=\"; 0\"\r\n{ours}\r\n0;last\r\n\r\n")),
        chunked(&format!("{n:x}  ;a\r\n{ours}\r\n0\r\n\r\n")),
        chunked(&format!("5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", &ours[..5], n - 5, &ours[5..])),
        // Trailers are read and thrown away, also such as would be headers of weight.
        chunked(&format!("{n:x}\r\n{ours}\r\n0\r\nx-trailer: y\r\ncontent-length: 3\r\n\r\n")),
        chunked(&format!(
            "{n:x}\r\n{ours}\r\n0\r\nauthorization: Bearer x\r\ntransfer-encoding: chunked\r\n\r\n"
        )),
        // A target with a host in it, which is ours whatever it says.
        format!(
            "POST http://elsewhere.example/v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {n}\r\n\r\n{ours}"
        ),
    ] {
        let (up, proxy) = setup();
        let mut client = Client::connect(proxy.addr);
        // The second one is a request of its own: no more, no less.
        client.write(format!("{request}{}", hidden()));
        assert_eq!(client.answer().status, 200, "{request}");
        assert_eq!(client.answer().status, 200, "{request}");
        let seen = up.seen();
        let said: Vec<String> =
            seen.iter().map(|s| s.json()["messages"][0]["content"].as_str().unwrap().to_owned()).collect();
        assert_eq!(said, ["ours", HIDDEN], "{request}");
        for seen in seen {
            assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
            assert_eq!(seen.header("transfer-encoding"), None);
            assert_eq!(seen.header("host"), Some(up.addr.to_string().as_str()));
            assert!(!seen.head.contains("trailer") && !seen.head.contains("Bearer x"), "{}", seen.head);
        }
    }
}

#[test]
fn a_body_that_was_not_read_is_not_taken_for_a_request() {
    // The answer comes before the body: what follows must be thrown away as the body it is.
    let inside = hidden();
    let n = inside.len();
    let cases = [
        ("/nothing", format!("content-length: {n}")),
        ("/v1/messages", format!("content-encoding: gzip\r\ncontent-length: {n}")),
        ("/v1/messages", format!("upgrade: websocket\r\nconnection: upgrade\r\ncontent-length: {n}")),
        ("/health", format!("content-length: {n}")),
        ("/v1/models", format!("content-length: {n}")),
    ];
    let (up, proxy) = setup();
    std::thread::scope(|scope| {
        for (path, head) in &cases {
            for method in ["POST", "GET", "PUT", "DELETE", "OPTIONS", "HEAD"] {
                let (inside, addr) = (&inside, proxy.addr);
                scope.spawn(move || {
                    let mut client = Client::connect(addr);
                    client.write(format!("{method} {path} HTTP/1.1\r\nhost: p\r\n{head}\r\n\r\n"));
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    client.write(inside);
                    client.write("GET /health HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n");
                    let rest = client.until_closed().expect("closed");
                    let answers = rest.matches("HTTP/1.1 ").count();
                    assert!((1..=2).contains(&answers), "{method} {path} {head}: {rest}");
                });
            }
        }
    });
    assert_eq!(up.connections(), 0);
}

#[test]
fn expect_100_continue_is_answered_once() {
    let (up, proxy) = setup();
    let mut client = Client::connect(proxy.addr);
    let body = message("ours", false);
    client.write(format!(
        "POST /v1/messages HTTP/1.1\r\nhost: p\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(client.head().unwrap().0, 100);
    client.write(&body);
    assert_eq!(client.answer().status, 200);
    assert_eq!(up.seen().len(), 1);
}
