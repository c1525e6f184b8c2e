//! Compressed bodies, from servers that send them although nobody asked.

use std::io::Read as _;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::error::{Code, WebError};

/// Expands a body to at most `most` bytes; whether that is all of it.
///
/// # Errors
/// The encoding is neither gzip nor deflate, or the bytes are not of it.
pub(super) fn unpack(bytes: &[u8], encoding: &str, most: usize) -> Result<(Vec<u8>, bool), WebError> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => expand(MultiGzDecoder::new(bytes), most),
        // With zlib's frame, as it should be, or without, as some have it.
        "deflate" => {
            expand(ZlibDecoder::new(bytes), most).or_else(|_| expand(DeflateDecoder::new(bytes), most))
        }
        other => {
            let detail = format!("it is compressed by `{other}`, although that was not asked for");
            Err(WebError::new(Code::UnsupportedContentType, detail))
        }
    }
}

fn expand(from: impl std::io::Read, most: usize) -> Result<(Vec<u8>, bool), WebError> {
    let mut out = Vec::new();
    let limit = (most as u64).saturating_add(1);
    from.take(limit).read_to_end(&mut out).map_err(|e| {
        WebError::new(Code::UrlNotAccessible, format!("its compressed body cannot be expanded: {e}"))
    })?;
    let whole = out.len() <= most;
    out.truncate(most);
    Ok((out, whole))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn expands_and_stops() {
        let text = b"hello hello hello".repeat(10);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        for (bytes, encoding) in [
            (gzip.clone(), "gzip"),
            (gzip.clone(), " X-GZIP "),
            (zlib.finish().unwrap(), "deflate"),
            (raw.finish().unwrap(), "deflate"),
        ] {
            assert_eq!(unpack(&bytes, encoding, 1000), Ok((text.clone(), true)), "{encoding}");
            assert_eq!(unpack(&bytes, encoding, 5), Ok((b"hello".to_vec(), false)), "{encoding}");
        }
        let half = &gzip[..gzip.len() / 2];
        assert_eq!(unpack(half, "gzip", 1000).unwrap_err().code, Code::UrlNotAccessible);
        assert_eq!(unpack(b"no", "gzip", 1000).unwrap_err().code, Code::UrlNotAccessible);
        assert_eq!(unpack(&gzip, "br", 1000).unwrap_err().code, Code::UnsupportedContentType);
        assert_eq!(unpack(&gzip, "gzip, gzip", 1000).unwrap_err().code, Code::UnsupportedContentType);
    }

    #[test]
    fn a_bomb_is_left_alone() {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..200 {
            bomb.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 300_000);
        let (out, whole) = unpack(&bomb, "gzip", 1 << 20).unwrap();
        assert!(out.len() == 1 << 20 && out.capacity() < 4 << 20 && !whole);
    }
}
