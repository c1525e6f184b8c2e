//! Which inputs there are: the paths of the command line, and what is below directories.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{capture, input};
use crate::cli::args::ConvertArgs;
use crate::cli::exit::UsageError;

/// Deeper directories are not looked into.
const MAX_DEPTH: usize = 64;

/// Everything that is to be converted.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// More than one, or a directory: what one does must not stop the rest.
    pub(super) several: bool,
}

/// One input.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// None: standard input.
    pub(super) path: Option<PathBuf>,
    /// For messages.
    pub(super) name: String,
    /// Where its output belongs below `-o DIR`, still with the input's own name.
    pub(super) place: PathBuf,
    /// It was found in a directory, not named: it may be nothing for convert.
    pub(super) found: bool,
    /// Known already: why it is not converted.
    pub(super) trouble: Option<Trouble>,
}

/// Why an entry of a directory is no input.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// It could not be read.
    Failed(String),
    /// It is nothing to convert.
    Skipped(String),
}

/// Reads the paths; nothing is written yet.
pub(super) fn plan(args: &ConvertArgs) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    if args.paths.is_empty() {
        input::refuse_terminal()?;
    }
    let standard = [PathBuf::from("-")];
    let paths = if args.paths.is_empty() { &standard[..] } else { &args.paths };
    if paths.iter().filter(|p| p.as_os_str() == "-").count() > 1 {
        return Err(UsageError("`-` is named twice: standard input can be read once".to_owned()).into());
    }
    // What an earlier run wrote is not input of the next.
    let output = args.output.as_ref().and_then(|o| o.canonicalize().ok());
    plan.several = paths.len() > 1;
    for path in paths {
        if path.as_os_str() == "-" {
            plan.jobs.push(Job {
                path: None,
                name: "<stdin>".to_owned(),
                place: PathBuf::from("stdin"),
                found: false,
                trouble: None,
            });
        } else if path.is_dir() {
            plan.several = true;
            let mut walk = Walk { jobs: &mut plan.jobs, output: output.as_deref() };
            walk.directory(path, &place(path), 0);
        } else {
            plan.jobs.push(Job {
                path: Some(path.clone()),
                name: path.display().to_string(),
                place: place(path),
                found: false,
                trouble: None,
            });
        }
    }
    Ok(plan)
}

/// Where the output for a path of the command line belongs: as it was named, if that stays
/// below the output directory; else under its last name.
fn place(path: &Path) -> PathBuf {
    let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if inside {
        return path.components().filter(|c| matches!(c, Component::Normal(_))).collect();
    }
    path.file_name().map(PathBuf::from).unwrap_or_default()
}

struct Walk<'a> {
    jobs: &'a mut Vec<Job>,
    /// Output directory, which is not walked into.
    output: Option<&'a Path>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &Path, place: &Path, depth: usize) {
        if self.output.is_some_and(|o| depth > 0 && dir.canonicalize().is_ok_and(|d| d == o)) {
            return;
        }
        if depth > MAX_DEPTH {
            return self.failed(dir, place, "directories are nested too deep");
        }
        let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(e) => return self.failed(dir, place, &format!("cannot read it: {e}")),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        let captured = capture::is_folder(dir);
        for entry in entries {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if captured && !capture::converts(&name) {
                continue;
            }
            let (path, place) = (entry.path(), place.join(&name));
            let link = entry.file_type().is_ok_and(|t| t.is_symlink());
            match fs::metadata(&path) {
                // It may lead back to where we are.
                Ok(meta) if meta.is_dir() && link => self.skipped(&path, &place, "a link to a directory"),
                Ok(meta) if meta.is_dir() => self.directory(&path, &place, depth + 1),
                // Reading a pipe would wait for ever.
                Ok(meta) if !meta.is_file() => self.skipped(&path, &place, "neither a file nor a directory"),
                Ok(_) => self.add(&path, &place, None),
                Err(e) => self.failed(&path, &place, &format!("cannot read it: {e}")),
            }
        }
    }

    fn add(&mut self, path: &Path, place: &Path, trouble: Option<Trouble>) {
        self.jobs.push(Job {
            path: Some(path.to_path_buf()),
            name: path.display().to_string(),
            place: place.to_path_buf(),
            found: true,
            trouble,
        });
    }

    fn failed(&mut self, path: &Path, place: &Path, why: &str) {
        self.add(path, place, Some(Trouble::Failed(format!("{}: {why}", path.display()))));
    }

    fn skipped(&mut self, path: &Path, place: &Path, what: &str) {
        self.add(path, place, Some(Trouble::Skipped(format!("{}: {what}", path.display()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stay_below_their_directory() {
        for (path, want) in [
            ("a/request.json", "a/request.json"),
            ("./a/./b.json", "a/b.json"),
            (".", ""),
            ("a/", "a"),
            ("../a/b.json", "b.json"),
            ("a/../../b", "b"),
            ("..", ""),
            ("/etc/x/y.json", "y.json"),
            ("/", ""),
        ] {
            assert_eq!(place(Path::new(path)), Path::new(want), "{path}");
        }
    }
}
