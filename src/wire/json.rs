//! JSON kept as it came: a checked cursor over the input, and strings and values that are
//! spliced into the output without ever becoming a tree.
//!
//! Numbers in tool arguments keep every digit and keys keep their order, which upstream
//! prompt caches and exact integers depend on.

use std::borrow::Cow;

/// Deepest nesting that is read. A body of 2,000 opening brackets is refused, not recursed into.
pub const MAX_DEPTH: u32 = 128;

/// What is wrong with a JSON text, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Offset into the text, in bytes.
    pub at: usize,
    /// What was expected or what is not allowed, as a sentence fragment.
    pub what: &'static str,
    /// The value was read but is not of the type that belongs here: the JSON itself is fine.
    pub wrong_type: bool,
}

impl JsonError {
    fn syntax(at: usize, what: &'static str) -> Self {
        Self { at, what, wrong_type: false }
    }

    /// Line and column (both from 1, column in characters) of the place in `text`.
    pub fn line_column(&self, text: &[u8]) -> (usize, usize) {
        line_column(text, self.at)
    }
}

/// Line and column (both from 1, column in characters) of a byte offset.
pub fn line_column(text: &[u8], at: usize) -> (usize, usize) {
    let head = text.get(..at.min(text.len())).unwrap_or_default();
    let line = head.iter().filter(|b| **b == b'\n').count() + 1;
    let start = head.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let column = head.get(start..).unwrap_or_default().iter().filter(|b| (**b & 0xC0) != 0x80).count() + 1;
    (line, column)
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for JsonError {}

type Result<T> = std::result::Result<T, JsonError>;

const ESCAPED: u8 = 1;
const LONE_SURROGATE: u8 = 2;
const CONTROL: u8 = 4;

/// A JSON string as it stood in the input, without its quotes; checked, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonStr<'a> {
    raw: &'a str,
    flags: u8,
}

impl<'a> JsonStr<'a> {
    /// Between the quotes, escapes untouched.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// The empty string.
    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Whether the string may be copied between other quotes as it is.
    pub fn is_clean(self) -> bool {
        self.flags & (LONE_SURROGATE | CONTROL) == 0
    }

    /// The text it stands for. A lone surrogate becomes U+FFFD.
    pub fn decode(self) -> Cow<'a, str> {
        if self.flags & ESCAPED == 0 {
            return Cow::Borrowed(self.raw);
        }
        let mut out = String::with_capacity(self.raw.len());
        for piece in Pieces::over(self.raw) {
            match piece {
                Piece::Plain(s) => out.push_str(s),
                Piece::Char(c) => out.push(c),
            }
        }
        Cow::Owned(out)
    }

    /// Appends the string's inside, escaped, ready to stand between quotes.
    pub fn write_inner(self, out: &mut Vec<u8>) {
        if self.is_clean() {
            out.extend_from_slice(self.raw.as_bytes());
        } else {
            escape(&self.decode(), out);
        }
    }

    /// Appends the string with its quotes.
    pub fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.write_inner(out);
        out.push(b'"');
    }

    /// Whether the text is `other`.
    pub fn is(self, other: &str) -> bool {
        if self.flags & ESCAPED == 0 { self.raw == other } else { self.decode() == other }
    }

    /// Whether the text begins with `prefix`.
    pub fn starts_with(self, prefix: &str) -> bool {
        if self.flags & ESCAPED == 0 {
            self.raw.starts_with(prefix)
        } else {
            self.decode().starts_with(prefix)
        }
    }

    /// Whether the text has nothing but white space (also: nothing at all).
    pub fn is_blank(self) -> bool {
        if self.flags & ESCAPED == 0 {
            return self.raw.trim().is_empty();
        }
        Pieces::over(self.raw).all(|p| match p {
            Piece::Plain(s) => s.trim().is_empty(),
            Piece::Char(c) => c.is_whitespace(),
        })
    }

    /// Length of the text in bytes, at most: escapes count as they are written.
    pub fn len_hint(self) -> usize {
        self.raw.len()
    }

    /// The text piece by piece, without allocating.
    pub fn pieces(self) -> Pieces<'a> {
        Pieces::over(self.raw)
    }
}

/// A part of a decoded string: a run that stood there plainly, or one escaped character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes that needed no decoding.
    Plain(&'a str),
    /// What an escape stood for.
    Char(char),
}

/// Iterator over a checked, escaped string.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    /// The pieces of the inside of a JSON string. What is not a valid escape ends the iteration.
    pub fn over(inner: &'a str) -> Self {
        Self { rest: inner }
    }

    /// What has not been read yet, escaped as it came.
    pub fn rest(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let bytes = self.rest.as_bytes();
        let first = *bytes.first()?;
        if first != b'\\' {
            let end = memchr::memchr(b'\\', bytes).unwrap_or(bytes.len());
            let (head, tail) = self.rest.split_at_checked(end)?;
            self.rest = tail;
            return Some(Piece::Plain(head));
        }
        let (c, used) = match bytes.get(1)? {
            b'n' => ('\n', 2),
            b't' => ('\t', 2),
            b'r' => ('\r', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'u' => {
                let high = hex4(bytes.get(2..6)?)?;
                match high {
                    0xD800..=0xDBFF => match low_surrogate(bytes.get(6..12)) {
                        Some(low) => {
                            let code =
                                0x10000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(low) - 0xDC00);
                            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                        }
                        None => (char::REPLACEMENT_CHARACTER, 6),
                    },
                    _ => (char::from_u32(u32::from(high)).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
                }
            }
            other => (char::from(*other), 2),
        };
        self.rest = self.rest.get(used..)?;
        Some(Piece::Char(c))
    }
}

fn hex4(digits: &[u8]) -> Option<u16> {
    if digits.len() != 4 {
        return None;
    }
    digits.iter().try_fold(0u16, |n, d| Some((n << 4) | (char::from(*d).to_digit(16)? as u16)))
}

fn low_surrogate(escape: Option<&[u8]>) -> Option<u16> {
    let digits = escape?.strip_prefix(b"\\u")?;
    hex4(digits).filter(|n| (0xDC00..=0xDFFF).contains(n))
}

/// A JSON value as it stood in the input, checked and never re-parsed into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawJson<'a> {
    text: &'a str,
    compact: bool,
}

impl<'a> RawJson<'a> {
    /// Checks that `text` is one JSON value and nothing else.
    pub fn parse(text: &'a str) -> Result<Self> {
        let mut c = Cursor::new(text);
        let raw = c.raw()?;
        c.end()?;
        Ok(raw)
    }

    /// The value's text.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// A cursor over the value.
    pub fn cursor(self) -> Cursor<'a> {
        Cursor::new(self.text)
    }

    /// The value's first byte tells its type.
    pub fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// `null`.
    pub fn is_null(self) -> bool {
        self.text == "null"
    }

    /// Appends the value as it came.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.as_bytes());
    }

    /// Appends the value without white space between tokens and with non-ASCII text
    /// unescaped; key order and numbers stay.
    pub fn write_compact(self, out: &mut Vec<u8>) {
        if self.compact {
            out.extend_from_slice(self.text.as_bytes());
            return;
        }
        for token in Tokens(self.text) {
            match token {
                Token::Mark(s) => out.extend_from_slice(s.as_bytes()),
                Token::Str(inner) => {
                    out.push(b'"');
                    for piece in unescape_non_ascii(inner) {
                        out.extend_from_slice(piece.as_bytes());
                    }
                    out.push(b'"');
                }
            }
        }
    }

    /// Appends the compact value as the inside of a JSON string, as `arguments` wants it.
    pub fn write_compact_escaped(self, out: &mut Vec<u8>) {
        if self.compact {
            escape_json(self.text, out);
            return;
        }
        for token in Tokens(self.text) {
            match token {
                Token::Mark(s) => out.extend_from_slice(s.as_bytes()),
                Token::Str(inner) => {
                    out.extend_from_slice(b"\\\"");
                    for piece in unescape_non_ascii(inner) {
                        escape_json(&piece, out);
                    }
                    out.extend_from_slice(b"\\\"");
                }
            }
        }
    }
}

/// Escapes text that is valid JSON (no control characters inside its strings) for use
/// inside a JSON string.
fn escape_json(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(i) = memchr::memchr2(b'"', b'\\', rest) {
        let (head, tail) = rest.split_at(i);
        out.extend_from_slice(head);
        out.push(b'\\');
        let (special, after) = tail.split_at(1);
        out.extend_from_slice(special);
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// The inside of a string with `\uXXXX` of non-ASCII characters decoded; other escapes stay.
fn unescape_non_ascii(inner: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut pieces = Pieces::over(inner);
    std::iter::from_fn(move || {
        let before = pieces.rest();
        let piece = pieces.next()?;
        let used = before.len() - pieces.rest().len();
        Some(match piece {
            Piece::Plain(s) => Cow::Borrowed(s),
            Piece::Char(c) if !c.is_ascii() && c != char::REPLACEMENT_CHARACTER => Cow::Owned(c.to_string()),
            Piece::Char(_) => Cow::Borrowed(before.get(..used).unwrap_or_default()),
        })
    })
}

enum Token<'a> {
    /// Punctuation, a number or a literal.
    Mark(&'a str),
    /// The inside of a string.
    Str(&'a str),
}

/// Tokens of checked JSON text, white space skipped.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.0 = self.0.trim_start_matches([' ', '\n', '\r', '\t']);
        let bytes = self.0.as_bytes();
        if *bytes.first()? == b'"' {
            let mut end = 1;
            loop {
                end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
                if *bytes.get(end)? == b'"' {
                    break;
                }
                end += 2;
            }
            let inner = self.0.get(1..end)?;
            self.0 = self.0.get(end + 1..)?;
            return Some(Token::Str(inner));
        }
        let end = bytes
            .iter()
            .position(|b| matches!(b, b'"' | b' ' | b'\n' | b'\r' | b'\t'))
            .unwrap_or(bytes.len());
        let (head, tail) = self.0.split_at_checked(end)?;
        self.0 = tail;
        Some(Token::Mark(head))
    }
}

/// Appends `text` as the inside of a JSON string.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(i) = rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\') {
        let (head, tail) = rest.split_at(i);
        out.extend_from_slice(head);
        let Some((special, after)) = tail.split_first() else { return };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            c => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                for n in [c >> 4, c & 15] {
                    out.push(HEX.get(usize::from(n)).copied().unwrap_or(b'0'));
                }
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_str(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Appends a number in decimal.
pub fn write_u64(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(d) = digits.get_mut(at) {
            *d = b'0' + (n % 10) as u8;
        }
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Reads one JSON text from front to back, checking as it goes.
///
/// Strict by default, as Anthropic's API is: raw control characters and lone surrogates in
/// strings are errors. [`Cursor::lenient`] accepts both, as upstreams send them.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    lenient: bool,
}

impl<'a> Cursor<'a> {
    /// A strict cursor.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, lenient: false }
    }

    /// A cursor that forgives raw control characters and lone surrogates in strings.
    pub fn lenient(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, lenient: true }
    }

    /// Offset of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// A second cursor over the same text that starts at `at`.
    pub fn at_offset(&self, at: usize) -> Self {
        Self { at, ..self.clone() }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn byte(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn fail<T>(&self, what: &'static str) -> Result<T> {
        Err(JsonError::syntax(
            self.at,
            if self.at >= self.text.len() { "unexpected end of JSON" } else { what },
        ))
    }

    /// An error about the type of the value that comes next.
    pub fn wrong_type<T>(&mut self, what: &'static str) -> Result<T> {
        self.space();
        let at = self.at;
        // The value is read all the same: broken JSON is the more basic complaint.
        self.raw()?;
        Err(JsonError { at, what, wrong_type: true })
    }

    fn space(&mut self) {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t')).unwrap_or(rest.len());
    }

    /// The next byte that is not white space; nothing is consumed but the white space.
    pub fn peek(&mut self) -> Option<u8> {
        match self.byte() {
            Some(b' ' | b'\n' | b'\r' | b'\t') => {
                self.space();
                self.byte()
            }
            other => other,
        }
    }

    /// Succeeds if only white space is left.
    pub fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fail("unexpected text after the JSON value"),
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(JsonError::syntax(self.at, "JSON is nested too deeply (at most 128 levels)"));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads an object, calling `field` with each key; `field` has to read the value.
    pub fn object<F, E>(&mut self, mut field: F) -> std::result::Result<(), E>
    where
        F: FnMut(JsonStr<'a>, &mut Self) -> std::result::Result<(), E>,
        E: From<JsonError>,
    {
        match self.peek() {
            Some(b'{') => self.enter()?,
            _ => {
                self.wrong_type::<()>("Input should be an object")?;
                return Ok(());
            }
        }
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                self.fail::<()>("expected a key in double quotes")?;
            }
            let key = self.string()?;
            if self.peek() != Some(b':') {
                self.fail::<()>("expected `:` after the key")?;
            }
            self.at += 1;
            field(key, self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => self.fail::<()>("expected `,` or `}`")?,
            }
        }
    }

    /// Reads an array, calling `item` with each index; `item` has to read the value.
    pub fn array<F, E>(&mut self, mut item: F) -> std::result::Result<(), E>
    where
        F: FnMut(usize, &mut Self) -> std::result::Result<(), E>,
        E: From<JsonError>,
    {
        match self.peek() {
            Some(b'[') => self.enter()?,
            _ => {
                self.wrong_type::<()>("Input should be a valid list")?;
                return Ok(());
            }
        }
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        let mut n = 0;
        loop {
            self.peek();
            item(n, self)?;
            n += 1;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => self.fail::<()>("expected `,` or `]`")?,
            }
        }
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<JsonStr<'a>> {
        if self.peek() != Some(b'"') {
            return self.wrong_type("Input should be a valid string");
        }
        let start = self.at + 1;
        let bytes = self.bytes();
        let mut end = start;
        let mut flags = 0;
        loop {
            let rest = bytes.get(end..).unwrap_or_default();
            let Some(i) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return self.fail("unterminated string");
            };
            end += i;
            if rest.get(i) == Some(&b'"') {
                break;
            }
            flags |= ESCAPED;
            end += self.check_escape(end, &mut flags)?;
        }
        let raw = self.text.get(start..end).unwrap_or_default();
        // A loop without a branch: it vectorises, and nearly all strings pass.
        if raw.bytes().fold(false, |bad, b| bad | (b < 0x20)) {
            if !self.lenient {
                let at = start + raw.bytes().position(|b| b < 0x20).unwrap_or(0);
                return Err(JsonError::syntax(at, "control character in a string must be escaped"));
            }
            flags |= CONTROL;
        }
        self.at = end + 1;
        Ok(JsonStr { raw, flags })
    }

    /// Checks the escape at `at` and returns its length in bytes.
    fn check_escape(&self, at: usize, flags: &mut u8) -> Result<usize> {
        let bytes = self.bytes();
        match bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') => {
                let Some(n) = bytes.get(at + 2..at + 6).and_then(hex4) else {
                    return Err(JsonError::syntax(at, "`\\u` needs four hexadecimal digits"));
                };
                match n {
                    0xD800..=0xDBFF if low_surrogate(bytes.get(at + 6..at + 12)).is_some() => Ok(12),
                    0xD800..=0xDFFF if self.lenient => {
                        *flags |= LONE_SURROGATE;
                        Ok(6)
                    }
                    0xD800..=0xDFFF => Err(JsonError::syntax(at, "lone surrogate in a string")),
                    _ => Ok(6),
                }
            }
            Some(_) => Err(JsonError::syntax(at, "unknown escape in a string")),
            None => Err(JsonError::syntax(at, "unexpected end of JSON")),
        }
    }

    /// Reads a string, or `null` as none.
    pub fn opt_string(&mut self) -> Result<Option<JsonStr<'a>>> {
        if self.null()? { Ok(None) } else { self.string().map(Some) }
    }

    /// Reads `null` if it comes next.
    pub fn null(&mut self) -> Result<bool> {
        if self.peek() == Some(b'n') {
            self.literal("null")?;
            return Ok(true);
        }
        Ok(false)
    }

    fn literal(&mut self, word: &'static str) -> Result<()> {
        if self.bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            Ok(())
        } else {
            self.fail("expected a JSON value")
        }
    }

    /// Reads `true` or `false`.
    pub fn bool(&mut self) -> Result<bool> {
        match self.peek() {
            Some(b't') => self.literal("true").map(|()| true),
            Some(b'f') => self.literal("false").map(|()| false),
            _ => self.wrong_type("Input should be a valid boolean"),
        }
    }

    /// Reads an integer that is zero or more.
    pub fn u64(&mut self) -> Result<u64> {
        let at = self.at;
        let raw = match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return self.wrong_type("Input should be a valid integer"),
        };
        raw.parse().map_err(|_| JsonError {
            at,
            what: if raw.starts_with('-') {
                "Input should be greater than or equal to 0"
            } else {
                "Input should be a valid integer"
            },
            wrong_type: true,
        })
    }

    /// Reads a number and returns it as it was written.
    pub fn number_text(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.wrong_type("Input should be a valid number"),
        }
    }

    fn number(&mut self) -> Result<&'a str> {
        let start = self.at;
        let bytes = self.bytes();
        let digits = |from: usize| {
            bytes.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let whole = digits(at);
        let leading_zero = bytes.get(at) == Some(&b'0') && whole > 1;
        at += whole;
        let mut fine = whole > 0 && !leading_zero;
        let mut exponent = false;
        if bytes.get(at) == Some(&b'.') {
            let n = digits(at + 1);
            fine &= n > 0;
            at += 1 + n;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            exponent = true;
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let n = digits(at);
            fine &= n > 0;
            at += n;
        }
        let text = self.text.get(start..at).unwrap_or_default();
        if !fine {
            return Err(JsonError::syntax(start, "invalid number"));
        }
        if (exponent || text.len() > 300) && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(JsonError::syntax(start, "number out of range"));
        }
        self.at = at;
        Ok(text)
    }

    /// Checks and skips the next value, whatever it is, and returns its text.
    pub fn raw(&mut self) -> Result<RawJson<'a>> {
        self.peek();
        let start = self.at;
        let mut compact = true;
        // One bit a level: set for an object. MAX_DEPTH fits.
        let mut objects: u128 = 0;
        let mut open = 0u32;
        loop {
            // A value begins here.
            match self.byte() {
                Some(b'"') => compact &= self.string_compact()?,
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                Some(opening @ (b'{' | b'[')) => {
                    self.enter()?;
                    open += 1;
                    objects = (objects << 1) | u128::from(opening == b'{');
                    compact &= self.skip_space();
                    let closing = if opening == b'{' { b'}' } else { b']' };
                    if self.byte() != Some(closing) {
                        if opening == b'{' {
                            compact &= self.key()?;
                        }
                        continue;
                    }
                    self.close(&mut objects, &mut open);
                }
                _ => return self.fail("expected a JSON value"),
            }
            // A value ended here.
            loop {
                if open == 0 {
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    return Ok(RawJson { text, compact });
                }
                compact &= self.skip_space();
                let in_object = objects & 1 == 1;
                match self.byte() {
                    Some(b',') => {
                        self.at += 1;
                        compact &= self.skip_space();
                        if in_object {
                            compact &= self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => self.close(&mut objects, &mut open),
                    Some(b']') if !in_object => self.close(&mut objects, &mut open),
                    _ => {
                        return self.fail(if in_object {
                            "expected `,` or `}`"
                        } else {
                            "expected `,` or `]`"
                        });
                    }
                }
            }
        }
    }

    fn close(&mut self, objects: &mut u128, open: &mut u32) {
        self.at += 1;
        self.depth -= 1;
        *objects >>= 1;
        *open -= 1;
    }

    /// Skips white space; true if there was none.
    fn skip_space(&mut self) -> bool {
        let before = self.at;
        self.peek();
        before == self.at
    }

    /// Reads `"key":`; true if it was compact.
    fn key(&mut self) -> Result<bool> {
        if self.byte() != Some(b'"') {
            return self.fail("expected a key in double quotes");
        }
        let mut compact = self.string_compact()?;
        compact &= self.skip_space();
        if self.byte() != Some(b':') {
            return self.fail("expected `:` after the key");
        }
        self.at += 1;
        compact &= self.skip_space();
        Ok(compact)
    }

    /// Reads a string; true if it holds no `\uXXXX` that compact JSON would write plainly.
    fn string_compact(&mut self) -> Result<bool> {
        let s = self.string()?;
        Ok(s.flags & ESCAPED == 0 || memchr::memmem::find(s.raw.as_bytes(), b"\\u").is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Result<RawJson<'_>> {
        RawJson::parse(text)
    }

    #[test]
    fn accepts_what_serde_json_accepts() {
        for text in [
            "{}",
            "[]",
            " [1, -2.5e3, \"a\\u00e9\", {\"k\": [true,false,null]}] ",
            "0",
            "\"\"",
            "{\"a\":{\"b\":{}},\"c\":[[]]}",
        ] {
            assert!(raw(text).is_ok(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":}",
            "{a:1}",
            "01",
            "1.",
            "1e",
            "+1",
            "tru",
            "\"\\x\"",
            "\"\\u12\"",
            "\"a",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "1e999",
            "\"\\ud800\"",
            "\"\n\"",
            "{]",
            "[}",
            "1 2",
        ] {
            assert!(raw(text).is_err(), "{text}");
        }
        assert!(raw(&"[".repeat(2000)).is_err());
        assert!(raw(&format!("{}{}", "[".repeat(128), "]".repeat(128))).is_ok());
        assert!(raw(&format!("{}{}", "[".repeat(129), "]".repeat(129))).is_err());
    }

    #[test]
    fn compact_keeps_order_digits_and_text() {
        let text = "{ \"b\" : 12345678901234567890123 , \"a\" : [ 1 , \"x \\u00e9 \\n \\\" y\" ] }";
        let mut out = Vec::new();
        raw(text).unwrap().write_compact(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"b\":12345678901234567890123,\"a\":[1,\"x é \\n \\\" y\"]}"
        );
        let mut out = Vec::new();
        raw(text).unwrap().write_compact_escaped(&mut out);
        let arguments: String = serde_json::from_slice(&[b"\"", out.as_slice(), b"\""].concat()).unwrap();
        assert_eq!(arguments, "{\"b\":12345678901234567890123,\"a\":[1,\"x é \\n \\\" y\"]}");
    }

    #[test]
    fn lenient_strings_are_made_valid() {
        let mut c = Cursor::lenient("\"a\tb\\ud83dc\"");
        let s = c.string().unwrap();
        let mut out = Vec::new();
        s.write(&mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), "a\tb\u{fffd}c");
    }

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "{\n  \"é\": x}";
        let e = raw(text).unwrap_err();
        assert_eq!(e.line_column(text.as_bytes()), (2, 8));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"\\\\a0-9.eE+\\- \\n]{0,24}") {
            let ours = raw(&text).is_ok();
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            // serde_json's RawValue does not look at the range of numbers.
            if ours != theirs {
                proptest::prop_assert!(!ours && text.contains(['e', 'E']), "{:?}: ours {} theirs {}", text, ours, theirs);
            }
        }

        #[test]
        fn escaping_round_trips(text in "\\PC{0,40}|[\\x00-\\x20\"\\\\é🙂]{0,40}") {
            let mut out = Vec::new();
            write_str(&text, &mut out);
            proptest::prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
            let json = String::from_utf8(out).unwrap();
            proptest::prop_assert_eq!(Cursor::new(&json).string().unwrap().decode(), text);
        }
    }
}
