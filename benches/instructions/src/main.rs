//! Runs one case once, for `valgrind --tool=callgrind --toggle-collect='*counted*'`: ./run does that.
//!
//!   claude-proxy-instructions           names the cases
//!   claude-proxy-instructions CASE      runs it uncounted, to be warm, then counted

use std::error::Error;
use std::hint::black_box;

use claude_proxy_instructions::convert::count::{Known, count_tokens};
use claude_proxy_instructions::convert::native::{History, Relay, request as passed};
use claude_proxy_instructions::convert::{self, ModelSpec, Profile, ReplyContext, StreamTranslator};
use claude_proxy_instructions::wire::anthropic::{KnownTools, Outline, Request};
use claude_proxy_instructions::wire::sse::SseDecoder;

#[path = "../../rig/src/bodies.rs"]
mod bodies;

type Done = Result<(), Box<dyn Error>>;

/// What valgrind counts.
#[inline(never)]
fn counted(work: &mut dyn FnMut() -> Done) -> Done {
    black_box(work())
}

fn twice(mut work: impl FnMut() -> Done) -> Done {
    black_box(&mut work)()?;
    counted(&mut work)
}

/// Bodies of the load generator.
fn body(kind: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(bodies::build(kind, "claude-bench", "bench-t1-0-600", true).ok_or("no such body")?)
}

fn generic() -> Result<&'static Profile, Box<dyn Error>> {
    Ok(Profile::named("generic").ok_or("no profile")?)
}

fn model() -> ModelSpec {
    ModelSpec { remote_id: "upstream".into(), ..ModelSpec::default() }
}

/// A request, parsed and converted.
fn request(kind: &str) -> Done {
    let (body, profile, model) = (body(kind)?, generic()?, model());
    twice(|| {
        let request = Request::parse(black_box(&body))?;
        black_box(convert::request(&request, profile, &model)?);
        Ok(())
    })
}

fn parse(kind: &str) -> Done {
    let body = body(kind)?;
    twice(|| {
        black_box(Request::parse(black_box(&body))?);
        Ok(())
    })
}

/// Reading one whose tools are those of an earlier request.
fn parse_known(kind: &str) -> Done {
    let body = body(kind)?;
    let mut known = KnownTools::default();
    Request::parse_known(&body, &mut known)?;
    twice(|| {
        black_box(Request::parse_known(black_box(&body), &mut known)?);
        Ok(())
    })
}

/// A request for an upstream that speaks the Messages API itself.
fn native(kind: &str) -> Done {
    let body = body(kind)?;
    twice(|| {
        black_box(passed(&Outline::read(black_box(&body))?, "upstream", History::Cleaned));
        Ok(())
    })
}

fn count(kind: &str) -> Done {
    let (body, profile, model) = (body(kind)?, generic()?, model());
    twice(|| {
        let request = Request::parse_for_count(black_box(&body))?;
        black_box(count_tokens(&request, profile, &model, &Known::default(), &mut || ())?);
        Ok(())
    })
}

fn context() -> Result<ReplyContext, Box<dyn Error>> {
    Ok(convert::request(&Request::parse(&body("small")?)?, generic()?, &model())?.reply)
}

fn response() -> Done {
    let text = serde_json::to_string(&bodies::filler(200_000, 1))?;
    let body = format!(
        r#"{{"choices":[{{"message":{{"content":{text}}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":2}}}}"#
    );
    let mut contexts = vec![context()?, context()?];
    twice(|| {
        let context = contexts.pop().ok_or("no context")?;
        black_box(convert::response(black_box(body.as_bytes()), context)?);
        Ok(())
    })
}

/// Events of a stream that is counted.
const EVENTS: usize = 1000;
/// How many of them come in one read, where it is not one.
const BATCH: usize = 20;

fn chunk(delta: &str) -> String {
    format!(
        concat!(
            r#"data: {{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"#,
            r#""model":"gpt-4.1","system_fingerprint":"fp_44709d6fcb","choices":[{{"index":0,"delta":{},"logprobs":null,"#,
            r#""finish_reason":null}}],"usage":null}}"#,
            "\n\n"
        ),
        delta
    )
}

/// A stream under way: `EVENTS` chunks, so many in each read.
fn stream(first: &str, next: &str, batch: usize) -> Done {
    let (first, read) = (chunk(first), chunk(next).repeat(batch));
    let mut translator = StreamTranslator::new(context()?);
    let mut decoder = SseDecoder::new(1 << 20);
    let mut out = Vec::with_capacity(64 << 10);
    let mut push = move |bytes: &str| -> Done {
        out.clear();
        decoder.push(black_box(bytes.as_bytes()));
        while let Some(event) = decoder.next_event() {
            let event = event?;
            translator.push(event.name, event.data, &mut out)?;
        }
        black_box(&out);
        Ok(())
    };
    push(&first)?;
    twice(|| (0..EVENTS / batch).try_for_each(|_| push(&read)))
}

fn text(batch: usize) -> Done {
    stream(r#"{"role":"assistant","content":"Once"}"#, r#"{"content":" upon a time there was"}"#, batch)
}

fn arguments(batch: usize) -> Done {
    stream(
        r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"text\":\""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"a piece of \\\"text\\\" of it"}}]}"#,
        batch,
    )
}

/// Decoding alone; reads end in the middle of lines.
fn sse() -> Done {
    let bytes = chunk(r#"{"content":" upon a time there was"}"#).repeat(EVENTS);
    let mut decoder = SseDecoder::new(1 << 20);
    twice(|| {
        for read in bytes.as_bytes().chunks(1371) {
            decoder.push(black_box(read));
            while let Some(event) = decoder.next_event() {
                black_box(event?);
            }
        }
        Ok(())
    })
}

/// A stream of an upstream that speaks the Messages API itself.
fn relay() -> Done {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n";
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" upon a time there was\"}}\n\n";
    let mut relay = Relay::new("text/event-stream".into(), "mock".into(), 0);
    let mut out = Vec::with_capacity(64 << 10);
    relay.take(start.as_bytes(), &mut out, || {})?;
    twice(|| {
        for _ in 0..EVENTS {
            out.clear();
            relay.take(black_box(delta.as_bytes()), &mut out, || {})?;
            black_box(&out);
        }
        Ok(())
    })
}

type Case = (&'static str, fn() -> Done);

const CASES: &[Case] = &[
    ("request_300b", || request("small")),
    ("request_120kb", || request("claude")),
    ("request_120kb_parse", || parse("claude")),
    ("request_120kb_parse_known", || parse_known("claude")),
    ("request_120kb_native", || native("claude")),
    ("request_2mb", || request("huge")),
    ("response_200kb", response),
    ("text_1000_chunks", || text(1)),
    ("text_1000_chunks_batched", || text(BATCH)),
    ("arguments_1000_chunks", || arguments(1)),
    ("sse_1000_events", sse),
    ("relay_1000_events", relay),
    ("count_tokens_120kb", || count("claude")),
];

fn main() -> Done {
    let Some(name) = std::env::args().nth(1) else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    CASES.iter().find(|(case, _)| *case == name).ok_or("no such case")?.1()
}
