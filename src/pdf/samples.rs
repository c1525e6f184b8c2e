//! PDF documents for tests.

use std::fmt::Write as _;
use std::io::Write as _;

/// A page of a sample.
#[derive(Debug, Clone, Copy)]
pub enum Page<'t> {
    /// One line of text, of letters without parentheses.
    Text(&'t str),
    /// Nothing.
    Blank,
    /// These operators.
    Content(&'t str),
    /// These operators that many times, packed.
    Packed(&'t str, usize),
}

/// That many lines of the same text.
pub fn lines(line: &str, count: usize) -> String {
    let mut out = "BT /F1 1 Tf 1 TL 72 700 Td\n".to_owned();
    for _ in 0..count {
        let _ = writeln!(out, "({line}) Tj T*");
    }
    out + "ET"
}

/// A document of these pages.
pub fn pdf(pages: &[Page<'_>]) -> Vec<u8> {
    let mut kids = String::new();
    let mut objects = Vec::new();
    for (n, page) in pages.iter().enumerate() {
        let (own, content) = (4 + 2 * n, 5 + 2 * n);
        let _ = write!(kids, "{own} 0 R ");
        objects.push((
            own,
            format!("<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {content} 0 R/Resources<</Font<</F1 3 0 R>>>>>>")
                .into_bytes(),
        ));
        let (dictionary, data) = match page {
            Page::Text(text) => ("", format!("BT /F1 24 Tf 72 700 Td ({text}) Tj ET").into_bytes()),
            Page::Blank => ("", Vec::new()),
            Page::Content(content) => ("", content.as_bytes().to_vec()),
            Page::Packed(operators, count) => ("/Filter/FlateDecode", packed(operators, *count)),
        };
        let mut stream = format!("<</Length {}{dictionary}>>stream\n", data.len()).into_bytes();
        stream.extend(data);
        stream.extend(b"\nendstream");
        objects.push((content, stream));
    }
    let pages = format!("<</Type/Pages/Kids[{kids}]/Count {}>>", pages.len());
    objects.push((1, b"<</Type/Catalog/Pages 2 0 R>>".to_vec()));
    objects.push((2, pages.into_bytes()));
    objects.push((3, b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_vec()));
    file(objects, "")
}

/// A document whose password nobody knows.
pub fn locked() -> Vec<u8> {
    let secret = "5a".repeat(32);
    let encrypt = format!("<</Filter/Standard/V 1/R 2/P -44/O<{secret}>/U<{secret}>>>");
    let objects = vec![
        (1, b"<</Type/Catalog/Pages 2 0 R>>".to_vec()),
        (2, b"<</Type/Pages/Kids[]/Count 0>>".to_vec()),
        (3, encrypt.into_bytes()),
    ];
    file(objects, "/Encrypt 3 0 R/ID[<00><00>]")
}

fn packed(operators: &str, count: usize) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    // Megabyte by megabyte: what it unpacks to may be more than there is room for.
    let some = operators.repeat((1 << 20) / operators.len());
    for _ in 0..count / (some.len() / operators.len()) {
        out.write_all(some.as_bytes()).unwrap();
    }
    out.finish().unwrap()
}

fn file(mut objects: Vec<(usize, Vec<u8>)>, trailer: &str) -> Vec<u8> {
    objects.sort_by_key(|(n, _)| *n);
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (n, object) in &objects {
        let _ = writeln!(table, "{:010} 00000 n ", out.len());
        out.extend(format!("{n} 0 obj").into_bytes());
        out.extend(object);
        out.extend(b"endobj\n");
    }
    let start = out.len();
    out.extend(table.into_bytes());
    let size = objects.len() + 1;
    out.extend(
        format!("trailer<</Size {size}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF\n").into_bytes(),
    );
    out
}
