//! Where commands write: results to stdout, everything else to stderr.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::rc::Rc;

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
    /// Standard output was closed by its reader.
    closed: Rc<Cell<bool>>,
}

impl Printer {
    /// As the global options say.
    pub(super) fn new(global: &GlobalArgs) -> Self {
        let choice = match global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        let closed = Rc::default();
        Self {
            text: Stdout { inner: AutoStream::new(io::stdout(), choice), closed: Rc::clone(&closed) },
            data: Stdout {
                inner: BufWriter::with_capacity(1 << 16, io::stdout()),
                closed: Rc::clone(&closed),
            },
            closed,
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

    /// Standard output was closed by whoever read it: no failure of ours.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// How many columns standard output has: `$COLUMNS`, else those of the terminal that it is.
    pub fn width(&self) -> Option<usize> {
        let told = std::env::var("COLUMNS").ok().and_then(|n| n.parse().ok());
        let asked = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        told.or_else(asked).filter(|n| *n > 0)
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

/// Notes that whoever read our output has enough: `claude-proxy models | head -1`. An error's
/// kind alone would not do: an upstream's socket can break like a pipe, too.
struct Stdout<W> {
    inner: W,
    closed: Rc<Cell<bool>>,
}

impl<W> Stdout<W> {
    fn mark<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| {
            self.closed.set(self.closed.get() || e.kind() == io::ErrorKind::BrokenPipe);
            io::Error::new(e.kind(), format!("cannot write to standard output: {e}"))
        })
    }
}

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.mark(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.mark(result)
    }
}
