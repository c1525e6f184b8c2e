//! What is found out about images and PDF documents of requests: once each.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use futures_util::stream::iter;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::app::Worker;
use super::memo::{Finding, Key, Memo};
use super::vision;
use crate::config::Extras;
use crate::convert::stand_in::{Kind, Medium};
use crate::observe::side::SideCounts;
use crate::observe::{Cause, Record};
use crate::pdf;

/// Longest that a request waits for all of it. Claude Code waits 360 s for an answer's head.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many are found out side by side for one request.
const AT_ONCE: usize = 4;
/// So many new ones are found out for one request; the others are left out of it.
const MOST_NEW: usize = 64;
/// Most that descriptions of images take, in bytes.
const DESCRIPTIONS: usize = 8 << 20;
/// Most that texts of documents take, in bytes.
const DOCUMENTS: usize = 32 << 20;
/// Hashing more than that at a time would keep the streams of this thread waiting.
const A_BREATH: usize = 256 << 10;

/// What all threads know of images and documents.
#[derive(Debug)]
pub(super) struct Media {
    descriptions: Memo,
    documents: Memo,
    reader: pdf::Reader,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            descriptions: Memo::new(DESCRIPTIONS),
            documents: Memo::new(DOCUMENTS),
            reader: pdf::Reader::default(),
        }
    }
}

impl Media {
    fn memo(&self, kind: Kind) -> &Memo {
        match kind {
            Kind::Pdf => &self.documents,
            Kind::Image | Kind::ImageUrl => &self.descriptions,
        }
    }

    /// The text of a PDF that came from `place`; none: it has none that can be read.
    pub(super) async fn text_of(&self, pdf: &[u8], request_id: &str, place: &str) -> Option<Arc<str>> {
        let data = BASE64_STANDARD.encode(pdf);
        match self.documents.get(pdf_key(&data), async || self.read(&data, request_id, place).await).await {
            Finding::Text(text) => Some(text),
            Finding::Hopeless(_) | Finding::Failed => None,
        }
    }

    async fn read(&self, data: &str, request_id: &str, place: &str) -> Finding {
        match self.reader.text(data).await {
            Ok(text) => {
                tracing::debug!(request_id, place, bytes = text.len(), "a PDF document was read");
                Finding::Text(text.into())
            }
            Err(why) => {
                tracing::warn!(request_id, place, error = %why, "a PDF document could not be read");
                if why.lasts() {
                    return Finding::Hopeless(format!("[This PDF cannot be read: {why}.]").into());
                }
                Finding::Failed
            }
        }
    }

    /// What is known by now.
    pub(super) fn known(&self, config: &Extras, medium: &Medium<'_>) -> Option<Finding> {
        self.memo(medium.kind).known(&key(config, medium))
    }
}

/// All that a finding depends on: the medium, who is asked for it, and how.
fn key(config: &Extras, medium: &Medium<'_>) -> Key {
    let data = medium.data.raw();
    let describer = config.vision_model.as_deref().unwrap_or_default();
    match medium.kind {
        Kind::Pdf => pdf_key(data),
        Kind::Image => hash(&["image", describer, vision::QUESTION, medium.media_type.raw(), data]),
        Kind::ImageUrl => hash(&["image by URL", describer, vision::QUESTION, data]),
    }
}

fn pdf_key(data: &str) -> Key {
    hash(&["PDF", data])
}

fn hash(parts: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What is known of each, after what is not known was found out. None: that failed, or took too
/// long, or there is too much of it.
pub(super) async fn findings(
    worker: &Rc<Worker>,
    cause: &Cause,
    media: &[Medium<'_>],
    record: &mut Record,
) -> Vec<Option<Finding>> {
    let until = Instant::now() + PATIENCE;
    let config = &worker.config.extras;
    let mut keys: Vec<Key> = Vec::with_capacity(media.len());
    let mut hashed = 0;
    for medium in media {
        keys.push(key(config, medium));
        hashed += medium.data.raw().len();
        if hashed >= A_BREATH {
            hashed = 0;
            tokio::task::yield_now().await;
        }
    }
    let known = |n: usize| {
        let (medium, key) = (media.get(n)?, keys.get(n)?);
        worker.media.memo(medium.kind).known(key)
    };
    let mut found: Vec<Option<Finding>> = (0..media.len()).map(known).collect();
    // The newest first: it is what the question is about.
    let mut wanted: Vec<(usize, Key)> = Vec::new();
    for (n, key) in keys.iter().enumerate().rev() {
        if wanted.len() < MOST_NEW && found.get(n) == Some(&None) && wanted.iter().all(|(_, k)| k != key) {
            wanted.push((n, *key));
        }
    }
    if wanted.is_empty() {
        return found;
    }
    let took = Cell::new(SideCounts::default());
    {
        let find = |(n, key): (usize, Key)| {
            let took = &took;
            async move {
                let medium = media.get(n)?;
                let memo = worker.media.memo(medium.kind);
                Some((key, memo.get(key, async || find(worker, cause, medium, took).await).await))
            }
        };
        let mut work = iter(wanted).map(find).buffer_unordered(AT_ONCE);
        while let Ok(Some(done)) = timeout_at(until, work.next()).await {
            let Some((key, finding)) = done else { continue };
            for (slot, _) in found.iter_mut().zip(&keys).filter(|(_, k)| **k == key) {
                *slot = Some(finding.clone());
            }
        }
    }
    record.asides.add(took.get());
    found
}

async fn find(worker: &Rc<Worker>, cause: &Cause, medium: &Medium<'_>, took: &Cell<SideCounts>) -> Finding {
    let (place, request_id) = (medium.place, &*cause.request_id);
    if medium.kind == Kind::Pdf {
        return worker.media.read(medium.data.raw(), request_id, &place.to_string()).await;
    }
    match vision::describe(worker, cause, medium, took).await {
        Ok(text) => Finding::Text(text.into()),
        Err(why) => {
            tracing::warn!(request_id, %place, error = %why, "an image could not be described");
            Finding::Failed
        }
    }
}
