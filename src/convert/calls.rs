//! The tool calls of one answer, told apart by whatever keys an upstream gives them.

use super::arguments::Arguments;
use crate::wire::anthropic::ApiError;
use crate::wire::json::Half;
use crate::wire::openai::{Arguments as OpenAiArguments, ToolDelta};

/// More calls than this in one answer are a fault of the upstream.
pub(super) const MAX_CALLS: usize = 1000;

/// One tool call under way.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// `index` upstream; some servers give none.
    index: Option<u64>,
    /// The upstream's id; empty until it comes.
    pub(super) id: String,
    /// The upstream's name for the tool; empty until it comes.
    pub(super) name: String,
    /// Gemini's `thought_signature`.
    pub(super) thought_signature: Option<String>,
    /// Its arguments, as far as they went through.
    pub(super) arguments: Arguments,
    /// Arguments that wait for the call's turn: the inside of a JSON string.
    pub(super) pending: String,
    /// Half a character that the last fragment ended with.
    pub(super) half: Half,
    /// Its block has been started.
    pub(super) opened: bool,
    /// Checks `pending` while it waits: whether its object is closed decides what a delta without a key means.
    waiting: Arguments,
}

impl Call {
    /// Keeps arguments until the call's turn.
    pub(super) fn wait(&mut self, arguments: &str) {
        self.waiting.feed(arguments, &mut Vec::new());
        self.pending.push_str(arguments);
    }

    /// All of its object has come.
    pub(super) fn is_complete(&self) -> bool {
        self.arguments.is_complete() || self.waiting.is_complete()
    }
}

/// The calls in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) list: Vec<Call>,
    /// The first call that has not been closed.
    pub(super) current: usize,
    /// The call that the last delta belonged to.
    last: Option<usize>,
    /// `tool_calls` were seen: `function_call` beside them is a copy.
    pub(super) modern: bool,
}

impl Calls {
    /// Some call is not closed yet.
    pub(super) fn open(&self) -> bool {
        self.current < self.list.len()
    }

    /// Every call that is not closed has all its arguments.
    pub(super) fn all_complete(&self) -> bool {
        self.list.iter().skip(self.current).all(Call::is_complete)
    }

    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        self.list
            .iter()
            .map(|c| {
                size_of::<Call>()
                    + c.id.len()
                    + c.name.len()
                    + c.pending.len()
                    + c.arguments.retained()
                    + c.waiting.retained()
                    + c.thought_signature.as_ref().map_or(0, String::len)
            })
            .sum()
    }

    /// Finds or makes the call that a delta belongs to, and takes its id and name.
    ///
    /// `whole`: the entry is a whole call, never a part of an earlier one.
    ///
    /// # Errors
    /// Too many calls.
    pub(super) fn take(&mut self, delta: &ToolDelta<'_>, whole: bool) -> Result<usize, ApiError> {
        let id = delta.id.map(super::super::wire::json::JsonStr::decode).unwrap_or_default();
        let name = delta.name.map(super::super::wire::json::JsonStr::decode).unwrap_or_default();
        let known = if whole { None } else { self.find(delta, &id, &name) };
        let at = match known {
            Some(at) => at,
            None if self.list.len() >= MAX_CALLS => {
                return Err(ApiError::bad_gateway(format!(
                    "upstream sent more than {MAX_CALLS} tool calls in one answer"
                )));
            }
            None => {
                self.list.push(Call { index: delta.index, ..Call::default() });
                self.list.len() - 1
            }
        };
        self.last = Some(at);
        if let Some(call) = self.list.get_mut(at) {
            if call.id.is_empty() {
                call.id = id.into_owned();
            }
            if call.name.is_empty() {
                call.name = name.into_owned();
            }
            if let Some(signature) = delta.thought_signature {
                call.thought_signature = Some(signature.decode().into_owned());
            }
        }
        Ok(at)
    }

    fn find(&self, delta: &ToolDelta<'_>, id: &str, name: &str) -> Option<usize> {
        let at = match delta.index {
            Some(index) => self.list.iter().rposition(|c| c.index == Some(index))?,
            None if id.is_empty() => self.last?,
            None => match self.list.iter().rposition(|c| c.id == id) {
                Some(at) => at,
                // The id of a call that began without one.
                None => self
                    .last
                    .filter(|at| name.is_empty() && self.list.get(*at).is_some_and(|c| c.id.is_empty()))?,
            },
        };
        let call = self.list.get(at)?;
        let other_id = !id.is_empty() && !call.id.is_empty() && call.id != id;
        // A name on a call that has one and is complete: the next call of a server that gives
        // no ids (Gemini), or always the same index. A name that is only repeated is no call.
        let begins = call.name != name || delta.arguments.is_some_and(OpenAiArguments::begin_object);
        let another = id.is_empty() && !call.name.is_empty() && call.is_complete() && begins;
        if !name.is_empty() && (other_id || another) { None } else { Some(at) }
    }
}
