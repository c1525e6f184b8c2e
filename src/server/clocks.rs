//! The clocks of one stream, on one timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Config;

/// From the upstream's head until we commit to a 200 although no event has come. Until then
/// an upstream error is a real HTTP error.
const GRACE: Duration = Duration::from_secs(20);
/// Silence after `finish_reason` that ends a stream: some servers never say `[DONE]` and keep
/// the connection open.
pub(super) const SETTLED: Duration = Duration::from_secs(5);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Silence towards the client.
    Ping,
    /// Commit to a 200.
    Commit,
    /// The first event took too long.
    FirstEvent(Duration),
    /// The upstream fell silent.
    Idle(Duration),
    /// The answer is whole, only its end is missing.
    Settled,
}

/// Where the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase {
    /// Our head is out.
    pub(super) committed: bool,
    /// `finish_reason` has come.
    pub(super) finished: bool,
    /// The upstream is done: only we are waited for.
    pub(super) held: bool,
}

#[derive(Debug)]
pub(super) struct Clocks {
    first_event_limit: Duration,
    idle: Duration,
    /// Zero: no pings.
    ping: Duration,
    began: Instant,
    head: Instant,
    /// An event has come.
    eventful: bool,
    /// Last upstream byte, comments included.
    heard: Option<Instant>,
    /// Last byte to the client.
    sent: Instant,
    /// When upstream bytes came of which the client has seen nothing yet.
    since: Option<Instant>,
    /// From upstream bytes until what was made of them was ready, all together.
    own: Duration,
    /// Fires no later than the next clock. It is moved only after it fired: while bytes flow,
    /// clocks move on without a touch of the timer.
    timer: Pin<Box<Sleep>>,
}

impl Clocks {
    /// For an exchange that began at `began` and whose head is here now.
    pub(super) fn new(config: &Config, began: Instant) -> Self {
        Self::with(config.upstream_timeout, config.stream_idle_timeout, config.ping_interval, began)
    }

    fn with(first_event_limit: Duration, idle: Duration, ping: Duration, began: Instant) -> Self {
        let head = Instant::now();
        let first = (head + GRACE).min(began + first_event_limit);
        Self {
            first_event_limit,
            idle,
            ping,
            began,
            head,
            eventful: false,
            heard: None,
            sent: head,
            since: None,
            own: Duration::ZERO,
            timer: Box::pin(sleep_until(first)),
        }
    }

    /// Upstream bytes came.
    pub(super) fn hear(&mut self) {
        let now = Instant::now();
        self.heard = Some(now);
        self.since.get_or_insert(now);
    }

    /// An upstream event came.
    pub(super) fn event(&mut self) {
        self.eventful = true;
    }

    /// Bytes go to the client.
    pub(super) fn send(&mut self) {
        self.sent = Instant::now();
        self.count(self.sent);
    }

    /// When bytes went to the client last.
    pub(super) fn sent(&self) -> Instant {
        self.sent
    }

    /// Nothing goes to the client, and more is waited for.
    pub(super) fn pause(&mut self) {
        if self.since.is_some() {
            self.count(Instant::now());
        }
    }

    fn count(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.own += now.saturating_duration_since(since);
        }
    }

    /// What the proxy itself took so far, from upstream bytes until what the client gets for them.
    pub(super) fn own(&self) -> Duration {
        self.own
    }

    /// These clocks take the place of others, which say that it took so much already.
    pub(super) fn carry(&mut self, own: Duration) {
        self.own += own;
    }

    /// Each clock that runs: when it is due, and what for.
    fn running(&self, phase: Phase) -> impl Iterator<Item = (Instant, Due)> {
        let heard = self.heard.filter(|_| !phase.held);
        let first = (!self.eventful && !phase.held)
            .then(|| (self.began + self.first_event_limit, Due::FirstEvent(self.first_event_limit)));
        let settled = heard.filter(|_| phase.finished).map(|t| (t + SETTLED, Due::Settled));
        let idle = heard.map(|t| (t + self.idle, Due::Idle(self.idle)));
        let commit = (!phase.committed).then(|| (self.head + GRACE, Due::Commit));
        let ping = (phase.committed && !self.ping.is_zero()).then(|| (self.sent + self.ping, Due::Ping));
        // In this order: what ends the stream before what keeps it going.
        [settled, first, idle, commit, ping].into_iter().flatten()
    }

    /// Ready when something is due.
    pub(super) fn poll(&mut self, phase: Phase, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let now = Instant::now();
            if let Some((_, due)) = self.running(phase).find(|(at, _)| *at <= now) {
                return Poll::Ready(due);
            }
            let Some(next) = self.running(phase).map(|(at, _)| at).min() else {
                return Poll::Pending;
            };
            if self.timer.is_elapsed() || self.timer.deadline() > next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// An exchange that began 10 s ago; first event 300 s, idle 120 s, pings after 15 s.
    fn clocks() -> Clocks {
        Clocks::with(300 * S, 120 * S, 15 * S, Instant::now() - 10 * S)
    }

    /// What is due next, and after how many seconds.
    async fn next(clocks: &mut Clocks, committed: bool, finished: bool) -> (u64, Due) {
        let now = Instant::now();
        let due = poll_fn(|cx| clocks.poll(Phase { committed, finished, held: false }, cx)).await;
        ((now.elapsed().as_secs_f64()).round() as u64, due)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_from_the_start() {
        let mut clocks = clocks();
        assert_eq!(next(&mut clocks, false, false).await, (20, Due::Commit));
        clocks.send();
        for _ in 0..17 {
            assert_eq!(next(&mut clocks, true, false).await, (15, Due::Ping));
            clocks.send();
        }
        // 20 s, 255 s of pings, and the 10 s before: pings did not hide it.
        assert_eq!(next(&mut clocks, true, false).await, (15, Due::FirstEvent(300 * S)));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_after_events() {
        let mut clocks = clocks();
        clocks.hear();
        clocks.event();
        clocks.send();
        for _ in 0..7 {
            assert_eq!(next(&mut clocks, true, false).await, (15, Due::Ping));
            clocks.send();
        }
        // A comment: a sign of life upstream, nothing for the client.
        clocks.hear();
        for _ in 0..7 {
            assert_eq!(next(&mut clocks, true, false).await, (15, Due::Ping));
            clocks.send();
        }
        assert_eq!(next(&mut clocks, true, false).await, (15, Due::Idle(120 * S)));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_after_finish_reason() {
        let mut clocks = clocks();
        clocks.hear();
        clocks.event();
        clocks.send();
        assert_eq!(next(&mut clocks, true, true).await, (5, Due::Settled));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_is_not_our_share() {
        let mut clocks = clocks();
        for (ends, took) in [(Clocks::send as fn(&mut Clocks), 3), (Clocks::pause, 5), (Clocks::send, 8)] {
            clocks.hear();
            tokio::time::advance(S).await;
            clocks.hear();
            tokio::time::advance((took - 1) * S).await;
            ends(&mut clocks);
            tokio::time::advance(60 * S).await;
            clocks.send();
            clocks.pause();
        }
        clocks.carry(S);
        assert_eq!(clocks.own(), 17 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_end_has_nothing_but_pings() {
        let mut clocks = clocks();
        clocks.hear();
        clocks.send();
        let phase = Phase { committed: true, finished: true, held: true };
        for _ in 0..40 {
            let now = Instant::now();
            assert_eq!(poll_fn(|cx| clocks.poll(phase, cx)).await, Due::Ping);
            assert_eq!(now.elapsed().as_secs(), 15);
            clocks.send();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_event_may_take_longer_than_the_idle_limit() {
        let mut clocks = Clocks::with(300 * S, 5 * S, Duration::ZERO, Instant::now());
        assert_eq!(next(&mut clocks, false, false).await, (20, Due::Commit));
        assert_eq!(next(&mut clocks, true, false).await, (280, Due::FirstEvent(300 * S)));
    }
}
