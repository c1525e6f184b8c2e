//! Server-sent events: a decoder that holds no more than one event, and the writer of ours.

use super::json::BOM;

/// One event of the upstream's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The last `event:` line; empty when there was none.
    pub name: &'a [u8],
    /// The `data:` lines, joined with LF.
    pub data: &'a [u8],
}

/// Why decoding cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseFault {
    /// One event has more bytes of data than is allowed, or one line of another kind has.
    #[error("upstream sent an event of more than {0} bytes")]
    TooLarge(usize),
}

/// Splits bytes into events, however they were cut on the way.
///
/// Accepts LF, CRLF and CR line ends, a byte order mark, comments, `data:` with or without a
/// space, several `data:` lines, and a last event without its blank line (the WHATWG HTML
/// standard, "Server-sent events", but for that last one, which real servers leave out).
#[derive(Debug)]
pub struct SseDecoder {
    /// Bytes of lines that have not been taken yet. Invariant: at most `max_event`, the name of a
    /// field, and one read.
    buffer: Vec<u8>,
    /// Start of what has not been taken, in `buffer`.
    at: usize,
    /// From here on no line end was looked for yet. Invariant: `at <= scanned`.
    scanned: usize,
    name: Vec<u8>,
    /// `data:` lines of the event under way, when there is more than one or a read cut the event.
    data: Vec<u8>,
    /// The only `data:` line of the event under way, as a range of `buffer`: no copy is made
    /// of an event that came in one read.
    single: Option<(usize, usize)>,
    /// Data lines seen of the event under way.
    lines: usize,
    /// The event that was given out last is still in `name` and `data`.
    given: bool,
    begun: bool,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    /// A field of an event has come since the last blank line.
    inside: bool,
    /// Where `buffer` begins, in bytes from the start of the stream.
    base: u64,
    /// See [`SseDecoder::boundary`].
    boundary: u64,
    max_event: usize,
}

impl SseDecoder {
    /// A decoder that refuses events whose data has more than `max_event` bytes, and lines of any
    /// other kind that are longer, however they were cut on the way.
    pub fn new(max_event: usize) -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            scanned: 0,
            name: Vec::new(),
            data: Vec::new(),
            single: None,
            lines: 0,
            given: false,
            begun: false,
            after_cr: false,
            inside: false,
            base: 0,
            boundary: 0,
            max_event,
        }
    }

    /// Takes what was read. Call [`SseDecoder::next_event`] until it gives none.
    pub fn push(&mut self, bytes: &[u8]) {
        self.forget_given();
        self.own_single();
        if self.at > 0 {
            // What is left is less than an event: moving it is cheap and the buffer stays small.
            self.buffer.drain(..self.at);
            self.base += self.at as u64;
            self.scanned -= self.at;
            self.at = 0;
            // One huge event must not cost its size until the stream ends.
            give_back(&mut self.buffer);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes held.
    pub fn retained(&self) -> usize {
        self.buffer.len() - self.at + self.data.len() + self.name.len()
    }

    /// How many bytes of the stream belong to events and comments that are complete: what is
    /// put behind them stands between two events. Counts those that were given out.
    pub fn boundary(&self) -> u64 {
        self.boundary
    }

    /// The next complete event, or none until more bytes come.
    pub fn next_event(&mut self) -> Option<Result<SseEvent<'_>, SseFault>> {
        self.take(false)
    }

    /// The event that the stream ended in the middle of, if its data line was whole enough to be read.
    pub fn last_event(&mut self) -> Option<Result<SseEvent<'_>, SseFault>> {
        self.take(true)
    }

    fn forget_given(&mut self) {
        if self.given {
            self.given = false;
            self.lines = 0;
            self.single = None;
            self.data.clear();
            self.name.clear();
            give_back(&mut self.data);
        }
    }

    /// Bytes of data that the event under way has.
    fn gathered(&self) -> usize {
        self.single.map_or(self.data.len(), |(start, end)| end - start)
    }

    /// One more data line of `len` bytes is too much for this event.
    fn is_too_much(&self, len: usize) -> bool {
        self.gathered() + usize::from(self.lines > 0) + len > self.max_event
    }

    /// This line is too long already; one that is not whole may go on with another field's name.
    fn is_too_long(&self, line: &[u8], whole: bool) -> bool {
        // Nearly always: no look at the bytes is needed.
        self.gathered() + line.len() >= self.max_event
            && match field(line) {
                Some((b"data", value)) if whole || line != b"data" => self.is_too_much(value.len()),
                _ => line.len() > self.max_event,
            }
    }

    /// Moves a data line out of `buffer`, which is about to change or to get company.
    fn own_single(&mut self) {
        if let Some((start, end)) = self.single.take() {
            self.data.extend_from_slice(self.buffer.get(start..end).unwrap_or_default());
        }
    }

    fn give(&mut self) -> SseEvent<'_> {
        self.given = true;
        let data = match self.single {
            Some((start, end)) => self.buffer.get(start..end).unwrap_or_default(),
            None => &self.data,
        };
        SseEvent { name: &self.name, data }
    }

    fn take(&mut self, at_end: bool) -> Option<Result<SseEvent<'_>, SseFault>> {
        self.forget_given();
        loop {
            let Some((start, end)) = self.line(at_end) else {
                if self.is_too_long(self.buffer.get(self.at..).unwrap_or_default(), false) {
                    return Some(Err(SseFault::TooLarge(self.max_event)));
                }
                return (at_end && self.lines > 0).then(|| Ok(self.give()));
            };
            if start == end {
                // A blank line ends the event.
                self.inside = false;
                self.boundary = self.base + self.at as u64;
                if self.lines == 0 {
                    self.name.clear();
                    continue;
                }
                return Some(Ok(self.give()));
            }
            let line = self.buffer.get(start..end).unwrap_or_default();
            if self.is_too_long(line, true) {
                return Some(Err(SseFault::TooLarge(self.max_event)));
            }
            let Some((field, value)) = field(line) else {
                // A comment.
                if !self.inside {
                    self.boundary = self.base + self.at as u64;
                }
                continue;
            };
            self.inside = true;
            match field {
                b"data" => {
                    let from = end - value.len();
                    if self.lines == 0 {
                        self.single = Some((from, end));
                    } else {
                        self.own_single();
                        self.data.push(b'\n');
                        self.data.extend_from_slice(self.buffer.get(from..end).unwrap_or_default());
                    }
                    self.lines += 1;
                }
                b"event" => {
                    self.name.clear();
                    self.name.extend_from_slice(value);
                }
                _ => {}
            }
        }
    }

    /// The next whole line, as a range of `buffer` without its end.
    fn line(&mut self, at_end: bool) -> Option<(usize, usize)> {
        if !self.begun {
            if self.buffer.len() < BOM.len() && BOM.starts_with(&self.buffer) && !at_end {
                return None;
            }
            self.begun = true;
            if self.buffer.starts_with(BOM) {
                self.at = BOM.len();
                self.scanned = BOM.len();
            }
        }
        if self.after_cr && self.at < self.buffer.len() {
            self.after_cr = false;
            if self.buffer.get(self.at) == Some(&b'\n') {
                if self.boundary == self.base + self.at as u64 {
                    self.boundary += 1;
                }
                self.at += 1;
                self.scanned = self.scanned.max(self.at);
            }
        }
        let rest = self.buffer.get(self.scanned..).unwrap_or_default();
        match memchr::memchr2(b'\n', b'\r', rest) {
            Some(i) => {
                let (start, end) = (self.at, self.scanned + i);
                self.after_cr = rest.get(i) == Some(&b'\r');
                self.at = end + 1;
                self.scanned = self.at;
                Some((start, end))
            }
            None if at_end && self.at < self.buffer.len() => {
                let line = (self.at, self.buffer.len());
                self.at = self.buffer.len();
                self.scanned = self.at;
                Some(line)
            }
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }
}

/// Name and value of a line; none for a comment.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    match memchr::memchr(b':', line) {
        Some(0) => None,
        Some(colon) => {
            let (field, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or(value);
            Some((field, value.strip_prefix(b" ").unwrap_or(value)))
        }
        None => Some((line, b"")),
    }
}

/// Returns the memory of what was large and is gone.
fn give_back(bytes: &mut Vec<u8>) {
    const KEPT: usize = 256 * 1024;
    if bytes.capacity() > KEPT && bytes.len() <= KEPT / 2 {
        bytes.shrink_to(KEPT / 2);
    }
}

/// OpenAI's end of a stream, `[DONE]`, white space around it or not.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// `event: ping`, as Anthropic's API sends it.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut d = SseDecoder::new(1 << 20);
        let mut out = Vec::new();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        for c in chunks {
            d.push(c);
            while let Some(e) = d.next_event() {
                let e = e.unwrap();
                out.push((text(e.name), text(e.data)));
            }
        }
        while let Some(e) = d.last_event() {
            let e = e.unwrap();
            out.push((text(e.name), text(e.data)));
        }
        out
    }

    const MIXED: &[u8] = b"\xEF\xBB\xBF: hello\r\n\r\nretry: 3\nid: 7\ndata: one\n\nevent: x\rdata:two\rdata: \xC3\xA9\r\rdata\n\ndata: [DONE]";

    #[test]
    fn reads_every_spelling() {
        let want: Vec<(String, String)> = [("", "one"), ("x", "two\né"), ("", ""), ("", "[DONE]")]
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        assert_eq!(decode(&[MIXED]), want);
    }

    #[test]
    fn any_cut_gives_the_same_events() {
        let whole = decode(&[MIXED]);
        for i in 0..MIXED.len() {
            let (a, b) = MIXED.split_at(i);
            assert_eq!(decode(&[a, b]), whole, "cut at {i}");
        }
        let single: Vec<&[u8]> = MIXED.chunks(1).collect();
        assert_eq!(decode(&single), whole);
    }

    #[test]
    fn a_byte_order_mark_is_one_at_the_beginning_only() {
        let late: &[u8] = b"\n\n\xEF\xBB\xBFdata: x\n\n";
        assert_eq!(decode(&[late]), []);
        let single: Vec<&[u8]> = late.chunks(1).collect();
        assert_eq!(decode(&single), []);
    }

    /// Events of these bytes come in pieces of each size: the first fault, or how many events.
    fn limited(max: usize, bytes: &[u8]) -> Result<usize, SseFault> {
        let outcomes: Vec<_> = [1, 2, 7, 100, bytes.len()]
            .iter()
            .map(|size| {
                let mut d = SseDecoder::new(max);
                let mut events = 0;
                for piece in bytes.chunks(*size) {
                    d.push(piece);
                    while let Some(event) = d.next_event() {
                        event?;
                        events += 1;
                    }
                    assert!(d.retained() <= max + "data: ".len() + size, "{}", d.retained());
                }
                Ok(events)
            })
            .collect();
        assert!(outcomes.windows(2).all(|w| w[0] == w[1]), "however they are cut: {outcomes:?}");
        outcomes[0]
    }

    #[test]
    fn the_limit_is_exact_however_the_bytes_are_cut() {
        let x = |n: usize| "x".repeat(n);
        let fault = Err(SseFault::TooLarge(1000));
        for (head, tail, most) in [
            ("data: ", "\n\n", 1000),
            ("data:", "\r\n\r\n", 1000),
            ("event: a\ndata: ", "\n\n", 1000),
            // Lines are joined with LF.
            ("data: 12345\ndata: ", "\n\n", 994),
            ("data: 1\ndata: 2\ndata:", "\r\r", 996),
            (": a comment before\n\ndata: ", "\n\n", 1000),
            (":", "\ndata: 1\n\n", 999),
            ("event:", "\ndata: 1\n\n", 994),
            ("", "\ndata: 1\n\n", 1000),
        ] {
            let event = |n: usize| format!("{head}{}{tail}data: next\n\n", x(n));
            assert_eq!(limited(1000, event(most).as_bytes()), Ok(2), "{head:?}");
            assert_eq!(limited(1000, event(most + 1).as_bytes()), fault, "{head:?}");
        }
        // It is one event's limit, not the stream's.
        assert_eq!(limited(1000, format!("data: {}\n\n", x(1000)).repeat(20).as_bytes()), Ok(20));
    }

    /// `data` in the middle of a line may be the beginning of another field's name.
    #[test]
    fn a_name_that_is_not_whole_counts_as_no_data() {
        let mut d = SseDecoder::new(12);
        d.push(b"data: 123456789012\ndata");
        assert_eq!(d.next_event(), None);
        d.push(b"base: 1\n\n");
        assert_eq!(d.next_event().unwrap().unwrap().data, b"123456789012");
    }

    #[test]
    fn the_memory_of_a_huge_event_is_given_back() {
        let mut d = SseDecoder::new(16 << 20);
        for piece in ["data: ".to_owned() + &"x".repeat(8 << 20), "y\n\n".to_owned()] {
            d.push(piece.as_bytes());
            while d.next_event().is_some() {}
        }
        d.push(b"data: 1\n\n");
        assert!(d.next_event().is_some() && d.next_event().is_none());
        assert!(d.buffer.capacity() + d.data.capacity() <= 512 << 10);
    }

    #[test]
    fn knows_where_events_end() {
        let stream =
            b"\xEF\xBB\xBF: hi\n\nevent: a\ndata: 1\n\n: c\r\ndata: 2\r\n\r\nid: 7\n: in\n\ndata: 3\n";
        let mut d = SseDecoder::new(100);
        let mut ends = Vec::new();
        for (n, byte) in stream.iter().enumerate() {
            d.push(&[*byte]);
            while d.next_event().is_some() {}
            assert!(d.boundary() <= n as u64 + 1);
            if ends.last() != Some(&d.boundary()) {
                ends.push(d.boundary());
            }
        }
        let text =
            |from: u64, to: u64| String::from_utf8_lossy(&stream[from as usize..to as usize]).into_owned();
        let lines: Vec<String> = ends.iter().zip(&ends[1..]).map(|(from, to)| text(*from, *to)).collect();
        let want = [
            "\u{feff}: hi\n",
            "\n",
            "event: a\ndata: 1\n\n",
            ": c\r",
            "\n",
            "data: 2\r\n\r",
            "\n",
            "id: 7\n: in\n\n",
        ];
        assert_eq!(lines, want);
        let mut whole = SseDecoder::new(100);
        whole.push(stream);
        while whole.next_event().is_some() {}
        assert_eq!(whole.boundary(), d.boundary());
    }

    #[test]
    fn holds_no_more_than_one_event() {
        let mut d = SseDecoder::new(1000);
        let mut fault = None;
        for _ in 0..100 {
            d.push(&[b'a'; 100]);
            if let Some(Err(e)) = d.next_event() {
                fault = Some(e);
                break;
            }
            assert!(d.retained() <= 1100);
        }
        assert_eq!(fault, Some(SseFault::TooLarge(1000)));
    }
}
