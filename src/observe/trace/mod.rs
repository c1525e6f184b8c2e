//! Where a request stands in a distributed trace, and what of that goes upstream.
//!
//! Read and written as W3C Trace Context has it (<https://www.w3.org/TR/trace-context/>). Nothing
//! of a header is passed on as it came: what was read is written anew.

mod state;

use std::fmt;
use std::sync::Arc;

use state::State;

/// The header that names the trace, the caller's span and whether it is recorded.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems note for themselves.
pub const TRACESTATE: &str = "tracestate";

/// The one flag that version 00 knows.
const SAMPLED: u8 = 1;

/// A trace. Displays as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A span of one. Displays as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// A request of a client's, or a question of our own, as a span of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    is_inbound: bool,
    sampled: bool,
    state: State,
}

/// One request upstream, as a span of a trace.
#[derive(Debug)]
pub struct Hop {
    pub(super) trace: Arc<Trace>,
    pub(super) span: SpanId,
    /// What is exported of it.
    #[cfg(feature = "otel")]
    pub(super) call: Option<super::otel::Call>,
}

impl Trace {
    /// The trace that a request belongs to, with the values of its [`TRACEPARENT`] and
    /// [`TRACESTATE`] headers. None: it names none, or not in the words of the specification.
    ///
    /// `random` becomes the id of its span.
    pub fn inbound<'a>(
        mut parents: impl Iterator<Item = &'a [u8]>,
        states: impl Iterator<Item = &'a [u8]>,
        random: u64,
    ) -> Option<Self> {
        let (first, second) = (parents.next()?, parents.next());
        let (id, parent, flags) = read(first.trim_ascii()).filter(|_| second.is_none())?;
        let sampled = flags & SAMPLED != 0;
        Some(Self {
            id,
            span: SpanId::of(random),
            parent: Some(parent),
            is_inbound: true,
            sampled,
            state: State::read(states),
        })
    }

    /// A trace that begins here, unsampled. `random` makes its ids.
    #[cfg(feature = "otel")]
    pub(super) fn begin(mut random: impl FnMut() -> u64) -> Self {
        let mut id = [0; 16];
        let (high, low) = id.split_at_mut(8);
        high.copy_from_slice(&random().to_be_bytes());
        low.copy_from_slice(&random().max(1).to_be_bytes());
        let (span, state) = (SpanId::of(random()), State::default());
        Self { id: TraceId(id), span, parent: None, is_inbound: false, sampled: false, state }
    }

    /// As sampling has decided.
    #[cfg(feature = "otel")]
    #[must_use]
    pub(super) fn with_sampled(self, sampled: bool) -> Self {
        Self { sampled, ..self }
    }

    /// What tracing systems have noted; empty: nothing.
    #[cfg(feature = "otel")]
    pub(super) fn state(&self) -> &str {
        self.state.as_str()
    }

    /// Its parent is a span of the client's.
    #[cfg(feature = "otel")]
    pub(super) fn is_inbound(&self) -> bool {
        self.is_inbound
    }

    /// A question of our own that belongs to it. `random` becomes the id of its span.
    #[must_use]
    pub fn child(&self, random: u64) -> Self {
        Self { span: SpanId::of(random), parent: Some(self.span), is_inbound: false, ..self.clone() }
    }

    /// A request upstream that belongs to it. `random` becomes the id of its span.
    pub fn hop(self: &Arc<Self>, random: u64) -> Hop {
        Hop {
            trace: Arc::clone(self),
            span: SpanId::of(random),
            #[cfg(feature = "otel")]
            call: super::otel::Call::of(self),
        }
    }

    /// The trace.
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// Its own span: the parent of those of its requests upstream.
    pub fn span(&self) -> SpanId {
        self.span
    }

    /// The span that it belongs to.
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// Who began the trace wants it recorded.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

impl Hop {
    /// The value of [`TRACEPARENT`] that goes upstream.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace.id, self.span, u8::from(self.trace.sampled))
    }

    /// The value of [`TRACESTATE`] that goes upstream; empty: none does.
    pub fn tracestate(&self) -> &str {
        self.trace.state.as_str()
    }
}

impl SpanId {
    /// All zeros would be no span.
    fn of(random: u64) -> Self {
        Self(random.max(1).to_be_bytes())
    }
}

/// Reads a `traceparent`: version, trace, parent, flags. Versions above 00 may have more behind
/// that; ff is none.
fn read(value: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    const LENGTH: usize = 55;
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let mut parts = known.split(|b| *b == b'-');
    let [version] = hex(parts.next()?)?;
    let (id, parent, [flags]) = (hex(parts.next()?)?, hex(parts.next()?)?, hex(parts.next()?)?);
    let whole = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    (whole && parts.next().is_none() && id != [0; 16] && parent != [0; 8]).then_some((
        TraceId(id),
        SpanId(parent),
        flags,
    ))
}

/// Lower case only, and no more and no less than so many bytes.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    /// What goes upstream for a request with these headers.
    fn sent(parents: &[&str], states: &[&str]) -> Option<(String, String)> {
        let bytes =
            |values: &[&str]| -> Vec<Vec<u8>> { values.iter().map(|v| v.as_bytes().to_vec()).collect() };
        let (parents, states) = (bytes(parents), bytes(states));
        let trace =
            Trace::inbound(parents.iter().map(Vec::as_slice), states.iter().map(Vec::as_slice), 0xabcd)?;
        let hop = Arc::new(trace).hop(0x1234);
        Some((hop.traceparent(), hop.tracestate().to_owned()))
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_ours() {
        let parent = format!("00-{ID}-b7ad6b7169203331-01");
        let (to, state) = sent(&[&parent], &["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"]).unwrap();
        assert_eq!(to, format!("00-{ID}-0000000000001234-01"));
        assert_eq!(state, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
        // Flags that nobody knows are not passed on.
        let (to, _) = sent(&[&format!("00-{ID}-b7ad6b7169203331-fe")], &[]).unwrap();
        assert!(to.ends_with("-00"), "{to}");
    }

    #[test]
    fn what_is_no_traceparent_is_dropped() {
        let with = |version: &str, rest: &str| format!("{version}-{ID}-b7ad6b7169203331-01{rest}");
        for good in [
            with("00", ""),
            with("01", ""),
            with("cc", "-what-the-future-brings"),
            with("cc", "-"),
            format!(" {}\t", with("00", "")),
        ] {
            let (to, _) = sent(&[&good], &[]).unwrap_or_else(|| panic!("{good}"));
            assert_eq!(to, format!("00-{ID}-0000000000001234-01"));
        }
        for bad in [
            String::new(),
            with("ff", ""),
            with("00", "-"),
            with("00", "-more"),
            with("cc", ".more"),
            with("0", ""),
            with("000", ""),
            with("0G", ""),
            with("00", "").to_uppercase(),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{ID}-{}-01", "0".repeat(16)),
            format!("00-{ID}-b7ad6b7169203331-1"),
            format!("00-{ID}-b7ad6b7169203331-001"),
            format!("00-{ID}-b7ad6b7169203331-.1"),
            format!("00-{}.-b7ad6b7169203331-01", "a".repeat(31)),
            format!("00-{}-b7ad6b7169203331-01", "a".repeat(31)),
            format!("00-{ID}-b7ad6b716920333-101"),
            format!("00{ID}-b7ad6b7169203331-01-x"),
            format!("00-{ID}--b7ad6b716920333-01"),
        ] {
            assert_eq!(sent(&[&bad], &["a=b"]), None, "{bad}");
        }
        let twice = with("00", "");
        assert_eq!(sent(&[&twice, &twice], &[]), None);
        assert_eq!(sent(&[], &["a=b"]), None);
    }

    #[test]
    fn a_child_is_of_the_same_trace() {
        let parent = format!("00-{ID}-b7ad6b7169203331-01");
        let trace = Trace::inbound([parent.as_bytes()].into_iter(), [].into_iter(), 7).unwrap();
        let child = trace.child(0);
        assert_eq!((child.id(), child.parent(), child.is_sampled()), (trace.id(), Some(trace.span()), true));
        // Zero is no span.
        assert_eq!(child.span().to_string(), "0000000000000001");
    }
}
