//! `ping-upstream` and `models --remote` against upstreams that misbehave.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::run::{Dir, Done};
use crate::upstream::{
    Counter, Upstream, call, calls, error, events, free_port, good, message, ok, probe, said, sse,
};

const KEY: &str = "sk-0123456789abcdef";

/// A directory with a configuration of one model, `m`.
fn dir(base_url: &str, more: &Value) -> Dir {
    let mut provider = json!({"name": "up", "base_url": base_url, "api_key": KEY, "models": [{"id": "m"}]});
    provider.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let dir = Dir::new();
    dir.file("config.json", json!({"providers": [provider]}).to_string());
    dir
}

fn ping(upstream: &Upstream, args: &str) -> Done {
    dir(&upstream.url(), &json!({})).run(&format!("ping-upstream m {args}"))
}

/// Probe to `result: detail`.
fn table(done: &Done) -> BTreeMap<String, String> {
    let ping = &done.json()["pings"][0];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let line = |p: &Value| format!("{}: {}", text(&p["result"]), text(&p["detail"]));
    ping["probes"].as_array().unwrap().iter().map(|p| (text(&p["probe"]), line(p))).collect()
}

#[track_caller]
fn finds(table: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (probe, line) in expected {
        assert_eq!(table.get(*probe).map(String::as_str), Some(*line), "{probe} in {table:#?}");
    }
}

/// The error and the hint of a ping that fails.
#[track_caller]
fn failure(done: Done) -> (String, String) {
    let done = done.exits(1);
    assert!(!done.stdout.contains(KEY) && !done.stderr.contains(KEY), "the key is shown: {done:#?}");
    let ping = &done.json()["pings"][0];
    let text = |key: &str| ping[key].as_str().unwrap_or_default().to_owned();
    (text("error"), text("hint"))
}

#[test]
fn a_model_that_can_do_everything() {
    let upstream = Upstream::start(good);
    let done = ping(&upstream, "--json").exits(0);
    let table = table(&done);
    assert_eq!(table.len(), 12);
    let other: Vec<_> = table.iter().filter(|(_, line)| *line != "yes: ").collect();
    let reasoning = (&"reasoning".to_owned(), &"yes: `reasoning_content`".to_owned());
    assert_eq!(other, [reasoning]);
    let ping = &done.json()["pings"][0];
    assert_eq!(ping["suggest"], json!({"provider": {}, "model": {}}));
    assert_eq!(ping["fits"]["profile"], "generic");
    // What is said to be spent is what was sent.
    let asked = upstream.seen().iter().filter(|s| !s.body.is_null()).count();
    assert_eq!(ping["cost"]["requests"], asked);
    assert!(upstream.seen().iter().all(|s| s.key.as_deref() == Some(&format!("Bearer {KEY}"))));
    // No progress bar where there is no terminal.
    assert_eq!(done.stderr, "");
}

#[test]
fn every_key_of_a_provider_is_tried() {
    const OTHER: &str = "sk-another-9876543210";
    let bearer = |key: &str| Some(format!("Bearer {key}"));
    let several = |upstream: &Upstream, keys: &[&str]| {
        let dir = Dir::new();
        let provider =
            json!({"name": "up", "base_url": upstream.url(), "api_keys": keys, "models": [{"id": "m"}]});
        dir.file("config.json", json!({"providers": [provider]}).to_string());
        dir
    };
    // The first one is refused; what it can do is found out with the second.
    let upstream = Upstream::start(move |seen| {
        if seen.key == bearer(KEY) { error(401, &format!("no such key: {KEY}")) } else { good(seen) }
    });
    let dir = several(&upstream, &[KEY, OTHER]);
    let done = dir.run("ping-upstream m --json").exits(1);
    assert!(!done.stdout.contains(KEY) && !done.stdout.contains(OTHER), "{done:#?}");
    let ping = &done.json()["pings"][0];
    assert_eq!((&ping["ok"], &ping["error"], &ping["status"]), (&json!(false), &json!(null), &json!(200)));
    assert_eq!(
        ping["keys"],
        json!([
            {"key": 1, "ok": false,
                "error": "HTTP 401: the key of provider `up` was refused by the upstream: no such key: [key]"},
            {"key": 2, "ok": true, "error": null},
        ])
    );
    assert_eq!(table(&done).len(), 12);
    let asked = upstream.seen().iter().filter(|s| !s.body.is_null()).count();
    assert_eq!(ping["cost"]["requests"], asked);
    let done = dir.run("ping-upstream --quick m").exits(1);
    assert!(done.stdout.contains("key 1 of 2              fails: HTTP 401: "), "{done:#?}");
    assert!(done.stdout.contains("key 2 of 2              ok\n"), "{done:#?}");
    dir.run("ping-upstream --suggest m").exits(1).says(&["model `m`: key 1 of the provider fails: HTTP 401"]);
    // The list is had with whichever key works.
    let before = upstream.seen().len();
    assert!(dir.run("models --remote").exits(0).stdout.contains("listed"));
    assert_eq!(upstream.seen().len() - before, 2);

    let upstream = Upstream::start(|_| error(401, "no such key"));
    let (message, hint) = failure(several(&upstream, &[KEY, OTHER]).run("ping-upstream m --json"));
    assert!(message.contains("no such key") && hint.contains("check `api_keys`"), "{message} {hint}");
    let upstream = Upstream::start(good);
    let done = several(&upstream, &[KEY, OTHER]).run("ping-upstream m --json --quick").exits(0);
    assert!(done.json()["pings"][0]["keys"].as_array().unwrap().iter().all(|key| key["ok"] == true));
}

/// The reference names every key of the JSON, every probe and every time.
#[test]
fn the_reference_is_whole() {
    fn keys(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| {
                out.push(key.clone());
                keys(value, out);
            }),
            Value::Array(all) => all.iter().for_each(|value| keys(value, out)),
            _ => {}
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = |name: &str| {
        let (_, rest) = text.split_once(&format!("\n## {name}\n")).unwrap();
        rest.split("\n## ").next().unwrap().to_owned()
    };
    let upstream = Upstream::start(good);
    let done = ping(&upstream, "--json").exits(0).json();
    let mut told = Vec::new();
    keys(&done, &mut told);
    told.extend(
        done["pings"][0]["probes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["probe"].as_str().unwrap().to_owned()),
    );
    let reference = section("ping-upstream");
    for key in told {
        assert!(
            reference.contains(&format!("`{key}`")) || reference.contains(&format!("\"{key}\"")),
            "{key}"
        );
    }
    let done = dir(&upstream.url(), &json!({})).run("models --remote --json").exits(0).json();
    let mut told = Vec::new();
    keys(&done, &mut told);
    let reference = section("models");
    for key in told {
        assert!(
            reference.contains(&format!("`{key}`")) || reference.contains(&format!("\"{key}\"")),
            "{key}"
        );
    }
}

#[test]
fn what_is_odd_is_told() {
    let upstream = Upstream::start(|seen| match probe(seen) {
        "whole" => {
            let mut body = message(&json!({"role": "assistant", "content": "pong"}), "stop");
            body.as_object_mut().unwrap().remove("usage");
            ok(&body)
        }
        "stream" => {
            let mut all = events(&[json!({"content": "1 "}), json!({"content": "2"})], "stop");
            all.pop();
            let last = all.last_mut().unwrap();
            *last = last.replace("\"completion_tokens\":20", "\"completion_tokens\":500");
            sse(&all)
        }
        "usage_in_stream" => {
            let add = |event: &String| {
                event.replacen('{', r#"{"usage":{"prompt_tokens":1,"completion_tokens":1},"#, 1)
            };
            let mut all: Vec<String> = events(&[json!({"content": "1 "}), json!({"content": "2"})], "stop")
                .iter()
                .map(add)
                .collect();
            all.remove(3);
            sse(&all)
        }
        "tools" => {
            let call = json!({"function": {"name": "get_weather", "arguments": "{\"city\": \"Par"}});
            sse(&events(&[json!({"tool_calls": [call]})], "stop"))
        }
        "tool_choice_named" => calls(&[call("a", "get_weather", r#"{"city":"Paris"}"#)], "tool_calls"),
        "tool_choice_required" => said("<tool_call>{\"name\": \"get_time\"}</tool_call>"),
        "parallel_tools" => {
            let one = call("same", "get_weather", r#"{"town":"Paris"}"#);
            calls(&[one.clone(), one], "tool_calls")
        }
        "json_schema" => said("The answer is 5."),
        "stop" => said("One two three"),
        "image" => said("Blue and white"),
        "system_in_middle" => said("I am fine."),
        "reasoning" => said("<think>Hm.</think>0.05"),
        _ => good(seen),
    });
    let done = ping(&upstream, "--json").exits(0);
    finds(
        &table(&done),
        &[
            ("whole", "odd: it tells no usage"),
            ("stream", "odd: it ends without [DONE]; max_tokens ignored: 500 tokens instead of 64"),
            ("usage_in_stream", "odd: on every chunk"),
            (
                "tools",
                "odd: a tool call without index; a call without id; arguments that are not JSON: \"{\"city\": \"Par\"; finish_reason \"stop\" with tool calls",
            ),
            ("tool_choice_named", "odd: accepted and ignored: it called `get_weather`, not `get_time`"),
            (
                "tool_choice_required",
                "odd: the call came as text: \"<tool_call>{\"name\": \"get_time\"}</tool_call>\"",
            ),
            (
                "parallel_tools",
                "odd: arguments that do not fit the tool: \"{\"town\":\"Paris\"}\"; both calls have the same id",
            ),
            ("json_schema", "odd: accepted and ignored: \"The answer is 5.\""),
            ("stop", "odd: accepted and ignored: \"One two three\""),
            ("image", "odd: accepted and not seen: asked for its colours, it said \"Blue and white\""),
            ("system_in_middle", "odd: accepted, but it said \"I am fine.\""),
            ("reasoning", "odd: as `<think>` in the text"),
        ],
    );
    assert_eq!(done.json()["pings"][0]["suggest"]["model"], json!({"vision": false}));
}

#[test]
fn more_that_is_odd() {
    let upstream = Upstream::start(|seen| match probe(seen) {
        "stream" => said("1 2 3"),
        "usage_in_stream" => {
            let mut all = events(&[json!({"content": "1"})], "stop");
            all[2] =
                r#"{"choices":[],"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":1}}}"#.to_owned();
            sse(&all)
        }
        "parallel_tools" => calls(&[call("a", "get_weather", r#"{"city":"Paris"}"#)], "tool_calls"),
        "tools" => said("It is sunny."),
        // It likes this one, whatever it is told.
        "tool_choice_named" => calls(&[call("a", "get_time", r#"{"zone":"UTC"}"#)], "tool_calls"),
        "tool_choice_required" => said("Hello!"),
        "json_schema" => said("```json\n{\"answer\": 5, \"certain\": true}\n```"),
        "stop" => said("One"),
        "image" => said("I'm sorry, I can't see images."),
        "reasoning" => {
            let mut body = message(&json!({"role": "assistant", "content": "0.05"}), "stop");
            body["usage"]["completion_tokens_details"] = json!({"reasoning_tokens": 7});
            ok(&body)
        }
        _ => good(seen),
    });
    let done = ping(&upstream, "--json").exits(0);
    finds(
        &table(&done),
        &[
            ("stream", "odd: it answered whole"),
            ("usage_in_stream", "odd: in `x_groq.usage`"),
            ("parallel_tools", "no: one call at a time"),
            ("tool_choice_named", "odd: accepted and ignored: it called `get_time`, not `get_weather`"),
            ("tools", "no: it called none and said \"It is sunny.\""),
            ("tool_choice_required", "odd: accepted and ignored: it called none and said \"Hello!\""),
            ("json_schema", "odd: JSON in a code fence"),
            ("stop", "odd: the stop sequence itself is left in the text"),
            ("image", "no: it says \"I'm sorry, I can't see images.\""),
            ("reasoning", "odd: hidden: 7 tokens of reasoning, none of it shown"),
        ],
    );
}

#[test]
fn a_refusal_is_a_no_and_becomes_configuration() {
    let upstream = Upstream::start(|seen| match probe(seen) {
        "whole" | "stream" | "list" | "system_in_middle" => good(seen),
        name => error(400, &format!("{name} is not supported with the key {KEY} of team-0123456789")),
    });
    let header = json!({"headers": {"x-team": "team-0123456789"}});
    let done = dir(&upstream.url(), &header).run("ping-upstream m --json").exits(0);
    assert!(!done.stdout.contains(KEY), "the key is shown: {done:#?}");
    assert!(!done.stdout.contains("team-0123456789"), "a header is shown: {done:#?}");
    let table = table(&done);
    for name in [
        "usage_in_stream",
        "tools",
        "tool_choice_named",
        "tool_choice_required",
        "parallel_tools",
        "image",
        "json_schema",
        "stop",
    ] {
        finds(
            &table,
            &[(name, &format!("no: HTTP 400: {name} is not supported with the key [key] of [key]"))],
        );
    }
    finds(&table, &[("reasoning", "no: it shows none"), ("system_in_middle", "yes: ")]);
    assert_eq!(
        done.json()["pings"][0]["suggest"],
        json!({"provider": {}, "model": {"vision": false, "tools": false, "drop_params": ["stop", "stream_options"]}})
    );
    let done = ping(&upstream, "--suggest").exits(0);
    let fragment = json!({"name": "up", "models": [
        {"id": "m", "vision": false, "tools": false, "drop_params": ["stop", "stream_options"]}]});
    assert_eq!((done.json(), done.stderr.as_str()), (fragment, ""));
}

#[test]
fn too_many_requests_are_no_answer() {
    let stops = Counter::default();
    let upstream = Upstream::start(move |seen| match probe(seen) {
        "image" => Some((429, "retry-after: 60\r\n", "{}".to_owned())),
        "json_schema" => Some((429, "retry-after: 0\r\n", "{}".to_owned())),
        "stop" if stops.next() == 0 => Some((429, "retry-after: 0\r\n", "{}".to_owned())),
        "tools" => error(503, "busy"),
        "parallel_tools" => None,
        _ => good(seen),
    });
    let done = ping(&upstream, "--json --timeout 2").exits(0);
    finds(
        &table(&done),
        &[
            ("image", "unknown: rate limited for 60 s"),
            ("json_schema", "unknown: rate limited"),
            ("stop", "yes: "),
            ("tools", "unknown: HTTP 503: busy"),
            ("parallel_tools", "unknown: no answer within 2 s"),
        ],
    );
    assert_eq!(done.json()["pings"][0]["suggest"], json!({"provider": {}, "model": {}}));
}

#[test]
fn thinking_that_takes_all_the_room_is_no_answer() {
    let upstream = Upstream::start(|seen| match probe(seen) {
        "image" | "stop" | "json_schema" | "tool_choice_required" | "parallel_tools" | "system_in_middle" => {
            ok(&message(&json!({"role": "assistant", "content": "", "reasoning_content": "Hm"}), "length"))
        }
        _ => good(seen),
    });
    let table = table(&ping(&upstream, "--json").exits(0));
    for name in ["image", "stop", "json_schema", "tool_choice_required", "parallel_tools", "system_in_middle"]
    {
        finds(&table, &[(name, "unknown: 1024 tokens were not enough for it to get there")]);
    }
}

#[test]
fn the_other_name_of_the_limit_is_tried() {
    let upstream = Upstream::start(|seen| match probe(seen) {
        "whole" | "stream" => good(seen),
        _ if seen.body["max_tokens"].is_u64() => {
            error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        }
        _ => good(seen),
    });
    let table = table(&ping(&upstream, "--json").exits(0));
    assert!(table.values().all(|line| line.starts_with("yes")), "{table:#?}");
}

#[test]
fn parallel_calls_have_to_be_asked_for_somewhere() {
    let upstream = Upstream::start(|seen| match probe(seen) {
        "parallel_tools" if seen.body["parallel_tool_calls"] != true => {
            calls(&[call("a", "get_weather", r#"{"city":"Paris"}"#)], "tool_calls")
        }
        _ => good(seen),
    });
    let done = ping(&upstream, "--json").exits(0);
    finds(&table(&done), &[("parallel_tools", "odd: only with `parallel_tool_calls: true`")]);
    let suggest = &done.json()["pings"][0]["suggest"]["model"];
    assert_eq!(*suggest, json!({"extra_body": {"parallel_tool_calls": true}}));
}

#[test]
fn a_model_that_says_something_else_is_asked_again_without_the_stop_sequence() {
    for (again, expected) in [("hi there", "yes: "), ("hi", "unknown: it said \"hi\"")] {
        let upstream = Upstream::start(move |seen| {
            let text = seen.body["messages"].to_string();
            match probe(seen) {
                "stop" => said("hi"),
                "other" if text.contains("from one to ten") => said(again),
                _ => good(seen),
            }
        });
        finds(&table(&ping(&upstream, "--json").exits(0)), &[("stop", expected)]);
    }
}

#[test]
fn a_stream_that_fails_fails() {
    let upstream = Upstream::start(|seen| match probe(seen) {
        "stream" => error(400, "streams are not for you"),
        _ => good(seen),
    });
    let done = ping(&upstream, "--json");
    finds(&table(&done), &[("stream", "no: streams are not for you"), ("whole", "yes: ")]);
    assert_eq!(failure(done).0, "streams are not for you");
}

#[test]
fn profiles_are_recognised() {
    let told = |list: Value, headers: &'static str, answer: Value| {
        let upstream = Upstream::start(move |seen| match probe(seen) {
            "list" => ok(&list),
            "whole" => {
                let mut body = message(&json!({"role": "assistant", "content": "pong"}), "stop");
                body.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
                Some((200, headers, body.to_string()))
            }
            "other" if seen.path == "/props?model=m" => {
                ok(&json!({"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2}))
            }
            _ => good(seen),
        });
        let done = ping(&upstream, "--json").exits(0);
        let ping = &done.json()["pings"][0];
        (ping["fits"]["profile"].as_str().unwrap().to_owned(), ping["suggest"].clone())
    };
    let list = |owner: &str| json!({"data": [{"id": "m", "owned_by": owner, "max_model_len": 4096}]});
    let (profile, suggest) = told(list("vllm"), "", json!({}));
    assert_eq!(profile, "vllm");
    assert_eq!(suggest, json!({"provider": {"profile": "vllm"}, "model": {"context_window": 4096}}));
    assert_eq!(told(list("sglang"), "", json!({})).0, "sglang");
    assert_eq!(told(list("library"), "", json!({})).0, "ollama");
    let (profile, suggest) = told(list("x"), "server: llama.cpp\r\n", json!({}));
    assert_eq!((profile.as_str(), &suggest["model"]["context_window"]), ("llamacpp", &json!(2048)));
    for (answer, profile) in [
        (json!({"system_fingerprint": "fp_ollama"}), "ollama"),
        (json!({"x_groq": {"id": "r"}}), "groq"),
        (json!({"base_resp": {"status_code": 0}}), "minimax"),
        (json!({"prompt_logprobs": null}), "vllm"),
        (json!({"id": "gen-1", "provider": "Together"}), "openrouter"),
    ] {
        assert_eq!(told(json!({"data": []}), "", answer).0, profile);
    }
}

#[test]
fn windows_are_found() {
    // The list of models, what else the server answers at another address, and what follows.
    let suggest = |entry: Value, own: Option<(&'static str, Value)>, config: Value| {
        let upstream = Upstream::start(move |seen| match (probe(seen), &own) {
            (_, Some((path, answer))) if seen.path == *path => ok(answer),
            ("list", _) if seen.path == "/v1/models" => ok(&json!({"data": [entry]})),
            _ => good(seen),
        });
        let mut model = json!({"id": "m"});
        model.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let done = dir(&format!("{}/v1", upstream.url()), &json!({"models": [model]}));
        done.run("ping-upstream m --json").exits(0).json()["pings"][0]["suggest"]["model"].clone()
    };
    let none = || json!({});
    let openrouter = || {
        json!({"id": "m", "context_length": 262_144,
            "top_provider": {"context_length": 131_072, "max_completion_tokens": 16_384}})
    };
    assert_eq!(
        suggest(openrouter(), None, none()),
        json!({"context_window": 131_072, "max_output_tokens": 16_384})
    );
    // What is configured smaller is meant so.
    let small = json!({"context_window": 32_768, "max_output_tokens": 4096});
    assert_eq!(suggest(openrouter(), None, small), json!({}));
    let large = json!({"context_window": 200_000, "max_output_tokens": 4096});
    assert_eq!(suggest(openrouter(), None, large), json!({"context_window": 131_072}));
    // Ollama: what the model was trained for is not what it runs with.
    let ollama = |id: &str| json!({"id": id, "owned_by": "library", "context_length": 262_144});
    let running = json!({"models": [{"name": "m:latest", "model": "m:latest", "context_length": 4096}]});
    assert_eq!(suggest(ollama("m:latest"), Some(("/api/ps", running)), none())["context_window"], 4096);
    assert_eq!(suggest(ollama("m"), None, none()).get("context_window"), None);
    // LM Studio, older and newer.
    let lm_studio = || json!({"id": "m", "object": "model", "owned_by": "organization_owner"});
    let v0 = json!({"data": [{"id": "m", "state": "loaded", "max_context_length": 262_144, "loaded_context_length": 8192}]});
    assert_eq!(suggest(lm_studio(), Some(("/api/v0/models", v0)), none()), json!({"context_window": 8192}));
    let v1 = json!({"models": [{"key": "m", "max_context_length": 262_144,
        "loaded_instances": [{"id": "m", "config": {"context_length": 16_384}}]}]});
    assert_eq!(suggest(lm_studio(), Some(("/api/v1/models", v1)), none()), json!({"context_window": 16_384}));
    // llama.cpp: the size of a slot, not of the model, nor of all slots.
    let llama = json!({"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 65_536, "n_ctx_train": 262_144}});
    let props = json!({"default_generation_settings": {"n_ctx": 32_768}, "total_slots": 2});
    assert_eq!(suggest(llama, Some(("/props?model=m", props)), none())["context_window"], 32_768);
}

#[test]
fn a_refused_key() {
    let upstream = Upstream::start(|_| error(401, &format!("Incorrect API key provided: {KEY}")));
    let (message, hint) = failure(ping(&upstream, "--json"));
    assert!(message.ends_with("Incorrect API key provided: [key]"), "{message}");
    assert_eq!(hint, "the provider refuses the key: check `api_key`");
    let upstream = Upstream::start(|_| error(401, "Missing key"));
    let (_, hint) = failure(dir(&upstream.url(), &json!({"api_key": ""})).run("ping-upstream --json"));
    assert_eq!(hint, "the provider wants a key: `api_key` is empty");
    let upstream = Upstream::start(|_| error(400, "API key not valid. Please pass a valid API key."));
    assert_eq!(failure(ping(&upstream, "--json")).1, "the provider refuses the key: check `api_key`");
}

#[test]
fn a_model_that_the_list_lacks() {
    let list = json!({"data": [{"id": "zai-org/GLM-5"}, {"id": "gpt-4.1"}, {"id": "glm-4.7"}]});
    for status in [400, 404] {
        let list = list.clone();
        let upstream = Upstream::start(move |seen| match probe(seen) {
            "list" => ok(&list),
            _ => error(status, "The model `glm-5` does not exist"),
        });
        let glm = dir(&upstream.url(), &json!({"models": [{"id": "m", "remote_id": "glm-5"}]}));
        let (message, hint) = failure(glm.run("ping-upstream --json"));
        assert_eq!(message, "The model `glm-5` does not exist");
        assert_eq!(
            hint,
            "its list of models has no `glm-5`: did you mean `zai-org/GLM-5` or `glm-4.7`? Set `remote_id`"
        );
    }
    let upstream = Upstream::start(move |seen| match probe(seen) {
        "list" => ok(&list),
        _ => error(404, "no such model"),
    });
    assert_eq!(
        failure(ping(&upstream, "--json")).1,
        "its list of models has no `m`; it has `zai-org/GLM-5` or `gpt-4.1` or `glm-4.7`: set `remote_id`"
    );
}

#[test]
fn a_wrong_path() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/api/v1/chat/completions" => said("pong"),
        "/inference/v1/chat/completions" => error(400, "no"),
        _ => Some((404, "content-type: text/html\r\n", "<html>404</html>".to_owned())),
    });
    let done = ping(&upstream, "--json");
    assert_eq!(
        done.json()["pings"][0]["suggest"]["provider"],
        json!({"completions_path": "/api/v1/chat/completions"})
    );
    assert_eq!(
        failure(done).1,
        "/api/v1/chat/completions answers: set `\"completions_path\": \"/api/v1/chat/completions\"` in the provider"
    );
    // A page instead of an answer, and nothing anywhere.
    let upstream =
        Upstream::start(|_| Some((200, "content-type: text/html\r\n", "<html>Hi</html>".to_owned())));
    let (_, hint) = failure(ping(&upstream, "--json"));
    assert!(hint.starts_with("check base_url and completions_path"), "{hint}");
}

#[test]
fn other_refusals() {
    for (status, words, expected) in [
        (402, "Insufficient balance", "the provider's account has no credit"),
        (429, "Slow down", "the provider limits this key: wait, or use another one"),
        (503, "Loading model", "wait until the model is loaded"),
        (500, "Oops", "the upstream itself is in trouble: its log may tell more"),
        (400, "The plain HTTP request was sent to HTTPS port", "it wants TLS: begin base_url with https://"),
        (
            400,
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "it takes `max_completion_tokens` alone: set `\"profile\": \"openai\"` in the provider (`openai_reasoning` for a model that reasons)",
        ),
    ] {
        let upstream = Upstream::start(move |_| error(status, words));
        assert_eq!(failure(ping(&upstream, "--json")), (words.to_owned(), expected.to_owned()));
    }
}

#[test]
fn nobody_there() {
    let port = free_port();
    let (message, hint) =
        failure(dir(&format!("http://127.0.0.1:{port}"), &json!({})).run("ping-upstream --json"));
    assert!(message.starts_with("upstream up: connecting failed: "), "{message}");
    assert_eq!(
        hint,
        format!("nothing listens at 127.0.0.1:{port}: is the server up, and the port in base_url right?")
    );
    let (message, hint) = failure(dir("http://nowhere.invalid:1", &json!({})).run("ping-upstream --json"));
    assert_eq!(message, "upstream up: its host name could not be resolved");
    assert_eq!(hint, "is `nowhere.invalid` in base_url spelled right, and the network up?");
    let upstream = Upstream::start(|_| None);
    let (message, hint) = failure(ping(&upstream, "--json --timeout 0.5"));
    assert_eq!(message, "upstream up: no answer within 500 ms");
    assert!(hint.contains("--timeout"), "{hint}");
}

/// An authority and a server with a certificate of it for `name`.
fn tls(name: &str) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    (authority.pem(), Arc::new(config))
}

#[test]
fn plain_http_where_tls_is_spoken_and_the_other_way_round() {
    let (_, config) = tls("localhost");
    let upstream = Upstream::start_with(Some(config), good);
    let (_, hint) = failure(ping(&upstream, "--json"));
    assert_eq!(hint, "it speaks TLS there: begin base_url with https://");
    let upstream = Upstream::start(good);
    let secure = dir(&format!("https://{}", upstream.host), &json!({}));
    let (message, hint) = failure(secure.run("ping-upstream --json"));
    assert!(message.contains("does not speak TLS"), "{message}");
    assert_eq!(hint, "begin base_url with http://, or use the port that speaks TLS");

    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let secure = dir(&format!("https://{}", closing.local_addr().unwrap()), &json!({}));
    std::thread::spawn(move || {
        for mut stream in closing.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let (message, hint) = failure(secure.run("ping-upstream --json"));
    assert_eq!(
        message,
        "upstream up: the TLS handshake failed: it closed the connection; does it speak TLS there?"
    );
    assert_eq!(hint, "begin base_url with http://, or use the port that speaks TLS");
}

/// Elsewhere the system's store is not a file that a variable can name.
#[cfg(target_os = "linux")]
#[test]
fn certificates() {
    let (authority, config) = tls("localhost");
    let upstream = Upstream::start_with(Some(config), good);
    let port = upstream.host.rsplit_once(':').unwrap().1;
    let named = dir(&format!("https://localhost:{port}"), &json!({}));
    let (message, hint) = failure(named.run("ping-upstream --json"));
    assert!(message.contains("not signed by an authority that this system trusts"), "{message}");
    assert!(message.contains("name it in the provider's `ca_file`"), "{message}");
    assert!(hint.contains("SSL_CERT_FILE"), "{hint}");

    let store = named.file("authority.pem", &authority).0.join("authority.pem");
    let own = dir(&format!("https://localhost:{port}"), &json!({"ca_file": store}));
    own.run("ping-upstream --json --quick").exits(0);
    own.run("models --remote").exits(0);
    let trusting = [("SSL_CERT_FILE", store.to_str().unwrap())];
    let done = named.run_with("ping-upstream --json --quick", b"", &trusting).exits(0);
    let timings = &done.json()["pings"][0]["timings"];
    for name in
        ["resolve_ms", "connect_ms", "tls_ms", "first_byte_ms", "first_token_ms", "total_ms", "whole_ms"]
    {
        assert!(timings[name]["median"].is_f64(), "{name}: {done:#?}");
    }

    let (authority, config) = tls("other.example");
    let upstream = Upstream::start_with(Some(config), good);
    let secure = dir(&format!("https://{}", upstream.host), &json!({}));
    let store = secure.file("authority.pem", &authority).0.join("authority.pem");
    let trusting = [("SSL_CERT_FILE", store.to_str().unwrap())];
    let (message, hint) = failure(secure.run_with("ping-upstream --json", b"", &trusting));
    assert!(message.contains("for another host name"), "{message}");
    assert_eq!(hint, "base_url has to name the host as its certificate does, not `127.0.0.1`");
}

#[test]
fn lists_of_models() {
    let refusing = Upstream::start(|_| error(401, &format!("no such key: {KEY}")));
    let done = dir(&refusing.url(), &json!({})).run("models --remote").exits(1);
    assert!(!done.stderr.contains(KEY), "{done:#?}");
    done.says(&[
        "error: provider `up`: its list of models could not be had: HTTP 401: ",
        "no such key: [key]",
    ]);

    let bare = Upstream::start(|_| ok(&json!([{"id": "m"}])));
    dir(&bare.url(), &json!({})).run("models --remote").exits(0);
    assert_eq!(bare.seen().len(), 1);
    assert_eq!(bare.seen()[0].path, "/v1/models");

    let silent = Upstream::start(|_| None);
    dir(&silent.url(), &json!({}))
        .run("models --remote --timeout 0.5")
        .exits(1)
        .says(&["could not be had: no answer within 500 ms"]);

    let page = Upstream::start(|_| Some((200, "content-type: text/html\r\n", "<html></html>".to_owned())));
    dir(&page.url(), &json!({})).run("models --remote").exits(0).says(&[
        "warning: provider `up`: what it answered is no list of models: nothing is known of its models",
    ]);
}

/// A configuration with a search service at this address.
fn searching(base_url: &str, provider: &str) -> Dir {
    let dir = Dir::new();
    let search = json!({"provider": provider, "api_key": KEY, "base_url": base_url});
    let model = json!({"base_url": "http://127.0.0.1:1", "api_key": "k", "models": [{"id": "m"}]});
    dir.file("config.json", json!({"web_search": search, "providers": [model]}).to_string());
    dir
}

#[test]
fn one_search() {
    let upstream = Upstream::start(|seen| {
        assert!(seen.path.starts_with("/res/v1/web/search?q=rust&"), "{}", seen.path);
        let hit = json!({"title": "The <b>Book</b>", "url": "https://doc.example.org/book/", "description": "Text", "age": "today"});
        Some((200, "", json!({"web": {"results": [hit]}}).to_string()))
    });
    let dir = searching(&upstream.url(), "brave");
    let done = dir.run("ping-upstream --search rust").exits(0);
    let (first, rest) = done.stdout.split_once('\n').unwrap();
    assert!(first.starts_with("brave: 1 hit in ") && first.ends_with(" ms"), "{first}");
    assert_eq!(rest, "  The Book\n    https://doc.example.org/book/\n");
    let told = dir.run("ping-upstream --search rust --json").exits(0).json();
    let hits = json!([{"title": "The Book", "url": "https://doc.example.org/book/", "page_age": "today", "text": "Text"}]);
    assert_eq!((&told["search"]["hits"], &told["search"]["ok"]), (&hits, &json!(true)), "{told}");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_search_that_fails() {
    let upstream = Upstream::start(|_| Some((403, "", "<h1>Forbidden</h1>".to_owned())));
    let broken = searching(&upstream.url(), "searxng");
    let done = broken.run("ping-upstream --search rust").exits(1);
    assert!(
        done.stdout.starts_with("searxng: failed, unavailable: ") && done.stdout.contains("search.formats"),
        "{done:?}"
    );
    let told = broken.run("ping-upstream --search rust --json").exits(1).json();
    assert_eq!(
        (&told["search"]["ok"], &told["search"]["error_code"]),
        (&json!(false), &json!("unavailable"))
    );
    let upstream = Upstream::start(|_| {
        Some((401, "content-type: application/json\r\n", json!({"error": KEY}).to_string()))
    });
    let done = searching(&upstream.url(), "exa").run("ping-upstream --search rust").exits(1);
    assert!(done.stdout.contains("web_search.api_key") && !done.stdout.contains(KEY), "{done:?}");
    // Nobody to ask.
    let done = dir("http://127.0.0.1:1", &json!({})).run("ping-upstream --search rust").exits(2);
    assert!(done.stderr.contains("`web_search` is not configured"), "{done:?}");
    searching("http://127.0.0.1:1", "searxng").run("ping-upstream m --search rust").exits(2);
}
