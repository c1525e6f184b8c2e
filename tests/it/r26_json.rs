//! R26: JSON that cannot be meant is refused with 400 and its place: depth bombs, lone
//! surrogates, numbers beyond every range; and big integers in tool inputs cross bit for bit.

use serde_json::json;

use crate::grammar::End;
use crate::support::upstream::ok;
use crate::support::*;

fn setup() -> (Upstream, Proxy) {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(config(&up.base()));
    (up, proxy)
}

/// A request whose message is `content`, as JSON.
fn saying(content: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":{content}}}]}}"#)
}

/// A request with a call of a tool whose input is `input`.
fn calling(input: &str) -> String {
    format!(
        r#"{{"model":"m","max_tokens":9,"tools":[{{"name":"t","input_schema":{{"type":"object"}}}}],"messages":[
        {{"role":"user","content":"go"}},
        {{"role":"assistant","content":[{{"type":"tool_use","id":"toolu_1","name":"t","input":{input}}}]}},
        {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_1","content":"done"}}]}}]}}"#
    )
}

/// A request with a tool whose schema is `schema`.
fn offering(schema: &str) -> String {
    format!(
        r#"{{"model":"m","max_tokens":9,"tools":[{{"name":"t","input_schema":{schema}}}],"messages":[{{"role":"user","content":"go"}}]}}"#
    )
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn requests_that_cannot_be_meant_are_400_with_the_place() {
    let (up, proxy) = setup();
    let mut bad: Vec<String> = Vec::new();
    for depth in [200, 10_000, 1_000_000] {
        let arrays = nested("[", "]", depth);
        let objects = nested(r#"{"a":"#, "}", depth);
        bad.extend([
            arrays.clone(),
            objects.clone(),
            "[".repeat(depth),
            r#"{"a":"#.repeat(depth),
            saying(&arrays),
            calling(&format!(r#"{{"a":{arrays}}}"#)),
            calling(&objects),
            offering(&format!(r#"{{"type":"object","properties":{objects}}}"#)),
            format!(r#"{{"model":"m","max_tokens":9,"messages":[],"unknown":{arrays}}}"#),
            format!(r#"{{"model":"m","max_tokens":9,"messages":[],"metadata":{objects}}}"#),
        ]);
    }
    for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""a\ud83d""#, r#""\ud800\ud800""#] {
        bad.extend([
            saying(text),
            calling(&format!(r#"{{"a":{text}}}"#)),
            calling(&format!(r"{{{text}:1}}")),
        ]);
        bad.push(offering(&format!(r#"{{"type":"object","description":{text}}}"#)));
    }
    for text in [r#""\x""#, r#""\u12""#, r#""\uzzzz""#, "\"a\nb\"", "\"a\u{0}b\"", "\"open", "'single'"] {
        bad.extend([saying(text), calling(&format!(r#"{{"a":{text}}}"#))]);
    }
    for number in [
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "-Infinity",
        "-",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1e",
        "1_000",
        "--1",
    ] {
        bad.push(calling(&format!(r#"{{"a":{number}}}"#)));
        bad.push(format!(
            r#"{{"model":"m","max_tokens":{number},"messages":[{{"role":"user","content":"x"}}]}}"#
        ));
        bad.push(format!(
            r#"{{"model":"m","max_tokens":9,"temperature":{number},"messages":[{{"role":"user","content":"x"}}]}}"#
        ));
    }
    let good = saying(r#""hi""#);
    for rest in ["x", "{}", ",", "]", "\u{0}", "null", "\"\""] {
        bad.push(format!("{good}{rest}"));
    }
    for text in
        ["", " ", "null", "[]", "1", "\"text\"", "{", "}", "{]", "{\"model\"}", "{,}", "{\"a\":1,}", "[1,]"]
    {
        bad.push(text.to_owned());
    }
    for keys in [
        r#""model":"m","model":"n","max_tokens":9,"messages":[{"role":"user","content":"x"}]"#,
        r#""model":"m","max_tokens":9,"max_tokens":8,"messages":[{"role":"user","content":"x"}]"#,
        r#""model":"m","max_tokens":9,"messages":[{"role":"user","role":"assistant","content":"x"}]"#,
        r#""model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"messages":[]"#,
    ] {
        bad.push(format!("{{{keys}}}"));
    }
    for max_tokens in ["-1", "1.5", "18446744073709551616", "1e30", "\"9\"", "true", "[]"] {
        bad.push(format!(
            r#"{{"model":"m","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"x"}}]}}"#
        ));
    }
    for body in &bad {
        let short: String = body.chars().take(120).collect();
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            let answer = ask(proxy.addr, "POST", path, &[], body.as_bytes());
            if path.ends_with("count_tokens") && answer.status == 200 {
                // Counting reads what it counts, and `max_tokens` is nothing to count.
                continue;
            }
            assert_eq!(
                (answer.status, answer.error().0.as_str()),
                (400, "invalid_request_error"),
                "{path}: {short}"
            );
            let message = answer.error().1;
            assert!(message.len() < 1000 && !message.is_empty(), "{message}");
            if path == "/v1/messages" {
                let place = [
                    "Input should be an object",
                    "line ",
                    "column",
                    "messages",
                    "max_tokens",
                    "temperature",
                    "tools",
                    "metadata",
                    "model",
                ];
                assert!(place.iter().any(|p| message.contains(p)), "{short}: {message}");
            }
        }
    }
    // Bytes that are no text.
    for bytes in [
        &b"\xff\xfe{}"[..],
        b"{\"model\":\"\xc3\x28\"}",
        b"{\"model\":\"\xed\xa0\x80\"}",
        b"\x00",
        b"\xef\xbb\xbf\xff",
    ] {
        let answer = ask(proxy.addr, "POST", "/v1/messages", &[], bytes);
        assert_eq!((answer.status, answer.error().0.as_str()), (400, "invalid_request_error"), "{bytes:?}");
    }
    assert_eq!(up.connections(), 0, "the upstream was not asked");
    eprintln!("json: {} requests refused", bad.len() + 5);
}

/// Numbers that a double cannot hold, and spellings that it would change.
const NUMBERS: [&str; 12] = [
    "12345678901234567890123",
    "-12345678901234567890123456789",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "3.14159265358979323846264338327950288",
    "1e5",
    "1E+5",
    "1.0",
    "-0",
    "0.1e-7",
];

#[test]
fn numbers_in_tool_inputs_cross_as_they_are_written() {
    let input = format!(
        "{{{}}}",
        NUMBERS.iter().enumerate().map(|(i, n)| format!(r#""n{i}":{n}"#)).collect::<Vec<_>>().join(",")
    );
    let chunk = |delta: serde_json::Value| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
    };
    let arguments = input.clone();
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            let function = json!({"name": "t", "arguments": arguments});
            if seen.json()["stream"] == true {
                conn.stream_head();
                conn.chunk(chunk(json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
                    "function": {"name": "t", "arguments": ""}}]})));
                // Cut anywhere, numbers too.
                for piece in arguments.as_bytes().chunks(7) {
                    let piece = std::str::from_utf8(piece).unwrap();
                    conn.chunk(chunk(
                        json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
                    ));
                }
                for event in [&finish("tool_calls"), DONE] {
                    conn.chunk(event);
                }
                conn.end_chunks();
            } else {
                let call = json!({"id": "c1", "type": "function", "function": function});
                let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
                conn.write(ok(
                    &json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
                        .to_string(),
                ));
            }
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    for stream in [false, true] {
        // There: as the arguments of a call, a string.
        let request = calling(&input).replacen('{', &format!(r#"{{"stream":{stream},"#), 1);
        let answer = post(proxy.addr, request.as_bytes());
        assert_eq!(answer.status, 200);
        let seen = up.seen().last().unwrap().json();
        let call = &seen["messages"][1]["tool_calls"][0]["function"]["arguments"];
        assert_eq!(call.as_str().unwrap(), input);
        // And back: as the input of a block, JSON.
        if stream {
            let (events, end) = answer.events();
            assert_eq!(end, End::Complete);
            let parts: String = events.iter().filter_map(|e| e["delta"]["partial_json"].as_str()).collect();
            assert_eq!(parts, input);
        } else {
            let body = String::from_utf8(answer.body).unwrap();
            assert!(body.contains(&format!(r#""input":{input}"#)), "{body}");
        }
    }
    // In a schema, too.
    let schema = format!(r#"{{"type":"object","properties":{{"a":{{"maximum":{}}}}}}}"#, NUMBERS[0]);
    assert_eq!(post(proxy.addr, offering(&schema).as_bytes()).status, 200);
    let body = String::from_utf8(up.seen().last().unwrap().body.clone()).unwrap();
    assert!(body.contains(NUMBERS[0]), "{body}");
    eprintln!("json: {} spellings of numbers, both ways, whole and streamed", NUMBERS.len());
}

#[test]
fn upstreams_may_send_bombs_and_get_nowhere() {
    let deep = nested("[", "]", 200_000);
    let deep_object = nested(r#"{"a":"#, "}", 200_000);
    let bombs = [
        deep.clone(),
        deep_object.clone(),
        "[".repeat(500_000),
        format!(r#"{{"choices":{deep}}}"#),
        format!(
            r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":{deep}}},"finish_reason":"stop"}}]}}"#
        ),
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":{deep_object}}},"finish_reason":"stop"}}]}}"#
        ),
        r#"{"choices":[{"index":1e999,"message":{"content":"x"},"finish_reason":"stop"}]}"#.to_owned(),
        r#"{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":1e999}}"#.to_owned(),
        r#"{"choices":[{"index":NaN,"delta":{"content":"x"}}]}"#.to_owned(),
        r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]} trailing"#.to_owned(),
    ];
    for bomb in &bombs {
        let short: String = bomb.chars().take(90).collect();
        let json = ok(bomb);
        let sse = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {bomb}\n\n"
        );
        let late = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{}data: {bomb}\n\n",
            text("hello")
        );
        for answer in [json, sse, late] {
            let up = Upstream::start(move |mut conn| {
                if conn.request().is_some() {
                    conn.write(&answer);
                    conn.close();
                }
            });
            let proxy = Proxy::start(config(&up.base()));
            for stream in [false, true] {
                let answer = post(proxy.addr, &message("hi", stream));
                if answer.status == 200 && stream {
                    let (_, end) = answer.events();
                    assert_eq!(end, End::Error, "{short}");
                } else if answer.status != 200 {
                    assert_eq!((answer.status, answer.error().0.as_str()), (502, "api_error"), "{short}");
                } else {
                    panic!("taken for an answer: {short}: {}", answer.json());
                }
            }
            assert_eq!(ask(proxy.addr, "GET", "/health", &[], b"").status, 200);
        }
    }
    // Half a character of a model's is shown as the replacement character, and does not end it all.
    let half = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a\ud800b"},"finish_reason":"stop"}]}"#;
    let up = Upstream::answering(ok(half));
    let proxy = Proxy::start(config(&up.base()));
    assert_eq!(post(proxy.addr, &message("hi", false)).json()["content"][0]["text"], "a\u{fffd}b");
    assert_eq!(post(proxy.addr, &message("hi", true)).text(), "a\u{fffd}b");
    // What a model writes as arguments may be a bomb as well: it is text, until somebody reads it.
    let arguments = format!(r#"{{"a":{deep}}}"#);
    let call = json!({"id": "c1", "type": "function", "function": {"name": "t", "arguments": arguments}});
    let whole = json!({"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]},
        "finish_reason": "tool_calls"}]});
    let up = Upstream::answering(ok(&whole.to_string()));
    let proxy = Proxy::start(config(&up.base()));
    for stream in [false, true] {
        let answer = post(proxy.addr, &message("hi", stream));
        assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
    }
    assert_eq!(ask(proxy.addr, "GET", "/health", &[], b"").status, 200);
    eprintln!("json: {} bombs of an upstream's, each whole, as the first and as a later event", bombs.len());
}
