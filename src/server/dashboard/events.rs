//! The state as server-sent events: all of it first, then, once a second, what has changed.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use bytes::Bytes;
use futures_util::stream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Viewer;
use super::view::{View, Welcome};

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);
/// After so many looks at nothing new the page is told that we are still there.
const QUIET: u32 = 10;
/// Browsers come back after that many milliseconds.
const RETRY: u32 = 2000;

/// One viewer's events.
struct Events {
    view: View,
    ticks: Interval,
    /// None: the end was told.
    viewer: Option<Viewer>,
    /// How many events there were.
    number: u64,
}

/// The events, until the server drains or the guest is not welcome any more.
pub(super) fn stream(viewer: Viewer, view: View) -> HttpResponse {
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = Events { view, ticks, viewer: Some(viewer), number: 0 };
    let events = stream::unfold(events, |mut events| async move {
        let next = events.next().await?;
        Some((Ok::<_, Infallible>(next), events))
    });
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx would collect events before it passes them on.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events)
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        self.viewer.as_ref()?;
        let first = self.number == 0;
        for _ in 0..QUIET {
            if !first {
                self.ticks.tick().await;
            }
            match self.view.welcome() {
                Welcome::Yes => {}
                Welcome::Draining => return Some(self.end("\"draining\"")),
                Welcome::No => return Some(self.end("\"signed out\"")),
            }
            if let Some(state) = self.view.look() {
                return Some(self.told(if first { "snapshot" } else { "change" }, &state));
            }
        }
        Some(Bytes::from_static(b":\n\n"))
    }

    fn end(&mut self, why: &str) -> Bytes {
        self.viewer = None;
        self.told("bye", why)
    }

    fn told(&mut self, name: &str, data: &str) -> Bytes {
        self.number += 1;
        let mut event = String::with_capacity(data.len() + 64);
        if self.number == 1 {
            let _ = writeln!(event, "retry: {RETRY}");
        }
        let _ = write!(event, "event: {name}\nid: {}\ndata: {data}\n\n", self.number);
        event.into()
    }
}
