//! Reads one JSON text from front to back, checking as it goes.

use super::scan;
use super::text::{CONTROL, ESCAPED, LONE_SURROGATE, UNICODE, hex4, low_surrogate};
use super::{JsonError, JsonStr, RawJson, Result};

/// Deepest nesting that is read. A body of 2,000 opening brackets is refused, not recursed into.
pub const MAX_DEPTH: u32 = 128;

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
    #[must_use]
    pub fn at_offset(&self, at: usize) -> Self {
        Self { at, ..self.clone() }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What has been read since it was at `start`.
    pub fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Goes on behind the next `len` bytes, a value that is known already.
    pub fn skip_known(&mut self, len: usize) {
        self.at += len;
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
        self.at += spaces(self.bytes().get(self.at..).unwrap_or_default());
    }

    /// The next byte that is not white space; nothing is consumed but the white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        match self.byte() {
            Some(..=b' ') => {
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
        if let Some(b'{') = self.peek() {
            self.enter()?;
        } else {
            self.wrong_type::<()>("Input should be an object")?;
            return Ok(());
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
        if let Some(b'[') = self.peek() {
            self.enter()?;
        } else {
            self.wrong_type::<()>("Input should be a valid list")?;
            return Ok(());
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
    #[inline]
    pub fn string(&mut self) -> Result<JsonStr<'a>> {
        if self.peek() != Some(b'"') {
            return self.wrong_type("Input should be a valid string");
        }
        let start = self.at + 1;
        let flags = self.skip_string()?;
        Ok(JsonStr { raw: self.text.get(start..self.at - 1).unwrap_or_default(), flags })
    }

    /// Skips the string whose quote is the next byte, and tells what is in it.
    #[inline]
    fn skip_string(&mut self) -> Result<u8> {
        match scan::short(self.bytes(), self.at + 1) {
            Some(end) => {
                self.at = end + 1;
                Ok(0)
            }
            None => self.skip_long_string(),
        }
    }

    fn skip_long_string(&mut self) -> Result<u8> {
        let bytes = self.bytes();
        let mut end = self.at + 1;
        let mut flags = 0;
        loop {
            let (stop, escapes) = scan::inside(bytes, end);
            end = stop;
            if escapes {
                flags |= ESCAPED;
            }
            while bytes.get(end) == Some(&b'\\') {
                flags |= ESCAPED;
                end += self.check_escape(end, &mut flags)?;
            }
            match bytes.get(end) {
                Some(b'"') => break,
                Some(0x20..) => {}
                Some(_) if self.lenient => {
                    flags |= CONTROL;
                    end += 1;
                }
                Some(_) => {
                    return Err(JsonError::syntax(end, "control character in a string must be escaped"));
                }
                None => {
                    self.at = self.text.len();
                    return self.fail("unterminated string");
                }
            }
        }
        self.at = end + 1;
        Ok(flags)
    }

    /// Checks the escape at `at` and returns its length in bytes.
    fn check_escape(&self, at: usize, flags: &mut u8) -> Result<usize> {
        let bytes = self.bytes();
        match bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') => {
                *flags |= UNICODE;
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

    /// The value that began at `start` and has just been read.
    pub fn raw_since(&self, start: usize) -> RawJson<'a> {
        RawJson { text: self.text.get(start..self.at).unwrap_or_default(), compact: false }
    }

    /// Checks and skips the next value, whatever it is, and returns its text.
    pub fn raw(&mut self) -> Result<RawJson<'a>> {
        self.peek();
        let start = self.at;
        let compact = self.skip_value()?;
        Ok(RawJson { text: self.text.get(start..self.at).unwrap_or_default(), compact })
    }

    /// Skips the value that begins with the next byte; true if it is compact.
    ///
    /// The schemas of tools are read here, some thousand tokens a request: the place is kept in
    /// a register, and `self.at` is right only where somebody else reads on or fails.
    fn skip_value(&mut self) -> Result<bool> {
        let bytes = self.bytes();
        let mut at = self.at;
        let mut compact = true;
        // One bit a level: set for an object. MAX_DEPTH fits.
        let mut objects: u128 = 0;
        let outside = self.depth;
        loop {
            // A value begins here.
            match bytes.get(at) {
                Some(b'"') => at = self.past_string(at, &mut compact)?,
                Some(opening @ (b'{' | b'[')) => {
                    self.at = at;
                    self.enter()?;
                    let is_object = *opening == b'{';
                    objects = (objects << 1) | u128::from(is_object);
                    at = past_space(bytes, at + 1, &mut compact);
                    let closing = if is_object { b'}' } else { b']' };
                    if bytes.get(at) != Some(&closing) {
                        if is_object {
                            at = self.past_key(at, &mut compact)?;
                        }
                        continue;
                    }
                    at += 1;
                    self.depth -= 1;
                    objects >>= 1;
                }
                other => {
                    self.at = at;
                    match other {
                        Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                        Some(b't') => self.literal("true")?,
                        Some(b'f') => self.literal("false")?,
                        Some(b'n') => self.literal("null")?,
                        _ => return self.fail("expected a JSON value"),
                    }
                    at = self.at;
                }
            }
            // A value ended here.
            loop {
                if self.depth == outside {
                    self.at = at;
                    return Ok(compact);
                }
                at = past_space(bytes, at, &mut compact);
                let in_object = objects & 1 == 1;
                match bytes.get(at) {
                    Some(b',') => {
                        at = past_space(bytes, at + 1, &mut compact);
                        if in_object {
                            at = self.past_key(at, &mut compact)?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => {
                        self.at = at;
                        return self.fail(if in_object {
                            "expected `,` or `}`"
                        } else {
                            "expected `,` or `]`"
                        });
                    }
                }
                at += 1;
                self.depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// Behind `"key":` at `at`, and the white space there.
    #[inline]
    fn past_key(&mut self, at: usize, compact: &mut bool) -> Result<usize> {
        let bytes = self.bytes();
        if bytes.get(at) != Some(&b'"') {
            self.at = at;
            return self.fail("expected a key in double quotes");
        }
        let end = self.past_string(at, compact)?;
        let colon = past_space(bytes, end, compact);
        if bytes.get(colon) != Some(&b':') {
            self.at = colon;
            return self.fail("expected `:` after the key");
        }
        Ok(past_space(bytes, colon + 1, compact))
    }

    /// Behind the string whose quote is at `at`. `\uXXXX` in it, which compact JSON would write
    /// plainly, is not compact.
    #[inline]
    fn past_string(&mut self, at: usize, compact: &mut bool) -> Result<usize> {
        if let Some(end) = scan::short(self.bytes(), at + 1) {
            return Ok(end + 1);
        }
        self.at = at;
        *compact &= self.skip_long_string()? & UNICODE == 0;
        Ok(self.at)
    }
}

/// Behind the white space at `at`, which is not compact.
#[inline]
fn past_space(bytes: &[u8], at: usize, compact: &mut bool) -> usize {
    match bytes.get(at) {
        Some(..=b' ') => {
            let end = at + spaces(bytes.get(at..).unwrap_or_default());
            *compact &= end == at;
            end
        }
        _ => at,
    }
}

#[inline(never)]
fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t')).unwrap_or(bytes.len())
}
