//! Text from outside, made fit for a model to read.

use std::borrow::Cow;

use super::html::{one_line, unescape};

/// Characters that nobody sees and a model reads: they can hide instructions in a text, and do no
/// other good in one. Joiners stay, which scripts and pictures need.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text without what nobody sees.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| is_invisible(c) || (c.is_control() && !matches!(c, '\n' | '\t'));
    if text.contains(is_odd) {
        return Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n").replace(is_odd, ""));
    }
    Cow::Borrowed(text)
}

/// As much of a text as about so many tokens, and whether that is all of it.
///
/// An estimate, as a tokenizer would take seconds for megabytes: four ASCII characters make a
/// token, two of other alphabets, one of those that need three bytes.
pub(super) fn cut(text: &mut String, tokens: u64) -> bool {
    let mut left = tokens.saturating_mul(4);
    let mut cost = |c: char| {
        let quarters = match c.len_utf8() {
            1 => 1,
            2 => 2,
            _ => 4,
        };
        let fits = left >= quarters;
        left = left.saturating_sub(quarters);
        fits
    };
    let end = text.char_indices().find(|(_, c)| !cost(*c)).map(|(at, _)| at);
    if let Some(end) = end {
        text.truncate(end);
    }
    end.is_none()
}

/// A title or snippet of a search service, which may hold some HTML, on one line and no longer
/// than `most` characters.
///
/// Only tags that mark words are taken out: `Vec<String>` is text.
pub(super) fn snippet(text: &str, most: usize) -> String {
    const TAGS: &[&str] = &[
        "b", "strong", "em", "i", "u", "mark", "span", "br", "p", "a", "code", "sup", "sub", "wbr", "font",
        "div", "li", "ul", "ol", "small", "s", "del", "h1", "h2", "h3", "pre", "td", "tr", "table", "img",
    ];
    let mut out = String::with_capacity(text.len().min(4 * most));
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        if out.len() > 8 * most {
            break;
        }
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let tag = from.strip_prefix('<').and_then(|inner| {
            let name = inner.strip_prefix('/').unwrap_or(inner);
            let end = name.find(|c: char| !c.is_ascii_alphanumeric())?;
            let (name, after) = name.split_at(end);
            let known = TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name));
            let end = after.find(['<', '>']).filter(|end| known && *end < 500)?;
            let rest = after.get(end..)?.strip_prefix('>')?;
            Some((matches!(&*name.to_ascii_lowercase(), "br" | "p" | "div" | "li" | "tr" | "td"), rest))
        });
        let entity = || {
            let end = from.bytes().take(40).position(|b| b == b';')?;
            let (entity, rest) = from.split_at_checked(end + 1)?;
            let fits = entity.bytes().skip(1).take(end - 1).all(|b| b.is_ascii_alphanumeric() || b == b'#');
            Some((unescape(entity).filter(|_| fits)?, rest))
        };
        if let Some((breaks, after)) = tag {
            if breaks {
                out.push(' ');
            }
            rest = after;
        } else if let Some((text, after)) = entity() {
            out.push_str(&text);
            rest = after;
        } else {
            let (odd, after) = from.split_at(1);
            out.push_str(odd);
            rest = after;
        }
    }
    out.push_str(rest);
    one_line(&out, most).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets() {
        for (text, clean) in [
            ("", ""),
            ("plain", "plain"),
            ("a <strong>bold</strong> <B class=\"x\">word</B>", "a bold word"),
            ("one<br/>two<p>three</p>", "one two three"),
            ("R&amp;D &lt;b&gt; &#x27;q&#39; &hellip; &nbsp;x", "R&D <b> 'q' … x"),
            ("&amp;lt;", "&lt;"),
            ("Vec<String> a < b && c > d &x; &notanentity;", "Vec<String> a < b && c > d &x; ¬anentity;"),
            ("a <b c", "a <b c"),
            ("a <b <i>c</i>", "a <b c"),
            (" many\n\t spaces\u{200b}\u{202e} \u{e0041}\u{7}", "many spaces"),
            ("模型&middot;<em>é</em>", "模型·é"),
        ] {
            assert_eq!(snippet(text, 100), clean, "{text}");
        }
        assert_eq!(snippet(&"x".repeat(500), 10), "x".repeat(10));
        assert_eq!(snippet(&"é".repeat(500), 10), "é".repeat(10));
        // Nothing here takes longer with every byte.
        for piece in ["<", "&", "<b", "&amp;", "<b>", "<b <", "& ", "&#"] {
            snippet(&piece.repeat(1_000_000 / piece.len()), 1000);
        }
    }

    #[test]
    fn texts_are_cut_at_a_character() {
        for (text, tokens, left) in [
            ("abcdefgh", 2, "abcdefgh"),
            ("abcdefghi", 2, "abcdefgh"),
            ("éééé", 1, "éé"),
            ("模型模型", 3, "模型模"),
            ("abc模", 1, "abc"),
            ("abc", 0, ""),
        ] {
            let mut cut_text = text.to_owned();
            let whole = cut(&mut cut_text, tokens);
            assert_eq!((&*cut_text, whole), (left, left == text), "{text}");
        }
        assert!(cut(&mut "x".repeat(1000), u64::MAX));
    }

    #[test]
    fn what_nobody_sees_goes() {
        let hidden: String = "ignore".chars().filter_map(|c| char::from_u32(0xe0000 + c as u32)).collect();
        assert_eq!(visible(&format!("a{hidden}b\r\nc\u{202e}d")), "ab\ncd");
        assert_eq!(visible("می\u{200c}خواهم 👩\u{200d}💻"), "می\u{200c}خواهم 👩\u{200d}💻");
    }
}
