//! Streams: whatever comes in whatever pieces, the client's events keep to the grammar, what is
//! held is bounded, and an answer that was cut never looks complete.

use claude_proxy::convert::{Feed, Fold, Form, ReplyContext};
use claude_proxy::wire::anthropic::ApiError;
use memchr::memmem;
use serde_json::Value;

use super::grammar::{self, End};
use super::{check_error, choices, context, cuts, message, pieces, profile};

struct Run {
    bytes: Vec<u8>,
    form: Option<Form>,
    started: bool,
    error: Option<ApiError>,
}

/// As the server's pump does it.
fn stream(context: ReplyContext, content_type: &str, early: bool, pieces: &[&[u8]]) -> Run {
    let mut feed = Feed::new(content_type.to_owned(), context);
    let mut out = Vec::new();
    let mut read = 0;
    if early {
        feed.translator.start(&mut out);
    }
    let mut take = |feed: &mut Feed, out: &mut Vec<u8>| -> Result<(), ApiError> {
        for piece in pieces {
            read += piece.len();
            let done = feed.take(piece, out, || ())?;
            let held = feed.translator.retained();
            assert!(held <= 4096 + 64 * read, "{held} bytes held of {read}");
            if done {
                return Ok(());
            }
        }
        feed.end(out)
    };
    let error = take(&mut feed, &mut out).err();
    let started = feed.translator.started();
    if let Some(error) = &error {
        check_error(error);
        if started {
            feed.translator.fail(error, &mut out);
        }
    }
    assert!(started || out.is_empty(), "bytes before the start");
    assert!(out.len() <= 8192 + 64 * read, "{} bytes of {read}", out.len());
    assert_eq!(feed.translator.summary().stop_reason.is_some(), error.is_none());
    if let Some(recorded) = feed.translator.recorded().filter(|_| error.is_none()) {
        // What is kept of it comes back as history.
        match serde_json::from_slice::<Vec<Value>>(&recorded.content) {
            Ok(content) => assert!(content.iter().all(|block| block["type"].is_string())),
            Err(e) => assert!(e.to_string().contains("recursion limit"), "{e}"),
        }
    }
    Run { bytes: out, form: feed.form(), started, error }
}

/// Nothing in these bytes can be the end of an answer.
fn is_cut(bytes: &[u8]) -> bool {
    let mut text = bytes.to_vec();
    for null in [&b"\"finish_reason\":null"[..], b"\"finish_reason\": null"] {
        while let Some(at) = memmem::find(&text, null) {
            text.drain(at..at + null.len());
        }
    }
    // Keys may be written with escapes.
    let ends = [&b"[DONE]"[..], b"finish_reason", b"\\u00", b"done_reason", b"stop_reason"];
    ends.iter().all(|end| memmem::find(&text, end).is_none())
}

/// Where the first byte is that says something: not white space, no byte order mark.
fn begin(bytes: &[u8]) -> usize {
    let mut rest = bytes.trim_ascii_start();
    while let Some(after) = rest.strip_prefix(b"\xEF\xBB\xBF") {
        rest = after.trim_ascii_start();
    }
    bytes.len() - rest.len()
}

pub fn run(data: &[u8]) {
    let Some(([which, options, seed], bytes)) = choices(data) else { return };
    let context = || context(profile(which), options);
    let content_type = if options & 0x20 != 0 { "application/json" } else { "text/event-stream" };
    let early = options & 0x10 != 0;
    let whole = stream(context(), content_type, early, &[bytes]);
    let events = grammar::events(&whole.bytes).unwrap();
    let end =
        grammar::check(&events).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&whole.bytes)));
    match (&whole.error, whole.started) {
        (None, _) => assert_eq!(end, End::Complete),
        (Some(_), true) => assert_eq!(end, End::Error),
        (Some(_), false) => assert!(events.is_empty()),
    }
    if whole.form != Some(Form::Whole) && is_cut(bytes) {
        assert_ne!(end, End::Complete, "cut, and yet complete");
    }

    // What the first bytes are is judged by what has come of them.
    let begin = begin(bytes);
    let mut cuts = cuts(seed, bytes.len());
    cuts.retain(|cut| *cut <= begin || *cut > begin + 16);
    cuts.retain(|cut| *cut >= begin || !matches!(bytes[*cut], 0xBB | 0xBF));
    let cut = stream(context(), content_type, early, &pieces(bytes, &cuts));
    assert_eq!(whole.error, cut.error, "cut elsewhere");
    if whole.bytes != cut.bytes {
        assert_eq!(String::from_utf8_lossy(&whole.bytes), String::from_utf8_lossy(&cut.bytes));
    }

    if whole.form == Some(Form::Events) {
        let mut fold = Fold::new(context());
        let folded = fold.take(bytes).and_then(|done| {
            let end = if done { claude_proxy::convert::UpstreamEnd::DoneMarker } else { fold.last()? };
            fold.finish(end)
        });
        match folded {
            Err(error) => assert_eq!(Some(error), whole.error, "folded"),
            Ok(answer) => {
                assert_eq!(whole.error, None, "folded, but not streamed");
                let folded: Value = serde_json::from_slice(&answer.body).unwrap();
                message::check(&folded);
                message::same(&folded, &message::assemble(&events));
            }
        }
    }
}
