//! Tells the program what it was built from and for: see `--version`.

#![allow(clippy::print_stdout)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CLAUDE_PROXY_COMMIT");
    let profile = env::var("PROFILE").unwrap_or_default();
    let target = env::var("TARGET").unwrap_or_default();
    // Packagers who build from a tarball can say what it was made of. A debug build would be
    // compiled anew after each commit, only to tell which one it is.
    let given = env::var("CLAUDE_PROXY_COMMIT").ok().filter(|c| !c.is_empty());
    let commit = given.or_else(|| if profile == "release" { commit() } else { None });
    let commit = commit.map(|c| format!(" ({c})")).unwrap_or_default();
    println!("cargo::rustc-env=CLAUDE_PROXY_BUILT_FROM={commit}");
    println!("cargo::rustc-env=CLAUDE_PROXY_BUILT_FOR={target} ({profile})");
}

/// The commit that is checked out here, if this is a checkout of its own.
fn commit() -> Option<String> {
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    // A tarball that was unpacked inside of another repository is not part of it.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    for watched in [git(&["rev-parse", "--git-path", "HEAD"]), branch()] {
        if let Some(path) = watched.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

/// The file that changes when something is committed.
fn branch() -> Option<String> {
    let name = git(&["symbolic-ref", "-q", "HEAD"])?;
    git(&["rev-parse", "--git-path", &name])
}

/// What git prints; none without git, or where it refuses.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
