//! docs/cli.md lists every code of check-config; its examples bring what they are examples of.

use std::fs;
use std::path::Path;

use claude_proxy::config::{Code, keys};
use serde_json::Value;

use crate::run::{Dir, Done};

/// A row of the table: code, severity, meaning, example.
fn rows() -> Vec<[String; 4]> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).unwrap();
    let (_, table) = text.split_once("\n### Codes\n").unwrap();
    let rows = table.lines().skip_while(|l| !l.starts_with("| `")).take_while(|l| l.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        let cells: [&str; 4] = cells.try_into().unwrap();
        cells.map(str::to_owned)
    })
    .collect()
}

fn bare(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|c| c.strip_suffix('`')).unwrap()
}

/// A file that has the example where it belongs, and what a file needs beside it.
fn file(example: &str) -> String {
    let first = example.split('"').nth(1).unwrap();
    let [_, provider_keys, model_keys, ..] = keys();
    let level = if model_keys.contains(&first) { 2 } else { usize::from(provider_keys.contains(&first)) };
    let fill = |at: usize, defaults: &[(&str, String)]| {
        let own = if at == level { example } else { "" };
        let rest = defaults.iter().filter(|(key, _)| !own.contains(&format!("\"{key}\":")));
        let rest = rest.map(|(key, value)| format!("\"{key}\": {value}"));
        let all: Vec<String> = (!own.is_empty()).then(|| own.to_owned()).into_iter().chain(rest).collect();
        format!("{{{}}}", all.join(", "))
    };
    let model = fill(2, &[("id", "\"glm\"".to_owned())]);
    let provider = fill(
        1,
        &[
            ("base_url", "\"https://api.example.com\"".to_owned()),
            ("api_key", "\"\"".to_owned()),
            ("models", format!("[{model}]")),
        ],
    );
    fill(0, &[("providers", format!("[{provider}]"))])
}

fn run(example: &str) -> Done {
    let dir = Dir::new();
    let args = if let Some(args) = example.strip_prefix("claude-proxy ") {
        args.to_owned()
    } else {
        dir.file("config.json", file(example));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(dir.0.join("config.json"), fs::Permissions::from_mode(0o644)).unwrap();
        }
        "check-config".to_owned()
    };
    dir.run_with(&format!("{args} --json"), b"", &[("EMPTY", ""), ("KEY", "sk-4f1d9c07")])
}

#[test]
fn the_table_of_codes_is_whole_and_its_examples_are_true() {
    let rows = rows();
    let told: Vec<[&str; 3]> =
        rows.iter().map(|[code, severity, meaning, _]| [bare(code), severity, meaning]).collect();
    let all: Vec<[&str; 3]> =
        Code::ALL.iter().map(|c| [c.as_str(), c.severity().as_str(), c.meaning()]).collect();
    assert_eq!(told, all);
    for [code, severity, _, example] in &rows {
        if cfg!(not(unix)) && bare(code) == "readable-by-others" {
            continue;
        }
        let done = run(bare(example));
        let found = done.json();
        let hit = |f: &&Value| f["code"] == bare(code) && f["severity"] == severity.as_str();
        assert!(found["findings"].as_array().unwrap().iter().any(|f| hit(&f)), "{example}: {done:?}");
    }
}

#[test]
fn a_file_without_mistakes_has_none_of_them() {
    let found = run("\"port\": 8888").exits(0).json();
    assert_eq!(found["findings"], serde_json::json!([]));
}
