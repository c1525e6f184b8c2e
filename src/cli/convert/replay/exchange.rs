//! One recorded exchange, converted again.

use std::fs::File;
use std::path::Path;

use serde_json::Value;

use super::Verdict;
use super::again::{Again, Recorded};
use super::compare::{self, Difference, events};
use crate::cli::convert::capture::Folder;
use crate::cli::convert::input::read_whole;
use crate::convert::{self, Converted, Form, Profile, ReplyContext, StreamTranslator};
use crate::observe::capture::meta::{
    CLIENT_REQUEST, CLIENT_RESPONSE, META, UPSTREAM_REQUEST, UPSTREAM_RESPONSE, Upstream,
};
use crate::wire::anthropic::{ApiError, Request};

/// Why an exchange cannot be compared.
type Why = String;

/// Converts again what a folder holds, and compares.
pub(super) fn replay(dir: &Path) -> Verdict {
    if !dir.join(META).is_file() {
        return Verdict::CannotCompare(format!("it has no {META}: the exchange goes on, or was cut off"));
    }
    let folder = match Folder::read(dir) {
        Ok(folder) => folder,
        Err(e) => return Verdict::CannotCompare(crate::cli::in_one_line(&e)),
    };
    Exchange { folder, differences: Vec::new(), note: None }.verdict().unwrap_or_else(Verdict::CannotCompare)
}

struct Exchange {
    folder: Folder,
    differences: Vec<Difference>,
    /// What could not be compared.
    note: Option<String>,
}

impl Exchange {
    fn verdict(mut self) -> Result<Verdict, Why> {
        let missing = self.folder.meta.missing_bytes;
        if missing > 0 {
            return Err(format!("{missing} bytes of it could not be recorded: the disk was too slow"));
        }
        let request = self.read(CLIENT_REQUEST)?.ok_or(format!("it has no {CLIENT_REQUEST}"))?;
        match Request::parse(&request) {
            Err(error) => self.refused(&error)?,
            Ok(_) if self.folder.meta.model_id.is_none() => {
                return Err(format!("it was refused before any conversion: {}", self.folder.meta.error));
            }
            Ok(request) => self.request(&request)?,
        }
        Ok(match self.differences.is_empty() {
            true => Verdict::Same(self.note),
            false => Verdict::Differs(self.differences),
        })
    }

    fn request(&mut self, request: &Request<'_>) -> Result<(), Why> {
        let meta = &self.folder.meta;
        let profile = Profile::named(&meta.profile)
            .ok_or_else(|| format!("this version has no profile `{}`", meta.profile))?;
        let mut converted = match convert::request(request, profile, &self.folder.spec()) {
            Ok(converted) => converted,
            Err(error) => return self.refused(&error),
        };
        converted.reply.provider.clone_from(&meta.provider);
        converted.reply.seed = meta.seed;
        if converted.answer_locally {
            return self.local(converted);
        }
        match self.read(UPSTREAM_REQUEST)? {
            Some(then) => {
                let (then, now) =
                    (parsed(UPSTREAM_REQUEST, &then)?, parsed(UPSTREAM_REQUEST, &converted.body)?);
                self.differences.extend(compare::json(UPSTREAM_REQUEST, &then, &now));
            }
            None if meta.status >= 400 && meta.upstream.is_none() => {
                // Then it was refused, now it would go upstream; or the proxy had no way to ask.
                return Err(format!("it has no {UPSTREAM_REQUEST}: {}", meta.error));
            }
            None => return Err(format!("it has no {UPSTREAM_REQUEST}")),
        }
        match self.folder.meta.upstream.clone() {
            Some(upstream) => self.answer(upstream, converted.reply),
            None => {
                self.only_request("the upstream gave no answer");
                Ok(())
            }
        }
    }

    /// The upstream's answer.
    fn answer(&mut self, upstream: Upstream, context: ReplyContext) -> Result<(), Why> {
        let Some(file) = self.folder.body(CLIENT_RESPONSE) else {
            self.only_request("the client left before it got anything");
            return Ok(());
        };
        let Upstream { status, content_type, complete, .. } = upstream;
        let body = self.read_any(UPSTREAM_RESPONSE)?.unwrap_or_default();
        let recorded = Recorded { status, content_type, body };
        let events = file.extension().is_some_and(|e| e == "sse");
        let then = read(&file)?;
        let again = if status >= 400 {
            recorded.error(&context)
        } else if !self.folder.meta.stream {
            recorded.whole(context)
        } else {
            match recorded.stream(context.clone(), false) {
                // The client had its head already, because the upstream was silent for long.
                Again::Refused(_) if events => recorded.stream(context, true),
                again => again,
            }
        };
        // Behind its end mark an upstream is not read to the end.
        let cut = !(complete || recorded.marked()) || self.folder.meta.outcome == "client_gone";
        if cut && (recorded.form() == Form::Whole || !events) {
            return self.broken(again, &then);
        }
        let name = name_of(&file);
        match again {
            Again::Stream { all, before_end } if events => self.stream(&name, &then, &all, before_end, cut),
            again => self.whole(&name, &then, events, again)?,
        }
        Ok(())
    }

    /// An answer that did not come to its end and that is no stream: the same, or not to be compared.
    fn broken(&mut self, again: Again, then: &[u8]) -> Result<(), Why> {
        let before = self.differences.len();
        let name = self.folder.body(CLIENT_RESPONSE).map(|f| name_of(&f)).unwrap_or_default();
        let compared = self.whole(&name, then, name.ends_with(".sse"), again);
        if compared.is_err() || self.differences.len() > before {
            self.differences.truncate(before);
            let error = &self.folder.meta.error;
            let error = if error.is_empty() { String::new() } else { format!(" ({error})") };
            self.only_request(&format!("the upstream's answer did not come to its end{error}"));
        }
        Ok(())
    }

    fn stream(&mut self, name: &str, then: &[u8], all: &[u8], before_end: usize, cut: bool) {
        let (mut then, now) = (events(then), events(all));
        let found = compare::stream(name, &then, &now, false);
        if found.is_none() || !cut {
            self.differences.extend(found);
            return;
        }
        // How it ended depended on clocks, or on the client: only what came before counts.
        if then.last().is_some_and(|e| e.name == "error") {
            then.pop();
        }
        let now = events(all.get(..before_end).unwrap_or(all));
        match compare::stream(name, &then, &now, true) {
            None => {
                let of = if self.folder.meta.outcome == "client_gone" {
                    "the client left"
                } else {
                    "it was ended"
                };
                self.note = Some(format!("as far as it goes: {of} after {} events", then.len()));
            }
            found => self.differences.extend(found),
        }
    }

    /// Everything but events that stayed events.
    fn whole(&mut self, name: &str, then: &[u8], then_events: bool, again: Again) -> Result<(), Why> {
        let (status, body) = match again {
            Again::Refused(error) => return self.compare_error(name, then, then_events, &error),
            Again::Whole(body) => (200, body),
            Again::Stream { all, .. } => {
                let now = format!("a stream of {} events", events(&all).len());
                self.differences.push(Difference::new(name, "", "a JSON body", now));
                return Ok(());
            }
        };
        if then_events {
            self.differences.push(Difference::new(name, "", "a stream", "a JSON body"));
            return Ok(());
        }
        self.status(name, status);
        let difference = compare::json(name, &parsed(name, then)?, &parsed("the answer", &body)?);
        self.differences.extend(difference);
        Ok(())
    }

    /// The request was refused by us.
    fn refused(&mut self, error: &ApiError) -> Result<(), Why> {
        let Some(file) = self.folder.body(CLIENT_RESPONSE) else {
            return Err("the client left before it got anything".to_owned());
        };
        let events = file.extension().is_some_and(|e| e == "sse");
        self.compare_error(&name_of(&file), &read(&file)?, events, error)
    }

    fn compare_error(
        &mut self,
        name: &str,
        then: &[u8],
        then_events: bool,
        error: &ApiError,
    ) -> Result<(), Why> {
        if then_events {
            let now = format!("HTTP {} {}", error.status, error.kind.as_str());
            self.differences.push(Difference::new(name, "", "a stream", now));
            return Ok(());
        }
        let mut now = Vec::new();
        error.write("", &mut now);
        self.status(name, error.status);
        let difference = compare::json(name, &parsed(name, then)?, &parsed("the error", &now)?);
        self.differences.extend(difference);
        Ok(())
    }

    fn status(&mut self, name: &str, now: u16) {
        let then = self.folder.meta.status;
        if then != 0 && then != now {
            self.differences.push(Difference::new(name, "HTTP status", then.to_string(), now.to_string()));
        }
    }

    /// `max_tokens: 0`: nobody was asked.
    fn local(&mut self, converted: Converted) -> Result<(), Why> {
        let Some(file) = self.folder.body(CLIENT_RESPONSE) else {
            return Err("the client left before it got anything".to_owned());
        };
        let (name, then) = (name_of(&file), read(&file)?);
        if !converted.client_streams {
            let now = Again::Whole(convert::response::empty(converted.reply).body);
            return self.whole(&name, &then, name.ends_with(".sse"), now);
        }
        let mut all = Vec::new();
        StreamTranslator::new(converted.reply).finish_empty(&mut all);
        self.stream(&name, &then, &all, all.len(), false);
        Ok(())
    }

    fn only_request(&mut self, why: &str) {
        self.note = Some(format!("only the request could be compared: {why}"));
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Why> {
        let path = self.folder.dir.join(name);
        if path.is_file() { read(&path).map(Some) } else { Ok(None) }
    }

    fn read_any(&self, name: &str) -> Result<Option<Vec<u8>>, Why> {
        self.folder.body(name).map(|path| read(&path)).transpose()
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, Why> {
    let name = path.display().to_string();
    let read = File::open(path)
        .map_err(|e| format!("cannot read {name}: {e}"))
        .and_then(|file| read_whole(file, &name).map_err(|e| crate::cli::in_one_line(&e)))?;
    Ok(read)
}

fn parsed(name: &str, body: &[u8]) -> Result<Value, Why> {
    serde_json::from_slice(body).map_err(|e| format!("{name} is no JSON: {e}"))
}
