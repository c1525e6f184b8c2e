//! The held end of an answer: the upstream has said all, but the end waits for work of the
//! proxy's own.

use super::recorded::{Recorded, Resumed};
use crate::wire::anthropic::WebTool;
use crate::wire::json::{Piece, Pieces};

/// Most that is kept of the inputs of all calls of one answer, in bytes.
pub const MAX_KEPT: usize = 2 << 20;

/// What the end of an answer waits for. Default: nothing, and nothing is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds {
    /// Tool calls are kept for [`HeldEnd::take_calls`]; the end of an answer that has any is
    /// held until the verdicts on them are here.
    pub verdicts: bool,
    /// Calls of web tools are kept for [`HeldEnd::take_web_calls`]; the end of an answer that has
    /// any is held until their results are in it. Wants [`super::ReplyContext::record`], too.
    pub rounds: bool,
    /// The end of every answer is held.
    pub commit: bool,
}

impl Holds {
    /// There is something to wait for.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// A tool call that is at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedCall {
    /// Its id, as the client has it.
    pub id: String,
    /// The tool's name, as the client has it.
    pub name: String,
    /// The web tool that it calls; none: the client runs it.
    pub web: Option<WebTool>,
    /// Its input: a JSON object. Text that is no JSON where the call is not whole.
    pub input: String,
    /// False: the token limit cut it, or it is larger than is kept; `input` is only its beginning.
    pub whole: bool,
}

/// The end of an answer, streamed or whole, for those who work on it before it goes out.
pub trait HeldEnd {
    /// The calls of the client's tools that came to their end since they were last taken.
    fn take_calls(&mut self) -> Vec<CompletedCall>;

    /// The calls of web tools, likewise; none where the answer was cut off or refused.
    fn take_web_calls(&mut self) -> Vec<CompletedCall>;

    /// Adds a block of our own, as JSON. `counts`: a web tool's work that is to be counted.
    fn insert(&mut self, block: &[u8], counts: Option<WebTool>, out: &mut Vec<u8>);

    /// What a further round goes on from; none: the answer ends here, because it has calls that
    /// the client runs, or because nothing is held or recorded. `out` is what all the others
    /// were given.
    fn resumed(&self, out: &[u8]) -> Option<Resumed>;

    /// The upstream has said all, and the end waits for [`HeldEnd::conclude`].
    fn is_held(&self) -> bool;

    /// What was found on the calls: the value of `safeguard_results`, as JSON. Without it the
    /// end of an answer that has calls says that the verdicts are unavailable.
    fn judged(&mut self, safeguard_results: String);

    /// What the answer said, if [`ReplyContext::record`] asked for it. `out` is what
    /// [`HeldEnd::conclude`] will append to.
    ///
    /// [`ReplyContext::record`]: super::ReplyContext::record
    fn recorded(&self, out: &[u8]) -> Option<Recorded>;

    /// Appends the end. Nothing, if it is not held.
    fn conclude(&mut self, out: &mut Vec<u8>);
}

/// What a machine keeps while its answer comes.
#[derive(Debug)]
pub(super) struct Hold {
    holds: Holds,
    /// The call whose block is open. Its input is the inside of a JSON string still.
    open: Option<CompletedCall>,
    done: Vec<CompletedCall>,
    /// What may still be kept, in bytes.
    left: usize,
    /// There was a call that the client runs.
    called: bool,
    /// There was a call of a web tool.
    web_called: bool,
    /// `stop_reason` and `stop_sequence` of the end that is held.
    pub(super) ending: Option<(&'static str, Option<String>)>,
    pub(super) safeguard_results: Option<String>,
}

impl Hold {
    /// None, if nothing is to be held.
    pub(super) fn new(holds: Holds) -> Option<Box<Self>> {
        holds.any().then(|| {
            Box::new(Self {
                holds,
                open: None,
                done: Vec::new(),
                left: MAX_KEPT,
                called: false,
                web_called: false,
                ending: None,
                safeguard_results: None,
            })
        })
    }

    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        let size = |c: &CompletedCall| size_of::<CompletedCall>() + c.id.len() + c.name.len() + c.input.len();
        self.open.iter().chain(&self.done).map(size).sum::<usize>()
            + self.safeguard_results.as_ref().map_or(0, String::len)
    }

    /// A call's block begins.
    pub(super) fn open(&mut self, id: &str, name: &str, web: Option<WebTool>) {
        self.called |= web.is_none();
        self.web_called |= web.is_some();
        let wanted = if web.is_some() { self.holds.rounds } else { self.holds.verdicts };
        if wanted {
            let (id, name) = (id.to_owned(), name.to_owned());
            self.open = Some(CompletedCall { id, name, web, input: String::new(), whole: true });
        }
    }

    /// More of its input, as it went out: the inside of a JSON string.
    fn keep(&mut self, inner: &[u8]) {
        let Some(call) = self.open.as_mut().filter(|call| call.whole) else { return };
        match std::str::from_utf8(inner) {
            Ok(text) if text.len() <= self.left => {
                self.left -= text.len();
                call.input.push_str(text);
            }
            _ => call.whole = false,
        }
    }

    /// Its block ends. `whole`: it is not cut off.
    pub(super) fn close(&mut self, whole: bool) {
        let Some(mut call) = self.open.take() else { return };
        let mut input = String::with_capacity(call.input.len());
        for piece in Pieces::over(&call.input) {
            match piece {
                Piece::Plain(text) => input.push_str(text),
                Piece::Char(c) => input.push(c),
            }
        }
        call.input = input;
        call.whole &= whole;
        self.done.push(call);
    }

    /// Takes the calls of web tools, or the others.
    pub(super) fn take_calls(&mut self, web: bool) -> Vec<CompletedCall> {
        let (taken, left) = std::mem::take(&mut self.done).into_iter().partition(|c| c.web.is_some() == web);
        self.done = left;
        taken
    }

    /// There was a call that the client runs.
    pub(super) fn called(&self) -> bool {
        self.called
    }

    /// Whether the end has to wait.
    pub(super) fn waits(&self) -> bool {
        self.holds.commit || (self.holds.verdicts && self.called) || (self.holds.rounds && self.web_called)
    }

    /// The value of `safeguard_results`; none: nobody judges.
    pub(super) fn safeguard_results(&self) -> Option<&str> {
        match &self.safeguard_results {
            _ if !self.holds.verdicts => None,
            Some(results) => Some(results),
            None if self.called => Some(UNAVAILABLE),
            None => Some(NO_CALLS),
        }
    }
}

/// Nobody has said anything on calls that are there.
const UNAVAILABLE: &str =
    r#"[{"type":"dangerous_tool_use","status":{"type":"unavailable","reason":"error"}}]"#;
/// There is nothing to judge.
const NO_CALLS: &str = r#"[{"type":"dangerous_tool_use","status":{"type":"available","tool_uses":{}}}]"#;

/// Lets `write` append more of the open call's input, and keeps what it wrote where that is asked for.
pub(super) fn kept<R>(
    hold: Option<&mut Hold>,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> R,
) -> R {
    let Some(hold) = hold else { return write(out) };
    let start = out.len();
    let result = write(out);
    hold.keep(out.get(start..).unwrap_or_default());
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{
        Feed, Fold, ModelSpec, Profile, ReplyContext, UpstreamEnd, response, response_held,
    };
    use crate::wire::anthropic::Request;

    const VERDICTS: Holds = Holds { verdicts: true, rounds: false, commit: false };
    const COMMIT: Holds = Holds { verdicts: false, rounds: false, commit: true };

    fn context(holds: Holds) -> ReplyContext {
        let body =
            br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}],"safeguards":[{}]}"#;
        let profile = Profile::named("generic").unwrap();
        let request = Request::parse(body).unwrap();
        let reply = crate::convert::request(&request, profile, &ModelSpec::default()).unwrap().reply;
        ReplyContext { holds, ..reply }
    }

    fn event(delta: &str, finish: &str) -> String {
        format!("data: {{\"choices\":[{{\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
    }

    fn call(index: u8, id: &str, name: &str, arguments: &str) -> String {
        let arguments = serde_json::to_string(arguments).unwrap();
        event(
            &format!(
                r#"{{"tool_calls":[{{"index":{index},"id":"{id}","function":{{"name":"{name}","arguments":{arguments}}}}}]}}"#
            ),
            "null",
        )
    }

    /// Two calls, the second in pieces, with escapes.
    fn stream() -> Vec<String> {
        vec![
            event(r#"{"content":"I look."}"#, "null"),
            call(0, "call_a", "Bash", r#"{"command":"ls \"x\"\n"}"#),
            call(1, "call_b", "Read", r#"{"path":"#),
            event(r#"{"tool_calls":[{"index":1,"function":{"arguments":"\"\\u00e9\"}"}}]}"#, "null"),
            event("{}", r#""tool_calls""#),
            "data: [DONE]\n\n".to_owned(),
        ]
    }

    fn feed(feed: &mut Feed, pieces: &[String]) -> String {
        let mut out = Vec::new();
        for piece in pieces {
            feed.take(piece.as_bytes(), &mut out, || ()).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn new(holds: Holds) -> Feed {
        Feed::new("text/event-stream".to_owned(), context(holds))
    }

    fn two() -> Vec<CompletedCall> {
        let call = |id: &str, name: &str, input: &str| CompletedCall {
            id: id.into(),
            name: name.into(),
            web: None,
            input: input.into(),
            whole: true,
        };
        vec![
            call("call_a", "Bash", r#"{"command":"ls \"x\"\n"}"#),
            call("call_b", "Read", r#"{"path":"\u00e9"}"#),
        ]
    }

    #[test]
    fn a_held_end_changes_nothing_but_when_it_comes() {
        let plain = feed(&mut new(Holds::default()), &stream());
        for holds in [VERDICTS, COMMIT, Holds { verdicts: true, ..COMMIT }] {
            let mut held = new(holds);
            let before = feed(&mut held, &stream());
            assert!(held.translator.is_held());
            assert!(plain.starts_with(&before) && !before.contains("message_delta"), "{before}");
            let mut out = Vec::new();
            let end = held.translator.held_end();
            end.judged("[7]".to_owned());
            end.conclude(&mut out);
            let told = if holds.verdicts {
                plain.replace(r#"[{"type":"dangerous_tool_use","status":{"type":"unsupported"}}]"#, "[7]")
            } else {
                plain.clone()
            };
            assert_eq!(before + &String::from_utf8(out).unwrap(), told);
            // Once.
            let mut again = Vec::new();
            held.translator.held_end().conclude(&mut again);
            assert!(again.is_empty() && !held.translator.is_held());
        }
    }

    #[test]
    fn a_call_is_there_as_soon_as_the_next_one_begins() {
        let mut feed_ = new(VERDICTS);
        feed(&mut feed_, &stream()[..2]);
        assert_eq!(feed_.translator.held_end().take_calls(), []);
        feed(&mut feed_, &stream()[2..3]);
        assert_eq!(feed_.translator.held_end().take_calls(), two()[..1]);
        feed(&mut feed_, &stream()[3..]);
        assert_eq!(feed_.translator.held_end().take_calls(), two()[1..]);
        assert_eq!(feed_.translator.held_end().take_calls(), []);
        assert!(feed_.translator.retained() > 0);
    }

    #[test]
    fn calls_of_whole_answers_are_kept_too() {
        let mut fold = Fold::new(context(VERDICTS));
        for piece in stream() {
            if fold.take(piece.as_bytes()).unwrap() {
                break;
            }
        }
        let mut folded = fold.close(UpstreamEnd::DoneMarker).unwrap();
        let body = br#"{"choices":[{"message":{"content":"I look.","tool_calls":[
            {"id":"call_a","function":{"name":"Bash","arguments":"{\"command\":\"ls \\\"x\\\"\\n\"}"}},
            {"id":"call_b","function":{"name":"Read","arguments":"{\"path\":\"\\u00e9\"}"}}]},"finish_reason":"tool_calls"}]}"#;
        let mut whole = response_held(Vec::new(), body, context(VERDICTS)).unwrap();
        let plain = response(body, context(Holds::default())).unwrap();
        for translator in [&mut folded, &mut whole] {
            let (end, out) = translator.held_end();
            assert!(end.is_held());
            assert_eq!(end.take_calls(), two());
            end.conclude(out);
        }
        let told = String::from_utf8(whole.answer().body).unwrap();
        assert!(
            told.contains(r#""status":{"type":"unavailable","reason":"error"}"#),
            "nobody judged: {told}"
        );
        let was = String::from_utf8(plain.body).unwrap();
        assert_eq!(told.replace(r#"unavailable","reason":"error""#, r#"unsupported""#), was);
    }

    #[test]
    fn an_answer_without_calls_waits_for_no_verdict() {
        let text = [event(r#"{"content":"hi"}"#, r#""stop""#), "data: [DONE]\n\n".to_owned()];
        let mut verdicts = new(VERDICTS);
        let out = feed(&mut verdicts, &text);
        assert!(!verdicts.translator.is_held());
        assert!(out.contains(r#""status":{"type":"available","tool_uses":{}}"#), "{out}");
        assert!(out.ends_with("{\"type\":\"message_stop\"}\n\n"));
        let mut commit = new(COMMIT);
        let out = feed(&mut commit, &text);
        assert!(commit.translator.is_held() && !out.contains("message_delta"));
    }

    #[test]
    fn a_call_that_was_cut_is_not_whole() {
        let mut cut = new(VERDICTS);
        feed(
            &mut cut,
            &[
                call(0, "call_a", "Bash", r#"{"command":"rm"#),
                event("{}", r#""length""#),
                "data: [DONE]\n\n".to_owned(),
            ],
        );
        let calls = cut.translator.held_end().take_calls();
        assert_eq!((calls.len(), calls[0].whole, calls[0].input.as_str()), (1, false, r#"{"command":"rm"#));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut feed_ = new(VERDICTS);
        let piece = "x".repeat(100_000);
        feed(&mut feed_, &[call(0, "call_a", "Write", r#"{"text":""#)]);
        for _ in 0..60 {
            let more = format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{piece}"}}}}]}}"#);
            feed(&mut feed_, &[event(&more, "null")]);
            assert!(feed_.translator.retained() <= MAX_KEPT + 4096);
        }
        let end = r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"}"}}]}"#;
        feed(&mut feed_, &[event(end, r#""tool_calls""#), "data: [DONE]\n\n".to_owned()]);
        let calls = feed_.translator.held_end().take_calls();
        assert!(!calls[0].whole && calls[0].input.len() <= MAX_KEPT);
        assert!(feed_.translator.is_held());
    }

    #[test]
    fn an_error_ends_a_held_answer() {
        let mut held = new(VERDICTS);
        feed(&mut held, &stream());
        let mut out = Vec::new();
        held.translator.fail(&crate::wire::anthropic::ApiError::bad_gateway("x"), &mut out);
        assert!(out.starts_with(b"event: error"));
        out.clear();
        held.translator.held_end().conclude(&mut out);
        assert!(out.is_empty() && !held.translator.is_held());
    }
}
