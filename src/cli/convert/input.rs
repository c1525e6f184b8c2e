//! One input: opening it, and finding out what it is.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::kind::{self, Form};
use crate::cli::args::From as Kind;
use crate::cli::exit::UsageError;
use crate::wire::json::{JsonError, line_column, without_bom};

/// Largest JSON document, in bytes. Captures of streams may be of any size.
const MAX_DOCUMENT: u64 = 256 << 20;

/// What is converted.
pub(super) struct Input {
    /// For messages.
    pub(super) name: String,
    pub(super) reader: Box<dyn Read>,
}

/// Something that convert has no conversion for, and that is no broken form of what it has: in
/// a directory such files are skipped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Foreign(pub(super) String);

/// Opens a file, or standard input.
pub(super) fn open(path: Option<&Path>, name: &str) -> anyhow::Result<Input> {
    let reader: Box<dyn Read> = match path {
        None => Box::new(io::stdin()),
        Some(path) => Box::new(File::open(path).with_context(|| format!("cannot read {name}"))?),
    };
    Ok(Input { name: name.to_owned(), reader })
}

/// Waiting for a terminal is hardly what was meant.
pub(super) fn refuse_terminal() -> Result<(), UsageError> {
    if io::stdin().is_terminal() {
        let message = "nothing to convert: name a FILE, or pipe one in (`-` reads the terminal)";
        return Err(UsageError(message.to_owned()));
    }
    Ok(())
}

/// Whether the input is a stream, by its first bytes, which are put back. None: read it whole
/// and look at its keys.
pub(super) fn recognise(input: &mut Input) -> anyhow::Result<Option<Kind>> {
    let mut head = Vec::new();
    let mut piece = [0u8; 4096];
    let form = loop {
        let n = input.reader.read(&mut piece).with_context(|| format!("cannot read {}", input.name))?;
        head.extend_from_slice(piece.get(..n).unwrap_or_default());
        if let Some(form) = kind::form(&head, n == 0) {
            break form;
        }
        if head.len() > 1 << 20 {
            break Form::Other;
        }
    };
    let empty = without_bom(&head).trim_ascii().is_empty();
    let rest = std::mem::replace(&mut input.reader, Box::new(io::empty()));
    input.reader = Box::new(io::Cursor::new(head).chain(rest));
    let foreign = |what: String| Err(Foreign(what).into());
    match form {
        Form::Json => Ok(None),
        Form::Sse => Ok(Some(Kind::OpenaiSse)),
        Form::Other if empty => foreign(format!("{}: the input is empty", input.name)),
        Form::Other => foreign(format!(
            "{}:1:1: neither JSON (`{{`) nor a capture of a stream (`data: …`); for the body of an error that is no \
             JSON say --from openai-error",
            input.name
        )),
    }
}

/// All of a JSON document.
pub(super) fn read_whole(reader: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut document = Vec::new();
    reader
        .take(MAX_DOCUMENT + 1)
        .read_to_end(&mut document)
        .with_context(|| format!("cannot read {name}"))?;
    if document.len() as u64 > MAX_DOCUMENT {
        bail!("{name}: a JSON document of more than 256 MiB");
    }
    Ok(document)
}

/// The document as text, without a byte order mark.
pub(super) fn json_text<'a>(document: &'a [u8], name: &str) -> anyhow::Result<&'a str> {
    std::str::from_utf8(without_bom(document)).map_err(|e| {
        let (line, column) = line_column(document, e.valid_up_to());
        anyhow::anyhow!("{name}:{line}:{column}: byte {}: not UTF-8", e.valid_up_to())
    })
}

/// `file:line:column: byte N: what is wrong`.
pub(super) fn syntax(name: &str, text: &str, error: &JsonError) -> anyhow::Error {
    let (line, column) = error.line_column(text.as_bytes());
    anyhow::anyhow!("{name}:{line}:{column}: byte {}: {error}", error.at)
}
