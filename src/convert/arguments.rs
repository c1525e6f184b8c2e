//! Tool arguments on their way through: checked as they come, never collected.

use crate::wire::json::{Cursor, Piece, Pieces, escape};

/// Forwards the arguments of one call.
///
/// What begins with `{` is passed on at once, checked byte by byte: raw control characters
/// inside strings are escaped, and what follows the matching `}` is dropped. That it is no JSON
/// is told at its end. What does not begin with `{` is kept until its end, when it turns out to
/// be `null`, an object in a string, or unusable.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    state: State,
    json: Checker,
    /// What did not begin with `{`, decoded. Counted by [`Arguments::retained`].
    kept: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Object,
    Kept,
    Complete,
}

/// Not JSON, whatever may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Invalid;

/// What the arguments were, at the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A whole object, all of it passed on.
    Complete,
    /// No arguments, or `null`: `{}`.
    None,
    /// An object that has not been passed on: the inside of a JSON string.
    Whole(Vec<u8>),
    /// It ended in the middle.
    Incomplete,
    /// It is not JSON.
    Invalid,
    /// It is JSON, but not an object.
    NotObject,
}

impl Arguments {
    /// Takes a fragment, the inside of a JSON string (so control characters in it are escaped),
    /// and appends what is passed on, likewise
    /// ready to stand inside a JSON string.
    pub(super) fn feed(&mut self, fragment: &str, out: &mut Vec<u8>) {
        let mut pieces = Pieces::over(fragment);
        while matches!(self.state, State::Start | State::Kept) {
            match pieces.next() {
                Some(Piece::Plain(text)) => self.plain(text, out),
                Some(Piece::Char(c)) => self.char(c, out),
                None => return,
            }
        }
        if self.state == State::Object {
            self.object(pieces.rest(), out);
        }
    }

    /// Like [`Arguments::plain`] and [`Arguments::char`] for what follows the first `{`: what
    /// stands as [`escape`] would write it is copied as it stands.
    fn object(&mut self, fragment: &str, out: &mut Vec<u8>) {
        let bytes = fragment.as_bytes();
        let copy = |from: usize, to: usize, out: &mut Vec<u8>| {
            out.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        };
        let (mut at, mut copied) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            if *byte != b'\\' {
                if self.json.is_inside_string() {
                    // An unescaped quote would have ended the fragment.
                    let rest = bytes.get(at..).unwrap_or_default();
                    at += rest.iter().position(|b| *b == b'\\').unwrap_or(rest.len());
                    continue;
                }
                at += 1;
                if self.json.step(*byte) == Step::End {
                    self.state = State::Complete;
                    break;
                }
                continue;
            }
            let plain = match bytes.get(at + 1) {
                Some(b @ (b'"' | b'\\')) => Some(*b),
                Some(b'n') => Some(b'\n'),
                Some(b'r') => Some(b'\r'),
                Some(b't') => Some(b'\t'),
                _ => None,
            };
            if let Some(byte) = plain {
                if self.json.step(byte) == Step::Escape {
                    copy(copied, at, out);
                    control(byte, out);
                    copied = at + 2;
                }
                at += 2;
                continue;
            }
            copy(copied, at, out);
            let mut pieces = Pieces::over(fragment.get(at..).unwrap_or_default());
            let Some(Piece::Char(c)) = pieces.next() else { return };
            self.char(c, out);
            at = bytes.len() - pieces.rest().len();
            copied = at;
            if self.state == State::Complete {
                return;
            }
        }
        copy(copied, at, out);
    }

    fn plain(&mut self, text: &str, out: &mut Vec<u8>) {
        let mut text = text;
        if self.state == State::Start {
            text = text.trim_start_matches([' ', '\n', '\r', '\t']);
            self.begin(text);
        }
        match self.state {
            State::Start | State::Complete => {}
            State::Kept => self.kept.push_str(text),
            State::Object => self.object(text, out),
        }
    }

    fn char(&mut self, c: char, out: &mut Vec<u8>) {
        if self.state == State::Start {
            if matches!(c, ' ' | '\n' | '\r' | '\t') {
                return;
            }
            self.begin(c.encode_utf8(&mut [0; 4]));
        }
        match self.state {
            State::Start | State::Complete => {}
            State::Kept => self.kept.push(c),
            State::Object => {
                let mut buffer = [0; 4];
                let text: &str = c.encode_utf8(&mut buffer);
                let mut step = Step::Pass;
                for byte in text.bytes() {
                    step = self.json.step(byte);
                }
                match step {
                    Step::Escape => control(c as u8, out),
                    Step::Pass | Step::End => escape(text, out),
                }
                if step == Step::End {
                    self.state = State::Complete;
                }
            }
        }
    }

    fn begin(&mut self, text: &str) {
        match text.bytes().next() {
            None => {}
            Some(b'{') => self.state = State::Object,
            Some(_) => self.state = State::Kept,
        }
    }

    /// The object is closed.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        self.kept.len()
    }

    /// Ends the arguments.
    pub(super) fn end(&self) -> Outcome {
        match self.state {
            State::Complete if self.json.broken => Outcome::Invalid,
            State::Complete => Outcome::Complete,
            State::Start => Outcome::None,
            State::Object => Outcome::Incomplete,
            State::Kept => self.end_kept(),
        }
    }

    fn end_kept(&self) -> Outcome {
        let text = self.kept.trim();
        if text == "null" {
            return Outcome::None;
        }
        let mut cur = Cursor::lenient(text);
        if let Some(inner) = cur.string().ok().filter(|_| cur.end().is_ok()) {
            // A string that holds the object.
            let mut escaped = Vec::new();
            escape(&inner.decode(), &mut escaped);
            let (mut whole, mut out) = (Self::default(), Vec::new());
            whole.feed(&String::from_utf8_lossy(&escaped), &mut out);
            return match whole.state {
                State::Complete if !whole.json.broken => Outcome::Whole(out),
                State::Start => Outcome::None,
                State::Kept => Outcome::NotObject,
                State::Complete | State::Object => Outcome::Invalid,
            };
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Outcome::NotObject,
            Err(e) if e.is_eof() => Outcome::Incomplete,
            Err(_) => Outcome::Invalid,
        }
    }
}

/// Appends a control character of a string inside JSON inside a JSON string.
fn control(byte: u8, out: &mut Vec<u8>) {
    let mut inner = Vec::with_capacity(6);
    escape(char::from(byte).encode_utf8(&mut [0; 4]), &mut inner);
    escape(&String::from_utf8_lossy(&inner), out);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Goes on as it is.
    Pass,
    /// A raw control character inside a string.
    Escape,
    /// The outermost `}`.
    End,
}

/// Checks JSON one byte at a time.
#[derive(Debug, Default)]
struct Checker {
    at: At,
    /// One bit a level, set for an object; `depth` says how many count.
    objects: u128,
    depth: u32,
    /// It is no JSON: from here on only the matching `}` is looked for.
    broken: bool,
    braces: u32,
    quoted: bool,
    escaped: bool,
}

/// What may come next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// In a string; true: a key.
    Str(bool),
    Escape(bool),
    /// Hexadecimal digits left.
    Hex(bool, u8),
    /// In `true`, `false` or `null`: what is left.
    Word(&'static [u8]),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Checker {
    /// Whatever comes next belongs to a string, unless it is a quote, a backslash or a control
    /// character.
    #[inline]
    fn is_inside_string(&self) -> bool {
        !self.broken && matches!(self.at, At::Str(_))
    }

    fn step(&mut self, b: u8) -> Step {
        if !self.broken {
            match self.check(b) {
                Ok(step) => return step,
                Err(Invalid) => self.give_up(),
            }
        }
        self.scan(b)
    }

    fn give_up(&mut self) {
        self.broken = true;
        self.braces = self.objects.count_ones();
        self.quoted = matches!(self.at, At::Str(_) | At::Escape(_) | At::Hex(..));
        self.escaped = matches!(self.at, At::Escape(_));
    }

    fn scan(&mut self, b: u8) -> Step {
        match b {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            0..=0x1F if self.quoted => return Step::Escape,
            b'{' if !self.quoted => self.braces += 1,
            b'}' if !self.quoted => {
                self.braces = self.braces.saturating_sub(1);
                if self.braces == 0 {
                    return Step::End;
                }
            }
            _ => {}
        }
        Step::Pass
    }

    fn check(&mut self, b: u8) -> Result<Step, Invalid> {
        use At::{
            Colon, CommaOrEnd, Digits, Escape, Exponent, ExponentDigits, ExponentSign, Fraction, Hex, Key,
            KeyOrEnd, Minus, Point, Str, Value, ValueOrEnd, Word, Zero,
        };
        self.at = match (self.at, b) {
            (Str(key), b'"') => {
                if key {
                    Colon
                } else {
                    CommaOrEnd
                }
            }
            (Str(key), b'\\') => Escape(key),
            (Str(_), 0..=0x1F) => return Ok(Step::Escape),
            (Str(_), _) => return Ok(Step::Pass),
            (Escape(key), b'u') => Hex(key, 4),
            (Escape(key), b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Str(key),
            (Hex(key, 1), _) if b.is_ascii_hexdigit() => Str(key),
            (Hex(key, n), _) if b.is_ascii_hexdigit() => Hex(key, n - 1),
            (Word([next, rest @ ..]), _) if b == *next => {
                if rest.is_empty() {
                    CommaOrEnd
                } else {
                    Word(rest)
                }
            }
            (Minus | Value | ValueOrEnd, b'0') => Zero,
            (Minus | Value | ValueOrEnd, b'1'..=b'9') | (Digits, b'0'..=b'9') => Digits,
            (Zero | Digits, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Digits | Fraction, b'e' | b'E') => Exponent,
            (Exponent, b'+' | b'-') => ExponentSign,
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => ExponentDigits,
            (Value | ValueOrEnd, b'{') => self.open(true)?,
            (Value | ValueOrEnd, b'[') => self.open(false)?,
            (Value | ValueOrEnd, b'"') => Str(false),
            (Value | ValueOrEnd, b'-') => Minus,
            (Value | ValueOrEnd, b't') => Word(b"rue"),
            (Value | ValueOrEnd, b'f') => Word(b"alse"),
            (Value | ValueOrEnd, b'n') => Word(b"ull"),
            (Key | KeyOrEnd, b'"') => Str(true),
            (Colon, b':') => Value,
            // A number ends with what follows it.
            (CommaOrEnd | Zero | Digits | Fraction | ExponentDigits, b',') => {
                if self.objects & 1 == 1 {
                    Key
                } else {
                    Value
                }
            }
            (CommaOrEnd | Zero | Digits | Fraction | ExponentDigits | KeyOrEnd, b'}')
                if self.objects & 1 == 1 =>
            {
                return Ok(self.close());
            }
            (CommaOrEnd | Zero | Digits | Fraction | ExponentDigits | ValueOrEnd, b']')
                if self.objects & 1 == 0 =>
            {
                return Ok(self.close());
            }
            (Zero | Digits | Fraction | ExponentDigits, b' ' | b'\n' | b'\r' | b'\t') => CommaOrEnd,
            (Value | ValueOrEnd | Key | KeyOrEnd | Colon | CommaOrEnd, b' ' | b'\n' | b'\r' | b'\t') => {
                self.at
            }
            _ => return Err(Invalid),
        };
        Ok(Step::Pass)
    }

    fn open(&mut self, object: bool) -> Result<At, Invalid> {
        self.depth += 1;
        if self.depth > 128 {
            return Err(Invalid);
        }
        self.objects = (self.objects << 1) | u128::from(object);
        Ok(if object { At::KeyOrEnd } else { At::ValueOrEnd })
    }

    fn close(&mut self) -> Step {
        self.depth -= 1;
        self.objects >>= 1;
        self.at = At::CommaOrEnd;
        if self.depth == 0 { Step::End } else { Step::Pass }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds decoded text cut at `cuts` and returns what was passed on, decoded, and the outcome.
    fn run(text: &str, size: usize) -> (String, Outcome) {
        let mut a = Arguments::default();
        let mut out = Vec::new();
        let chars: Vec<char> = text.chars().collect();
        for part in chars.chunks(size.max(1)) {
            let mut inner = Vec::new();
            escape(&part.iter().collect::<String>(), &mut inner);
            a.feed(std::str::from_utf8(&inner).unwrap(), &mut out);
        }
        let json = [b"\"", out.as_slice(), b"\""].concat();
        (serde_json::from_slice(&json).unwrap(), a.end())
    }

    #[test]
    fn outcomes() {
        for (text, passed, outcome) in [
            ("{\"a\":1}", "{\"a\":1}", Outcome::Complete),
            (" \n{\"a\": [1, {}] } trailing", "{\"a\": [1, {}] }", Outcome::Complete),
            ("{\"a\":\"x\ny\t\u{1}\"}", "{\"a\":\"x\\ny\\t\\u0001\"}", Outcome::Complete),
            ("{\n \"a\": 1}", "{\n \"a\": 1}", Outcome::Complete),
            ("", "", Outcome::None),
            ("  ", "", Outcome::None),
            ("null", "", Outcome::None),
            ("{\"a\":", "{\"a\":", Outcome::Incomplete),
            ("\"{\\\"a\\\":1}\"", "", Outcome::Whole(b"{\\\"a\\\":1}".to_vec())),
            ("\"{\\\"a\\\":\"", "", Outcome::Invalid),
            ("\"text\"", "", Outcome::NotObject),
            ("[1]", "", Outcome::NotObject),
            ("[1", "", Outcome::Incomplete),
            ("nonsense", "", Outcome::Invalid),
            ("\"{\\\"a\\\":\\\"x\ny\\\"}\"", "", Outcome::Whole(b"{\\\"a\\\":\\\"x\\\\ny\\\"}".to_vec())),
            // Passed on to the matching brace all the same: the end tells.
            ("{\"a\": nope} x", "{\"a\": nope}", Outcome::Invalid),
            ("{\"a\": {b: \"}\"}} x", "{\"a\": {b: \"}\"}}", Outcome::Invalid),
            ("{\"a\": nope", "{\"a\": nope", Outcome::Incomplete),
        ] {
            for size in [1, 2, 3, 100] {
                let got = run(text, size);
                assert_eq!(got.0, passed, "{text:?}");
                assert_eq!(got.1, outcome, "{text:?} in pieces of {size}");
            }
        }
        for text in [
            "{a:1}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":tru }",
            "{\"a\":'x'}",
            "{\"a\" 1}",
            "{\"a\":[1,]}",
            "{]}",
            "{\"a\":\"\\x\"}",
        ] {
            assert_eq!(run(text, 1).1, Outcome::Invalid, "{text}");
        }
    }

    /// What [`Arguments::feed`] says, one character at a time.
    fn slowly(fragments: &[String]) -> (Vec<u8>, Outcome) {
        let (mut a, mut out) = (Arguments::default(), Vec::new());
        for piece in fragments.iter().flat_map(|f| Pieces::over(f)) {
            match piece {
                Piece::Plain(text) => text.chars().for_each(|c| a.char(c, &mut out)),
                Piece::Char(c) => a.char(c, &mut out),
            }
        }
        (out, a.end())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_one_character_at_a_time(
            fragments in prop::collection::vec(
                prop_oneof![
                    4 => r"[ \[\]{}:,a-cé🙂0-9tnul]{0,9}",
                    4 => r#"(\\"|[a-cé ]|\\[\\nrtbf/]|\\u00[0-7][0-9a-f]|\\ud83d\\ude00){0,9}"#,
                    2 => r#"\{(\\"[a-c]{0,3}\\":(1|\\"[a-cé]{0,9}\\"),?){0,3}\}?"#,
                ],
                0..6,
            ),
        ) {
            let (mut a, mut out) = (Arguments::default(), Vec::new());
            for fragment in &fragments {
                a.feed(fragment, &mut out);
            }
            let (want, outcome) = slowly(&fragments);
            prop_assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(want).unwrap());
            prop_assert_eq!(a.end(), outcome);
        }

        #[test]
        fn agrees_with_serde_json(text in "\\{[\\[\\]{}:,\"\\\\a0-9.eE+\\- n]{0,20}", size in 1usize..8) {
            let (passed, outcome) = run(&text, size);
            // Whatever was passed on as complete is a JSON object; whatever serde_json reads is complete.
            let value = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            match outcome {
                Outcome::Complete => {
                    prop_assert!(text.starts_with(&passed));
                    // Numbers out of range are JSON all the same.
                    if !passed.contains(['e', 'E']) {
                        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&passed).is_ok(), "{passed}");
                    }
                }
                _ => prop_assert!(value.is_err(), "{}", text),
            }
        }
    }
}
