//! From the bytes of a PDF to text, page by page. No limits of time and memory here: see
//! [`super::child`].

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pdfboss_core::{Document, Error};
use pdfboss_output::extract_text_reporting_cached;
use pdfboss_text::{FontCache, ReadingOrder};

use super::{MAX_CHARS, MAX_PAGES};

/// Why nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sealed {
    NoPdf,
    Password,
}

/// Writes the text, each page as soon as it is read.
///
/// # Errors
/// Only what `out` fails with.
pub(super) fn text(pdf: Vec<u8>, out: &mut dyn Write) -> io::Result<Result<(), Sealed>> {
    let document = match catch_unwind(|| Document::load(pdf)) {
        Ok(Ok(document)) => document,
        Ok(Err(Error::Encrypted)) => return Ok(Err(Sealed::Password)),
        Ok(Err(_)) | Err(_) => return Ok(Err(Sealed::NoPdf)),
    };
    let count = catch_unwind(AssertUnwindSafe(|| document.page_count())).unwrap_or_default();
    if count == 0 {
        return Ok(Err(Sealed::NoPdf));
    }
    let fonts = FontCache::default();
    let mut left = MAX_CHARS;
    // What stands before the first page with text: written once there is one.
    let mut head = format!("[PDF of {count} {}: its text, without pictures and layout]", pages(count));
    let mut empty = true;
    for index in 0..count.min(MAX_PAGES) {
        let read = catch_unwind(AssertUnwindSafe(|| {
            let page = document.page(index)?;
            extract_text_reporting_cached(&document, &page, &fonts, ReadingOrder::default())
        }));
        let (text, whole) = match read {
            Ok(Ok((text, report))) => (clean(&text), report.is_complete()),
            Ok(Err(_)) | Err(_) => (String::new(), false),
        };
        let note = match (text.is_empty(), whole) {
            (true, true) => "\n[no text]",
            (true, false) => "\n[cannot be read]",
            (false, true) => "",
            (false, false) => "\n[part of this page cannot be read]",
        };
        empty &= text.is_empty() && whole;
        head.push_str("\n\n[page ");
        head.push_str(&(index + 1).to_string());
        head.push(']');
        if !text.is_empty() {
            head.push('\n');
        }
        let (kept, cut) = within(&text, left);
        left -= kept.chars().count();
        if !empty {
            write!(out, "{head}{kept}")?;
            head.clear();
        }
        if cut {
            write!(
                out,
                "\n[cut off here: the text is longer than {MAX_CHARS} characters; PDF of {count} {}]",
                pages(count)
            )?;
            return Ok(Ok(()));
        }
        if empty {
            head.push_str(note);
        } else {
            write!(out, "{note}")?;
        }
        out.flush()?;
    }
    if empty {
        write!(
            out,
            "[PDF of {count} {} without any text: scanned, perhaps. What its pages show cannot be read here.]",
            pages(count)
        )?;
    } else if count > MAX_PAGES {
        write!(out, "\n\n[pages {} to {count} are left out]", MAX_PAGES + 1)?;
    }
    Ok(Ok(()))
}

fn pages(count: usize) -> &'static str {
    if count == 1 { "page" } else { "pages" }
}

/// Without control characters, which no text has, and white space at the ends.
fn clean(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// At most that many characters of it, and whether there are more.
fn within(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().nth(most) {
        Some((at, _)) => (text.get(..at).unwrap_or_default(), true),
        None => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, Page};
    use super::*;

    fn read(pdf: Vec<u8>) -> Result<String, Sealed> {
        let mut out = Vec::new();
        text(pdf, &mut out).unwrap().map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn pages_are_marked() {
        let pdf = samples::pdf(&[Page::Text("Hello PDF"), Page::Blank, Page::Text("Third")]);
        let want = "[PDF of 3 pages: its text, without pictures and layout]\n\n[page 1]\nHello PDF\n\n[page 2]\n[no text]\n\n[page 3]\nThird";
        assert_eq!(read(pdf).unwrap(), want);
        let late = samples::pdf(&[Page::Blank, Page::Text("Second")]);
        let want = "[PDF of 2 pages: its text, without pictures and layout]\n\n[page 1]\n[no text]\n\n[page 2]\nSecond";
        assert_eq!(read(late).unwrap(), want);
    }

    #[test]
    fn what_has_no_text_says_so() {
        let told = read(samples::pdf(&[Page::Blank])).unwrap();
        assert!(told.starts_with("[PDF of 1 page without any text: scanned"), "{told}");
    }

    #[test]
    fn pages_and_characters_are_capped() {
        let many: Vec<_> = (0..MAX_PAGES + 2).map(|_| Page::Text("x")).collect();
        let told = read(samples::pdf(&many)).unwrap();
        assert!(told.ends_with("[page 100]\nx\n\n[pages 101 to 102 are left out]"), "{told}");
        let full = samples::lines(&"word ".repeat(12), 600);
        let told = read(samples::pdf(&[Page::Content(&full); 12])).unwrap();
        assert!(told.ends_with("characters; PDF of 12 pages]"), "{:?}", told.lines().last());
        assert!((MAX_CHARS..MAX_CHARS + 400).contains(&told.chars().count()), "{}", told.len());
    }

    #[test]
    fn what_is_broken_is_read_all_the_same() {
        let whole = samples::pdf(&[Page::Text("First"), Page::Text("Second")]);
        let text = String::from_utf8_lossy(&whole).into_owned();
        let (before, _) = text.rsplit_once("startxref").unwrap();
        let lost = format!("{before}startxref\n99999999\n%%EOF\n").into_bytes();
        assert!(read(lost).unwrap().contains("[page 2]\nSecond"));
        for n in 0..whole.len() {
            // Cut anywhere: no panic comes out of it.
            let _ = read(whole[..n].to_vec());
        }
    }

    #[test]
    fn what_is_no_pdf_is_none() {
        for odd in [&b""[..], b"%PDF-1.7\n", b"PK\x03\x04zip", &[0xff; 3000]] {
            assert_eq!(read(odd.to_vec()), Err(Sealed::NoPdf));
        }
        assert_eq!(read(samples::locked()), Err(Sealed::Password));
    }
}
