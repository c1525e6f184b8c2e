//! A claude-proxy before a claude-proxy.

use std::sync::Arc;

use serde_json::json;

use crate::grammar;
use crate::support::native::native;
use crate::support::program::Program;
use crate::support::*;

#[test]
fn the_demo_behind_it_answers_in_both_forms() {
    let demo = Program::start(&["serve", "--demo", "--port", "0"], "");
    let mut config = native(&format!("http://{}", demo.addr()));
    let model = Arc::get_mut(&mut config.models[0]).unwrap();
    model.spec.remote_id = "demo".to_owned();
    model.spec.reasoning = Some(true);
    let front = Proxy::start(config);
    let mut body = json!({"model": "m", "max_tokens": 512, "thinking": {"type": "adaptive"},
        "tools": [{"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}],
        "messages": [{"role": "user", "content": "Please run a command"}]});
    for stream in [false, true] {
        body["stream"] = stream.into();
        let answer = ask(
            front.addr,
            "POST",
            "/v1/messages?beta=true",
            &[("anthropic-beta", "b")],
            body.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.header("x-claude-proxy-provider"), Some("messages.example"));
        if stream {
            let (events, end) = answer.events();
            assert_eq!(end, grammar::End::Complete);
            assert_eq!(events[0]["message"]["model"], "demo");
        } else {
            let message = answer.json();
            assert_eq!(message["content"][2]["input"]["command"], "echo \"Hello from the demo upstream\"");
            // The next turn: what the demo's proxy wrote into the history goes back to it.
            let call = message["content"][2]["id"].clone();
            body["messages"].as_array_mut().unwrap().extend([
                json!({"role": "assistant", "content": message["content"]}),
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": "Hello"}]}),
            ]);
        }
    }
    let mut unknown = body.clone();
    unknown["thread"] = json!({"type": "create"});
    let refused = post(front.addr, unknown.to_string().as_bytes());
    assert_eq!(refused.status, 400);
    assert!(refused.error().1.contains("thread"));
    assert_eq!(refused.json()["error"]["details"]["error_code"], "thread_unsupported_request");
    assert!(refused.header("request-id").is_some());
    assert_ne!(refused.header("request-id"), None);
}
