//! Where the log of `run` goes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;

/// Logs of so many runs are kept.
const KEPT: usize = 20;

/// The file that was asked for, or a new one, to append to; and its name. Readable by its owner
/// only: it holds texts of conversations.
pub(super) fn open(asked: Option<&Path>) -> anyhow::Result<(File, PathBuf)> {
    let path = match asked {
        Some(path) => path.to_path_buf(),
        None => fresh(&state_dir())?,
    };
    let file = create(&path).with_context(|| format!("cannot write the log {}", path.display()))?;
    Ok((file, path))
}

/// A name for a new log in `dir`, which is made; the oldest logs there go.
fn fresh(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).with_context(|| {
        format!("cannot make the directory of logs {}: say with --log-file where the log goes", dir.display())
    })?;
    remove_old(dir);
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "");
    Ok(dir.join(format!("run-{now}-{}.log", std::process::id())))
}

/// The user's directory for what programs remember, or one for temporary files.
fn state_dir() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else {
        var("XDG_STATE_HOME").or_else(|| Some(var("HOME")?.join(".local/state")))
    };
    state.unwrap_or_else(std::env::temp_dir).join("claude-proxy")
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes room for one more. Their names sort by age.
fn remove_old(dir: &Path) {
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut logs: Vec<String> = entries
        .filter_map(name)
        .filter(|n| n.starts_with("run-") && n.strip_suffix(".log").is_some())
        .collect();
    logs.sort_unstable();
    let surplus = (logs.len() + 1).saturating_sub(KEPT);
    for old in logs.iter().take(surplus) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(dir.join(old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_logs_are_kept() {
        let dir = std::env::temp_dir().join(format!("claude-proxy-logs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for n in 10..10 + KEPT + 3 {
            fs::write(dir.join(format!("run-20260101T0000{n}Z-1.log")), "").unwrap();
        }
        fs::write(dir.join("notes.txt"), "").unwrap();
        let path = fresh(&dir).unwrap();
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("run-"));
        let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left.len(), KEPT, "19 logs and what is none of them");
        assert_eq!(left[1], "run-20260101T000014Z-1.log");
        fs::remove_dir_all(&dir).unwrap();
    }
}
