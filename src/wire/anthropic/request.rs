//! A Messages request, borrowed from its bytes.

use std::borrow::Cow;

use super::block::{Block, BlockKind, content};
use super::complaint::{Complaint, Result, Step, Under, list, strings};
use super::known::KnownTools;
use super::tool::{Tool, ToolChoice, tool, tool_choice};
use super::{ApiError, Place};
use crate::wire::json::{self, Cursor, JsonStr, RawJson};

/// A `POST /v1/messages` body. Text, tool inputs and schemas stay slices of the input.
#[derive(Debug)]
pub struct Request<'a> {
    /// `model`, as the client wrote it.
    pub model: Cow<'a, str>,
    /// `max_tokens`; 0 asks for no output.
    pub max_tokens: u64,
    /// `messages`, at least one.
    pub messages: Vec<Message<'a>>,
    /// `system`; a string is one block.
    pub system: Vec<SystemBlock<'a>>,
    /// `tools`.
    pub tools: Vec<Tool<'a>>,
    /// The same as it stood, for settings that only some tools have; empty: there are none.
    pub tools_text: &'a str,
    /// `tool_choice`.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// `stop_sequences`.
    pub stop_sequences: Vec<JsonStr<'a>>,
    /// `temperature`, as written.
    pub temperature: Option<&'a str>,
    /// `top_p`, as written.
    pub top_p: Option<&'a str>,
    /// `top_k`, as written.
    pub top_k: Option<&'a str>,
    /// `stream`.
    pub stream: bool,
    /// `thinking`.
    pub thinking: Option<Thinking>,
    /// `output_config.effort`.
    pub effort: Option<JsonStr<'a>>,
    /// The schema of `output_config.format` (or of `output_format`, its older name).
    pub output_schema: Option<RawJson<'a>>,
    /// `cache_control` of the whole request.
    pub cache_control: Option<RawJson<'a>>,
    /// `metadata`, as it came.
    pub metadata: Option<RawJson<'a>>,
    /// `safeguards`: the client expects verdicts on tool calls.
    pub safeguards: Option<RawJson<'a>>,
    /// Length of the body in bytes.
    pub source_len: usize,
    /// Fields that are there and have no equivalent, in the order in which they came.
    pub unsupported: Vec<Unsupported>,
}

/// A field without an equivalent in Chat Completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// `mcp_servers`.
    McpServers,
    /// `container`.
    Container,
    /// `context_management`.
    ContextManagement,
    /// `fallbacks`.
    Fallbacks,
    /// `thread`: the history lives on the server. Cannot be left out silently.
    Thread,
    /// `compaction`: the answer would be a compaction block. Cannot be left out silently.
    Compaction,
}

impl Unsupported {
    /// The field's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::McpServers => "mcp_servers",
            Self::Container => "container",
            Self::ContextManagement => "context_management",
            Self::Fallbacks => "fallbacks",
            Self::Thread => "thread",
            Self::Compaction => "compaction",
        }
    }

    fn named(key: &str) -> Option<Self> {
        [
            Self::McpServers,
            Self::Container,
            Self::ContextManagement,
            Self::Fallbacks,
            Self::Thread,
            Self::Compaction,
        ]
        .into_iter()
        .find(|u| u.as_str() == key)
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The client's side, tool results included.
    User,
    /// The model.
    Assistant,
    /// A system message in the middle of the conversation.
    System,
}

/// An entry of `messages`.
#[derive(Debug)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// A string becomes one text block.
    pub content: Vec<Block<'a>>,
    /// System messages: `clear_at` is `next_user_message`.
    pub clears: bool,
    /// System messages: `output_config.effort`.
    pub effort: Option<JsonStr<'a>>,
}

/// A block of `system`.
#[derive(Debug, Clone, Copy)]
pub struct SystemBlock<'a> {
    /// Its text.
    pub text: JsonStr<'a>,
    /// `cache_control`, as it came.
    pub cache_control: Option<RawJson<'a>>,
}

/// `thinking`.
#[derive(Debug, Clone, Copy)]
pub struct Thinking {
    /// `type`, with its budget.
    pub kind: ThinkingKind,
    /// `display`.
    pub display: Display,
}

/// `thinking.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingKind {
    /// With `budget_tokens`.
    Enabled(u64),
    /// The model decides. Also types that are newer than this.
    Adaptive,
    /// Off.
    Disabled,
    /// None before the first output: no upstream can be asked for that, so it counts as off.
    BetweenTools,
}

/// `thinking.display`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// The text is shown (`summarized`, `updates`, or not said).
    Shown,
    /// The text stays empty and travels in the signature.
    Omitted,
}

impl<'a> Request<'a> {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// 400 in Anthropic's words: broken JSON with line and column, wrong types and missing
    /// fields with their path (`messages.1.content.0.type: Field required`).
    pub fn parse(body: &'a [u8]) -> std::result::Result<Self, ApiError> {
        Self::read(body, true, None)
    }

    /// Like [`Request::parse`]; a list of tools that is known is not read again, and one that
    /// is not is known from now on.
    ///
    /// # Errors
    /// As [`Request::parse`], with and without what is known.
    pub fn parse_known(body: &'a [u8], known: &mut KnownTools) -> std::result::Result<Self, ApiError> {
        Self::read(body, true, Some(known))
    }

    /// Like [`Request::parse`] for `count_tokens`, which has no `max_tokens`.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn parse_for_count(body: &'a [u8]) -> std::result::Result<Self, ApiError> {
        Self::read(body, false, None)
    }

    fn read(
        body: &'a [u8],
        whole: bool,
        known: Option<&mut KnownTools>,
    ) -> std::result::Result<Self, ApiError> {
        let text = utf8(body)?;
        let mut request = request(&mut Cursor::new(text), whole, known).map_err(|e| e.into_error(body))?;
        request.source_len = body.len();
        Ok(request)
    }
}

/// The body as text.
pub(super) fn utf8(body: &[u8]) -> std::result::Result<&str, ApiError> {
    json::utf8(body).map_err(|e| {
        ApiError::invalid_request(format!("The request body is not valid UTF-8 (byte {})", e.valid_up_to()))
    })
}

fn request<'a>(cur: &mut Cursor<'a>, whole: bool, mut known: Option<&mut KnownTools>) -> Result<Request<'a>> {
    let mut r = Request {
        model: Cow::Borrowed(""),
        max_tokens: 0,
        messages: Vec::new(),
        system: Vec::new(),
        tools: Vec::new(),
        tools_text: "",
        tool_choice: None,
        stop_sequences: Vec::new(),
        temperature: None,
        top_p: None,
        top_k: None,
        stream: false,
        thinking: None,
        effort: None,
        output_schema: None,
        cache_control: None,
        metadata: None,
        safeguards: None,
        source_len: 0,
        unsupported: Vec::new(),
    };
    let (mut model, mut messages, mut max_tokens) = (None, None, None);
    let mut seen = 0;
    cur.object(|key, cur| -> Result<()> {
        once(key.raw(), &mut seen)?;
        match key.raw() {
            "model" => model = Some(cur.string().under("model")?),
            "messages" => messages = Some(read_messages(cur).under("messages")?),
            "max_tokens" => max_tokens = Some(cur.u64().under("max_tokens")?),
            "system" => r.system = system(cur).under("system")?,
            "stream" => r.stream = !cur.null()? && cur.bool().under("stream")?,
            "stop_sequences" => r.stop_sequences = strings(cur).under("stop_sequences")?,
            "temperature" => r.temperature = number(cur).under("temperature")?,
            "top_p" => r.top_p = number(cur).under("top_p")?,
            "top_k" => r.top_k = number(cur).under("top_k")?,
            "tools" => {
                cur.peek();
                let start = cur.at();
                r.tools = tools(cur, known.as_deref_mut()).under("tools")?;
                r.tools_text = cur.since(start);
            }
            "tool_choice" => r.tool_choice = tool_choice(cur).under("tool_choice")?,
            "thinking" => r.thinking = thinking(cur).under("thinking")?,
            "output_config" => {
                output_config(cur, &mut r.effort, &mut r.output_schema).under("output_config")?;
            }
            "output_format" => {
                if let Some(schema) = format(cur).under("output_format")? {
                    r.output_schema = r.output_schema.or(Some(schema));
                }
            }
            "cache_control" => r.cache_control = Some(cur.raw()?).filter(|c| !c.is_null()),
            "metadata" => r.metadata = Some(cur.raw()?),
            "safeguards" => r.safeguards = Some(cur.raw()?).filter(|s| !s.is_null()),
            other => {
                let value = cur.raw()?;
                if let Some(field) =
                    Unsupported::named(other).filter(|_| !matches!(value.text(), "null" | "[]"))
                {
                    r.unsupported.push(field);
                }
            }
        }
        Ok(())
    })?;
    cur.end()?;
    r.model = model.ok_or_else(|| Complaint::required("model"))?.decode();
    if r.model.is_empty() {
        return Err(Complaint::new("String should have at least 1 character")).under("model");
    }
    match (max_tokens, whole) {
        (Some(n), _) => r.max_tokens = n,
        (None, true) => return Err(Complaint::required("max_tokens")),
        (None, false) => r.max_tokens = 1,
    }
    r.messages = messages.ok_or_else(|| Complaint::required("messages"))?;
    if r.messages.is_empty() {
        return Err(Complaint::new("at least one message is required")).under("messages");
    }
    Ok(r)
}

fn tools<'a>(cur: &mut Cursor<'a>, mut known: Option<&mut KnownTools>) -> Result<Vec<Tool<'a>>> {
    let mut tools = Vec::new();
    if cur.null()? {
        return Ok(tools);
    }
    if let Some((tools, len)) = known.as_mut().and_then(|known| known.read(cur.rest())) {
        cur.skip_known(len);
        return Ok(tools);
    }
    let start = cur.at();
    list(cur, |_, cur| {
        tools.push(tool(cur)?);
        Ok(())
    })?;
    if let Some(known) = known {
        known.learn(cur.since(start), &tools);
    }
    Ok(tools)
}

/// Refuses a key that comes twice. JSON parsers differ in which of the two they take: what one
/// on the way has checked must be what is answered.
fn once(key: &str, seen: &mut u32) -> Result<()> {
    const KEYS: [&str; 17] = [
        "model",
        "messages",
        "max_tokens",
        "system",
        "stream",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "cache_control",
        "safeguards",
        "metadata",
    ];
    let Some((at, key)) = KEYS.iter().enumerate().find(|(_, k)| **k == key) else { return Ok(()) };
    if *seen & (1 << at) != 0 {
        return Err(Complaint::new("the key is there twice").under(Step::Key(key)));
    }
    *seen |= 1 << at;
    Ok(())
}

fn number<'a>(cur: &mut Cursor<'a>) -> Result<Option<&'a str>> {
    if cur.null()? { Ok(None) } else { Ok(Some(cur.number_text()?)) }
}

fn read_messages<'a>(cur: &mut Cursor<'a>) -> Result<Vec<Message<'a>>> {
    let mut out = Vec::with_capacity(32);
    list(cur, |n, cur| {
        out.push(message(cur, n as u32)?);
        Ok(())
    })?;
    Ok(out)
}

fn message<'a>(cur: &mut Cursor<'a>, index: u32) -> Result<Message<'a>> {
    let (mut role, mut blocks) = (None, None);
    let (mut clears, mut effort, mut ignored) = (false, None, None);
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "role" if role.is_some() => return Err(Complaint::new("the key is there twice")).under("role"),
            "content" if blocks.is_some() => {
                return Err(Complaint::new("the key is there twice")).under("content");
            }
            "role" => role = Some(cur.string().under("role")?),
            "content" => blocks = Some(content(cur, index, None).under("content")?),
            "clear_at" => {
                clears = cur.opt_string().under("clear_at")?.is_some_and(|c| c.raw() == "next_user_message");
            }
            "output_config" => output_config(cur, &mut effort, &mut ignored).under("output_config")?,
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    let role = match role.ok_or_else(|| Complaint::required("role"))?.raw() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(Complaint::new("Input should be 'user', 'assistant' or 'system'")).under("role"),
    };
    let content = match blocks {
        Some(blocks) => blocks,
        None if role == Role::System => Vec::new(),
        None => return Err(Complaint::required("content")),
    };
    Ok(Message { role, content, clears, effort })
}

fn system<'a>(cur: &mut Cursor<'a>) -> Result<Vec<SystemBlock<'a>>> {
    let mut out = Vec::new();
    if cur.null()? {
        return Ok(out);
    }
    let place = Place::default();
    for (n, block) in content_of_system(cur, place)?.into_iter().enumerate() {
        match block.kind {
            BlockKind::Text(text) => out.push(SystemBlock { text, cache_control: block.cache_control }),
            _ => {
                return Err(Complaint::new("Input should be 'text'")
                    .under(Step::Key("type"))
                    .under(Step::Index(n)));
            }
        }
    }
    Ok(out)
}

fn content_of_system<'a>(cur: &mut Cursor<'a>, place: Place) -> Result<Vec<Block<'a>>> {
    match cur.peek() {
        Some(b'"' | b'[') => content(cur, place.message, None),
        _ => cur.wrong_type("Input should be a string or a list of text blocks").map_err(Into::into),
    }
}

fn thinking(cur: &mut Cursor<'_>) -> Result<Option<Thinking>> {
    if cur.null()? {
        return Ok(None);
    }
    let (mut kind, mut budget, mut display) = (None, None, Display::Shown);
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "type" => kind = Some(cur.string().under("type")?),
            "budget_tokens" if !cur.null()? => budget = Some(cur.u64().under("budget_tokens")?),
            "budget_tokens" => {}
            "display" => {
                if cur.opt_string().under("display")?.is_some_and(|d| d.raw() == "omitted") {
                    display = Display::Omitted;
                }
            }
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    let kind = match kind.ok_or_else(|| Complaint::required("type"))?.raw() {
        "enabled" => ThinkingKind::Enabled(budget.ok_or_else(|| Complaint::required("budget_tokens"))?),
        "disabled" => ThinkingKind::Disabled,
        "between_tools" => ThinkingKind::BetweenTools,
        _ => ThinkingKind::Adaptive,
    };
    Ok(Some(Thinking { kind, display }))
}

fn output_config<'a>(
    cur: &mut Cursor<'a>,
    effort: &mut Option<JsonStr<'a>>,
    schema: &mut Option<RawJson<'a>>,
) -> Result<()> {
    if cur.null()? {
        return Ok(());
    }
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "effort" => *effort = cur.opt_string().under("effort")?,
            "format" => *schema = format(cur).under("format")?.or(*schema),
            _ => drop(cur.raw()?),
        }
        Ok(())
    })
}

/// The schema of a `json_schema` format.
fn format<'a>(cur: &mut Cursor<'a>) -> Result<Option<RawJson<'a>>> {
    if cur.null()? {
        return Ok(None);
    }
    let mut schema = None;
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "schema" => {
                if cur.peek() != Some(b'{') {
                    return cur.wrong_type("Input should be an object").under("schema");
                }
                schema = Some(cur.raw()?);
            }
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    schema.map(Some).ok_or_else(|| Complaint::required("schema"))
}
