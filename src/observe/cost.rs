//! What requests cost, in whole numbers: sums are exact.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::Arc;

use super::metrics::KeyMeter;

/// Picos in one of the currency.
const PICOS: u128 = 1_000_000_000_000;

/// An amount of the currency that the configuration's prices are in, in 10^-12 of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u128);

impl Amount {
    /// To the nearest number that there is.
    pub fn as_f64(self) -> f64 {
        // Divided in two steps: large amounts keep their small digits as long as they fit.
        (self.0 / PICOS) as f64 + (self.0 % PICOS) as f64 / PICOS as f64
    }

    /// What is left of it, at least nothing.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

impl fmt::Display for Amount {
    /// All digits that are not zero, and two at least: `20.00`, `0.000132`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:012}", self.0 % PICOS);
        let (cents, rest) = digits.split_at_checked(2).unwrap_or((&digits, ""));
        write!(f, "{}.{cents}{}", self.0 / PICOS, rest.trim_end_matches('0'))
    }
}

/// What a model's tokens cost, in 10^-12 for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// A token of the prompt, but for cached ones.
    pub input: u64,
    /// A token of the prompt that was read from a cache.
    pub cached: u64,
    /// A token of the answer.
    pub output: u64,
}

/// Tokens, as they are paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of the prompt, those written to a cache included.
    pub input: u64,
    /// Of the prompt, read from a cache.
    pub cached: u64,
    /// Of the answer, thinking included.
    pub output: u64,
}

impl Price {
    /// What so many tokens cost.
    pub fn of(&self, counts: Counts) -> Amount {
        let part = |price: u64, tokens: u64| Amount(u128::from(price) * u128::from(tokens));
        let Counts { input, cached, output } = counts;
        [part(self.input, input), part(self.cached, cached), part(self.output, output)].into_iter().sum()
    }
}

/// Where it is noted what a key has spent.
pub trait Purse: fmt::Debug + Send + Sync {
    /// So much more. Never waits.
    fn spend(&self, cost: Amount);
}

/// Who pays for a request: the key that came with it.
#[derive(Debug)]
pub struct Payer {
    /// Counts it.
    pub meter: KeyMeter,
    /// None: nobody asks what it has spent.
    pub purse: Option<Arc<dyn Purse>>,
}

impl Payer {
    /// Counts and notes what something cost.
    pub(super) fn pay(&self, cost: Amount) {
        if cost != Amount::default() {
            self.meter.pays(cost);
            if let Some(purse) = &self.purse {
                purse.spend(cost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact() {
        let price = Price { input: 600_000, cached: 110_000, output: 2_200_000 };
        for ((input, cached, output), cost, shown) in [
            ((0, 0, 0), 0, "0.00"),
            ((1, 0, 0), 600_000, "0.0000006"),
            ((0, 1, 0), 110_000, "0.00000011"),
            ((0, 0, 1), 2_200_000, "0.0000022"),
            ((1_000_000, 1_000_000, 1_000_000), 2_910_000_000_000, "2.91"),
            ((12_345, 67_890, 1_234), 17_589_700_000, "0.0175897"),
        ] {
            let cost_of = price.of(Counts { input, cached, output });
            assert_eq!((cost_of, cost_of.to_string().as_str()), (Amount(cost), shown));
        }
        // A third of a cent, three million times, is as much as it should be.
        let third = Price { input: 3_333_333_333, cached: 0, output: 0 };
        let all: Amount = (0..3_000).map(|_| third.of(Counts { input: 1000, ..Counts::default() })).sum();
        assert_eq!(all, Amount(3_333_333_333 * 3_000_000));
        assert_eq!(all.to_string(), "9999.999999");
    }

    #[test]
    fn whatever_an_upstream_claims_is_no_panic() {
        let most = Price { input: u64::MAX, cached: u64::MAX, output: u64::MAX };
        let cost = most.of(Counts { input: u64::MAX, cached: u64::MAX, output: u64::MAX });
        assert_eq!(cost, Amount(u128::MAX));
        assert!(cost.as_f64() > 1e26 && Amount(3).less(cost) == Amount(0));
    }

    #[test]
    fn amounts_are_decimals() {
        for (picos, shown, number) in [
            (0, "0.00", 0.0),
            (1, "0.000000000001", 1e-12),
            (100_000_000_000, "0.10", 0.1),
            (20_000_000_000_000, "20.00", 20.0),
            (1_234_567_890_000_000, "1234.56789", 1234.56789),
        ] {
            assert_eq!((Amount(picos).to_string().as_str(), Amount(picos).as_f64()), (shown, number));
        }
    }
}
