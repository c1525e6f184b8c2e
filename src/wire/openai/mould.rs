//! The chunks of a stream are the same bytes over and over, but for a few words of text.

use super::{Arguments, Choice, Chunk, Content, Delta, ToolDelta};
use crate::wire::json::{Cursor, JsonStr, utf8};

/// A chunk with more bytes than this beside its text is not remembered.
const MAX_FRAME: usize = 4096;

/// A field that changes from chunk to chunk and means nothing: padding that hides how long the
/// text is (OpenAI, `stream_options.include_obfuscation`).
const PADDING: &[u8] = b"\"obfuscation\":\"";

/// What the text of a chunk is, where that is all there is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// [`Delta::content`].
    Content,
    /// [`Delta::reasoning`].
    Reasoning,
    /// [`ToolDelta::arguments`] of the call of this index.
    Arguments(Option<u64>),
}

/// The chunk that was read last, to recognise those that differ from it in their text alone:
/// what [`Chunk::parse`] would make of them is known without reading them again.
#[derive(Debug, Default)]
pub struct Mould {
    spot: Option<Spot>,
    /// Up to the text, its opening quote included.
    head: Vec<u8>,
    /// Behind the text, from its closing quote to the end or into the padding.
    tail: Vec<u8>,
    /// Behind the padding, from its closing quote; empty where there is none.
    end: Vec<u8>,
}

impl Mould {
    /// Remembers a chunk and the text that it was read from.
    pub fn take(&mut self, text: &str, chunk: &Chunk<'_>) {
        self.spot = None;
        let Some((spot, news)) = only_news(chunk) else { return };
        let Some(place) = news.place_in(text) else { return };
        let bytes = text.as_bytes();
        let (Some(head), Some(tail)) = (bytes.get(..place.start), bytes.get(place.end..)) else { return };
        if head.len() + tail.len() > MAX_FRAME {
            return;
        }
        let (tail, end) = match memchr::memmem::rfind(tail, PADDING) {
            Some(at) => {
                let (tail, padding) = tail.split_at(at + PADDING.len());
                // No quote of a string that was read stands escaped behind its text.
                let mut cur = Cursor::lenient(text).at_offset(place.end + tail.len() - 1);
                let Ok(padding_text) = cur.string() else { return };
                (tail, padding.get(padding_text.raw().len()..).unwrap_or_default())
            }
            None => (tail, [].as_slice()),
        };
        for (own, new) in [(&mut self.head, head), (&mut self.tail, tail), (&mut self.end, end)] {
            own.clear();
            own.extend_from_slice(new);
        }
        self.spot = Some(spot);
    }

    /// The text of a payload that is the remembered chunk in all else; it is not empty.
    pub fn read<'d>(&self, data: &'d [u8]) -> Option<(Spot, JsonStr<'d>)> {
        let spot = self.spot?;
        let rest = data.strip_prefix(self.head.as_slice())?;
        // One byte back, to the quote.
        let rest = utf8(data.get(data.len() - rest.len() - 1..)?).ok()?;
        let mut cur = Cursor::lenient(rest);
        let news = cur.string().ok()?;
        let tail = rest.as_bytes().get(cur.at() - 1..)?;
        let after = tail.strip_prefix(self.tail.as_slice())?;
        if self.end.is_empty() {
            return (after.is_empty() && !news.is_empty()).then_some((spot, news));
        }
        let mut cur = cur.at_offset(rest.len() - after.len() - 1);
        cur.string().ok()?;
        let end = rest.as_bytes().get(cur.at() - 1..)?;
        (end == self.end && !news.is_empty()).then_some((spot, news))
    }
}

/// The one string that a chunk is about, if there is no more to it.
fn only_news<'a>(chunk: &Chunk<'a>) -> Option<(Spot, JsonStr<'a>)> {
    let Chunk { choices, usage: None, timings_cache: 0, faulty: false, told: false, crowded: false } = chunk
    else {
        return None;
    };
    let [Choice { delta, whole: false, finish_reason: None, matched_stop: None }] = choices.as_slice() else {
        return None;
    };
    let Delta {
        content,
        reasoning,
        reasoning_details: None,
        refusal: None,
        tool_calls,
        function_call: None,
        ..
    } = delta
    else {
        return None;
    };
    match (content, reasoning, tool_calls.as_slice()) {
        (Content::Text(text), None, []) => Some((Spot::Content, *text)),
        (Content::None, Some(text), []) => Some((Spot::Reasoning, *text)),
        (
            Content::None,
            None,
            [
                ToolDelta {
                    index,
                    id: None,
                    name: None,
                    arguments: Some(Arguments::Text(text)),
                    thought_signature: None,
                },
            ],
        ) => Some((Spot::Arguments(*index), *text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMED: &str = r#""id":"c-1","object":"chat.completion.chunk","created":1,"model":"é""#;

    /// What a mould of `first` makes of `second`, after it was checked against [`Chunk::parse`].
    fn recognised(first: &str, second: &str) -> Option<(Spot, String)> {
        let mut mould = Mould::default();
        if let Ok(chunk) = Chunk::parse(first) {
            mould.take(first, &chunk);
        }
        let (spot, text) = mould.read(second.as_bytes())?;
        let chunk = Chunk::parse(second).unwrap();
        let (want_spot, want) = only_news(&chunk).unwrap();
        assert_eq!((spot, text), (want_spot, want), "{first} {second}");
        Some((spot, text.raw().to_owned()))
    }

    #[test]
    fn knows_what_it_has_seen() {
        let text = |t: &str| {
            format!(
                r#"{{{NAMED},"choices":[{{"index":0,"delta":{{"content":"{t}"}},"finish_reason":null}}]}}"#
            )
        };
        let padded = |t: &str, p: &str| {
            format!(
                r#"{{{NAMED},"choices":[{{"delta":{{"content":"{t}"}}}}],"usage":null,"obfuscation":"{p}"}}"#
            )
        };
        let thought = |t: &str| {
            format!(r#"{{{NAMED},"choices":[{{"delta":{{"content":null,"reasoning_content":"{t}"}}}}]}}"#)
        };
        let call = |n: u8, t: &str| {
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{n},"function":{{"arguments":"{t}"}}}}]}}}}]}}"#
            )
        };
        let known = |spot, text: &str| Some((spot, text.to_owned()));
        assert_eq!(recognised(&text("a"), &text("b \\\" \u{9}")), known(Spot::Content, "b \\\" \u{9}"));
        assert_eq!(recognised(&padded("a", "xyz"), &padded("ab", "")), known(Spot::Content, "ab"));
        assert_eq!(recognised(&thought("a"), &thought("b")), known(Spot::Reasoning, "b"));
        assert_eq!(recognised(&call(3, "a"), &call(3, "b")), known(Spot::Arguments(Some(3)), "b"));
        for (first, second) in [
            (text("a"), text("")),
            (text("a"), text("b\"")),
            (text("a"), text("\\x")),
            (text("a"), text("b") + "x"),
            (text("a"), text("b\",\"content\":\"c")),
            (text("a"), text("b").replace("null", "\"stop\"")),
            (text("a"), text("b").replace("\"c-1\"", "\"c-2\"")),
            (text("a"), text("b").split_at(50).0.to_owned()),
            (padded("a", "x"), padded("a", "x") + " "),
            (padded("a", "x"), padded("a", "x\"y")),
            (padded("a", "x"), padded("a", "x\\z")),
            (call(0, "a"), call(1, "b")),
        ] {
            assert_eq!(recognised(&first, &second), None, "{first} {second}");
        }
    }

    /// Pieces of chunks, of which few are whole and some are alike.
    fn payload() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            4 => "[a-c ]{0,2}",
            1 => r#"(\\"|\\n|\\u00e9|\\ud83d|[\x09"é\\]){0,2}"#,
            1 => Just("\",\"obfuscation\":\"".to_owned()),
        ];
        let field = (0usize..16, text.clone()).prop_map(|(n, t)| match n {
            0..6 => format!(r#""content":"{t}""#),
            6 => format!(r#""reasoning_content":"{t}""#),
            7 => format!(r#""reasoning":"{t}""#),
            8 => r#""content":null"#.to_owned(),
            9 => format!(r#""refusal":"{t}""#),
            10 => format!(r#""obfuscation":"{t}""#),
            11 => format!(r#""tool_calls":[{{"index":0,"id":"{t}"}}]"#),
            _ => format!(r#""tool_calls":[{{"index":1,"function":{{"arguments":"{t}"}}}}]"#),
        });
        let after = (0usize..10, text).prop_map(|(n, t)| match n {
            0 => format!(r#","usage":{{"obfuscation":"{t}"}}"#),
            1 => format!(r#","obfuscation":"{t}","x":1"#),
            2 => format!(r#","error":{{"obfuscation":"{t}"}}"#),
            3 => format!(r#","choices":[{{"delta":{{"content":"{t}"}}}}]"#),
            4 => format!(r#","x\"obfuscation":"{t}""#),
            _ => format!(r#","obfuscation":"{t}""#),
        });
        (prop::collection::vec(field, 1..3), prop::option::of(after)).prop_map(|(fields, after)| {
            format!(r#"{{"choices":[{{"delta":{{{}}}}}]{}}}"#, fields.join(","), after.unwrap_or_default())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn says_what_parsing_says(first in payload(), second in payload(), cut in 0usize..200) {
            recognised(&first, &second);
            recognised(&first, &first);
            recognised(&first, second.get(..cut).unwrap_or_default());
        }
    }
}
