//! What the upstream does not take, in a form that it does: before a request is converted.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::app::Worker;
use super::attempt::{Asking, Call, Prepared};
use super::reading::Reading;
use super::window;
use crate::config::Model;
use crate::convert::Losses;
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
        let adapted = Box::pin(adapt(worker, asking, reading, model, record)).await?;
        if let Some(Adapted { body, losses }) = adapted {
            let prepared = Call::prepare(worker, asking, &mut Reading::of(&body, worker), model, record)?;
            losses.tokens().iter().for_each(|token| record.warn(token));
            return Ok(prepared);
        }
    }
    Call::prepare(worker, asking, reading, model, record)
}

#[allow(clippy::unused_async)] // Until there is something to ask for.
/// None: everything can stay as it is.
async fn adapt(
    worker: &Rc<Worker>,
    asking: &Asking<'_>,
    reading: &mut Reading<'_>,
    model: &Arc<Model>,
    record: &mut Record,
) -> Result<Option<Adapted>, ApiError> {
    let _ = (worker, asking, reading, model, record);
    Ok(None)
}
