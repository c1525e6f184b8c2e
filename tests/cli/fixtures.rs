//! Every fixture of tests/fixtures through `convert`.

use base64::Engine as _;
use serde_json::Value;

use crate::run::{Dir, Done};
use crate::support::{compare, grammar};

/// Runs `check` over the fixtures of a direction and reports all that fail.
fn each(direction: &str, check: impl Fn(&Dir, &Value) -> Result<(), String>) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(direction);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12, "{} has only {} fixtures", dir.display(), files.len());
    let work = Dir::new();
    let fails = |file: &std::path::PathBuf| {
        let case: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        check(&work, &case).err().map(|e| format!("{}: {e}", file.file_stem().unwrap().display()))
    };
    let failed: Vec<String> = files.iter().filter_map(fails).collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), files.len(), failed.join("\n"));
}

fn profile(case: &Value) -> &str {
    case["provider_profile"].as_str().unwrap()
}

fn same(expected: &Value, actual: &Value) -> Result<(), String> {
    compare::difference(expected, actual).map_or(Ok(()), Err)
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("{e}: {text}"))
}

/// The run ended as that HTTP error: its body on stdout, its status on stderr.
fn is_error(expected: &Value, done: &Done) -> Result<(), String> {
    same(&expected["body"], &json(&done.stdout)?)?;
    let told = format!("the answer is an error: {} ", expected["status"]);
    if done.code == Some(1) && done.stderr.contains(&told) { Ok(()) } else { Err(format!("{done:?}")) }
}

#[test]
fn requests() {
    each("request", |dir, case| {
        let args = format!("convert --report --profile {} --from anthropic-request", profile(case));
        let done = dir.run_with(&args, case["input"].to_string().as_bytes(), &[]);
        let expected = &case["expected"];
        if let Some(error) = expected.get("http_error") {
            let told = format!(
                "{} {}: {}",
                error["status"],
                error["body"]["error"]["type"].as_str().unwrap(),
                error["body"]["error"]["message"].as_str().unwrap()
            );
            let fits = done.code == Some(1) && done.stdout.is_empty() && done.stderr.contains(&told);
            return if fits { Ok(()) } else { Err(format!("{told}\n{done:?}")) };
        }
        same(expected, &json(&done.stdout)?)?;
        let mut wanted: Vec<&str> =
            case["expected_warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut told: Vec<&str> =
            done.stderr.lines().filter_map(|l| l.split_once(": ")).map(|(_, t)| t).collect();
        told.retain(|t| *t != "nothing was lost");
        wanted.sort_unstable();
        told.sort_unstable();
        told.dedup();
        if done.code == Some(0) && wanted == told { Ok(()) } else { Err(format!("{wanted:?}, {done:?}")) }
    });
}

#[test]
fn responses() {
    each("response", |dir, case| {
        dir.file("request.json", case["request"].to_string());
        let args =
            format!("convert --from openai-response --profile {} --request request.json", profile(case));
        let done = dir.run_with(&args, case["input"].to_string().as_bytes(), &[]);
        match case["expected"].get("http_error") {
            Some(error) => is_error(error, &done),
            None => same(&case["expected"], &json(&done.stdout)?),
        }
    });
}

/// The bytes of an upstream's stream.
fn bytes(input: &Value) -> Vec<u8> {
    let pieces = |raw: &Vec<Value>| {
        let piece = |p: &Value| match p.as_str().unwrap().strip_prefix("b64:") {
            Some(b64) => base64::engine::general_purpose::STANDARD.decode(b64).unwrap(),
            None => p.as_str().unwrap().as_bytes().to_vec(),
        };
        raw.iter().flat_map(piece).collect()
    };
    let events = |list: &Vec<Value>| {
        list.iter().flat_map(|d| format!("data: {}\n\n", d.as_str().unwrap()).into_bytes()).collect()
    };
    input["raw"].as_array().map_or_else(|| events(input.as_array().unwrap()), pieces)
}

#[test]
fn streams() {
    each("stream", |dir, case| {
        dir.file("request.json", case["request"].to_string());
        let args = format!("convert --from openai-sse --profile {} --request request.json", profile(case));
        let done = dir.run_with(&args, &bytes(&case["input"]), &[]);
        if let Some(error) = case["expected"].get("http_error") {
            return is_error(error, &done);
        }
        let events = grammar::events(done.stdout.as_bytes())?;
        grammar::check(&events)?;
        let failed = events.iter().any(|e| e["type"] == "error");
        if done.code != Some(i32::from(failed)) {
            return Err(format!("exit code {:?}", done.code));
        }
        let expected = compare::joined(case["expected"].as_array().unwrap());
        same(&expected.into(), &compare::joined(&events).into())
    });
}

#[test]
fn errors() {
    each("error", |dir, case| {
        let input = &case["input"];
        let body = input["body"].as_str().map_or_else(|| input["body"].to_string(), str::to_owned);
        let args =
            format!("convert --from openai-error --status {} --profile {}", input["status"], profile(case));
        let done = dir.run_with(&args, body.as_bytes(), &[]);
        same(&case["expected"]["body"], &json(&done.stdout)?)?;
        let told = format!("HTTP {}", case["expected"]["status"]);
        if done.code == Some(0) && done.stderr.contains(&told) { Ok(()) } else { Err(format!("{done:?}")) }
    });
}
