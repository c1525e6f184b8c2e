//! Which bytes of a configuration file must not be shown: keys and header values.
//!
//! Works on the text and not on the tree: a file with a syntax error is quoted too.

use std::ops::Range;

use super::file::is_secret_key;

/// Line `line` (from 1) of `text` with every secret in it replaced by dots, one for a character.
pub fn masked_line(text: &str, line: usize) -> String {
    let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let source = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let mut secrets = secrets(text);
    secrets.sort_by_key(|r| r.start);
    let mut secrets = secrets.into_iter().peekable();
    source
        .char_indices()
        .map(|(at, c)| {
            while secrets.next_if(|r| r.end <= start + at).is_some() {}
            if secrets.peek().is_some_and(|r| r.contains(&(start + at))) { '•' } else { c }
        })
        .filter(|c| *c != '\u{feff}')
        .collect()
}

/// A container that is open.
struct Open {
    /// Everything in it is secret.
    secret: bool,
    /// The last key in it was a secret one and its value is still to come.
    armed: bool,
    /// It is the value of `keys`: what is an object in it has keys that say which values are secret.
    keys: bool,
}

impl Open {
    const PLAIN: Self = Self { secret: false, armed: false, keys: false };
}

fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut stack = vec![Open::PLAIN];
    // The last secret key was `keys`.
    let mut keys = false;
    let mut rest = Scanner { text, at: 0 };
    while let Some(token) = rest.next() {
        if stack.is_empty() {
            stack.push(Open::PLAIN);
        }
        let Some(top) = stack.last_mut() else { continue };
        match token {
            Token::Open(object) => {
                let secret = (top.secret || top.armed) && !(top.keys && object);
                let keys = top.armed && keys && !object;
                top.armed = false;
                stack.push(Open { secret, armed: false, keys });
            }
            Token::Close => drop(stack.pop()),
            Token::Comma => top.armed = false,
            Token::Word(span) => {
                let inner = text.get(span.clone()).unwrap_or_default();
                let word = inner.trim_matches(['"', '\'']);
                let is_key = rest.before_colon();
                let reference = word.starts_with("${") && word.find('}') == Some(word.len() - 1);
                if (top.armed || (top.secret && !is_key)) && !reference {
                    out.push(inside(&span, inner));
                } else {
                    let place = inside(&span, inner);
                    let text = text.get(place.clone()).unwrap_or_default();
                    let found = credentials(text).into_iter().chain(query(text)).chain(stray(text));
                    out.extend(found.map(|r| place.start + r.start..place.start + r.end));
                }
                // An armed value disarms, unless a colon follows: then it was a key after all.
                top.armed = is_secret_key(word) && (is_key || !top.armed);
                keys = word == "keys";
            }
        }
    }
    out
}

/// The span without its quotes.
fn inside(span: &Range<usize>, text: &str) -> Range<usize> {
    let quoted = |c: Option<char>| usize::from(matches!(c, Some('"' | '\'')));
    let start = span.start + quoted(text.chars().next());
    let end = span.end - quoted(text.chars().next_back());
    start..end.max(start)
}

/// `user:password` of a URL.
fn credentials(word: &str) -> Option<Range<usize>> {
    let start = word.find("://")? + 3;
    // Not only in the authority: a password may hold a `/` that should have been %2F.
    Some(start..start + word.get(start..)?.rfind('@')?)
}

/// The query of a URL, or what looks like a key in that of a path.
fn query(word: &str) -> Vec<Range<usize>> {
    let Some((path, all)) = word.split_once('?') else { return Vec::new() };
    let mut at = path.len() + 1;
    let mut out = Vec::new();
    if path.contains("://") {
        out.push(at..word.len());
        return out;
    }
    for part in all.split('&') {
        if let Some((name, _)) = part.split_once('=')
            && is_secret_key(name)
        {
            out.push(at + name.len() + 1..at + part.len());
        }
        at += part.len() + 1;
    }
    out
}

/// A key by its looks, wherever it was pasted.
fn stray(word: &str) -> Option<Range<usize>> {
    (word.starts_with("sk-") && word.len() >= 20).then_some(0..word.len())
}

enum Token {
    /// True: an object, not a list.
    Open(bool),
    Close,
    Comma,
    /// A string or anything that is not punctuation.
    Word(Range<usize>),
}

/// Cuts any text into tokens, well-formed or not. A line's end ends a string.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn before_colon(&self) -> bool {
        self.rest().trim_start().starts_with(':')
    }

    fn next(&mut self) -> Option<Token> {
        loop {
            let c = self.rest().chars().next()?;
            let start = self.at;
            self.at += c.len_utf8();
            return Some(match c {
                '{' | '[' => Token::Open(c == '{'),
                '}' | ']' => Token::Close,
                ',' => Token::Comma,
                ':' => continue,
                c if c.is_whitespace() || c == '\u{feff}' => continue,
                quote @ ('"' | '\'') => {
                    self.string(quote);
                    Token::Word(start..self.at)
                }
                _ => {
                    let end = |c: char| matches!(c, '{' | '}' | '[' | ']' | ',' | '"') || c.is_whitespace();
                    let rest = self.rest();
                    // A colon ends a bare key, but not the word `http://…`.
                    let len = rest
                        .char_indices()
                        .find(|(i, c)| {
                            end(*c) || (*c == ':' && !rest.get(*i..).unwrap_or("").starts_with("://"))
                        })
                        .map_or(rest.len(), |(i, _)| i);
                    self.at += len;
                    Token::Word(start..self.at)
                }
            });
        }
    }

    fn string(&mut self, quote: char) {
        let mut escaped = false;
        let mut len = 0;
        for c in self.rest().chars() {
            if c == '\n' {
                break;
            }
            len += c.len_utf8();
            if c == quote && !escaped {
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        self.at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        (1..=text.lines().count()).map(|n| masked_line(text, n)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn keys_are_masked() {
        let text = "{\n \"ak\": \"sesam\", \"port\": 1,\n \"api_key\":\n  \"geh\\\"eim\",\n \"id\": \"x\",\n \"headers\": {\"X-A\": \"eins\", \"b\": \"zwei\"}, \"api_keys\": [\"k1\",\n\"k2\"], \"host\": \"h\"}";
        let shown = all(text);
        for secret in ["sesam", "geh", "eim", "eins", "zwei", "k1", "k2"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for plain in ["\"ak\"", "\"port\": 1", "\"id\": \"x\"", "X-A", "\"host\": \"h\""] {
            assert!(shown.contains(plain), "{plain} in {shown}");
        }
        assert_eq!(masked_line(text, 2), " \"ak\": \"•••••\", \"port\": 1,");
    }

    #[test]
    fn references_are_shown_and_credentials_are_not() {
        assert_eq!(all("{\"api_key\": \"${KEY}\"}"), "{\"api_key\": \"${KEY}\"}");
        assert!(!all("{\"api_key\": \"${KEY}tail\"}").contains("tail"));
        assert_eq!(all("{\"base_url\": \"https://u:pw@h/v1\"}"), "{\"base_url\": \"https://••••@h/v1\"}");
    }

    #[test]
    fn queries_and_stray_keys_are_masked() {
        assert_eq!(all("{\"base_url\": \"https://h/v1?key=pw\"}"), "{\"base_url\": \"https://h/v1?••••••\"}");
        assert_eq!(
            all("{\"completions_path\": \"/x?api-version=1&api-key=pw&y=2\"}"),
            "{\"completions_path\": \"/x?api-version=1&api-key=••&y=2\"}"
        );
        assert!(!all("{\"name\": \"sk-0123456789abcdefghij\"}").contains("0123"));
        assert_eq!(all("{\"id\": \"sk-model?\"}"), "{\"id\": \"sk-model?\"}");
    }

    #[test]
    fn of_the_keys_of_clients_only_the_keys_are_masked() {
        let text = "{\"keys\": [{\"name\": \"alice\", \"key\": \"geheim\", \"models\": [\"glm*\"]}, {\"key_sha256\": \"c0ffee\", \"budget\": 20}, \"stray\"]}";
        let shown = all(text);
        for secret in ["geheim", "c0ffee", "stray"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for plain in ["\"alice\"", "glm*", "20", "key_sha256"] {
            assert!(shown.contains(plain), "{plain} in {shown}");
        }
        // Elsewhere nothing is known of what stands in it.
        assert!(!all("{\"api_keys\": [{\"name\": \"geheim\"}]}").contains("geheim"));
        assert!(!all("{\"keys\": {\"name\": \"geheim\"}}").contains("geheim"));
    }

    #[test]
    fn broken_files_keep_their_secrets() {
        for text in [
            "{\"api_key\": \"sk-1234\n, \"port\": 1}",
            "{\"api_key\" \"sk-1234\"}",
            "{api_key: sk-1234}",
            "{'api_key': 'sk-1234'}",
            "{\"api_key\": sk-1234",
            "{\"apikey\": \"sk-1234\"}",
            "{\"api_kye\": \"sk-1234\"}",
            "{\"API-KEY\": [{\"a\": \"sk-1234\"}]}",
            "}}{\"api_key\": \"sk-1234\"}",
            "{\"headers\": {\"a\": \"sk-1234\"",
        ] {
            let shown = all(text);
            assert!(!shown.contains("1234"), "{shown}");
        }
    }
}
