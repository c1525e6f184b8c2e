//! Requests: any bytes are refused or become JSON that an upstream can read, always the same.

use std::collections::HashSet;

use claude_proxy::convert::count::{self, count_tokens};
use claude_proxy::convert::stand_in::{Kind, Missing, StandIn, find, put};
use claude_proxy::convert::web::Round;
use claude_proxy::convert::{self, ModelSpec, WebTools};
use claude_proxy::wire::anthropic::Request;
use claude_proxy::wire::anthropic::thread::{Known, Threaded};
use claude_proxy::wire::json::RawJson;
use serde_json::{Value, json};

use super::{check_error, choices, profile};

fn spec(choice: u8) -> ModelSpec {
    let bit = |n: u8| choice & (1 << n) != 0;
    let extra = json!({"temperature": 0.5, "vendor": {"key": [1, null]}});
    ModelSpec {
        remote_id: "remote \"id\"".into(),
        max_output_tokens: bit(0).then_some(100),
        context_window: bit(1).then_some(4096),
        vision: bit(2).then_some(bit(3)),
        tools: bit(4).then_some(false),
        reasoning: bit(5).then_some(false),
        extra_body: if bit(6) { extra.as_object().unwrap().clone() } else { serde_json::Map::default() },
        drop_params: if bit(7) { vec!["top_p".into(), "stop".into()] } else { Vec::new() },
        web: WebTools {
            search: bit(0),
            fetch: bit(1),
            round: if bit(2) { Round::Last } else { Round::First },
        },
    }
}

pub fn run(data: &[u8]) {
    let Some(([which, options], body)) = choices(data) else { return };
    if let Ok(counted) = Request::parse_for_count(body)
        && body.len() < 2000
        && options == 1
        && let Ok(tokens) =
            count_tokens(&counted, profile(which), &spec(options), &count::Known::default(), &mut || ())
    {
        assert!(tokens > 0 && tokens < 1_000_000, "{tokens} tokens");
    }
    threaded(body);
    let request = match Request::parse(body) {
        Ok(request) => request,
        Err(error) => {
            check_error(&error);
            assert_eq!(Request::parse(body).err(), Some(error), "the same twice");
            return;
        }
    };
    replace(&request, body);
    let (profile, spec) = (profile(which), spec(options));
    let converted = match convert::request(&request, profile, &spec) {
        Ok(converted) => converted,
        Err(error) => return check_error(&error),
    };
    let again = convert::request(&Request::parse(body).unwrap(), profile, &spec).unwrap();
    assert_eq!(converted.body, again.body, "the same twice");
    assert_eq!(converted.losses.tokens(), again.losses.tokens());
    assert!(converted.body.len() <= 4096 + 64 * body.len(), "{} of {}", converted.body.len(), body.len());
    check(&converted.body, &spec);
}

/// Media are found where the conversion would leave them out, and what stands in for them leaves a
/// request without any.
fn replace(request: &Request<'_>, body: &[u8]) {
    let missing = Missing { images: true, pdfs: true };
    let text = std::str::from_utf8(body).unwrap();
    let found = find(text, missing);
    assert_eq!(!found.is_empty(), missing.is_in(request), "{text}");
    let stand_in = |kind| match kind {
        Kind::Pdf => StandIn::Text("\"text\""),
        Kind::Image | Kind::ImageUrl => StandIn::Description { model: "eye", text: "\"words\"" },
    };
    let (replaced, losses) = put(text, found.iter().map(|medium| (medium, stand_in(medium.kind))));
    assert_eq!(losses.is_empty(), found.is_empty());
    let again = Request::parse(&replaced).unwrap_or_else(|e| panic!("{}: {text}", e.message));
    assert!(!missing.is_in(&again), "{text}");
    assert_eq!(request.messages.len(), again.messages.len());
}

/// What a request with `thread` stands for is JSON, and so is what is kept of it.
fn threaded(body: &[u8]) {
    let threaded = match Threaded::read(body) {
        Ok(Some(threaded)) => threaded,
        Ok(None) => return,
        Err(error) => return check_error(&error),
    };
    let is_json = |text: &[u8]| {
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(text);
        assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(text));
    };
    let whole = threaded.whole(None).unwrap();
    is_json(&whole);
    assert!(!matches!(Threaded::read(&whole), Ok(Some(_))), "it is unfolded once");
    let kept = threaded.kept_messages();
    is_json(format!("[{kept}]").as_bytes());
    assert!(kept.len() <= threaded.messages.len());
    let messages = [&*kept, r#"{"role":"assistant","content":[]}"#];
    let messages = messages.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
    let text = |value: Option<RawJson<'_>>| value.map(|value| value.text().to_owned());
    let known = Known { system: text(threaded.system), tools: text(threaded.tools), messages };
    is_json(&threaded.whole(Some(&known)).unwrap());
}

/// The converted request can be read, and answers no call that was not made.
fn check(body: &[u8], spec: &ModelSpec) {
    let text = std::str::from_utf8(body).unwrap();
    // Deeper than serde_json reads into a tree; that it is JSON is seen without one.
    serde_json::from_str::<serde::de::IgnoredAny>(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let fields = value.as_object().unwrap();
    if spec.extra_body.is_empty() {
        assert_eq!(fields.len(), count_keys(text), "a field comes twice: {text}");
    }
    assert_eq!(value["model"], spec.remote_id.as_str());
    let messages = value["messages"].as_array().unwrap();
    let mut made = HashSet::new();
    for message in messages {
        let role = message["role"].as_str().unwrap();
        assert!(["system", "developer", "user", "assistant", "tool"].contains(&role), "{role}");
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            made.insert(call["id"].as_str().unwrap());
            assert!(call["function"]["name"].as_str().is_some_and(|n| !n.is_empty()), "{call}");
            let arguments = call["function"]["arguments"].as_str().unwrap();
            assert!(
                serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok(),
                "arguments that are no JSON: {arguments}"
            );
        }
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap();
            assert!(made.contains(id), "an answer to no call: {text}");
        }
    }
    for tool in value["tools"].as_array().into_iter().flatten() {
        let name = tool["function"]["name"].as_str().unwrap();
        assert!(!name.is_empty() && name.len() <= 64, "{name:?}");
    }
}

/// How many keys the outermost object has, counting those that come twice twice.
fn count_keys(text: &str) -> usize {
    struct Keys;
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = usize;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
            let mut n = 0;
            while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {
                n += 1;
            }
            Ok(n)
        }
    }
    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(text), Keys).unwrap()
}
