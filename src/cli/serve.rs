//! `serve`.

use super::args::{GlobalArgs, ServeArgs};
use super::{Exit, Printer};

/// Runs the command.
pub(super) fn run(args: &ServeArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let _ = (args, global, printer);
    anyhow::bail!("not built yet")
}
