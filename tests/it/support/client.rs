//! A client by hand: what it reads is what went over the wire.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::Value;

use super::PATIENCE;
use super::tls::Wire;
use crate::grammar;

pub struct Client {
    stream: Wire,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The framing came to its end.
    pub complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks the shape of an error and returns (type, message).
    pub fn error(&self) -> (String, String) {
        let body = self.json();
        assert_eq!(body["type"], "error", "{body}");
        assert_eq!(body["request_id"].as_str(), self.header("request-id"), "{body}");
        assert!(self.header("request-id").unwrap().starts_with("req_"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        let part = |key: &str| body["error"][key].as_str().unwrap().to_owned();
        (part("type"), part("message"))
    }

    /// The events of a stream, which must keep to the grammar.
    pub fn events(&self) -> (Vec<Value>, grammar::End) {
        let events = grammar::events(&self.body).unwrap_or_else(|e| panic!("{e}"));
        let end = grammar::check(&events).unwrap_or_else(|e| panic!("{e}: {events:?}"));
        (events, end)
    }

    /// All text deltas, joined.
    pub fn text(&self) -> String {
        let (events, _) = self.events();
        events.iter().filter_map(|e| e["delta"]["text"].as_str()).collect()
    }
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: Wire::Plain(stream), buffer: Vec::new() }
    }

    /// Asks for a stream, and has its first word from [`super::Upstream::one_word`].
    pub fn streaming(addr: SocketAddr) -> Self {
        let mut client = Self::connect(addr);
        client.send("POST", "/v1/messages", &[], &message("hi", true));
        client.until("one");
        client
    }

    /// Over TLS. The error is what is wrong with the handshake.
    pub fn connect_tls(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(Self { stream: Wire::connect(stream, config, name)?, buffer: Vec::new() })
    }

    /// What was agreed on in the TLS handshake.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Wire::Client(stream) => stream.conn.alpn_protocol().map(<[u8]>::to_vec),
            _ => None,
        }
    }

    /// With a small receive buffer: what it does not read stays with the proxy.
    pub fn connect_small(addr: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        socket.connect(&addr.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: Wire::Plain(stream), buffer: Vec::new() }
    }

    /// Reads at most `most` bytes, once; 0 at the end. [`Client::raw`] has the last of them.
    pub fn read_some(&mut self, most: usize) -> usize {
        let mut bytes = vec![0; most];
        let n = self.stream.read(&mut bytes).unwrap_or(0);
        self.buffer.extend_from_slice(&bytes[..n]);
        n
    }

    /// The same, and what came is not kept.
    pub fn skip_some(&mut self, most: usize) -> usize {
        self.stream.read(&mut vec![0; most]).unwrap_or(0)
    }

    /// What has come of an answer that is not waited for; its connection is closed.
    pub fn left(mut self) -> Answer {
        let empty = Answer { status: 200, head: String::new(), body: Vec::new(), complete: false };
        let _ = self.stream.tcp().shutdown(std::net::Shutdown::Both);
        match self.head() {
            Some((status, head)) => self.rest(status, head, true),
            None => empty,
        }
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut out = format!("{method} {path} HTTP/1.1\r\nhost: proxy\r\n");
        for (name, value) in headers {
            write!(out, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() || method == "POST" {
            write!(out, "content-length: {}\r\n", body.len()).unwrap();
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(body);
        // The proxy may have answered and closed already: then the answer tells.
        let _ = self.stream.write_all(&out);
    }

    /// Reads the head only.
    pub fn head(&mut self) -> Option<(u16, String)> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head))
    }

    /// Waits until these bytes have come; what came stays to be read.
    pub fn until(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.buffer.windows(text.len()).any(|w| w == text.as_bytes()) {
            assert!(Instant::now() < end, "{text:?} did not come: {}", String::from_utf8_lossy(&self.buffer));
            self.fill().unwrap_or_else(|| panic!("closed before {text:?}"));
        }
    }

    /// All that has come so far and was not read.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 16384];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.buffer.extend_from_slice(&bytes[..n]);
                Some(())
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill()?;
        }
    }

    fn exactly(&mut self, n: usize, into: &mut Vec<u8>) -> bool {
        while self.buffer.len() < n {
            if self.fill().is_none() {
                into.append(&mut self.buffer);
                return false;
            }
        }
        into.extend(self.buffer.drain(..n));
        true
    }

    /// Reads one answer to its end, however it ends.
    pub fn answer(&mut self) -> Answer {
        let (status, head) = self.head().expect("an answer");
        self.rest(status, head, true)
    }

    pub fn rest(&mut self, status: u16, head: String, with_body: bool) -> Answer {
        let mut answer = Answer { status, head, body: Vec::new(), complete: true };
        if !with_body {
            return answer;
        }
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            answer.complete = self.exactly(length.parse().unwrap(), &mut body);
        } else if answer.header("transfer-encoding").is_some() {
            answer.complete = false;
            while let Some(size) = self.line() {
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                if !self.exactly(size, &mut body) {
                    break;
                }
                self.line();
                if size == 0 {
                    answer.complete = true;
                    break;
                }
            }
        }
        answer.body = body;
        answer
    }

    /// All that comes until the proxy closes; none if it does not, within [`PATIENCE`].
    pub fn until_closed(&mut self) -> Option<String> {
        let end = Instant::now() + PATIENCE;
        let mut bytes = [0; 16384];
        while Instant::now() < end {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Some(self.raw()),
                Ok(n) => self.buffer.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(_) => return Some(self.raw()),
            }
        }
        None
    }

    /// FIN; over TLS, close_notify before it.
    pub fn close(self) {
        self.stream.close();
    }

    /// Waits for the other side to close; false: more came.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().is_none()
    }

    /// RST.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.stream.into_tcp());
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    /// FIN, but goes on reading.
    pub fn half_close(&self) {
        let _ = self.stream.tcp().shutdown(std::net::Shutdown::Write);
    }
}

/// One request on a connection of its own.
pub fn ask(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut client = Client::connect(addr);
    client.send(method, path, headers, body);
    let (status, head) = client.head().expect("an answer");
    client.rest(status, head, method != "HEAD")
}

/// A request to model `m` that says `text`.
pub fn message(text: &str, stream: bool) -> Vec<u8> {
    serde_json::json!({"model": "m", "max_tokens": 64, "stream": stream,
        "messages": [{"role": "user", "content": text}]})
    .to_string()
    .into_bytes()
}

/// `POST /v1/messages` on a connection of its own.
pub fn post(addr: SocketAddr, body: &[u8]) -> Answer {
    ask(addr, "POST", "/v1/messages", &[("content-type", "application/json")], body)
}
