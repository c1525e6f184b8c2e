//! Every fixture of tests/fixtures through the library.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;

use claude_proxy::convert::web::Round;
use claude_proxy::convert::{self, ModelSpec, Profile, WebTools};
use claude_proxy::wire::anthropic::{ApiError, Request};
use serde::Serialize as _;
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

/// For who writes a fixture: without `expected` it fails, and with `RENEW=1` (scripts/renew) what
/// comes out is put in, to be read and put right.
fn unfinished(case: &Value, actual: &Value, warnings: &[&str]) -> Result<(), String> {
    let mut case = case.clone();
    let mut actual = actual.clone();
    for message in [String::new(), "/0/message".into()] {
        if let Some(id) = actual.pointer_mut(&(message.clone() + "/id")) {
            *id = "<<msg_id>>".into();
        }
    }
    if let Some(id) = actual.pointer_mut("/body/request_id") {
        *id = "<<request_id>>".into();
    }
    if let Some(estimate) = actual.pointer_mut("/0/message/usage/input_tokens") {
        *estimate = "<<int>>".into();
    }
    case["expected"] = actual;
    if !warnings.is_empty() {
        case["expected_warnings"] = warnings.into();
    }
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b" ");
    case.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indent)).unwrap();
    text.push(b'\n');
    if std::env::var_os("RENEW").is_none() {
        return Err(format!("no `expected`; scripts/renew makes it\n{}", String::from_utf8_lossy(&text)));
    }
    let name = format!("{}/{}.json", case["direction"].as_str().unwrap(), case["name"].as_str().unwrap());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))
}

fn told(error: &ApiError) -> Value {
    let mut body = Vec::new();
    error.write("req_x", &mut body);
    let body: Value = serde_json::from_slice(&body).unwrap();
    serde_json::json!({"status": error.status, "headers": {}, "body": body})
}

fn fits(expected: &Value, error: &ApiError) -> Result<(), String> {
    difference(expected, &told(error)).map_or(Ok(()), Err)
}

#[test]
fn requests() {
    each("request", converted);
}

/// Requests where the configuration has web tools.
#[test]
fn web_requests() {
    each("web", converted);
}

fn round(name: &Value) -> Round {
    match name.as_str() {
        Some("further") => Round::Further,
        Some("last") => Round::Last,
        _ => Round::First,
    }
}

fn converted(case: &Value) -> Result<(), String> {
    let input = case["input"].to_string();
    let expected = case.get("expected").unwrap_or(&Value::Null);
    let on = |tool: &str| case["web"][tool].as_bool().unwrap_or(false);
    let web = WebTools { search: on("search"), fetch: on("fetch"), round: round(&case["web"]["round"]) };
    let spec = ModelSpec { web, ..spec(&case["input"]) };
    let result =
        Request::parse(input.as_bytes()).and_then(|request| convert::request(&request, profile(case), &spec));
    let converted = match (result, expected.get("http_error")) {
        (Err(error), Some(wanted)) => return fits(wanted, &error),
        (Err(error), None) => return Err(format!("refused: {error}")),
        (Ok(_), Some(_)) => return Err("not refused".into()),
        (Ok(converted), None) => converted,
    };
    let actual: Value = serde_json::from_slice(&converted.body)
        .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&converted.body)))?;
    if case.get("expected").is_none() {
        return unfinished(case, &actual, &converted.losses.tokens());
    }
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
}

fn context(case: &Value) -> Result<convert::ReplyContext, String> {
    let request = case["request"].to_string();
    let request = Request::parse(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut reply =
        convert::request(&request, profile(case), &spec(&case["request"])).map_err(|e| e.to_string())?.reply;
    reply.seed = 7;
    Ok(reply)
}

#[test]
fn responses() {
    each("response", |case| {
        let expected = &case["expected"];
        let answer = convert::response(case["input"].to_string().as_bytes(), context(case)?);
        match (answer, expected.get("http_error")) {
            (Err(error), Some(wanted)) => fits(wanted, &error),
            (Err(error), None) => Err(format!("failed: {error}")),
            (Ok(_), Some(_)) => Err("did not fail".into()),
            (Ok(answer), None) => {
                let actual: Value = serde_json::from_slice(&answer.body)
                    .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&answer.body)))?;
                if case.get("expected").is_none() {
                    return unfinished(case, &actual, &[]);
                }
                difference(expected, &actual).map_or(Ok(()), Err)
            }
        }
    });
}

#[test]
fn errors() {
    each("error", |case| {
        let input = &case["input"];
        let body = input["body"].as_str().map_or_else(|| input["body"].to_string(), str::to_owned);
        let status = u16::try_from(input["status"].as_u64().unwrap()).unwrap();
        let error = convert::error::error(status, body.as_bytes(), "provider", None);
        if case.get("expected").is_none() {
            return unfinished(case, &told(&error), &[]);
        }
        fits(&case["expected"], &error)
    });
}

/// The bytes of an upstream's stream, in the pieces in which the fixture cuts it.
fn pieces(input: &Value) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    if let Some(raw) = input["raw"].as_array() {
        return raw
            .iter()
            .map(|piece| {
                let piece = piece.as_str().unwrap();
                piece.strip_prefix("b64:").map_or_else(
                    || piece.as_bytes().to_vec(),
                    |b64| base64::engine::general_purpose::STANDARD.decode(b64).unwrap(),
                )
            })
            .collect();
    }
    input
        .as_array()
        .unwrap()
        .iter()
        .map(|data| format!("data: {}\n\n", data.as_str().unwrap()).into_bytes())
        .collect()
}

#[test]
fn streams() {
    each("stream", |case| {
        let whole: Vec<u8> = pieces(&case["input"]).concat();
        let crlf = String::from_utf8(whole.clone())
            .map(|s| s.replace('\n', "\r\n").into_bytes())
            .unwrap_or(whole.clone());
        let bytewise: Vec<Vec<u8>> = whole.chunks(1).map(<[u8]>::to_vec).collect();
        let sevens: Vec<Vec<u8>> = whole.chunks(7).map(<[u8]>::to_vec).collect();
        for (how, pieces) in [
            ("as cut", pieces(&case["input"])),
            ("whole", vec![whole]),
            ("CRLF", vec![crlf]),
            ("bytewise", bytewise),
            ("by 7", sevens),
        ] {
            stream(case, &pieces).map_err(|e| format!("{how}: {e}"))?;
        }
        Ok(())
    });
}

fn stream(case: &Value, pieces: &[Vec<u8>]) -> Result<(), String> {
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let run = support::pump::stream(context(case)?, &pieces);
    if let Some(wanted) = case["expected"].get("http_error") {
        return fits(wanted, &run.http_error.ok_or("no HTTP error")?);
    }
    if let Some(error) = run.http_error {
        return Err(format!("HTTP error: {error}"));
    }
    let events = support::grammar::events(&run.bytes)?;
    support::grammar::check(&events)?;
    if case.get("expected").is_none() {
        return unfinished(case, &support::compare::joined(&events).into(), &[]);
    }
    let expected: Vec<Value> = case["expected"].as_array().unwrap().clone();
    let (expected, actual) = (support::compare::joined(&expected), support::compare::joined(&events));
    difference(&expected.into(), &actual.into()).map_or(Ok(()), Err)
}
