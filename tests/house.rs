//! What stands beside the code and tells of it: docs/CONTRIBUTING.md names paths that exist, the
//! registry's front page stands by itself, versions agree.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use clap::Parser as _;
use claude_proxy::cli::args::Cli;
use claude_proxy::config::{Severity, check};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What stands between backquotes, outside of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The first lines of code blocks that a shell runs.
fn commands(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut in_code = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            in_code = line == "```sh";
        } else if in_code {
            out.push(line.split(" # ").next().unwrap_or_default().trim().to_owned());
        }
    }
    out
}

#[test]
fn contributing_names_paths_that_exist() {
    const ROOTS: [&str; 9] =
        ["src/", "tests/", "docs/", "scripts/", "benches/", "fuzz/", "contrib/", "man/", "completions/"];
    let text = read("docs/CONTRIBUTING.md");
    let words = quoted(&text).into_iter().chain(commands(&text));
    let paths: Vec<String> = words
        .filter_map(|words| {
            words.split(' ').find(|w| ROOTS.iter().any(|r| w.starts_with(r))).map(str::to_owned)
        })
        .collect();
    assert!(paths.len() > 60, "{paths:?}");
    let missing: Vec<&String> = paths.iter().filter(|p| !root().join(p).exists()).collect();
    assert!(missing.is_empty(), "docs/CONTRIBUTING.md names what is not there: {missing:?}");
    for name in quoted(&text).iter().filter(|q| q.contains("::") && q.contains('_')) {
        let Some((file, test)) = name.rsplit_once("::") else { continue };
        let path = format!("tests/{}.rs", file.replace("::", "/"));
        if root().join(&path).exists() {
            assert!(read(&path).contains(&format!("fn {test}()")), "there is no test `{name}`");
        }
    }
}

#[test]
fn every_layer_is_on_the_map() {
    let text = read("docs/CONTRIBUTING.md");
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let name = format!("`src/{}`", entry.file_name().to_string_lossy());
            assert!(text.contains(&name), "{name} is not on the map");
        }
    }
}

#[test]
fn the_front_page_stands_by_itself() {
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("\nreadme = \"docs/crate.md\"\n"));
    let text = read("docs/crate.md");
    // A registry resolves links against a repository, which this package does not name.
    assert!(!text.contains("](") && !text.contains("<img"), "no links and no pictures");
    let mut seen = 0;
    for line in commands(&text).iter().filter(|l| l.starts_with("claude-proxy ")) {
        seen += 1;
        assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
    }
    assert!(seen >= 4, "{seen}");
    let json = text.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
    let checked = check(json, &|name| Ok(format!("a-real-looking-key-{name}")));
    assert!(checked.findings.iter().all(|f| f.severity == Severity::Note), "{:?}", checked.findings);
    for path in quoted(&text).iter().filter(|q| Path::new(q).extension().is_some_and(|e| e == "md")) {
        assert!(root().join(path).exists(), "{path}");
    }
}

#[test]
fn the_debian_package_begins_with_a_good_configuration() {
    let text = read("contrib/debian/config.json");
    let checked = check(&text, &|_| Err(std::env::VarError::NotPresent));
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    let config = checked.config.unwrap();
    assert_eq!((config.host.as_str(), config.ak.is_none()), ("127.0.0.1", true));
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    let newest = read("CHANGELOG.md");
    let newest = newest.lines().find_map(|l| l.strip_prefix("## [")).unwrap();
    assert_eq!(newest.split(']').next(), Some(version), "CHANGELOG.md");
    assert!(read("contrib/debian/changelog").starts_with(&format!("claude-proxy ({version}-")));
}
