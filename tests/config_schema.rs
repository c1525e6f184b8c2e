//! The JSON Schema of config.json: committed, current, and of one mind with check-config.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::env::VarError;
use std::fs;
use std::path::Path;

use claude_proxy::config::{Code, Severity, check, keys, schema::schema};
use serde_json::{Map, Value, json};

fn repository(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn env(name: &str) -> Result<String, VarError> {
    if name == "UNSET" { Err(VarError::NotPresent) } else { Ok("from-the-environment".to_owned()) }
}

fn valid(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap();
    jsonschema::validator_for(&schema()).unwrap().is_valid(&value)
}

#[test]
fn the_committed_schema_is_current() {
    let committed: Value = serde_json::from_str(&repository("config.schema.json")).unwrap();
    assert!(
        committed == schema(),
        "config.schema.json is old: run `cargo run -- check-config --schema > config.schema.json`"
    );
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn every_key_is_in_it_with_a_description() {
    let schema = schema();
    let definition = |name: &str| &schema["definitions"][name];
    let named = ["Provider", "Model", "WebSearch", "Threads"].map(definition);
    let objects = [&schema].into_iter().chain(named);
    for (object, keys) in objects.into_iter().zip(keys()) {
        let properties = object["properties"].as_object().unwrap();
        let known: Vec<&str> = properties.keys().map(String::as_str).filter(|k| *k != "$schema").collect();
        assert_eq!(known, keys);
        for (key, property) in properties {
            assert!(property["description"].as_str().unwrap().len() > 10, "{key}");
        }
        assert_eq!(object["additionalProperties"], false);
    }
}

#[test]
fn the_defaults_are_those_of_the_program() {
    let plain = r#"{"providers": [{"base_url": "https://h", "api_key": "", "models": [{"id": "m"}]}]}"#;
    let mut full: Value = serde_json::from_str(plain).unwrap();
    let mut count = 0;
    let schema = schema();
    let mut fill = |object: &mut Value, of: &Value| {
        let properties = of["properties"].as_object().unwrap();
        let defaults: Map<String, Value> =
            properties.iter().filter_map(|(k, p)| Some((k.clone(), p.get("default")?.clone()))).collect();
        count += defaults.len();
        object.as_object_mut().unwrap().extend(defaults);
    };
    fill(&mut full, &schema);
    fill(&mut full["providers"][0], &schema["definitions"]["Provider"]);
    fill(&mut full["providers"][0]["models"][0], &schema["definitions"]["Model"]);
    assert!(count >= 18, "{count}");
    let of = |text: &str| {
        let checked = check(text, &env);
        assert!(checked.findings.is_empty(), "{:#?}", checked.findings);
        format!("{:?}", checked.config.unwrap())
    };
    assert_eq!(of(plain), of(&full.to_string()));
}

#[test]
fn the_example_is_valid_and_refers_to_it() {
    let example = repository("config.example.json");
    assert!(valid(&example));
    assert!(example.contains("\"$schema\": \"./config.schema.json\""));
    assert!(check(&example, &env).config.is_some());
}

/// What check-config says that a schema can say too: types, names of keys, ranges.
const SHARED: &[Code] = &[
    Code::WrongType,
    Code::MissingKey,
    Code::UnknownKey,
    Code::OutOfRange,
    Code::BadValue,
    Code::UnknownProfile,
    Code::NoProviders,
    Code::BadUrl,
];

#[test]
fn it_says_what_check_config_says() {
    let whole = |top: &str, provider: &str, model: &str| {
        format!(
            r#"{{{top}"providers": [{{{provider}"base_url": "https://h", "api_key": "k", "models": [{{{model}"id": "m"}}]}}]}}"#
        )
    };
    let mut files: Vec<(bool, String)> = Vec::new();
    for (good, top) in [
        (true, r#""$schema": "x", "ak": "${KEY}", "host": "::", "port": 0,"#),
        (
            true,
            r#""upstream_timeout_seconds": 1.5, "ping_interval_seconds": 0, "shutdown_grace_seconds": 0,"#,
        ),
        (true, r#""aliases": {"a*": "m"}, "default_model": "m", "workers": 4, "log_body_max_chars": 0,"#),
        (false, r#""port": 65536,"#),
        (false, r#""port": -1,"#),
        (false, r#""port": "8888","#),
        (false, r#""port": 1.5,"#),
        (false, r#""prot": 1,"#),
        (false, r#""upstream_timeout_seconds": 0,"#),
        (false, r#""connect_timeout_seconds": -1,"#),
        (false, r#""stream_idle_timeout_seconds": 1e10,"#),
        (false, r#""workers": 0,"#),
        (false, r#""max_body_bytes": 0,"#),
        (false, r#""aliases": ["m"],"#),
        (false, r#""aliases": {"a": 1},"#),
        (false, r#""default_model": 1,"#),
        (false, r#""ak": ["x"],"#),
    ] {
        files.push((good, whole(top, "", "")));
    }
    for (good, provider) in [
        (true, r#""name": "x", "profile": "zai", "api": "openai", "headers": {"a": "b"},"#),
        (true, r#""profile": "${PROFILE}", "completions_path": "/x?y=1","#),
        (false, r#""profile": "deepseak","#),
        (false, r#""api": "grpc","#),
        (false, r#""name": "","#),
        (false, r#""headers": {"a": 1},"#),
        (false, r#""completions_path": "x","#),
        (false, r#""api_kye": "x","#),
    ] {
        files.push((good, whole("", provider, "").replace("${PROFILE}", if good { "zai" } else { "" })));
    }
    for (good, model) in [
        (true, r#""display_name": "M", "remote_id": "r", "max_output_tokens": 1, "context_window": 2,"#),
        (
            true,
            r#""vision": true, "tools": false, "reasoning": false, "extra_body": {"a": [1]}, "drop_params": [],"#,
        ),
        (true, r#""fallbacks": [],"#),
        (true, r#""fallbacks": ["m"],"#),
        (false, r#""fallbacks": "m","#),
        (false, r#""max_output_tokens": 0,"#),
        (false, r#""context_window": 1.5,"#),
        (false, r#""vision": "yes","#),
        (false, r#""extra_body": [],"#),
        (false, r#""drop_params": [1],"#),
        (false, r#""remote_id": "","#),
        (false, r#""vison": true,"#),
    ] {
        files.push((good, whole("", "", model)));
    }
    for (good, text) in [
        (false, "{}"),
        (false, "[]"),
        (false, r#"{"providers": []}"#),
        (false, r#"{"providers": [{}]}"#),
        (false, r#"{"providers": [{"base_url": "https://h", "models": []}]}"#),
        (false, r#"{"providers": [{"base_url": "h", "api_key": "", "models": []}]}"#),
        (false, r#"{"providers": [{"base_url": "https://h?x", "api_key": "", "models": []}]}"#),
        (true, r#"{"providers": [{"base_url": "HTTP://h/v1", "api_key": "", "models": []}]}"#),
        (true, r#"{"providers": [{"base_url": "http://h", "api_keys": ["a", "b"], "models": []}]}"#),
        (false, r#"{"providers": [{"base_url": "http://h", "api_keys": [], "models": []}]}"#),
        (false, r#"{"providers": [{"base_url": "http://h", "api_keys": ["a", ""], "models": []}]}"#),
        (false, r#"{"providers": [{"base_url": "http://h", "api_keys": [1], "models": []}]}"#),
        (
            false,
            r#"{"providers": [{"base_url": "http://h", "api_key": "c", "api_keys": ["a"], "models": []}]}"#,
        ),
        (false, r#"{"providers": [{"base_url": "http://h", "models": []}]}"#),
    ] {
        files.push((good, text.to_owned()));
    }
    for (good, text) in files {
        let found = check(&text, &env).findings;
        let told = found.iter().any(|f| SHARED.contains(&f.code) && f.severity > Severity::Note);
        assert_eq!((valid(&text), !told), (good, good), "{text}\n{found:#?}");
    }
}

#[test]
fn variables_may_stand_anywhere_a_string_does() {
    let text = json!({"ak": "${A}", "providers": [{"base_url": "${SCHEME}://${HOST}", "api_key": "${K}",
        "completions_path": "${P}", "profile": "${Q}", "api": "${R}", "models": [{"id": "${M}"}]}]});
    assert!(valid(&text.to_string()));
}
