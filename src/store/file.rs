//! The file: made, checked and opened.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableError};

use super::slot::{Open, Slot};
use super::writer::Writer;
use super::{OpenError, Result, StoreError};

/// Version of what is written; a file with a higher one is not opened.
pub(super) const FORMAT: u64 = 1;
/// Pages that are kept in memory, in bytes.
const CACHE: usize = 8 << 20;
/// Length of [`Store::salt`] in bytes.
pub(super) const SALT: usize = 32;

/// What the file is, and numbers about it.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("claude-proxy");

/// The open file. All clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) slot: Arc<Slot>,
    pub(super) writer: Writer,
    salt: [u8; SALT],
}

impl Store {
    /// Opens the file, or makes it, for its owner only (mode 0600).
    ///
    /// # Errors
    /// It cannot be opened, is open elsewhere, damaged, or not ours.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let there = path.try_exists().map_err(|e| OpenError::Io { path: path.to_owned(), error: e })?;
        let db = if there {
            let db = builder().create(path).map_err(|e| refused(path, e))?;
            check(&db, path)?;
            db
        } else {
            create(path)?
        };
        let again = path.to_owned();
        let open = move || {
            let db = builder().open(&again).map_err(|e| refused(&again, e))?;
            check(&db, &again)?;
            Ok(db)
        };
        Self::over(db, Box::new(open)).map_err(|e| damaged(path, e))
    }

    /// Over a database that [`check`] has seen.
    fn over(db: Database, open: Open) -> Result<Self> {
        let salt = {
            let meta = db.begin_read()?.open_table(META)?;
            let salt = meta.get_owned("salt")?;
            let salt = salt.and_then(|salt| salt.value().try_into().ok());
            salt.ok_or_else(|| StoreError::new("it has no salt"))?
        };
        let slot = Arc::new(Slot::new(db, open));
        let writer = Writer::start(Arc::clone(&slot)).map_err(StoreError::new)?;
        Ok(Self { slot, writer, salt })
    }

    /// Random bytes of this file, to hash with what must not be read off it.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Over a backend of a test's own.
    #[cfg(test)]
    pub(super) fn over_backend(backend: impl redb::StorageBackend + Clone) -> Result<Self, OpenError> {
        let path = std::path::PathBuf::from("test");
        let new = backend.len().unwrap() == 0;
        let again = path.clone();
        let open = move || builder().create_with_backend(backend.clone()).map_err(|e| refused(&again, e));
        let db = open()?;
        if new {
            found(&db).map_err(|e| damaged(&path, e))?;
        }
        check(&db, &path)?;
        Self::over(db, Box::new(open)).map_err(|e| damaged(&path, e))
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Makes the file under another name first: who is killed in between leaves no half of one.
fn create(path: &Path) -> Result<Database, OpenError> {
    let failed = |e| OpenError::Io { path: path.to_owned(), error: e };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Mode 0600, whatever the umask allows.
    let file = tempfile::Builder::new().prefix(".claude-proxy-").tempfile_in(dir).map_err(failed)?;
    let backend = FileBackend::new(file.reopen().map_err(failed)?).map_err(|e| refused(path, e))?;
    let db = builder().create_with_backend(backend).map_err(|e| refused(path, e))?;
    found(&db).map_err(|e| failed(io::Error::other(e.to_string())))?;
    file.persist_noclobber(path).map_err(|e| failed(e.error))?;
    // Else a power failure may take the name away.
    #[cfg(unix)]
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(db)
}

/// Writes what makes it ours.
fn found(db: &Database) -> Result<()> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(StoreError::new)?;
    let txn = db.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        meta.insert("salt", salt.as_slice())?;
    }
    Ok(txn.commit()?)
}

/// Whether it is ours. An empty one becomes ours.
fn check(db: &Database, path: &Path) -> Result<(), OpenError> {
    let format = (|| -> Result<Option<Vec<u8>>> {
        let txn = db.begin_read()?;
        let meta = match txn.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) if txn.list_tables()?.next().is_none() => {
                found(db)?;
                return Ok(Some(FORMAT.to_le_bytes().to_vec()));
            }
            Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        Ok(meta.get_owned("format")?.map(|format| format.value().to_vec()))
    })();
    let format =
        format.map_err(|e| damaged(path, e))?.and_then(|bytes| bytes.try_into().ok().map(u64::from_le_bytes));
    match format {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => Err(OpenError::Newer { path: path.to_owned(), format: newer }),
        _ => Err(OpenError::Foreign(path.to_owned())),
    }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), what: what.to_string() }
}

fn refused(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => OpenError::Locked(path),
        DatabaseError::UpgradeRequired(_) => OpenError::Foreign(path),
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
            OpenError::Foreign(path)
        }
        DatabaseError::Storage(StorageError::Io(e)) => OpenError::Io { path, error: e },
        other => damaged(&path, other),
    }
}
