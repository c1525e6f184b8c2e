//! What is wrong with a request, and where: `messages.1.content.0.type: Field required`.

use std::borrow::Cow;

use super::ApiError;
use crate::wire::json::{Cursor, JsonError, JsonStr, line_column};

/// A part of the path to a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Key(&'static str),
    Index(usize),
}

/// A request that cannot be read. The path grows from the inside out.
#[derive(Debug)]
pub(super) struct Complaint {
    what: Cow<'static, str>,
    /// Set for broken JSON: then the byte counts, not the path.
    syntax_at: Option<usize>,
    path: Vec<Step>,
}

impl From<JsonError> for Complaint {
    fn from(e: JsonError) -> Self {
        Self { what: e.what.into(), syntax_at: (!e.wrong_type).then_some(e.at), path: Vec::new() }
    }
}

impl Complaint {
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), syntax_at: None, path: Vec::new() }
    }

    pub(super) fn required(key: &'static str) -> Self {
        Self::new("Field required").under(Step::Key(key))
    }

    pub(super) fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// In Anthropic's words. The text is needed for the line and column of broken JSON.
    pub(super) fn into_error(self, body: &[u8]) -> ApiError {
        if let Some(at) = self.syntax_at {
            let (line, column) = line_column(body, at);
            return ApiError::invalid_request(format!(
                "The request body is not valid JSON: {} at line {line} column {column}",
                self.what
            ));
        }
        let mut message = String::new();
        for step in self.path.iter().rev() {
            if !message.is_empty() {
                message.push('.');
            }
            match step {
                Step::Key(key) => message.push_str(key),
                Step::Index(n) => message.push_str(&n.to_string()),
            }
        }
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&self.what);
        ApiError::invalid_request(message)
    }
}

pub(super) type Result<T> = std::result::Result<T, Complaint>;

/// Adds the key to the path of whatever goes wrong inside.
pub(super) trait Under<T> {
    fn under(self, key: &'static str) -> Result<T>;
}

impl<T, E: Into<Complaint>> Under<T> for std::result::Result<T, E> {
    fn under(self, key: &'static str) -> Result<T> {
        self.map_err(|e| e.into().under(Step::Key(key)))
    }
}

/// Reads an array; what goes wrong in an item has its index in the path.
pub(super) fn list<'a>(
    cur: &mut Cursor<'a>,
    mut item: impl FnMut(usize, &mut Cursor<'a>) -> Result<()>,
) -> Result<()> {
    cur.array(|n, cur| item(n, cur).map_err(|e| e.under(Step::Index(n))))
}

/// Reads a list of strings; `null` is an empty list.
pub(super) fn strings<'a>(cur: &mut Cursor<'a>) -> Result<Vec<JsonStr<'a>>> {
    let mut out = Vec::new();
    if !cur.null()? {
        list(cur, |_, cur| {
            out.push(cur.string()?);
            Ok(())
        })?;
    }
    Ok(out)
}
