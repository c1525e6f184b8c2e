//! `GET /v1/models`: the configuration's models, in a shape that both families of clients read.

use std::fmt::Write as _;
use std::sync::Arc;

use super::auth::Inbound;
use crate::config::{Config, Model};
use crate::wire::anthropic::{ApiError, ErrorKind};
use crate::wire::json::{write_str, write_u64};

/// The configuration does not say when a model was made: the epoch, as Anthropic's API says it.
const CREATED: &[u8] = b"0";
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// Anthropic's own bounds: 20 by default, 1,000 at most. We list all unless asked otherwise.
const MOST: usize = 1000;

/// The page that the query asks for, of the models that the key may use.
///
/// # Errors
/// 400 for a `limit` that is no number of 1 to 1,000, 404 for an unknown cursor.
pub(super) fn list(config: &Config, inbound: &Inbound, query: &str) -> Result<Vec<u8>, ApiError> {
    let mut limit = MOST;
    let (mut before, mut after) = (None, None);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "limit" => {
                limit =
                    value.parse().ok().filter(|n| (1..=MOST).contains(n)).ok_or_else(|| {
                        ApiError::invalid_request("limit: a number from 1 to 1000 is expected")
                    })?;
            }
            "before_id" => before = Some(decode(value)),
            "after_id" => after = Some(decode(value)),
            _ => {}
        }
    }
    let models = allowed(config, inbound);
    let place = |id: &str, key: &str| {
        models
            .iter()
            .position(|m| m.id == id)
            .ok_or_else(|| ApiError::invalid_request(format!("{key}: there is no model `{}`", shown(id))))
    };
    let mut page: &[&Arc<Model>] = &models;
    if let Some(id) = &after {
        page = page.get(place(id, "after_id")? + 1..).unwrap_or_default();
    }
    if let Some(id) = &before {
        let end = place(id, "before_id")?;
        let skipped = models.len() - page.len();
        page = page.get(..end.saturating_sub(skipped)).unwrap_or_default();
    }
    let has_more = page.len() > limit;
    // Going backwards, the page is the one right before the cursor.
    page = match (has_more, &before) {
        (false, _) => page,
        (true, None) => page.get(..limit).unwrap_or_default(),
        (true, Some(_)) => page.get(page.len() - limit..).unwrap_or_default(),
    };
    let mut out = Vec::with_capacity(64 + 192 * page.len());
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (i, model) in page.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_model(model, &mut out);
    }
    out.extend_from_slice(b"],\"has_more\":");
    out.extend_from_slice(if has_more { b"true" } else { b"false" });
    for (key, model) in [("first_id", page.first()), ("last_id", page.last())] {
        out.push(b',');
        write_str(key, &mut out);
        out.push(b':');
        match model {
            Some(model) => write_str(&model.id, &mut out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    Ok(out)
}

/// One model. `path` is what follows `/v1/models/`; its id may hold `/`, as it is or encoded.
///
/// # Errors
/// 404 that lists the known ids.
pub(super) fn one(config: &Config, inbound: &Inbound, path: &str) -> Result<Vec<u8>, ApiError> {
    let id = decode(path);
    let model = config.model(&id).filter(|model| inbound.may_use(model));
    let model = model.ok_or_else(|| unknown(config, inbound, &id))?;
    let mut out = Vec::with_capacity(256);
    write_model(model, &mut out);
    Ok(out)
}

/// The models that the key may use, in the order of the file.
fn allowed<'c>(config: &'c Config, inbound: &Inbound) -> Vec<&'c Arc<Model>> {
    config.models.iter().filter(|model| inbound.may_use(model)).collect()
}

/// 404 for a model that nobody serves, with the names that would have worked.
pub(super) fn unknown(config: &Config, inbound: &Inbound, name: &str) -> ApiError {
    const SHOWN: usize = 20;
    let mut message = format!("model: `{}` is not configured. Known models: ", shown(name));
    let models = allowed(config, inbound);
    for (i, model) in models.iter().take(SHOWN).enumerate() {
        if i > 0 {
            message.push_str(", ");
        }
        message.push_str(&shown(&model.id));
    }
    if let Some(more) = models.len().checked_sub(SHOWN).filter(|n| *n > 0) {
        let _ = write!(message, " and {more} more");
    }
    ApiError::new(404, ErrorKind::NotFound, message)
}

/// A name from outside, short enough to be repeated.
fn shown(name: &str) -> String {
    name.chars().take(128).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

fn write_model(model: &Model, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    write_str(&model.id, out);
    out.extend_from_slice(b",\"object\":\"model\",\"type\":\"model\",\"created\":");
    out.extend_from_slice(CREATED);
    out.extend_from_slice(b",\"created_at\":");
    write_str(CREATED_AT, out);
    out.extend_from_slice(b",\"lifecycle\":\"active\",\"display_name\":");
    write_str(&model.display_name, out);
    out.extend_from_slice(b",\"owned_by\":");
    write_str(&model.provider.name, out);
    for (key, value) in
        [("max_input_tokens", model.spec.context_window), ("max_tokens", model.spec.max_output_tokens)]
    {
        if let Some(value) = value {
            out.push(b',');
            write_str(key, out);
            out.push(b':');
            write_u64(value, out);
        }
    }
    out.push(b'}');
}

/// Percent-decoding; what is not a valid escape stays as it is.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .filter(|h| h.iter().all(u8::is_ascii_hexdigit))
            .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        if let Some(byte) = hex {
            out.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn decodes_what_is_encoded() {
        assert_eq!(decode("moonshotai%2Fkimi-k2"), "moonshotai/kimi-k2");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%e2%82%ac%zz"), "€%zz");
    }
}
