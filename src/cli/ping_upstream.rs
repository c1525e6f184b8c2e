//! `ping-upstream`.

use super::args::{GlobalArgs, PingUpstreamArgs};
use super::{Exit, Printer};

/// Runs the command.
pub(super) fn run(
    args: &PingUpstreamArgs,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let _ = (args, global, printer);
    anyhow::bail!("not built yet")
}
