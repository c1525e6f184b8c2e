//! All exchanges of a directory: how many bytes they have, and which one goes first.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::meta::{
    CLIENT_REQUEST, CLIENT_RESPONSE, META, UPSTREAM_REQUEST, UPSTREAM_RESPONSE, UPSTREAM_TIMES,
};

/// Exchanges that are over, oldest first.
#[derive(Debug)]
pub(super) struct Shelf {
    folders: VecDeque<(PathBuf, u64)>,
    total: u64,
    max: u64,
}

impl Shelf {
    /// With what earlier runs left in `dir`.
    pub(super) fn read(dir: &Path, max: u64) -> io::Result<Self> {
        let mut folders: Vec<(PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if is_exchange(&path) {
                let size = ours(&path).iter().filter_map(|f| fs::metadata(f).ok()).map(|m| m.len()).sum();
                folders.push((path, size));
            }
        }
        folders.sort();
        let total = folders.iter().map(|(_, size)| size).sum();
        let mut shelf = Self { folders: folders.into(), total, max };
        shelf.make_room(0);
        Ok(shelf)
    }

    /// Puts an exchange to the others.
    pub(super) fn add(&mut self, folder: PathBuf, size: u64) {
        self.folders.push_back((folder, size));
        self.total += size;
    }

    /// Removes the oldest until there is room for what is `open` besides; false: that alone is
    /// too much.
    pub(super) fn make_room(&mut self, open: u64) -> bool {
        while self.total + open > self.max {
            let Some((folder, size)) = self.folders.pop_front() else { return false };
            self.total -= size;
            remove(&folder);
        }
        true
    }
}

/// A name that we give: `20261124T221100.123456Z-req_...`; earlier versions wrote milliseconds.
fn is_exchange(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some((time, _)) = name.split_once("-req_") else { return false };
    matches!(time.len(), 20 | 23)
        && time.ends_with('Z')
        && time.chars().all(|c| c.is_ascii_digit() || matches!(c, 'T' | '.' | 'Z'))
        && path.is_dir()
}

/// The files of a folder that are ours.
fn ours(folder: &Path) -> Vec<PathBuf> {
    let stems = [META, CLIENT_REQUEST, UPSTREAM_REQUEST, UPSTREAM_RESPONSE, UPSTREAM_TIMES, CLIENT_RESPONSE];
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        stems.iter().any(|stem| {
            name.strip_prefix(stem).is_some_and(|rest| matches!(rest, "" | ".json" | ".sse" | ".txt"))
        })
    };
    entries.filter(is_ours).collect()
}

/// Removes a folder, but nothing that somebody put into it.
fn remove(folder: &Path) {
    for file in ours(folder) {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_dir(folder);
}
