//! Tools and the choice among them.

use super::complaint::{Complaint, Result, Under};
use crate::wire::json::{Cursor, JsonStr, RawJson};

/// An entry of `tools`.
#[derive(Debug, Clone)]
pub struct Tool<'a> {
    /// `type`: none or `custom` for the client's own tools, else a dated name.
    pub kind: Option<JsonStr<'a>>,
    /// `name`; empty where the type has none.
    pub name: JsonStr<'a>,
    /// `description`.
    pub description: Option<JsonStr<'a>>,
    /// `input_schema`: an object.
    pub input_schema: Option<InputSchema<'a>>,
    /// `strict`.
    pub strict: bool,
    /// `defer_loading`: not shown to the model until it was found.
    pub defer_loading: bool,
    /// `input_examples` are there.
    pub input_examples: bool,
}

/// A JSON Schema, taken apart at the top: its fields are found once, when the request is read.
#[derive(Debug, Clone)]
pub struct InputSchema<'a> {
    /// All of it.
    pub whole: RawJson<'a>,
    /// Keywords and their values, in order.
    pub fields: Vec<(JsonStr<'a>, RawJson<'a>)>,
}

impl Tool<'_> {
    /// A tool of the client's own making.
    pub fn is_custom(&self) -> bool {
        self.kind.is_none_or(|kind| kind.raw() == "custom")
    }

    /// The web tool of the server's that it is.
    pub fn web_tool(&self) -> Option<WebTool> {
        self.kind.and_then(WebTool::of_kind)
    }
}

/// A tool that Anthropic's servers carry out, and the proxy where it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebTool {
    /// `web_search_*`.
    Search,
    /// `web_fetch_*`.
    Fetch,
}

impl WebTool {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Search, Self::Fetch];

    /// By the type of an entry of `tools`: the name and a date.
    fn of_kind(kind: JsonStr<'_>) -> Option<Self> {
        let dated = |tool: &Self| {
            let date = kind.raw().strip_prefix(tool.name()).and_then(|rest| rest.strip_prefix('_'));
            date.is_some_and(|date| date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()))
        };
        Self::ALL.into_iter().find(dated)
    }

    /// By the name that `server_tool_use` calls it by.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Its name, which clients cannot change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "web_search",
            Self::Fetch => "web_fetch",
        }
    }
}

/// `tool_choice`.
#[derive(Debug, Clone, Copy)]
pub struct ToolChoice<'a> {
    /// Which tools may or must be called.
    pub kind: ToolChoiceKind<'a>,
    /// `disable_parallel_tool_use`.
    pub disable_parallel_tool_use: bool,
}

/// `tool_choice.type`.
#[derive(Debug, Clone, Copy)]
pub enum ToolChoiceKind<'a> {
    /// The model decides.
    Auto,
    /// Some tool.
    Any,
    /// This tool.
    Tool(JsonStr<'a>),
    /// No tool.
    None,
}

pub(super) fn tool<'a>(cur: &mut Cursor<'a>) -> Result<Tool<'a>> {
    let mut name = None;
    let mut tool = Tool {
        kind: None,
        name: JsonStr::default(),
        description: None,
        input_schema: None,
        strict: false,
        defer_loading: false,
        input_examples: false,
    };
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "type" => tool.kind = cur.opt_string().under("type")?,
            "name" => name = cur.opt_string().under("name")?,
            "description" => tool.description = cur.opt_string().under("description")?,
            "input_schema" => {
                if cur.null()? {
                    return Ok(());
                }
                if cur.peek() != Some(b'{') {
                    return cur.wrong_type("Input should be an object").under("input_schema");
                }
                tool.input_schema = Some(input_schema(cur).under("input_schema")?);
            }
            "strict" => tool.strict = !cur.null()? && cur.bool().under("strict")?,
            "defer_loading" => tool.defer_loading = !cur.null()? && cur.bool().under("defer_loading")?,
            "input_examples" => tool.input_examples = !matches!(cur.raw()?.text(), "null" | "[]"),
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    if tool.is_custom() {
        if name.is_none_or(JsonStr::is_empty) {
            return Err(Complaint::required("name"));
        }
        if tool.input_schema.is_none() {
            return Err(Complaint::required("input_schema"));
        }
    }
    tool.name = name.unwrap_or_default();
    Ok(tool)
}

fn input_schema<'a>(cur: &mut Cursor<'a>) -> Result<InputSchema<'a>> {
    let start = cur.at();
    let mut fields = Vec::with_capacity(8);
    cur.object(|key, cur| -> Result<()> {
        fields.push((key, cur.raw()?));
        Ok(())
    })?;
    Ok(InputSchema { whole: cur.raw_since(start), fields })
}

pub(super) fn tool_choice<'a>(cur: &mut Cursor<'a>) -> Result<Option<ToolChoice<'a>>> {
    if cur.null()? {
        return Ok(None);
    }
    let (mut kind, mut name, mut disable) = (None, None, false);
    cur.object(|key, cur| -> Result<()> {
        match key.raw() {
            "type" => kind = Some(cur.string().under("type")?),
            "name" => name = cur.opt_string().under("name")?,
            "disable_parallel_tool_use" => {
                disable = !cur.null()? && cur.bool().under("disable_parallel_tool_use")?;
            }
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    let kind = match kind.ok_or_else(|| Complaint::required("type"))?.raw() {
        "auto" => ToolChoiceKind::Auto,
        "any" => ToolChoiceKind::Any,
        "tool" => ToolChoiceKind::Tool(name.ok_or_else(|| Complaint::required("name"))?),
        "none" => ToolChoiceKind::None,
        _ => {
            return Err(Complaint::new("Input should be 'auto', 'any', 'tool' or 'none'")).under("type");
        }
    };
    Ok(Some(ToolChoice { kind, disable_parallel_tool_use: disable }))
}
