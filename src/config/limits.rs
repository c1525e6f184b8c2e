//! Numbers at the top of the file that cannot be meant: zeros, and clocks that no client waits for.

use std::time::Duration;

use super::code::Code;
use super::file::File;
use super::finding::{Findings, Severity};
use super::read::At;

/// How long Claude Code waits in silence before it gives up. Measured: no event for 300 s,
/// whatever its timeout variables say; a ping begins the wait anew.
const CLIENT_WAITS: Duration = Duration::from_secs(300);

/// Longer than this, and milliseconds were meant.
const HOUR: Duration = Duration::from_secs(3600);

/// Checks the file's own numbers.
pub(super) fn check(file: &File, findings: &mut Findings) {
    let counts = [
        (&file.max_body_bytes, "max_body_bytes"),
        (&file.max_concurrent_requests, "max_concurrent_requests"),
        (&file.workers, "workers"),
    ];
    for (count, name) in counts {
        if let Some(at @ At { value: 0, .. }) = count.as_ref() {
            findings.add(Code::OutOfRange, at.spot(), format!("`{name}` has to be 1 or more"), "");
        }
    }
    let ms = Duration::from_millis;
    // Name, and the shortest time that makes sense.
    let clocks = [
        (&file.upstream_timeout_seconds, "upstream_timeout_seconds", ms(1000)),
        (&file.stream_idle_timeout_seconds, "stream_idle_timeout_seconds", ms(1000)),
        (&file.connect_timeout_seconds, "connect_timeout_seconds", ms(100)),
        (&file.ping_interval_seconds, "ping_interval_seconds", ms(1000)),
        (&file.shutdown_grace_seconds, "shutdown_grace_seconds", Duration::ZERO),
    ];
    for (clock, name, least) in clocks {
        let Some(at) = clock else { continue };
        let may_be_zero = matches!(name, "ping_interval_seconds" | "shutdown_grace_seconds");
        let seconds = at.value.as_secs_f64();
        if at.value.is_zero() {
            if !may_be_zero {
                let message = format!("`{name}` has to be more than 0: nothing can be answered in no time");
                findings.add(Code::OutOfRange, at.spot(), message, "");
            }
        } else if at.value > HOUR {
            let message = format!("`{name}` is {seconds} seconds, more than an hour");
            findings.add(Code::AbsurdTimeout, at.spot(), message, "give seconds, not milliseconds");
        } else if at.value < least {
            let message = format!("`{name}` is {seconds} seconds, too short to be of use");
            let help = format!("give seconds, {} or more", least.as_secs_f64());
            findings.add(Code::AbsurdTimeout, at.spot(), message, help);
        }
    }
    silence(file, findings);
}

/// What the client sees of a slow upstream.
fn silence(file: &File, findings: &mut Findings) {
    let ping = file.ping_interval_seconds.as_ref();
    let without_pings = ping.is_some_and(|p| p.value.is_zero() || p.value >= CLIENT_WAITS);
    if let Some(at) = ping.filter(|p| p.value >= CLIENT_WAITS && p.value <= HOUR) {
        let message = "`ping_interval_seconds` is too long: Claude Code gives up after 300 s of silence";
        findings.add(Code::SlowPing, at.spot(), message, "10 to 20 suits; 15 is the default");
    }
    let idle = file.stream_idle_timeout_seconds.as_ref();
    if let Some(at) = idle.filter(|i| i.value > CLIENT_WAITS && i.value <= HOUR) {
        let message =
            "`stream_idle_timeout_seconds` is longer than the 300 s that Claude Code waits in silence";
        if without_pings {
            let help = "lower it, or set `ping_interval_seconds` to 15";
            findings.add(Code::IdleBeyondClient, at.spot(), message, help);
        } else {
            let help = "it waits only because of the pings: leave them on";
            findings.add_as(Severity::Note, Code::IdleBeyondClient, at.spot(), message, help);
        }
    }
}
