//! What the answers to probes mean.

use serde_json::Value;

use super::probe::{ROOM, Verdict};
use super::said::{Call, Said, quote};

/// A verdict and its reason.
pub(super) type Judged = (Verdict, Option<String>);

const YES: Judged = (Verdict::Yes, None);

pub(super) fn no(why: impl Into<String>) -> Judged {
    (Verdict::No, Some(why.into()))
}

pub(super) fn odd(what: impl Into<String>) -> Judged {
    (Verdict::Odd, Some(what.into()))
}

pub(super) fn unknown(why: impl Into<String>) -> Judged {
    (Verdict::Unknown, Some(why.into()))
}

/// Yes, unless there is something odd.
pub(super) fn unless(oddities: &[String]) -> Judged {
    if oddities.is_empty() { YES } else { odd(oddities.join("; ")) }
}

/// The verdict on an answer that its limit of tokens cut short before it showed anything.
fn cut(said: &Said) -> Option<Judged> {
    said.cut().then(|| unknown(format!("{ROOM} tokens were not enough for it to get there")))
}

pub(super) fn usage(said: &Said) -> Judged {
    if !said.streamed {
        return odd("it answered whole");
    }
    match (said.usages, said.usage_place) {
        (0, _) => no("it tells none"),
        (_, Some(place)) => odd(format!("in `{place}`")),
        (1, _) => YES,
        (n, _) if n >= said.chunks => odd("on every chunk"),
        (n, _) => odd(format!("on {n} chunks")),
    }
}

pub(super) fn called(said: &Said) -> Judged {
    no_call(said).unwrap_or_else(|| unless(&oddities(said, true)))
}

pub(super) fn required(said: &Said) -> Judged {
    match no_call(said) {
        Some((Verdict::No, why)) => (Verdict::Odd, why.map(|why| format!("accepted and ignored: {why}"))),
        Some(other) => other,
        None => unless(&oddities(said, false)),
    }
}

pub(super) fn named_time(said: &Said) -> Judged {
    named(said, "get_time")
}

pub(super) fn named_weather(said: &Said) -> Judged {
    named(said, "get_weather")
}

fn named(said: &Said, name: &str) -> Judged {
    if let Some(other) = said.calls.iter().find(|c| c.name != name) {
        return odd(format!("accepted and ignored: it called `{}`, not `{name}`", other.name));
    }
    required(said)
}

pub(super) fn parallel(said: &Said) -> Judged {
    if let Some((verdict, why)) = no_call(said) {
        let verdict = if verdict == Verdict::No { Verdict::Unknown } else { verdict };
        return (verdict, why);
    }
    let [first, second, ..] = said.calls.as_slice() else { return no("one call at a time") };
    let mut odd = oddities(said, true);
    if !first.id.is_empty() && first.id == second.id {
        odd.push("both calls have the same id".to_owned());
    }
    unless(&odd)
}

/// The verdict when there is no tool call.
fn no_call(said: &Said) -> Option<Judged> {
    if !said.calls.is_empty() {
        return None;
    }
    let (text, _) = said.answer();
    // What models write when the server does not know their way of calling.
    let marks = ["<tool_call", "<function", "[TOOL_CALLS]", "<|tool", "\"get_weather\"", "\"get_time\""];
    if marks.iter().any(|mark| said.text.contains(mark)) {
        return Some(odd(format!("the call came as text: {}", quote(text))));
    }
    Some(cut(said).unwrap_or_else(|| no(format!("it called none and said {}", quote(text)))))
}

fn oddities(said: &Said, finish: bool) -> Vec<String> {
    let mut odd: Vec<String> = said.odd.iter().map(|o| (*o).to_owned()).collect();
    let mut add = |what: String| {
        if !odd.contains(&what) {
            odd.push(what);
        }
    };
    for Call { id, name, arguments, .. } in &said.calls {
        if id.is_empty() {
            add("a call without id".to_owned());
        }
        let argument = match name.as_str() {
            "get_weather" => "city",
            "get_time" => "zone",
            other => {
                add(format!("it called `{other}`, which was not offered"));
                continue;
            }
        };
        match serde_json::from_str::<Value>(arguments) {
            Ok(value) if value.get(argument).is_some_and(Value::is_string) => {}
            Ok(_) => add(format!("arguments that do not fit the tool: {}", quote(arguments))),
            Err(_) => add(format!("arguments that are not JSON: {}", quote(arguments))),
        }
    }
    match said.finish.as_deref() {
        // A forced call may end with either.
        Some("stop") if !finish => {}
        Some("tool_calls") => {}
        Some(reason) => add(format!("finish_reason \"{}\" with tool calls", reason.escape_debug())),
        None => add("no finish_reason".to_owned()),
    }
    odd
}

pub(super) fn image(said: &Said) -> Judged {
    let (text, _) = said.answer();
    let words = text.to_lowercase();
    let blind = [
        "cannot see",
        "can't see",
        "can't view",
        "cannot view",
        "unable to",
        "no image",
        "not able to",
        "don't see",
        "do not see",
        "can't process",
        "cannot process",
    ];
    if words.contains("green") && words.contains("yellow") {
        YES
    } else if words.is_empty() && said.cut() {
        unknown(format!("{ROOM} tokens were not enough for it to get there"))
    } else if blind.iter().any(|b| words.contains(b)) {
        no(format!("it says {}", quote(text)))
    } else {
        odd(format!("accepted and not seen: asked for its colours, it said {}", quote(text)))
    }
}

pub(super) fn schema(said: &Said) -> Judged {
    let (text, _) = said.answer();
    let fits = |text: &str| {
        serde_json::from_str::<Value>(text).ok().map(|v| {
            v.get("answer").is_some_and(|a| a.is_i64() || a.is_u64())
                && v.get("certain").is_some_and(Value::is_boolean)
                && v.as_object().is_some_and(|o| o.len() == 2)
        })
    };
    let bare = text.trim_start_matches("```json").trim_matches('`').trim();
    match (fits(text), fits(bare)) {
        (Some(true), _) => YES,
        (Some(false), _) => odd(format!("JSON, but not as the schema wants it: {}", quote(text))),
        (None, Some(_)) => odd("JSON in a code fence"),
        (None, None) => cut(said).unwrap_or_else(|| odd(format!("accepted and ignored: {}", quote(text)))),
    }
}

pub(super) fn stop(said: &Said) -> Judged {
    let (text, _) = said.answer();
    // Any English sentence comes to an `e` soon.
    match text.find('e') {
        Some(at) if at + 1 == text.len() => odd("the stop sequence itself is left in the text"),
        Some(_) => odd(format!("accepted and ignored: {}", quote(text))),
        None if said.cut() => unknown(format!("{ROOM} tokens were not enough for it to get there")),
        None if text.is_empty() || text.to_lowercase().starts_with("on") => YES,
        None => unknown(format!("it said {}", quote(text))),
    }
}

/// Without the stop sequence: yes if it was that which ended the other answer.
pub(super) fn not_stopped(said: &Said) -> Judged {
    let (text, _) = said.answer();
    if text.contains('e') { YES } else { unknown(format!("it said {}", quote(text))) }
}

pub(super) fn middle(said: &Said) -> Judged {
    let (text, _) = said.answer();
    if text.to_lowercase().contains("marmalade") {
        return YES;
    }
    cut(said).unwrap_or_else(|| odd(format!("accepted, but it said {}", quote(text))))
}

/// What the stream of a normal request was like; `limit` is its `max_tokens`.
pub(super) fn stream(said: &Said, limit: u32) -> Judged {
    if !said.streamed {
        return odd("it answered whole");
    }
    let mut odd: Vec<String> = said.odd.iter().map(|o| (*o).to_owned()).collect();
    if said.finish.is_none() {
        odd.push("no finish_reason".to_owned());
    }
    if !said.done {
        odd.push("it ends without [DONE]".to_owned());
    }
    let output = said.tokens.map_or(0, |t| t.output);
    if output > u64::from(limit) * 3 / 2 {
        odd.push(format!("max_tokens ignored: {output} tokens instead of {limit}"));
    }
    if said.pieces == 1 && said.text.split_whitespace().count() > 8 {
        odd.push("it came in one piece".to_owned());
    }
    unless(&odd)
}

/// Which field carries reasoning, if there is some.
pub(super) fn reasoning(said: &Said) -> Option<Judged> {
    let in_text = said.answer().1.then_some("`<think>` in the text");
    if !said.reasoning.is_empty() {
        let fields = said.reasoning.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(" and ");
        return Some(match in_text {
            Some(tags) => odd(format!("in {fields} and as {tags}")),
            None => (Verdict::Yes, Some(fields)),
        });
    }
    if let Some(tags) = in_text {
        return Some(odd(format!("as {tags}")));
    }
    (said.reasoning_tokens > 0)
        .then(|| odd(format!("hidden: {} tokens of reasoning, none of it shown", said.reasoning_tokens)))
}
