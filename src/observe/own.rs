//! The proxy's own share of a request's time.

use std::time::{Duration, Instant};

/// What the proxy itself took, by the clock: from bytes that were here until what was made of them
/// was handed on. Waiting for anybody else is not in it, nor are sockets, TLS and HTTP's framing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own {
    /// When the request's body was here.
    arrived: Option<Instant>,
    /// What describing images and reading PDFs took of the time after that.
    aside: Duration,
    /// From the request's body until the first request to an upstream was ready.
    pub request: Option<Duration>,
    /// From each piece of the upstream's answer until what the client gets for it was ready, all
    /// pieces together; of an answer that is not streamed from its last byte.
    pub answer: Option<Duration>,
}

impl Own {
    /// The request's body is here.
    pub fn arrives(&mut self) {
        self.arrived = Some(Instant::now());
    }

    /// That much of the time was others'.
    pub fn waited(&mut self, aside: Duration) {
        self.aside += aside;
    }

    /// An upstream is asked at `now`; only the first call counts.
    pub fn asks(&mut self, now: Instant) {
        if let Some(arrived) = self.arrived.take() {
            self.request = Some(now.saturating_duration_since(arrived).saturating_sub(self.aside));
        }
    }

    /// Another part of the answer took that long.
    pub fn answered(&mut self, took: Duration) {
        self.answer = Some(self.answer.unwrap_or_default() + took);
    }

    /// All of it; none: the request never got that far.
    pub fn total(&self) -> Option<Duration> {
        Some(self.request? + self.answer.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_upstream_ends_the_first_part() {
        const S: Duration = Duration::from_secs(1);
        let mut own = Own::default();
        own.asks(Instant::now());
        assert_eq!((own.request, own.total()), (None, None), "no body, no share");
        own.arrives();
        let arrived = own.arrived.unwrap();
        own.waited(2 * S);
        own.asks(arrived + 5 * S);
        own.asks(arrived + 50 * S);
        assert_eq!((own.request, own.answer, own.total()), (Some(3 * S), None, Some(3 * S)));
        own.answered(S);
        own.answered(S);
        assert_eq!((own.answer, own.total()), (Some(2 * S), Some(5 * S)));
    }
}
