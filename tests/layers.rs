//! The layers of src/lib.rs, kept by reading the source: a module imports its own layer and
//! layers to its right, and `wire` and `convert` know nothing of the world outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "support/sources.rs"]
mod sources;

use sources::sources;

/// What each layer may import besides itself.
const MAY: &[(&str, &[&str])] = &[
    ("cli", &["demo", "server", "web", "store", "upstream", "config", "convert", "wire", "observe", "pdf"]),
    ("demo", &[]),
    ("server", &["web", "store", "upstream", "config", "convert", "wire", "observe", "pdf"]),
    ("web", &["upstream", "config"]),
    ("upstream", &["config", "convert", "wire", "observe"]),
    ("config", &["convert", "wire"]),
    ("convert", &["wire"]),
    ("wire", &[]),
    ("store", &[]),
    ("observe", &[]),
    ("pdf", &[]),
];

/// What pure layers must not name.
const IMPURE: &[&str] = &[
    "tokio",
    "actix",
    "actix_web",
    "actix_rt",
    "actix_service",
    "actix_tls",
    "awc",
    "tracing",
    "std::net",
    "std::fs",
    "std::env",
    "std::io::stdin",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

const PURE: &[&str] = &["wire", "convert"];

/// The source without comments and the contents of strings.
fn code(source: &str) -> String {
    let mut out = String::new();
    for line in source.lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        let (mut text, mut in_string, mut escaped) = (String::new(), false, false);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if !escaped => in_string = !in_string,
                '/' if !in_string && chars.peek() == Some(&'/') => break,
                c if !in_string => text.push(c),
                _ => {}
            }
            escaped = c == '\\' && !escaped;
        }
        out.push_str(&text);
        out.push('\n');
    }
    out
}

/// Every path below `root` that the code names, groups spelled out: `a::{b, c::d}` is `a::b`, `a::c::d`.
fn paths(code: &str, root: &str) -> Vec<String> {
    fn expand(text: &str, prefix: &str, out: &mut Vec<String>) -> usize {
        let mut at = 0;
        let bytes = text.as_bytes();
        let mut path = prefix.to_owned();
        while at < bytes.len() {
            match bytes[at] {
                b if b.is_ascii_alphanumeric() || b == b'_' || b == b':' || b == b'*' => path.push(b as char),
                b'{' if path.is_empty() || path.ends_with("::") => {
                    at += 1;
                    loop {
                        while at < bytes.len() && (bytes[at].is_ascii_whitespace() || bytes[at] == b',') {
                            at += 1;
                        }
                        if at >= bytes.len() || bytes[at] == b'}' {
                            return at + 1;
                        }
                        let used = expand(&text[at..], &path, out);
                        assert!(used > 0, "cannot read {:?}", &text[at..text.len().min(at + 40)]);
                        at += used;
                        // ` as name`
                        while at < bytes.len() && bytes[at] != b',' && bytes[at] != b'}' {
                            at += 1;
                        }
                    }
                }
                _ => break,
            }
            at += 1;
        }
        out.push(path);
        at
    }
    let mut out = Vec::new();
    for (i, _) in code.match_indices(&format!("{root}::")) {
        let before = code[..i].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        expand(&code[i + root.len() + 2..], "", &mut out);
    }
    out
}

fn complaints(file: &str, source: &str) -> Vec<String> {
    let mut out = Vec::new();
    let layer = file.split('/').next().unwrap().trim_end_matches(".rs");
    if matches!(layer, "main" | "lib") {
        return out;
    }
    let Some((_, may)) = MAY.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{file}: `{layer}` is no layer of tests/layers.rs")];
    };
    let code = code(source);
    for path in paths(&code, "crate") {
        let to = path.split("::").next().unwrap();
        if to != layer && MAY.iter().any(|(name, _)| *name == to) && !may.contains(&to) {
            out.push(format!("{file}: {layer} must not import crate::{path}"));
        }
        if !MAY.iter().any(|(name, _)| *name == to) {
            out.push(format!("{file}: crate::{path} goes around the layers"));
        }
    }
    if PURE.contains(&layer) {
        for name in IMPURE {
            let (root, rest) = name.split_once("::").unwrap_or((name, ""));
            let named = paths(&code, root);
            if named.iter().any(|p| rest.is_empty() || p == rest || p.starts_with(&format!("{rest}::"))) {
                out.push(format!("{file}: {layer} is pure and must not use {name}"));
            }
        }
    }
    out
}

#[test]
fn arrows_run_one_way() {
    let sources = sources();
    assert!(sources.len() > 20, "src/ was not found");
    let found: Vec<String> = sources.iter().flat_map(|(file, source)| complaints(file, source)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_wrong_arrow_is_noticed() {
    for (file, source) in [
        ("wire/a.rs", "use crate::convert::Profile;"),
        ("convert/b/c.rs", "use crate::{\n    wire::json,\n    config::{Config, Secret},\n};"),
        ("config/mod.rs", "fn f() -> crate::server::X { todo() }"),
        ("observe/mod.rs", "pub use crate::wire::{json as j};"),
        ("upstream/mod.rs", "use crate::server::{self, reply};"),
        ("wire/a.rs", "use tokio::time;"),
        ("wire/a.rs", "let t = std::time::Instant::now();"),
        ("convert/a.rs", "use std::{fmt, time::{Duration, SystemTime}};"),
        ("convert/a.rs", "use std::fs;"),
        ("convert/a.rs", "tracing::info!(\"x\");"),
        ("convert/a.rs", "use awc::Client as C;"),
        ("helpers/a.rs", ""),
        ("wire/a.rs", "use crate::run;"),
    ] {
        assert!(!complaints(file, source).is_empty(), "{file}: {source}");
    }
    for (file, source) in [
        ("cli/a.rs", "use crate::server::run;"),
        (
            "wire/a.rs",
            "// use crate::cli::run;\nuse std::time::Duration; let s = \"std::fs::read tokio::x\";",
        ),
        (
            "convert/a.rs",
            "use super::x; use crate::convert::{y, z::W}; use crate::wire::json::{self, Cursor};",
        ),
        ("convert/a.rs", "let my_tokio::x = 1; a::tokio::b();"),
    ] {
        assert_eq!(complaints(file, source), Vec::<String>::new(), "{file}");
    }
}
