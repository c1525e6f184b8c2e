//! Finding and reading the file.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::check::{Checked, check_in};
use super::finding::{Finding, Severity};
use super::{Config, mask};

/// A larger file is no configuration.
const MAX_FILE: u64 = 1 << 20;

/// A file that was read and checked.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings and notes, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The file has errors; its text is every finding, a line each.
    #[error("{}", Lines(path, findings))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Errors, warnings and notes, in the order of the file.
        findings: Vec<Finding>,
    },
}

struct Lines<'a>(&'a Path, &'a [Finding]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has errors")?;
        for finding in self.1.iter().filter(|f| f.severity == Severity::Error) {
            write!(f, "\n{}:{finding}", self.0.display())?;
        }
        Ok(())
    }
}

/// Which file to read: `flag` (`--config`), else `$CONFIG_PATH`, else `config.json` in the
/// working directory.
pub fn locate(flag: Option<&Path>) -> PathBuf {
    let from_env = || std::env::var_os("CONFIG_PATH").filter(|p| !p.is_empty()).map(PathBuf::from);
    flag.map(Path::to_path_buf).or_else(from_env).unwrap_or_else(|| PathBuf::from("config.json"))
}

/// Reads and checks a file, with the variables of this process's environment.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let text = read(path)?;
    let Checked { config, findings } = check_file(path, &text);
    match config {
        Some(config) => Ok(Loaded { config, findings }),
        None => Err(LoadError::Invalid { path: path.to_path_buf(), findings }),
    }
}

/// Checks a file whose text was read, and who else may read it.
pub fn check_file(path: &Path, text: &str) -> Checked {
    let dir = path.parent().unwrap_or(Path::new(""));
    check_in(text, &|name| std::env::var(name), dir, |_| others_read(path))
}

/// What is said, and what to do, if every user of this machine may read the file.
fn others_read(path: &Path) -> Option<(String, String)> {
    let mode = others_mode(path)?;
    let message =
        format!("this key can be read by every user of this machine (the file's mode is {mode:04o})");
    let help =
        format!("chmod 600 {}, or name an environment variable that holds it: `${{NAME}}`", path.display());
    Some((message, help))
}

/// The file's mode, if every user of this machine may read it.
#[cfg(unix)]
pub(super) fn others_mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    /// Read permission for others.
    const OTHERS: u32 = 0o004;
    let data = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mode = data.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}

#[cfg(not(unix))]
pub(super) fn others_mode(_: &Path) -> Option<u32> {
    None
}

/// The text of a file; `-` reads standard input.
pub fn read(path: &Path) -> Result<String, LoadError> {
    let fail = |reason: String| LoadError::Unreadable { path: path.to_path_buf(), reason };
    let mut bytes = Vec::new();
    let done = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes))
    };
    done.map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::NotFound {
            ". Pass --config PATH or set CONFIG_PATH; config.example.json shows what it holds, \
             and `claude-proxy serve --demo` needs none"
        } else {
            ""
        };
        fail(format!("{e}{hint}"))
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail("more than 1 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let (line, column) = crate::wire::json::line_column(e.as_bytes(), at);
        fail(format!("not UTF-8 at line {line}, column {column}; save the file as UTF-8"))
    })
}

/// The line of the file that a finding is about, without its secrets, and the caret's place in
/// it: characters before it, and how many it marks.
pub fn snippet(text: &str, finding: &Finding) -> (String, usize, usize) {
    let line = mask::masked_line(text, finding.line);
    let marked = text.get(finding.span.clone()).unwrap_or_default();
    let width = marked.lines().next().unwrap_or_default().chars().count();
    let before = finding.column - 1;
    let most = line.chars().count().saturating_sub(before);
    (line, before, width.min(most).max(1))
}

/// The variable that a value of the file is, if its whole text is one: `"${NAME}"`. `pointer` says
/// where it stands, as in RFC 6901: `/ak`.
pub fn reference(path: &Path, pointer: &str) -> Option<String> {
    // Standard input cannot be read again.
    let text = if path.as_os_str() == "-" { return None } else { read(path).ok()? };
    let root: serde_json::Value = serde_json::from_str(&text).ok()?;
    let name = root.pointer(pointer)?.as_str()?.strip_prefix("${")?.strip_suffix('}')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(fits)).then(|| name.to_owned())
}
