//! Images for models that see none: `vision_model`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use claude_proxy::config::{Config, Model};
use serde_json::{Value, json};

use crate::support::metrics::Metrics;
use crate::support::native::add_native;
use crate::support::program::Program;
use crate::support::upstream::{Conn, Seen, http, ok};
use crate::support::*;

/// A blind model `m`, and `eye`, which describes images, both at one upstream.
fn blind(base: &str) -> Config {
    let mut config = config(base);
    config::add_model(&mut config, "eye", base, "generic");
    change_model(&mut config, "m", |model| model.spec.vision = Some(false));
    config.extras.vision_model = Some("eye".to_owned());
    config.workers = 2;
    config
}

fn change_model(config: &mut Config, id: &str, change: impl FnOnce(&mut Model)) {
    let model = config.models.iter_mut().find(|m| m.id == id).unwrap();
    change(Arc::get_mut(model).unwrap());
}

/// An upstream where `eye` says what `describe` says, and everybody else says hello.
fn seeing(describe: impl Fn(&Seen, &mut Conn) + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let asked = seen.json();
            if asked["model"] == "remote-eye" {
                describe(&seen, &mut conn);
            } else if asked["stream"] == true {
                conn.stream(&[&text("hello"), &finish("stop"), DONE]);
            } else {
                conn.write(ok(&completion("hello")));
            }
        }
    })
}

fn a_cat(_: &Seen, conn: &mut Conn) {
    conn.write(ok(&completion("A cat that says \"Meow\".")));
}

fn image(data: &str) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})
}

fn asking(content: Value, stream: bool) -> Vec<u8> {
    json!({"model": "m", "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": content}]})
        .to_string()
        .into_bytes()
}

/// What the upstream was asked of that model.
fn of(up: &Upstream, model: &str) -> Vec<Value> {
    up.seen().iter().map(Seen::json).filter(|asked| asked["model"] == model).collect()
}

const WORDS: &str = "<image_description>\nA cat that says \"Meow\".\n</image_description>";

#[test]
fn a_description_takes_the_place_of_the_image() {
    let up = seeing(a_cat);
    let proxy = Proxy::start(blind(&up.base()));
    let mut turns = vec![
        json!({"role": "user", "content": [{"type": "text", "text": "What is it?"}, image("aW1hZ2U=")]}),
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [image("b3RoZXI=")]}]}),
    ];
    let mut before = String::new();
    for stream in [false, true, false] {
        let body = json!({"model": "m", "max_tokens": 64, "stream": stream, "messages": turns});
        let answer = post(proxy.addr, body.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-claude-proxy-warnings"), Some("degraded:image"));
        if stream {
            assert_eq!(answer.text(), "hello");
        }
        let asked = of(&up, "remote-m").pop().unwrap();
        let content = asked["messages"][0]["content"].as_str().unwrap();
        assert!(content.starts_with("What is it?") && content.contains(WORDS), "{content}");
        assert!(content.contains("[image, described by eye, since this model sees none."), "{content}");
        let result = &asked["messages"][2];
        assert_eq!(result["tool_call_id"], "t1");
        assert!(result["content"].as_str().unwrap().contains(WORDS), "{result}");
        // Each turn goes on from the last one, byte for byte: the prompt cache of the upstream holds.
        let messages = asked["messages"].to_string();
        let same = messages.trim_end_matches(']');
        assert!(messages.starts_with(before.trim_end_matches(']')), "{before}\n{messages}");
        same.clone_into(&mut before);
        turns.push(json!({"role": "assistant", "content": "hello"}));
        turns.push(json!({"role": "user", "content": "And now?"}));
    }
    // Each of the two was looked at once in three turns.
    let questions = of(&up, "remote-eye");
    assert_eq!(questions.len(), 2, "{questions:?}");
    let mut images: Vec<_> = questions
        .iter()
        .map(|q| {
            assert_ne!(q["stream"], true);
            assert_eq!(q["messages"].as_array().unwrap().len(), 1);
            let content = &q["messages"][0]["content"];
            assert!(content[1]["text"].as_str().unwrap().contains("word for word"));
            content[0]["image_url"]["url"].as_str().unwrap().to_owned()
        })
        .collect();
    images.sort();
    assert_eq!(images, ["data:image/png;base64,aW1hZ2U=", "data:image/png;base64,b3RoZXI="]);
    let metrics = Metrics::of(proxy.addr, None);
    let vision = ("purpose", "vision");
    assert_eq!(metrics.sum("claude_proxy_side_requests_total", &[vision]), 2);
    assert_eq!(metrics.sum("claude_proxy_side_requests_total", &[vision, ("outcome", "done")]), 2);
    assert_eq!(metrics.sum("claude_proxy_side_tokens_total", &[vision, ("kind", "input")]), 14);
    assert_eq!(metrics.sum("claude_proxy_side_tokens_total", &[vision, ("kind", "output")]), 6);
    assert_eq!(metrics.sum("claude_proxy_requests_total", &[]), 3);
    assert_eq!(metrics.sum("claude_proxy_tokens_total", &[("model", "eye")]), 0);
    assert_eq!(metrics.sum("claude_proxy_conversion_losses_total", &[("loss", "degraded:image")]), 3);
}

#[test]
fn many_that_ask_at_once_have_it_described_once() {
    let waiting = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&waiting);
    let up = seeing(move |seen, conn| {
        // Not before all of them are there.
        eventually("all requests wait", || asked.load(Ordering::SeqCst) == 25);
        std::thread::sleep(std::time::Duration::from_millis(100));
        a_cat(seen, conn);
    });
    let proxy = Proxy::start(blind(&up.base()));
    let addr = proxy.addr;
    let clients: Vec<_> = (0..25)
        .map(|n| {
            let waiting = Arc::clone(&waiting);
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                let content = json!([image("aW1hZ2U="), {"type": "text", "text": format!("question {n}")}]);
                client.send("POST", "/v1/messages", &[], &asking(content, n % 2 == 0));
                waiting.fetch_add(1, Ordering::SeqCst);
                let answer = client.answer();
                (answer.status, answer.header("x-claude-proxy-warnings").map(str::to_owned))
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), (200, Some("degraded:image".to_owned())));
    }
    assert_eq!(of(&up, "remote-eye").len(), 1);
    let answered = of(&up, "remote-m");
    assert_eq!(answered.len(), 25);
    assert!(answered.iter().all(|a| a["messages"][0]["content"].as_str().unwrap().contains(WORDS)));
}

#[test]
fn the_same_image_twice_in_one_request_is_asked_about_once() {
    let up = seeing(a_cat);
    let proxy = Proxy::start(blind(&up.base()));
    let images: Vec<Value> =
        (0..20).map(|n| image(if n % 2 == 0 { "ZXZlbg==" } else { "b2RkMQ==" })).collect();
    let answer = post(proxy.addr, &asking(images.into(), false));
    assert_eq!(answer.status, 200);
    assert_eq!(of(&up, "remote-eye").len(), 2);
    let content = of(&up, "remote-m")[0]["messages"][0]["content"].as_str().unwrap().to_owned();
    assert_eq!(content.matches(WORDS).count(), 20);
}

#[test]
fn when_the_one_that_asked_leaves_another_takes_over() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let up = seeing(move |seen, conn| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            // The question is taken back when its client leaves.
            conn.until_gone();
        } else {
            a_cat(seen, conn);
        }
    });
    let proxy = Proxy::start(blind(&up.base()));
    let body = asking(json!([image("aW1hZ2U=")]), false);
    let mut first = Client::connect(proxy.addr);
    first.send("POST", "/v1/messages", &[], &body);
    eventually("the first is asked", || asked.load(Ordering::SeqCst) == 1);
    let mut second = Client::connect(proxy.addr);
    second.send("POST", "/v1/messages", &[], &body);
    eventually("both are in", || {
        Metrics::of(proxy.addr, None).sum("claude_proxy_requests_in_flight", &[]) == 2
    });
    first.close();
    let answer = second.answer();
    assert_eq!((answer.status, answer.header("x-claude-proxy-warnings")), (200, Some("degraded:image")));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn without_a_description_the_placeholder_stands_there_and_says_so() {
    for (wrong, script) in [
        (
            "an error",
            Box::new(|conn: &mut Conn| assert!(conn.write(http(400, &[], "{}"))))
                as Box<dyn Fn(&mut Conn) + Send + Sync>,
        ),
        ("nothing", Box::new(|conn: &mut Conn| assert!(conn.write(ok(&completion(" ")))))),
        ("no JSON", Box::new(|conn: &mut Conn| assert!(conn.write(ok("<html>"))))),
    ] {
        let up = seeing(move |_, conn| script(conn));
        let proxy = Proxy::start(blind(&up.base()));
        for stream in [false, true] {
            let answer = post(proxy.addr, &asking(json!([image("aW1hZ2U=")]), stream));
            assert_eq!(answer.status, 200, "{wrong}");
            assert_eq!(answer.header("x-claude-proxy-warnings"), Some("dropped:image"), "{wrong}");
        }
        let content = of(&up, "remote-m")[0]["messages"][0]["content"].clone();
        assert_eq!(content, "[image omitted: this model does not accept images]", "{wrong}");
        // What has just failed is not asked again with the next turn.
        let asked = of(&up, "remote-eye").len();
        assert!((1..=2).contains(&asked), "{wrong}: {asked}");
        let metrics = Metrics::of(proxy.addr, None);
        let failed =
            metrics.sum("claude_proxy_side_requests_total", &[("purpose", "vision"), ("outcome", "refused")]);
        assert_eq!(failed, u64::from(wrong != "nothing"), "{wrong}");
    }
}

#[test]
fn one_that_fails_does_not_cost_the_others() {
    let up = seeing(|seen, conn| {
        if String::from_utf8_lossy(&seen.body).contains("YmFk") {
            conn.write(http(400, &[], "{}"));
        } else {
            a_cat(seen, conn);
        }
    });
    let proxy = Proxy::start(blind(&up.base()));
    let answer = post(proxy.addr, &asking(json!([image("Z29vZA=="), image("YmFk")]), false));
    assert_eq!(answer.header("x-claude-proxy-warnings"), Some("dropped:image, degraded:image"));
    let content = of(&up, "remote-m")[0]["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(
        content.contains(WORDS) && content.ends_with("[image omitted: this model does not accept images]")
    );
}

#[test]
fn nobody_is_asked_who_need_not_be() {
    let up = seeing(a_cat);
    let mut config = blind(&up.base());
    config.extras.vision_model = None;
    let off = Proxy::start(config);
    let body = asking(json!([image("aW1hZ2U=")]), false);
    assert_eq!(post(off.addr, &body).header("x-claude-proxy-warnings"), Some("dropped:image"));
    let mut config = blind(&up.base());
    change_model(&mut config, "m", |model| model.spec.vision = None);
    let sees = Proxy::start(config);
    assert_eq!(post(sees.addr, &body).header("x-claude-proxy-warnings"), None);
    let proxy = Proxy::start(blind(&up.base()));
    // Somebody who asks the describer gets the describer.
    let own = String::from_utf8(body.clone()).unwrap().replace("\"model\":\"m\"", "\"model\":\"eye\"");
    assert_eq!(post(proxy.addr, own.as_bytes()).status, 200);
    assert_eq!(post(proxy.addr, &message("no image", false)).header("x-claude-proxy-warnings"), None);
    let file = json!([{"type": "image", "source": {"type": "file", "file_id": "f"}}]);
    assert_eq!(
        post(proxy.addr, &asking(file, false)).header("x-claude-proxy-warnings"),
        Some("dropped:image")
    );
    let mine: Vec<_> = of(&up, "remote-eye");
    assert_eq!(mine.len(), 1, "only the client's own: {mine:?}");
}

#[test]
fn an_image_by_url_is_for_the_describers_upstream_to_fetch() {
    let up = seeing(a_cat);
    let canary = Upstream::start(|mut conn| drop(conn.request()));
    let proxy = Proxy::start(blind(&up.base()));
    let url = format!("{}/a.png", canary.base());
    let block = json!({"type": "image", "source": {"type": "url", "url": url}});
    let answer = post(proxy.addr, &asking(json!([block]), false));
    assert_eq!(answer.header("x-claude-proxy-warnings"), Some("degraded:image"));
    assert_eq!(of(&up, "remote-eye")[0]["messages"][0]["content"][0]["image_url"]["url"], url);
    assert_eq!(canary.connections(), 0);
}

#[test]
fn a_describer_that_speaks_the_messages_api() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            assert!(seen.head.starts_with("POST /v1/messages"));
            let said = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "x",
                "content": [{"type": "text", "text": "A cat that says \"Meow\"."}], "stop_reason": "max_tokens",
                "stop_sequence": null, "usage": {"input_tokens": 5, "output_tokens": 2}});
            conn.write(ok(&said.to_string()));
        }
    });
    let main = Upstream::hello();
    let mut config = blind(&main.base());
    config.models.retain(|m| m.id != "eye");
    add_native(&mut config, "eye", &up.base());
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &asking(json!([image("aW1hZ2U=")]), false));
    assert_eq!(answer.header("x-claude-proxy-warnings"), Some("degraded:image"));
    assert_eq!(up.seen()[0].json()["messages"][0]["content"][0], image("aW1hZ2U="));
    let content = main.seen()[0].json()["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(
        content.contains("\"Meow\".\n[the description is cut off here]\n</image_description>"),
        "{content}"
    );
}

#[test]
fn a_blind_upstream_of_the_messages_api_gets_descriptions_too() {
    let eye = seeing(a_cat);
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            let said = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "x",
                "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn",
                "stop_sequence": null, "usage": {"input_tokens": 5, "output_tokens": 2}});
            conn.write(ok(&said.to_string()));
        }
    });
    let mut config = blind(&eye.base());
    config.models.retain(|m| m.id != "m");
    add_native(&mut config, "m", &up.base());
    let body = asking(json!([image("aW1hZ2U="), {"type": "new", "x": 1.50}]), false);
    let seeing = Proxy::start(config);
    assert_eq!(post(seeing.addr, &body).header("x-claude-proxy-warnings"), None);
    assert_eq!(up.seen()[0].json()["messages"][0]["content"][0], image("aW1hZ2U="));
    drop(seeing);
    let mut config = blind(&eye.base());
    config.models.retain(|m| m.id != "m");
    add_native(&mut config, "m", &up.base());
    change_model(&mut config, "m", |model| model.spec.vision = Some(false));
    let proxy = Proxy::start(config);
    assert_eq!(post(proxy.addr, &body).header("x-claude-proxy-warnings"), Some("degraded:image"));
    let sent = up.seen().pop().unwrap();
    let content = sent.json()["messages"][0]["content"].clone();
    assert!(content[0]["text"].as_str().unwrap().contains(WORDS), "{content}");
    assert!(String::from_utf8(sent.body).unwrap().contains(r#"{"type":"new","x":1.5}"#));
}

/// A fallback of the describer that sees nothing says whatever it likes.
#[test]
fn nobody_describes_what_he_was_not_shown() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            match seen.json()["model"].as_str().unwrap() {
                "remote-eye" => conn.write(http(400, &[], "{}")),
                "remote-blind" => conn.write(ok(&completion("A dog, no doubt."))),
                _ => conn.write(ok(&completion("hello"))),
            };
        }
    });
    let mut config = blind(&up.base());
    config::add_model(&mut config, "blind", &up.base(), "generic");
    change_model(&mut config, "blind", |model| model.spec.vision = Some(false));
    change_model(&mut config, "eye", |model| model.fallbacks = vec!["blind".to_owned()]);
    config.extras.vision_model = Some("blind".to_owned());
    let proxy = Proxy::start(config);
    let answer = post(proxy.addr, &asking(json!([image("aW1hZ2U=")]), false));
    assert_eq!(answer.header("x-claude-proxy-warnings"), Some("dropped:image"));
    assert!(!String::from_utf8(up.seen().pop().unwrap().body).unwrap().contains("dog"));
}

#[test]
fn a_count_asks_nobody_and_knows_what_is_known() {
    let up = seeing(a_cat);
    let proxy = Proxy::start(blind(&up.base()));
    let body = asking(json!([image("aW1hZ2U=")]), false);
    let count = || {
        let answer = ask(proxy.addr, "POST", "/v1/messages/count_tokens", &[], &body);
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    let before = count();
    assert!((500..1000).contains(&before), "{before}");
    assert!(up.seen().is_empty());
    post(proxy.addr, &body);
    let after = count();
    assert!((30..100).contains(&after), "{after}");
    assert_eq!(of(&up, "remote-eye").len(), 1);
}

#[test]
fn the_log_tells_what_it_took() {
    let up = seeing(a_cat);
    let config = json!({"port": 0, "vision_model": "eye", "providers": [
        {"name": "up", "base_url": up.base(), "api_key": "sk-1", "profile": "generic", "models": [
            {"id": "m", "remote_id": "remote-m", "vision": false}, {"id": "eye", "remote_id": "remote-eye"}]}]});
    let program = Program::start(&["serve", "--log-format", "json"], &config.to_string());
    for n in 0..2 {
        let answer = post(program.addr(), &asking(json!([image("aW1hZ2U=")]), n == 1));
        assert_eq!(answer.status, 200);
    }
    eventually("both are in the log", || program.lines("request").len() == 2);
    let lines = program.lines("request");
    assert_eq!(
        (&lines[0]["side_requests"], &lines[0]["side_input_tokens"]),
        (&json!(1), &json!(7)),
        "{lines:?}"
    );
    assert_eq!(lines[0]["side_output_tokens"], 3);
    assert_eq!(lines[1]["side_requests"], Value::Null, "from the cache: {lines:?}");
    assert_eq!(lines[1]["warnings"], "degraded:image");
    let side = program.lines("side request");
    assert_eq!(side.len(), 1);
    assert_eq!((&side[0]["purpose"], &side[0]["model"]), (&json!("vision"), &json!("eye")));
    assert_eq!(side[0]["request_id"], lines[0]["request_id"]);
}
