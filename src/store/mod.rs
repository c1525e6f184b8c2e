//! What outlives the process: one file, an embedded database.
//!
//! Everyone who keeps something in it has tables of their own; the file is opened once, and all
//! writing is done by one thread, many writes with one `fsync`.

#[cfg(test)]
mod disk;
mod file;
mod slot;
pub mod spent;
pub mod threads;
mod writer;

use std::path::PathBuf;

pub use file::Store;
pub use writer::Written;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened or made.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Another process has it open.
    #[error("{}: another process has this file open; two proxies cannot share one", .0.display())]
    Locked(PathBuf),
    /// It is something else.
    #[error("{}: this is no file of claude-proxy's; name one that does not exist yet", .0.display())]
    Foreign(PathBuf),
    /// It is from a later version.
    #[error("{}: written by a later version of claude-proxy (format {format}; this one knows {known})", path.display(), known = file::FORMAT)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// It is damaged.
    #[error("{}: damaged ({what}); move it away, what it holds is lost", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        what: String,
    },
}

/// Reading or writing failed.
#[derive(Debug, thiserror::Error)]
#[error("the database of this proxy: {0}")]
pub struct StoreError(String);

impl StoreError {
    pub(in crate::store) fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}

pub(in crate::store) type Result<T, E = StoreError> = std::result::Result<T, E>;
