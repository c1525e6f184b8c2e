//! What is wrong with a configuration file, and where.

use std::fmt;
use std::ops::Range;

use super::code::Code;
use crate::wire::json::{BOM, line_column};

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Note,
    /// Probably not what was meant; nothing stops.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl Severity {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing to say about a configuration file. Its texts never hold a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of finding it is.
    pub code: Code,
    /// The place in the document: `providers[0].base_url`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do; empty if the message says it all.
    pub help: String,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Finding {
    /// What is wrong and what to do, in one line.
    pub fn sentence(&self) -> String {
        let Self { message, help, .. } = self;
        match help.as_str() {
            "" => message.clone(),
            help if message.ends_with('?') => format!("{message} ({help})"),
            help => format!("{message}; {help}"),
        }
    }

    /// Line and column behind its last character, in the text that it was found in.
    pub fn end(&self, text: &str) -> (usize, usize) {
        let marked = text.get(self.span.clone()).unwrap_or_default();
        if marked.contains('\n') {
            return line_column(text.as_bytes(), self.span.end);
        }
        (self.line, self.column + marked.chars().count())
    }
}

impl fmt::Display for Finding {
    /// `line:column: error[code]: text`; put the file's name before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, code, .. } = self;
        write!(f, "{line}:{column}: {}[{code}]: {}", self.severity.as_str(), self.sentence())
    }
}

/// A sentence in one line. The file may be a stranger's, and names in it may hold escape
/// sequences, or a line break and a finding of their own.
fn plain(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// A place in the file and in the document.
pub(super) type Spot<'a> = (&'a Range<usize>, &'a str);

/// So many of each severity are told: nobody reads on.
const MOST: usize = 200;

/// Collects findings; places are filled in at the end, when the whole text is at hand.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding of the code's own severity.
    pub(super) fn add(
        &mut self,
        code: Code,
        spot: Spot<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add_as(code.severity(), code, spot, message, help);
    }

    /// Adds a finding that matters less than others of its code.
    pub(super) fn add_as(
        &mut self,
        severity: Severity,
        code: Code,
        (span, path): Spot<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.0.iter().filter(|f| f.severity == severity).count() >= MOST {
            return;
        }
        let (path, span) = (path.to_owned(), span.clone());
        let (message, help) = (plain(message.into()), plain(help.into()));
        self.0.push(Finding { severity, code, path, message, help, span, line: 1, column: 1 });
    }

    /// Something was said about that place already.
    pub(super) fn mention(&self, path: &str) -> bool {
        self.0.iter().any(|f| f.path == path)
    }

    /// The findings in the order of the file.
    pub(super) fn finish(mut self, text: &str) -> Vec<Finding> {
        let bytes = text.as_bytes();
        // A byte order mark is no column.
        for finding in &mut self.0 {
            finding.span = in_text(&finding.span, text);
            let (line, column) = line_column(bytes, finding.span.start);
            finding.line = line;
            finding.column = if line == 1 && bytes.starts_with(BOM) { (column - 1).max(1) } else { column };
        }
        self.0.sort_by(|a, b| {
            (a.span.start, std::cmp::Reverse(a.severity)).cmp(&(b.span.start, std::cmp::Reverse(b.severity)))
        });
        self.0
    }
}

/// The span in whole characters, and not beyond the end: one may begin there, or be guessed.
fn in_text(span: &Range<usize>, text: &str) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
