//! User content: texts, images and documents as parts of a Chat Completions message.

use super::loss::Losses;
use super::profile::{Pdf, Profile};
use super::text::{BLANK_LINE, Composer, Text, write_joined};
use crate::wire::anthropic::{Block, BlockKind, Place, Source};
use crate::wire::json::{JsonStr, RawJson, write_str};

/// A part of a user message.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// Text, with the `cache_control` that is kept.
    Text(Text<'a>, Option<RawJson<'a>>),
    /// An image, inline.
    Image {
        /// MIME type.
        media_type: JsonStr<'a>,
        /// Base64.
        data: JsonStr<'a>,
    },
    /// An image, by URL.
    ImageUrl(JsonStr<'a>),
    /// A PDF, inline.
    File {
        /// What it is called.
        filename: Option<JsonStr<'a>>,
        /// Base64.
        data: JsonStr<'a>,
    },
}

impl Part<'_> {
    /// Bytes of base64 in it, which are no text and count apart.
    pub(super) fn media_bytes(&self) -> Option<usize> {
        match self {
            Self::Text(..) => None,
            Self::Image { data, .. } | Self::File { data, .. } => Some(data.len_hint()),
            Self::ImageUrl(_) => Some(0),
        }
    }

    /// Appends the part as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text, cache) => {
                out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
                text.write(out);
                if let Some(cache) = cache {
                    out.extend_from_slice(b",\"cache_control\":");
                    cache.write(out);
                }
                out.push(b'}');
            }
            Self::Image { media_type, data } => {
                out.extend_from_slice(b"{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:");
                media_type.write_inner(out);
                out.extend_from_slice(b";base64,");
                data.write_inner(out);
                out.extend_from_slice(b"\"}}");
            }
            Self::ImageUrl(url) => {
                out.extend_from_slice(b"{\"type\":\"image_url\",\"image_url\":{\"url\":");
                url.write(out);
                out.extend_from_slice(b"}}");
            }
            Self::File { filename, data } => {
                out.extend_from_slice(b"{\"type\":\"file\",\"file\":{\"filename\":");
                match filename {
                    Some(name) => name.write(out),
                    None => write_str("document.pdf", out),
                }
                out.extend_from_slice(b",\"file_data\":\"data:application/pdf;base64,");
                data.write_inner(out);
                out.extend_from_slice(b"\"}}");
            }
        }
    }
}

/// Appends `content`: one string if there is nothing but text, else the list of parts.
///
/// `apart`: several texts stay several parts, for upstreams with breakpoints. A breakpoint moves
/// on with each turn; if the texts became one string when theirs goes, the prompt would be
/// another, and the cache would miss.
pub(super) fn write_content(parts: &[Part<'_>], apart: bool, out: &mut Vec<u8>) {
    if parts.iter().all(|p| matches!(p, Part::Text(_, None))) && (parts.len() == 1 || !apart) {
        out.push(b'"');
        write_joined(
            parts.iter().filter_map(|p| if let Part::Text(text, _) = p { Some(text) } else { None }),
            out,
        );
        out.push(b'"');
        return;
    }
    out.push(b'[');
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        part.write(out);
    }
    out.push(b']');
}

/// What an upstream does with media, after the model's own settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Media<'p> {
    /// The upstream's profile.
    pub(super) profile: &'p Profile,
    /// The model takes images.
    pub(super) images: bool,
}

impl Media<'_> {
    /// Adds a user block (not a tool result) to the parts.
    pub(super) fn add<'a>(self, block: &Block<'a>, parts: &mut Vec<Part<'a>>, losses: &mut Losses) {
        let cache = block.cache_control.filter(|_| self.profile.cache_control);
        match &block.kind {
            BlockKind::Text(text) => {
                if !text.is_empty() {
                    parts.push(Part::Text(Text::Json(*text), cache));
                }
            }
            BlockKind::Image(source) => self.image(source, block.place, parts, losses),
            BlockKind::Document { source, title, context } => {
                self.document(source, (*title, *context), cache, block.place, parts, losses);
            }
            BlockKind::SearchResult { source, title, content } => {
                let text = Composer::new()
                    .lit("<search_result")
                    .attribute("source", Some(*source))
                    .attribute("title", Some(*title))
                    .lit(">\n");
                parts.push(Part::Text(plain_texts(text, content).lit("\n</search_result>").done(), cache));
            }
            BlockKind::ToolReference(name) => {
                let text = Composer::new().lit("[tool available: ").json(*name).lit("]").done();
                parts.push(Part::Text(text, cache));
            }
            other => losses.add(|| block.place.to_string(), &format!("dropped_block:{}", type_of(other))),
        }
    }

    fn image<'a>(self, source: &Source<'a>, place: Place, parts: &mut Vec<Part<'a>>, losses: &mut Losses) {
        let mut placeholder = |text: &str, token: &str| {
            losses.add(|| place.to_string(), token);
            parts.push(Part::Text(Text::plain(text), None));
        };
        match source {
            _ if !self.images => {
                placeholder("[image omitted: this model does not accept images]", "dropped:image");
            }
            Source::Base64 { media_type, data } => {
                parts.push(Part::Image { media_type: *media_type, data: *data });
            }
            Source::Url(url) => parts.push(Part::ImageUrl(*url)),
            _ => placeholder(
                "[image omitted: uploaded files are not supported by this proxy]",
                "dropped:image_file",
            ),
        }
    }

    fn document<'a>(
        self,
        source: &Source<'a>,
        (title, context): (Option<JsonStr<'a>>, Option<JsonStr<'a>>),
        cache: Option<RawJson<'a>>,
        place: Place,
        parts: &mut Vec<Part<'a>>,
        losses: &mut Losses,
    ) {
        let open = || {
            Composer::new()
                .lit("<document")
                .attribute("title", title)
                .attribute("context", context)
                .lit(">\n")
        };
        let mut omitted = |why: &str, token: &str| {
            losses.add(|| place.to_string(), token);
            let text = Composer::new().lit("[document omitted: ");
            let text = match title.filter(|t| !t.is_empty()) {
                Some(title) => text.json(title).lit(": "),
                None => text,
            };
            Part::Text(text.lit(why).lit("]").done(), None)
        };
        match source {
            Source::Text(data) => {
                parts.push(Part::Text(open().json(*data).lit("\n</document>").done(), cache));
            }
            Source::Content(blocks) => {
                parts.push(Part::Text(plain_texts(open(), blocks).lit("\n</document>").done(), cache));
                for block in blocks {
                    if let BlockKind::Image(source) = &block.kind {
                        self.image(source, place, parts, losses);
                    }
                }
            }
            Source::Base64 { data, .. } if self.profile.pdf == Pdf::File => {
                parts.push(Part::File { filename: title.filter(|t| !t.is_empty()), data: *data });
            }
            Source::Base64 { .. } => {
                parts.push(omitted("PDF input is not supported by this upstream", "dropped:document_pdf"));
            }
            Source::Url(_) => {
                parts.push(omitted(
                    "documents by URL are not supported by this upstream",
                    "dropped:document_url",
                ));
            }
            Source::File => {
                parts
                    .push(omitted("uploaded files are not supported by this proxy", "dropped:document_file"));
            }
        }
    }
}

/// Appends the texts among the blocks, with a blank line between them.
fn plain_texts(mut composer: Composer, blocks: &[Block<'_>]) -> Composer {
    let mut first = true;
    for block in blocks {
        if let BlockKind::Text(text) = &block.kind
            && !text.is_empty()
        {
            if !first {
                composer = composer.text(&Text::Composed(BLANK_LINE.to_vec()));
            }
            composer = composer.json(*text);
            first = false;
        }
    }
    composer
}

/// The type of a block, for loss tokens.
pub(super) fn type_of<'a>(kind: &BlockKind<'a>) -> &'a str {
    match kind {
        BlockKind::Text(_) => "text",
        BlockKind::Image(_) => "image",
        BlockKind::Document { .. } => "document",
        BlockKind::SearchResult { .. } => "search_result",
        BlockKind::Thinking { .. } => "thinking",
        BlockKind::ToolUse { .. } => "tool_use",
        BlockKind::ToolResult { .. } => "tool_result",
        BlockKind::ToolReference(_) => "tool_reference",
        BlockKind::ServerToolUse { .. } => "server_tool_use",
        BlockKind::WebSearchResult { .. } => "web_search_tool_result",
        BlockKind::WebFetchResult { .. } => "web_fetch_tool_result",
        BlockKind::McpToolResult(_) => "mcp_tool_result",
        BlockKind::ToolChange(_) => "tool_addition",
        BlockKind::Other(kind) => kind.raw(),
    }
}
