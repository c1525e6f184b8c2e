//! `check-config`: what a transcript cannot show, and whether other programs can read what it writes.

use std::fs;

use claude_proxy::config::Code;

use crate::run::Dir;

fn with_key(key: &str) -> String {
    format!(
        r#"{{"providers": [{{"base_url": "https://h", "api_key": "{key}", "models": [{{"id": "a"}}]}}]}}"#
    )
}

#[cfg(unix)]
#[test]
fn a_file_with_a_key_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = Dir::new();
    let found = |key: &str, mode: u32| {
        dir.file("config.json", with_key(key));
        fs::set_permissions(dir.0.join("config.json"), fs::Permissions::from_mode(mode)).unwrap();
        dir.run_with("check-config", b"", &[("KEY", "sk-4f1d9c07")]).exits(0).stdout
    };
    let told = found("sk-4f1d9c07", 0o644);
    assert!(
        told.starts_with("config.json:1:53: warning[readable-by-others]: this key can be read"),
        "{told}"
    );
    assert!(told.contains("mode is 0644") && told.contains("chmod 600 config.json"), "{told}");
    for (key, mode) in [("sk-4f1d9c07", 0o600), ("sk-4f1d9c07", 0o640), ("${KEY}", 0o644), ("", 0o644)] {
        assert_eq!(found(key, mode), "", "{key} {mode:o}");
    }
    // Nobody else reads a pipe.
    let text = with_key("sk-4f1d9c07");
    assert_eq!(dir.run_with("check-config -", text.as_bytes(), &[]).exits(0).stdout, "");
}

#[test]
fn serve_and_models_tell_the_same_things() {
    let dir = Dir::new();
    dir.file("config.json", with_key("sk-4f1d9c07").replace("\"h", "\"").replace("https://", "h"));
    let checked = dir.run("check-config --format short").exits(1);
    let line = checked.stdout.lines().find(|l| l.contains("error[bad-url]")).unwrap();
    assert!(line.ends_with("; write `https://HOST`, or `http://` for a server of your own"), "{line}");
    for command in ["models", "serve"] {
        dir.run(command).exits(1).says(&[line]);
    }
}

#[test]
fn keys_are_in_no_format() {
    let dir = Dir::new();
    let text = "{\"ak\": [\"sk-sentinel-1\"], \"providers\": [{\"base_url\": \"https://u:sentinel-2@h?k=sentinel-3\", \
                \"api_key\": \"sk-sentinel-4\\n\", \"headers\": {\"a\": \"sentinel-5\\n\"}, \"proxy_url\": \"ftp://u:sentinel-6@p\", \
                \"models\": [{\"id\": \"a\", \"name\": \"sk-sentinel-0123456789abcdef\"}]}]";
    dir.file("config.json", format!("{text}}}")).file("broken.json", text);
    for format in ["text", "full", "short", "json", "github", "sarif"] {
        let done = dir.run(&format!("check-config --format {format} config.json broken.json")).exits(1);
        assert!(done.stdout.contains("bad-url") && done.stdout.contains("syntax"), "{done:?}");
        assert!(!format!("{done:?}").contains("sentinel"), "{done:?}");
    }
}

#[test]
fn sarif_is_what_code_scanning_wants() {
    let dir = Dir::new();
    dir.file("a b.json", "{\n  \"port\": \"x\",\n  \"prot\": 1\n}").file("fine.json", with_key("").as_str());
    let log = dir.run_with("check-config --format sarif -- fine.json", b"", &[]).exits(0).json();
    assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
    let output = crate::run::command(&dir.0, "check-config --format sarif").arg("a b.json").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), Code::ALL.len());
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.json");
        assert!(place["region"]["endColumn"].as_u64() > place["region"]["startColumn"].as_u64());
        assert_eq!(result["partialFingerprints"].as_object().unwrap().len(), 1);
    }
    assert_eq!(results[1]["ruleId"], "wrong-type");
    assert_eq!(
        results[1]["locations"][0]["physicalLocation"]["region"],
        serde_json::json!({"startLine": 2, "startColumn": 11, "endLine": 2, "endColumn": 14})
    );
}

#[test]
fn the_width_of_the_terminal_is_kept() {
    let dir = Dir::new();
    let long = format!("{{\"x\": \"{}\", \"prot\": 1, \"y\": \"{}\"}}", "a".repeat(300), "b".repeat(300));
    dir.file("config.json", long);
    for columns in ["40", "80", "200"] {
        let done = dir.run_with("check-config --format full", b"", &[("COLUMNS", columns)]).exits(1);
        for line in done.stdout.lines().filter(|l| l.contains(" | ")) {
            assert!(line.chars().count() <= columns.parse::<usize>().unwrap(), "{columns}: {line}");
        }
        assert!(done.stdout.contains("\"prot\": 1"), "{done:?}");
    }
}
