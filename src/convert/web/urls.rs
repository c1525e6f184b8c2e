//! Which URLs may be fetched: those that the conversation named.
//!
//! A page may try to make the model send what it knows to an address of its choice. An address
//! that the model puts together itself is never one that stands somewhere already.
//! Source: Anthropic documentation, "Web fetch tool": URLs in user messages, in results of the
//! client's tools, and of earlier web searches and fetches.

use crate::wire::anthropic::{Block, BlockKind, Fetched, Request, Role, Source};
use crate::wire::json::JsonStr;

/// Whether the user, a tool of the client's, or an earlier result named `url`.
///
/// Scheme, `www.`-less host and all the rest have to be the same; a fragment and a slash at the
/// end do not count, and a scheme that was left out may be either.
pub fn is_named(request: &Request<'_>, url: &str) -> bool {
    let Some(wanted) = Address::of(url).filter(|a| a.scheme != Scheme::Unsaid) else { return false };
    request.messages.iter().any(|message| match message.role {
        Role::User => message.content.iter().any(|block| names(block, &wanted)),
        Role::Assistant => message.content.iter().any(|block| found(block, &wanted)),
        Role::System => false,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    Http,
    /// Left out.
    Unsaid,
}

/// A URL, as far as it counts.
#[derive(Debug, PartialEq, Eq)]
struct Address<'u> {
    scheme: Scheme,
    host: String,
    /// Path and query.
    rest: &'u str,
}

impl<'u> Address<'u> {
    fn of(url: &'u str) -> Option<Self> {
        let after = |scheme: &str| {
            let head = url.get(..scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then(|| url.get(scheme.len()..)).flatten()
        };
        let (scheme, rest) = match (after("https://"), after("http://")) {
            (Some(rest), _) => (Scheme::Https, rest),
            (_, Some(rest)) => (Scheme::Http, rest),
            (None, None) => (Scheme::Unsaid, url),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, rest) = rest.split_at_checked(end)?;
        if host.is_empty() || (scheme == Scheme::Unsaid && !host.contains('.')) {
            return None;
        }
        Some(Self { scheme, host: host.to_ascii_lowercase(), rest: rest.strip_suffix('/').unwrap_or(rest) })
    }

    /// Whether it is `wanted`, which has a scheme.
    fn is(&self, wanted: &Self) -> bool {
        let same = self.host == wanted.host && self.rest == wanted.rest;
        same && (self.scheme == Scheme::Unsaid || self.scheme == wanted.scheme)
    }
}

fn names(block: &Block<'_>, wanted: &Address<'_>) -> bool {
    let all = |blocks: &[Block<'_>]| blocks.iter().any(|block| names(block, wanted));
    match &block.kind {
        BlockKind::Text(text)
        | BlockKind::Document { source: Source::Text(text) | Source::Url(text), .. } => holds(*text, wanted),
        BlockKind::ToolResult { content, .. }
        | BlockKind::Document { source: Source::Content(content), .. } => all(content),
        BlockKind::SearchResult { source, content, .. } => holds(*source, wanted) || all(content),
        _ => false,
    }
}

/// What the model says names nothing; what our tools found does.
fn found(block: &Block<'_>, wanted: &Address<'_>) -> bool {
    match &block.kind {
        BlockKind::WebSearchResult { found: Ok(found), .. } => {
            found.iter().any(|found| Address::of(&found.url.decode()).is_some_and(|a| a.is(wanted)))
        }
        BlockKind::WebFetchResult { content: Some(content), .. } => {
            let fetched = Fetched::read(*content, block.place);
            Address::of(&fetched.url.decode()).is_some_and(|a| a.is(wanted))
                || fetched.document.is_some_and(|document| names(&document, wanted))
        }
        _ => false,
    }
}

/// Whether the URL stands in a text, with nothing around it that belongs to it.
fn holds(text: JsonStr<'_>, wanted: &Address<'_>) -> bool {
    let text = text.decode();
    // The host is what is rare in a text.
    let mut from = 0;
    while let Some(at) = find_ignoring_case(&text, &wanted.host, from) {
        from = at + wanted.host.len();
        let (Some(before), Some(word)) = (text.get(..at), text.get(at..)) else { continue };
        let Some(scheme) = scheme_at_end(before) else { continue };
        let word = word.split(is_end).next().unwrap_or_default();
        let is_it = |word| Address::of(word).is_some_and(|a| Address { scheme, ..a }.is(wanted));
        if endings(word).any(is_it) {
            return true;
        }
    }
    false
}

/// The scheme that a text ends with; none: what follows is not the beginning of a URL.
fn scheme_at_end(text: &str) -> Option<Scheme> {
    for (scheme, written) in [(Scheme::Https, "https://"), (Scheme::Http, "http://")] {
        let tail = text.len().checked_sub(written.len()).and_then(|at| text.get(at..));
        if tail.is_some_and(|tail| tail.eq_ignore_ascii_case(written)) {
            return Some(scheme);
        }
    }
    let last = text.chars().next_back();
    let goes_on = |c: char| c.is_alphanumeric() || "-._~@/:%=&?#+".contains(c);
    if last.is_some_and(goes_on) { None } else { Some(Scheme::Unsaid) }
}

fn find_ignoring_case(text: &str, host: &str, from: usize) -> Option<usize> {
    let (text, host) = (text.as_bytes(), host.as_bytes());
    let rest = text.get(from..)?;
    rest.windows(host.len()).position(|w| w.eq_ignore_ascii_case(host)).map(|at| from + at)
}

/// No URL goes on behind such a character.
pub(super) fn is_end(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '`' | '|' | '\\' | '^' | '{' | '}')
}

/// A word, and what is left of it without the punctuation that a sentence may have put at its end.
pub(super) fn endings(word: &str) -> impl Iterator<Item = &str> {
    let mark = |c: char| ".,;:!?)]'*_".contains(c) || !(c.is_ascii() || c.is_alphanumeric());
    let mut next = Some(word);
    std::iter::from_fn(move || {
        let now = next?;
        next = now.strip_suffix(mark);
        Some(now)
    })
    .take(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(messages: &str, url: &str) -> bool {
        let body = format!(r#"{{"model":"m","max_tokens":1,"messages":{messages}}}"#);
        is_named(&Request::parse(body.as_bytes()).unwrap(), url)
    }

    fn user_named(text: &str, url: &str) -> bool {
        let text = serde_json::Value::from(text);
        named(&format!(r#"[{{"role":"user","content":{text}}}]"#), url)
    }

    #[test]
    fn what_the_user_wrote() {
        for text in [
            "read https://a.com/x?q=1 please",
            "https://a.com/x?q=1",
            "(see https://a.com/x?q=1).",
            "[docs](https://a.com/x?q=1), and",
            "<https://A.com/x?q=1>",
            "\u{201c}https://a.com/x?q=1\u{201d}",
            "见https://a.com/x?q=1。",
            "a.com/x?q=1",
            "first b.com, then a.com/x?q=1#part!",
            "**https://a.com/x?q=1**",
            "HTTPS://a.com/x?q=1/",
        ] {
            assert!(user_named(text, "https://a.com/x?q=1"), "{text}");
        }
        assert!(user_named("look at example.com.", "https://example.com/"));
        assert!(user_named("https://w.org/wiki/Foo_(bar)", "https://w.org/wiki/Foo_(bar)"));
        assert!(user_named("https://w.org/wiki/Foo_(bar)", "https://w.org/wiki/Foo_(bar)#top"));
    }

    #[test]
    fn what_was_put_together_is_none() {
        for (text, url) in [
            ("https://a.com/", "https://a.com/?secret=1"),
            ("https://a.com/x", "https://a.com/xy"),
            ("https://a.com/xy", "https://a.com/x"),
            ("https://a.com", "https://b.a.com"),
            ("https://b.a.com", "https://a.com"),
            ("https://a.com", "https://a.com.evil.org"),
            ("https://a.com.evil.org", "https://a.com"),
            ("https://a.com/x", "http://a.com/x"),
            ("https://a.com/x", "ftp://a.com/x"),
            ("https://a.com/x", "a.com/x"),
            ("https://a.com/x", "https://user@a.com/x"),
            ("https://a.com:8443/x", "https://a.com/x"),
            ("nothing", "https://"),
            ("localhost", "http://localhost/"),
        ] {
            assert!(!user_named(text, url), "{text} {url}");
        }
    }

    #[test]
    fn who_may_name_one() {
        let url = "https://a.com/x";
        for (messages, wanted) in [
            (
                r#"[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"to https://a.com/x"}]}]"#,
                true,
            ),
            (r#"[{"role":"user","content":"q"},{"role":"assistant","content":"https://a.com/x"}]"#, false),
            (r#"[{"role":"user","content":"q"},{"role":"system","content":"https://a.com/x"}]"#, false),
            (
                r#"[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","title":"https://b.com","url":"https://a.com/x"}]}]}]"#,
                true,
            ),
            (
                r#"[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"web_fetch_tool_result","tool_use_id":"s","content":{"type":"web_fetch_result","url":"https://b.com","content":{"type":"document","source":{"type":"text","data":"see https://a.com/x","media_type":"text/plain"}}}}]}]"#,
                true,
            ),
            (
                r#"[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_fetch","input":{"url":"https://a.com/x"}}]}]"#,
                false,
            ),
        ] {
            assert_eq!(named(messages, url), wanted, "{messages}");
        }
        assert!(!named(
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","title":"https://b.com","url":"https://a.com/x"}]}]}]"#,
            "https://b.com"
        ));
    }

    proptest::proptest! {
        /// Whatever stands around it: what is found stands there, letter for letter.
        #[test]
        fn a_named_url_stands_in_the_text(text in "([a-c./:?=()é ]|https://|a\\.c){0,24}", url in "https://a\\.c(/[a-c]?)?") {
            if user_named(&text, &url) {
                let bare = url.trim_start_matches("https://").trim_end_matches('/');
                proptest::prop_assert!(text.contains(bare), "{:?} {:?}", text, url);
            }
        }
    }
}
