//! A request's body, read as far as it has to be: all of it to convert it, its outline to pass
//! it on.

use std::cell::RefCell;

use bytes::Bytes;

use super::app::Worker;
use crate::config::{Api, Config};
use crate::upstream::Session;
use crate::wire::anthropic::{ApiError, KnownTools, Outline, Request, metadata};
use crate::wire::json::utf8;

/// A body, and what was read of it so far.
pub(super) struct Reading<'r> {
    bytes: &'r Bytes,
    known: &'r RefCell<KnownTools>,
    request: Option<Request<'r>>,
    outline: Option<Outline<'r>>,
}

impl<'r> Reading<'r> {
    /// Nothing is read yet.
    pub(super) fn of(bytes: &'r Bytes, worker: &'r Worker) -> Self {
        Self { bytes, known: &worker.known, request: None, outline: None }
    }

    /// The body itself.
    pub(super) fn bytes(&self) -> &'r Bytes {
        self.bytes
    }

    /// `model` and `stream`, read in the way that is likely to be wanted later.
    pub(super) fn names(&mut self, config: &Config) -> Result<(&str, bool), ApiError> {
        if config.models.iter().any(|m| m.provider.api == Api::Anthropic) {
            let outline = self.outline()?;
            return Ok((&outline.model, outline.stream));
        }
        let request = self.request()?;
        Ok((&request.model, request.stream))
    }

    /// As it came.
    pub(super) fn text(&self) -> &'r str {
        utf8(self.bytes).unwrap_or_default()
    }

    /// The session that it names itself, as far as it was read.
    pub(super) fn session(&self) -> Option<Session> {
        let of_request = self.request.as_ref().and_then(|request| request.metadata);
        let metadata = of_request.or(self.outline.as_ref().and_then(|outline| outline.metadata))?;
        metadata::session(metadata).map(|id| Session::of(id.as_bytes()))
    }

    /// All of it, checked as a conversion needs it.
    pub(super) fn request(&mut self) -> Result<&Request<'r>, ApiError> {
        match &mut self.request {
            Some(request) => Ok(request),
            empty => Ok(empty.insert(Request::parse_known(self.bytes, &mut self.known.borrow_mut())?)),
        }
    }

    /// What is needed to pass it on.
    pub(super) fn outline(&mut self) -> Result<&Outline<'r>, ApiError> {
        match &mut self.outline {
            Some(outline) => Ok(outline),
            empty => Ok(empty.insert(Outline::read(self.bytes)?)),
        }
    }
}
