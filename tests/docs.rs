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

/// What an expression of PromQL asks for: each of our metrics, with the labels of its selector and
/// their values.
fn asked(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("claude_proxy_") {
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let selector = after.strip_prefix('{').and_then(|s| s.split_once('}')).map_or("", |(s, _)| s);
        let mut labels = Vec::new();
        for pair in selector.split_terminator('"').collect::<Vec<_>>().chunks(2) {
            let [label, value] = pair else { panic!("{selector}") };
            let label =
                label.trim_matches(|c: char| c == ',' || c == ' ' || c == '=' || c == '~' || c == '!');
            labels.push((label.to_owned(), (*value).to_owned()));
        }
        found.push((name.to_owned(), labels));
        rest = after;
    }
    found
}

/// What a series has beside our labels.
const OF_A_SCRAPE: [&str; 3] = ["instance", "job", "le"];

/// Checks that an expression asks for metrics and labels that there are; says which labels.
fn check_expression(expression: &str) -> Vec<&'static str> {
    let mut known = OF_A_SCRAPE.to_vec();
    let all = asked(expression);
    for (name, labels) in &all {
        let metric = names::ALL.iter().find(|n| match n.kind {
            names::Kind::Histogram => {
                name.strip_prefix(n.base).is_some_and(|s| ["_bucket", "_sum", "_count"].contains(&s))
            }
            _ => *name == n.exposed(),
        });
        let metric = metric.unwrap_or_else(|| panic!("no metric {name}: {expression}"));
        known.extend(metric.labels);
        for (label, value) in labels {
            assert!(
                metric.labels.contains(&&**label) || OF_A_SCRAPE.contains(&&**label),
                "{name} has no label {label}: {expression}"
            );
            let values: &[&str] = match &**label {
                "outcome" if metric.labels.contains(&"status") => &names::OUTCOMES,
                "stop_reason" => &names::STOP_REASONS,
                "part" => &names::OWN_PARTS,
                "kind" => &names::TOKEN_KINDS,
                "result" if metric.base.ends_with("reloads") => &names::RELOAD_RESULTS,
                "result" => &names::RESULTS,
                "scope" => &names::REST_SCOPES,
                "stage" => &names::STAGES,
                "turn" => &names::TURNS,
                _ => continue,
            };
            assert!(
                value.split('|').all(|v| v.starts_with('$') || values.contains(&v)),
                "{value}: {expression}"
            );
        }
    }
    for by in expression.split("by (").skip(1) {
        for label in by.split(')').next().unwrap().split(", ") {
            assert!(known.contains(&label), "nothing has the label {label}: {expression}");
        }
    }
    known
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let read = |name: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)).unwrap()
    };
    let dashboard = read("grafana.json");
    let json: Value = serde_json::from_str(&dashboard).unwrap();
    let mut expressions = 0;
    for panel in json["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let known = check_expression(expression);
            let legend = target["legendFormat"].as_str().unwrap();
            for label in legend.split("{{").skip(1).map(|l| l.split("}}").next().unwrap()) {
                assert!(known.contains(&label), "{title}: {legend}: {expression}");
            }
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            expressions += 1;
        }
    }
    assert!(expressions > 40, "{expressions}");
    for variable in ["datasource", "instance", "provider", "model"] {
        let all = json["templating"]["list"].as_array().unwrap();
        assert!(all.iter().any(|v| v["name"] == variable), "{variable}");
    }
    // What variables and annotations ask for, too.
    check_expression(&dashboard.replace("\\\"", "\""));
    for rule in read("prometheus/alerts.yml").split("expr: ").skip(1) {
        check_expression(rule);
    }
    // What is counted can be seen.
    let shown: Vec<String> =
        asked(&dashboard.replace("\\\"", "\"")).into_iter().map(|(name, _)| name).collect();
    let missing: Vec<_> = names::ALL
        .iter()
        .filter(|n| {
            !shown
                .iter()
                .any(|s| *s == n.exposed() || n.kind == names::Kind::Histogram && s.starts_with(n.base))
        })
        .map(names::Name::exposed)
        .collect();
    assert!(missing.is_empty(), "contrib/grafana.json has no panel with {missing:?}");
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
    assert_eq!(rows.len(), 37);
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
