//! The span of a request upstream: feature `otel`.

use crate::config::Provider;
use crate::observe::Record;
use crate::observe::trace::Hop;
use crate::upstream::{Answer, Fault, Stage};

/// Notes who is asked.
pub(super) fn begins(mut hop: Option<Hop>, provider: &Provider, record: &Record) -> Option<Hop> {
    if let Some(hop) = &mut hop {
        hop.describe(&provider.completions_url, &provider.name, &record.remote, record.attempts);
    }
    hop
}

/// Notes what became of it. Of an answer the span goes on with its body.
pub(super) fn ends(sent: Result<Answer, Fault>, hop: Option<Hop>) -> Result<Answer, Fault> {
    let Some(mut hop) = hop else { return sent };
    if sent.as_ref().map_or_else(|fault| fault.resent, |answer| answer.retried) {
        hop.resent();
    }
    match sent {
        Ok(mut answer) => {
            hop.answered(answer.status);
            answer.body.follow(hop);
            Ok(answer)
        }
        Err(fault) => {
            hop.failed(match fault.stage {
                Stage::Connect => "connect",
                Stage::Send => "send",
                Stage::Head => "head",
                Stage::Body => "body",
            });
            Err(fault)
        }
    }
}
