//! Configurations: any text gives findings at places that exist, and none of them tells a key.

use std::env::VarError;

use claude_proxy::config::load::snippet;
use claude_proxy::config::{Finding, Severity, check};
use serde_json::Value;

/// What `${FUZZ_KEY}` stands for.
const FROM_ENV: &str = "env-value-4711";

fn env(name: &str) -> Result<String, VarError> {
    match name {
        "FUZZ_KEY" => Ok(FROM_ENV.to_owned()),
        "FUZZ_EMPTY" => Ok(String::new()),
        "FUZZ_BAD" => Err(VarError::NotUnicode("x".into())),
        _ => Err(VarError::NotPresent),
    }
}

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let checked = check(&text, &env);
    let failed = checked.findings.iter().any(|f| f.severity == Severity::Error);
    assert_eq!(checked.config.is_none(), failed, "no configuration, and nothing says why");
    let keys = keys(&text);
    // libFuzzer sees what is compared, and writes it into the text.
    let told_by_the_text = text.to_lowercase().contains(FROM_ENV);
    for finding in &checked.findings {
        place(&text, finding);
        let (line, before, width) = snippet(&text, finding);
        assert!(width > 0 && before <= text.chars().count());
        let told = [&finding.message, &finding.help, &finding.path, &finding.to_string(), &line];
        for told in told {
            assert!(
                told_by_the_text || !told.to_lowercase().contains(FROM_ENV),
                "a variable's value is told: {told}"
            );
            for key in &keys {
                assert!(!told.contains(key.as_str()), "a key is told: {told}");
            }
        }
    }
    if let Some(config) = checked.config {
        let shown = format!("{config:?}");
        assert!(!keys.iter().any(|key| shown.contains(key.as_str())), "a key is told: {shown}");
        for name in ["", "m", "claude-x[1m]", "*"] {
            let model = config.route(name);
            assert!(model.is_some() || config.default_model.is_none());
        }
    }
}

/// The place is in the text, and line and column are its.
fn place(text: &str, finding: &Finding) {
    assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
    let head = &text[..finding.span.start];
    let line = head.matches('\n').count() + 1;
    let start = head.rfind('\n').map_or(0, |at| at + 1);
    let line_so_far = &head[start..];
    // A byte order mark is no column.
    let line_so_far = line_so_far.strip_prefix('\u{feff}').filter(|_| line == 1).unwrap_or(line_so_far);
    let characters = line_so_far.chars().count();
    assert_eq!((finding.line, finding.column), (line, characters + 1), "{finding:?}");
    let (end_line, end_column) = finding.end(text);
    assert!((end_line, end_column) >= (line, characters + 1), "{finding:?} ends at {end_line}:{end_column}");
    assert!(!finding.message.is_empty() && !finding.message.contains('\n'), "{finding:?}");
    assert!(!finding.help.contains('\n'), "{finding:?}");
}

/// Keys that are written out, if they stand nowhere else in the text.
fn keys(text: &str) -> Vec<String> {
    fn walk(value: &Value, secret: bool, out: &mut Vec<String>) {
        match value {
            Value::String(s) if secret => out.push(s.clone()),
            Value::Array(items) => items.iter().for_each(|v| walk(v, secret, out)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    let names_one = ["ak", "api_key", "api_keys", "headers"].contains(&key.as_str());
                    walk(value, secret || names_one, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    if let Ok(value) = serde_json::from_str(text) {
        walk(&value, false, &mut out);
    }
    out.retain(|key| key.len() >= 8 && !key.contains("${") && text.matches(key.as_str()).count() == 1);
    out
}
