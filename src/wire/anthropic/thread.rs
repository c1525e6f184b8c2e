//! Requests whose history lies here and not in them: `thread`, beta `message-threads-2026-08-12`.
//!
//! Source: the official SDKs, Python `anthropic` 2.13.0 (`lib/threads/`, `types/thread_*_error*.py`)
//! and TypeScript `@anthropic-ai/sdk` 1.13.0 (`lib/internal/threads/ThreadState`):
//!
//! - `{"type":"create"}` comes with the whole conversation; the state is kept under the answer's
//!   `id`. `{"type":"continue","previous_message_id":..}` comes with the messages after that
//!   answer alone, which may be none: an unfinished turn (`pause_turn`) goes on.
//! - A continue inherits `system` and `tools`; the SDKs leave out these two and repeat everything
//!   else, `model` and `max_tokens` too. Changed values are a `thread_fingerprint_mismatch`, which
//!   no SDK recovers from.
//! - The answer has the shape of any other. The SDKs read its `id`, `content`, `stop_reason`.
//! - `thread_not_found` (404), `thread_already_continued` and `thread_continue_in_flight` (400), in
//!   `error.details.error_code`, make the SDKs send the whole conversation again as a create;
//!   `thread_unsupported_request` (400) makes their tool runners do without threads.
//! - A stream that ends before `message_stop` was not stored, or was as a whole: the SDKs begin a
//!   new thread.
//!
//! The beta's header comes with each such request. `count_tokens` knows no `thread`.

use std::borrow::Cow;

use memchr::memmem;

use super::ApiError;
use super::complaint::{Complaint, Result, Step, Under};
use crate::wire::json::{Cursor, JsonStr, RawJson};

/// What `anthropic-beta` has for it, up to its date.
pub const BETA: &str = "message-threads-";

/// `thread`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thread<'a> {
    /// `create`.
    Create,
    /// `continue`: from the answer of this id.
    Continue(Cow<'a, str>),
}

/// A request with `thread`, in its parts.
#[derive(Debug)]
pub struct Threaded<'a> {
    /// `thread`.
    pub thread: Thread<'a>,
    /// `model`.
    pub model: Cow<'a, str>,
    /// `messages`, the inside of the list.
    pub messages: &'a str,
    /// `system`, if it is there.
    pub system: Option<RawJson<'a>>,
    /// `tools`, if they are there.
    pub tools: Option<RawJson<'a>>,
    /// All other members, in their order.
    others: Vec<(JsonStr<'a>, RawJson<'a>)>,
}

/// What the answer that a request continues from already knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// `system` of the create, as it came.
    pub system: Option<String>,
    /// `tools` of the create, as they came.
    pub tools: Option<String>,
    /// All messages up to that answer, which is the last of them: the inside of a list.
    pub messages: String,
}

impl<'a> Threaded<'a> {
    /// Reads a body; none: it has no `thread`. Nothing else of it is checked but that it is JSON.
    ///
    /// # Errors
    /// 400 in Anthropic's words.
    pub fn read(body: &'a [u8]) -> std::result::Result<Option<Self>, ApiError> {
        let text = super::request::utf8(body)?;
        threaded(text).map_err(|e| e.into_error(body))
    }

    /// The request that it stands for: with the whole conversation, without `thread`. What it has
    /// itself stays byte for byte, so that what one turn sent upstream is how the next one begins.
    ///
    /// # Errors
    /// 400, where it changes what the thread keeps.
    pub fn whole(&self, known: Option<&Known>) -> std::result::Result<Vec<u8>, ApiError> {
        let nothing = Known::default();
        let history = known.unwrap_or(&nothing);
        let (mut system, mut tools) = (self.system.map(RawJson::text), self.tools.map(RawJson::text));
        if known.is_some() {
            for (name, given, kept) in
                [("system", &mut system, &history.system), ("tools", &mut tools, &history.tools)]
            {
                if given.is_some() && *given != kept.as_deref() {
                    return Err(mismatch(name));
                }
                *given = kept.as_deref();
            }
        }
        let (old, new) = (history.messages.as_str(), self.messages);
        let rest: usize = self.others.iter().map(|(k, v)| k.raw().len() + v.text().len() + 4).sum();
        let inherited = system.map_or(0, str::len) + tools.map_or(0, str::len);
        let mut out = Vec::with_capacity(old.len() + new.len() + inherited + rest + 64);
        let mut member = |key: &str, value: &[&str]| {
            out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            for part in value {
                out.extend_from_slice(part.as_bytes());
            }
        };
        for (key, value) in [("system", system), ("tools", tools)] {
            if let Some(value) = value {
                member(key, &[value]);
            }
        }
        let comma = if old.is_empty() || new.is_empty() { "" } else { "," };
        member("messages", &["[", old, comma, new, "]"]);
        self.others.iter().for_each(|(key, value)| member(key.raw(), &[value.text()]));
        out.push(b'}');
        Ok(out)
    }

    /// [`Threaded::messages`] as they are kept: without `cache_control`, which each turn sets
    /// anew. The SDKs leave it out of a history that they send again, too: a request may have
    /// only a few of them.
    pub fn kept_messages(&self) -> Cow<'a, str> {
        let text = self.messages;
        if memmem::find(text.as_bytes(), b"\"cache_control\"").is_none() {
            return Cow::Borrowed(text);
        }
        let list = format!("[{text}]");
        let mut out = Vec::with_capacity(list.len());
        match unmarked(&mut Cursor::new(&list), &mut out) {
            Ok(()) => {
                let out = String::from_utf8(out).unwrap_or_default();
                let inner = out.strip_prefix('[').and_then(|out| out.strip_suffix(']'));
                Cow::Owned(inner.unwrap_or_default().to_owned())
            }
            Err(_) => Cow::Borrowed(text),
        }
    }
}

/// Where blocks are, in a message and in a block.
const WITH_BLOCKS: [&str; 5] = ["content", "source", "tool", "definition", "tool_references"];

/// Writes what comes next without the `cache_control` of its blocks.
fn unmarked(cur: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    match cur.peek() {
        Some(b'[') => {
            out.push(b'[');
            cur.array(|n, cur| {
                if n > 0 {
                    out.push(b',');
                }
                unmarked(cur, out)
            })?;
            out.push(b']');
        }
        Some(b'{') => {
            out.push(b'{');
            let mut first = true;
            cur.object(|key, cur| -> Result<()> {
                if key.raw() == "cache_control" {
                    cur.raw()?;
                    return Ok(());
                }
                out.extend_from_slice(if std::mem::replace(&mut first, false) { b"\"" } else { b",\"" });
                out.extend_from_slice(key.raw().as_bytes());
                out.extend_from_slice(b"\":");
                if WITH_BLOCKS.contains(&key.raw()) {
                    return unmarked(cur, out);
                }
                out.extend_from_slice(cur.raw()?.text().as_bytes());
                Ok(())
            })?;
            out.push(b'}');
        }
        _ => out.extend_from_slice(cur.raw()?.text().as_bytes()),
    }
    Ok(())
}

fn threaded(text: &str) -> Result<Option<Threaded<'_>>> {
    let mut cur = Cursor::new(text);
    let (mut thread, mut model, mut messages) = (None, None, None);
    let (mut system, mut tools) = (None, None);
    let mut others = Vec::new();
    cur.object(|key, cur| -> Result<()> {
        let slot = match key.raw() {
            "thread" => &mut thread,
            "messages" => &mut messages,
            "system" => &mut system,
            "tools" => &mut tools,
            "model" => {
                let value = cur.raw()?;
                model = Some(value);
                others.push((key, value));
                return Ok(());
            }
            _ => {
                others.push((key, cur.raw()?));
                return Ok(());
            }
        };
        if slot.replace(cur.raw()?).is_some() {
            // `whole` would make one of the two.
            return Err(Complaint::new(format!("{}: the key is there twice", key.raw())));
        }
        Ok(())
    })?;
    cur.end()?;
    let Some(thread) = thread.filter(|thread| !thread.is_null()) else { return Ok(None) };
    let model = model.ok_or_else(|| Complaint::required("model"))?;
    let messages = messages.ok_or_else(|| Complaint::required("messages"))?.text();
    let messages = messages.strip_prefix('[').and_then(|m| m.strip_suffix(']'));
    Ok(Some(Threaded {
        thread: read_thread(&mut thread.cursor()).under("thread")?,
        model: model.cursor().string().under("model")?.decode(),
        messages: messages
            .ok_or_else(|| Complaint::new("Input should be a valid list"))
            .under("messages")?
            .trim(),
        system: system.filter(|system| !system.is_null()),
        tools: tools.filter(|tools| !tools.is_null()),
        others,
    }))
}

fn read_thread<'a>(cur: &mut Cursor<'a>) -> Result<Thread<'a>> {
    let (mut kind, mut previous) = (None, None);
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "type" => kind = Some(cur.string().under("type")?),
            "previous_message_id" => previous = cur.opt_string().under("previous_message_id")?,
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    match kind.ok_or_else(|| Complaint::required("type"))?.decode().as_ref() {
        "create" => Ok(Thread::Create),
        "continue" => {
            let id = previous.ok_or_else(|| Complaint::required("previous_message_id"))?;
            Ok(Thread::Continue(id.decode()))
        }
        _ => Err(Complaint::new("Input should be 'create' or 'continue'").under(Step::Key("type"))),
    }
}

fn mismatch(name: &str) -> ApiError {
    let mut error = ApiError::invalid_request(format!(
        "{name}: not what the thread was created with; leave it out, or send the full conversation \
         with `thread: {{\"type\": \"create\"}}` to change it"
    ));
    error.details = Some(r#"{"error_code":"thread_fingerprint_mismatch"}"#.to_owned());
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(body: &str) -> Threaded<'_> {
        Threaded::read(body.as_bytes()).unwrap().unwrap()
    }

    fn value(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    const CREATE: &str = r#"{ "model" : "m","thread":{"type":"create"},"max_tokens":9,
        "system":[{"type":"text","text":"s"}],"tools":[{"name":"f"}],"messages": [ {"role":"user","content":"a, \u00e9 1.0"} ],"stream":true}"#;

    #[test]
    fn a_create_is_the_request_without_thread() {
        let mut want = value(CREATE.as_bytes());
        want.as_object_mut().unwrap().remove("thread");
        let create = read(CREATE);
        assert_eq!(create.thread, Thread::Create);
        assert_eq!(create.messages, r#"{"role":"user","content":"a, \u00e9 1.0"}"#);
        assert_eq!(value(&create.whole(None).unwrap()), want);
    }

    #[test]
    fn a_continue_has_what_came_before_and_what_is_new() {
        let next = r#"{"model":"m2","max_tokens":8,"thread":{"type":"continue","previous_message_id":"msg_\u0031"},
            "messages":[{"role":"user","content":"b"}]}"#;
        let known = Known {
            system: Some(r#"[{"type":"text","text":"s"}]"#.into()),
            tools: None,
            messages: r#"{"role":"user","content":"a, \u00e9 1.0"},{"role":"assistant","content":[]}"#.into(),
        };
        let next = read(next);
        assert_eq!(next.thread, Thread::Continue("msg_1".into()));
        let whole = next.whole(Some(&known)).unwrap();
        assert_eq!(
            String::from_utf8(whole).unwrap(),
            r#"{"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"a, \u00e9 1.0"},{"role":"assistant","content":[]},{"role":"user","content":"b"}],"model":"m2","max_tokens":8}"#
        );
    }

    #[test]
    fn nothing_new_goes_on_too() {
        let next = r#"{"model":"m","messages":[ ],"thread":{"type":"continue","previous_message_id":"x"}}"#;
        let known = Known { messages: r#"{"role":"user"}"#.into(), ..Known::default() };
        assert_eq!(
            value(&read(next).whole(Some(&known)).unwrap()),
            json!({"model": "m", "messages": [{"role": "user"}]})
        );
    }

    #[test]
    fn what_the_thread_keeps_may_be_repeated_but_not_changed() {
        let next = |more: &str| {
            format!(
                r#"{{"model":"m","messages":[],"thread":{{"type":"continue","previous_message_id":"x"}},{more}}}"#
            )
        };
        let known = Known { system: Some(r#""s""#.into()), ..Known::default() };
        let same = next(r#""system":"s","tools":null"#);
        assert_eq!(value(&read(&same).whole(Some(&known)).unwrap())["system"], "s");
        for (more, name) in [(r#""system":"t""#, "system"), (r#""tools":[]"#, "tools")] {
            let error = read(&next(more)).whole(Some(&known)).unwrap_err();
            assert_eq!(error.status, 400);
            assert!(error.message.starts_with(&format!("{name}: not what the thread")), "{}", error.message);
            assert_eq!(error.details.as_deref(), Some(r#"{"error_code":"thread_fingerprint_mismatch"}"#));
        }
    }

    #[test]
    fn bodies_without_it_are_left_alone() {
        for body in [r#"{"model":"m"}"#, r#"{"thread":null}"#, r#"{"metadata":{"thread":1}}"#] {
            assert!(Threaded::read(body.as_bytes()).unwrap().is_none(), "{body}");
        }
    }

    #[test]
    fn complaints_name_the_place() {
        for (body, message) in [
            (r#"{"thread":{"type":"create"},"messages":[]}"#, "model: Field required"),
            (r#"{"thread":{"type":"create"},"model":"m"}"#, "messages: Field required"),
            (
                r#"{"thread":{"type":"create"},"model":"m","messages":"x"}"#,
                "messages: Input should be a valid list",
            ),
            (r#"{"thread":{},"model":"m","messages":[]}"#, "thread.type: Field required"),
            (
                r#"{"thread":{"type":"x"},"model":"m","messages":[]}"#,
                "thread.type: Input should be 'create' or 'continue'",
            ),
            (
                r#"{"thread":{"type":"continue"},"model":"m","messages":[]}"#,
                "thread.previous_message_id: Field required",
            ),
            (r#"{"thread":7,"model":"m","messages":[]}"#, "thread: Input should be an object"),
            (
                r#"{"thread":{"type":"create"},"messages":[],"messages":[1]}"#,
                "messages: the key is there twice",
            ),
        ] {
            assert_eq!(Threaded::read(body.as_bytes()).unwrap_err().message, message, "{body}");
        }
    }

    #[test]
    fn marks_of_the_cache_are_not_kept() {
        let body = r#"{"model":"m","thread":{"type":"create"},"messages":[{"role":"user","content":[
            {"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"1","cache_control":{"type":"ephemeral"}}]},
            {"cache_control":{"type":"ephemeral"},"type":"text","text":"x \u00e9 \"cache_control\""}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"cache_control":1.50}}]}]}"#;
        let kept = read(body).kept_messages();
        assert_eq!(
            kept,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"1"}]},{"type":"text","text":"x \u00e9 \"cache_control\""}]},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"cache_control":1.50}}]}"#
        );
        let plain = read(CREATE);
        assert!(matches!(plain.kept_messages(), Cow::Borrowed(_)));
    }
}
