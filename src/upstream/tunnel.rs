//! CONNECT: a tunnel through an HTTP proxy (RFC 9110, 9.3.6).

use std::io;

use actix_rt::net::TcpStream;
use httparse::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fault::ProxyFault;
use crate::config::Proxy;

/// Longest head of the proxy's answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Most headers in it.
const MAX_HEADERS: usize = 100;

/// Asks the proxy for a tunnel to `target`, a host with its port.
///
/// What follows the head of its answer is the upstream's already, and is left in the socket.
///
/// # Errors
/// Everything but a 2xx.
pub(super) async fn open(stream: &mut TcpStream, proxy: &Proxy, target: &str) -> Result<(), ProxyFault> {
    let broken = |e: io::Error| match e.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ProxyFault::Closed,
        _ => ProxyFault::Connect(e),
    };
    stream.write_all(request(proxy, target).as_bytes()).await.map_err(broken)?;
    let mut head = Vec::new();
    let mut most = MAX_HEAD;
    loop {
        let mut piece = [0; 1024];
        // The head's end is looked for before anything is taken.
        let n = stream.peek(&mut piece).await.map_err(broken)?;
        if n == 0 {
            return Err(ProxyFault::Closed);
        }
        let before = head.len();
        head.extend_from_slice(piece.get(..n).unwrap_or_default());
        let read = read(&head)?;
        let end = read.as_ref().map_or(head.len(), |answer| answer.length);
        let taken = piece.get_mut(..end.saturating_sub(before)).unwrap_or_default();
        stream.read_exact(taken).await.map_err(broken)?;
        match read {
            None if head.len() >= most => return Err(ProxyFault::TooLong(MAX_HEAD)),
            None => {}
            Some(Answer { status: 200..=299, .. }) => return Ok(()),
            // An interim answer; the real one follows.
            Some(Answer { status: 100..=199, length, .. }) if length < most => {
                most -= length;
                head.clear();
            }
            Some(Answer { status: 100..=199, .. }) => return Err(ProxyFault::TooLong(MAX_HEAD)),
            Some(answer) => return Err(refusal(answer, proxy, target)),
        }
    }
}

fn request(proxy: &Proxy, target: &str) -> String {
    let mut text = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        text.push_str("Proxy-Authorization: ");
        text.push_str(authorization.expose());
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text
}

/// The head of the proxy's answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// In printable ASCII, and short.
    reason: String,
    /// The schemes of `proxy-authenticate`.
    schemes: Vec<String>,
    /// Of the head, in bytes.
    length: usize,
}

/// Reads a head; none if more of it has to come.
fn read(bytes: &[u8]) -> Result<Option<Answer>, ProxyFault> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(length) = response.parse(bytes).map_err(|_| ProxyFault::NotHttp)? else {
        return Ok(None);
    };
    let plain = |text: &str, most| text.chars().filter(|c| matches!(c, ' '..='~')).take(most).collect();
    let asked = response.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("proxy-authenticate"));
    let scheme = |value: &[u8]| {
        let value = String::from_utf8_lossy(value);
        plain(value.split([' ', ',']).next().unwrap_or_default(), 20)
    };
    Ok(Some(Answer {
        status: response.code.unwrap_or_default(),
        reason: plain(response.reason.unwrap_or_default(), 60),
        schemes: asked.map(|h| scheme(h.value)).filter(|s: &String| !s.is_empty()).collect(),
        length,
    }))
}

fn refusal(answer: Answer, proxy: &Proxy, target: &str) -> ProxyFault {
    let Answer { status, reason, schemes, .. } = answer;
    if status == 401 && proxy.authorization.is_some() {
        return ProxyFault::WrongPassword(status);
    }
    if status != 407 {
        return ProxyFault::Refused { status, reason, target: target.to_owned() };
    }
    if !schemes.is_empty() && !schemes.iter().any(|s| s.eq_ignore_ascii_case("basic")) {
        return ProxyFault::OtherScheme(schemes.join(", "));
    }
    if proxy.authorization.is_some() { ProxyFault::WrongPassword(status) } else { ProxyFault::NoPassword }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_heads() {
        let head = |text: &str| read(text.as_bytes()).map(|a| a.map(|a| (a.status, a.reason, a.length)));
        let ok = |status, reason: &str, length| Some((status, reason.to_owned(), length));
        for (text, expected) in [
            ("", None),
            ("HTT", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r", None),
            ("HTTP/1.1 200 OK\r\n\r\n", ok(200, "OK", 19)),
            (
                "HTTP/1.0 200 Connection established\r\nx: y\r\n\r\nmore",
                ok(200, "Connection established", 45),
            ),
            ("HTTP/1.1 200\r\n\r\n", ok(200, "", 16)),
            ("HTTP/1.0 200 OK\n\nx", ok(200, "OK", 17)),
            ("HTTP/1.1 502 Bad\u{fc}Gateway\r\n\r\n", ok(502, "", 29)),
        ] {
            assert_eq!(head(text).unwrap(), expected, "{text:?}");
        }
        for text in ["SSH-2.0-x\r\n", "HTTP/2 200 OK\r\n\r\n", "\x16\x03\x01", "<html>", "HTTP/1.1 x\r\n\r\n"]
        {
            assert!(matches!(read(text.as_bytes()), Err(ProxyFault::NotHttp)), "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert!(matches!(read(many.as_bytes()), Err(ProxyFault::NotHttp)));
    }

    #[test]
    fn says_what_the_proxy_wants() {
        let told = |url: &str, head: &str| {
            let proxy = Proxy::parse(url, "proxy_url").unwrap();
            refusal(read(head.as_bytes()).unwrap().unwrap(), &proxy, "h:443").to_string()
        };
        let asks = "HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: Basic realm=\"a\"\r\n\r\n";
        let ntlm = "HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM x,y\r\n\r\n";
        assert!(told("http://p", asks).contains("http://NAME:PASSWORD@"));
        assert!(told("http://u:p@p", asks).contains("refuses the user name and password"));
        assert!(told("http://u:p@p", ntlm).contains("by Negotiate, NTLM"));
        assert!(told("http://p", "HTTP/1.1 407 X\r\n\r\n").contains("NAME:PASSWORD"));
        assert!(told("http://u:p@p", "HTTP/1.1 401 X\r\n\r\n").contains("password in its URL (HTTP 401)"));
        assert!(told("http://p", "HTTP/1.1 401 X\r\n\r\n").contains("opened no tunnel"));
        assert!(told("http://p", "HTTP/1.1 403 No way\r\n\r\n").contains("HTTP 403 No way"));
    }
}
