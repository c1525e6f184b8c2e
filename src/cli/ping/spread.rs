//! Times over several samples.

use serde::Serialize;

use super::ask::Times;
use super::examine::ms;
use super::once::Tokens;

/// Samples of each time, in milliseconds, and of the rate, in tokens a second.
#[derive(Debug, Default)]
pub(super) struct Timings {
    resolve: Vec<f64>,
    connect: Vec<f64>,
    tls: Vec<f64>,
    first_byte: Vec<f64>,
    first_token: Vec<f64>,
    total: Vec<f64>,
    whole: Vec<f64>,
    rate: Vec<f64>,
}

/// The least, the middle and the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

/// As in `--json`: none: not measured.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) resolve_ms: Option<Spread>,
    pub(super) connect_ms: Option<Spread>,
    pub(super) tls_ms: Option<Spread>,
    pub(super) first_byte_ms: Option<Spread>,
    pub(super) first_token_ms: Option<Spread>,
    pub(super) total_ms: Option<Spread>,
    pub(super) whole_ms: Option<Spread>,
    pub(super) tokens_per_second: Option<Spread>,
}

impl Timings {
    /// One sample: a whole answer over a new connection, and a stream over the same one.
    pub(super) fn add(&mut self, whole: Option<Times>, stream: Option<Times>, told: Option<Tokens>) {
        if let Some(times) = whole {
            self.resolve.extend(times.resolve.map(ms));
            self.connect.extend(times.connect.map(ms));
            self.tls.extend(times.tls.map(ms));
            self.whole.push(ms(times.total));
        }
        let Some(times) = stream else { return };
        self.first_byte.push(ms(times.first_byte));
        self.first_token.extend(times.first_token.map(ms));
        self.total.push(ms(times.total));
        let (Some(first), Some(tokens)) = (times.first_token, told) else { return };
        let during = (times.total.saturating_sub(first)).as_secs_f64();
        // Few tokens tell no rate.
        if tokens.output >= 8 && during > 0.0 {
            let rate = (tokens.output - 1) as f64 / during;
            self.rate.push((rate * 10.0).round() / 10.0);
        }
    }

    pub(super) fn shown(&self) -> Shown {
        Shown {
            resolve_ms: spread(&self.resolve),
            connect_ms: spread(&self.connect),
            tls_ms: spread(&self.tls),
            first_byte_ms: spread(&self.first_byte),
            first_token_ms: spread(&self.first_token),
            total_ms: spread(&self.total),
            whole_ms: spread(&self.whole),
            tokens_per_second: spread(&self.rate),
        }
    }
}

fn spread(samples: &[f64]) -> Option<Spread> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let median = if sorted.len().is_multiple_of(2) {
        let lower = *sorted.get(sorted.len() / 2 - 1)?;
        ((lower + upper) * 5.0).round() / 10.0
    } else {
        upper
    };
    Some(Spread { min, median, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { min: 3.0, median: 3.0, max: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some(Spread { min: 1.0, median: 3.0, max: 9.0 }));
    }
}
