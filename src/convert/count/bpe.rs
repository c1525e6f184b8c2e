//! The tokenizer: o200k, exactly, in pieces.

/// About so much text is counted at once, in bytes.
const PIECE: usize = 16 << 10;
/// The most that is counted at once where no place to cut is found. A word is merged as a whole,
/// which takes thirty times its size of memory.
const LONGEST: usize = 32 << 10;

/// How many tokens `text` is. `breath` is called between pieces. The first call takes 70 ms more and
/// 24 MB, for the vocabulary.
///
/// Exactly what o200k makes of it, unless there are 16 KB without one place that certainly ends a
/// word: such text is cut anywhere, which may add a token or two each time.
pub fn tokens(text: &str, breath: &mut dyn FnMut()) -> u64 {
    let mut rest = text;
    let mut sum = 0;
    while let Some((piece, after)) = rest.split_at_checked(cut(rest)) {
        sum += tokens_of(piece);
        if after.is_empty() {
            break;
        }
        rest = after;
        breath();
    }
    sum
}

fn tokens_of(piece: &str) -> u64 {
    // A feature in Cargo.toml brings this encoding, so it is always there.
    tiktoken::get_encoding("o200k_base").map_or(0, |bpe| bpe.count(piece)) as u64
}

/// Where the first piece of `text` ends.
fn cut(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let near = text.as_bytes().get(PIECE - 1..text.len().min(LONGEST)).unwrap_or_default();
    match near.windows(2).position(|pair| matches!(pair, &[before, at] if parts(before, at))) {
        Some(found) => PIECE + found,
        None => {
            (0..=LONGEST.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
        }
    }
}

/// Whether o200k's pattern ends a word between these two bytes whatever stands around them, so
/// that both sides count alone what they count together:
///
/// - A space after something visible can only begin a word: within a word there is no space but
///   the first character, and space before it belongs to runs of space.
/// - Line ends are the last of a word, and those of a run stay together; only `/` may follow, and
///   space before another line end.
/// - Digits are words of their own.
fn parts(before: u8, at: u8) -> bool {
    match at {
        b' ' => before.is_ascii_graphic(),
        b'0'..=b'9' => before == b'\n' || (before.is_ascii_graphic() && !before.is_ascii_digit()),
        // From 0xE4 to 0xE9 begin the Chinese characters from U+4000 to U+9FFF.
        b'a'..=b'z' | b'A'..=b'Z' | 0xE4..=0xE9 => before == b'\n',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(text: &str) -> u64 {
        tiktoken_rs::o200k_base_singleton().count_ordinary(text) as u64
    }

    /// Words, spaces and signs of all kinds that the pattern tells apart.
    const PARTS: [&str; 48] = [
        "the",
        "Parser",
        "HTTPServer",
        "x",
        "'s",
        "'LL",
        "n't",
        " ",
        "  ",
        "    ",
        "\t",
        "\n",
        "\r\n",
        "\n\n",
        " \n",
        "\n ",
        "/",
        "//",
        ".\n/",
        "1",
        "23",
        "4567",
        "²",
        "Ⅷ",
        "{",
        "}",
        "\":",
        "\",\n",
        "=>",
        "_",
        "-",
        "é",
        "ß",
        "Ǆ",
        "ǅ",
        "ʰ",
        "e\u{301}",
        "привет",
        "МИР",
        "世界",
        "。",
        "ก็",
        "हिन्दी",
        "👩‍💻",
        "\u{3000}",
        "\u{a0}",
        "\u{85}",
        "<|endoftext|>",
    ];

    #[test]
    fn the_encoding_is_compiled_in() {
        assert!(tiktoken::get_encoding("o200k_base").is_some());
    }

    #[test]
    fn where_text_is_cut_does_not_show() {
        let mut text = String::new();
        let mut pieces = 1;
        for n in 0..60_000_usize {
            text.push_str(PARTS[n * (n / 97 + 1) % PARTS.len()]);
        }
        assert_eq!(tokens(&text, &mut || pieces += 1), reference(&text));
        assert!(pieces > 8, "{pieces} pieces of {} bytes", text.len());
    }

    #[test]
    fn a_word_without_end_is_cut() {
        // The reference gives up on such text.
        for word in ["a", "ü", "漢", " ", "=", "aB", "\u{3000}"] {
            let text = word.repeat((LONGEST + PIECE) / word.len());
            let (ours, real) = (tokens(&text, &mut || ()), tokens_of(&text));
            assert!(ours.abs_diff(real) <= 4, "{word:?}: {ours}, {real}");
        }
        let mut pieces = 1;
        tokens(&"a".repeat(3 * LONGEST), &mut || pieces += 1);
        assert_eq!(pieces, 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_text_counts_as_the_reference_counts_it(text in "\\PC{0,400}") {
            prop_assert_eq!(tokens(&text, &mut || ()), reference(&text));
        }

        #[test]
        fn any_characters_do(text in proptest::collection::vec(any::<char>(), 0..400)) {
            let text: String = text.into_iter().collect();
            prop_assert_eq!(tokens(&text, &mut || ()), reference(&text));
        }

        #[test]
        fn any_mixture_does(text in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..300)) {
            let text = text.concat();
            prop_assert_eq!(tokens(&text, &mut || ()), reference(&text));
        }

        #[test]
        fn both_sides_of_a_cut_count_alone_what_they_count_together(
            text in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 2..24)
        ) {
            let text = text.concat();
            let whole = reference(&text);
            for at in 1..text.len() {
                let (before, after) = (text.as_bytes()[at - 1], text.as_bytes()[at]);
                if parts(before, after) {
                    prop_assert!(text.is_char_boundary(at));
                    let (a, b) = text.split_at(at);
                    prop_assert_eq!(reference(a) + reference(b), whole, "{:?} {:?}", a, b);
                }
            }
        }
    }
}
