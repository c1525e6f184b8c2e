//! A request that runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ended::Ended;
use super::{Activity, lock};
use crate::observe::{Outcome, Record};

/// Tokens of a stream are added to the rates this often.
const ADDED: Duration = Duration::from_secs(1);
/// Longest beginning of a question or an answer that is kept, in characters.
pub const PREVIEW: usize = 300;

/// A request that runs, as the dashboard sees it.
#[derive(Debug)]
pub struct Running {
    /// Its number, which grows from one request to the next.
    pub id: u64,
    /// Our `request-id`.
    pub request_id: String,
    /// The model as the client named it.
    pub model: String,
    /// The name of the inbound key; none: none is asked for.
    pub key: Option<Arc<str>>,
    /// A stream was asked for.
    pub stream: bool,
    /// When its head was read.
    pub began: Instant,
    /// Bytes of its body.
    pub received: u64,
    /// The beginning of the last thing that the user wrote; empty unless content is kept.
    pub question: String,
    asked: Mutex<(String, String)>,
    /// In milliseconds, one more than it was; 0: it has not come.
    first_byte: AtomicU64,
    /// Twice as many, and one more if the upstream counted them.
    tokens: AtomicU64,
}

impl Running {
    /// Who is asked, and the model as the provider names it; empty: nobody so far.
    pub fn asked(&self) -> (String, String) {
        lock(&self.asked).clone()
    }

    /// Until the first byte of the answer was ready, in milliseconds.
    pub fn first_byte(&self) -> Option<u64> {
        self.first_byte.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Tokens of the answer so far, and whether the upstream counted them.
    pub fn tokens(&self) -> (u64, bool) {
        let tokens = self.tokens.load(Ordering::Relaxed);
        (tokens >> 1, tokens & 1 == 1)
    }
}

/// Belongs to the record of a request, and tells the dashboard of it.
pub struct Live {
    activity: Arc<Activity>,
    running: Option<Arc<Running>>,
    content: bool,
    /// Tokens that are in the rates.
    added: u64,
    added_at: Instant,
    answer: String,
}

impl std::fmt::Debug for Live {
    /// Without texts of the conversation.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("id", &self.running.as_ref().map(|r| r.id)).finish_non_exhaustive()
    }
}

impl Live {
    pub(super) fn new(activity: Arc<Activity>, content: bool) -> Self {
        Self { activity, running: None, content, added: 0, added_at: Instant::now(), answer: String::new() }
    }

    /// The beginnings of question and answer are kept.
    pub fn keeps_content(&self) -> bool {
        self.content
    }

    /// The beginning of the answer; nothing unless content is kept.
    pub fn answered(&mut self, text: &str) {
        if self.content {
            self.answer = text.chars().take(PREVIEW).collect();
        }
    }

    /// The request runs from now on. `question` is asked for what the user wrote, if content is kept.
    pub(in crate::observe) fn admit(&mut self, record: &Record, question: impl FnOnce() -> Option<String>) {
        if self.running.is_some() {
            return;
        }
        let question = if self.content { question().unwrap_or_default() } else { String::new() };
        self.running = Some(self.activity.enter(|id| Running {
            id,
            request_id: record.request_id.clone(),
            model: record.model.clone(),
            key: record.key.clone(),
            stream: record.stream,
            began: record.began,
            received: record.received,
            question: question.chars().take(PREVIEW).collect(),
            asked: Mutex::default(),
            first_byte: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
        }));
    }

    /// This provider is asked, for that model of its own.
    pub(in crate::observe) fn ask(&self, provider: &str, remote: &str) {
        if let Some(running) = &self.running {
            let mut asked = lock(&running.asked);
            provider.clone_into(&mut asked.0);
            remote.clone_into(&mut asked.1);
        }
    }

    pub(in crate::observe) fn first_byte(&self, after: Duration) {
        if let Some(running) = &self.running {
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX - 1);
            running.first_byte.store(ms + 1, Ordering::Relaxed);
        }
        self.activity.count(Instant::now(), |bucket| bucket.first_byte(after));
    }

    /// The answer has so many tokens so far; `told`: as the upstream counted them. A store, and
    /// once a second a lock.
    pub fn progress(&mut self, tokens: u64, told: bool, now: Instant) {
        let Some(running) = &self.running else { return };
        running.tokens.store(tokens << 1 | u64::from(told), Ordering::Relaxed);
        if now.saturating_duration_since(self.added_at) >= ADDED {
            self.added_at = now;
            self.add(tokens, now);
        }
    }

    fn add(&mut self, tokens: u64, now: Instant) {
        let more = tokens.saturating_sub(self.added);
        self.added = self.added.max(tokens);
        if more > 0 {
            self.activity.count(now, |bucket| bucket.output += more);
        }
    }

    /// The request has ended.
    pub(in crate::observe) fn end(mut self, record: &Record) {
        let now = Instant::now();
        self.add(record.output_tokens, now);
        self.activity.count(now, |bucket| {
            bucket.requests += 1;
            bucket.failed += u32::from(!matches!(record.outcome, Outcome::Done | Outcome::ClientGone));
            bucket.input += record.input_tokens + record.cached_tokens;
        });
        let question = self.running.as_ref().map(|running| running.question.clone()).unwrap_or_default();
        let began = self.activity.epoch_ms(record.began);
        let answer = std::mem::take(&mut self.answer);
        let id = self.running.as_ref().map(|running| running.id);
        self.activity.remember(Ended::new(record, id, began, question, answer));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.activity.leave(running.id);
        }
    }
}
