//! `convert`.

use crate::run::Dir;

const REQUEST: &str =
    r#"{"model":"claude-x","max_tokens":10,"top_k":5,"messages":[{"role":"user","content":"hi"}]}"#;

#[test]
fn a_request_becomes_a_request() {
    let dir = Dir::new();
    dir.file("request.json", REQUEST);
    let done = dir.run("convert request.json").exits(0);
    assert!(done.stdout.ends_with("}\n") && done.stderr.is_empty(), "{done:?}");
    let json = done.json();
    assert_eq!(json["model"], "claude-x");
    assert_eq!(json["messages"], serde_json::json!([{"role": "user", "content": "hi"}]));
    for args in ["convert", "convert -", "convert --from anthropic-request --to openai-request -"] {
        assert_eq!(dir.run_with(args, REQUEST.as_bytes(), &[]).exits(0).stdout, done.stdout, "{args}");
    }
    let with_bom = format!("\u{feff}\r\n{REQUEST}");
    assert_eq!(dir.run_with("convert", with_bom.as_bytes(), &[]).exits(0).stdout, done.stdout);
}

#[test]
fn losses_are_reported_on_demand() {
    let dir = Dir::new();
    dir.file("request.json", REQUEST);
    let done = dir.run("convert --report request.json").exits(0);
    assert_eq!(done.stderr, "top_k: dropped:top_k\n");
    dir.file("plain.json", REQUEST.replace("\"top_k\":5,", ""));
    dir.run("convert --report plain.json").exits(0).says(&["plain.json: nothing was lost"]);
}

#[test]
fn profiles_and_models_decide() {
    let dir = Dir::new();
    dir.file("request.json", REQUEST).file(
        "config.json",
        r#"{"aliases": {"claude-*": "m"}, "providers": [{"base_url": "https://api.openai.com", "api_key": "sk-1", "models":
          [{"id": "m", "remote_id": "gpt-5-mini", "extra_body": {"seed": 7}}]}]}"#,
    );
    let json = dir.run("convert --profile openai request.json").exits(0).json();
    assert_eq!((&json["max_completion_tokens"], &json["model"]), (&10.into(), &"claude-x".into()));
    for name in ["m", "claude-opus-4-6"] {
        let json = dir.run(&format!("convert --model {name} request.json")).exits(0).json();
        assert_eq!((&json["model"], &json["seed"]), (&"gpt-5-mini".into(), &7.into()));
        assert_eq!(json["max_completion_tokens"], 10);
    }
    dir.run("convert --model nope request.json")
        .exits(1)
        .prints_nothing()
        .says(&["no model `nope`", "known: m"]);
    let done = dir.run("convert --profile opnai request.json").exits(2).prints_nothing();
    done.says(&["unknown profile `opnai`", "did you mean `openai`?"]);
}

#[test]
fn output_files_are_whole_or_not_there() {
    let dir = Dir::new();
    dir.file("request.json", REQUEST).file("bad.json", "{\"messages\":[").file("old.json", "old");
    dir.run("convert -o out.json request.json").exits(0).prints_nothing();
    assert_eq!(dir.read("out.json"), dir.run("convert request.json").stdout);
    dir.run("convert -o old.json bad.json").exits(1).prints_nothing();
    assert_eq!(dir.read("old.json"), "old");
    dir.run("convert -o new.json bad.json").exits(1);
    dir.run("convert -o old.json request.json").exits(0);
    assert_eq!(dir.read("old.json"), dir.read("out.json"));
    dir.run("convert -o nowhere/x.json request.json").exits(1).says(&["cannot write nowhere"]);
    dir.run("convert -o . request.json").exits(2).says(&["is a directory"]);
    assert_eq!(dir.names(), ["bad.json", "old.json", "out.json", "request.json"]);
}

#[test]
#[cfg(unix)]
fn replaced_files_keep_their_permissions_and_links() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new();
    dir.file("request.json", REQUEST).file("target.json", "old");
    let target = dir.0.join("target.json");
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("target.json", dir.0.join("link.json")).unwrap();
    dir.run("convert -o link.json request.json").exits(0);
    assert!(dir.read("target.json").contains("\"messages\""));
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(dir.0.join("link.json").is_symlink());
    dir.run("convert -o /dev/null request.json").exits(0);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn bad_input_has_a_place_and_a_reason() {
    let dir = Dir::new();
    for (name, text, said) in [
        ("empty", "", "empty: the input is empty"),
        ("blank", " \n", "blank: the input is empty"),
        ("cut", "{\n \"messages\": [", "cut:2:15: byte 16: unexpected end of JSON"),
        ("comma", "{\"a\":1,\n}", "comma:2:1: byte 8: expected a key in double quotes"),
        ("text", "hello", "text:1:1: neither JSON"),
        ("list", "[1]", "list: cannot tell what this is"),
        ("object", "{\"x\":1}", "object: cannot tell what this is"),
        ("message", "{\"type\":\"message\"}", "message: this is an Anthropic message already"),
        (
            "tokens",
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
            "max_tokens: Field required",
        ),
        ("comments", ": hi\n\n: ho\n", "comments: 3 lines and no `data:` among them"),
    ] {
        dir.file(name, text);
        let done = dir.run(&format!("convert -o out {name}")).exits(1).prints_nothing();
        done.says(&["error: ", said]);
    }
    dir.file("latin", b"{\"messages\": \"\xe9\"}");
    dir.run("convert latin").exits(1).prints_nothing().says(&["latin:1:15: byte 14: not UTF-8"]);
    dir.run("convert missing.json").exits(1).says(&["cannot read missing.json"]);
    assert!(!dir.names().contains(&"out".to_owned()));
}

#[test]
fn options_that_do_not_fit_are_2() {
    let dir = Dir::new();
    dir.file("request.json", REQUEST);
    for args in [
        "convert .",
        "convert --to anthropic-message request.json",
        "convert --whole request.json",
        "convert --request request.json request.json",
        "convert --status 400 request.json",
        "convert --from nonsense request.json",
    ] {
        dir.run(args).exits(2).prints_nothing();
    }
    dir.run("convert .").says(&["directories are not supported yet"]);
}
