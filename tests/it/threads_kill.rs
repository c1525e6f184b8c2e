//! The proxy is killed at any moment: no turn of a thread that was acknowledged is lost, and none
//! is there twice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::program::Program;
use crate::support::upstream::ok;
use crate::support::*;
use crate::threads::{BETA, body};

/// Set: how often the proxy is killed.
const KILLS: &str = "CLAUDE_PROXY_KILLS";

/// Role and text of each message.
type Messages = Vec<(&'static str, String)>;

/// Stands for a whole conversation (FNV-1a).
fn fingerprint<'m>(messages: impl IntoIterator<Item = (&'m str, &'m str)>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (role, text) in messages {
        for byte in role.bytes().chain([0]).chain(text.bytes()).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

fn of(messages: &Messages) -> String {
    fingerprint(messages.iter().map(|(role, text)| (*role, text.as_str())))
}

/// Says what it saw, in pieces.
fn witness() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let body = seen.json();
            let messages = body["messages"].as_array().unwrap();
            let said = fingerprint(
                messages.iter().map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap())),
            );
            if body["stream"] == true {
                conn.stream_head();
                conn.chunk(text(&said[..7]));
                std::thread::sleep(Duration::from_millis(3));
                conn.chunk(text(&said[7..]));
                conn.chunk(finish("stop"));
                conn.chunk(DONE);
                conn.end_chunks();
            } else {
                conn.write(ok(&completion(&said)));
            }
        }
    })
}

/// One conversation of a client that sends only what is new.
#[derive(Default)]
struct Conversation {
    /// All that was acknowledged.
    messages: Messages,
    /// The id of the last answer among it.
    last: Option<String>,
    turns: usize,
    /// A stream that broke off: its id, and what it would have been.
    broken: Option<(String, Messages)>,
}

/// How a turn ended.
enum Turned {
    Acknowledged,
    /// The proxy is gone.
    Broken,
}

impl Conversation {
    /// The next turn, the same again if the one before broke.
    fn turn(&mut self, addr: SocketAddr, seed: usize) -> Turned {
        let question = format!("question {}", self.messages.len());
        let stream = !(self.turns + seed).is_multiple_of(3);
        self.turns += 1;
        let mut all = self.messages.clone();
        all.push(("user", question.clone()));
        let want = of(&all);
        let Some((id, said)) = ask(addr, self.last.as_deref(), &question, stream) else {
            return Turned::Broken;
        };
        all.push(("assistant", want.clone()));
        let Some(said) = said else {
            self.broken = Some((id, all));
            return Turned::Broken;
        };
        assert_eq!(said, want, "after {} messages from {:?}", self.messages.len(), self.last);
        (self.messages, self.last) = (all, Some(id));
        Turned::Acknowledged
    }

    /// What was never acknowledged is there as a whole, or not at all.
    fn check_broken(&mut self, addr: SocketAddr) -> bool {
        let Some((id, mut all)) = self.broken.take() else { return false };
        let asked = json!([{"role": "user", "content": "and?"}]);
        let answer = post_threaded(addr, &body(Some(&id), &asked, false));
        if answer.status == 404 {
            return false;
        }
        all.push(("user", "and?".to_owned()));
        assert_eq!(answer.json()["content"][0]["text"], of(&all));
        true
    }
}

fn post_threaded(addr: SocketAddr, body: &Value) -> client::Answer {
    let mut client = Client::connect(addr);
    client.send("POST", "/v1/messages", &[BETA], body.to_string().as_bytes());
    client.answer()
}

/// The id of the answer, and its text if it was acknowledged. None: nothing came.
fn ask(
    addr: SocketAddr,
    last: Option<&str>,
    question: &str,
    stream: bool,
) -> Option<(String, Option<String>)> {
    std::net::TcpStream::connect(addr).ok()?;
    let mut client = Client::connect(addr);
    let body = body(last, &json!([{"role": "user", "content": question}]), stream);
    client.send("POST", "/v1/messages", &[BETA], body.to_string().as_bytes());
    let (status, head) = client.head()?;
    let answer = client.rest(status, head, true);
    if status == 200 && !answer.complete && !stream {
        return None;
    }
    assert_eq!(status, 200, "{last:?}: {}", String::from_utf8_lossy(&answer.body));
    if !stream {
        let message = answer.json();
        let said = message["content"][0]["text"].as_str().unwrap().to_owned();
        return Some((message["id"].as_str().unwrap().to_owned(), Some(said)));
    }
    // What was cut is no event.
    let whole = answer.body.windows(2).rposition(|w| w == b"\n\n").map_or(0, |at| at + 2);
    let answer = client::Answer { body: answer.body[..whole].to_vec(), ..answer };
    let (events, end) = answer.events();
    let id = events.first()?["message"]["id"].as_str()?.to_owned();
    assert_ne!(end, End::Error, "{}", String::from_utf8_lossy(&answer.body));
    Some((id, (end == End::Complete).then(|| answer.text())))
}

#[test]
fn no_acknowledged_turn_is_lost_and_none_is_doubled() {
    let kills = std::env::var(KILLS).ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let dir = tempfile::tempdir().unwrap();
    let up = witness();
    let file = json!({"port": 0, "workers": 2, "threads": {"path": dir.path().join("threads.redb")},
        "providers": [{"name": "up", "base_url": up.base(), "api_key": "k", "models": [{"id": "m"}]}]});
    let file = file.to_string();
    let mut conversations: Vec<Conversation> = (0..6).map(|_| Conversation::default()).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (acknowledged, broken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut whole = 0;
    for kill in 0..=kills {
        let program = Program::start(&["serve", "--log-level", "warn"], &file);
        let addr = program.addr();
        whole += conversations.iter_mut().filter_map(|c| c.check_broken(addr).then_some(())).count();
        if kill == kills {
            // Once more for all: nothing that was acknowledged before any of the kills is missing.
            for conversation in &mut conversations {
                assert!(matches!(conversation.turn(addr, 0), Turned::Acknowledged));
            }
            program.signal("TERM");
            program.end();
            break;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (turns, pause) = ((random >> 33) as usize % 60, Duration::from_micros((random >> 43) % 8000));
        let before = acknowledged.load(Ordering::Relaxed);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (seed, conversation) in conversations.iter_mut().enumerate() {
                let (over, acknowledged, broken) = (&over, &acknowledged, &broken);
                scope.spawn(move || {
                    loop {
                        match conversation.turn(addr, seed) {
                            Turned::Acknowledged => acknowledged.fetch_add(1, Ordering::Relaxed),
                            Turned::Broken => {
                                let end = Instant::now() + PATIENCE;
                                while !over.load(Ordering::Acquire) {
                                    assert!(Instant::now() < end, "it was not killed");
                                    std::thread::sleep(Duration::from_millis(1));
                                }
                                broken.fetch_add(1, Ordering::Relaxed);
                                return;
                            }
                        };
                    }
                });
            }
            eventually("turns", || acknowledged.load(Ordering::Relaxed) >= before + turns);
            std::thread::sleep(pause);
            program.signal("KILL");
            over.store(true, Ordering::Release);
        });
        program.end();
    }
    let (acknowledged, broken) = (acknowledged.into_inner(), broken.into_inner());
    eprintln!(
        "{kills} kills, {acknowledged} turns acknowledged, {broken} broken, {whole} of them kept all the same"
    );
    assert_eq!(broken, 6 * kills);
}
