//! The log: docs/logs.md against what the source says and what the program prints.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::sources::sources;
use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

fn doc() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md")).unwrap()
}

/// The first cells of a table whose head begins so.
fn fields(doc: &str, head: &str) -> Vec<String> {
    let rows = doc.lines().skip_while(|l| !l.starts_with(head)).skip(2);
    let names = rows.take_while(|l| l.starts_with('|')).map(|l| l.split('`').nth(1).unwrap().to_owned());
    let names: Vec<String> = names.collect();
    assert!(!names.is_empty(), "{head}");
    names
}

/// A line that the source can write: level, target, message and fields.
type Line = (String, String, String, Vec<String>);

/// The arguments of a macro, apart: commas in brackets and texts do not count.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut all = vec![String::new()];
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        all.last_mut().unwrap().push(c);
    }
    all.iter().map(|a| a.trim().to_owned()).filter(|a| !a.is_empty()).collect()
}

fn lines_of(module: &str, source: &str) -> Vec<Line> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut out = Vec::new();
    for level in ["error", "warn", "info"] {
        for rest in source.split(&format!("tracing::{level}!(")).skip(1) {
            let (mut target, mut message, mut fields) = (module.to_owned(), String::new(), Vec::new());
            for argument in arguments(rest) {
                if let Some(named) = argument.strip_prefix("target: ") {
                    let own =
                        if named == "TARGET" { "claude_proxy::request" } else { named.trim_matches('"') };
                    own.clone_into(&mut target);
                } else if argument.starts_with('"') {
                    argument.trim_matches('"').clone_into(&mut message);
                } else if message.is_empty() {
                    let name = argument.split('=').next().unwrap();
                    fields.push(name.trim_matches([' ', '%', '?']).to_owned());
                }
            }
            out.push((level.to_owned(), target, message, fields));
        }
    }
    out
}

/// Every line from `INFO` on that the source can write.
fn lines() -> Vec<Line> {
    let of = |(file, source): &(String, String)| {
        let name = file.trim_end_matches(".rs").replace('/', "::");
        let module = format!("claude_proxy::{}", name.strip_suffix("::mod").unwrap_or(&name));
        lines_of(&module, source)
    };
    sources().iter().flat_map(of).collect()
}

#[test]
fn every_line_and_every_field_is_documented() {
    let doc = doc();
    let mut expected = BTreeSet::new();
    for (level, target, message, fields) in lines() {
        if target == "claude_proxy::body" {
            assert_eq!(fields, self::fields(&doc, "| field of a body |"));
        } else if target == "claude_proxy::request" {
            assert_eq!(fields, self::fields(&doc, &format!("| field of `{message}` |")), "{message}");
        } else {
            let fields: Vec<String> = fields.iter().map(|f| format!("`{f}`")).collect();
            expected.insert(format!("| {level} | `{target}` | {message} | {} |", fields.join(", ")));
        }
    }
    let told = doc.lines().skip_while(|l| !l.starts_with("| level |")).skip(2);
    let told: BTreeSet<String> = told
        .take_while(|l| l.starts_with('|'))
        .map(|l| {
            format!("{}|", l.replace("|  |", "| |").rsplitn(3, '|').nth(2).unwrap()).replace("| |", "|  |")
        })
        .collect();
    assert!(expected.len() > 25, "{expected:?}");
    let difference =
        |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join("\n");
    assert_eq!(
        (difference(&expected, &told), difference(&told, &expected)),
        (String::new(), String::new()),
        "(not in docs/logs.md, only there)"
    );
}

#[test]
fn a_new_field_would_be_noticed() {
    let found = lines_of(
        "claude_proxy::m",
        "tracing::warn!(request_id = %self.id(a, \"b, c\"), %error, x = y(|z| z), \"it, (failed): {why}\", why = 1);",
    );
    let fields = ["request_id", "error", "x"].map(str::to_owned).to_vec();
    let line = ("warn", "claude_proxy::m", "it, (failed): {why}");
    assert_eq!(found, [(line.0.to_owned(), line.1.to_owned(), line.2.to_owned(), fields)]);
}

/// One request with all that a line may have, one that fails, and one that is refused.
fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            if body.contains("break it") {
                conn.write(http(401, &[("content-type", "application/json")], "{}"));
            } else {
                conn.write(ok(&completion("hello")));
            }
        }
    })
}

fn config(up: &Upstream) -> String {
    json!({"port": 0, "vision_model": "eye", "providers": [{"name": "up", "base_url": up.base(), "api_key": "",
        "models": [{"id": "m", "vision": false, "fallbacks": ["eye"]}, {"id": "eye"}]}]})
    .to_string()
}

/// Asks for all kinds of lines; gives the ids of the requests.
fn exercise(program: &Program) -> Vec<String> {
    let image = json!({"type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aW1hZ2U="}});
    let trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let of = |content: Value| json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    let mut ids = Vec::new();
    for body in [of(json!([image])), of(json!("break it")), json!({"model": "x"})] {
        let answer = ask(program.addr(), "POST", "/v1/messages", &[trace], body.to_string().as_bytes());
        ids.push(answer.header("request-id").unwrap().to_owned());
    }
    ids
}

#[test]
fn both_formats_print_the_documented_fields_and_the_id_of_the_request() {
    let doc = doc();
    let up = upstream();
    for format in ["json", "text"] {
        let program = Program::start(&["serve", "--log-format", format], &config(&up));
        let ids = exercise(&program);
        eventually("the last line", || {
            program.output().contains(&format!("{}\"", ids[2]))
                || program.output().matches("total_ms").count() == 4
        });
        let output = program.output();
        let log: Vec<&str> = output.lines().filter(|l| l.contains("claude_proxy::")).collect();
        let of = |line: &str| -> (String, BTreeSet<String>) {
            if format == "json" {
                let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
                let mut names: BTreeSet<String> = line.as_object().unwrap().keys().cloned().collect();
                for always in ["timestamp", "level", "target"] {
                    assert!(names.remove(always), "{line}");
                }
                let message =
                    if names.remove("message") { line["message"].as_str().unwrap() } else { "a body" };
                return (message.to_owned(), names);
            }
            let (_, said) = line.split_once(": ").unwrap();
            let message = ["side request", "request", "asking a fallback", "listening"]
                .into_iter()
                .find(|m| said.starts_with(&format!("{m} ")))
                .unwrap_or(if line.contains("claude_proxy::body") { "a body" } else { "another" });
            // Of bodies only the beginning: what follows is somebody's text.
            let fields = if message == "a body" { said.split(" body=").next().unwrap() } else { said };
            let names = fields.split(' ').filter_map(|word| Some(word.split_once('=')?.0.to_owned()));
            (message.to_owned(), names.chain((message == "a body").then(|| "body".to_owned())).collect())
        };
        let mut kinds = BTreeSet::new();
        for line in &log {
            let (message, names) = of(line);
            let quoted = if message == "a body" { message.clone() } else { format!("`{message}`") };
            if doc.contains(&format!("| field of {quoted} |")) {
                let known: BTreeSet<String> =
                    fields(&doc, &format!("| field of {quoted} |")).into_iter().collect();
                assert!(names.is_subset(&known), "{names:?} in {line}");
                let optional = |name: &&String| {
                    let row = format!("| `{name}` |");
                    doc.lines().any(|l| l.starts_with(&row) && l.contains("where there is some"))
                };
                let missing: Vec<_> = known.difference(&names).filter(|name| !optional(name)).collect();
                assert!(missing.is_empty(), "{missing:?} in {line}");
            }
            let level = line.contains("WARN") || line.contains("ERROR");
            if level && !line.contains("claude_proxy::upstream::health") {
                assert!(ids.iter().any(|id| line.contains(id)), "{line}");
            }
            kinds.insert(message);
        }
        for kind in ["a body", "asking a fallback", "listening", "request", "side request"] {
            assert!(kinds.contains(kind), "{kind} in {output}");
        }
        for id in &ids {
            let said = log.iter().filter(|l| l.contains(id.as_str()) && of(l).0 == "request").count();
            assert_eq!(said, 1, "{id} in {output}");
        }
    }
}

#[cfg(unix)]
#[test]
fn levels_count_by_target() {
    let up = upstream();
    let counts = |level: &str| {
        let program = Program::start(&["serve", "--log-format", "json", "--log-level", level], &config(&up));
        exercise(&program);
        program.signal("TERM");
        let (_, output) = program.end();
        let log: Vec<Value> = output.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let of =
            |target: &str| log.iter().filter(|l| l["target"].as_str().unwrap().starts_with(target)).count();
        [
            of("claude_proxy::request"),
            of("claude_proxy::body"),
            of("claude_proxy::server::failover"),
            of("claude_proxy::cli"),
            log.iter().filter(|l| l["level"] == "DEBUG").count(),
        ]
    };
    let [requests, bodies, fallbacks, process, debug] = counts("info");
    assert_eq!((requests, fallbacks, debug), (4, 1, 0));
    assert!(bodies >= 5 && process == 2, "{bodies} {process}");
    assert_eq!(counts("info,claude_proxy::body=off"), [4, 0, 1, 2, 0]);
    assert_eq!(counts("warn,claude_proxy::request=info"), [4, 0, 1, 0, 0]);
    assert_eq!(counts("claude_proxy::request=info"), [4, 0, 0, 0, 0]);
    assert_eq!(counts("info,claude_proxy::request=off"), [0, bodies, 1, 2, 0]);
    assert_eq!(counts("error"), [0; 5]);
    assert_eq!(counts("off"), [0; 5]);
    let [requests, none, _, _, debug] = counts("warn,claude_proxy::server=debug");
    assert!((requests, none) == (0, 0) && debug > 0, "{requests} {none} {debug}");
}
