//! The README says what the program does: its command lines parse, its config reference is whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use claude_proxy::cli::args::Cli;
use claude_proxy::config;
use claude_proxy::convert::Profile;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The part under a heading, up to the next one of the same or a higher level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let level = heading.chars().take_while(|c| *c == '#').count();
    let ends = |line: &str| {
        let depth = line.chars().take_while(|c| *c == '#').count();
        depth > 0 && depth <= level && line[depth..].starts_with(' ')
    };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if ends(line) {
            break;
        }
        at += line.len();
    }
    &rest[..at]
}

/// What stands in backquotes in the first column of the tables.
fn first_column(text: &str) -> BTreeSet<&str> {
    let cells = text.lines().filter_map(|l| l.trim_start().strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').step_by(2)).filter(|k| !k.is_empty()).collect()
}

#[test]
fn the_config_reference_has_every_key() {
    let text = readme();
    let headings = [
        "### Top level",
        "### providers[]",
        "### providers[].models[]",
        "### web_search",
        "### threads",
        "### keys[]",
        "### providers[].models[].price",
        "### budgets",
    ];
    assert_eq!(headings.len(), config::keys().len());
    for (heading, keys) in headings.iter().zip(config::keys()) {
        let told = first_column(section(&text, heading));
        assert_eq!(told, keys.iter().copied().collect(), "{heading}");
    }
    for profile in Profile::all() {
        assert!(
            section(&text, "## Configuration").contains(&format!("`{}`", profile.name)),
            "README.md, \"Profiles:\", lacks `{}`",
            profile.name
        );
    }
}

#[test]
fn every_command_line_parses() {
    let text = readme();
    let mut seen = 0;
    let mut in_code = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            in_code = line == "```sh";
            continue;
        }
        let line = line
            .strip_prefix("cargo run --release -- ")
            .map_or(line.to_owned(), |l| format!("claude-proxy {l}"));
        if in_code && line.starts_with("claude-proxy ") {
            seen += 1;
            let words = line.split_whitespace().take_while(|word| !matches!(*word, "|" | ">" | "<" | "#"));
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
    assert!(seen >= 8, "{seen}");
}

/// Command lines that no transcript can hold: they go on until they are stopped, or need a
/// terminal. Tests of their own run them (tests/it, tests/terminal, tests/claude_code).
const NOT_IN_TRANSCRIPTS: &[&str] = &[
    "claude-proxy run --demo -- claude",
    "claude-proxy run -- claude",
    "claude-proxy serve --capture exchanges",
];

#[test]
fn every_command_line_is_run() {
    let mut run = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "trycmd") {
            let text = fs::read_to_string(path).unwrap();
            run.extend(text.lines().filter_map(|l| l.strip_prefix("$ ")).map(str::to_owned));
        }
    }
    let text = readme();
    let mut in_code = false;
    let mut missing = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            in_code = line == "```sh";
        } else if in_code && line.starts_with("claude-proxy ") {
            // What a shell makes of its output is tried in real shells.
            let line = line.split(['|', '#']).next().unwrap().trim();
            if !run.contains(line) && !NOT_IN_TRANSCRIPTS.contains(&line) {
                missing.push(line);
            }
        }
    }
    assert!(missing.is_empty(), "in no transcript: {missing:#?}");
}

#[test]
fn every_command_is_told() {
    let text = readme();
    let table = section(&text, "## Commands");
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).unwrap();
    for command in Cli::command().get_subcommands() {
        assert!(reference.contains(&format!("\n## {}\n", command.get_name())), "{}", command.get_name());
        assert!(table.contains(&format!("\n| `{}", command.get_name())), "{}", command.get_name());
    }
}

/// Every file below a directory.
fn files(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

#[test]
fn every_loss_is_told() {
    let text = readme();
    let table = section(&text, "## What is translated, and what is lost");
    let mut sources = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/convert"), &mut sources);
    let mut tokens = BTreeSet::new();
    for source in sources {
        let code = fs::read_to_string(source).unwrap();
        for literal in code.split('"').skip(1).step_by(2) {
            let is_name = |n: &str| !n.is_empty() && n.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let (kind, what) = literal.split_once(':').unwrap_or((literal, ""));
            let token = match kind {
                "dropped" | "degraded" if is_name(what) => literal.to_owned(),
                "dropped_tool" | "dropped_block" => format!("{kind}:TYPE"),
                _ if is_name(kind) && what.is_empty() && kind.ends_with("_tool_result") => literal.to_owned(),
                _ => continue,
            };
            tokens.insert(token);
        }
    }
    tokens.retain(|t| {
        !matches!(t.as_str(), "web_search_tool_result" | "web_fetch_tool_result" | "mcp_tool_result")
    });
    assert!(tokens.len() > 15, "{tokens:?}");
    let missing: Vec<_> = tokens.iter().filter(|t| !table.contains(&format!("`{t}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
