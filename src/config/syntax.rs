//! JSON that cannot be read: what was expected, and reading on where it is plain what was meant.

use std::borrow::Cow;
use std::ops::Range;

use super::code::Code;
use super::finding::Findings;
use super::tree::{self, Node, Value};
use crate::wire::json::{JsonError, line_column};

/// After this many mistakes it is some other language.
const MOST: usize = 20;

/// More entries of one object or list are no configuration: what is compared with each other
/// would take a stranger's file for ever.
const MOST_ENTRIES: usize = 2000;

/// Reads the file. What can be read in spite of mistakes is returned; they are findings.
pub(super) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    let mut mended = Cow::Borrowed(text);
    for _ in 0..MOST {
        let error = match tree::parse(&mended) {
            Ok(root) => {
                let Some(span) = crowded(&root) else { return Some(root) };
                let message = format!("more than {MOST_ENTRIES} entries in one object or list");
                findings.add(Code::Syntax, (&span, ""), message, "");
                return None;
            }
            Err(error) => error,
        };
        let (more, help) = explain(&mended, error.at);
        let message = format!("{}{more}", error.what);
        findings.add(Code::Syntax, (&(error.at..error.at + 1), ""), message, help);
        mended = Cow::Owned(mend(&mended, &error)?);
    }
    None
}

/// Where an object or list begins that has too many entries.
fn crowded(node: &Node) -> Option<Range<usize>> {
    let (len, inner) = match &node.value {
        Value::Object(members) => (members.len(), members.iter().find_map(|m| crowded(&m.node))),
        Value::List(items) => (items.len(), items.iter().find_map(crowded)),
        _ => return None,
    };
    if len > MOST_ENTRIES { Some(node.span.start..node.span.start + 1) } else { inner }
}

/// What is probably the matter at `at`: the message's end, and what to do.
fn explain(text: &str, at: usize) -> (String, &'static str) {
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, ""));
    let plain = |help| (String::new(), help);
    match rest.chars().next() {
        Some('/' | '#') => plain("JSON has no comments: remove it"),
        Some('}' | ']') if before.trim_end().ends_with(',') => {
            plain("JSON has no comma after the last entry: remove it")
        }
        Some('\'') => plain("JSON takes only double quotes"),
        Some('“' | '”' | '„') => plain("use plain double quotes, not typographic ones"),
        Some('"') if !before.trim_end().ends_with([',', ':', '{', '[']) => {
            plain("is a `,` or `:` missing here?")
        }
        Some('\n' | '\r') => plain("is the closing `\"` missing in this line?"),
        Some('\\') => plain("write `\\\\` for a backslash"),
        Some('T' | 'F' | 'N') => plain("JSON writes `true`, `false` and `null`"),
        Some(_) => plain(""),
        None => match unclosed(text) {
            Some((bracket, at)) => {
                let (line, column) = line_column(text.as_bytes(), at);
                (format!(": the `{bracket}` of line {line}, column {column} is not closed"), "")
            }
            None if text.trim_matches(['\u{feff}', ' ', '\n', '\r', '\t']).is_empty() => {
                (": the file is empty".to_owned(), "config.example.json shows what it holds")
            }
            None => plain(""),
        },
    }
}

/// The innermost bracket that is open at the end.
fn unclosed(text: &str) -> Option<(char, usize)> {
    let mut open = Vec::new();
    outside_strings(text, |at, c| match c {
        '{' | '[' => open.push((c, at)),
        '}' | ']' => drop(open.pop()),
        _ => {}
    });
    open.pop()
}

/// Calls `each` with every character that is not in a string.
fn outside_strings(text: &str, mut each: impl FnMut(usize, char)) {
    let (mut in_string, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        if c == '"' && !escaped {
            in_string = !in_string;
        } else if !in_string {
            each(at, c);
        }
        escaped = c == '\\' && in_string && !escaped;
    }
}

/// The text with one mistake put right, of the same length so that places stay what they are.
/// Only where nothing else can be meant: a wrong guess would bring findings that are wrong.
fn mend(text: &str, error: &JsonError) -> Option<String> {
    let (before, rest) = text.split_at_checked(error.at)?;
    if rest.starts_with(['/', '#']) {
        return without_comments(text);
    }
    if rest.starts_with(['}', ']']) {
        let comma = before.trim_end();
        return comma.ends_with(',').then(|| overwrite(text, comma.len() - 1, " "));
    }
    for (wrong, right) in [("True", "true"), ("False", "false"), ("None", "null")] {
        if rest.starts_with(wrong) {
            return Some(overwrite(text, error.at, right));
        }
    }
    if error.what.starts_with("expected `:`") && rest.starts_with('=') {
        return Some(overwrite(text, error.at, ":"));
    }
    let missing = if error.what.starts_with("expected `:`") && rest.starts_with(is_value) {
        ":"
    } else if error.what == "expected `,` or `}`" && rest.starts_with('"')
        || error.what == "expected `,` or `]`" && rest.starts_with(['"', '{', '['])
    {
        ","
    } else {
        return None;
    };
    before.ends_with([' ', '\t', '\n', '\r']).then(|| overwrite(text, error.at - 1, missing))
}

/// Begins a JSON value.
fn is_value(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '"' | '{' | '[' | '-' | 't' | 'f' | 'n')
}

/// `text` with `part` at byte `at` in place of what was there.
fn overwrite(text: &str, at: usize, part: &str) -> String {
    let (head, tail) = text.split_at_checked(at).unwrap_or((text, ""));
    format!("{head}{part}{}", tail.get(part.len()..).unwrap_or_default())
}

/// The text with spaces in place of every comment: they are all the same mistake.
fn without_comments(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let comment = if in_string {
            0
        } else if rest.starts_with("/*") {
            rest.find("*/")? + 2
        } else if rest.starts_with("//") || c == '#' {
            rest.find('\n').unwrap_or(rest.len())
        } else {
            0
        };
        if comment > 0 {
            let (inside, after) = rest.split_at_checked(comment)?;
            out.extend(inside.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
            rest = after;
            continue;
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = c == '\\' && in_string && !escaped;
        out.push(c);
        rest = rest.get(c.len_utf8()..)?;
    }
    (out != text).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> (Vec<usize>, bool) {
        let mut findings = Findings::default();
        let read = parse(text, &mut findings).is_some();
        (findings.finish(text).iter().map(|f| f.span.start).collect(), read)
    }

    #[test]
    fn reads_on_where_the_meaning_is_plain() {
        for (text, at) in [
            ("{\"a\": [1, 2,], }", &[12, 15][..]),
            ("{ // é\n \"a\": 1, # x\n /* \" */ \"b\": \"//\" }", &[2]),
            ("{\"a\" 1, \"b\" = 2}", &[5, 12]),
            ("{\"a\": [1 \"x\"], \"b\": True\n\"c\": None}", &[9, 20, 25, 30]),
        ] {
            assert_eq!(places(text), (at.to_vec(), true), "{text}");
        }
    }

    #[test]
    fn never_guesses() {
        for text in
            ["{\"a\": \"b", "{a: 1}", "{\"a\": 1", "{\"a\" /* ", "{\"a\": 1} x", "{]", "{\"a\": ,}", "'a'"]
        {
            let (at, read) = places(text);
            assert_eq!((at.len(), read), (1, false), "{text}");
        }
        let (at, read) = places(&format!("[1{}]", " \"\"".repeat(50)));
        assert_eq!((at.len(), read), (MOST, false));
    }

    proptest::proptest! {
        #[test]
        fn ends_and_keeps_the_length(text in "[\\[\\]{}:,\"\\\\a0#/*= TFN\\nté]{0,40}") {
            if let Err(error) = tree::parse(&text)
                && let Some(mended) = mend(&text, &error)
            {
                proptest::prop_assert_eq!(mended.len(), text.len());
                proptest::prop_assert_ne!(&mended, &text);
            }
            proptest::prop_assert!(places(&text).0.len() <= MOST);
        }
    }
}
