//! Progress bars: on a terminal only, on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Printer;

/// How far a file of `total` bytes has been read; hidden when that takes no time.
pub(super) fn bytes(printer: &Printer, total: Option<u64>) -> ProgressBar {
    const WORTH_SHOWING: u64 = 16 << 20;
    let Some(total) = total.filter(|t| *t >= WORTH_SHOWING && printer.shows_progress()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
    style(bar, "{bar:40.cyan} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
}

fn style(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // A bar in the default style beats none.
        Err(_) => bar,
    }
}

/// How many of `total` steps are done; the message says which one runs.
pub(super) fn steps(printer: &Printer, total: u64) -> ProgressBar {
    if !printer.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    style(bar, "{spinner} {pos}/{len} {msg}")
}
