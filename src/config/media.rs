//! Which models see images and read PDF documents, and what is done for those that do not.

use super::code::Code;
use super::file::File;
use super::finding::{Findings, Severity};
use super::read::At;
use super::{Api, Extras, Model};
use crate::convert::stand_in::Missing;

impl Model {
    /// What its upstream does not take.
    pub fn lacks(&self) -> Missing {
        match self.provider.api {
            Api::OpenAi => Missing::of(self.profile, &self.spec),
            // It takes what Anthropic's API takes, unless told otherwise.
            Api::Anthropic => Missing { images: self.spec.vision == Some(false), pdfs: false },
        }
    }
}

impl Extras {
    /// What the model's upstream does not take and something is put in the place of.
    pub fn replaces(&self, model: &Model) -> Missing {
        let lacks = model.lacks();
        Missing { images: lacks.images && self.vision_model.is_some(), pdfs: lacks.pdfs && self.pdf_text }
    }
}

/// Whether who describes images sees them, and whether there is anything to do.
pub(super) fn check(file: &File, models: &[Model], findings: &mut Findings) {
    if let Some(at) = &file.vision_model {
        describer(at, models, findings);
        if models.iter().all(|m| m.id == at.value || !m.lacks().images) {
            useless(at, "every model takes images", findings);
        }
    }
    if let Some(at) = file.pdf_text.as_ref().filter(|at| at.value)
        && models.iter().all(|m| !m.lacks().pdfs)
    {
        useless(at, "every model takes PDF documents", findings);
    }
}

fn describer(at: &At<String>, models: &[Model], findings: &mut Findings) {
    let find = |id: &str| models.iter().find(|m| m.id == *id);
    let Some(named) = find(&at.value) else { return };
    let stand_ins = named.fallbacks.iter().filter_map(|id| find(id));
    for model in std::iter::once(named).chain(stand_ins).filter(|m| m.lacks().images) {
        let id = model.id.escape_debug();
        let who = if model.id == named.id { "names" } else { "falls back to" };
        let why = match model.spec.vision {
            Some(_) => "its `vision` is false".to_owned(),
            None => format!("upstreams of profile `{}` refuse images", model.profile.name),
        };
        let message = format!("`{}` {who} `{id}`, which sees no images: {why}", at.path);
        findings.add(Code::ProfileConflict, at.spot(), message, "name a model that sees");
    }
}

fn useless<T>(at: &At<T>, why: &str, findings: &mut Findings) {
    let message = format!("`{}` has no effect: {why}", at.path);
    let help = "`vision` and `profile` say what a model takes";
    findings.add_as(Severity::Note, Code::NoEffect, at.spot(), message, help);
}
