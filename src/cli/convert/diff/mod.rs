//! `convert --diff`: what the client sent, and what goes upstream for it.

mod pair;
mod show;

use std::io::Write as _;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use super::capture::{self, Role};
use super::input::{self, json_text, read_whole, recognise, syntax};
use super::kind;
use super::one::Done;
use super::plan::Plan;
use super::setup::Setup;
use super::sse::Ended;
use super::{Foreign, report};
use crate::cli::args::{ConvertArgs, From as Kind};
use crate::cli::exit::UsageError;
use crate::cli::{Exit, Printer};

/// Shows one request.
pub(super) fn run(
    args: &ConvertArgs,
    plan: &Plan,
    setup: &Setup,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let ([job], false) = (plan.jobs.as_slice(), plan.several) else {
        return Err(UsageError("--diff shows one request: name one file".to_owned()).into());
    };
    let name = job.name.as_str();
    let not_a_request = || UsageError(format!("{name} is no Anthropic request: --diff shows only those"));
    if args.from.is_some_and(|from| from != Kind::AnthropicRequest) {
        return Err(not_a_request().into());
    }
    let setup = match job.path.as_deref().map(capture::around).transpose()?.flatten() {
        None | Some((None, Role::ClientRequest)) => setup.clone(),
        Some((Some(folder), Role::ClientRequest)) => setup.of_exchange(&folder, false)?,
        Some(_) => return Err(not_a_request().into()),
    };
    let mut input = input::open(job.path.as_deref(), name)?;
    if args.from.is_none() && recognise(&mut input)?.is_some() {
        return Err(not_a_request().into());
    }
    let document = read_whole(input.reader, name)?;
    let text = json_text(&document, name)?;
    let found = kind::of_json(text).map_err(|e| syntax(name, text, &e))?;
    match found {
        _ if args.from.is_some() => {}
        Ok(Kind::AnthropicRequest) => {}
        Ok(_) => return Err(not_a_request().into()),
        Err(what) => return Err(Foreign(format!("{name}: {what}")).into()),
    }
    let (body, losses) = match setup.upstream(text) {
        Ok(made) => made,
        Err(e) => bail!("{name}: {} {}: {}", e.status, e.kind.as_str(), e.message),
    };
    let parsed =
        |text: &[u8]| serde_json::from_slice::<Map<String, Value>>(text).with_context(|| name.to_owned());
    let sections = pair::sections(&parsed(text.as_bytes())?, &parsed(&body)?);
    let right = format!("what goes upstream ({})", setup.how());
    let width = if printer.is_terminal() { show::width() } else { None };
    let mut out = Vec::new();
    show::write(&sections, [name, &right], width, &mut out)?;
    printer.text().write_all(&out)?;
    let ended = Ended::new(losses, None);
    let done = Done { kind: Kind::AnthropicRequest, ended, told: None, output: None, captured: None };
    report::losses(args, job, &done, false, printer);
    Ok(Exit::Success)
}
