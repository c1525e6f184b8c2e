//! The pump without sockets: upstream bytes through decoder and translator.

use claude_proxy::convert::{Recorded, ReplyContext, StreamTranslator, UpstreamEnd};
use claude_proxy::wire::anthropic::ApiError;
use claude_proxy::wire::sse::SseDecoder;

/// What a client would have got.
#[derive(Debug)]
pub struct Run {
    pub bytes: Vec<u8>,
    /// The answer could still be an HTTP error.
    pub http_error: Option<ApiError>,
    /// Most bytes that the translator held.
    pub retained: usize,
    /// What the answer said, if that was asked for.
    pub recorded: Option<Recorded>,
}

/// Pushes the pieces of an upstream's body through, as `serve` and `convert` do.
pub fn stream(context: ReplyContext, pieces: &[&[u8]]) -> Run {
    let mut translator = StreamTranslator::new(context);
    let mut run = Run { bytes: Vec::new(), http_error: None, retained: 0, recorded: None };
    let result = feed(&mut translator, pieces, &mut run);
    if let Err(error) = result {
        if translator.started() {
            translator.fail(&error, &mut run.bytes);
        } else {
            assert!(run.bytes.is_empty(), "bytes before the start");
            run.http_error = Some(error);
        }
    } else {
        run.recorded = translator.recorded();
    }
    run
}

fn feed(translator: &mut StreamTranslator, pieces: &[&[u8]], run: &mut Run) -> Result<(), ApiError> {
    let mut decoder = SseDecoder::new(16 << 20);
    for piece in pieces {
        decoder.push(piece);
        while let Some(event) = decoder.next_event() {
            let event = event.map_err(|e| ApiError::bad_gateway(e.to_string()))?;
            if event.data == b"[DONE]" {
                return translator.finish(UpstreamEnd::DoneMarker, &mut run.bytes);
            }
            let result = translator.push(event.name, event.data, &mut run.bytes);
            run.retained = run.retained.max(translator.retained());
            result?;
        }
    }
    while let Some(event) = decoder.last_event() {
        let event = event.map_err(|e| ApiError::bad_gateway(e.to_string()))?;
        if event.data == b"[DONE]" {
            return translator.finish(UpstreamEnd::DoneMarker, &mut run.bytes);
        }
        translator.push(event.name, event.data, &mut run.bytes)?;
    }
    translator.finish(UpstreamEnd::Eof, &mut run.bytes)
}
