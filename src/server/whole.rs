//! A whole answer, also where the upstream sent it as a stream.

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::app::Worker;
use super::clocks::SETTLED;
use crate::config::Provider;
use crate::convert::{self, Fold, Form, ReplyContext, UpstreamEnd, WholeAnswer};
use crate::observe::{Record, log};
use crate::upstream::body::MAX_WHOLE;
use crate::upstream::{Answer, Cause, Fault, Stage};
use crate::wire::anthropic::ApiError;

/// Reads and converts the answer; `upstream_timeout` bounds all of it.
pub(super) async fn read(
    worker: &Worker,
    provider: &Provider,
    answer: Answer,
    context: ReplyContext,
    record: &mut Record,
) -> Result<WholeAnswer, ApiError> {
    let limit = worker.config.upstream_timeout;
    let until = answer.began + limit;
    let content_type = answer.content_type();
    let mut body = answer.body;
    let told = |fault: Fault| fault.api_error(&provider.name);
    let show = |record: &Record, what, bytes: &[u8]| {
        let max = worker.config.log_body_max_chars;
        log::body(max, &record.request_id, what, bytes, |text| provider.blot(text));
    };
    let late = || told(Fault::new(Stage::Body, Cause::Timeout(limit)));

    // Enough of it to tell what it is.
    let mut head = Bytes::new();
    let form = loop {
        if let Some(form) = Form::of(&content_type, &head) {
            break form;
        }
        match timeout_at(until, body.chunk()).await.map_err(|_| late())? {
            Some(chunk) => head = chunk.map_err(told)?,
            None => break Form::Whole,
        }
    };
    record.mark_first_byte();
    #[cfg(test)]
    super::tests::trip(&head);
    if form == Form::Whole {
        let whole = body.rest(head, MAX_WHOLE, until, limit).await.map_err(told)?;
        show(record, "upstream answer", &whole);
        return convert::response(&whole, context);
    }

    let mut fold = Fold::new(context);
    let mut idle = worker.config.stream_idle_timeout;
    let mut next = Some(Ok(head));
    let end = loop {
        match next {
            Some(Ok(bytes)) if fold.take(&bytes)? => {
                break UpstreamEnd::DoneMarker;
            }
            Some(Ok(_)) => {}
            Some(Err(fault)) => {
                tracing::debug!(request_id = %record.request_id, %fault, "the upstream's stream broke");
                break fold.last()?;
            }
            None => break fold.last()?,
        }
        if fold.finish_seen() {
            idle = SETTLED;
        }
        let silent = Instant::now() + idle;
        next = match timeout_at(until.min(silent), body.chunk()).await {
            Ok(next) => next,
            Err(_) if fold.finish_seen() => break UpstreamEnd::Eof,
            Err(_) if until <= silent => return Err(late()),
            Err(_) => return Err(told(Fault::new(Stage::Body, Cause::Idle(idle)))),
        };
    };
    if end == UpstreamEnd::DoneMarker {
        body.linger();
    }
    let whole = fold.finish(end)?;
    show(record, "answer", &whole.body);
    Ok(whole)
}
