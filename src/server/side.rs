//! A question of our own to a model of the configuration.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;

use super::adapt;
use super::app::Worker;
use super::attempt::{Answered, Asking, Prepared};
use super::failover;
use super::pump::note;
use super::reading::Reading;
use super::upstreams::Candidates;
use crate::convert::{self, WholeAnswer};
use crate::observe::cost::Amount;
use crate::observe::side::{Purpose, Side, SideCounts};
use crate::observe::{Cause, Outcome, Record};
use crate::upstream::Crossing;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// What a model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Its text blocks, one behind the other.
    pub(super) text: String,
    /// `stop_reason`; empty: it told none.
    pub(super) stop_reason: String,
    /// What it took.
    pub(super) counts: SideCounts,
}

/// Asks model `id` of the configuration with a Messages request that is not streamed, with keys,
/// second attempts and fallbacks as any request. Dropped, the question is taken back.
///
/// It has a line of its own in the log, with the `request_id` of its cause, the request that it is
/// asked for, and is counted apart from what clients ask.
///
/// # Errors
/// As a client would be told; 504 when `limit` is over.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    purpose: Purpose,
    id: &str,
    body: Vec<u8>,
    limit: Duration,
    cause: &Cause,
) -> Result<Said, ApiError> {
    let mut record = Record::new(cause.request_id.to_string());
    record.payer.clone_from(&cause.payer);
    record.trace = cause.trace.as_ref().map(|trace| Arc::new(trace.child(worker.ids.random())));
    record.side = Some(Side { purpose, metrics: Arc::clone(&worker.metrics) });
    id.clone_into(&mut record.model);
    record.received = body.len() as u64;
    let asked = tokio::time::timeout(limit, asked(worker, id, body.into(), &mut record)).await;
    let said = asked.unwrap_or_else(|_| {
        let message = format!("model `{id}` did not answer within {} s", limit.as_secs_f64());
        Err(ApiError::new(504, ErrorKind::Timeout, message))
    });
    match &said {
        Ok(_) => (record.status, record.outcome) = (200, Outcome::Done),
        Err(error) => {
            (record.status, record.outcome) = (error.status, Outcome::Refused);
            record.error.clone_from(&error.message);
        }
    }
    said
}

async fn asked(worker: &Rc<Worker>, id: &str, bytes: Bytes, record: &mut Record) -> Result<Said, ApiError> {
    let unknown = || ApiError::new(500, ErrorKind::Api, format!("internal error: no model `{id}`"));
    let model = worker.config.model(id).ok_or_else(unknown)?;
    let mut candidates = Candidates::new(&worker.upstreams, worker.config.chain(model));
    let candidate = candidates.next(Instant::now()).ok_or_else(unknown)??;
    if candidate.stands_in {
        record.meter = Some(worker.meters.of(model));
        record.fall_back();
    }
    let request_id = record.request_id.clone();
    let asking = Asking {
        request_id: &request_id,
        seed: worker.ids.random(),
        crossing: Crossing::default(),
        delegated: false,
        session: None,
        keeping: OnceCell::new(),
        further: None,
    };
    let mut reading = Reading::of(&bytes, worker);
    let answer = match adapt::prepare(worker, &asking, &mut reading, &candidate.model, record).await? {
        Prepared::Local(converted) => convert::response::empty(converted.reply),
        Prepared::Call(call) => {
            let again = candidates.has_more().then(|| bytes.clone());
            let asked = failover::answer(worker, candidates, (candidate, call), again, &asking, record);
            match asked.await.map_err(|refusal| refusal.error)?.0 {
                Answered::Whole(answer, _) => answer,
                // Neither streamed nor held.
                Answered::Stream(..) | Answered::Held(..) => {
                    return Err(ApiError::bad_gateway("a stream that was not asked for"));
                }
            }
        }
    };
    note(record, &answer.summary);
    if record.warnings.contains("dropped:image") {
        // Whatever it said, it said without having seen it.
        let message = format!("model `{}` was asked about an image, and takes none", record.remote);
        return Err(ApiError::bad_gateway(message));
    }
    read(&answer, record.cost())
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    #[serde(default)]
    stop_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Block<'a> {
    r#type: Cow<'a, str>,
    #[serde(default)]
    text: Cow<'a, str>,
}

fn read(answer: &WholeAnswer, cost: Option<Amount>) -> Result<Said, ApiError> {
    let message: Message<'_> = serde_json::from_slice(&answer.body)
        .map_err(|e| ApiError::bad_gateway(format!("an answer that cannot be read: {e}")))?;
    let texts = message.content.iter().filter(|block| block.r#type == "text");
    let usage = answer.summary.usage;
    Ok(Said {
        text: texts.map(|block| &*block.text).collect(),
        stop_reason: message.stop_reason.unwrap_or_default().into_owned(),
        counts: SideCounts {
            requests: 1,
            input_tokens: usage.input_tokens
                + usage.cache_read_input_tokens
                + usage.cache_creation_input_tokens,
            output_tokens: usage.output_tokens,
            cost,
        },
    })
}
