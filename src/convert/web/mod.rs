//! Web search and fetch: tools of Anthropic's servers that the proxy carries out itself, for
//! upstreams that have neither. They are offered upstream as functions.

mod citations;
mod envelope;
mod result;
mod splice;
mod told;
mod urls;

use crate::wire::anthropic::{ApiError, BlockKind, Request, ToolChange, WebSettings, WebTool};
use crate::wire::json::JsonStr;

pub use citations::Source;
pub(super) use citations::{Citations, sources};
pub use result::{Hit, Page, PageBody, error_result, fetch_result, search_result};
pub use splice::continued;
pub(super) use told::{Told, is_web_result, told};
pub use urls::is_named;

/// The web tools that the configuration has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebTools {
    /// `web_search` is carried out.
    pub search: bool,
    /// `web_fetch` is carried out.
    pub fetch: bool,
    /// Which request of the exchange it is.
    pub round: Round,
}

/// The rounds of one exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Round {
    /// The client's request.
    #[default]
    First,
    /// The same with results: where a call was forced, it was made.
    Further,
    /// As many as there may be: calls are known still, and no web tool is offered.
    Last,
}

impl WebTools {
    fn has(self, tool: WebTool) -> bool {
        match tool {
            WebTool::Search => self.search,
            WebTool::Fetch => self.fetch,
        }
    }
}

/// The names that the web tools of a request have upstream; none: not carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    search: Option<&'static str>,
    fetch: Option<&'static str>,
}

impl Served {
    /// Decides which of the request's tools are carried out, and under which names.
    ///
    /// # Errors
    /// 400 for settings that [`WebSettings`] refuses.
    pub(super) fn of(request: &Request<'_>, web: WebTools) -> Result<Self, ApiError> {
        let mut served = Self::default();
        if !web.search && !web.fetch {
            return Ok(served);
        }
        for tool in WebTool::ALL {
            if !web.has(tool) || WebSettings::of(request, tool)?.is_none() {
                continue;
            }
            // A client's own tool keeps its name.
            let name = names(tool).into_iter().find(|name| !is_taken(name, request));
            match tool {
                WebTool::Search => served.search = name,
                WebTool::Fetch => served.fetch = name,
            }
        }
        Ok(served)
    }

    /// None is carried out.
    pub fn is_empty(self) -> bool {
        self.search.is_none() && self.fetch.is_none()
    }

    /// What the tool is called upstream.
    pub fn name(self, tool: WebTool) -> Option<&'static str> {
        match tool {
            WebTool::Search => self.search,
            WebTool::Fetch => self.fetch,
        }
    }

    /// The name upstream of a tool that a `server_tool_use` of the history calls.
    pub(super) fn calls(self, name: JsonStr<'_>) -> Option<&'static str> {
        if self.is_empty() {
            return None;
        }
        WebTool::named(name.raw()).and_then(|tool| self.name(tool))
    }

    /// The tool that is called so upstream.
    pub fn tool(self, upstream: &str) -> Option<WebTool> {
        WebTool::ALL.into_iter().find(|tool| self.name(*tool) == Some(upstream))
    }
}

fn names(tool: WebTool) -> [&'static str; 2] {
    match tool {
        WebTool::Search => ["web_search", "server_web_search"],
        WebTool::Fetch => ["web_fetch", "server_web_fetch"],
    }
}

fn is_taken(name: &str, request: &Request<'_>) -> bool {
    let changes = request.messages.iter().flat_map(|m| &m.content);
    let defined = changes.filter_map(|block| match &block.kind {
        BlockKind::ToolChange(ToolChange::Define(tool)) => Some(&**tool),
        _ => None,
    });
    request.tools.iter().chain(defined).any(|tool| tool.is_custom() && tool.name.is(name))
}

/// What the model is told of a tool: description and JSON Schema.
pub(super) fn function(tool: WebTool) -> (&'static str, &'static str) {
    match tool {
        WebTool::Search => (
            "Search the web. Gives the title, the URL and an excerpt of each result. Use it for what may have changed since you were trained, and where sources are asked for. In your answer, cite each result that you use as a Markdown link to its URL.",
            r#"{"type":"object","properties":{"query":{"type":"string","description":"What to search for, as one would ask a search engine."}},"required":["query"]}"#,
        ),
        WebTool::Fetch => (
            "Fetch a web page or a PDF and read it. Only a URL that the user, a tool result, a search result or a fetched page named can be fetched: write it exactly as it stands there, and never make one up.",
            r#"{"type":"object","properties":{"url":{"type":"string","description":"The URL, beginning with http:// or https://."}},"required":["url"]}"#,
        ),
    }
}
