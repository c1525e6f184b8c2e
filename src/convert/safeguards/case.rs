//! What a judge has to know of a request, taken once for all calls of its answer.

use super::fence::{Fenced, compact, string};
use super::talk;
use crate::wire::anthropic::Request;
use crate::wire::json::{JsonError, JsonStr, RawJson};

/// Most of the rules, in bytes: a rule that is left out is a rule that does not count.
const RULES: usize = 64 << 10;
/// Most of each other fact, in bytes.
const FACT: usize = 3 << 10;
/// Most of them all, in bytes.
const FACTS: usize = 24 << 10;

/// Facts of no use to a judge: the form's version, how Claude Code pairs requests and verdicts, and
/// what the facts were at earlier calls.
const NOISE: [&str; 3] = ["v", "classifier_facts", "prior_turn_context"];

/// What a judge has to know of a request. At most about 150 KB; it holds nothing of the request
/// itself.
#[derive(Debug)]
pub struct Case {
    /// Context and conversation, for the judge.
    pub(super) prompt: Fenced,
    /// All rules are in it.
    pub(super) complete: bool,
}

impl Case {
    /// None, if the request does not ask for verdicts on dangerous tool calls.
    ///
    /// `seed`: random, or foreign text might know what divides it from ours. `delegated`: the
    /// request is a subagent's, so what it has for user turns was written by another agent.
    pub fn of(request: &Request<'_>, seed: u64, delegated: bool) -> Option<Self> {
        let asked = request.safeguards.and_then(dangerous_tool_use)?;
        let mut prompt = Fenced::new(seed);
        prompt.section("RULES AND FACTS FROM THE USER'S CLIENT");
        let complete = facts(asked.context, &mut prompt);
        prompt.section("CONVERSATION SO FAR");
        talk::write(&request.messages, delegated, &mut prompt);
        Some(Self { prompt, complete })
    }
}

struct Asked<'a> {
    context: Option<RawJson<'a>>,
}

/// The entry of that type. What has another form than expected counts as not there.
fn dangerous_tool_use(safeguards: RawJson<'_>) -> Option<Asked<'_>> {
    let mut found = None;
    let _ = safeguards.cursor().array(|_, cur| {
        let entry = cur.raw()?;
        if let Some(asked) = asked(entry) {
            found.get_or_insert(asked);
        }
        Ok::<_, JsonError>(())
    });
    found
}

fn asked(entry: RawJson<'_>) -> Option<Asked<'_>> {
    let (mut named, mut context) = (false, None);
    fields(entry, |key, value| {
        if key.is("type") {
            named |= value.text() == "\"dangerous_tool_use\"";
        } else if key.is("classifier_context") {
            context = Some(value);
        }
    });
    named.then_some(Asked { context })
}

fn fields<'a>(object: RawJson<'a>, mut field: impl FnMut(JsonStr<'a>, RawJson<'a>)) {
    if object.is_object() {
        let _ = object.cursor().object(|key, cur| {
            field(key, cur.raw()?);
            Ok::<_, JsonError>(())
        });
    }
}

/// Writes the context, the rules whole, and tells whether they are.
fn facts(context: Option<RawJson<'_>>, out: &mut Fenced) -> bool {
    let Some(context) = context.filter(|c| c.is_object()) else {
        out.line("(none were given)");
        return true;
    };
    let (mut rules, mut left, mut complete) = (RULES, FACTS, true);
    fields(context, |key, value| {
        let mut label = String::new();
        string(&key.decode(), &mut label);
        if label.len() > 100 || NOISE.iter().any(|noise| key.is(noise)) {
            return;
        }
        let value = compact(value);
        if key.is("rules") || key.is("auto_mode") {
            complete &= value.len() <= rules;
            rules = rules.saturating_sub(value.len());
            out.value(&label, &value, RULES);
        } else if left > 0 {
            out.value(&label, &value, FACT.min(left));
            left = left.saturating_sub(value.len().min(FACT) + label.len() + 40);
        }
    });
    complete
}
