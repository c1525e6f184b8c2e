//! Content blocks of requests.

use super::complaint::{Complaint, Result, Under, list};
use super::tool::Tool;
use crate::wire::json::{Cursor, JsonStr, RawJson};

/// Where a block stood in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Index of the message.
    pub message: u32,
    /// Index in its content; none when the content was a string.
    pub block: Option<u32>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.block {
            Some(block) => write!(f, "messages[{}].content[{block}]", self.message),
            None => write!(f, "messages[{}].content", self.message),
        }
    }
}

/// One content block.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    /// Where it stood.
    pub place: Place,
    /// What it is.
    pub kind: BlockKind<'a>,
    /// `cache_control`, as it came.
    pub cache_control: Option<RawJson<'a>>,
}

/// The kinds of block that mean something to a Chat Completions server, and the rest.
#[derive(Debug, Clone)]
pub enum BlockKind<'a> {
    /// `text`.
    Text(JsonStr<'a>),
    /// `image`.
    Image(Source<'a>),
    /// `document`.
    Document {
        /// Its contents.
        source: Source<'a>,
        /// Its title.
        title: Option<JsonStr<'a>>,
        /// What the client says of it.
        context: Option<JsonStr<'a>>,
    },
    /// `search_result`.
    SearchResult {
        /// Usually a URL.
        source: JsonStr<'a>,
        /// Its title.
        title: JsonStr<'a>,
        /// Its texts.
        content: Vec<Block<'a>>,
    },
    /// `thinking`.
    Thinking {
        /// The text; empty with `display: "omitted"`.
        thinking: JsonStr<'a>,
        /// Who made it, and what it takes to send it back.
        signature: JsonStr<'a>,
    },
    /// `tool_use`.
    ToolUse {
        /// The call's id.
        id: JsonStr<'a>,
        /// The tool's name.
        name: JsonStr<'a>,
        /// Its arguments, an object; none was given: `{}`.
        input: Option<RawJson<'a>>,
    },
    /// `tool_result`.
    ToolResult {
        /// The call that it answers.
        tool_use_id: JsonStr<'a>,
        /// A string becomes one text block.
        content: Vec<Block<'a>>,
        /// The tool failed.
        is_error: bool,
    },
    /// `tool_reference`: a deferred tool was found.
    ToolReference(JsonStr<'a>),
    /// `server_tool_use`: a call that the server carries out.
    ServerToolUse {
        /// The call's id.
        id: JsonStr<'a>,
        /// The tool's name.
        name: JsonStr<'a>,
        /// Its arguments, an object; none was given: `{}`.
        input: Option<RawJson<'a>>,
    },
    /// `web_search_tool_result`.
    WebSearchResult {
        /// The call that it answers.
        tool_use_id: JsonStr<'a>,
        /// What was found, or the code of the error.
        found: std::result::Result<Vec<Found<'a>>, JsonStr<'a>>,
    },
    /// `web_fetch_tool_result`. Its content is read where it is used: [`super::Fetched`].
    WebFetchResult {
        /// The call that it answers.
        tool_use_id: JsonStr<'a>,
        /// The content, an object; none was given.
        content: Option<RawJson<'a>>,
    },
    /// `mcp_tool_result`.
    McpToolResult(Vec<Block<'a>>),
    /// `tool_addition` or `tool_removal` of a system message.
    ToolChange(ToolChange<'a>),
    /// Any other type: server tools' calls and results, and types that are newer than this.
    Other(JsonStr<'a>),
}

/// A `web_search_result`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found<'a> {
    /// Its title.
    pub title: JsonStr<'a>,
    /// Where it is.
    pub url: JsonStr<'a>,
    /// What only its maker can read.
    pub encrypted_content: JsonStr<'a>,
    /// How old it is, in the search service's words; empty: not told.
    pub page_age: JsonStr<'a>,
}

/// A change of the tool list in the middle of a conversation.
#[derive(Debug, Clone)]
pub enum ToolChange<'a> {
    /// A deferred tool is offered from here on.
    Load(JsonStr<'a>),
    /// A tool that was not in the list is offered from here on.
    Define(Box<Tool<'a>>),
    /// The tool is not offered any more.
    Remove(JsonStr<'a>),
    /// A form that only server-side tools have.
    Other,
}

/// Where an image's or a document's bytes are.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// Inline, base64.
    Base64 {
        /// MIME type.
        media_type: JsonStr<'a>,
        /// Standard base64 without a `data:` prefix.
        data: JsonStr<'a>,
    },
    /// Plain text (documents).
    Text(JsonStr<'a>),
    /// Blocks (documents).
    Content(Vec<Block<'a>>),
    /// By URL.
    Url(JsonStr<'a>),
    /// Uploaded before, or a form that is newer than this.
    File,
}

/// Reads `content`: a string, or a list of blocks.
pub(super) fn content<'a>(
    cur: &mut Cursor<'a>,
    message: u32,
    nested: Option<Place>,
) -> Result<Vec<Block<'a>>> {
    let mut out = Vec::new();
    match cur.peek() {
        Some(b'"') => {
            let place = nested.unwrap_or(Place { message, block: None });
            out.push(Block { place, kind: BlockKind::Text(cur.string()?), cache_control: None });
        }
        Some(b'n') => drop(cur.null()?),
        _ => list(cur, |n, cur| {
            let place = nested.unwrap_or(Place { message, block: Some(n as u32) });
            out.push(block(cur, place)?);
            Ok(())
        })?,
    }
    Ok(out)
}

/// The fields of all kinds of block; which of them count is known when `type` is.
#[derive(Default)]
struct Fields<'a> {
    text: Option<JsonStr<'a>>,
    source: Option<Source<'a>>,
    source_name: Option<JsonStr<'a>>,
    title: Option<JsonStr<'a>>,
    context: Option<JsonStr<'a>>,
    id: Option<JsonStr<'a>>,
    /// Also the code of an error.
    name: Option<JsonStr<'a>>,
    input: Option<RawJson<'a>>,
    content: Vec<Block<'a>>,
    results: Option<Vec<Found<'a>>>,
    is_error: bool,
    signature: Option<JsonStr<'a>>,
    change: Option<ToolChange<'a>>,
    cache_control: Option<RawJson<'a>>,
}

pub(super) fn block<'a>(cur: &mut Cursor<'a>, place: Place) -> Result<Block<'a>> {
    let mut kind: Option<JsonStr<'a>> = None;
    let mut fields = Fields::default();
    // Keys that came before `type`: read again when it is known. Clients write `type` first.
    let mut early: Vec<(JsonStr<'a>, usize)> = Vec::new();
    cur.object(|key, cur| -> Result<()> {
        if key.raw() == "type" {
            kind = Some(cur.string().under("type")?);
            return Ok(());
        }
        let Some(kind) = kind else {
            cur.peek();
            early.push((key, cur.at()));
            cur.raw()?;
            return Ok(());
        };
        fields.read(kind.raw(), key.raw(), cur, place)
    })?;
    let kind = kind.ok_or_else(|| Complaint::required("type"))?;
    for (key, at) in early {
        fields.read(kind.raw(), key.raw(), &mut cur.at_offset(at), place)?;
    }
    let cache_control = fields.cache_control;
    Ok(Block { place, kind: fields.build(kind)?, cache_control })
}

impl<'a> Fields<'a> {
    fn read(&mut self, kind: &str, key: &str, cur: &mut Cursor<'a>, place: Place) -> Result<()> {
        match (kind, key) {
            (_, "cache_control") => self.cache_control = Some(cur.raw()?).filter(|c| !c.is_null()),
            ("text", "text") => self.text = Some(cur.string().under("text")?),
            ("image" | "document", "source") => self.source = Some(source(cur, place).under("source")?),
            ("search_result", "source") => self.source_name = Some(cur.string().under("source")?),
            ("document" | "search_result", "title") => self.title = cur.opt_string().under("title")?,
            ("document", "context") => self.context = cur.opt_string().under("context")?,
            ("thinking", "thinking") => self.text = Some(cur.string().under("thinking")?),
            ("thinking", "signature") => self.signature = cur.opt_string().under("signature")?,
            ("tool_use" | "server_tool_use", "id") => self.id = Some(cur.string().under("id")?),
            ("tool_use" | "server_tool_use", "name") => self.name = Some(cur.string().under("name")?),
            ("tool_use", "input") => {
                if cur.null()? {
                    return Ok(());
                }
                if cur.peek() != Some(b'{') {
                    return cur.wrong_type("Input should be an object").under("input");
                }
                self.input = Some(cur.raw()?);
            }
            ("server_tool_use", "input") if cur.peek() == Some(b'{') => self.input = Some(cur.raw()?),
            ("web_fetch_tool_result", "content") if cur.peek() == Some(b'{') => {
                self.input = Some(cur.raw()?);
            }
            ("web_search_tool_result" | "web_fetch_tool_result", "tool_use_id") => {
                self.id = cur.opt_string().under("tool_use_id")?;
            }
            ("tool_result", "tool_use_id") => self.id = Some(cur.string().under("tool_use_id")?),
            ("tool_result", "is_error") => {
                self.is_error = !cur.null()? && cur.bool().under("is_error")?;
            }
            ("tool_result" | "search_result", "content") => {
                self.content = content(cur, place.message, Some(place)).under("content")?;
            }
            ("mcp_tool_result", "content") if matches!(cur.peek(), Some(b'"' | b'[')) => {
                self.content = content(cur, place.message, Some(place)).under("content")?;
            }
            ("tool_reference", "tool_name") => self.name = Some(cur.string().under("tool_name")?),
            ("web_search_tool_result", "content") if cur.peek() == Some(b'[') => {
                let results = self.results.insert(Vec::new());
                list(cur, |_, cur| {
                    results.push(found(cur)?);
                    Ok(())
                })
                .under("content")?;
            }
            ("web_search_tool_result", "content") if cur.peek() == Some(b'{') => {
                cur.object(|key, cur| -> Result<()> {
                    match key.raw() {
                        "error_code" => self.name = cur.opt_string()?,
                        _ => drop(cur.raw()?),
                    }
                    Ok(())
                })
                .under("content")?;
            }
            ("tool_addition", "tool") => self.change = Some(change(cur, true).under("tool")?),
            ("tool_removal", "tool") => self.change = Some(change(cur, false).under("tool")?),
            _ => drop(cur.raw()?),
        }
        Ok(())
    }

    fn build(self, kind: JsonStr<'a>) -> Result<BlockKind<'a>> {
        let need = |value: Option<JsonStr<'a>>, key| value.ok_or_else(|| Complaint::required(key));
        Ok(match kind.raw() {
            "text" => BlockKind::Text(need(self.text, "text")?),
            "image" => BlockKind::Image(self.source.ok_or_else(|| Complaint::required("source"))?),
            "document" => BlockKind::Document {
                source: self.source.ok_or_else(|| Complaint::required("source"))?,
                title: self.title,
                context: self.context,
            },
            "search_result" => BlockKind::SearchResult {
                source: self.source_name.unwrap_or_default(),
                title: self.title.unwrap_or_default(),
                content: self.content,
            },
            "thinking" => BlockKind::Thinking {
                thinking: need(self.text, "thinking")?,
                signature: self.signature.unwrap_or_default(),
            },
            "tool_use" => BlockKind::ToolUse {
                id: need(self.id, "id")?,
                name: need(self.name, "name")?,
                input: self.input,
            },
            "tool_result" => BlockKind::ToolResult {
                tool_use_id: need(self.id, "tool_use_id")?,
                content: self.content,
                is_error: self.is_error,
            },
            "tool_reference" => BlockKind::ToolReference(need(self.name, "tool_name")?),
            "server_tool_use" => BlockKind::ServerToolUse {
                id: self.id.unwrap_or_default(),
                name: self.name.unwrap_or_default(),
                input: self.input,
            },
            "web_search_tool_result" => BlockKind::WebSearchResult {
                tool_use_id: self.id.unwrap_or_default(),
                found: self.results.ok_or(self.name.unwrap_or_default()),
            },
            "web_fetch_tool_result" => {
                BlockKind::WebFetchResult { tool_use_id: self.id.unwrap_or_default(), content: self.input }
            }
            "mcp_tool_result" => BlockKind::McpToolResult(self.content),
            "tool_addition" | "tool_removal" => {
                BlockKind::ToolChange(self.change.ok_or_else(|| Complaint::required("tool"))?)
            }
            _ => BlockKind::Other(kind),
        })
    }
}

fn found<'a>(cur: &mut Cursor<'a>) -> Result<Found<'a>> {
    let mut found = Found::default();
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "title" => found.title = cur.opt_string()?.unwrap_or_default(),
            "url" => found.url = cur.opt_string()?.unwrap_or_default(),
            "encrypted_content" => found.encrypted_content = cur.opt_string()?.unwrap_or_default(),
            "page_age" => found.page_age = cur.opt_string()?.unwrap_or_default(),
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    Ok(found)
}

fn source<'a>(cur: &mut Cursor<'a>, place: Place) -> Result<Source<'a>> {
    let mut kind = None;
    let (mut media_type, mut data, mut url) = (None, None, None);
    let mut blocks = None;
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "type" => kind = Some(cur.string().under("type")?),
            "media_type" => media_type = cur.opt_string().under("media_type")?,
            "data" => data = cur.opt_string().under("data")?,
            "url" => url = cur.opt_string().under("url")?,
            "content" => blocks = Some(content(cur, place.message, Some(place)).under("content")?),
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    let kind = kind.ok_or_else(|| Complaint::required("type"))?;
    Ok(match kind.raw() {
        "base64" => Source::Base64 {
            media_type: media_type.ok_or_else(|| Complaint::required("media_type"))?,
            data: data.ok_or_else(|| Complaint::required("data"))?,
        },
        "text" => Source::Text(data.ok_or_else(|| Complaint::required("data"))?),
        "content" => Source::Content(blocks.ok_or_else(|| Complaint::required("content"))?),
        "url" => Source::Url(url.ok_or_else(|| Complaint::required("url"))?),
        _ => Source::File,
    })
}

fn change<'a>(cur: &mut Cursor<'a>, addition: bool) -> Result<ToolChange<'a>> {
    let (mut kind, mut name, mut definition) = (None, None, None);
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "type" => kind = Some(cur.string().under("type")?),
            "name" => name = cur.opt_string().under("name")?,
            "definition" if !cur.null()? => {
                definition = Some(super::tool::tool(cur).under("definition")?);
            }
            "definition" => {}
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    let kind = kind.ok_or_else(|| Complaint::required("type"))?;
    Ok(match (kind.raw(), addition) {
        ("tool_reference", true) => ToolChange::Load(name.ok_or_else(|| Complaint::required("name"))?),
        ("tool_reference", false) => ToolChange::Remove(name.ok_or_else(|| Complaint::required("name"))?),
        ("tool_definition", true) => {
            ToolChange::Define(Box::new(definition.ok_or_else(|| Complaint::required("definition"))?))
        }
        _ => ToolChange::Other,
    })
}
