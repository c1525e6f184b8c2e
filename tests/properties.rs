//! What holds for every request and every stream, not only for the fixtures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use claude_proxy::convert::{self, Converted, ModelSpec, Profile, ReplyContext, ThinkingMode, UpstreamEnd};
use claude_proxy::wire::anthropic::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::grammar::{self, End};
use support::pump;

fn context(profile: &str, thinking: ThinkingMode) -> ReplyContext {
    let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#;
    let request = Request::parse(body).unwrap();
    let mut reply =
        convert::request(&request, Profile::named(profile).unwrap(), &ModelSpec::default()).unwrap().reply;
    reply.thinking = thinking;
    reply
}

/// One thing that an upstream may say.
#[derive(Debug, Clone)]
enum Said {
    Text(String),
    Reasoning(String),
    /// A call with its arguments, cut into fragments of that many characters.
    Call(String, usize),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        "[ a-z<>/\n\"\\\\é🙂]{1,12}".prop_map(Said::Text),
        "[ a-zé\n\"]{1,12}".prop_map(Said::Reasoning),
        ("[a-zé\"\\\\\n 🙂]{0,20}", 1usize..9)
            .prop_map(|(text, size)| Said::Call(json!({ "k": text }).to_string(), size)),
    ]
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    format!(
        "data: {}\n\n",
        json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    )
}

/// The stream of an upstream that says these things, and ends properly.
fn stream(script: &[Said]) -> Vec<u8> {
    let mut out = String::new();
    let mut calls = 0;
    for thing in script {
        match thing {
            Said::Text(text) => out.push_str(&chunk(&json!({ "content": text }), None)),
            Said::Reasoning(text) => out.push_str(&chunk(&json!({ "reasoning_content": text }), None)),
            Said::Call(arguments, size) => {
                let call = json!({"index": calls, "id": format!("call_{calls}"), "type": "function",
                    "function": {"name": "f", "arguments": ""}});
                out.push_str(&chunk(&json!({ "tool_calls": [call] }), None));
                let letters: Vec<char> = arguments.chars().collect();
                for part in letters.chunks(*size) {
                    let call =
                        json!({"index": calls, "function": {"arguments": part.iter().collect::<String>()}});
                    out.push_str(&chunk(&json!({ "tool_calls": [call] }), None));
                }
                calls += 1;
            }
        }
    }
    out.push_str(&chunk(&json!({}), Some("stop")));
    out.push_str("data: [DONE]\n\n");
    out.into_bytes()
}

fn gathered(events: &[Value], kind: &str, key: &str) -> String {
    events.iter().filter(|e| e["delta"]["type"] == kind).map(|e| e["delta"][key].as_str().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// However the bytes are cut, the client gets the same bytes.
    #[test]
    fn any_split_gives_the_same_events(script in prop::collection::vec(said(), 0..8), cuts in prop::collection::vec(0usize..2000, 0..8)) {
        let bytes = stream(&script);
        let whole = pump::stream(context("generic", ThinkingMode::Show), &[&bytes]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.push(0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let cut = pump::stream(context("generic", ThinkingMode::Show), &pieces);
        prop_assert_eq!(whole.bytes, cut.bytes);
        prop_assert_eq!(whole.http_error, cut.http_error);
    }

    /// Chunks that are all alike but for their text are read in another way than others: the
    /// client gets the same of both.
    #[test]
    fn likeness_changes_nothing(script in prop::collection::vec(said(), 0..8)) {
        let alike = String::from_utf8(stream(&script)).unwrap();
        let mut spaces = ["data: ", "data:  "].into_iter().cycle();
        let unlike: String = alike.split_inclusive("\n\n").map(|e| e.replacen("data: ", spaces.next().unwrap(), 1)).collect();
        let alike = pump::stream(context("generic", ThinkingMode::Show), &[alike.as_bytes()]);
        let unlike = pump::stream(context("generic", ThinkingMode::Show), &[unlike.as_bytes()]);
        prop_assert_eq!(String::from_utf8(alike.bytes).unwrap(), String::from_utf8(unlike.bytes).unwrap());
        prop_assert_eq!(alike.http_error, unlike.http_error);
    }

    /// Text, reasoning and arguments arrive complete and in order, and the grammar holds.
    #[test]
    fn bytes_are_conserved(script in prop::collection::vec(said(), 1..8)) {
        let run = pump::stream(context("generic", ThinkingMode::Show), &[&stream(&script)]);
        prop_assert!(run.http_error.is_none(), "{:?}", run.http_error);
        let events = grammar::events(&run.bytes).unwrap();
        prop_assert_eq!(grammar::check(&events), Ok(End::Complete));
        let mut arguments = String::new();
        let mut said_text = String::new();
        let mut said_thoughts = String::new();
        for thing in &script {
            match thing {
                Said::Text(text) => said_text.push_str(text),
                Said::Reasoning(text) => said_thoughts.push_str(text),
                Said::Call(text, _) => arguments.push_str(text),
            }
        }
        prop_assert_eq!(gathered(&events, "input_json_delta", "partial_json"), arguments);
        // A leading <think> section changes sides, and white space alone opens no block: the
        // rest is exact.
        if !said_text.trim_start().starts_with('<') {
            prop_assert_eq!(gathered(&events, "thinking_delta", "thinking"), said_thoughts);
            let strip = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(strip(&gathered(&events, "text_delta", "text")), strip(&said_text));
        }
    }

    /// What is recorded of a stream is what a client that does not stream gets as `content`; and
    /// recording changes no byte of the stream.
    #[test]
    fn what_is_recorded_is_the_message(script in prop::collection::vec(said(), 0..8), mode in 0..3, finish in 0..2) {
        let mode = [ThinkingMode::Off, ThinkingMode::Show, ThinkingMode::Omit][mode as usize];
        let finish = ["\"stop\"", "\"length\""][finish as usize];
        let bytes = String::from_utf8(stream(&script)).unwrap().replace("\"stop\"", finish).into_bytes();
        let plain = context("generic", mode);
        let recording = ReplyContext { record: true, ..plain.clone() };
        let silent = pump::stream(plain, &[&bytes]);
        prop_assert_eq!(&silent.recorded, &None);
        let streamed = pump::stream(recording.clone(), &[&bytes]);
        prop_assert_eq!(&silent.bytes, &streamed.bytes);
        let mut fold = convert::Fold::new(recording);
        fold.take(&bytes).unwrap();
        let whole = fold.finish(UpstreamEnd::DoneMarker).unwrap();
        let message: Value = serde_json::from_slice(&whole.body).unwrap();
        for recorded in [streamed.recorded, whole.recorded] {
            let recorded = recorded.unwrap();
            prop_assert_eq!(&Value::String(recorded.id), &message["id"]);
            prop_assert_eq!(&serde_json::from_slice::<Value>(&recorded.content).unwrap(), &message["content"]);
        }
    }

    /// A held end changes nothing but when it comes, and the calls that a judge gets are those that
    /// the client gets.
    #[test]
    fn a_judge_gets_what_the_client_gets(script in prop::collection::vec(said(), 0..8), size in 1usize..80, finish in 0..2) {
        let finish = ["\"stop\"", "\"length\""][finish as usize];
        let bytes = String::from_utf8(stream(&script)).unwrap().replace("\"stop\"", finish).into_bytes();
        let mut reply = context("generic", ThinkingMode::Show);
        reply.safeguards = true;
        let plain = pump::stream(reply.clone(), &[&bytes]);
        reply.holds.verdicts = true;
        let mut feed = convert::Feed::new("text/event-stream".into(), reply);
        let (mut out, mut calls) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            feed.take(piece, &mut out, || ()).unwrap();
            calls.extend(feed.translator.held_end().take_calls());
        }
        prop_assert_eq!(feed.translator.is_held(), !calls.is_empty());
        let end = feed.translator.held_end();
        let unsupported = r#"[{"type":"dangerous_tool_use","status":{"type":"unsupported"}}]"#;
        end.judged(unsupported.to_owned());
        end.conclude(&mut out);
        let out = String::from_utf8(out).unwrap();
        let out = out.replace(r#""status":{"type":"available","tool_uses":{}}"#, r#""status":{"type":"unsupported"}"#);
        prop_assert_eq!(out, String::from_utf8(plain.bytes.clone()).unwrap());
        let mut given: Vec<(String, String, String)> = Vec::new();
        for event in grammar::events(&plain.bytes).unwrap() {
            let block = &event["content_block"];
            if block["type"] == "tool_use" {
                let text = |key: &str| block[key].as_str().unwrap().to_owned();
                given.push((text("id"), text("name"), String::new()));
            } else if let (Some(more), Some((_, _, input))) = (event["delta"]["partial_json"].as_str(), given.last_mut()) {
                input.push_str(more);
            }
        }
        let kept: Vec<_> = calls.iter().map(|c| (c.id.clone(), c.name.clone(), c.input.clone())).collect();
        prop_assert_eq!(kept, given);
        prop_assert!(calls.iter().all(|c| c.whole == serde_json::from_str::<Value>(&c.input).is_ok()));
    }

    /// A stream that breaks off anywhere is a valid beginning and then one error, never a success.
    #[test]
    fn a_cut_is_never_a_success(script in prop::collection::vec(said(), 1..6), cut in 0usize..3000) {
        let bytes = stream(&script);
        let finish = bytes.windows(22).position(|w| w == b"\"finish_reason\":\"stop\"").unwrap();
        let run = pump::stream(context("generic", ThinkingMode::Show), &[&bytes[..cut % finish]]);
        let events = grammar::events(&run.bytes).unwrap();
        if run.http_error.is_some() {
            prop_assert!(events.is_empty());
        } else {
            prop_assert_eq!(grammar::check(&events), Ok(End::Error));
        }
    }

    /// Whatever an upstream sends: no panic, the grammar holds, and memory is bounded.
    #[test]
    fn rubbish_is_survived(parts in prop::collection::vec(rubbish(), 0..20), profile in 0usize..20, mode in 0..3) {
        let mode = [ThinkingMode::Off, ThinkingMode::Show, ThinkingMode::Omit][mode as usize];
        let bytes: Vec<u8> = parts.concat();
        let run = pump::stream(context(&Profile::all()[profile].name, mode), &[&bytes]);
        let events = grammar::events(&run.bytes).unwrap();
        let end = grammar::check(&events).map_err(TestCaseError::fail)?;
        prop_assert!(run.http_error.is_some() || end != End::Open);
        prop_assert!(run.retained < (9 << 20));
    }

    /// The same request twice gives the same bytes.
    #[test]
    fn requests_are_deterministic(turns in prop::collection::vec(turn(), 1..6), profile in 0usize..20) {
        let profile = &Profile::all()[profile];
        let body = request(&turns);
        prop_assert_eq!(converted(&body, profile).body, converted(&body, profile).body);
    }

    /// A conversation that grows keeps the bytes of what came before: upstream prompt caches
    /// depend on it.
    #[test]
    fn prefixes_stay(turns in prop::collection::vec(turn(), 1..6), next in turn(), profile in 0usize..20) {
        let profile = &Profile::all()[profile];
        // Whole rounds: the last message is the client's, as in real sessions.
        let short = messages(&converted(&request(&turns), profile).body);
        let mut longer = turns;
        longer.push(next);
        let long = messages(&converted(&request(&longer), profile).body);
        prop_assert!(long.len() >= short.len());
        prop_assert_eq!(&long[..short.len()], &short[..]);
    }

    /// Tool names and ids come back to the client as it wrote them.
    #[test]
    fn names_come_back(name in "[a-zA-Z0-9_.:/ é-]{1,100}") {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
            "tools": [{"name": name, "input_schema": {"type": "object"}}]}).to_string();
        let sent = converted(&body, Profile::named("generic").unwrap());
        let upstream: Value = serde_json::from_slice(&sent.body).unwrap();
        let wire = upstream["tools"][0]["function"]["name"].as_str().unwrap().to_owned();
        prop_assert!(wire.len() <= 64 && wire.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
        let call = json!({"choices": [{"message": {"tool_calls": [{"id": "call_x", "function": {"name": wire, "arguments": "{}"}}]}}]});
        let answer = convert::response(call.to_string().as_bytes(), sent.reply).unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        prop_assert_eq!(answer["content"][0]["name"].as_str(), Some(name.as_str()));
        prop_assert_eq!(answer["content"][0]["id"].as_str(), Some("call_x"));
    }

    /// A body that is no request is refused, and never a panic.
    #[test]
    fn bad_bodies_are_refused(body in "[\\[\\]{}:,\"a-z0-9 \\\\]{0,60}") {
        let refused = Request::parse(body.as_bytes()).map(|_| ()).unwrap_err();
        prop_assert_eq!(refused.status, 400);
    }
}

fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!(7)),
        Just(json!("")),
        Just(json!("x")),
        Just(json!("{\"a\":")),
        Just(json!("1}")),
        Just(json!("<think>")),
        Just(json!("</think>")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"type": "text", "text": "p"}])),
        Just(json!("error")),
        Just(json!("length")),
        Just(json!("tool_calls")),
        Just(json!("\u{1}\n")),
    ];
    let key = prop_oneof![
        Just("content"),
        Just("reasoning_content"),
        Just("reasoning"),
        Just("reasoning_details"),
        Just("refusal"),
        Just("role"),
        Just("tool_calls"),
    ];
    let call = (0u64..3, value.clone(), value.clone(), value.clone()).prop_map(
        |(index, id, name, arguments)| json!([{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]),
    );
    let delta = prop::collection::vec((key, prop_oneof![3 => value.clone(), 1 => call]), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()));
    prop_oneof![
        4 => (delta, value.clone()).prop_map(|(delta, finish)| {
            let finish = if finish == "error" { Value::Null } else { finish };
            format!("data: {}\n\n", json!({"choices": [{"delta": delta, "finish_reason": finish}]})).into_bytes()
        }),
        1 => value.prop_map(|v| format!("data: {}\n\n", json!({"usage": v, "choices": []})).into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
        1 => Just(b"data: {\"error\":{\"message\":\"boom\"}}\n\n".to_vec()),
        1 => Just(b"data: [DONE]\n\n".to_vec()),
        1 => Just(b": comment\r\n\r\n".to_vec()),
    ]
}

/// A round: what the model said (text, calls), and the client's next message.
#[derive(Debug, Clone)]
struct Round {
    text: String,
    calls: usize,
    user: String,
    reminder: bool,
}

fn turn() -> impl Strategy<Value = Round> {
    ("[a-z ]{0,8}", 0usize..3, "[a-zé\"\\\\ ]{1,8}", any::<bool>())
        .prop_map(|(text, calls, user, reminder)| Round { text, calls, user, reminder })
}

fn request(rounds: &[Round]) -> String {
    let mut messages = vec![json!({"role": "user", "content": "begin"})];
    let mut id = 0;
    for round in rounds {
        let mut said = vec![json!({"type": "text", "text": format!("t{}", round.text)})];
        let mut results = Vec::new();
        for _ in 0..round.calls {
            id += 1;
            said.push(
                json!({"type": "tool_use", "id": format!("toolu_{id}"), "name": "f", "input": {"n": id}}),
            );
            results
                .push(json!({"type": "tool_result", "tool_use_id": format!("toolu_{id}"), "content": "ok"}));
        }
        messages.push(json!({"role": "assistant", "content": said}));
        results.reverse();
        results.push(json!({"type": "text", "text": round.user}));
        messages.push(json!({"role": "user", "content": results}));
        if round.reminder {
            messages.push(json!({"role": "system", "content": "Remember."}));
        }
    }
    json!({"model": "m", "max_tokens": 9, "system": "S", "messages": messages}).to_string()
}

fn converted(body: &str, profile: &'static Profile) -> Converted {
    let request = Request::parse(body.as_bytes()).unwrap();
    convert::request(&request, profile, &ModelSpec::default()).unwrap()
}

/// The messages of an upstream request, each as its bytes.
fn messages(body: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Body<'b> {
        #[serde(borrow)]
        messages: Vec<&'b serde_json::value::RawValue>,
    }
    let body: Body<'_> = serde_json::from_slice(body).unwrap();
    body.messages.into_iter().map(|m| m.get().to_owned()).collect()
}

/// What a model says in one round, before it searches or comes to an end.
fn round_said() -> impl Strategy<Value = (String, usize)> {
    let words = prop_oneof![
        Just("[A](https://a.com/x)".to_owned()),
        Just("https://b.com".to_owned()),
        Just("https://a.com/xy".to_owned()),
        "[ a-zé.,\\n\"]{1,6}",
    ];
    (prop::collection::vec(words, 0..5).prop_map(|words| words.concat()), 1usize..4)
}

/// The bytes of one upstream answer.
fn round_stream(text: &str, searches: usize) -> Vec<u8> {
    let mut out = String::new();
    for letter in text.chars() {
        out.push_str(&chunk(&json!({"content": letter.to_string()}), None));
    }
    for n in 0..searches {
        let call = json!({"index": n, "id": format!("call_{n}"), "function":
            {"name": "web_search", "arguments": json!({"query": format!("é{n}")}).to_string()}});
        out.push_str(&chunk(&json!({ "tool_calls": [call] }), None));
    }
    out.push_str(&chunk(&json!({}), Some("stop")));
    out.push_str("data: [DONE]\n\n");
    out.into_bytes()
}

/// The client's request of the rounds.
const SEARCHING: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}],
    "tools":[{"type":"web_search_20250305","name":"web_search"}]}"#;

/// The context of a round: of the client's request and what was said since.
fn round_context(resumed: Option<convert::Resumed>) -> ReplyContext {
    let body = match &resumed {
        None => SEARCHING.as_bytes().to_vec(),
        Some(resumed) => convert::continued(SEARCHING.as_bytes(), &resumed.content()).unwrap(),
    };
    let web = convert::WebTools { search: true, ..convert::WebTools::default() };
    let request = Request::parse(&body).unwrap();
    let spec = ModelSpec { web, ..ModelSpec::default() };
    let mut reply = convert::request(&request, Profile::named("generic").unwrap(), &spec).unwrap().reply;
    reply.holds.rounds = true;
    reply.record = true;
    reply.resumed = resumed.map(Into::into);
    reply
}

/// Inserts the results of the calls; what a further round goes on from.
fn round_results(end: &mut dyn convert::HeldEnd, out: &mut Vec<u8>) -> Option<convert::Resumed> {
    let calls = end.take_web_calls();
    if calls.is_empty() {
        return None;
    }
    for call in calls {
        assert!(call.input.starts_with("{\"query\":\"é"), "{call:?}");
        let hits = ["https://a.com/x", "https://b.com/"].map(|url| convert::web::Hit {
            title: "T",
            url,
            page_age: None,
            text: "words",
        });
        let block = convert::web::search_result(&call.id, hits);
        end.insert(&block, call.web, out);
    }
    end.resumed(out)
}

/// What a client that streams gets of an exchange of several rounds.
fn streamed_rounds(rounds: &[(String, usize)], size: usize) -> Vec<u8> {
    let (mut out, mut resumed) = (Vec::new(), None);
    for (n, (text, searches)) in rounds.iter().enumerate() {
        let last = n + 1 == rounds.len();
        let mut feed = convert::Feed::new("text/event-stream".into(), round_context(resumed.take()));
        for piece in round_stream(text, if last { 0 } else { *searches }).chunks(size) {
            feed.take(piece, &mut out, || ()).unwrap();
        }
        let end = feed.translator.held_end();
        assert_eq!(end.is_held(), !last);
        resumed = round_results(end, &mut out);
        assert_eq!(resumed.is_some(), !last);
    }
    out
}

/// The same for one that does not.
fn whole_rounds(rounds: &[(String, usize)]) -> Value {
    let mut resumed = None;
    for (n, (text, searches)) in rounds.iter().enumerate() {
        let last = n + 1 == rounds.len();
        let mut fold = convert::Fold::new(round_context(resumed.take()));
        fold.take(&round_stream(text, if last { 0 } else { *searches })).unwrap();
        let mut translator = fold.close(UpstreamEnd::DoneMarker).unwrap();
        let (end, out) = translator.held_end();
        resumed = round_results(end, out);
        if last {
            return serde_json::from_slice(&translator.answer().body).unwrap();
        }
    }
    Value::Null
}

proptest! {
    /// An exchange of several rounds is one message: the grammar holds, however the bytes are cut
    /// the client gets the same, and streamed or whole it is the same message.
    #[test]
    fn rounds_are_one_message(rounds in prop::collection::vec(round_said(), 1..4), size in 1usize..60) {
        let whole = streamed_rounds(&rounds, usize::MAX);
        prop_assert_eq!(
            String::from_utf8(streamed_rounds(&rounds, size)).unwrap(),
            String::from_utf8(whole.clone()).unwrap()
        );
        let events = grammar::events(&whole).unwrap();
        prop_assert_eq!(grammar::check(&events), Ok(End::Complete));
        let message = whole_rounds(&rounds);
        let content = message["content"].as_array().unwrap();
        let starts = events.iter().filter(|e| e["type"] == "content_block_start").count();
        prop_assert_eq!(content.len(), starts);
        let said: String = content.iter().filter_map(|b| b["text"].as_str()).collect();
        prop_assert_eq!(gathered(&events, "text_delta", "text"), said);
        let streamed: Vec<&Value> = events.iter().filter_map(|e| e["delta"].get("citation")).collect();
        let cited: Vec<&Value> =
            content.iter().filter_map(|b| b["citations"].as_array()).flatten().collect();
        prop_assert_eq!(streamed, cited.clone());
        for citation in cited {
            prop_assert!(["https://a.com/x", "https://b.com/"].contains(&citation["url"].as_str().unwrap()));
        }
        let end = events.iter().find(|e| e["type"] == "message_delta").unwrap();
        prop_assert_eq!(&end["usage"], &message["usage"]);
        prop_assert_eq!(&end["delta"]["stop_reason"], &message["stop_reason"]);
        let results = content.iter().filter(|b| b["type"] == "web_search_tool_result").count();
        let counted = message["usage"]["server_tool_use"]["web_search_requests"].as_u64().unwrap_or(0);
        prop_assert_eq!(counted as usize, results);
    }
}

/// 100,000 tool indexes, a million deltas of a call that waits, a gigabyte of hidden thoughts
/// (scaled down to what shows it): memory stays bounded, and the client is told.
#[test]
fn retained_is_bounded() {
    let indexes: Vec<u8> = (0..100_000u64)
        .flat_map(|i| {
            chunk(&json!({"tool_calls": [{"index": i, "id": format!("c{i}"), "function": {"name": "f", "arguments": "{"}}]}), None).into_bytes()
        })
        .collect();
    let mut waiting = chunk(
        &json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}),
        None,
    )
    .into_bytes();
    let piece = chunk(
        &json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "x".repeat(1000)}}]}),
        None,
    );
    for _ in 0..20_000 {
        waiting.extend_from_slice(piece.as_bytes());
    }
    let hidden = chunk(&json!({"reasoning_content": "t".repeat(1000)}), None).repeat(20_000).into_bytes();
    for (bytes, mode) in
        [(indexes, ThinkingMode::Off), (waiting, ThinkingMode::Off), (hidden, ThinkingMode::Omit)]
    {
        let pieces: Vec<&[u8]> = bytes.chunks(64 << 10).collect();
        let run = pump::stream(context("generic", mode), &pieces);
        assert!(run.retained < (9 << 20), "{} bytes held", run.retained);
        let events = grammar::events(&run.bytes).unwrap();
        assert_eq!(grammar::check(&events), Ok(End::Error));
    }
}
