//! `demo`.

use super::args::{DemoArgs, GlobalArgs};
use super::{Exit, Printer};

/// Runs the command.
pub(super) fn run(args: &DemoArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let _ = (args, global, printer);
    anyhow::bail!("not built yet")
}
