//! `<think>` at the very start of an answer's text is reasoning.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Finds a leading `<think>` section in text that comes in pieces. Later tags are text.
#[derive(Debug)]
pub(super) enum ThinkTags {
    /// Nothing but white space and perhaps a beginning of the tag has come. Held back, decoded.
    Start(String),
    /// Inside. Held back: newlines and a beginning of the end tag; `true`: nothing was emitted yet.
    Think(String, bool),
    /// Behind the end tag: white space is swallowed.
    After,
    /// Text from here on.
    Text,
}

/// What a piece of text turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Reasoning.
    Thinking(String),
    /// Text.
    Text(String),
}

impl ThinkTags {
    pub(super) fn new(on: bool) -> Self {
        if on { Self::Start(String::new()) } else { Self::Text }
    }

    /// Everything from here on is text: it can be passed on without a look.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text)
    }

    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        match self {
            Self::Start(held) | Self::Think(held, _) => held.len(),
            Self::After | Self::Text => 0,
        }
    }

    /// If the first piece of text cannot begin the tag, it is text, and so is all that follows.
    pub(super) fn rule_out(&mut self, first_byte: Option<u8>) {
        let undecided = |b: u8| b.is_ascii_whitespace() || b == b'<' || b == b'\\' || !b.is_ascii();
        if matches!(self, Self::Start(held) if held.is_empty()) && first_byte.is_some_and(|b| !undecided(b)) {
            *self = Self::Text;
        }
    }

    /// Takes a piece of text.
    pub(super) fn push(&mut self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        let mut text = text.to_owned();
        while !text.is_empty() {
            text = match self {
                Self::Text => {
                    found.push(Found::Text(std::mem::take(&mut text)));
                    break;
                }
                Self::Start(held) => {
                    held.push_str(&text);
                    let trimmed = held.trim_start();
                    if let Some(rest) = trimmed.strip_prefix(OPEN) {
                        let rest = rest.to_owned();
                        *self = Self::Think(String::new(), true);
                        rest
                    } else if OPEN.starts_with(trimmed) {
                        break;
                    } else {
                        let held = std::mem::take(held);
                        *self = Self::Text;
                        held
                    }
                }
                Self::Think(held, fresh) => {
                    held.push_str(&text);
                    if *fresh {
                        *held = held.trim_start_matches(['\r', '\n']).to_owned();
                    }
                    if let Some((thinking, rest)) = held.split_once(CLOSE) {
                        let thinking = thinking.trim_end_matches(['\r', '\n']);
                        if !thinking.is_empty() {
                            found.push(Found::Thinking(thinking.to_owned()));
                        }
                        let rest = rest.to_owned();
                        *self = Self::After;
                        rest
                    } else {
                        let keep = held_back(held);
                        let (thinking, back) = held.split_at_checked(held.len() - keep).unwrap_or(("", held));
                        if !thinking.is_empty() {
                            *fresh = false;
                            found.push(Found::Thinking(thinking.to_owned()));
                        }
                        *held = back.to_owned();
                        break;
                    }
                }
                Self::After => {
                    let rest = text.trim_start().to_owned();
                    if !rest.is_empty() {
                        *self = Self::Text;
                    }
                    rest
                }
            };
        }
        found
    }

    /// The text is over: what was held back is what it seemed to be.
    pub(super) fn flush(&mut self) -> Option<Found> {
        match std::mem::replace(self, Self::Text) {
            Self::Start(held) if !held.is_empty() => Some(Found::Text(held)),
            Self::Think(held, _) if !held.is_empty() => Some(Found::Thinking(held)),
            _ => None,
        }
    }
}

/// How many bytes at the end may belong to the end tag or to the newlines before it.
fn held_back(text: &str) -> usize {
    let partial = (1..CLOSE.len())
        .rev()
        .find(|n| CLOSE.get(..*n).is_some_and(|start| text.ends_with(start)))
        .unwrap_or(0);
    let before = text.get(..text.len() - partial).unwrap_or_default();
    text.len() - before.trim_end_matches(['\r', '\n']).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, size: usize) -> (String, String) {
        let mut tags = ThinkTags::new(true);
        let (mut thinking, mut answer) = (String::new(), String::new());
        let chars: Vec<char> = text.chars().collect();
        let mut found: Vec<Found> = Vec::new();
        for part in chars.chunks(size) {
            found.extend(tags.push(&part.iter().collect::<String>()));
        }
        found.extend(tags.flush());
        for f in found {
            match f {
                Found::Thinking(t) => thinking.push_str(&t),
                Found::Text(t) => answer.push_str(&t),
            }
        }
        (thinking, answer)
    }

    #[test]
    fn only_a_leading_section_counts() {
        for (text, thinking, answer) in [
            ("<think>\nplan\n</think>\n\nAnswer <think> stays", "plan", "Answer <think> stays"),
            (" \n<think>a</think>b", "a", "b"),
            ("<think></think>b", "", "b"),
            ("<think>a\n\nb</thin", "a\n\nb</thin", ""),
            ("<this> is text", "", "<this> is text"),
            ("  plain", "", "  plain"),
            ("x<think>y</think>", "", "x<think>y</think>"),
            ("<think>still thinking", "still thinking", ""),
            ("<thi", "", "<thi"),
        ] {
            for size in [1, 2, 5, 100] {
                assert_eq!(run(text, size), (thinking.to_owned(), answer.to_owned()), "{text:?} by {size}");
            }
        }
    }
}
