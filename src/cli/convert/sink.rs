//! Where converted bytes go.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::Printer;
use crate::cli::tidy::{self, Watched};

/// Standard output, or a file that appears whole or not at all.
pub(super) enum Sink<'a> {
    Stdout(&'a mut Printer),
    File(Pending),
    /// A device or a pipe: nothing that could be replaced.
    Device(File),
    /// Nothing is kept: `--check`.
    Nowhere,
}

/// A file under another name, until it is whole.
pub(super) struct Pending {
    file: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    done: bool,
    _watched: Watched,
}

impl Sink<'_> {
    /// A file that appears whole or not at all.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => bail!("cannot write {}: it is a directory", path.display()),
            Ok(meta) if !meta.is_file() => {
                let file = File::options().write(true).open(path).with_context(cannot)?;
                Ok(Self::Device(file))
            }
            // Behind a symbolic link the file is replaced, not the link.
            Ok(_) => Ok(Self::File(
                Pending::create(&path.canonicalize().with_context(cannot)?).with_context(cannot)?,
            )),
            Err(_) => Ok(Self::File(Pending::create(path).with_context(cannot)?)),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout(printer) => printer.data().write_all(bytes)?,
            Self::File(pending) => {
                pending
                    .file
                    .write_all(bytes)
                    .with_context(|| format!("cannot write {}", pending.target.display()))?;
            }
            Self::Device(file) => file.write_all(bytes)?,
            Self::Nowhere => {}
        }
        Ok(())
    }

    /// Lets a reader see what has been written so far.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(printer) => Ok(printer.flush()?),
            Self::File(_) | Self::Device(_) | Self::Nowhere => Ok(()),
        }
    }

    /// Everything is written.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(printer) => Ok(printer.flush()?),
            Self::Device(mut file) => Ok(file.flush()?),
            Self::Nowhere => Ok(()),
            Self::File(mut pending) => {
                let done = pending.commit();
                done.with_context(|| format!("cannot write {}", pending.target.display()))
            }
        }
    }
}

impl Pending {
    fn create(target: &Path) -> io::Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = target.with_file_name(name);
        let watched = tidy::watch(&temporary);
        let file = File::options().write(true).create_new(true).open(&temporary)?;
        if let Ok(meta) = fs::metadata(target) {
            // The file that is replaced keeps its permissions.
            fs::set_permissions(&temporary, meta.permissions())?;
        }
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(Self { file, temporary, target: target.to_path_buf(), done: false, _watched: watched })
    }

    fn commit(&mut self) -> io::Result<()> {
        self.file.flush()?;
        fs::rename(&self.temporary, &self.target)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            // The command failed; its own error is the one to tell.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
