//! What images and PDFs count: by their size, which stands in the file.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::convert::stand_in::{Kind, Medium};

/// What a media part counts when its size is not known, in tokens; also the most that one
/// image counts, since larger ones are scaled down.
///
/// Source: Anthropic documentation, "Vision", image costs.
pub(super) const MEDIA_TOKENS: u64 = 1600;
/// Tokens of a PDF page, about. Source: Anthropic documentation, "PDF support".
const PAGE_TOKENS: u64 = 2000;
/// Tokens of a description of an image, about.
const DESCRIPTION_TOKENS: u64 = 500;
/// Tokens of the text of a PDF page, about. Of more pages nothing is read.
const PAGE_TEXT_TOKENS: u64 = 600;
const MOST_PAGES: u64 = 100;
/// Of a longer PDF only the beginning is looked at, in bytes.
const MOST_OF_PDF: usize = 8 << 20;

/// Lenient at the end: only a beginning may be decoded.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes behind a `data:` URL, at most about `most` of them.
fn data_of(url: &str, most: usize) -> Option<Vec<u8>> {
    bytes_of(url.strip_prefix("data:")?.split_once(";base64,")?.1, most)
}

/// The bytes of base64, at most about `most` of them.
fn bytes_of(data: &str, most: usize) -> Option<Vec<u8>> {
    let data = data.as_bytes();
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
    data_of(url, MOST_OF_PDF).map_or(1, |bytes| pages(&bytes)) * PAGE_TOKENS
}

/// Pages of a PDF, about.
fn pages(pdf: &[u8]) -> u64 {
    let all = memchr::memmem::find_iter(pdf, b"/Type/Page").count()
        + memchr::memmem::find_iter(pdf, b"/Type /Page").count();
    let trees = memchr::memmem::find_iter(pdf, b"/Type/Pages").count()
        + memchr::memmem::find_iter(pdf, b"/Type /Pages").count();
    all.saturating_sub(trees).max(1) as u64
}

/// What will stand in for a medium counts, about, as long as nobody has made it.
pub fn stand_in_tokens(medium: &Medium<'_>) -> u64 {
    match medium.kind {
        Kind::Image | Kind::ImageUrl => DESCRIPTION_TOKENS,
        Kind::Pdf => {
            let pages = bytes_of(&medium.data.decode(), MOST_OF_PDF).map_or(1, |bytes| pages(&bytes));
            pages.min(MOST_PAGES) * PAGE_TEXT_TOKENS
        }
    }
}
