//! Which results an answer names.
//!
//! The model is asked to link to what it uses; each link to a result becomes a citation of the
//! text block that it stands in, once a block. The text itself passes as it comes: nothing of it
//! is held back, changed or taken out, so a client that knows no citations still has the links.

use super::envelope::{open, seal};
use super::urls::{endings, is_end};
use crate::wire::anthropic::{BlockKind, Found, Request};
use crate::wire::json::write_str;

/// Longest `cited_text`, in characters, as Anthropic's.
const CITED: usize = 150;
/// Longest URL that is looked for, in bytes.
const MAX_URL: usize = 2048;
/// Most results that can be cited: of the newest.
const MAX_SOURCES: usize = 256;

/// A result that can be cited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    url: String,
    title: String,
    cited_text: String,
}

impl Source {
    fn of(found: &Found<'_>) -> Option<Self> {
        let url = found.url.decode();
        (!url.is_empty() && url.len() <= MAX_URL).then(|| Self {
            url: url.into_owned(),
            title: found.title.decode().chars().take(512).collect(),
            cited_text: open(found.encrypted_content).unwrap_or_default().chars().take(CITED).collect(),
        })
    }

    fn is_at(&self, url: &str) -> bool {
        let bare = |url: &str| {
            let url = url.split('#').next().unwrap_or_default();
            url.strip_suffix('/').unwrap_or(url).len()
        };
        self.url.get(..bare(&self.url)) == url.get(..bare(url))
    }

    /// Appends the citation.
    fn write(&self, n: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"web_search_result_location\",\"cited_text\":");
        write_str(&self.cited_text, out);
        out.extend_from_slice(b",\"url\":");
        write_str(&self.url, out);
        out.extend_from_slice(b",\"title\":");
        write_str(&self.title, out);
        out.extend_from_slice(b",\"encrypted_index\":");
        write_str(&seal(&n.to_string()), out);
        out.push(b'}');
    }
}

/// The results that a conversation has: what an answer to it can cite.
pub(in crate::convert) fn sources(request: &Request<'_>) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    let blocks = request.messages.iter().rev().flat_map(|m| m.content.iter().rev());
    for block in blocks {
        let BlockKind::WebSearchResult { found: Ok(found), .. } = &block.kind else { continue };
        for source in found.iter().filter_map(Source::of) {
            if sources.len() == MAX_SOURCES {
                return sources;
            }
            if !sources.iter().any(|s| s.url == source.url) {
                sources.push(source);
            }
        }
    }
    sources
}

/// A citation, as JSON.
pub(in crate::convert) type Cited = Vec<u8>;

/// Finds them, block by block.
#[derive(Debug, Default)]
pub(in crate::convert) struct Citations {
    /// The end of the text so far, from where a URL may begin; empty: none does.
    word: String,
    /// Those of the block that are cited already.
    cited: Vec<usize>,
}

impl Citations {
    /// Bytes held.
    pub(in crate::convert) fn retained(&self) -> usize {
        self.word.len() + self.cited.len() * size_of::<usize>()
    }

    /// Takes text of the open block; what it cites is appended.
    pub(in crate::convert) fn take(&mut self, text: &str, sources: &[Source], found: &mut Vec<Cited>) {
        for piece in text.split_inclusive(is_end) {
            let ends = piece.ends_with(is_end);
            let word = if ends { piece.trim_end_matches(is_end) } else { piece };
            if self.word.len() + word.len() <= 2 * MAX_URL {
                self.word.push_str(word);
            } else {
                // No result is called so; nor by what is left of it.
                self.word.clear();
                self.word.extend(std::iter::repeat_n('x', 2 * MAX_URL));
            }
            if ends {
                self.settle(sources, found);
            }
        }
    }

    /// The block ends.
    pub(in crate::convert) fn end(&mut self, sources: &[Source], found: &mut Vec<Cited>) {
        self.settle(sources, found);
        self.cited.clear();
    }

    /// A word is whole: the URLs in it are.
    fn settle(&mut self, sources: &[Source], found: &mut Vec<Cited>) {
        let word = std::mem::take(&mut self.word);
        let starts = word.match_indices("http").filter_map(|(at, _)| word.get(at..));
        for url in starts.filter(|url| url.starts_with("http://") || url.starts_with("https://")) {
            // `[a](https://x),[b](https://y)` is one word.
            let url = url.split("](").next().unwrap_or_default();
            let url = url.split(")[").next().unwrap_or_default();
            let at = endings(url)
                .chain(url.split(')').next())
                .find_map(|url| sources.iter().position(|source| source.is_at(url)));
            if let Some(at) = at.filter(|at| !self.cited.contains(at))
                && let Some(source) = sources.get(at)
            {
                self.cited.push(at);
                let mut citation = Vec::with_capacity(512);
                source.write(at, &mut citation);
                found.push(citation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn found() -> Vec<Source> {
        ["https://a.com/x", "https://b.com/", "https://w.org/Foo_(bar)"]
            .map(|url| Source { url: url.into(), title: "T".into(), cited_text: "words".into() })
            .into()
    }

    /// The URLs that a block in these pieces cites.
    fn cited(pieces: &[&str]) -> Vec<String> {
        let (mut citations, mut out) = (Citations::default(), Vec::new());
        for piece in pieces {
            citations.take(piece, &found(), &mut out);
        }
        citations.end(&found(), &mut out);
        assert_eq!(citations.retained(), 0);
        let url = |c: &Cited| serde_json::from_slice::<Value>(c).unwrap()["url"].as_str().unwrap().to_owned();
        out.iter().map(url).collect()
    }

    #[test]
    fn links_to_results() {
        let (a, b, w) = ("https://a.com/x", "https://b.com/", "https://w.org/Foo_(bar)");
        for (text, wanted) in [
            ("See [A](https://a.com/x).", &[a][..]),
            ("https://a.com/x", &[a]),
            ("[A](https://a.com/x),[B](https://b.com)", &[a, b]),
            ("[A](https://a.com/x)[B](https://b.com)", &[a, b]),
            ("https://a.com/x and https://a.com/x", &[a]),
            ("(https://w.org/Foo_(bar))", &[w]),
            ("[w](https://w.org/Foo_(bar)).", &[w]),
            ("<https://b.com/#part>", &[b]),
            ("**https://b.com**", &[b]),
            ("https://a.com/xy", &[]),
            ("https://a.com", &[]),
            ("a.com/x", &[]),
            ("http://a.com/x", &[]),
        ] {
            assert_eq!(cited(&[text]), wanted, "{text}");
        }
    }

    #[test]
    fn a_long_word_is_no_citation_and_takes_no_room() {
        let long = "x".repeat(5000);
        assert_eq!(cited(&[&long, &long, "https://a.com/x"]), Vec::<String>::new());
        let mut citations = Citations::default();
        for _ in 0..100 {
            citations.take(&long, &found(), &mut Vec::new());
        }
        assert!(citations.retained() <= 2 * MAX_URL);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            parts in prop::collection::vec("https://a\\.com/x|https://b\\.com|\\[é\\]\\(|\\)|[ .,é]{1,2}|[a-z]{1,3}", 0..12),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let text = parts.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|c| text.is_char_boundary(*c)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|w| text.get(w[0]..w[1]).unwrap()).collect();
            prop_assert_eq!(cited(&pieces), cited(&[&text]));
        }
    }
}
