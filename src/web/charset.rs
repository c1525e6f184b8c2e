//! From bytes to text, as browsers choose the encoding: a byte order mark, the header, what the
//! page says of itself; else UTF-8, and Windows-1252 for what is not UTF-8.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use html5gum::emitters::callback::CallbackEvent;

use super::html::events;

/// How much of a page is looked through for what it says of itself, in bytes.
const LOOKED: usize = 4096;

/// The text of a body; `label` is the header's charset.
pub(super) fn decode(bytes: &[u8], label: Option<&str>, is_html: bool) -> String {
    let said = || {
        let start = bytes.get(..LOOKED).unwrap_or(bytes);
        if is_html { declared(start) } else { prolog(start) }
    };
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let named = || label.and_then(|label| Encoding::for_label(label.as_bytes()));
    let chosen = marked.or_else(named).or_else(said);
    let chosen = chosen.unwrap_or_else(|| if looks_like_utf8(bytes) { UTF_8 } else { WINDOWS_1252 });
    chosen.decode(bytes).0.into_owned()
}

/// A character that was cut at the end of the bytes is no reason to doubt those before.
fn looks_like_utf8(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(e) => e.error_len().is_none() && !bytes.get(..e.valid_up_to()).unwrap_or_default().is_ascii(),
    }
}

/// `<meta charset=x>`, or `<meta http-equiv=content-type content="text/html; charset=x">`.
fn declared(start: &[u8]) -> Option<&'static Encoding> {
    let (mut in_meta, mut attribute) = (false, Vec::new());
    let found = events(start, |event| {
        match event {
            CallbackEvent::OpenStartTag { name } => in_meta = *name == b"meta",
            CallbackEvent::AttributeName { name } => {
                attribute.clear();
                attribute.extend_from_slice(name.get(..16).unwrap_or(name));
            }
            CallbackEvent::AttributeValue { value } if in_meta => match &*attribute {
                b"charset" => return Encoding::for_label(value),
                b"content" => {
                    return charset(std::str::from_utf8(value).ok()?)
                        .and_then(|label| Encoding::for_label(label.as_bytes()));
                }
                _ => {}
            },
            _ => {}
        }
        None
    })?;
    // Who could read this far did not read UTF-16.
    Some(if found == UTF_16BE || found == UTF_16LE { UTF_8 } else { found })
}

/// `<?xml version="1.0" encoding="x"?>`.
fn prolog(start: &[u8]) -> Option<&'static Encoding> {
    let start = start.get(..200).unwrap_or(start);
    let text = String::from_utf8_lossy(start.strip_prefix(b"<?xml")?).into_owned();
    let (inside, _) = text.split_once("?>")?;
    let (_, value) = inside.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let label = value.strip_prefix(quote)?.split(quote).next()?;
    Encoding::for_label(label.as_bytes())
}

/// The charset of a media type: `text/html; charset="utf-8"`.
pub(super) fn charset(media_type: &str) -> Option<&str> {
    let parameter = |part: &'_ str| -> Option<(usize, usize)> {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then_some((part.len() - value.len(), part.len()))
    };
    media_type.split(';').skip(1).find_map(|part| {
        let (from, to) = parameter(part)?;
        Some(part.get(from..to)?.trim().trim_matches(['"', '\'']).trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        let utf16 = |text: &str| {
            let units = [0xfeff].into_iter().chain(text.encode_utf16());
            units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>()
        };
        for (bytes, label, is_html, text) in [
            (&b"caf\xc3\xa9"[..], None, true, "café"),
            (b"caf\xe9", None, true, "café"),
            (b"\x80 5", None, false, "€ 5"),
            (b"\xc3\xa9 caf\xc3", None, true, "é caf\u{fffd}"),
            (b"caf\xc3\xa9", Some("utf-8"), true, "café"),
            (b"caf\xe9", Some("ISO-8859-1"), true, "café"),
            (b"caf\xc3\xa9", Some("nonsense"), true, "café"),
            (b"\xef\xbb\xbfcaf\xc3\xa9", Some("iso-8859-1"), true, "café"),
            (b"\xc4\xe3\xba\xc3", Some("gb2312"), true, "你好"),
            (b"\x93\xfa\x96\x7b", Some("shift_jis"), true, "日本"),
            (b"<meta charset=gbk>\xc4\xe3", None, true, "<meta charset=gbk>你"),
            (
                b"<META HTTP-EQUIV=x CONTENT='text/html; charset=koi8-r'>\xc1",
                None,
                true,
                "<META HTTP-EQUIV=x CONTENT='text/html; charset=koi8-r'>а",
            ),
            (b"<!-- <meta charset=gbk> -->\xe9", None, true, "<!-- <meta charset=gbk> -->é"),
            (
                b"<script>'<meta charset=gbk>'</script>\xe9",
                None,
                true,
                "<script>'<meta charset=gbk>'</script>é",
            ),
            (b"<meta charset=utf-16>\xc3\xa9", None, true, "<meta charset=utf-16>é"),
            (
                b"<?xml version='1.0' encoding='windows-1251'?>\xe4",
                None,
                false,
                "<?xml version='1.0' encoding='windows-1251'?>д",
            ),
            (b"<?xml version='1.0'?>\xe9", None, false, "<?xml version='1.0'?>é"),
            (b"", None, true, ""),
        ] {
            assert_eq!(decode(bytes, label, is_html), text, "{bytes:?} {label:?}");
        }
        assert_eq!(decode(&utf16("é模"), None, true), "é模");
    }

    #[test]
    fn charsets_of_headers() {
        for (value, label) in [
            ("text/html; charset=utf-8", Some("utf-8")),
            ("text/html;charset=\"UTF-8\"", Some("UTF-8")),
            ("text/html; x=y; Charset = 'a'; z", Some("a")),
            ("text/html", None),
            ("charset=a", None),
            ("text/html; charset", None),
        ] {
            assert_eq!(charset(value), label, "{value}");
        }
    }
}
