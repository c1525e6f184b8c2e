//! Whole answers and error bodies: any bytes give a Message or an error, and a client that
//! streams gets the same.

use claude_proxy::convert::{self, Feed, Form};
use serde_json::Value;

use super::{check_error, choices, context, grammar, message, profile};

pub fn run(data: &[u8]) {
    let Some(([which, options, status], body)) = choices(data) else { return };
    let context = || context(profile(which), options);
    let whole = convert::response(body, context());
    match &whole {
        Ok(answer) => {
            let value: Value = serde_json::from_slice(&answer.body).unwrap();
            message::check(&value);
            assert!(answer.body.len() <= 4096 + 64 * body.len(), "{} of {}", answer.body.len(), body.len());
            assert!(answer.summary.preview.chars().count() <= 10);
        }
        Err(error) => check_error(error),
    }
    let statuses =
        [200, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529, 599, 302, 0, u16::MAX];
    let status = statuses[usize::from(status) % statuses.len()];
    for context in [None, Some(&context())] {
        check_error(&convert::error::error(status, body, "upstream", context));
    }
    if Form::of("application/json", body) != Some(Form::Whole) {
        return;
    }
    let mut feed = Feed::new("application/json".into(), context());
    let mut out = Vec::new();
    assert_eq!(feed.take(body, &mut out, || ()), Ok(false));
    let streamed = feed.end(&mut out);
    assert_eq!(whole.as_ref().err(), streamed.as_ref().err(), "one is refused, the other is not");
    if let Ok(whole) = whole {
        let events = grammar::events(&out).unwrap();
        assert_eq!(grammar::check(&events), Ok(grammar::End::Complete));
        let whole: Value = serde_json::from_slice(&whole.body).unwrap();
        message::same(&whole, &message::assemble(&events));
    }
}
