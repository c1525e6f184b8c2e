//! Result blocks of the web tools, as the client gets them.
//!
//! Source: Anthropic documentation, "Web search tool", "Web fetch tool".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::envelope::seal;
use crate::wire::anthropic::WebTool;
use crate::wire::json::write_str;

/// One result of a search.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'h> {
    /// Its title.
    pub title: &'h str,
    /// Where it is.
    pub url: &'h str,
    /// How old it is, in the search service's words.
    pub page_age: Option<&'h str>,
    /// What the search service gives of its text.
    pub text: &'h str,
}

/// A page that was fetched.
#[derive(Debug, Clone, Copy)]
pub struct Page<'p> {
    /// Where it was in the end.
    pub url: &'p str,
    /// Its title.
    pub title: Option<&'p str>,
    /// What it says.
    pub body: PageBody<'p>,
    /// When it was fetched, RFC 3339.
    pub retrieved_at: &'p str,
}

/// The content of a page.
#[derive(Debug, Clone, Copy)]
pub enum PageBody<'p> {
    /// Text.
    Text(&'p str),
    /// A PDF.
    Pdf(&'p [u8]),
}

/// A `web_search_tool_result`.
pub fn search_result<'h>(id: &str, hits: impl IntoIterator<Item = Hit<'h>>) -> Vec<u8> {
    let mut out = begin(WebTool::Search, id);
    out.push(b'[');
    for (n, hit) in hits.into_iter().enumerate() {
        out.extend_from_slice(if n > 0 { b"," } else { b"" });
        out.extend_from_slice(b"{\"type\":\"web_search_result\",\"title\":");
        write_str(hit.title, &mut out);
        out.extend_from_slice(b",\"url\":");
        write_str(hit.url, &mut out);
        out.extend_from_slice(b",\"encrypted_content\":");
        write_str(&seal(hit.text), &mut out);
        out.extend_from_slice(b",\"page_age\":");
        match hit.page_age {
            Some(age) => write_str(age, &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// A `web_fetch_tool_result`.
pub fn fetch_result(id: &str, page: &Page<'_>) -> Vec<u8> {
    let mut out = begin(WebTool::Fetch, id);
    out.extend_from_slice(b"{\"type\":\"web_fetch_result\",\"url\":");
    write_str(page.url, &mut out);
    out.extend_from_slice(b",\"content\":{\"type\":\"document\",\"source\":");
    match page.body {
        PageBody::Text(text) => {
            out.extend_from_slice(b"{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":");
            write_str(text, &mut out);
        }
        PageBody::Pdf(bytes) => {
            out.extend_from_slice(b"{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":");
            write_str(&STANDARD.encode(bytes), &mut out);
        }
    }
    out.extend_from_slice(b"},\"title\":");
    match page.title {
        Some(title) => write_str(title, &mut out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"citations\":{\"enabled\":false}},\"retrieved_at\":");
    write_str(page.retrieved_at, &mut out);
    out.extend_from_slice(b"}}");
    out
}

/// The result of a call that failed; `code` is one of Anthropic's for that tool.
pub fn error_result(tool: WebTool, id: &str, code: &str) -> Vec<u8> {
    let mut out = begin(tool, id);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(tool.name().as_bytes());
    out.extend_from_slice(b"_tool_result_error\",\"error_code\":");
    write_str(code, &mut out);
    out.extend_from_slice(b"}}");
    out
}

fn begin(tool: WebTool, id: &str) -> Vec<u8> {
    let mut out = b"{\"type\":\"".to_vec();
    out.extend_from_slice(tool.name().as_bytes());
    out.extend_from_slice(b"_tool_result\",\"tool_use_id\":");
    write_str(id, &mut out);
    out.extend_from_slice(b",\"content\":");
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn blocks_as_documented() {
        let hit = Hit { title: "A \"title\"", url: "https://a.com/", page_age: Some("2 days"), text: "Text" };
        let block: Value = serde_json::from_slice(&search_result("srvtoolu_1", [hit])).unwrap();
        assert_eq!(
            block,
            json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{
                "type": "web_search_result", "title": "A \"title\"", "url": "https://a.com/",
                "encrypted_content": "cp1.VGV4dA", "page_age": "2 days"}]})
        );
        assert_eq!(
            search_result("s", []),
            br#"{"type":"web_search_tool_result","tool_use_id":"s","content":[]}"#
        );
        let page = Page {
            url: "https://a.com/x.pdf",
            title: None,
            body: PageBody::Pdf(b"%PDF"),
            retrieved_at: "2026-01-02T03:04:05Z",
        };
        let block: Value = serde_json::from_slice(&fetch_result("srvtoolu_2", &page)).unwrap();
        assert_eq!(
            block["content"],
            json!({"type": "web_fetch_result", "url": "https://a.com/x.pdf", "retrieved_at": "2026-01-02T03:04:05Z",
                "content": {"type": "document", "title": null, "citations": {"enabled": false},
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}})
        );
        let block: Value =
            serde_json::from_slice(&error_result(WebTool::Fetch, "s", "url_not_allowed")).unwrap();
        assert_eq!(
            block,
            json!({"type": "web_fetch_tool_result", "tool_use_id": "s",
                "content": {"type": "web_fetch_tool_result_error", "error_code": "url_not_allowed"}})
        );
    }
}
