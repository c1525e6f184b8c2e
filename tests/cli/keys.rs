//! Commands where clients have `keys` of their own and there is no `ak`.

use claude_proxy::config::Digest;

use crate::run::Dir;

fn file(keys: &str) -> String {
    format!(
        "{{\"keys\": [{keys}],\n \"providers\": [{{\"base_url\": \"http://127.0.0.1:1\", \"api_key\": \"\",\n  \
         \"models\": [{{\"id\": \"big\"}}, {{\"id\": \"small\"}}]}}]}}"
    )
}

fn hashed(key: &str) -> String {
    let digest = Digest::of(key.as_bytes()).0.map(|b| format!("{b:02x}")).concat();
    format!(r#"{{"name": "carol", "key_sha256": "{digest}"}}"#)
}

#[test]
fn env_prints_a_key_that_may_use_the_model() {
    let dir = Dir::new();
    let line = |done: &crate::run::Done| {
        let line = done.stdout.lines().find(|l| l.contains("ANTHROPIC_AUTH_TOKEN")).unwrap();
        line.split_once('=').unwrap().1.to_owned()
    };
    let alice = r#"{"name": "alice", "key": "open-alice", "models": ["small"]}"#;
    let bob = r#"{"name": "bob", "key": "${BOB}"}"#;
    dir.file("config.json", file(&format!("{}, {alice}, {bob}", hashed("open-carol"))));
    let env = [("BOB", "open-bob")];
    let run = |args: &str| dir.run_with(args, b"", &env).exits(0);
    assert_eq!(line(&run("env --shell bash")), "\"$BOB\"");
    assert_eq!(line(&run("env --shell bash --model small")), "open-alice");

    dir.file("config.json", file(&hashed("open-carol")));
    for env in [&[][..], &[("CLAUDE_PROXY_KEY", "another")]] {
        dir.run_with("env", b"", env).exits(1).says(&["put yours into CLAUDE_PROXY_KEY"]).prints_nothing();
    }
    let done = dir.run_with("env --shell bash", b"", &[("CLAUDE_PROXY_KEY", "open-carol")]).exits(0);
    assert_eq!(line(&done), "\"$CLAUDE_PROXY_KEY\"");
}

#[test]
fn check_config_shows_names_and_no_keys() {
    let dir = Dir::new();
    dir.file("config.json", file("{\"name\": \"ak\", \"key\": \"open-alice\", \"models\": [\"none\"]}"));
    let done = dir.run("check-config --format full").exits(1);
    let all = format!("{}{}", done.stdout, done.stderr);
    assert!(all.contains("\"name\": \"ak\", \"key\": \"••••••••••\", \"models\": [\"none\"]"), "{all}");
    assert!(
        all.contains("unknown-model") && all.contains("bad-value") && !all.contains("open-alice"),
        "{all}"
    );
}

#[cfg(unix)]
#[test]
fn a_file_with_such_keys_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = Dir::new();
    let open = |keys: &str| {
        dir.file("config.json", file(keys));
        std::fs::set_permissions(dir.0.join("config.json"), std::fs::Permissions::from_mode(0o644)).unwrap();
        dir.run("check-config").exits(0).stdout
    };
    let said = open(r#"{"name": "alice", "key": "open-alice"}"#);
    assert!(said.starts_with("config.json:1:36: warning[readable-by-others]"), "{said}");
    assert_eq!(open(&hashed("open-alice")), "");
}
