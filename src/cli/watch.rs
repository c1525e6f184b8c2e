//! Noticing that a file has changed.
//!
//! The file is read twice a second and compared: what editors that write, editors that rename,
//! symlinks that are switched (Kubernetes), bind mounts and network drives do to it all looks
//! the same, on every system. Notifications of the kernel would miss the last two, have to watch
//! every directory on the way of every symlink, and cost more code than the file costs time.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// What a file holds, as its digest; none: it cannot be read.
pub(super) type Print = Option<[u8; 32]>;

/// What the file at `path` holds now. Of anything else, such as a pipe, nothing is read: that
/// would take away what it holds.
pub(super) fn print(path: &Path) -> Print {
    const MOST: u64 = 32 << 20;
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(bytes).into())
}

/// Decides when a change is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settling {
    /// What was acted upon.
    known: Print,
    last: Print,
}

impl Settling {
    pub(super) fn new(known: Print) -> Self {
        Self { known, last: known }
    }

    /// True: it is not what was known, and was the same at the last look. So a file that is being
    /// written, or is gone for a moment, is left alone until it rests.
    fn look(&mut self, now: Print) -> bool {
        let rests = now == self.last;
        self.last = now;
        rests && now != self.known
    }

    /// This was acted upon.
    pub(super) fn know(&mut self, print: Print) {
        self.known = print;
    }
}

/// Waits until the file has changed and rests.
pub(super) async fn changed(path: &Path, settling: &mut Settling) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let path: PathBuf = path.to_owned();
        // A drive that hangs must not keep signals from being heard.
        if let Ok(now) = actix_web::web::block(move || print(&path)).await
            && settling.look(now)
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: u8) -> Print {
        (n > 0).then_some([n; 32])
    }

    #[test]
    fn a_change_counts_when_it_rests() {
        for (what, looks, want) in [
            ("nothing", &[1, 1, 1, 1][..], &[false, false, false, false][..]),
            ("one write", &[1, 2, 2, 2], &[false, false, true, false]),
            ("written in pieces", &[2, 3, 4, 4, 4], &[false, false, false, true, false]),
            ("gone for a moment", &[1, 0, 2, 2], &[false, false, false, true]),
            ("gone for a moment, and back", &[1, 0, 1, 1], &[false, false, false, false]),
            ("gone for good", &[0, 0, 0], &[false, true, false]),
            ("changed and changed back", &[2, 2, 1, 1], &[false, true, false, true]),
        ] {
            let mut settling = Settling::new(of(1));
            let seen: Vec<bool> = looks
                .iter()
                .map(|n| {
                    let so = settling.look(of(*n));
                    if so {
                        settling.know(of(*n));
                    }
                    so
                })
                .collect();
            assert_eq!(seen, want, "{what}");
        }
    }
}
