//! Tools, the choice among them, and their names.

use std::borrow::Cow;
use std::collections::HashSet;

use super::body::Body;
use super::ids::sha256_hex;
use super::loss::Losses;
use super::profile::{Profile, ToolChoiceSupport};
use super::schema;
use super::web::{self, Round, Served};
use crate::wire::anthropic::{
    BlockKind, Message, Request, Tool, ToolChange, ToolChoice, ToolChoiceKind, WebTool,
};
use crate::wire::json::{JsonStr, write_str};

/// Names that upstreams refuse get another one on the way, and their own on the way back.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// (upstream, the client's own)
    renamed: Vec<(String, String)>,
}

impl Names {
    /// The name that a tool has upstream: at most 64 of `[A-Za-z0-9_-]`.
    ///
    /// Source: OpenAI API reference, `function.name`.
    pub(super) fn upstream<'n>(&mut self, name: JsonStr<'n>) -> Cow<'n, str> {
        let own = name.decode();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if own.len() <= 64 && own.chars().all(allowed) && !own.is_empty() {
            return own;
        }
        let mut short: String = own.chars().map(|c| if allowed(c) { c } else { '_' }).take(55).collect();
        short.push('_');
        short.push_str(&sha256_hex(&own, 8));
        if !self.renamed.iter().any(|(s, _)| *s == short) {
            self.renamed.push((short.clone(), own.into_owned()));
        }
        Cow::Owned(short)
    }

    /// For the way back.
    pub(super) fn into_renamed(self) -> Vec<(String, String)> {
        self.renamed
    }
}

/// Tools that Anthropic defines and the client runs: (beginning of the type, name if the
/// request gives none, description, JSON Schema).
///
/// Source: Anthropic documentation, "Bash tool", "Text editor tool", "Memory tool".
const CLIENT_TOOLS: &[(&str, &str, &str, &str)] = &[
    (
        "bash_",
        "bash",
        "Run a command in a persistent bash session.",
        r#"{"type":"object","properties":{"command":{"type":"string","description":"The bash command to run. Required unless restart is true."},"restart":{"type":"boolean","description":"Set to true to restart the bash session."}}}"#,
    ),
    (
        "text_editor_",
        "str_replace_based_edit_tool",
        "View, create and edit text files.",
        r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"],"description":"What to do."},"path":{"type":"string","description":"Path of the file or directory."},"file_text":{"type":"string","description":"create: the content of the new file."},"old_str":{"type":"string","description":"str_replace: the text to replace; it has to occur exactly once."},"new_str":{"type":"string","description":"str_replace: the new text."},"insert_line":{"type":"integer","description":"insert: the line after which the text goes; 0 is the beginning of the file."},"insert_text":{"type":"string","description":"insert: the text to insert."},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line; -1 is the end of the file."}},"required":["command","path"]}"#,
    ),
    (
        "memory_",
        "memory",
        "Read and write files in the /memories directory, which lasts between conversations.",
        r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"],"description":"What to do."},"path":{"type":"string","description":"Path below /memories."},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line."},"file_text":{"type":"string","description":"create: the content of the file."},"old_str":{"type":"string","description":"str_replace: the text to replace."},"new_str":{"type":"string","description":"str_replace: the new text."},"insert_line":{"type":"integer","description":"insert: the line after which the text goes."},"insert_text":{"type":"string","description":"insert: the text to insert."},"old_path":{"type":"string","description":"rename: the present path."},"new_path":{"type":"string","description":"rename: the new path."}},"required":["command"]}"#,
    ),
];

/// What Claude Code puts into the list in the place of tools that are still deferred.
const PLACEHOLDER: &str = "DeferredToolPlaceholder";

#[derive(Debug, Clone, Copy)]
enum Offered<'r, 'a> {
    Custom(&'r Tool<'a>),
    /// Name, description, schema.
    Fixed(JsonStr<'a>, &'static str, &'static str, &'static str),
    /// A tool that the proxy carries out, and its name upstream.
    Web(WebTool, &'static str),
}

impl<'a> Offered<'_, 'a> {
    /// The client's name for it.
    fn name(&self) -> Cow<'a, str> {
        match self {
            Self::Custom(tool) => tool.name.decode(),
            Self::Fixed(name, default, ..) if name.is_empty() => Cow::Borrowed(default),
            Self::Fixed(name, ..) => name.decode(),
            Self::Web(_, name) => Cow::Borrowed(name),
        }
    }
}

/// The tools that one request offers, in the order in which they go upstream.
#[derive(Debug)]
pub(super) struct Offer<'r, 'a> {
    tools: Vec<Offered<'r, 'a>>,
    served: Served,
}

impl<'r, 'a> Offer<'r, 'a> {
    /// Decides what is offered.
    ///
    /// Tools that were found late go to the end, in the order in which they were named: what
    /// stood before them keeps its place, and the upstream's prefix cache its use.
    /// `served` are the web tools that the proxy carries out.
    pub(super) fn new(request: &'r Request<'a>, served: Served, round: Round, losses: &mut Losses) -> Self {
        let mut tools: Vec<Offered<'r, 'a>> = Vec::with_capacity(request.tools.len());
        let mut names: HashSet<Cow<'a, str>> = HashSet::with_capacity(request.tools.len());
        let is_search = |t: &Tool<'_>| t.kind.is_some_and(|k| k.starts_with("tool_search_tool_"));
        // With a server-side search, which no upstream has, nobody could load a deferred tool;
        // the same holds when every tool is deferred.
        let load_all = request.tools.iter().any(is_search)
            || !request
                .tools
                .iter()
                .any(|t| !t.defer_loading && offered(t, served).is_some() && t.name.raw() != PLACEHOLDER);
        for (n, tool) in request.tools.iter().enumerate() {
            if tool.name.raw() == PLACEHOLDER || (tool.defer_loading && !load_all) {
                continue;
            }
            let Some(offered) = offered(tool, served) else {
                let kind = tool.kind.map(JsonStr::raw).unwrap_or_default();
                losses.add(|| format!("tools[{n}]"), &format!("dropped_tool:{kind}"));
                continue;
            };
            if tool.input_examples {
                losses.add(|| format!("tools[{n}].input_examples"), "dropped:input_examples");
            }
            if names.insert(offered.name()) {
                tools.push(offered);
            }
        }
        let mut offer = Self { tools, served };
        for message in &request.messages {
            offer.change(message, request);
        }
        if round == Round::Last {
            offer.tools.retain(|tool| !matches!(tool, Offered::Web(..)));
        }
        offer
    }

    fn change(&mut self, message: &'r Message<'a>, request: &'r Request<'a>) {
        for block in &message.content {
            match &block.kind {
                BlockKind::ToolChange(ToolChange::Load(name)) => self.load(*name, request),
                BlockKind::ToolChange(ToolChange::Define(tool)) => {
                    self.remove(&tool.name.decode());
                    self.tools.extend(offered(tool, self.served));
                }
                BlockKind::ToolChange(ToolChange::Remove(name)) => self.remove(&name.decode()),
                BlockKind::ToolResult { content, .. } => {
                    for inner in content {
                        if let BlockKind::ToolReference(name) = &inner.kind {
                            self.load(*name, request);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn remove(&mut self, name: &str) {
        self.tools.retain(|t| t.name() != name);
    }

    fn load(&mut self, name: JsonStr<'a>, request: &'r Request<'a>) {
        let name = name.decode();
        if name == PLACEHOLDER || self.tools.iter().any(|t| t.name() == name) {
            return;
        }
        let tool = request.tools.iter().filter_map(|t| offered(t, self.served)).find(|t| t.name() == name);
        self.tools.extend(tool);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Writes `tools`, `tool_choice` and `parallel_tool_calls`.
    pub(super) fn write(
        mut self,
        choice: Option<ToolChoice<'a>>,
        profile: &Profile,
        names: &mut Names,
        body: &mut Body<'_>,
        losses: &mut Losses,
    ) {
        let kind = choice.map_or(ToolChoiceKind::Auto, |c| c.kind);
        if self.tools.is_empty() {
            return;
        }
        let mut sent: Option<Cow<'_, str>> = None;
        let mut named: Option<String> = None;
        let degraded = |losses: &mut Losses| losses.add(|| "tool_choice".into(), "degraded:tool_choice");
        match (profile.tool_choice, kind) {
            (_, ToolChoiceKind::Auto) if choice.is_none() => {}
            // `none` has to hold for every upstream: without tools nothing can be called.
            (ToolChoiceSupport::AutoOnly, ToolChoiceKind::None) => return,
            (ToolChoiceSupport::Drop, ToolChoiceKind::Auto) => {}
            (ToolChoiceSupport::Drop, _) => degraded(losses),
            (_, ToolChoiceKind::Auto) => sent = Some("auto".into()),
            (ToolChoiceSupport::AutoOnly, _) => {
                degraded(losses);
                sent = Some("auto".into());
            }
            (_, ToolChoiceKind::Any) => sent = Some("required".into()),
            (_, ToolChoiceKind::None) => sent = Some("none".into()),
            (support, ToolChoiceKind::Tool(name)) => {
                let own = name.decode();
                if !self.tools.iter().any(|t| t.name() == own) {
                    // It was dropped: forcing a tool that is not offered is a 400 everywhere.
                    degraded(losses);
                } else if support == ToolChoiceSupport::RequiredAlone {
                    self.tools.retain(|t| t.name() == own);
                    sent = Some("required".into());
                } else {
                    named = Some(names.upstream(name).into_owned());
                }
            }
        }
        body.field("tools", |out| self.write_tools(profile, names, out, losses));
        if let Some(sent) = sent {
            body.field("tool_choice", |out| write_str(&sent, out));
        }
        if let Some(named) = named {
            body.field("tool_choice", |out| {
                out.extend_from_slice(b"{\"type\":\"function\",\"function\":{\"name\":");
                write_str(&named, out);
                out.extend_from_slice(b"}}");
            });
        }
        if choice.is_some_and(|c| c.disable_parallel_tool_use) {
            if profile.parallel_flag {
                body.field("parallel_tool_calls", |out| out.extend_from_slice(b"false"));
            } else {
                losses.add(
                    || "tool_choice.disable_parallel_tool_use".into(),
                    "dropped:disable_parallel_tool_use",
                );
            }
        }
    }

    fn write_tools(&self, profile: &Profile, names: &mut Names, out: &mut Vec<u8>, losses: &mut Losses) {
        out.push(b'[');
        for (n, tool) in self.tools.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"type\":\"function\",\"function\":{\"name\":");
            match tool {
                Offered::Custom(tool) => {
                    write_str(&names.upstream(tool.name), out);
                    if let Some(description) = tool.description {
                        out.extend_from_slice(b",\"description\":");
                        description.write(out);
                    }
                    if let Some(schema) = &tool.input_schema {
                        out.extend_from_slice(b",\"parameters\":");
                        let start = out.len();
                        if schema::write_parameters(schema, profile.schema, out).is_err() {
                            out.truncate(start);
                            out.extend_from_slice(b"{\"type\":\"object\",\"properties\":{}}");
                        }
                        if tool.strict && profile.strict_tools {
                            if schema::strict_ok(schema.whole) {
                                out.extend_from_slice(b",\"strict\":true");
                            } else {
                                losses.add(|| format!("tools[{n}].strict"), "dropped:strict");
                            }
                        }
                    }
                }
                Offered::Fixed(_, _, description, schema) => {
                    write_fixed(&tool.name(), description, schema, out);
                }
                Offered::Web(web, name) => {
                    let (description, schema) = web::function(*web);
                    write_fixed(name, description, schema, out);
                }
            }
            out.extend_from_slice(b"}}");
        }
        out.push(b']');
    }
}

fn write_fixed(name: &str, description: &str, schema: &str, out: &mut Vec<u8>) {
    write_str(name, out);
    out.extend_from_slice(b",\"description\":");
    write_str(description, out);
    out.extend_from_slice(b",\"parameters\":");
    out.extend_from_slice(schema.as_bytes());
}

fn offered<'r, 'a>(tool: &'r Tool<'a>, served: Served) -> Option<Offered<'r, 'a>> {
    if tool.is_custom() {
        return Some(Offered::Custom(tool));
    }
    if let Some(web) = tool.web_tool() {
        return served.name(web).map(|name| Offered::Web(web, name));
    }
    let kind = tool.kind?;
    CLIENT_TOOLS
        .iter()
        .find(|(start, ..)| kind.starts_with(start))
        .map(|(_, name, description, schema)| Offered::Fixed(tool.name, name, description, schema))
}
