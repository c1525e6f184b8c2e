//! What the model is told of a web tool's result: the content of a `tool` message.
//!
//! Made of the block as the client has it, so that a later turn says the same as the round in
//! which it came, and the upstream's prompt cache still fits.

use super::envelope::open;
use crate::convert::loss::Losses;
use crate::convert::media::{Media, Part};
use crate::convert::text::{Composer, Text};
use crate::wire::anthropic::{Block, BlockKind, Fetched, Found, Source};
use crate::wire::json::JsonStr;

/// Text, and the files that go with it.
#[derive(Debug)]
pub(in crate::convert) struct Told<'a> {
    pub(in crate::convert) text: Text<'a>,
    pub(in crate::convert) media: Vec<Part<'a>>,
}

/// The id of the call that a result of a web tool answers.
pub(in crate::convert) fn is_web_result<'a>(block: &Block<'a>) -> Option<JsonStr<'a>> {
    match &block.kind {
        BlockKind::WebSearchResult { tool_use_id, .. } | BlockKind::WebFetchResult { tool_use_id, .. } => {
            Some(*tool_use_id)
        }
        _ => None,
    }
}

/// The words for a result block; none for any other block.
pub(in crate::convert) fn told<'a>(
    block: &Block<'a>,
    media: Media<'_>,
    losses: &mut Losses,
) -> Option<Told<'a>> {
    let text = |text| Some(Told { text, media: Vec::new() });
    match &block.kind {
        BlockKind::WebSearchResult { found: Ok(found), .. } => text(results(found)),
        BlockKind::WebSearchResult { found: Err(code), .. } => text(failed(*code)),
        BlockKind::WebFetchResult { content, .. } => {
            let fetched = content.map(|content| Fetched::read(content, block.place)).unwrap_or_default();
            match (fetched.error_code, fetched.document) {
                (Some(code), _) => text(failed(code)),
                (None, None) => text(failed(JsonStr::default())),
                (None, Some(document)) => Some(page(fetched.url, &document, media, losses)),
            }
        }
        _ => None,
    }
}

fn results<'a>(found: &[Found<'_>]) -> Text<'a> {
    if found.is_empty() {
        return Text::plain("No results.");
    }
    let mut text = Composer::new().lit("Search results. Cite those that you use as [title](URL).");
    for (n, found) in found.iter().enumerate() {
        text = text.lit(&format!("\n\n{}. ", n + 1)).json(found.title).lit("\nURL: ").json(found.url);
        if !found.page_age.is_empty() {
            text = text.lit("\nAge: ").json(found.page_age);
        }
        if let Some(words) = open(found.encrypted_content).filter(|words| !words.is_empty()) {
            text = text.lit("\n").lit(&words);
        }
    }
    text.done()
}

fn page<'a>(url: JsonStr<'a>, document: &Block<'a>, media: Media<'_>, losses: &mut Losses) -> Told<'a> {
    let head = Composer::new().lit("Content of ").json(url);
    if let BlockKind::Document { source: Source::Text(text), title, .. } = &document.kind {
        let head = match title.filter(|title| !title.is_empty()) {
            Some(title) => head.lit("\nTitle: ").json(title),
            None => head,
        };
        return Told { text: head.lit("\n\n").json(*text).done(), media: Vec::new() };
    }
    let (mut text, mut parts, mut files) = (head.lit(":"), Vec::new(), Vec::new());
    media.add(document, &mut parts, losses);
    for part in parts {
        match part {
            Part::Text(words, _) => text = text.lit("\n").text(&words),
            other => files.push(other),
        }
    }
    Told { text: text.done(), media: files }
}

/// The code, and what it means for the model.
fn failed<'a>(code: JsonStr<'_>) -> Text<'a> {
    let help = match code.raw() {
        "max_uses_exceeded" => "No more calls of this tool are possible: go on with what you have.",
        "invalid_tool_input" => "The arguments do not fit the tool's schema.",
        "too_many_requests" => "The service is asked too often; do not try again now.",
        "query_too_long" => "Ask with fewer words.",
        "url_too_long" => "The URL is too long.",
        "url_not_allowed" => {
            "Only URLs that the user or a tool's result named can be fetched, exactly as they stand there, and only from domains that are allowed."
        }
        "url_not_accessible" => "The page could not be loaded.",
        "unsupported_content_type" => "Only text and PDF can be read.",
        _ => "The tool is not available; go on without it.",
    };
    let code = if code.is_empty() { Composer::new().lit("unavailable") } else { Composer::new().json(code) };
    Composer::new().lit("Error: ").text(&code.done()).lit(". ").lit(help).done()
}
