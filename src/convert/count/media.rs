//! What images and PDFs count: by their size, which stands in the file.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// What a media part counts when its size is not known, in tokens; also the most that one
/// image counts, since larger ones are scaled down.
///
/// Source: Anthropic documentation, "Vision", image costs.
pub(super) const MEDIA_TOKENS: u64 = 1600;
/// Tokens of a PDF page, about. Source: Anthropic documentation, "PDF support".
const PAGE_TOKENS: u64 = 2000;

/// Lenient at the end: only a beginning may be decoded.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes behind a `data:` URL, at most about `most` of them.
fn data_of(url: &str, most: usize) -> Option<Vec<u8>> {
    let data = url.strip_prefix("data:")?.split_once(";base64,")?.1.as_bytes();
    let cut = data.len().min(most / 3 * 4);
    BASE64.decode(data.get(..cut - cut % 4)?).ok()
}

/// An image's, by its size.
pub(super) fn image_tokens(url: &str) -> u64 {
    // The size stands near the beginning; a JPEG may carry a preview before it.
    let size = data_of(url, 256 << 10).and_then(|bytes| imagesize::blob_size(&bytes).ok());
    size.map_or(MEDIA_TOKENS, |s| ((s.width * s.height) as u64 / 750).clamp(1, MEDIA_TOKENS))
}

/// A PDF's, by its pages.
pub(super) fn pdf_tokens(url: &str) -> u64 {
    let pages = data_of(url, 8 << 20).map_or(1, |bytes| {
        let all = memchr::memmem::find_iter(&bytes, b"/Type/Page").count()
            + memchr::memmem::find_iter(&bytes, b"/Type /Page").count();
        let trees = memchr::memmem::find_iter(&bytes, b"/Type/Pages").count()
            + memchr::memmem::find_iter(&bytes, b"/Type /Pages").count();
        all.saturating_sub(trees).max(1)
    });
    pages as u64 * PAGE_TOKENS
}
