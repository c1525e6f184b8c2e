//! `completions`: the scripts under completions/, and what they ask the program for.
//!
//! The scripts hold no names: they call the program itself, with `VAR` set, so that model ids
//! come from the configuration of the moment and options are always those of this version.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Elvish, EnvCompleter, Fish, Powershell, Zsh};
use clap_complete::{CompleteEnv, Shell};
use serde_json::Value;

use super::args::{Cli, CompletionsArgs};
use super::{Exit, Printer};
use crate::config;
use crate::convert::Profile;

/// Names the shell that asks.
const VAR: &str = "CLAUDE_PROXY_COMPLETE";

/// The engine's own script takes `--model=a:b` for five words.
const BASH: &str = include_str!("bash.sh");

/// The completion script for one shell.
pub fn script(shell: Shell) -> Vec<u8> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Elvish => &Elvish,
        Shell::Fish => &Fish,
        Shell::PowerShell => &Powershell,
        Shell::Zsh => &Zsh,
        _ => return BASH.as_bytes().to_vec(),
    };
    let mut script = Vec::new();
    let name = "claude-proxy";
    // Writing to memory does not fail.
    let _ = shell.write_registration(VAR, name, name, name, &mut script);
    script
}

/// Runs the command.
pub(super) fn run(args: &CompletionsArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    printer.data().write_all(&script(args.shell))?;
    Ok(Exit::Success)
}

/// Answers a shell that asks for completions; false: none does.
pub(super) fn answer(args: &[OsString]) -> bool {
    if std::env::var_os(VAR).is_none() {
        return false;
    }
    let words = args.to_vec();
    let command = move || with_values(Cli::command(), &words);
    let here = std::env::current_dir().ok();
    // A message would end up in the middle of the line that is being typed.
    CompleteEnv::with_factory(command)
        .var(VAR)
        .try_complete(args.iter().cloned(), here.as_deref())
        .unwrap_or(true)
}

/// Teaches every option that takes a model or a profile which ones there are.
fn with_values(command: clap::Command, words: &[OsString]) -> clap::Command {
    let config = config::locate(chosen_config(words).as_deref());
    command.mut_subcommands(move |command| {
        let config = config.clone();
        command.mut_args(move |arg| match arg.get_id().as_str() {
            "model" | "models" => {
                let config = config.clone();
                arg.add(ArgValueCompleter::new(move |typed: &OsStr| beginning(typed, model_ids(&config))))
            }
            "profile" => arg.add(ArgValueCompleter::new(|typed: &OsStr| beginning(typed, profiles()))),
            _ => arg,
        })
    })
}

fn beginning(typed: &OsStr, all: Vec<String>) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    all.into_iter().filter(|name| name.starts_with(typed)).map(CompletionCandidate::new).collect()
}

fn profiles() -> Vec<String> {
    Profile::all().iter().map(|profile| profile.name.clone()).collect()
}

/// The `--config` of the line that is being typed.
fn chosen_config(words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter().skip_while(|word| *word != "--").skip(1);
    let mut found = None;
    while let Some(word) = words.next() {
        if word == "--config" {
            // Bash makes words of their own of what stands around a `=`.
            found = words.find(|word| *word != "=").map(PathBuf::from);
        } else if let Some(path) = word.to_str().and_then(|w| w.strip_prefix("--config=")) {
            found = Some(PathBuf::from(path));
        }
    }
    found
}

/// The ids in a configuration, also in one that has mistakes or misses its variables.
fn model_ids(path: &Path) -> Vec<String> {
    let Some(text) = (path.as_os_str() != "-").then(|| config::load::read(path).ok()).flatten() else {
        return Vec::new();
    };
    let root: Value = serde_json::from_str(&text).unwrap_or_default();
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let models = list(&root, "providers").into_iter().flat_map(|provider| list(&provider, "models"));
    models.filter_map(|model| model.get("id")?.as_str().map(str::to_owned)).collect()
}
