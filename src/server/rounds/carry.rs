//! Carrying out the calls of web tools.

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::convert::web::{self, Hit, PageBody, is_named};
use crate::convert::{CompletedCall, HeldEnd};
use crate::observe::Record;
use crate::server::app::Worker;
use crate::web::{Content, FetchOptions, SearchOptions};
use crate::wire::anthropic::{Request, WebSettings, WebTool};

/// Results of a search that are asked for.
const RESULTS: usize = 10;

/// What became of a call.
pub(super) struct Carried {
    id: String,
    /// The result block.
    block: Vec<u8>,
    tool: WebTool,
    /// What went wrong, as Anthropic's codes have it.
    error: Option<&'static str>,
}

impl Carried {
    /// How many bytes it takes; if there is no room for so many, it says so instead.
    pub(super) fn fit(&mut self, room: usize) -> usize {
        if self.block.len() > room {
            self.error = Some("unavailable");
            self.block = web::error_result(self.tool, &self.id, "unavailable");
        }
        self.block.len()
    }

    /// Adds the result to the answer, and counts it.
    pub(super) fn insert(self, end: &mut dyn HeldEnd, out: &mut Vec<u8>, record: &mut Record) {
        match self.tool {
            WebTool::Search => record.web_searches += 1,
            WebTool::Fetch => record.web_fetches += 1,
        }
        // Anthropic does not count what failed either.
        let counts = self.error.is_none().then_some(self.tool);
        end.insert(&self.block, counts, out);
    }
}

/// One call, ready to be carried out.
pub(super) struct Task {
    id: String,
    tool: WebTool,
    asked: Result<Asked, &'static str>,
}

enum Asked {
    Search(String, Rc<WebSettings>),
    Fetch(String, Rc<WebSettings>),
}

impl Task {
    /// Reads what a call asks for. `request` is the conversation in which the model made it.
    pub(super) fn of(
        call: CompletedCall,
        tool: WebTool,
        settings: &Rc<WebSettings>,
        request: Option<&Request<'_>>,
    ) -> Self {
        let asked = argument(&call, tool).and_then(|text| match tool {
            WebTool::Search => Ok(Asked::Search(text, Rc::clone(settings))),
            WebTool::Fetch if request.is_some_and(|request| is_named(request, &text)) => {
                Ok(Asked::Fetch(text, Rc::clone(settings)))
            }
            WebTool::Fetch => Err("url_not_allowed"),
        });
        Self { id: call.id, tool, asked }
    }

    /// A call that is not carried out.
    pub(super) fn refused(call: CompletedCall, tool: WebTool, code: &'static str) -> Self {
        Self { id: call.id, tool, asked: Err(code) }
    }

    /// Carries it out. Dropping it is cancelling.
    pub(super) async fn run(self, worker: Rc<Worker>, request_id: Rc<str>) -> Carried {
        let Self { id, tool, asked } = self;
        let done = match asked {
            Ok(asked) => carry(&worker, &request_id, &id, &asked).await,
            Err(code) => Err((code, String::new())),
        };
        let error = done.as_ref().err().map(|(code, _)| *code);
        worker.metrics.web(tool.name(), error);
        let block = done.unwrap_or_else(|(code, detail)| {
            if matches!(code, "unavailable" | "too_many_requests") {
                tracing::warn!(%request_id, tool = tool.name(), code, detail, "a web tool failed");
            }
            web::error_result(tool, &id, code)
        });
        Carried { id, block, tool, error }
    }
}

/// The one argument that each of the tools has.
fn argument(call: &CompletedCall, tool: WebTool) -> Result<String, &'static str> {
    let key = match tool {
        WebTool::Search => "query",
        WebTool::Fetch => "url",
    };
    let input = if call.whole { serde_json::from_str::<Map<String, Value>>(&call.input).ok() } else { None };
    let text = input.and_then(|mut input| match input.remove(key) {
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        _ => None,
    });
    text.filter(|text| !text.is_empty()).ok_or("invalid_tool_input")
}

async fn carry(
    worker: &Worker,
    request_id: &str,
    id: &str,
    asked: &Asked,
) -> Result<Vec<u8>, (&'static str, String)> {
    let Some(web) = &worker.web else { return Err(("unavailable", "it is not configured".to_owned())) };
    match asked {
        Asked::Search(query, settings) => {
            let options = SearchOptions {
                allowed_domains: settings.allowed_domains.clone(),
                blocked_domains: settings.blocked_domains.clone(),
                count: RESULTS,
                country: settings.country.clone(),
            };
            let hits = web.search(query, &options).await.map_err(|e| (e.code.as_str(), e.detail))?;
            let hits = hits.iter().map(|hit| Hit {
                title: &hit.title,
                url: &hit.url,
                page_age: hit.page_age.as_deref(),
                text: &hit.text,
            });
            Ok(web::search_result(id, hits))
        }
        Asked::Fetch(url, settings) => {
            let options = FetchOptions {
                allowed_domains: settings.allowed_domains.clone(),
                blocked_domains: settings.blocked_domains.clone(),
                max_content_tokens: settings.max_content_tokens,
            };
            let page = web.fetch(url, &options).await.map_err(|e| (e.code.as_str(), e.detail))?;
            let read = match &page.content {
                Content::Pdf(bytes) if worker.config.extras.pdf_text => {
                    worker.media.text_of(bytes, request_id, &page.url).await
                }
                _ => None,
            };
            let body = match (&page.content, &read) {
                (Content::Text(text), _) => PageBody::Text(text),
                (Content::Pdf(_), Some(text)) => PageBody::Text(text),
                (Content::Pdf(bytes), None) => PageBody::Pdf(bytes),
            };
            let (url, title) = (&page.url, page.title.as_deref());
            Ok(web::fetch_result(id, &web::Page { url, title, body, retrieved_at: &page.retrieved_at }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(input: &str, tool: WebTool) -> Result<String, &'static str> {
        let (id, name, input) = ("srvtoolu_1".into(), tool.name().into(), input.into());
        argument(&CompletedCall { id, name, web: Some(tool), input, whole: true }, tool)
    }

    #[test]
    fn arguments_have_to_fit() {
        assert_eq!(called(r#"{"query":" rust "}"#, WebTool::Search), Ok("rust".to_owned()));
        assert_eq!(
            called(r#"{"url":"https://a.com","prompt":1}"#, WebTool::Fetch),
            Ok("https://a.com".to_owned())
        );
        for bad in
            ["", "{}", "[]", r#"{"query":""}"#, r#"{"query":" "}"#, r#"{"query":["a"]}"#, r#"{"query":"a""#]
        {
            assert_eq!(called(bad, WebTool::Search), Err("invalid_tool_input"), "{bad}");
        }
    }

    #[test]
    fn a_result_that_does_not_fit_is_an_error() {
        let carried = |room: usize| {
            let (id, tool) = ("srvtoolu_1".to_owned(), WebTool::Search);
            let hit = Hit { title: "T", url: "https://a.com/", page_age: None, text: "words" };
            let block = web::search_result(&id, [hit]);
            let mut carried = Carried { id, block, tool, error: None };
            (carried.fit(room), carried)
        };
        let (len, whole) = carried(1000);
        assert_eq!((len, whole.error), (whole.block.len(), None));
        assert_eq!(carried(len).1.error, None);
        let (shorter, error) = carried(len - 1);
        assert_eq!((shorter, error.error), (error.block.len(), Some("unavailable")));
        assert_eq!(error.block, web::error_result(WebTool::Search, "srvtoolu_1", "unavailable"));
    }
}
