//! What a page is, and its text.

use bytes::Bytes;
use url::Url;

use super::error::{Code, WebError};
use super::{charset, html, text, unpack};

/// Most bytes of a page, as they come and expanded.
pub(super) const MAX_PAGE: usize = 10 << 20;
/// Tokens of text that are kept if the request does not say; about 100 kB of English.
const TOKENS: u64 = 25_000;
/// Most tokens that a request may ask for.
const MAX_TOKENS: u64 = 200_000;

/// A page that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it was in the end, after redirects.
    pub url: String,
    /// Of the page itself, on one line.
    pub title: Option<String>,
    /// What it says.
    pub content: Content,
    /// When, as RFC 3339 has it.
    pub retrieved_at: String,
}

/// What a page says.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// `text/plain`: text as it was, or Markdown that was made of HTML. Cut to the tokens that
    /// were asked for, which its last line then says.
    Text(String),
    /// `application/pdf`, whole.
    Pdf(Bytes),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Pdf(bytes) => write!(f, "Pdf({} bytes)", bytes.len()),
        }
    }
}

/// What a body is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Text,
    Pdf,
    /// Its first bytes tell.
    Unknown,
}

impl Kind {
    /// By its `content-type`; none: there is no header.
    ///
    /// # Errors
    /// Neither text nor PDF.
    pub(super) fn of(media_type: Option<&str>) -> Result<Self, WebError> {
        let Some(media_type) = media_type else { return Ok(Self::Unknown) };
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/').unwrap_or((&essence, ""));
        let subtype_is_text = matches!(
            subtype,
            "json"
                | "xml"
                | "javascript"
                | "ecmascript"
                | "yaml"
                | "x-yaml"
                | "toml"
                | "x-ndjson"
                | "jsonl"
                | "sql"
                | "graphql"
                | "x-sh"
                | "x-tex"
                | "x-httpd-php"
                | "rtf"
        ) || subtype.ends_with("+json")
            || subtype.ends_with("+xml")
            || subtype.ends_with("+yaml");
        match (kind, subtype) {
            ("text", "html") | ("application", "xhtml+xml") => Ok(Self::Html),
            ("text", _) => Ok(Self::Text),
            ("application", "pdf" | "x-pdf") => Ok(Self::Pdf),
            ("application", "octet-stream" | "binary") | ("binary", "octet-stream") => Ok(Self::Unknown),
            ("application", _) if subtype_is_text => Ok(Self::Text),
            _ if essence.is_empty() => Ok(Self::Unknown),
            _ => Err(unsupported(&essence)),
        }
    }

    /// What the bytes look like, if nobody said.
    fn sniff(self, bytes: &[u8]) -> Result<Self, WebError> {
        if self != Self::Unknown {
            return Ok(self);
        }
        let start = bytes.get(..1024).unwrap_or(bytes);
        if start.starts_with(b"%PDF-") {
            return Ok(Self::Pdf);
        }
        let marked = encoding_rs::Encoding::for_bom(start).is_some();
        let binary = |b: &u8| matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
        if !marked && start.iter().any(binary) {
            return Err(unsupported("bytes of an unknown kind"));
        }
        let text = start.trim_ascii_start();
        let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|t| t.eq_ignore_ascii_case(with));
        let is_html = [&b"<!doctype html"[..], b"<html", b"<head", b"<body"].into_iter().any(begins);
        Ok(if is_html { Self::Html } else { Self::Text })
    }
}

fn unsupported(what: &str) -> WebError {
    let what: String = what.chars().filter(|c| !c.is_control()).take(60).collect();
    WebError::new(Code::UnsupportedContentType, format!("it is {what}, neither text nor PDF"))
}

/// A body that came.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// It goes on beyond [`MAX_PAGE`].
    pub(super) cut: bool,
    pub(super) encoding: Option<String>,
    pub(super) kind: Kind,
    /// The header's charset.
    pub(super) charset: Option<String>,
    pub(super) base: Url,
    /// `max_content_tokens`.
    pub(super) tokens: Option<u64>,
}

impl Body {
    /// Title and content. May take a while: not for a thread that has other things to do.
    ///
    /// # Errors
    /// It cannot be expanded, is a PDF that did not fit, or neither text nor PDF.
    pub(super) fn read(self) -> Result<(Option<String>, Content), WebError> {
        let (mut bytes, mut cut) = (self.bytes, self.cut);
        if let Some(encoding) = &self.encoding {
            if cut {
                return Err(too_large());
            }
            let (expanded, whole) = unpack::unpack(&bytes, encoding, MAX_PAGE)?;
            (bytes, cut) = (expanded.into(), !whole);
        }
        let kind = self.kind.sniff(&bytes)?;
        if kind == Kind::Pdf {
            return if cut { Err(too_large()) } else { Ok((None, Content::Pdf(bytes))) };
        }
        let decoded = charset::decode(&bytes, self.charset.as_deref(), kind == Kind::Html);
        drop(bytes);
        let (title, mut text) = if kind == Kind::Html {
            let converted = html::text(&decoded, &self.base);
            cut |= converted.cut;
            (converted.title, converted.text)
        } else {
            (None, text::visible(&decoded).into_owned())
        };
        cut |= !text::cut(&mut text, self.tokens.unwrap_or(TOKENS).min(MAX_TOKENS));
        if cut {
            text.push_str("\n\n[The page goes on; the rest was cut off.]");
        }
        text.shrink_to_fit();
        Ok((title, Content::Text(text)))
    }
}

fn too_large() -> WebError {
    WebError::new(Code::UrlNotAccessible, format!("it is larger than {} MiB", MAX_PAGE >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (media_type, kind) in [
            ("text/html; charset=x", Some(Kind::Html)),
            ("TEXT/HTML", Some(Kind::Html)),
            ("application/xhtml+xml", Some(Kind::Html)),
            ("text/plain", Some(Kind::Text)),
            ("text/markdown", Some(Kind::Text)),
            ("application/json", Some(Kind::Text)),
            ("application/ld+json", Some(Kind::Text)),
            ("application/rss+xml", Some(Kind::Text)),
            ("application/pdf", Some(Kind::Pdf)),
            ("application/octet-stream", Some(Kind::Unknown)),
            ("", Some(Kind::Unknown)),
            ("image/png", None),
            ("image/svg+xml", None),
            ("application/zip", None),
            ("video/mp4", None),
            ("nonsense", None),
        ] {
            assert_eq!(Kind::of(Some(media_type)).ok(), kind, "{media_type}");
        }
        for (bytes, kind) in [
            (&b"%PDF-1.7 ..."[..], Some(Kind::Pdf)),
            (b" \n<!DOCTYPE html><p>", Some(Kind::Html)),
            (b"<HTML>", Some(Kind::Html)),
            (b"hello", Some(Kind::Text)),
            (b"\xff\xfeh\0i\0", Some(Kind::Text)),
            (b"", Some(Kind::Text)),
            (b"\x7fELF\x02\x01\x01\0", None),
            (b"PK\x03\x04", None),
        ] {
            assert_eq!(Kind::Unknown.sniff(bytes).ok(), kind, "{bytes:?}");
        }
        assert_eq!(Kind::Text.sniff(b"%PDF-1.7").unwrap(), Kind::Text);
    }
}
