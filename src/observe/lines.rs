//! Where log lines go, with fewer system calls than lines.
//!
//! A line about a request may wait a moment for others, so that a busy proxy writes many at
//! once. Every other line is written at once, after those that wait: none overtakes another.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::record::TARGET;

/// Longest wait of a line.
const MOMENT: Duration = Duration::from_millis(50);
/// As many bytes do not wait.
const MANY: usize = 32 * 1024;

/// Writes lines to an output, some of them a moment later.
#[derive(Debug)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    /// Somebody writes what waits.
    patient: bool,
}

struct Shared {
    waiting: Mutex<Vec<u8>>,
    some: Condvar,
    /// Locked after `waiting`, if both are: then nothing can overtake what waits.
    output: Mutex<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The log of this process.
static LOG: OnceLock<Arc<Shared>> = OnceLock::new();

/// Writes what still waits: the process ends.
pub(super) fn flush() {
    if let Some(shared) = LOG.get() {
        let _ = shared.write(lock(&shared.waiting), b"");
    }
}

impl Lines {
    /// Lines that [`flush`] knows of. Where no thread can be had for it, no line waits.
    pub(super) fn new(output: impl Write + Send + 'static) -> Self {
        let shared =
            Shared { waiting: Mutex::default(), some: Condvar::new(), output: Mutex::new(Box::new(output)) };
        let shared = Arc::new(shared);
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".into()).stack_size(64 * 1024);
        let patient = thread.spawn(move || writer.run()).is_ok();
        let _ = LOG.set(Arc::clone(&shared));
        Self { shared, patient }
    }
}

impl Shared {
    fn run(&self) -> ! {
        loop {
            let some = self.some.wait_while(lock(&self.waiting), |waiting| waiting.is_empty());
            drop(some);
            // Lines that come now go along.
            #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
            std::thread::sleep(MOMENT);
            let _ = self.write(lock(&self.waiting), b"");
        }
    }

    /// Writes what waits, and then `line`.
    fn write(&self, mut waiting: MutexGuard<'_, Vec<u8>>, line: &[u8]) -> io::Result<()> {
        waiting.extend_from_slice(line);
        let mut lines = std::mem::take(&mut *waiting);
        let mut output = lock(&self.output);
        drop(waiting);
        let written = output.write_all(&lines);
        drop(output);
        // Its memory serves again.
        lines.clear();
        let mut waiting = lock(&self.waiting);
        if waiting.capacity() == 0 {
            *waiting = lines;
        }
        written
    }

    fn wait(&self, line: &[u8]) -> io::Result<()> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() + line.len() > MANY {
            return self.write(waiting, line);
        }
        if waiting.is_empty() {
            self.some.notify_one();
        }
        waiting.extend_from_slice(line);
        Ok(())
    }
}

/// Writes one line.
#[derive(Debug)]
pub(super) struct Line<'l> {
    shared: &'l Shared,
    may_wait: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = if self.may_wait {
            self.shared.wait(line)
        } else {
            self.shared.write(lock(&self.shared.waiting), line)
        };
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line { shared: &self.shared, may_wait: false }
    }

    fn make_writer_for(&'l self, meta: &Metadata<'_>) -> Line<'l> {
        Line { shared: &self.shared, may_wait: self.patient && meta.target() == TARGET }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<String>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).push(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_keep_their_order_and_none_waits_for_ever() {
        let output = Output::default();
        let lines = Lines::new(output.clone());
        let said = || lock(&output.0).clone();
        lines.shared.wait(b"1\n").unwrap();
        lines.shared.wait(b"2\n").unwrap();
        lines.make_writer().write_all(b"3\n").unwrap();
        assert_eq!(said().concat(), "1\n2\n3\n", "what is written at once comes after what waits");
        lines.shared.wait(b"4\n").unwrap();
        let began = std::time::Instant::now();
        while said().concat() != "1\n2\n3\n4\n" {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", said());
            std::thread::yield_now();
        }
        // More than may wait is written by who brings it.
        let long = vec![b'x'; MANY + 1];
        lines.shared.wait(b"5\n").unwrap();
        lines.shared.wait(&long).unwrap();
        assert!(said().concat().ends_with("xxx"));
    }
}
