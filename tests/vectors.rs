//! Every fixture of tests/fixtures through the library.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;

use claude_proxy::convert::{self, ModelSpec, Profile};
use claude_proxy::wire::anthropic::{ApiError, Request};
use serde_json::Value;
use support::compare::difference;

/// Runs `check` over the fixtures of a direction and reports all that fail.
fn each(direction: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(direction);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12, "{} has only {} fixtures", dir.display(), files.len());
    let failed: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let case: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            check(&case).err().map(|e| format!("{}: {e}", file.file_stem().unwrap().display()))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), files.len(), failed.join("\n"));
}

fn profile(case: &Value) -> &'static Profile {
    Profile::named(case["provider_profile"].as_str().unwrap()).unwrap()
}

fn spec(request: &Value) -> ModelSpec {
    ModelSpec { remote_id: request["model"].as_str().unwrap_or("m").into(), ..ModelSpec::default() }
}

fn fits(expected: &Value, error: &ApiError) -> Result<(), String> {
    let mut body = Vec::new();
    error.write("req_x", &mut body);
    let actual = serde_json::json!({
        "status": error.status, "headers": {}, "body": serde_json::from_slice::<Value>(&body).unwrap()
    });
    difference(expected, &actual).map_or(Ok(()), Err)
}

#[test]
fn requests() {
    each("request", |case| {
        let input = case["input"].to_string();
        let expected = &case["expected"];
        let result = Request::parse(input.as_bytes())
            .and_then(|request| convert::request(&request, profile(case), &spec(&case["input"])));
        let converted = match (result, expected.get("http_error")) {
            (Err(error), Some(wanted)) => return fits(wanted, &error),
            (Err(error), None) => return Err(format!("refused: {error}")),
            (Ok(_), Some(_)) => return Err("not refused".into()),
            (Ok(converted), None) => converted,
        };
        let actual: Value = serde_json::from_slice(&converted.body)
            .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&converted.body)))?;
        if let Some(d) = difference(expected, &actual) {
            return Err(d);
        }
        let mut wanted: Vec<&str> = case["expected_warnings"]
            .as_array()
            .map(|w| w.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut got = converted.losses.tokens();
        wanted.sort_unstable();
        got.sort_unstable();
        if wanted == got { Ok(()) } else { Err(format!("warnings: expected {wanted:?}, got {got:?}")) }
    });
}
