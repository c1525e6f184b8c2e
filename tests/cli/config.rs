//! `check-config` and `models`.

use std::fs;
use std::path::Path;

use crate::run::Dir;

const GOOD: &str = r#"{"providers": [{"name": "up", "base_url": "http://127.0.0.1:1", "api_key": "", "models":
  [{"id": "a", "display_name": "Model A", "remote_id": "remote-a"}, {"id": "longer-name"}]}]}"#;
const WARNS: &str = "{\n  \"prot\": 1,\n  \"providers\": [{\"base_url\": \"http://h\", \"api_key\": \"\", \"models\": [{\"id\": \"a\"}]}]\n}";
const BAD: &str = "{\n  \"port\": \"x\",\n  \"ak\": [\"sk-secret\"],\n  \"providers\": []\n}";

#[test]
fn findings_are_on_stdout_with_their_place() {
    let dir = Dir::new();
    dir.file("config.json", BAD);
    let done = dir.run("check-config").exits(1).says(&["failed config.json: 3 errors, 0 warnings"]);
    assert_eq!(
        done.stdout,
        "config.json:2:11: error[wrong-type]: `port` should be a whole number from 0 to 65535, found a string\n\
         config.json:3:9: error[wrong-type]: `ak` should be a string, found a list\n\
         config.json:4:16: error[no-providers]: `providers` is empty: at least one upstream is needed\n"
    );
    assert!(dir.run("check-config -q").exits(1).stderr.is_empty());
}

#[test]
fn warnings_fail_only_when_strict() {
    let dir = Dir::new();
    dir.file("config.json", WARNS).file("good.json", GOOD);
    let done = dir.run("check-config").exits(0).says(&["ok config.json: 1 model, 1 warning"]);
    assert_eq!(
        done.stdout,
        "config.json:2:3: warning[unknown-key]: unknown key `prot` in the top level, did you mean `port`?\n"
    );
    dir.run("check-config --strict").exits(1);
    dir.run("check-config --strict good.json").exits(0).prints_nothing();
    // A note is no warning.
    dir.file("v1.json", GOOD.replace(":1\"", ":1/v1\""));
    let done = dir.run("check-config --strict v1.json").exits(0);
    assert!(done.stdout.starts_with("v1.json:1:43: note[default-path]: "), "{done:?}");
}

#[test]
fn several_files_in_one_run() {
    let dir = Dir::new();
    dir.file("a.json", GOOD).file("b.json", BAD).file("c.json", "{");
    let done = dir.run("check-config a.json b.json c.json missing.json").exits(1);
    assert!(done.stdout.contains("b.json:2:11: error") && done.stdout.contains("c.json:1:2: error[syntax]"));
    done.says(&["ok a.json: 2 models, 0 warnings", "cannot read the configuration missing.json"]);
}

#[test]
fn json_findings() {
    let dir = Dir::new();
    dir.file("config.json", BAD);
    let json = dir.run("check-config --json").exits(1).json();
    assert_eq!((&json["errors"], &json["warnings"]), (&3.into(), &0.into()));
    let first = &json["findings"][0];
    assert_eq!(
        (
            &first["file"],
            &first["line"],
            &first["column"],
            &first["severity"],
            &first["code"],
            &first["path"]
        ),
        (&"config.json".into(), &2.into(), &11.into(), &"error".into(), &"wrong-type".into(), &"port".into())
    );
    let json = dir.run_with("check-config --json -", GOOD.as_bytes(), &[]).exits(0).json();
    assert_eq!(json["findings"], serde_json::json!([]));
    let json = dir.run("check-config --json missing.json").exits(1).says(&["cannot read"]).json();
    assert_eq!((&json["errors"], &json["findings"][0]["code"]), (&1.into(), &"unreadable".into()));
}

#[test]
fn the_file_is_found_by_flag_then_variable_then_name() {
    let dir = Dir::new();
    dir.run("models").exits(1).prints_nothing().says(&[
        "config.json",
        "--config",
        "CONFIG_PATH",
        "serve --demo",
    ]);
    let other = |id: &str| GOOD.replace("\"a\"", &format!("\"{id}\""));
    dir.file("config.json", other("from-name"))
        .file("v.json", other("from-variable"))
        .file("f.json", other("flag"));
    let has = |args: &str, env: &[(&str, &str)], id: &str| {
        let done = dir.run_with(args, b"", env).exits(0);
        assert!(done.stdout.contains(id), "{done:?}");
    };
    has("models", &[], "from-name");
    has("models", &[("CONFIG_PATH", "")], "from-name");
    has("models", &[("CONFIG_PATH", "v.json")], "from-variable");
    has("models --config f.json", &[("CONFIG_PATH", "v.json")], "flag");
    has("--config f.json models", &[], "flag");
}

#[test]
fn models_table_and_json() {
    let dir = Dir::new();
    dir.file("config.json", GOOD);
    assert_eq!(
        dir.run("models").exits(0).stdout,
        "ID           NAME         PROVIDER  REMOTE ID    PROFILE\n\
         a            Model A      up        remote-a     generic\n\
         longer-name  longer-name  up        longer-name  generic\n"
    );
    let json = dir.run("models --json").exits(0).json();
    assert_eq!(
        json["models"][0],
        serde_json::json!({"id": "a", "display_name": "Model A", "provider": "up", "remote_id": "remote-a", "profile": "generic"})
    );
    assert!(dir.run("models --color always").exits(0).stdout.starts_with("\u{1b}["));
}

#[test]
fn a_bad_config_is_told_like_check_config() {
    let dir = Dir::new();
    dir.file("config.json", BAD);
    let done = dir.run("models").exits(1).prints_nothing();
    done.says(&[
        "error: the configuration has errors",
        "config.json:2:11: error[wrong-type]",
        "config.json:4:16",
    ]);
}

#[test]
fn the_example_is_fine() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.json");
    let text = fs::read_to_string(&example).unwrap();
    let names: Vec<&str> = text.split("${").skip(1).filter_map(|t| t.split('}').next()).collect();
    assert!(names.len() >= 2, "{names:?}");
    // Each its own: a key used twice is a finding.
    let keys: Vec<String> = (0..names.len()).map(|n| format!("sk-{n}")).collect();
    let env: Vec<(&str, &str)> = names.iter().copied().zip(keys.iter().map(String::as_str)).collect();
    let dir = Dir::new();
    dir.file("config.json", &text);
    let done = dir.run_with("check-config --strict", b"", &env).exits(0);
    assert!(!done.stdout.contains("error") && !done.stdout.contains("warning"), "{done:?}");
    // Without its variables every one of them is named.
    let mut command = crate::run::command(&dir.0, "check-config");
    for name in &names {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    for name in names {
        assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("`{name}` is not set")));
    }
}
