//! One recorded exchange, converted again.

use std::fs::File;
use std::path::Path;

use serde_json::Value;

use super::Verdict;
use super::again::{Again, Recorded, Way};
use super::compare::{self, Difference, events};
use crate::cli::convert::capture::Folder;
use crate::cli::convert::input::read_whole;
use crate::convert::native::History;
use crate::convert::{self, Converted, Form, Profile, StreamTranslator};
use crate::observe::capture::meta::{
    CLIENT_REQUEST, CLIENT_RESPONSE, META, UPSTREAM_REQUEST, UPSTREAM_RESPONSE, Upstream,
};
use crate::wire::anthropic::{ApiError, Outline, Request};

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

/// The answer that the client got then.
struct Then {
    name: String,
    body: Vec<u8>,
    /// It was a stream.
    events: bool,
}

impl Exchange {
    fn verdict(mut self) -> Result<Verdict, Why> {
        let missing = self.folder.meta.missing_bytes;
        if missing > 0 {
            return Err(format!("{missing} bytes of it could not be recorded: the disk was too slow"));
        }
        let rounds = self.folder.meta.rounds;
        if rounds > 1 {
            return Err(format!("it took {rounds} rounds with web tools, and only the last is recorded"));
        }
        if self.folder.meta.adapted {
            return Err("its images or PDF documents were replaced by texts that others made".to_owned());
        }
        let request = self.read(CLIENT_REQUEST)?.ok_or(format!("it has no {CLIENT_REQUEST}"))?;
        if let Some(history) = self.folder.history() {
            self.passed(&request, history)?;
            return Ok(self.judged());
        }
        match Request::parse(&request) {
            Err(error) => self.refused(&error)?,
            Ok(_) if self.folder.meta.model_id.is_none() => {
                return Err(format!("it was refused before any conversion: {}", self.folder.meta.error));
            }
            Ok(request) => self.request(&request)?,
        }
        Ok(self.judged())
    }

    fn judged(self) -> Verdict {
        if self.differences.is_empty() {
            Verdict::Same(self.note)
        } else {
            Verdict::Differs(self.differences)
        }
    }

    /// A request that passed through: byte for byte.
    fn passed(&mut self, request: &[u8], history: History) -> Result<(), Why> {
        let outline = match Outline::read(request) {
            Ok(outline) => outline,
            Err(error) => return self.refused(&error),
        };
        let now = convert::native::request(&outline, &self.folder.meta.spec.remote_id, history).body;
        let Some(then) = self.read(UPSTREAM_REQUEST)? else { return Err(self.nothing_sent()) };
        let (was, is) = (parsed(UPSTREAM_REQUEST, &then)?, parsed(UPSTREAM_REQUEST, &now)?);
        match compare::document(UPSTREAM_REQUEST, &was, &is) {
            None if then != now => {
                let at = then.iter().zip(&now).take_while(|(a, b)| a == b).count();
                let place = format!("byte {at}");
                self.differences.push(Difference::new(
                    UPSTREAM_REQUEST,
                    place,
                    "other bytes",
                    "the same JSON",
                ));
            }
            found => self.differences.extend(found),
        }
        match self.folder.meta.upstream.clone() {
            Some(upstream) => self.answer(upstream, &Way::Passed(self.folder.meta.provider.clone()))?,
            None => self.only_request("the upstream gave no answer"),
        }
        Ok(())
    }

    fn nothing_sent(&self) -> Why {
        let error = &self.folder.meta.error;
        let error = if error.is_empty() { "nothing went upstream" } else { error };
        format!("it has no {UPSTREAM_REQUEST}: {error}")
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
        let Some(then) = self.read(UPSTREAM_REQUEST)? else { return Err(self.nothing_sent()) };
        let (then, now) = (parsed(UPSTREAM_REQUEST, &then)?, parsed(UPSTREAM_REQUEST, &converted.body)?);
        self.differences.extend(compare::document(UPSTREAM_REQUEST, &then, &now));
        if self.folder.meta.earlier_error {
            self.only_request("the client got the error of an earlier attempt");
            return Ok(());
        }
        if let Some(upstream) = self.folder.meta.upstream.clone() {
            return self.answer(upstream, &Way::Converted(Box::new(converted.reply)));
        }
        self.only_request("the upstream gave no answer");
        Ok(())
    }

    /// The upstream's answer.
    fn answer(&mut self, upstream: Upstream, way: &Way) -> Result<(), Why> {
        let Some(then) = self.then()? else {
            self.only_request("the client left before it got anything");
            return Ok(());
        };
        let Upstream { status, content_type, complete, .. } = upstream;
        let body = self.folder.body(UPSTREAM_RESPONSE).map(|path| read(&path)).transpose()?;
        let recorded = Recorded { status, content_type, body: body.unwrap_or_default() };
        let again = if status >= 400 {
            recorded.error(way)
        } else if !self.folder.meta.stream {
            recorded.whole(way.clone())
        } else {
            match recorded.stream(way.clone(), false) {
                // The client had its head already, because the upstream was silent for long.
                Again::Refused(_) if then.events => recorded.stream(way.clone(), true),
                again => again,
            }
        };
        // Behind its end mark an upstream is not read to the end.
        let cut = !(complete || recorded.marked()) || self.folder.meta.outcome == "client_gone";
        let by_event = then.events && recorded.form() == Form::Events;
        match again {
            Again::Stream { all, before_end } if by_event => self.stream(&then, &all, before_end, cut),
            again => {
                let found = self.whole(&then, &again);
                if !cut || found.as_ref().is_ok_and(Option::is_none) {
                    self.differences.extend(found?);
                    return Ok(());
                }
                // Nothing is known of how it would have gone on.
                let error = &self.folder.meta.error;
                let error = if error.is_empty() { String::new() } else { format!(" ({error})") };
                self.only_request(&format!("the upstream's answer did not come to its end{error}"));
            }
        }
        Ok(())
    }

    fn stream(&mut self, then: &Then, all: &[u8], before_end: usize, cut: bool) {
        let (mut was, now) = (events(&then.body), events(all));
        let found = compare::stream(&then.name, &was, &now, false);
        if found.is_none() || !cut {
            self.differences.extend(found);
            return;
        }
        // How it ended depended on clocks, or on the client: only what came before counts.
        if was.last().is_some_and(|e| e.name == "error") {
            was.pop();
        }
        let now = events(all.get(..before_end).unwrap_or(all));
        match compare::stream(&then.name, &was, &now, true) {
            None => {
                let left = self.folder.meta.outcome == "client_gone";
                let why = if left { "the client left" } else { "it was ended" };
                self.note = Some(format!("as far as it goes: {why} after {} events", was.len()));
            }
            found => self.differences.extend(found),
        }
    }

    /// Everything but events that stayed events.
    fn whole(&self, then: &Then, again: &Again) -> Result<Option<Difference>, Why> {
        let other = |was: &str, now: String| Ok(Some(Difference::new(&then.name, "", was, now)));
        let mut error = Vec::new();
        let (status, now) = match again {
            Again::Refused(e) if then.events => {
                return other("a stream", format!("HTTP {} {}", e.status, e.kind.as_str()));
            }
            Again::Whole(_) if then.events => return other("a stream", "a JSON body".to_owned()),
            // An answer that was no stream, for a client that asked for one.
            Again::Stream { all, .. } if then.events => {
                return Ok(compare::stream(&then.name, &events(&then.body), &events(all), false));
            }
            Again::Stream { all, .. } => {
                return other("a JSON body", format!("a stream of {} events", events(all).len()));
            }
            Again::Refused(e) => {
                e.write("", &mut error);
                (e.status, &error)
            }
            Again::Whole(body) => (200, body),
        };
        let was = self.folder.meta.status;
        if was != 0 && was != status {
            let place = "HTTP status";
            return Ok(Some(Difference::new(&then.name, place, was.to_string(), status.to_string())));
        }
        Ok(compare::document(&then.name, &parsed(&then.name, &then.body)?, &parsed("the answer", now)?))
    }

    /// The request was refused by us.
    fn refused(&mut self, error: &ApiError) -> Result<(), Why> {
        let then = self.then()?.ok_or("the client left before it got anything")?;
        self.differences.extend(self.whole(&then, &Again::Refused(error.clone()))?);
        Ok(())
    }

    /// `max_tokens: 0`: nobody was asked.
    fn local(&mut self, converted: Converted) -> Result<(), Why> {
        let then = self.then()?.ok_or("the client left before it got anything")?;
        let now = if converted.client_streams {
            let mut all = Vec::new();
            StreamTranslator::new(converted.reply).finish_empty(&mut all);
            Again::Stream { before_end: all.len(), all }
        } else {
            Again::Whole(convert::response::empty(converted.reply).body)
        };
        self.differences.extend(self.whole(&then, &now)?);
        Ok(())
    }

    fn only_request(&mut self, why: &str) {
        self.note = Some(format!("only the request could be compared: {why}"));
    }

    fn then(&self) -> Result<Option<Then>, Why> {
        let Some(path) = self.folder.body(CLIENT_RESPONSE) else { return Ok(None) };
        Ok(Some(Then {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            events: path.extension().is_some_and(|e| e == "sse"),
            body: read(&path)?,
        }))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Why> {
        let path = self.folder.dir.join(name);
        if path.is_file() { read(&path).map(Some) } else { Ok(None) }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Why> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|e| format!("cannot read {name}: {e}"))?;
    read_whole(file, &name).map_err(|e| crate::cli::in_one_line(&e))
}

fn parsed(name: &str, body: &[u8]) -> Result<Value, Why> {
    serde_json::from_slice(body).map_err(|e| format!("{name} is no JSON: {e}"))
}
