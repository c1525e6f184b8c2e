//! Where the output of an input goes.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::plan::{Job, Plan};
use super::sink::Sink;
use crate::cli::Printer;
use crate::cli::args::ConvertArgs;
use crate::cli::exit::UsageError;

/// What `-o` says.
pub(super) enum Target {
    Stdout,
    File(PathBuf),
    /// Each below this directory, under a name like its own.
    Below(Below),
    /// `--check`.
    Nowhere,
}

/// An output directory.
pub(super) struct Below {
    dir: PathBuf,
    /// Inputs and outputs of this run: nothing is written over.
    taken: HashSet<PathBuf>,
}

impl Target {
    /// # Errors
    /// The options do not say where several outputs should go.
    pub(super) fn of(args: &ConvertArgs, plan: &Plan) -> Result<Self, UsageError> {
        if args.check {
            return Ok(Self::Nowhere);
        }
        let output = args.output.as_deref().filter(|o| o.as_os_str() != "-");
        if !plan.several {
            let Some(path) = output else { return Ok(Self::Stdout) };
            let is_dir = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
            return Ok(if is_dir { Self::below(path, plan) } else { Self::File(path.to_path_buf()) });
        }
        match output {
            None => {
                let message = "several inputs need a directory for what they become: -o DIR (or --check, which \
                               writes nothing)";
                Err(UsageError(message.to_owned()))
            }
            Some(path) if path.exists() && !path.is_dir() => Err(UsageError(format!(
                "{} is a file: for several inputs -o names a directory",
                path.display()
            ))),
            Some(path) => Ok(Self::below(path, plan)),
        }
    }

    fn below(dir: &Path, plan: &Plan) -> Self {
        let inputs = plan.jobs.iter().filter_map(|j| j.path.as_ref()?.canonicalize().ok());
        Self::Below(Below { dir: dir.to_path_buf(), taken: inputs.collect() })
    }

    /// Opens what the output of `job` is written to, and says where that is. `end` is the
    /// ending of its name: `json` or `sse`.
    pub(super) fn open<'p>(
        &mut self,
        job: &Job,
        end: &str,
        printer: &'p mut Printer,
    ) -> anyhow::Result<(Sink<'p>, Option<PathBuf>)> {
        let path = match self {
            Self::Nowhere => return Ok((Sink::Nowhere, None)),
            Self::Stdout => return Ok((Sink::Stdout(printer), None)),
            Self::File(path) => {
                let itself = job.path.as_ref().and_then(|p| p.canonicalize().ok());
                if itself.is_some() && path.canonicalize().ok() == itself && fs::metadata(&*path)?.is_file() {
                    let message = format!("{} is the input: the output needs another name", path.display());
                    return Err(UsageError(message).into());
                }
                path.clone()
            }
            Self::Below(below) => below.path(job, end)?,
        };
        Ok((Sink::open(&path)?, Some(path)))
    }
}

impl Below {
    /// Where the output of a job goes; its directory is there then.
    fn path(&mut self, job: &Job, end: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(named(&job.place, end));
        let parent = path.parent().unwrap_or(&self.dir);
        let cannot = || format!("cannot write {}", path.display());
        fs::create_dir_all(parent).with_context(cannot)?;
        // The same file, however it is spelled.
        let known = match path.canonicalize() {
            Ok(known) => known,
            Err(_) => parent.canonicalize().with_context(cannot)?.join(path.file_name().unwrap_or_default()),
        };
        if job.path.as_ref().and_then(|p| p.canonicalize().ok()).is_some_and(|p| p == known) {
            let dir = self.dir.display();
            let message =
                format!("{}: {dir} is a directory where the output would replace the input", job.name);
            return Err(UsageError(message).into());
        }
        if !self.taken.insert(known) {
            bail!("{}: {} is an input or an output of this run already", job.name, path.display());
        }
        Ok(path)
    }
}

/// The name with the ending that fits what is in the output.
fn named(place: &Path, end: &str) -> PathBuf {
    let known = ["json", "sse", "txt", "log", "ndjson", "jsonl"];
    let has = place.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if has == end {
        return place.to_path_buf();
    }
    if known.contains(&has.as_str()) {
        return place.with_extension(end);
    }
    let mut name = place.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_what_they_hold() {
        for (name, end, want) in [
            ("a/request.json", "json", "a/request.json"),
            ("x.sse", "sse", "x.sse"),
            ("x.sse", "json", "x.json"),
            ("x.txt", "sse", "x.sse"),
            ("x.SSE", "sse", "x.SSE"),
            ("glm-4.6", "sse", "glm-4.6.sse"),
            ("capture", "sse", "capture.sse"),
        ] {
            assert_eq!(named(Path::new(name), end), Path::new(want), "{name}");
        }
    }
}
