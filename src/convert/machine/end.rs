//! The end of an answer: at once, or when what it waits for is done.

use super::Machine;
use crate::convert::hold::{CompletedCall, HeldEnd};
use crate::convert::recorded::{Recorded, Resumed};
use crate::convert::reply::Usage;
use crate::convert::sink::{Ending, Kind, Sink};
use crate::convert::stop;
use crate::convert::stream::UpstreamEnd;
use crate::convert::text::Fragment;
use crate::convert::usage;
use crate::wire::anthropic::{ApiError, WebTool};

impl<S: Sink> Machine<S> {
    pub(in crate::convert) fn finish(&mut self, end: UpstreamEnd, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.ended || self.hold.as_ref().is_some_and(|hold| hold.ending.is_some()) {
            return Ok(());
        }
        if !self.answered {
            return Err(match (self.note.take(), self.skipped) {
                (Some(told), _) => told,
                (None, 0) => ApiError::bad_gateway("upstream returned an empty response"),
                (None, n) => ApiError::bad_gateway(format!(
                    "upstream sent no chunk that can be read ({n} that are not JSON)"
                )),
            });
        }
        if end == UpstreamEnd::Eof && self.finish.is_none() {
            return Err(ApiError::bad_gateway("upstream closed the stream before the response was complete"));
        }
        self.settle_half(None, out)?;
        self.flush_tags(out)?;
        self.finish_calls(out)?;
        self.release(out)?;
        if self.blocks == 0 && !self.space.is_empty() {
            // White space is all there is: then it is the answer.
            let space = std::mem::take(&mut self.space);
            self.begin(Kind::Text, out);
            self.write_text(Fragment::Escaped(&space), out);
        }
        self.close(out);
        let refused = self.refusal.is_some();
        let calls = !self.used_ids.is_empty();
        let (stop_reason, stop_sequence) =
            stop::reason(self.finish, calls, refused, self.matched_stop.as_deref(), &self.context);
        let stop_sequence = stop_sequence.map(str::to_owned);
        self.sum_up(stop_reason);
        match &mut self.hold {
            Some(hold) if hold.waits() => hold.ending = Some((stop_reason, stop_sequence)),
            _ => self.end(stop_reason, stop_sequence.as_deref(), out),
        }
        Ok(())
    }

    pub(in crate::convert) fn nothing_came(&self) -> bool {
        self.output_bytes == 0 && self.blocks == 0 && self.space.is_empty() && self.calls.list.is_empty()
    }

    /// The answer to a request that asked for no output.
    pub(in crate::convert) fn finish_empty(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.sum_up("max_tokens");
        self.end("max_tokens", None, out);
    }

    fn sum_up(&mut self, stop_reason: &'static str) {
        self.summary.stop_reason = Some(stop_reason);
        self.summary.usage_estimated |= self.usage.is_none();
        self.summary.usage = self.usage();
    }

    fn usage(&self) -> Usage {
        let usage = match &self.usage {
            Some(told) => usage::anthropic(told, self.timings_cache),
            None => Usage {
                input_tokens: self.context.input_estimate.max(1),
                output_tokens: self.output_bytes.div_ceil(4),
                ..Usage::default()
            },
        };
        match &self.context.resumed {
            Some(earlier) => usage.and(&earlier.summary.usage),
            None => usage,
        }
    }

    /// What it took so far, also of an answer that was cut: as the upstream told it, else as it is
    /// estimated. True: that it is.
    pub(in crate::convert) fn used(&self) -> (Usage, bool) {
        if self.answered {
            return (self.usage(), self.summary.usage_estimated || self.usage.is_none());
        }
        // Nothing has come: the upstream failed.
        let earlier = self.context.resumed.as_deref().map(|earlier| &earlier.summary);
        earlier.map_or_else(Default::default, |earlier| (earlier.usage, earlier.usage_estimated))
    }

    fn end(&mut self, stop_reason: &'static str, stop_sequence: Option<&str>, out: &mut Vec<u8>) {
        self.ended = true;
        let ending = Ending {
            stop_reason,
            stop_sequence,
            explanation: self.refusal.as_deref(),
            usage: self.summary.usage,
            safeguard_results: self.hold.as_ref().and_then(|hold| hold.safeguard_results()),
        };
        self.sink.end(&ending, &self.context, out);
    }
}

impl<S: Sink> HeldEnd for Machine<S> {
    fn take_calls(&mut self) -> Vec<CompletedCall> {
        self.hold.as_mut().map_or_else(Vec::new, |hold| hold.take_calls(false))
    }

    fn take_web_calls(&mut self) -> Vec<CompletedCall> {
        let taken = self.hold.as_mut().map_or_else(Vec::new, |hold| hold.take_calls(true));
        let goes_on = matches!(self.summary.stop_reason, Some("end_turn" | "tool_use"));
        if goes_on { taken } else { Vec::new() }
    }

    fn insert(&mut self, block: &[u8], counts: Option<WebTool>, out: &mut Vec<u8>) {
        self.blocks += 1;
        self.sink.insert(block, out);
        match counts {
            Some(WebTool::Search) => self.summary.usage.web_search_requests += 1,
            Some(WebTool::Fetch) => self.summary.usage.web_fetch_requests += 1,
            None => {}
        }
    }

    fn resumed(&self, out: &[u8]) -> Option<Resumed> {
        self.hold.as_ref().filter(|hold| hold.ending.is_some() && !hold.called())?;
        let recorded = self.sink.recorded(out)?;
        let blocks_json = recorded.content.strip_prefix(b"[")?.strip_suffix(b"]")?.to_vec();
        let earlier = self.context.resumed.as_ref().map_or(0, |earlier| earlier.blocks);
        Some(Resumed {
            id: recorded.id,
            blocks: earlier + self.blocks as u64,
            blocks_json,
            ids: self.ids.clone(),
            summary: self.summary.clone(),
        })
    }

    fn is_held(&self) -> bool {
        !self.ended && self.hold.as_ref().is_some_and(|hold| hold.ending.is_some())
    }

    fn judged(&mut self, safeguard_results: String) {
        if let Some(hold) = &mut self.hold {
            hold.safeguard_results = Some(safeguard_results);
        }
    }

    fn recorded(&self, out: &[u8]) -> Option<Recorded> {
        self.sink.recorded(out)
    }

    fn conclude(&mut self, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        if let Some((stop_reason, stop_sequence)) = self.hold.as_mut().and_then(|hold| hold.ending.take()) {
            self.end(stop_reason, stop_sequence.as_deref(), out);
        }
    }
}
