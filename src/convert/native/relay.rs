//! A stream of an upstream that speaks the Messages API itself: bytes in, the same bytes out,
//! whole events at a time.

use super::answer::instead_of_stream;
use super::seen::{Kind, Seen};
use crate::convert::Usage;
use crate::convert::fold::MAX_EVENT;
use crate::convert::form::Form;
use crate::convert::stream::Summary;
use crate::wire::anthropic::{ApiError, ErrorKind};
use crate::wire::json::RawJson;
use crate::wire::sse::{PING, SseDecoder, SseFault};

/// A buffer that is larger than this is not kept for the next event, in bytes.
const KEPT: usize = 64 * 1024;

/// Passes one streamed answer on.
///
/// What the client has is always whole events: the bytes of one that is not complete are held
/// back, so that an error can follow at any time.
#[derive(Debug)]
pub struct Relay {
    content_type: String,
    provider: String,
    form: Option<Form>,
    decoder: SseDecoder,
    /// Bytes that were not passed on yet: the beginning of an event. Invariant: at most
    /// [`MAX_EVENT`] and one read.
    held: Vec<u8>,
    /// How many bytes were passed on.
    passed: u64,
    /// An answer that is no stream, until it is whole.
    whole: Vec<u8>,
    /// Something of the answer was passed on: errors are events from here on.
    started: bool,
    /// The end or an error is out: nothing may follow.
    ended: bool,
    seen: Seen,
}

impl Relay {
    /// For one answer of that content type. `preview_chars` as in
    /// [`crate::convert::ReplyContext::preview_chars`].
    pub fn new(content_type: String, provider: String, preview_chars: usize) -> Self {
        Self {
            content_type,
            seen: Seen::new(provider.clone(), preview_chars),
            provider,
            form: None,
            decoder: SseDecoder::new(MAX_EVENT),
            held: Vec::new(),
            passed: 0,
            whole: Vec::new(),
            started: false,
            ended: false,
        }
    }

    /// What the answer is; none: nothing but white space has come.
    pub fn form(&self) -> Option<Form> {
        self.form
    }

    /// What has come of an answer that is no stream. It is for the caller to bound it.
    pub fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// Errors are events from here on.
    pub fn started(&self) -> bool {
        self.started
    }

    /// What the answer was, for the log.
    pub fn summary(&self) -> Summary {
        self.seen.summary.clone()
    }

    /// The tokens that it took so far, and whether they are estimated.
    pub fn used(&self) -> (Usage, bool) {
        self.seen.used()
    }

    /// Bytes held.
    pub fn retained(&self) -> usize {
        self.held.len() + self.decoder.retained()
    }

    /// Appends a ping although nothing has come yet: the client has waited long enough.
    /// `message_start` is the upstream's to send.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            out.extend_from_slice(PING);
        }
    }

    /// Takes the next bytes and appends those that complete an event; `heard` is called for
    /// each event that is no ping. True: that was `message_stop`.
    ///
    /// # Errors
    /// The upstream's error, or a limit that was passed. Before [`Relay::started`] it can still
    /// be an HTTP answer; afterwards pass it to [`Relay::fail`].
    pub fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut heard: impl FnMut(),
    ) -> Result<bool, ApiError> {
        if self.form.is_none() {
            self.form = Form::of(&self.content_type, bytes);
        }
        if self.form == Some(Form::Whole) {
            self.whole.append(&mut self.held);
            self.whole.extend_from_slice(bytes);
            return Ok(false);
        }
        self.decoder.push(bytes);
        let mut result = Ok(false);
        let mut boundary;
        loop {
            boundary = self.decoder.boundary();
            let Some(event) = self.decoder.next_event() else {
                // A comment is no event, and passes all the same.
                boundary = self.decoder.boundary();
                break;
            };
            let event = match event {
                Ok(event) => event,
                Err(fault) => {
                    result = Err(too_large(fault));
                    break;
                }
            };
            match self.seen.look(event.name, event.data, self.started) {
                Kind::Ping => {}
                Kind::Other => {
                    heard();
                    self.started = true;
                }
                Kind::Stop => {
                    heard();
                    self.started = true;
                    self.ended = true;
                    boundary = self.decoder.boundary();
                    result = Ok(true);
                    break;
                }
                // What came before it passes; the error itself is told by `fail`.
                Kind::Error(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.pass(boundary, bytes, out);
        if self.held.len() > MAX_EVENT && result.is_ok() {
            return Err(too_large(SseFault::TooLarge(MAX_EVENT)));
        }
        result
    }

    /// The body has ended: takes what is left.
    ///
    /// # Errors
    /// As [`Relay::take`]; also whenever `message_stop` has not come.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.ended {
            return Ok(());
        }
        match self.form {
            Some(Form::Whole) => {
                return Err(instead_of_stream(&std::mem::take(&mut self.whole), &self.provider));
            }
            None => return Err(ApiError::bad_gateway("upstream returned an empty response")),
            Some(Form::Events) => {}
        }
        let completed_block = self.seen.completed_block;
        while let Some(Ok(event)) = self.decoder.last_event() {
            if !is_json(event.data) {
                break;
            }
            match self.seen.look(event.name, event.data, self.started) {
                Kind::Stop => {
                    // Complete but for the blank line, which some servers leave out.
                    let end: &[u8] = if self.held.ends_with(b"\n") { b"\n" } else { b"\n\n" };
                    out.append(&mut self.held);
                    out.extend_from_slice(end);
                    self.ended = true;
                    return Ok(());
                }
                Kind::Error(error) => return Err(error),
                // The client does not get it: nothing of it counts as told.
                Kind::Ping | Kind::Other => self.seen.completed_block = completed_block,
            }
        }
        Err(ApiError::bad_gateway("upstream closed the stream before the response was complete"))
    }

    /// Appends the one `error` event; nothing may follow it. The upstream's own is told as it
    /// came; ours as [`crate::convert::StreamTranslator::fail`] tells them.
    pub fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let kind = match error.kind {
            ErrorKind::Api | ErrorKind::Timeout if !self.seen.completed_block => ErrorKind::Overloaded,
            kind => kind,
        };
        out.extend_from_slice(b"event: error\ndata: ");
        error.write_as(kind, "", out);
        out.extend_from_slice(b"\n\n");
    }

    /// Passes on what came up to `boundary`, counted from the start of the stream, and holds the
    /// rest. `bytes` came last; what is held came before.
    fn pass(&mut self, boundary: u64, bytes: &[u8], out: &mut Vec<u8>) {
        let before = self.passed + self.held.len() as u64;
        if boundary > self.passed {
            let mut n =
                usize::try_from(boundary.saturating_sub(before)).unwrap_or(usize::MAX).min(bytes.len());
            if self.ended && n > 0 && bytes.get(n - 1..=n) == Some(b"\r\n") {
                // One line end in two bytes.
                n += 1;
            }
            let (now, rest) = bytes.split_at_checked(n).unwrap_or((bytes, b""));
            out.append(&mut self.held);
            out.extend_from_slice(now);
            self.passed = before + n as u64;
            self.held.extend_from_slice(rest);
        } else {
            self.held.extend_from_slice(bytes);
        }
        if self.held.is_empty() && self.held.capacity() > KEPT {
            self.held = Vec::new();
        }
    }
}

fn too_large(fault: SseFault) -> ApiError {
    ApiError::bad_gateway(fault.to_string())
}

fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| RawJson::parse(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Anthropic's API sends it, with what it does not: CRLF, comments, unknown events,
    /// odd spaces.
    const STREAM: &str = concat!(
        ": hello\n\n",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m\",\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":9,\"output_tokens\":1}}}\n\n",
        "event: ping\r\ndata: {\"type\": \"ping\"}\r\n\r\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "data: {\"type\" : \"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"H\\u00e9 🙂\\n\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"llo\"}}\n\n",
        "event: brand_new\nid: 5\ndata: {\"type\":\"brand_new\",\ndata: \"n\":12345678901234567890}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );

    fn relay() -> Relay {
        Relay::new("text/event-stream".into(), "up".into(), 4)
    }

    /// What comes out of the pieces, and whether it said that it was done.
    fn pass<'p>(
        relay: &mut Relay,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<(String, bool), ApiError> {
        let mut out = Vec::new();
        let mut done = false;
        for piece in pieces {
            done |= relay.take(piece, &mut out, || ())?;
        }
        Ok((String::from_utf8(out).unwrap(), done))
    }

    #[test]
    fn bytes_pass_and_are_read() {
        let mut relay = relay();
        assert_eq!(pass(&mut relay, [STREAM.as_bytes()]).unwrap(), (STREAM.to_owned(), true));
        let summary = relay.summary();
        let usage = summary.usage;
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (25, 9, 15));
        assert_eq!((summary.stop_reason, summary.preview.as_str()), (Some("tool_use"), "Hé 🙂"));
        assert!(relay.held.is_empty());
    }

    #[test]
    fn a_cut_anywhere_leaves_whole_events_and_one_error() {
        let whole: Vec<&str> = STREAM.split_inclusive("\n\n").collect();
        let last = STREAM.len() - 2;
        for cut in 0..=STREAM.len() {
            for single in [false, true] {
                let mut relay = relay();
                let mut out = Vec::new();
                let bytes = &STREAM.as_bytes()[..cut];
                for piece in bytes.chunks(if single { 1 } else { STREAM.len() }) {
                    relay.take(piece, &mut out, || ()).unwrap();
                }
                let passed = String::from_utf8(out.clone()).unwrap();
                assert!(STREAM.starts_with(&passed), "{cut}");
                match relay.end(&mut out) {
                    Ok(()) => {
                        assert!(cut >= last, "{cut}");
                        assert_eq!(String::from_utf8(out).unwrap(), STREAM);
                    }
                    Err(error) => {
                        assert!(cut < last, "{cut}");
                        assert_eq!(error.status, 502);
                        let before = out.len();
                        relay.fail(&error, &mut out);
                        relay.fail(&error, &mut out);
                        let out = String::from_utf8(out).unwrap();
                        assert!(!out.contains("message_stop"));
                        let (head, tail) = out.split_at(before);
                        assert!(head.is_empty() || head.ends_with('\n') || head.ends_with('\r'), "{head:?}");
                        assert!(
                            tail.starts_with("event: error\ndata: {\"type\":\"error\"")
                                && tail.ends_with("\n\n")
                        );
                        assert_eq!(tail.matches("event: error").count(), 1);
                        let complete: usize = whole
                            .iter()
                            .scan(0, |at, e| {
                                *at += e.len();
                                Some(*at)
                            })
                            .filter(|end| *end <= cut)
                            .max()
                            .unwrap_or(0);
                        assert!(head.len() >= complete, "{cut}: all that was complete is passed on");
                    }
                }
            }
        }
    }

    #[test]
    fn an_error_before_anything_is_no_event() {
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\",\"details\":null}}\n\n";
        for before in ["", ": hi\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n"] {
            let mut relay = relay();
            let told = pass(&mut relay, [before.as_bytes(), error.as_bytes()]).unwrap_err();
            assert_eq!((told.status, told.kind, relay.started()), (529, ErrorKind::Overloaded, false));
        }
        // Without its blank line, and without its name.
        let mut relay = relay();
        let bare = error.trim_end().strip_prefix("event: error\n").unwrap();
        pass(&mut relay, [bare.as_bytes()]).unwrap();
        assert_eq!(relay.end(&mut Vec::new()).unwrap_err().status, 529);
    }

    #[test]
    fn an_error_in_the_middle_is_told_in_its_own_words() {
        let start = STREAM.split_inclusive("\n\n").take(2).collect::<String>();
        let object = "{\"type\":\"api_error\",\"message\":\"Internal\",\"new\":1}";
        let error = format!(
            "event: error\ndata: {{\"type\":\"error\",\"error\":{object},\"request_id\":\"req_x\"}}\n\n"
        );
        let mut relay = relay();
        let mut out = Vec::new();
        let told = relay
            .take(format!("{start}{error}event: x\ndata: 1\n\n").as_bytes(), &mut out, || ())
            .unwrap_err();
        relay.fail(&told, &mut out);
        let want = format!("{start}event: error\ndata: {{\"type\":\"error\",\"error\":{object}}}\n\n");
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn a_client_that_waited_long_gets_a_ping_and_then_all_of_it() {
        let mut relay = relay();
        let mut out = Vec::new();
        relay.start(&mut out);
        relay.start(&mut out);
        assert!(relay.started());
        relay.take(STREAM.as_bytes(), &mut out, || ()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}{STREAM}", String::from_utf8_lossy(PING)));
    }

    #[test]
    fn what_follows_message_stop_is_dropped() {
        let crlf = STREAM.trim_end().to_owned() + "\r\n\r\n";
        for more in ["", "data: [DONE]\n\n", "event: error\ndata: {}\n\n", "x"] {
            let mut relay = relay();
            assert_eq!(pass(&mut relay, [(crlf.clone() + more).as_bytes()]).unwrap(), (crlf.clone(), true));
            relay.end(&mut Vec::new()).unwrap();
        }
    }

    #[test]
    fn what_is_no_stream_of_messages_is_told() {
        let mut whole = Relay::new("application/json".into(), "up".into(), 0);
        pass(&mut whole, [&b"\n "[..], b"{\"type\":\"message\",", b"\"content\":[]}"]).unwrap();
        assert!(whole.end(&mut Vec::new()).unwrap_err().message.contains("although a stream was asked for"));
        let mut openai = relay();
        let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
        let told = pass(&mut openai, [chunk.as_bytes()]).unwrap_err();
        assert!(told.message.contains("no Anthropic event"), "{}", told.message);
        let mut error = relay();
        let told =
            pass(&mut error, [&b"data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n"[..]]).unwrap_err();
        assert_eq!(told.status, 429);
        let mut noise = relay();
        let sign_of_life = "data:\n\ndata: [DONE]\n\n";
        assert_eq!(pass(&mut noise, [sign_of_life.as_bytes()]).unwrap().0, sign_of_life);
        assert!(!noise.started() && noise.end(&mut Vec::new()).is_err());
        let mut empty = relay();
        assert_eq!(empty.end(&mut Vec::new()).unwrap_err().status, 502);
    }

    #[test]
    fn memory_is_bounded() {
        for line in ["data: ", "id: 0123456789\n"] {
            let mut relay = relay();
            let piece = line.repeat(1 << 18);
            let mut n = 0;
            let fault = loop {
                if let Err(fault) = relay.take(piece.as_bytes(), &mut Vec::new(), || ()) {
                    break fault;
                }
                n += piece.len();
                assert!(n <= MAX_EVENT + piece.len(), "{line:?}");
                assert!(relay.retained() <= 2 * (MAX_EVENT + piece.len()), "{line:?}");
            };
            assert!(fault.message.contains("event of more than"), "{}", fault.message);
        }
        // Comments are nobody's event: they pass, however many there are.
        let mut relay = relay();
        for _ in 0..20 {
            let comments = ": keep-alive\n".repeat(1 << 14);
            assert_eq!(pass(&mut relay, [comments.as_bytes()]).unwrap().0, comments);
            assert_eq!(relay.retained(), 0);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_split_gives_the_same_bytes(cuts in proptest::collection::vec(0..STREAM.len(), 0..40)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut relay = relay();
            let pieces = cuts.windows(2).map(|w| &STREAM.as_bytes()[w[0]..w[1]]);
            let (out, done) = pass(&mut relay, pieces).unwrap();
            proptest::prop_assert_eq!(out, STREAM);
            proptest::prop_assert!(done);
        }
    }
}
