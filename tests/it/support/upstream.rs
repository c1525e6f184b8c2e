//! An upstream that follows a script: it can cut, drip, reset, hang and lie.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::PATIENCE;
use super::tls::Wire;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Clients that closed while the script waited for it.
    gone: AtomicUsize,
    stopped: AtomicBool,
    /// What clients did not like in a TLS handshake.
    refused: Mutex<Vec<String>>,
}

pub struct Upstream {
    pub addr: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// One connection to the upstream.
pub struct Conn {
    stream: Wire,
    /// 0 for the first.
    pub number: usize,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Runs `script` for every connection, each on a thread of its own.
    pub fn start(script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), script)
    }

    pub fn start_on(addr: SocketAddr, script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        Self::run(addr, None, script)
    }

    /// Over TLS. Connections whose handshake fails never get to the script.
    pub fn start_tls(tls: Arc<ServerConfig>, script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        Self::run("127.0.0.1:0".parse().unwrap(), Some(tls), script)
    }

    /// On this address, over TLS or not.
    pub fn run(
        addr: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(Conn) + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&addr.into()).unwrap();
        socket.listen(2048).unwrap();
        let listener: TcpListener = socket.into();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (script, state) = (Arc::new(script), Arc::clone(&shared));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if state.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                let (script, shared) = (Arc::clone(&script), Arc::clone(&state));
                let _ = stream.set_nodelay(true);
                let tls = tls.clone();
                let talk = move || {
                    let stream = match tls {
                        None => Wire::Plain(stream),
                        Some(tls) => match Wire::accept(stream, &tls) {
                            Ok(stream) => stream,
                            Err(e) => return shared.refused.lock().unwrap().push(e.to_string()),
                        },
                    };
                    script(Conn { stream, number, buffer: Vec::new(), shared });
                };
                std::thread::Builder::new().stack_size(256 << 10).spawn(talk).unwrap();
            }
        });
        Self { addr, scheme, shared, accepting: Some(accepting) }
    }

    /// Answers every request with this.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut conn| {
            while conn.request().is_some() {
                conn.write(&answer);
            }
        })
    }

    /// Says `hello`, whole or streamed as it is asked.
    pub fn hello() -> Self {
        Self::start(|mut conn| {
            while let Some(seen) = conn.request() {
                if seen.json()["stream"] == true {
                    conn.stream(&[&super::text("hello"), &super::finish("stop"), super::DONE]);
                } else {
                    conn.write(ok(&super::completion("hello")));
                }
            }
        })
    }

    /// Begins a stream with the word `one`, and then says nothing until the client closes.
    pub fn one_word() -> Self {
        Self::start(|mut conn| {
            if conn.request().is_some() {
                conn.stream_head();
                conn.chunk(super::text("one"));
                conn.hang();
            }
        })
    }

    pub fn base(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// TLS handshakes that failed: what the client had against them.
    pub fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap().clone()
    }

    /// How many clients closed while [`Conn::wait_gone`] watched.
    pub fn gone(&self) -> usize {
        self.shared.gone.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

impl Conn {
    /// The next request, whole; none when the client closed.
    pub fn request(&mut self) -> Option<Seen> {
        let seen = self.quiet_request()?;
        self.shared.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    /// The same, but [`Upstream::seen`] does not tell of it.
    pub fn quiet_request(&mut self) -> Option<Seen> {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8(self.buffer[..head_end].to_vec()).unwrap();
        let mut seen = Seen { head, body: Vec::new() };
        let length: usize = seen.header("content-length").map_or(0, |v| v.parse().unwrap());
        while self.buffer.len() < head_end + length {
            self.fill()?;
        }
        seen.body = self.buffer[head_end..head_end + length].to_vec();
        self.buffer.drain(..head_end + length);
        Some(seen)
    }

    /// The next bytes, whatever they are; none when the client closed.
    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    /// The name that the client asked for in its TLS handshake.
    pub fn server_name(&self) -> Option<String> {
        match &self.stream {
            Wire::Tls(stream) => stream.conn.server_name().map(str::to_owned),
            _ => None,
        }
    }

    /// What was agreed on in the TLS handshake.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Wire::Tls(stream) => stream.conn.alpn_protocol().map(<[u8]>::to_vec),
            _ => None,
        }
    }

    /// Passes bytes on between the client and `to` until either closes, and shows what the
    /// client sends.
    pub fn relay(self, to: SocketAddr, show: impl Fn(&[u8]) + Send + 'static) {
        let mut client = self.stream.into_tcp();
        let mut server = TcpStream::connect(to).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let down = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let mut bytes = [0; 16384];
        while let Ok(n) = client.read(&mut bytes) {
            show(&bytes[..n]);
            if n == 0 || server.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        down.join().unwrap();
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

    /// What the client does not read is not kept here.
    pub fn small_buffers(&self) {
        socket2::SockRef::from(self.stream.tcp()).set_send_buffer_size(16 << 10).unwrap();
    }

    /// False: the client is gone.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The head of a chunked event stream.
    pub fn stream_head(&mut self) {
        self.write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        );
    }

    pub fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
        self.write(out)
    }

    pub fn end_chunks(&mut self) {
        self.write("0\r\n\r\n");
    }

    /// A whole chunked event stream.
    pub fn stream(&mut self, events: &[&str]) {
        self.stream_head();
        for event in events {
            self.chunk(event);
        }
        self.end_chunks();
    }

    /// Waits for the client to close; counts it.
    pub fn wait_gone(mut self) {
        self.until_gone();
    }

    /// The same, and the connection is still here.
    pub fn until_gone(&mut self) {
        let _ = self.stream.tcp().set_read_timeout(Some(Duration::from_millis(50)));
        let end = Instant::now() + PATIENCE;
        let mut byte = [0; 64];
        while Instant::now() < end {
            match self.stream.read(&mut byte) {
                Ok(n) if n > 0 => {}
                Err(e)
                    if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Ok(_) | Err(_) => break,
            }
        }
        if Instant::now() < end {
            self.shared.gone.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Keeps the connection open and says nothing, until the client closes.
    pub fn hang(self) {
        self.wait_gone();
    }

    /// FIN; over TLS, close_notify before it.
    pub fn close(self) {
        self.stream.close();
    }

    /// FIN; over TLS, no close_notify before it. Dropping the connection does the same.
    pub fn cut(self) {
        self.stream.cut();
    }

    /// RST.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.stream.into_tcp());
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// A whole HTTP answer.
pub fn http(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let mut out = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(out, "{name}: {value}\r\n").unwrap();
    }
    out.push_str("\r\n");
    out.push_str(body);
    out
}

/// 200 with JSON.
pub fn ok(body: &str) -> String {
    http(200, &[("content-type", "application/json")], body)
}
