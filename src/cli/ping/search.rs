//! `ping-upstream --search`: one search, as a model would make it.

use std::io::Write as _;
use std::time::Instant;

use actix_web::rt::System;
use serde_json::json;

use super::super::args::PingUpstreamArgs;
use super::super::exit::UsageError;
use super::super::output::{BOLD, GREEN, RED};
use super::super::{Exit, Printer};
use crate::config::Config;
use crate::upstream::Transports;
use crate::web::{Hit, SearchOptions, Setup, Web, WebError};

/// Asks the service of `web_search`.
pub(super) fn run(
    config: &Config,
    query: &str,
    args: &PingUpstreamArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let Some(search) = &config.extras.web_search else {
        return Err(UsageError("`web_search` is not configured".to_owned()).into());
    };
    let began = Instant::now();
    let found = System::new().block_on(async {
        let setup = Setup::new(config, &Transports::default(), None)?;
        let Some(setup) = setup else { return anyhow::Ok(Ok(Vec::new())) };
        let web = Web::new(&setup).within(args.timeout);
        anyhow::Ok(web.search(query, &SearchOptions::default()).await)
    })?;
    let millis = began.elapsed().as_millis() as u64;
    let exit = if found.is_ok() { Exit::Success } else { Exit::Failure };
    let provider = search.engine.as_str();
    if args.json {
        serde_json::to_writer_pretty(printer.data(), &as_json(provider, millis, &found))?;
        writeln!(printer.data())?;
        return Ok(exit);
    }
    let text = printer.text();
    match found {
        Ok(hits) => {
            let many = if hits.len() == 1 { "hit" } else { "hits" };
            writeln!(text, "{BOLD}{provider}{BOLD:#}: {GREEN}{} {many}{GREEN:#} in {millis} ms", hits.len())?;
            for hit in hits {
                writeln!(text, "  {}\n    {}", hit.title, hit.url)?;
            }
        }
        Err(error) => writeln!(text, "{BOLD}{provider}{BOLD:#}: {RED}failed{RED:#}, {error}")?,
    }
    Ok(exit)
}

fn as_json(provider: &str, millis: u64, found: &Result<Vec<Hit>, WebError>) -> serde_json::Value {
    let (hits, error) = match found {
        Ok(hits) => (hits.as_slice(), None),
        Err(error) => (&[][..], Some(error)),
    };
    let hits = hits
        .iter()
        .map(|hit| json!({"title": hit.title, "url": hit.url, "page_age": hit.page_age, "text": hit.text}));
    json!({"search": {
        "provider": provider,
        "ok": error.is_none(),
        "ms": millis,
        "hits": hits.collect::<Vec<_>>(),
        "error_code": error.map(|error| error.code.as_str()),
        "error": error.map(|error| &*error.detail),
    }})
}
