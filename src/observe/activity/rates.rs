//! Ten minutes of counts, five seconds a bucket.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// Length of a bucket.
pub const BUCKET: Duration = Duration::from_secs(5);
/// How far back they go.
pub const SPAN: Duration = Duration::from_secs(600);
const BUCKETS: u32 = (SPAN.as_secs() / BUCKET.as_secs()) as u32;
/// Four bins an octave, from 1 ms to 9 minutes: a quantile is off by a tenth at most.
const BINS: usize = 76;
const BINS_AN_OCTAVE: f64 = 4.0;

/// What happened in one bucket's time.
#[derive(Debug)]
pub(super) struct Bucket {
    at: u32,
    pub(super) requests: u32,
    pub(super) failed: u32,
    pub(super) input: u64,
    pub(super) output: u64,
    first_bytes: [u16; BINS],
}

/// Those buckets in which something happened, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<Bucket>);

/// One bucket, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// When it began, in milliseconds since 1970.
    pub t: u64,
    /// Requests that ended.
    pub requests: u32,
    /// Of these the ones that did not end well; a client that left is no failure.
    pub failed: u32,
    /// Tokens of questions, cached ones included.
    pub input: u64,
    /// Tokens of answers.
    pub output: u64,
    /// Median time to the first byte, in milliseconds; none: there was none.
    pub p50: Option<u64>,
    /// The time that 95 % did not exceed.
    pub p95: Option<u64>,
}

impl Bucket {
    fn new(at: u32) -> Self {
        Self { at, requests: 0, failed: 0, input: 0, output: 0, first_bytes: [0; BINS] }
    }

    /// The first byte of an answer was ready after that long.
    pub(super) fn first_byte(&mut self, after: Duration) {
        let ms = after.as_secs_f64() * 1000.0;
        let bin = (ms.max(1.0).log2() * BINS_AN_OCTAVE) as usize;
        if let Some(count) = self.first_bytes.get_mut(bin.min(BINS - 1)) {
            *count = count.saturating_add(1);
        }
    }

    fn quantile(&self, share: f64) -> Option<u64> {
        let all: u64 = self.first_bytes.iter().map(|n| u64::from(*n)).sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let bin = self.first_bytes.iter().position(|n| {
            seen += u64::from(*n);
            seen >= rank
        })?;
        // The middle of the bin.
        Some(((bin as f64 + 0.5) / BINS_AN_OCTAVE).exp2().round() as u64)
    }
}

impl Rates {
    pub(super) fn count(&mut self, at: u32, add: impl FnOnce(&mut Bucket)) {
        self.forget(at);
        // Another thread may have been a little later, and faster.
        if self.0.back().is_none_or(|last| last.at < at) {
            self.0.push_back(Bucket::new(at));
        }
        if let Some(bucket) = self.0.iter_mut().rev().find(|bucket| bucket.at <= at) {
            add(bucket);
        }
    }

    pub(super) fn points(&mut self, now: u32, time: impl Fn(u32) -> u64, from: u64) -> Vec<Point> {
        self.forget(now);
        let told = |bucket: &Bucket| Point {
            t: time(bucket.at),
            requests: bucket.requests,
            failed: bucket.failed,
            input: bucket.input,
            output: bucket.output,
            p50: bucket.quantile(0.5),
            p95: bucket.quantile(0.95),
        };
        self.0.iter().map(told).filter(|point| point.t >= from).collect()
    }

    fn forget(&mut self, now: u32) {
        while self.0.front().is_some_and(|first| first.at + BUCKETS <= now) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_minutes_and_no_more() {
        let mut rates = Rates::default();
        for at in 0..1000 {
            rates.count(at, |bucket| bucket.requests += 1);
        }
        // One that comes late is not lost.
        rates.count(998, |bucket| bucket.failed += 1);
        let points = rates.points(999, u64::from, 0);
        assert_eq!((points.len(), points[0].t, points[119].t), (120, 880, 999));
        assert_eq!((points[118].failed, points[119].failed), (1, 0));
        assert_eq!(rates.points(999, u64::from, 998).len(), 2);
        assert!(rates.points(2000, u64::from, 0).is_empty() && rates.0.is_empty());
    }

    #[test]
    fn quantiles_are_off_by_a_tenth_at_most() {
        let mut bucket = Bucket::new(0);
        assert_eq!((bucket.quantile(0.5), bucket.quantile(0.95)), (None, None));
        for ms in 1..=1000 {
            bucket.first_byte(Duration::from_millis(ms));
        }
        for (share, want) in [(0.5, 500.0), (0.95, 950.0)] {
            let told = bucket.quantile(share).unwrap() as f64;
            assert!((told / want - 1.0).abs() <= 0.1, "{share}: {told}");
        }
        bucket.first_byte(Duration::ZERO);
        bucket.first_byte(Duration::from_secs(100_000));
        assert!(bucket.quantile(1.0).unwrap() > 400_000);
    }
}
