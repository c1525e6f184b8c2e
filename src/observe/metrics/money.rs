//! Counters of money, which add up exactly.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{CounterValueEncoder, EncodeCounterValue};
use prometheus_client::metrics::counter::{Atomic, Counter};

use crate::observe::cost::Amount;

/// Counts an amount.
pub(super) type MoneyCounter = Counter<Amount, Sum>;

/// The amount so far: no atomic is wide enough.
#[derive(Debug, Default)]
pub(super) struct Sum(Mutex<Amount>);

impl Atomic<Amount> for Sum {
    fn inc(&self) -> Amount {
        self.inc_by(Amount(1))
    }

    fn inc_by(&self, more: Amount) -> Amount {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *sum;
        *sum += more;
        before
    }

    fn get(&self) -> Amount {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeCounterValue for Amount {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        self.as_f64().encode(encoder)
    }
}

/// What one key of a client spends and asks.
#[derive(Debug, Clone)]
pub struct KeyMeter {
    pub(super) cost: MoneyCounter,
    pub(super) requests: Counter,
    pub(super) refusals: Counter,
}

impl KeyMeter {
    /// A request of its has ended.
    pub(in crate::observe) fn asks(&self) {
        self.requests.inc();
    }

    /// Something cost so much.
    pub(in crate::observe) fn pays(&self, cost: Amount) {
        self.cost.inc_by(cost);
    }

    /// Its budget is used up, so that a request was refused.
    pub fn refuses(&self) {
        self.refusals.inc();
    }
}
