//! R12: the memory of a stream is bounded, whatever its upstream sends: it passes, or it ends
//! with one clean `error`. The limits are exact.

use std::time::Instant;

use claude_proxy::convert::{
    self, ModelSpec, Profile, ReplyContext, StreamTranslator, ThinkingMode, UpstreamEnd,
};
use claude_proxy::wire::anthropic::Request;
use serde_json::{Value, json};

use crate::grammar::{self, End};
use crate::support::program::Program;
use crate::support::upstream::Conn;
use crate::support::*;

/// Largest event, calls in one answer, entries of a list in one event, and output that waits.
const MAX_EVENT: usize = 16 << 20;
const MAX_CALLS: usize = 1000;
const MAX_ENTRIES: usize = 1024;
const MAX_HELD: usize = 8 << 20;

/// Set: 1 GiB in one line and a million deltas, not a sixteenth and a tenth of them.
const FULL: &str = "CLAUDE_PROXY_FULL";

fn scaled(full: usize, part: usize) -> usize {
    if std::env::var_os(FULL).is_some() { full } else { full / part }
}

fn call(index: usize, id: &str, name: &str, arguments: &str) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn calls(calls: &[Value]) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}))
}

/// Writes the same bytes again and again, as chunks of a stream. False: the client is gone.
fn pour(conn: &mut Conn, bytes: &[u8], total: usize) -> bool {
    (0..total / bytes.len()).all(|_| conn.chunk(bytes))
}

/// Both kinds of request get the same error: an event or a 502.
fn refused(addr: std::net::SocketAddr, what: &str, words: &str) {
    for stream in [true, false] {
        let answer = post(addr, &message(what, stream));
        let told = if answer.status == 200 {
            assert!(stream, "{what}: {}", String::from_utf8_lossy(&answer.body[..300]));
            let (events, end) = answer.events();
            assert_eq!(end, End::Error, "{what}");
            events.last().unwrap()["error"]["message"].as_str().unwrap().to_owned()
        } else {
            assert_eq!(answer.status, 502, "{what}");
            answer.error().1
        };
        assert!(told.contains(words), "{what}: {told}");
    }
}

/// The program before a hostile upstream, and its memory before, at most and after.
#[cfg(target_os = "linux")]
#[test]
fn floods_are_cut_and_cost_no_more_than_one_event() {
    let line = scaled(1 << 30, 16);
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.quiet_request() {
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            let what = body["messages"][0]["content"].as_str().unwrap();
            let x = vec![b'x'; 1 << 16];
            conn.stream_head();
            conn.chunk(text("one"));
            let poured = match what {
                "one data line" => {
                    conn.chunk("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"")
                        && pour(&mut conn, &x, line)
                }
                "many data lines" => {
                    pour(&mut conn, format!("data: {}\n", "x".repeat(2041)).repeat(32).as_bytes(), line)
                }
                "an event name" => conn.chunk("event: ") && pour(&mut conn, &x, line),
                "a comment" => conn.chunk(":") && pour(&mut conn, &x, line),
                "a field" => pour(&mut conn, &x, line),
                "choices" => {
                    conn.chunk("data: {\"choices\":[{}")
                        && pour(&mut conn, ",{}".repeat(21845).as_bytes(), 4 << 20)
                }
                "calls" => {
                    conn.chunk("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}")
                        && pour(&mut conn, ",{}".repeat(21845).as_bytes(), 4 << 20)
                        && conn.chunk("]}}]}\n\n")
                }
                "parts" => {
                    conn.chunk("data: {\"choices\":[{\"delta\":{\"content\":[{}")
                        && pour(&mut conn, ",{\"text\":\"a\"}".repeat(5041).as_bytes(), 4 << 20)
                        && conn.chunk("]}}]}\n\n")
                }
                "an error" => {
                    conn.chunk("data: {\"error\":{\"message\":[0")
                        && pour(&mut conn, ",0".repeat(32768).as_bytes(), 4 << 20)
                        && conn.chunk("]}}\n\n")
                }
                "a list" => {
                    conn.chunk("data: [0")
                        && pour(&mut conn, ",0".repeat(32768).as_bytes(), 4 << 20)
                        && conn.chunk("]\n\n")
                }
                "details" => {
                    conn.chunk("data: {\"choices\":[{\"delta\":{\"reasoning_details\":[0")
                        && pour(&mut conn, ",0".repeat(32768).as_bytes(), 4 << 20)
                        && conn.chunk("]}}]}\n\n")
                }
                other => panic!("{other}"),
            };
            if what == "choices" {
                conn.chunk("]}\n\n");
            }
            if !poured {
                return;
            }
            conn.end_chunks();
        }
    });
    let config = json!({"port": 0, "workers": 1, "providers": [{"base_url": up.base(), "api_key": "k",
        "models": [{"id": "m", "extra_body": {}}]}]});
    let program = Program::start(&["serve", "--log-level", "warn"], &config.to_string());
    let addr = program.addr();
    let too_large = "an event of more than 16777216 bytes";
    let crowded = "more than 1024 choices, tool calls or content parts";
    let before = program.resident();
    for (what, words) in [
        ("one data line", too_large),
        ("many data lines", too_large),
        ("an event name", too_large),
        ("a comment", too_large),
        ("a field", too_large),
        ("choices", crowded),
        ("calls", crowded),
        ("parts", crowded),
        ("an error", "upstream returned HTTP 200 with an error of 4"),
        ("a list", "before the response was complete"),
        ("details", "before the response was complete"),
    ] {
        let began = Instant::now();
        let most = std::thread::scope(|scope| {
            let asked = scope.spawn(|| refused(addr, what, words));
            let mut most = 0;
            while !asked.is_finished() {
                most = most.max(program.resident());
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            asked.join().unwrap();
            most
        });
        let after = program.resident();
        eprintln!(
            "R12 {what}: {} MiB poured, resident memory {} MiB before, {} MiB at most, {} MiB after, {} ms",
            line >> 20,
            before >> 20,
            most >> 20,
            after >> 20,
            began.elapsed().as_millis()
        );
        // The event itself, and once more where it was not in one piece.
        assert!(most < before + 3 * MAX_EVENT, "{what}: {most} bytes");
    }
    // The allocator keeps some of it, now more and now less, but not with each flood.
    let after = program.resident();
    for _ in 0..4 {
        refused(addr, "many data lines", too_large);
    }
    let again = program.resident();
    assert!(again < after + MAX_EVENT, "{after} and then {again} bytes stay");
}

#[test]
fn the_limit_on_an_event_is_exact() {
    // `{...}` of exactly so many bytes.
    let event = |size: usize| {
        let (head, tail) = ("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", "\"}}]}");
        format!("data: {head}{}{tail}\n\n", "x".repeat(size - head.len() - tail.len()))
    };
    let bodies = [event(MAX_EVENT), event(MAX_EVENT + 1)].map(|e| e + &finish("stop") + DONE);
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.quiet_request() {
            let one_more = String::from_utf8(seen.body).unwrap().contains("one more");
            conn.stream_head();
            for piece in bodies[usize::from(one_more)].as_bytes().chunks(1 << 18) {
                if !conn.chunk(piece) {
                    return;
                }
            }
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    for stream in [true, false] {
        let answer = post(proxy.addr, &message("the limit", stream));
        assert_eq!(answer.status, 200);
        assert!(answer.body.len() > MAX_EVENT - 200 && answer.complete);
    }
    refused(proxy.addr, "one more", "an event of more than 16777216 bytes");
}

#[test]
fn the_limit_on_calls_is_exact() {
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.quiet_request() {
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            let mut words = body["messages"][0]["content"].as_str().unwrap().split(' ');
            let (form, n) = (words.next().unwrap(), words.next().unwrap().parse::<usize>().unwrap());
            // By hand: it has to be quick, too.
            let one = |i: usize| {
                let function = "{\"name\":\"f\",\"arguments\":\"{}\"}";
                format!("{{\"index\":{i},\"id\":\"call_{i}\",\"function\":{function}}}")
            };
            let all = || (0..n).map(one).collect::<Vec<_>>().join(",");
            let payload = |calls: &str| {
                format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{calls}]}}}}]}}\n\n")
            };
            if form == "whole" {
                conn.write(upstream::ok(&format!(
                    "{{\"choices\":[{{\"message\":{{\"tool_calls\":[{}]}},\"finish_reason\":\"tool_calls\"}}]}}",
                    all()
                )));
                continue;
            }
            conn.stream_head();
            let mut gone = false;
            if form == "at-once" {
                gone |= !conn.chunk(payload(&all()));
            } else {
                for i in 0..n {
                    gone |= !conn.chunk(payload(&one(i)));
                    if gone {
                        break;
                    }
                }
            }
            if gone {
                return;
            }
            conn.chunk([finish("tool_calls"), DONE.to_owned()].concat());
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    for form in ["one-by-one", "at-once", "whole"] {
        for stream in [true, false] {
            let answer = post(proxy.addr, &message(&format!("{form} {MAX_CALLS}"), stream));
            assert_eq!(answer.status, 200, "{form} {stream}");
            let blocks = if stream {
                let (events, end) = answer.events();
                assert_eq!(end, End::Complete, "{form}");
                events.iter().filter(|e| e["content_block"]["type"] == "tool_use").count()
            } else {
                answer.json()["content"].as_array().unwrap().len()
            };
            assert_eq!(blocks, MAX_CALLS);
        }
        let beyond = format!("{form} {}", MAX_CALLS + 1);
        refused(proxy.addr, &beyond, "more than 1000 tool calls in one answer");
        refused(proxy.addr, &format!("{form} {}", 100_000), "upstream sent more than 10");
    }
}

#[test]
fn the_limit_on_entries_of_one_event_is_exact() {
    let says = |body: String| {
        let up = Upstream::start(move |mut conn| {
            while conn.quiet_request().is_some() {
                conn.stream(&[&text("one "), &body, &finish("stop"), DONE]);
            }
        });
        let proxy = Proxy::start(config(&up.base()));
        post(proxy.addr, &message("hi", true))
    };
    let choices = |n: usize| {
        let all: Vec<Value> = (0..n).map(|i| json!({"index": i, "delta": {"content": "a"}})).collect();
        format!("data: {}\n\n", json!({"choices": all}))
    };
    let parts = |n: usize| {
        let all = vec![json!({"type": "text", "text": "a"}); n];
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": all}}]}))
    };
    // Fragments of one call, which is one call however many they are.
    let fragments = |n: usize| {
        let mut all = vec![json!({"index": 0, "function": {"arguments": " "}}); n];
        all[0] = call(0, "call_1", "f", "{");
        all[n - 1]["function"]["arguments"] = "}".into();
        calls(&all)
    };
    for (name, at, beyond) in [
        ("choices", choices(MAX_ENTRIES), choices(MAX_ENTRIES + 1)),
        ("parts", parts(MAX_ENTRIES), parts(MAX_ENTRIES + 1)),
        ("fragments", fragments(MAX_ENTRIES), fragments(MAX_ENTRIES + 1)),
    ] {
        assert_eq!(says(at).events().1, End::Complete, "{name}");
        let (events, end) = says(beyond).events();
        assert_eq!(end, End::Error, "{name}");
        let told = events.last().unwrap()["error"]["message"].as_str().unwrap();
        assert!(told.contains("more than 1024 choices, tool calls or content parts"), "{told}");
    }
}

/// The translator alone, so that what it holds can be seen after every event.
struct Bench {
    translator: StreamTranslator,
    out: Vec<u8>,
    most: usize,
    bytes: usize,
}

impl Bench {
    fn new() -> Self {
        let body = message("hi", true);
        let request = Request::parse(&body).unwrap();
        let profile = Profile::named("generic").unwrap();
        let converted = convert::request(&request, profile, &ModelSpec::default()).unwrap();
        let reply = ReplyContext { thinking: ThinkingMode::Show, ..converted.reply };
        let translator = StreamTranslator::new(reply);
        Self { translator, out: Vec::new(), most: 0, bytes: 0 }
    }

    fn push(&mut self, event: &str) -> Result<(), String> {
        let data = event.trim_start_matches("data: ").trim_end();
        let result = self.translator.push(b"", data.as_bytes(), &mut self.out);
        self.most = self.most.max(self.translator.retained());
        self.bytes += std::mem::take(&mut self.out).len();
        result.map_err(|e| e.message)
    }
}

#[test]
fn a_million_deltas_leave_nothing_behind() {
    let many = scaled(1_000_000, 10);
    let mut bench = Bench::new();
    let began = Instant::now();
    bench.push(&calls(&[call(0, "call_1", "f", "{\"a\":\"")])).unwrap();
    let fragment = calls(&[json!({"index": 0, "function": {"arguments": "word "}})]);
    for _ in 0..many {
        bench.push(&fragment).unwrap();
    }
    bench.push(&calls(&[json!({"index": 0, "function": {"arguments": "\"}"}})])).unwrap();
    bench.push(&finish("tool_calls")).unwrap();
    let mut out = Vec::new();
    bench.translator.finish(UpstreamEnd::DoneMarker, &mut out).unwrap();
    let tail = grammar::events(&out).unwrap();
    assert_eq!(tail.last().unwrap()["type"], "message_stop");
    eprintln!(
        "R12 {many} tool deltas: {} bytes held at most, {} MiB passed on, {} ms",
        bench.most,
        bench.bytes >> 20,
        began.elapsed().as_millis()
    );
    assert!(bench.most < 4096 && bench.bytes > many * 5, "{} bytes", bench.most);
}

#[test]
fn the_limit_on_reasoning_details_is_exact() {
    let event = |size: usize| {
        let (head, tail) = ("[{\"type\":\"reasoning.text\",\"text\":\"", "\"}]");
        let details = format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()));
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"reasoning_details\":{details}}}}}]}}\n\n")
    };
    let mut bench = Bench::new();
    bench.push(&event(1 << 20)).unwrap();
    let error = bench.push(&event((1 << 20) + 1)).unwrap_err();
    assert_eq!(error, "upstream sent more than 1 MiB of reasoning_details at once");
}

type Event<'a> = Box<dyn Fn(usize) -> String + 'a>;

#[test]
fn the_limit_on_what_waits_is_exact_and_never_passed() {
    // Text, reasoning, details and arguments of a later call wait for an open call.
    let block = "w".repeat(4096);
    let ways: [(&str, Event<'_>); 4] = [
        ("text", Box::new(|_| text(&block))),
        (
            "reasoning",
            Box::new(|_| {
                format!(
                    "data: {}\n\n",
                    json!({"choices": [{"index": 0, "delta": {"reasoning_content": block}}]})
                )
            }),
        ),
        (
            "a later call",
            Box::new(|n| {
                let begin = if n == 0 { "{\"a\":\"" } else { "" };
                calls(&[call(1, "call_2", "g", &format!("{begin}{block}"))])
            }),
        ),
        // Names that never become a call: theirs is the size of the id.
        ("ids", Box::new(|n| calls(&[json!({"index": n + 1, "id": format!("{n}{block}")})]))),
    ];
    for (name, event) in ways {
        let mut bench = Bench::new();
        bench.push(&calls(&[call(0, "call_1", "f", "{\"a\":")])).unwrap();
        let (n, error) = until_refused(&mut bench, event);
        eprintln!("R12 {name} that waits: {n} events of 4 KiB, {} bytes held at most: {error}", bench.most);
        if name == "ids" {
            // A thousand of them are fewer bytes than the limit.
            assert_eq!(n, MAX_CALLS);
            continue;
        }
        assert_eq!(error, "upstream sent more than 8 MiB that cannot be passed on yet", "{name}");
        assert!(n >= MAX_HELD / 4096 - 1 - n / 100 && n <= MAX_HELD / 4096 + 1, "{name}: {n}");
        assert!(bench.most <= MAX_HELD + 2 * 4096, "{name}: {} bytes", bench.most);
    }
}

/// How many events it took, the refused one included, and why.
fn until_refused(bench: &mut Bench, event: impl Fn(usize) -> String) -> (usize, String) {
    for n in 0.. {
        if let Err(error) = bench.push(&event(n)) {
            return (n + 1, error);
        }
    }
    panic!("no end")
}
