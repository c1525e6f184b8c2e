//! Writing JSON strings and numbers.

use super::scan::{each_quote_or_backslash, plain};

/// Appends `text` as the inside of a JSON string.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let (head, tail) = rest.split_at(plain(rest));
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

/// Escapes text that is valid JSON (no control characters inside its strings) for use
/// inside a JSON string.
pub(super) fn escape_json(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + bytes.len() / 8);
    let mut copied = 0;
    each_quote_or_backslash(bytes, |at| {
        out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
        out.push(b'\\');
        copied = at;
    });
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn escapes_each_quote_and_backslash(text in r#"([a-zé ]{0,40}|["\\]{0,3}){0,9}"#) {
            let mut out = Vec::new();
            escape_json(&text, &mut out);
            proptest::prop_assert_eq!(out, text.replace('\\', "\\\\").replace('"', "\\\"").into_bytes());
        }
    }
}
