//! A signal that ends the program leaves nothing half-written, and a cursor that can be seen.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use std::io::{IsTerminal as _, Write as _};

/// Files that are not whole yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// While it lives, the file goes when a signal ends the program.
#[derive(Debug)]
pub(super) struct Watched(PathBuf);

/// Watches over a file; best before it is made.
pub(super) fn watch(path: &Path) -> Watched {
    start();
    unfinished().push(path.to_path_buf());
    Watched(path.to_path_buf())
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut all = unfinished();
        if let Some(at) = all.iter().position(|path| *path == self.0) {
            all.swap_remove(at);
        }
    }
}

/// From now on Ctrl-C and SIGTERM tidy up before they end the program.
pub(super) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(listen);
}

/// Ctrl-C has interrupted a question: the signal is about to end the program.
#[expect(clippy::disallowed_methods, reason = "nothing else runs any more")]
pub(super) fn interrupted() {
    std::thread::sleep(std::time::Duration::from_secs(5));
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the lock: nothing begins that would be left behind.
fn clean() -> MutexGuard<'static, Vec<PathBuf>> {
    let all = unfinished();
    for path in all.iter() {
        // It may be whole by now, under its own name.
        let _ = std::fs::remove_file(path);
    }
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Prompts and progress bars hide it.
        let _ = stderr.write_all(b"\x1b[?25h");
    }
    all
}

/// The signal then ends the program as if nobody had caught it: shells see 128 and its number.
#[cfg(unix)]
fn listen() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _lock = clean();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}

#[cfg(not(unix))]
fn listen() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _lock = clean();
            #[expect(clippy::exit, reason = "as Ctrl-C would have ended it")]
            std::process::exit(130);
        }
    });
}
