//! Tool calls: one block after the other, each closed only when its arguments are whole.

use super::{Held, Machine};
use crate::convert::arguments::{Arguments as Forwarder, Outcome};
use crate::convert::hold::kept;
use crate::convert::ids::{fingerprint, usable};
use crate::convert::reply::ThinkingMode;
use crate::convert::sink::{Kind, Sink, clean};
use crate::convert::stop::Finish;
use crate::convert::text::Fragment;
use crate::wire::anthropic::ApiError;
use crate::wire::json::{JsonStr, escape};
use crate::wire::openai::{Arguments, Choice, Delta, ToolDelta};

impl<S: Sink> Machine<S> {
    pub(super) fn call(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.calls.modern |= !delta.tool_calls.is_empty();
        for call in &delta.tool_calls {
            self.tool_delta(call, out)?;
        }
        match &delta.function_call {
            Some(call) if !self.calls.modern => self.tool_delta(call, out),
            _ => Ok(()),
        }
    }

    pub(super) fn tool_delta(&mut self, delta: &ToolDelta<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        // Text that might have been the beginning of a tag comes before the call.
        self.settle_half(None, out)?;
        self.flush_tags(out)?;
        let at = self.calls.take(delta, self.whole)?;
        match delta.arguments {
            None => {}
            Some(Arguments::Text(text)) => {
                let half = self.calls.list.get_mut(at).map(|call| &mut call.half);
                match half.filter(|half| !half.is_idle(text)) {
                    None => self.arguments(at, &clean(text), out),
                    Some(half) => {
                        let mut inner = Vec::new();
                        escape(&half.join(text), &mut inner);
                        self.arguments(at, &String::from_utf8_lossy(&inner), out);
                    }
                }
            }
            Some(Arguments::Value(value)) => {
                let mut inner = Vec::new();
                value.write_compact_escaped(&mut inner);
                self.arguments(at, &String::from_utf8_lossy(&inner), out);
            }
        }
        self.advance(out)
    }

    pub(super) fn arguments(&mut self, at: usize, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() || at < self.calls.current {
            // Nothing, or something behind the end of an object.
            return;
        }
        self.output_bytes += text.len() as u64;
        let Some(call) = self.calls.list.get_mut(at) else { return };
        if !call.opened {
            call.wait(text);
            return;
        }
        let hold = self.hold.as_deref_mut();
        self.sink.delta(out, |out| kept(hold, out, |out| call.arguments.feed(text, out)));
    }

    /// Opens the call whose turn it is, and goes on to the next when one is complete.
    pub(super) fn advance(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        while let Some(call) = self.calls.list.get(self.calls.current) {
            if !call.opened {
                if call.name.is_empty() {
                    return Ok(());
                }
                self.open_call(out);
                continue;
            }
            let next_known =
                self.calls.list.get(self.calls.current + 1).is_some_and(|next| !next.name.is_empty());
            if !(call.arguments.is_complete() && next_known) {
                break;
            }
            self.finish_call(false, out)?;
        }
        if !self.held.is_empty() && self.calls.all_complete() {
            self.release(out)?;
        }
        Ok(())
    }

    pub(super) fn open_call(&mut self, out: &mut Vec<u8>) {
        let at = self.calls.current;
        let Some(call) = self.calls.list.get_mut(at) else { return };
        call.opened = true;
        let told = call.id.clone();
        let web = self.context.served.tool(&call.name);
        let own = self.context.tool_names.iter().find(|(upstream, _)| *upstream == call.name);
        let name = match (web, own) {
            (Some(tool), _) => tool.name().to_owned(),
            (None, Some((_, own))) => own.clone(),
            (None, None) => call.name.clone(),
        };
        let signature = call.thought_signature.take();
        let id = self.claimed.pop_front().unwrap_or_else(|| self.claim(&told, web.is_some()));
        if let Some(signature) =
            signature.filter(|_| self.context.thinking != ThinkingMode::Off && !self.whole)
        {
            // It has to come back on this very call: a thinking block of its own carries it.
            self.close(out);
            self.begin(Kind::Thinking, out);
            self.thoughts.gemini.push((id.clone(), signature));
        }
        self.close(out);
        self.space.clear();
        self.open = Some(Kind::Tool);
        self.blocks += 1;
        let kind = if web.is_some() { "server_tool_use" } else { "tool_use" };
        self.sink.open_tool(kind, &id, &name, out);
        if let Some(hold) = &mut self.hold {
            hold.open(&id, &name, web);
        }
        let Some(call) = self.calls.list.get_mut(at) else { return };
        let pending = std::mem::take(&mut call.pending);
        let hold = self.hold.as_deref_mut();
        self.sink.delta(out, |out| kept(hold, out, |out| call.arguments.feed(&pending, out)));
    }

    /// The id that a call has for the client: the upstream's if it can be used, else one of ours.
    /// `web`: the call is one of those that we carry out.
    fn claim(&mut self, told: &str, web: bool) -> String {
        if web {
            return self.ids.next("srvtoolu_01");
        }
        let print = fingerprint(told);
        let taken = self.context.history_ids.binary_search(&print).is_ok() || self.used_ids.contains(&print);
        let id = if usable(told) && !taken { told.to_owned() } else { self.ids.next("toolu_01") };
        self.used_ids.push(fingerprint(&id));
        id
    }

    /// The thinking block of a whole answer, which comes first, carries the signatures of all its calls.
    pub(super) fn sign_calls(&mut self, choices: &[Choice<'_>], out: &mut Vec<u8>) {
        let calls = || choices.iter().flat_map(|c| &c.delta.tool_calls).filter(|c| c.name.is_some());
        if self.context.thinking == ThinkingMode::Off || calls().all(|c| c.thought_signature.is_none()) {
            return;
        }
        self.begin(Kind::Thinking, out);
        for call in calls() {
            let web = call.name.and_then(|name| self.context.served.tool(&name.decode()));
            let id = self.claim(&call.id.map(JsonStr::decode).unwrap_or_default(), web.is_some());
            if let Some(signature) = call.thought_signature {
                self.thoughts.gemini.push((id.clone(), signature.decode().into_owned()));
            }
            self.claimed.push_back(id);
        }
    }

    /// Ends the call whose turn it is. True: the token limit cut it, or cut the one before it
    /// (`after_cut`), so that no error may follow: what was closed in the middle needs its `max_tokens`.
    fn finish_call(&mut self, after_cut: bool, out: &mut Vec<u8>) -> Result<bool, ApiError> {
        let cut = self.finish == Some(Finish::Length);
        let Some(call) = self.calls.list.get_mut(self.calls.current) else { return Ok(after_cut) };
        let mut whole = true;
        let hold = self.hold.as_deref_mut();
        match call.arguments.end() {
            Outcome::Complete => {}
            Outcome::None => self.sink.delta(out, |out| kept(hold, out, |out| out.extend_from_slice(b"{}"))),
            Outcome::Whole(text) => {
                self.sink.delta(out, |out| kept(hold, out, |out| out.extend_from_slice(&text)));
            }
            // The token limit cut it: stop_reason says so, and nobody runs the call.
            Outcome::Incomplete if cut => whole = false,
            _ if cut && (self.whole || after_cut) => whole = false,
            // Never closed: clients run what is closed.
            Outcome::Incomplete if !self.whole => return Err(unusable("incomplete JSON", &call.name)),
            Outcome::Incomplete | Outcome::Invalid => return Err(unusable("invalid JSON", &call.name)),
            Outcome::NotObject => return Err(unusable("non-object", &call.name)),
        }
        call.arguments = Forwarder::default();
        self.calls.current += 1;
        self.open = None;
        self.completed_block = true;
        self.sink.close(whole, out);
        if let Some(hold) = &mut self.hold {
            hold.close(whole);
        }
        Ok(after_cut || !whole)
    }

    /// Ends all calls, and tells what waited for them.
    pub(super) fn finish_calls(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let mut cut = false;
        while let Some(call) = self.calls.list.get(self.calls.current) {
            if call.name.is_empty() {
                // It never got a name: nobody could run it.
                self.summary.losses.add(|| "tool_calls".into(), "dropped:unnamed_tool_call");
                self.calls.current += 1;
                continue;
            }
            if !call.opened {
                self.open_call(out);
            }
            cut = self.finish_call(cut, out)?;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return Ok(());
        }
        self.finish_calls(out)?;
        for held in held {
            match held {
                Held::Thinking(text) => self.emit_thinking(Fragment::Escaped(&text), out)?,
                Held::Text(text) => self.emit_text(Fragment::Escaped(&text), out)?,
                Held::Details(text, details) => {
                    self.think_details(text.as_deref().map(Fragment::Escaped), &details, out)?;
                }
            }
        }
        Ok(())
    }
}

fn unusable(how: &str, tool: &str) -> ApiError {
    ApiError::bad_gateway(format!("upstream returned {how} arguments for tool {tool}"))
}
