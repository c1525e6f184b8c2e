//! Which recorded exchanges there are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::exit::UsageError;
use crate::observe::capture::meta::{CLIENT_REQUEST, META};

/// Deeper directories are not looked into.
const MAX_DEPTH: usize = 8;

/// The exchanges that the paths are, or hold; sorted by name, which is by time.
pub(super) fn folders(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    if paths.is_empty() {
        let message = "--replay needs a directory that `serve --capture` wrote";
        return Err(UsageError(message.to_owned()).into());
    }
    let mut found = Vec::new();
    for path in paths {
        let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if !meta.is_dir() {
            let message = format!("{} is a file: --replay takes the folder of an exchange", path.display());
            return Err(UsageError(message).into());
        }
        let before = found.len();
        below(path, 0, &mut found)?;
        if found.len() == before {
            bail!("{}: no captured exchange in it (a folder with {META})", path.display());
        }
    }
    Ok(found)
}

fn below(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if [META, CLIENT_REQUEST].iter().any(|name| dir.join(name).is_file()) {
        found.push(dir.to_path_buf());
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Ok(());
    }
    let cannot = || format!("cannot read {}", dir.display());
    let mut inner = Vec::new();
    for entry in fs::read_dir(dir).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Links are not followed: they may lead back.
        if !hidden && entry.file_type().with_context(cannot)?.is_dir() {
            inner.push(entry.path());
        }
    }
    inner.sort();
    inner.iter().try_for_each(|dir| below(dir, depth + 1, found))
}
