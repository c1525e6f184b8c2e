//! What the upstream does not take, in a form that it does: before a request is converted.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::app::Worker;
use super::attempt::{Asking, Call, Prepared};
use super::media;
use super::memo::Finding;
use super::reading::Reading;
use super::window;
use crate::config::{Api, Model};
use crate::convert::Losses;
use crate::convert::stand_in::{self, Kind, StandIn};
use crate::observe::Record;
use crate::wire::anthropic::ApiError;

/// A request in another form.
struct Adapted {
    body: Bytes,
    losses: Losses,
}

/// As [`Call::prepare`], after what `model` cannot take was replaced where the configuration has
/// something to put there.
///
/// # Errors
/// As [`Call::prepare`] and [`window::check`].
pub(super) async fn prepare(
    worker: &Rc<Worker>,
    asking: &Asking<'_>,
    reading: &mut Reading<'_>,
    model: &Arc<Model>,
    record: &mut Record,
) -> Result<Prepared, ApiError> {
    let prepared = fitting(worker, asking, reading, model, record).await?;
    if let Prepared::Call(call) = &prepared
        && call.cut_at().is_some()
    {
        // Rare, and large.
        Box::pin(window::check(worker, call)).await?;
    }
    Ok(prepared)
}

async fn fitting(
    worker: &Rc<Worker>,
    asking: &Asking<'_>,
    reading: &mut Reading<'_>,
    model: &Arc<Model>,
    record: &mut Record,
) -> Result<Prepared, ApiError> {
    if worker.adapts() && record.side.is_none() {
        // Rare, and large.
        let adapted = Box::pin(adapt(worker, reading, model, record)).await?;
        if let Some(exchange) = &record.capture {
            exchange.describe(|meta| meta.adapted = adapted.is_some());
        }
        if let Some(Adapted { body, losses }) = adapted {
            let prepared = Call::prepare(worker, asking, &mut Reading::of(&body, worker), model, record)?;
            losses.tokens().iter().for_each(|token| record.warn(token));
            return Ok(prepared);
        }
    }
    Call::prepare(worker, asking, reading, model, record)
}

/// None: everything can stay as it is.
async fn adapt(
    worker: &Rc<Worker>,
    reading: &mut Reading<'_>,
    model: &Arc<Model>,
    record: &mut Record,
) -> Result<Option<Adapted>, ApiError> {
    let missing = worker.config.extras.replaces(model);
    if !missing.images && !missing.pdfs {
        return Ok(None);
    }
    // What passes through was not read so far; what cannot be read is for its upstream to refuse.
    if model.provider.api == Api::OpenAi && !missing.is_in(reading.request()?) {
        return Ok(None);
    }
    let text = reading.text();
    let media = stand_in::find(text, missing);
    if media.is_empty() {
        return Ok(None);
    }
    let began = Instant::now();
    let cause = record.cause();
    let findings = media::findings(worker, &cause, &media, record);
    let findings = worker.drain.bound(findings).await?;
    record.own.waited(began.elapsed());
    let describer = worker.config.extras.vision_model.as_deref().unwrap_or_default();
    let stand_ins = media.iter().zip(&findings);
    let stand_ins =
        stand_ins.filter_map(|(m, finding)| Some((m, stand_in(m.kind, finding.as_ref()?, describer)?)));
    let mut stand_ins = stand_ins.peekable();
    if stand_ins.peek().is_none() {
        return Ok(None);
    }
    let (body, losses) = stand_in::put(text, stand_ins);
    Ok(Some(Adapted { body: body.into(), losses }))
}

/// What becomes of a finding. None: the conversion says that something was left out.
pub(super) fn stand_in<'f>(kind: Kind, finding: &'f Finding, describer: &'f str) -> Option<StandIn<'f>> {
    match (kind, finding) {
        (Kind::Pdf, Finding::Text(text)) => Some(StandIn::Text(text)),
        (Kind::Pdf, Finding::Hopeless(why)) => Some(StandIn::Excuse(why)),
        (_, Finding::Text(text)) => Some(StandIn::Description { model: describer, text }),
        (_, Finding::Hopeless(_) | Finding::Failed) => None,
    }
}
