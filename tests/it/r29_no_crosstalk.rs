//! R29: no cross-talk: every client gets a prefix of its own bytes, and nobody else's, whatever
//! is cut or cancelled around it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::grammar::{self, End};
use crate::support::*;

const STREAMS: usize = 500;
/// Requests of each client, one after the other on one connection while that lasts.
const ROUNDS: usize = 4;
const SEED: u64 = 20_261_126;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// What becomes of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Whole,
    Closed,
    Reset,
    /// The client leaves.
    Cancelled,
}

/// One exchange, all of it by its number.
struct Plan {
    name: String,
    fate: Fate,
    stream: bool,
    /// Where it is cut, per mille of its bytes.
    at: usize,
    random: Random,
}

impl Plan {
    fn new(n: usize) -> Self {
        let mut random = Random(SEED ^ (n as u64) << 20);
        let fate = match random.below(10) {
            0 => Fate::Closed,
            1 => Fate::Reset,
            2 | 3 => Fate::Cancelled,
            _ => Fate::Whole,
        };
        let (stream, at) = (random.below(4) > 0, random.below(1000));
        Self { name: format!("client{n:05}"), fate, stream, at, random }
    }

    fn text(&self) -> String {
        (0..12).fold(String::new(), |mut all, n| {
            write!(all, "{}-{n}\u{1F600} ", self.name).unwrap();
            all
        })
    }

    fn id(&self) -> String {
        format!("call_{}", self.name)
    }

    fn tool(&self) -> String {
        format!("tool_{}", self.name)
    }

    fn arguments(&self) -> String {
        json!({"who": self.name, "again": vec![self.name.as_str(); 5]}).to_string()
    }

    /// The upstream's stream.
    fn wire(&self) -> String {
        let chunk = |delta: Value| {
            format!("data: {}\n\n", json!({"id": self.name, "choices": [{"index": 0, "delta": delta}]}))
        };
        let mut wire = String::new();
        for word in self.text().split_inclusive(' ') {
            wire.push_str(&chunk(json!({"content": word})));
        }
        let call = |id: Option<String>, arguments: &str| {
            let mut call = json!({"index": 0, "function": {"arguments": arguments}});
            if let Some(id) = id {
                call["id"] = id.into();
                call["function"]["name"] = self.tool().into();
            }
            chunk(json!({"tool_calls": [call]}))
        };
        wire.push_str(&call(Some(self.id()), ""));
        for piece in self.arguments().as_bytes().chunks(17) {
            wire.push_str(&call(None, std::str::from_utf8(piece).unwrap()));
        }
        wire + &finish("tool_calls") + DONE
    }

    /// All that a client got is this exchange's.
    fn check(&self, answer: &client::Answer) -> Option<End> {
        let at = |e: String| format!("{} {:?}: {e}", self.name, self.fate);
        let all = String::from_utf8_lossy(&answer.body);
        for (found, _) in all.match_indices("client") {
            // A piece of the arguments may end in the middle of it.
            let digits = all[found + 6..].bytes().take_while(u8::is_ascii_digit).count();
            let word = &all[found..found + 6 + digits];
            assert!(self.name.starts_with(word), "{}", at(format!("got {word}")));
        }
        if answer.status != 200 {
            assert_eq!(answer.status, 502, "{}", at(all.clone().into_owned()));
            return Some(End::Error);
        }
        if !self.stream {
            if !answer.complete {
                return None;
            }
            let body = answer.json();
            assert_eq!(body["content"][0]["text"], self.text(), "{}", at(body.to_string()));
            assert_eq!(body["content"][1]["input"].to_string(), self.arguments());
            assert_eq!(
                (&body["content"][1]["id"], &body["content"][1]["name"]),
                (&self.id().into(), &self.tool().into())
            );
            return Some(End::Complete);
        }
        // Of a cancelled answer the last event may be half there.
        let whole = answer.body.windows(2).rposition(|w| w == b"\n\n").map_or(0, |at| at + 2);
        let body = if answer.complete { &answer.body[..] } else { &answer.body[..whole] };
        let events = grammar::events(body).unwrap_or_else(|e| panic!("{}", at(e)));
        let end = grammar::check(&events).unwrap_or_else(|e| panic!("{}", at(e)));
        let told = capture::Told::of(&events);
        assert!(self.text().starts_with(&told.text), "{}", at(told.text));
        assert!(self.arguments().starts_with(&told.arguments), "{}", at(told.arguments));
        for block in events.iter().filter(|e| e["content_block"]["type"] == "tool_use") {
            let block = &block["content_block"];
            assert_eq!((&block["id"], &block["name"]), (&self.id().into(), &self.tool().into()));
        }
        if end == End::Complete {
            assert_eq!((told.text, told.arguments), (self.text(), self.arguments()), "{}", self.name);
        }
        Some(end)
    }
}

#[test]
fn five_hundred_streams_do_not_mix() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.quiet_request() {
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            let number = body["messages"][0]["content"].as_str().unwrap().strip_prefix("number ").unwrap();
            let mut plan = Plan::new(number.parse().unwrap());
            let wire = plan.wire().into_bytes();
            let cut = match plan.fate {
                // The end of a client that leaves is not waited for.
                Fate::Whole | Fate::Cancelled => wire.len(),
                Fate::Closed | Fate::Reset => wire.len() * plan.at / 1000,
            };
            conn.stream_head();
            let mut rest = &wire[..cut];
            while !rest.is_empty() {
                // Pieces of any size: in events, characters, and several events at once.
                let size = (1 + plan.random.below(400)).min(rest.len());
                if !conn.chunk(&rest[..size]) {
                    return;
                }
                rest = &rest[size..];
                if plan.random.below(3) == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            match plan.fate {
                Fate::Closed => return conn.close(),
                Fate::Reset => return conn.reset(),
                _ => conn.end_chunks(),
            }
        }
    });
    let mut config = config(&up.base());
    config.workers = 4;
    let proxy = Proxy::start(config);
    let counts: [AtomicUsize; 4] = Default::default();
    let (ids, bytes, began) = (Mutex::new(HashSet::new()), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for client in 0..STREAMS {
            let (counts, ids, bytes, proxy) = (&counts, &ids, &bytes, &proxy);
            let work = move || {
                let mut connection = Client::connect(proxy.addr);
                for round in 0..ROUNDS {
                    let plan = Plan::new(round * STREAMS + client);
                    let number: usize = plan.name.trim_start_matches("client").parse().unwrap();
                    let body = message(&format!("number {number}"), plan.stream);
                    connection.send("POST", "/v1/messages", &[], &body);
                    if plan.fate == Fate::Cancelled {
                        let mut got = Vec::new();
                        // About as far as it goes before it leaves.
                        let want = if plan.stream { 300 + plan.at * 2 } else { 0 };
                        while got.len() < want && connection.read_some(997) > 0 {
                            got = connection.raw().into_bytes();
                        }
                        let leaving = std::mem::replace(&mut connection, Client::connect(proxy.addr));
                        let got = leaving.left();
                        bytes.fetch_add(got.body.len(), Ordering::Relaxed);
                        plan.check(&got);
                        counts[3].fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let answer = connection.answer();
                    assert!(ids.lock().unwrap().insert(answer.header("request-id").unwrap().to_owned()));
                    bytes.fetch_add(answer.body.len(), Ordering::Relaxed);
                    let at = match plan.check(&answer).expect("an end") {
                        End::Complete => 0,
                        End::Error => 1,
                        End::Open => panic!("{}: an open end", plan.name),
                    };
                    if plan.fate == Fate::Whole {
                        assert_eq!(at, 0, "{}: {}", plan.name, String::from_utf8_lossy(&answer.body));
                    }
                    counts[at].fetch_add(1, Ordering::Relaxed);
                }
            };
            std::thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, work).unwrap();
        }
    });
    let [complete, failed, _, cancelled] = counts.map(AtomicUsize::into_inner);
    eprintln!(
        "R29 seed {SEED}: {} exchanges of {STREAMS} clients at once in {} ms over {} upstream connections: {complete} \
         complete, {failed} failed, {cancelled} cancelled; {} bytes",
        STREAMS * ROUNDS,
        began.elapsed().as_millis(),
        up.connections(),
        bytes.into_inner()
    );
    assert_eq!(complete + failed + cancelled, STREAMS * ROUNDS);
    assert!(complete > STREAMS && failed > STREAMS / 4 && cancelled > STREAMS / 4);
    assert!(up.connections() < STREAMS * ROUNDS, "connections are used again");
    eventually("all permits are back", || proxy.load.running() == 0);
}

/// An interim head (1xx) is not the answer: the connection is not free for the next request
/// while the real one is still to come.
#[test]
fn an_answer_after_an_interim_head_meets_its_own_request() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let name = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
            conn.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
            std::thread::sleep(std::time::Duration::from_millis(50));
            conn.write(upstream::ok(&completion(&name)));
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    for n in 0..10 {
        let name = format!("client{n}");
        let answer = post(proxy.addr, &message(&name, n % 2 == 0));
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = if n % 2 == 0 {
            answer.text()
        } else {
            answer.json()["content"][0]["text"].as_str().unwrap().into()
        };
        assert_eq!(text, name);
    }
    assert_eq!(up.connections(), 1, "and the connection is used again");
}
