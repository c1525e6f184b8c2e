//! Where commands write: results to stdout, everything else to stderr.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use super::args::{Color, GlobalArgs};

/// Errors.
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
/// Warnings.
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
/// What went well.
pub(super) const GREEN: Style = AnsiColor::Green.on_default().bold();
/// Hints, places and notes.
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();
/// What matters in a line.
pub(super) const BOLD: Style = Style::new().bold();

/// The program's output. Every command gets it; nothing else writes to stdout or stderr
/// (but for the log and the progress bars, which are on stderr).
pub struct Printer {
    text: Stdout<AutoStream<io::Stdout>>,
    data: Stdout<BufWriter<io::Stdout>>,
    err: AutoStream<io::Stderr>,
    quiet: bool,
}

impl Printer {
    /// As the global options say.
    pub(super) fn new(global: &GlobalArgs) -> Self {
        let choice = match global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self {
            text: Stdout(AutoStream::new(io::stdout(), choice)),
            data: Stdout(BufWriter::with_capacity(1 << 16, io::stdout())),
            err: AutoStream::new(io::stderr(), choice),
            quiet: global.quiet,
        }
    }

    /// Results for people: styles are removed where they do not belong. Each line goes out at once.
    pub fn text(&mut self) -> &mut impl Write {
        &mut self.text
    }

    /// Results that are data: bytes as they are, buffered until [`Printer::flush`].
    pub fn data(&mut self) -> &mut impl Write {
        &mut self.data
    }

    /// Sends out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.data.flush()?;
        self.text.flush()
    }

    /// A line on stderr; none with `--quiet`.
    pub fn note(&mut self, line: fmt::Arguments<'_>) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// A line on stderr, also with `--quiet`: what was asked for by an option of its own.
    pub fn say(&mut self, line: fmt::Arguments<'_>) {
        // With stderr gone there is nobody left to tell.
        let _ = writeln!(self.err, "{line}");
    }

    /// `warning: ...` on stderr; none with `--quiet`.
    pub fn warning(&mut self, line: fmt::Arguments<'_>) {
        self.note(format_args!("{YELLOW}warning:{YELLOW:#} {line}"));
    }

    /// `error: ...` on stderr.
    pub fn error(&mut self, line: fmt::Arguments<'_>) {
        self.say(format_args!("{RED}error:{RED:#} {line}"));
    }

    /// Progress bars and other moving things make sense: stderr is a terminal, and not `--quiet`.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether stdout is a terminal.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

/// Whoever read our output has enough: `claude-proxy models | head -1`.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct Gone;

/// Marks a broken pipe of stdout, to tell it from one of an upstream's socket.
struct Stdout<W>(W);

impl<W> Stdout<W> {
    fn mark<T>(result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Gone),
            _ => io::Error::new(e.kind(), format!("cannot write to standard output: {e}")),
        })
    }
}

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::mark(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::mark(self.0.flush())
    }
}

/// The error only says that stdout was closed by its reader.
pub(super) fn is_closed_stdout(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        e.downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Gone>)
    })
}
