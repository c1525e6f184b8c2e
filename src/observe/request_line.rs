//! The line of a request, written plainly: as the subscriber's own format has it, in a fifth of
//! the instructions. There is one for each request.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::record::TARGET;

/// Writes events: lines of requests without colour here, everything else as the subscriber does.
#[derive(Debug, Default)]
pub(super) struct Events(Format<Full>);

impl<S, N> FormatEvent<S, N> for Events
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        if meta.target() != TARGET || out.has_ansi_escapes() {
            return self.0.format_event(ctx, out, event);
        }
        SystemTime.format_time(&mut out)?;
        write!(out, " {:>5} {TARGET}:", meta.level().as_str())?;
        let mut fields = Fields { out, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        fields.out.write_char('\n')
    }
}

struct Fields<'w> {
    out: Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn field(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let out = &mut self.out;
        let name = |out: &mut Writer<'_>| {
            out.write_char(' ')?;
            if field.name() != "message" {
                out.write_str(field.name())?;
                out.write_char('=')?;
            }
            Ok(())
        };
        self.result = self.result.and_then(|()| name(out)).and_then(|()| write(out));
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |out| write!(out, "{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |out| out.write_str(itoa::Buffer::new().format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |out| out.write_str(if value { "true" } else { "false" }));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of a request's line and another one, without their times.
    fn written<F>(events: F) -> Vec<String>
    where
        F: for<'a> FormatEvent<tracing_subscriber::Registry, tracing_subscriber::fmt::format::DefaultFields>
            + Send
            + Sync
            + 'static,
    {
        use tracing_subscriber::layer::SubscriberExt as _;
        let output = Output::default();
        let writer = output.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(events)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let mut record = crate::observe::Record::new("req_1".to_owned());
            record.model = "a model in \"two\" words \u{1b}[2J".to_owned();
            record.input_tokens = u64::MAX;
            record.stream = true;
            record.began = std::time::Instant::now() + std::time::Duration::from_secs(60);
            tracing::warn!(n = 1, s = "x", "another");
            record.mark_first_byte();
        });
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.split_once('Z').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn it_is_the_same_line() {
        let lines = written(Events::default());
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines.iter().any(
                |line| line.contains("model=a model in ") && line.contains(" request request_id=req_1 ")
            )
        );
        assert_eq!(lines, written(Format::default()));
    }
}
