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
    dir.run("convert .").says(&["several inputs need a directory", "-o DIR"]);
}

const RESPONSE: &str = r#"{"model":"up","choices":[{"message":{"role":"assistant","content":"Hi","reasoning_content":"Hm"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;

#[test]
fn a_response_becomes_a_message_or_a_stream() {
    let dir = Dir::new();
    dir.file("response.json", RESPONSE).file("request.json", REQUEST);
    let json = dir.run("convert response.json").exits(0).json();
    assert_eq!((&json["type"], &json["model"]), (&"message".into(), &"up".into()));
    assert_eq!(json["content"][0]["thinking"], "Hm");
    assert_eq!(json["content"][1], serde_json::json!({"type": "text", "text": "Hi"}));
    // The request does not ask for thinking.
    let json = dir.run("convert --request request.json response.json").exits(0).json();
    assert_eq!((&json["model"], &json["content"][0]["text"]), (&"claude-x".into(), &"Hi".into()));
    let events = dir.run("convert --to anthropic-sse response.json").exits(0).stdout;
    assert!(events.starts_with("event: message_start\n") && events.contains("message_stop"), "{events}");
    // The same input gives the same ids.
    assert_eq!(dir.run("convert response.json").stdout, dir.run("convert response.json").stdout);
    assert_ne!(
        dir.run("convert response.json").json()["id"],
        json["id"].as_str().unwrap().replace("msg_", "")
    );
}

fn chunk(delta: &str, finish: &str) -> String {
    format!(r#"{{"model":"up","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#)
}

/// A stream in the usual form: events with their blank lines, and `[DONE]`.
fn capture() -> String {
    let chunks = [
        chunk(r#"{"role":"assistant","content":"Hel"}"#, "null"),
        chunk(r#"{"content":"lo"}"#, "null"),
        chunk("{}", "\"stop\""),
    ];
    let events = chunks.map(|c| format!("data: {c}\n\n")).concat();
    format!("{events}data: [DONE]\n\n")
}

#[test]
fn a_capture_becomes_events_or_one_message() {
    let dir = Dir::new();
    dir.file("a.sse", capture()).file("request.json", REQUEST);
    let events = dir.run("convert a.sse").exits(0).stdout;
    let names: Vec<&str> = events.lines().filter_map(|l| l.strip_prefix("event: ")).collect();
    assert_eq!(
        (names[0], names[1], names[names.len() - 1]),
        ("message_start", "content_block_start", "message_stop")
    );
    assert!(events.contains("Hel") && events.contains("\"model\":\"up\"") && events.ends_with("\n\n"));
    for args in ["convert --whole a.sse", "convert --to anthropic-message a.sse"] {
        let json = dir.run(args).exits(0).json();
        assert_eq!(
            (&json["content"][0]["text"], &json["stop_reason"]),
            (&"Hello".into(), &"end_turn".into())
        );
    }
    let json = dir.run("convert --whole --request request.json a.sse").exits(0).json();
    assert_eq!(json["model"], "claude-x");
    // Spellings of the same stream.
    let crlf = capture().replace('\n', "\r\n");
    let bare = capture().replace("\n\n", "\n");
    let bare_crlf = bare.replace('\n', "\r\n");
    let noisy = format!("\u{feff}: comment\n\nid: 1\nretry: 5\n{}", capture());
    let unfinished = capture().trim_end().to_owned();
    let tight = capture().replace("data: ", "data:");
    for (n, other) in [crlf, bare, bare_crlf, noisy, unfinished, tight].iter().enumerate() {
        assert_eq!(dir.run_with("convert", other.as_bytes(), &[]).exits(0).stdout, events, "spelling {n}");
    }
    dir.run("convert -o out.sse a.sse").exits(0).prints_nothing();
    assert_eq!(dir.read("out.sse"), events);
    dir.run("convert --whole --to anthropic-sse a.sse").exits(2).says(&["--whole"]);
}

#[test]
fn an_answer_that_is_an_error_is_told_as_the_client_is() {
    let dir = Dir::new();
    let error = r#"{"error":{"message":"no such key","code":"invalid_api_key"}}"#;
    let cut: String = capture().split_inclusive("\n\n").take(2).collect();
    dir.file("first.sse", format!("data: {error}\n\n"))
        .file("cut.sse", &cut)
        .file("torn.sse", format!("{cut}data: {{\"choices\""))
        .file("later.sse", format!("{cut}data: {error}\n\n"))
        .file("bad.json", r#"{"choices":[]}"#);
    // Before the stream begins: the HTTP answer.
    let done = dir.run("convert first.sse").exits(1).says(&["first.sse: the answer is an error: 401"]);
    assert_eq!(done.json()["error"]["type"], "authentication_error");
    // Later: an event, and nothing behind it.
    for name in ["cut.sse", "torn.sse", "later.sse"] {
        let done = dir.run(&format!("convert {name}")).exits(1).says(&["the answer is an error"]);
        assert!(done.stdout.contains("event: error\n") && !done.stdout.contains("message_stop"), "{done:?}");
        dir.run(&format!("convert -o out.sse {name}")).exits(1).prints_nothing();
        assert_eq!(dir.read("out.sse"), done.stdout);
    }
    dir.run("convert torn.sse")
        .says(&["warning: torn.sse:5: this event is cut off or no JSON object: skipped"]);
    let done = dir.run("convert --whole cut.sse").exits(1);
    assert_eq!(done.json()["type"], "error");
    let done = dir.run("convert bad.json").exits(1);
    assert_eq!(done.json()["error"]["type"], "api_error");
}

#[test]
fn an_error_becomes_an_error() {
    let dir = Dir::new();
    dir.file("e.json", r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#);
    let done = dir.run("convert e.json").exits(0).says(&["HTTP 429"]);
    assert_eq!(done.json()["error"], serde_json::json!({"type": "rate_limit_error", "message": "slow down"}));
    let json = dir.run("convert --status 503 e.json").exits(0).json();
    assert_eq!(json["error"]["type"], "overloaded_error");
    dir.file("e.html", "<html>Bad gateway</html>");
    dir.run("convert e.html").exits(1).prints_nothing().says(&["--from openai-error"]);
    let json = dir.run("convert --from openai-error --status 502 e.html").exits(0).json();
    assert_eq!(json["error"]["type"], "api_error");
    dir.run("convert --whole e.json").exits(2);
}

#[test]
fn events_come_while_the_input_is_still_open() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::Stdio;
    let dir = Dir::new();
    let mut child = crate::run::command(&dir.0, "convert -")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (first, rest) =
        capture().split_once("\n\n").map(|(a, b)| (format!("{a}\n\n"), b.to_owned())).unwrap();
    input.write_all(first.as_bytes()).unwrap();
    // Were it held back, this would wait for ever.
    let seen = lines.by_ref().map(Result::unwrap).find(|l| l.contains("Hel"));
    assert!(seen.is_some());
    input.write_all(rest.as_bytes()).unwrap();
    drop(input);
    assert!(lines.map(Result::unwrap).any(|l| l.contains("message_stop")));
    assert!(child.wait().unwrap().success());
}

#[test]
#[cfg(unix)]
fn directories_hold_more_than_files() {
    use std::os::unix::fs::symlink;
    let dir = Dir::new();
    std::fs::create_dir_all(dir.0.join("in/sub")).unwrap();
    dir.file("in/a.json", REQUEST).file("in/sub/b.json", REQUEST).file("elsewhere.json", REQUEST);
    symlink("../..", dir.0.join("in/sub/loop")).unwrap();
    symlink("nowhere", dir.0.join("in/broken")).unwrap();
    symlink("../elsewhere.json", dir.0.join("in/linked.json")).unwrap();
    // Reading a socket or a pipe that nobody writes to would wait for ever.
    let _socket = std::os::unix::net::UnixListener::bind(dir.0.join("in/socket")).unwrap();
    let done = dir.run("convert -o out in").exits(1).prints_nothing().says(&[
        "error: in/broken: cannot read it: ",
        "skipped: in/sub/loop: a link to a directory",
        "skipped: in/socket: neither a file nor a directory",
        "3 converted, 1 failed, 2 skipped, 3 with losses",
    ]);
    // Progress is for terminals.
    assert!(!done.stderr.contains(['\u{1b}', '\r']), "{done:?}");
    for name in ["out/in/a.json", "out/in/sub/b.json", "out/in/linked.json"] {
        assert_eq!(dir.read(name), dir.run("convert elsewhere.json").stdout, "{name}");
    }
    // A link to a directory that is named is followed.
    symlink("in/sub", dir.0.join("named")).unwrap();
    dir.run("convert --check named").exits(0).says(&["0 ok, 1 lossy, 0 failed, 1 skipped"]);
    std::fs::create_dir(dir.0.join("nothing")).unwrap();
    dir.run("convert -o out2 nothing").exits(1).says(&["there are no files below nothing"]);
    dir.file("nothing/x.txt", "x");
    dir.run("convert -o out2 nothing").exits(1).says(&["there was nothing to convert"]);
    assert!(!dir.0.join("out2").exists());
}

#[test]
fn outputs_of_many_are_whole_or_not_there() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.0.join("out")).unwrap();
    dir.file("good.json", REQUEST).file("bad.json", "{\"messages\":[").file("out/bad.json", "old");
    dir.run("convert -o out good.json bad.json").exits(1).says(&["1 converted, 1 failed"]);
    assert_eq!(
        (dir.read("out/bad.json").as_str(), dir.read("out/good.json").contains("claude-x")),
        ("old", true)
    );
    // Again, over what the first run wrote.
    dir.run("convert -o out good.json bad.json").exits(1).says(&["1 converted, 1 failed"]);
    let names: Vec<_> =
        std::fs::read_dir(dir.0.join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let done = dir.run_with("convert -o out - good.json", REQUEST.as_bytes(), &[]).exits(0);
    assert_eq!(dir.read("out/stdin.json"), dir.read("out/good.json"), "{done:?}");
    // An answer that is an error is written as the client gets it.
    dir.file("error.sse", "data: {\"error\":{\"message\":\"m\"}}\n\n");
    dir.run("convert -o out good.json error.sse")
        .exits(1)
        .says(&["error: error.sse: the answer is an error"]);
    assert!(dir.read("out/error.sse").contains("\"type\":\"error\""));
}

#[test]
fn a_diff_has_the_losses_on_demand_and_no_colour_in_a_pipe() {
    let dir = Dir::new();
    dir.file("request.json", REQUEST);
    let done = dir.run("convert --diff --report request.json").exits(0).says(&["top_k: dropped:top_k"]);
    assert!(done.stdout.contains("\n- \"top_k\": 5\n") && !done.stdout.contains('\u{1b}'), "{done:?}");
    let done = dir.run("convert --color always --diff request.json").exits(0);
    assert!(done.stdout.contains("\u{1b}[31m- \"top_k\": 5\u{1b}[0m\n"), "{done:?}");
    let done = dir.run_with("convert --diff", REQUEST.as_bytes(), &[]).exits(0);
    assert!(done.stdout.starts_with("--- <stdin>\n"), "{done:?}");
}
