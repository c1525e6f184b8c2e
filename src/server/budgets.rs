//! What keys may spend in a day.
//!
//! A day is one of UTC. A request is let in while something is left; what it costs is known when
//! it has ended, so that those that run at the same time may spend more than the budget together.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use actix_web::http::header::{HeaderValue, RETRY_AFTER};

use super::reply::Refusal;
use crate::observe::cost::{Amount, Purse};
use crate::store::spent::Spent;
use crate::wire::anthropic::{ApiError, ErrorKind};

const DAY: u64 = 24 * 3600;

/// What one key has spent, and may spend.
pub(super) struct Account {
    name: Arc<str>,
    spent: Spent,
    /// None: it may spend what it likes.
    budget: Option<Amount>,
    /// The day on which it was said that nothing is left.
    said: AtomicU64,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// How a key stands today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) name: Arc<str>,
    pub(super) spent: Amount,
    /// None: it may spend what it likes.
    pub(super) budget: Option<Amount>,
}

impl Account {
    pub(super) fn new(name: &Arc<str>, spent: &Spent, budget: Option<u128>) -> Self {
        let (name, spent) = (Arc::clone(name), spent.clone());
        Self { name, spent, budget: budget.map(Amount), said: AtomicU64::new(u64::MAX) }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing_at(now())
    }

    fn standing_at(&self, now: Duration) -> Standing {
        let spent = Amount(self.spent.sum(day(now), &self.name));
        Standing { name: Arc::clone(&self.name), spent, budget: self.budget }
    }

    /// 429 if nothing is left of today's budget.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        self.check_at(now())
    }

    fn check_at(&self, now: Duration) -> Result<(), Refusal> {
        let Some(budget) = self.budget else { return Ok(()) };
        let Standing { name, spent, .. } = self.standing_at(now);
        if spent < budget {
            return Ok(());
        }
        if self.said.swap(day(now), Ordering::Relaxed) != day(now) {
            tracing::warn!(key = %name, %spent, %budget, "the budget of a key is used up for today");
        }
        let left = DAY - now.as_secs() % DAY;
        let message = format!(
            "the budget of key `{name}` for today is used up: {spent} of {budget} are spent. It begins anew at \
             midnight UTC, in {} (config key `budgets`)",
            span(left)
        );
        let mut error = ApiError::new(429, ErrorKind::RateLimit, message);
        // Nobody should wait for it: Claude Code would try for minutes before it shows this.
        error.should_retry = Some(false);
        Err(Refusal::from(error).with(RETRY_AFTER, Some(HeaderValue::from(left))))
    }
}

impl Purse for Account {
    fn spend(&self, cost: Amount) {
        self.spent.add(day(now()), &self.name, cost.0);
    }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Days since 1970.
fn day(now: Duration) -> u64 {
    now.as_secs() / DAY
}

/// `5 h 12 min`, `3 min`; never none.
fn span(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn account(dir: &std::path::Path, budget: Option<u128>) -> Account {
        let spent = Spent::of(Store::open(&dir.join("spent.redb")).unwrap()).unwrap();
        Account::new(&"alice".into(), &spent, budget)
    }

    const NOON: Duration = Duration::from_secs(20_000 * DAY + 12 * 3600 + 30);

    #[test]
    fn something_has_to_be_left() {
        let dir = tempfile::tempdir().unwrap();
        let account = account(dir.path(), Some(20_000_000_000_000));
        let spend = |at: Duration, picos| account.spent.add(day(at), &account.name, picos);
        assert!(account.check_at(NOON).is_ok());
        spend(NOON, 19_999_999_999_999);
        assert!(account.check_at(NOON).is_ok());
        spend(NOON, 1);
        let refusal = account.check_at(NOON).unwrap_err();
        assert_eq!(
            refusal.error.message,
            "the budget of key `alice` for today is used up: 20.00 of 20.00 are spent. It begins anew at midnight \
             UTC, in 12 h (config key `budgets`)"
        );
        assert_eq!((refusal.error.status, refusal.error.kind), (429, ErrorKind::RateLimit));
        assert_eq!(refusal.error.should_retry, Some(false));

        // A new day; and a clock that goes back gives nothing back.
        let tomorrow = NOON + Duration::from_secs(DAY);
        assert!(account.check_at(tomorrow).is_ok());
        spend(tomorrow, 5_000_000_000_000);
        assert!(account.check_at(NOON).is_err());
        let standing = account.standing_at(tomorrow);
        assert_eq!(
            (standing.spent, standing.budget),
            (Amount(5_000_000_000_000), Some(Amount(20_000_000_000_000)))
        );
    }

    #[test]
    fn a_budget_of_nothing_lets_nobody_in_and_none_everybody() {
        let dir = tempfile::tempdir().unwrap();
        assert!(account(dir.path(), Some(0)).check_at(NOON).is_err());
        let free = account(dir.path(), None);
        free.spent.add(day(NOON), &free.name, u128::MAX);
        assert!(free.check_at(NOON).is_ok());
    }

    #[test]
    fn spans_are_short() {
        for (seconds, shown) in
            [(1, "1 min"), (60, "1 min"), (61, "2 min"), (3600, "1 h"), (3601, "1 h 1 min"), (DAY, "24 h")]
        {
            assert_eq!(span(seconds), shown);
        }
    }
}
