//! tmp
use super::plan::Plan;
use super::setup::Setup;
use crate::cli::args::ConvertArgs;
use crate::cli::{Exit, Printer};
pub(super) fn run(_: &ConvertArgs, _: &Plan, _: &Setup, _: &mut Printer) -> anyhow::Result<Exit> {
    Ok(Exit::Failure)
}
