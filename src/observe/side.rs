//! Questions that the proxy asks a model on its own account, beside the request of a client.

use std::sync::Arc;

use super::Metrics;
use super::cost::Amount;

/// What a question is for; a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Is a tool call dangerous?
    Safeguards,
    /// What is in an image?
    Vision,
}

impl Purpose {
    /// One of [`super::metrics::names::PURPOSES`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safeguards => "safeguards",
            Self::Vision => "vision",
        }
    }
}

/// That a record is one of such a question, and who counts it.
#[derive(Debug)]
pub struct Side {
    /// What it is for.
    pub purpose: Purpose,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// What such questions took for one request of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SideCounts {
    /// Questions that were answered.
    pub requests: u64,
    /// Their prompts, cached ones included, in tokens.
    pub input_tokens: u64,
    /// Their answers, in tokens.
    pub output_tokens: u64,
    /// What they cost; none: no price is known.
    pub cost: Option<Amount>,
}

impl SideCounts {
    /// Adds what others took.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        if let Some(cost) = other.cost {
            *self.cost.get_or_insert_default() += cost;
        }
    }
}
