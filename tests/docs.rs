//! docs/providers.md says what the profiles say, and what it tells people to paste is right;
//! docs/metrics.md lists every metric.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

use std::fs;
use std::path::Path;

use claude_proxy::config::{Severity, check};
use claude_proxy::convert::Profile;
use claude_proxy::observe::metrics::names;
use serde_json::Value;

fn providers() -> String {
    doc("providers.md")
}

fn doc(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

#[test]
fn the_table_of_metrics_is_true() {
    let text = doc("metrics.md");
    let told: Vec<&str> = text.lines().filter(|l| l.starts_with("| `claude_proxy_")).collect();
    let row = |name: &names::Name| {
        let labels: Vec<String> = name.labels.iter().map(|l| format!("`{l}`")).collect();
        format!("| `{}` | {} | {} | {} |", name.exposed(), name.kind.as_str(), labels.join(", "), name.help)
    };
    let rows: Vec<String> = names::ALL.iter().map(row).collect();
    assert_eq!(told, rows, "expected:\n{}", rows.join("\n"));
    for values in [
        &names::OUTCOMES[..],
        &names::STOP_REASONS,
        &names::OWN_PARTS,
        &names::REST_SCOPES,
        &names::RESULTS,
        &names::STAGES,
        &names::TOKEN_KINDS,
        &names::ENDPOINTS,
        &names::RELOAD_RESULTS,
    ] {
        for value in values {
            assert!(text.contains(&format!("`{value}`")), "{value}");
        }
    }
    // Queries name metrics that are there.
    for word in text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|w| w.starts_with("claude_proxy_"))
    {
        let known = names::ALL.iter().any(|n| word == n.exposed() || word == format!("{}_bucket", n.base));
        assert!(known, "{word}");
    }
}

/// The table's row of a profile, made from its data.
fn row(name: &str, profile: &Value) -> String {
    let text = |key: &str| profile[key].as_str().unwrap();
    let yes = |is: bool| if is { "yes" } else { "no" };
    let choice = match text("tool_choice") {
        "full" => "all",
        "required_alone" => "all, one tool at a time",
        _ => "auto",
    };
    let schema = if text("json_schema") == "json_schema" { "yes" } else { "in the prompt" };
    let asked = match text("reasoning_request") {
        "none" => "-",
        "effort" => "`reasoning_effort`",
        "openrouter" => "`reasoning`",
        "qwen" => "`enable_thinking`",
        "template" => "`chat_template_kwargs`",
        _ => "`thinking`",
    };
    let echo = match text("echo") {
        "none" if text("family") == "gemini" => "thought signatures".to_owned(),
        "none" => "-".to_owned(),
        "mistral" => "thinking parts".to_owned(),
        field => format!("`{field}`"),
    };
    let images = yes(profile["images"].as_bool().unwrap());
    let pdf = yes(text("pdf") == "file");
    let stops = &profile["stop_max"];
    let cache = yes(profile["cache_control"].as_bool().unwrap());
    format!("| `{name}` | {choice} | {images} | {pdf} | {schema} | {asked} | {echo} | {stops} | {cache} |")
}

#[test]
fn the_table_of_profiles_is_true() {
    let text = providers();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/convert/profiles.json");
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let told: Vec<&str> = text.lines().filter(|l| l.starts_with("| `")).collect();
    let mut rows = Vec::new();
    for (name, own) in all.as_object().unwrap() {
        let mut profile = all["generic"].clone();
        profile.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        rows.push(row(name, &profile));
    }
    if std::env::var_os("RENEW").is_some() {
        let renewed = text.replace(&told.join("\n"), &rows.join("\n"));
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md"), renewed).unwrap();
        return;
    }
    assert_eq!(told, rows, "scripts/renew writes these:\n{}", rows.join("\n"));
}

#[test]
fn every_config_can_be_pasted() {
    let text = providers();
    let mut profiles = std::collections::BTreeSet::new();
    for section in text.split("\n## ").skip(1) {
        let (title, body) = section.split_once('\n').unwrap();
        let Some((_, json)) = body.split_once("```json\n") else {
            assert_eq!(title, "Others");
            continue;
        };
        let json = json.split_once("```").unwrap().0;
        let checked = check(json, &|name| Ok(format!("a-real-looking-key-{name}")));
        let bad: Vec<_> = checked.findings.iter().filter(|f| f.severity != Severity::Note).collect();
        assert!(bad.is_empty(), "{title}: {bad:?}");
        profiles.extend(checked.config.unwrap().models.iter().map(|m| m.profile.name.clone()));
    }
    let missing: Vec<_> =
        Profile::all().iter().map(|p| p.name.clone()).filter(|n| !profiles.contains(n)).collect();
    assert_eq!(missing, ["openai"], "no section of docs/providers.md leads to these (right) but `openai`");
}

/// The source of a test or of a module of tests, by the name under which cargo runs it.
fn source(name: &str) -> Option<String> {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
    let mut parts: Vec<&str> = name.split("::").collect();
    let module = |parts: &[&str]| {
        let path = parts.join("/");
        read(&format!("tests/{path}.rs")).or_else(|| read(&format!("src/{path}.rs")))
    };
    let text = module(&parts).or_else(|| {
        let function = format!("fn {}()", parts.pop()?);
        module(&parts).filter(|text| text.contains(&function))
    })?;
    text.contains("#[test]").then_some(text)
}

/// Checks the tests that a cell of a table names; a script is named by its path.
fn check_tests(cell: &str, line: &str) {
    let mut names = cell.split('`').skip(1).step_by(2).peekable();
    assert!(names.peek().is_some(), "no test is named: {line}");
    for name in names {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        assert!(source(name).is_some() || script.is_file(), "there is no test `{name}`");
    }
}

#[test]
fn security_names_tests_that_exist() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SECURITY.md")).unwrap();
    let table = text.split_once("| promise | tests |").unwrap().1;
    let promises: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(promises.len() > 8);
    for promise in promises {
        check_tests(promise.trim_end_matches(" |").rsplit(" | ").next().unwrap(), promise);
    }
    assert!(source("it::r99_none").is_none() && source("fuzz::none").is_none());
}

#[test]
fn every_promise_names_tests_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    let text = fs::read_to_string(path).unwrap();
    let table = text.split_once("## Promises").unwrap().1.split_once("\n## ").unwrap().0;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| R")).collect();
    for (n, row) in rows.iter().enumerate() {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!((cells.len(), cells[0].trim()), (5, &*format!("R{}", n + 1)), "{row}");
        check_tests(cells[2], row);
    }
    assert_eq!(rows.len(), 36);
    // And each module of a promise is named.
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(module) =
            name.strip_suffix(".rs").filter(|m| m.starts_with('r') && m.as_bytes()[1].is_ascii_digit())
        else {
            continue;
        };
        assert!(table.contains(&format!("`it::{module}`")), "{module} has no row");
    }
}
