//! What is wrong with a configuration file, and where.

use std::fmt;
use std::ops::Range;

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

/// One thing to say about a configuration file. Its text never holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A stable name of this kind of finding: `unknown-key`.
    pub code: &'static str,
    /// The place in the document: `providers[0].base_url`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Finding {
    /// `line:column: error[code]: text`; put the file's name before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, code, message, .. } = self;
        write!(f, "{line}:{column}: {}[{code}]: {message}", self.severity.as_str())
    }
}

/// Collects findings; places are filled in at the end, when the whole text is at hand.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn error(&mut self, code: &'static str, span: &Range<usize>, path: &str, message: String) {
        self.add(Severity::Error, code, span, path, message);
    }

    pub(super) fn warning(&mut self, code: &'static str, span: &Range<usize>, path: &str, message: String) {
        self.add(Severity::Warning, code, span, path, message);
    }

    pub(super) fn note(&mut self, code: &'static str, span: &Range<usize>, path: &str, message: String) {
        self.add(Severity::Note, code, span, path, message);
    }

    /// Something was said about that place already.
    pub(super) fn mention(&self, path: &str) -> bool {
        self.0.iter().any(|f| f.path == path)
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: &Range<usize>,
        path: &str,
        message: String,
    ) {
        let (path, span) = (path.to_owned(), span.clone());
        self.0.push(Finding { severity, code, path, message, span, line: 1, column: 1 });
    }

    /// The findings in the order of the file.
    pub(super) fn finish(mut self, text: &str) -> Vec<Finding> {
        // A byte order mark is no column.
        let text = text.as_bytes();
        let bom: &[u8] = b"\xEF\xBB\xBF";
        for finding in &mut self.0 {
            let (line, column) = crate::wire::json::line_column(text, finding.span.start);
            finding.line = line;
            finding.column = if line == 1 && text.starts_with(bom) { (column - 1).max(1) } else { column };
        }
        self.0.sort_by(|a, b| {
            (a.span.start, std::cmp::Reverse(a.severity)).cmp(&(b.span.start, std::cmp::Reverse(b.severity)))
        });
        self.0
    }
}
