//! The process that reads one PDF.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::extract::{Sealed, text};

/// The one argument of the process. Not a command: nobody is to type it.
pub(super) const ARGUMENT: &str = "\u{1}read-pdf";
/// Ends an output that is whole.
pub(super) const WHOLE: u8 = 0;
/// Instead of a text: what stands there is no PDF.
pub(super) const NO_PDF: u8 = 1;
/// Instead of a text: it needs a password.
pub(super) const PASSWORD: u8 = 2;

/// Most memory that it may have, in bytes of address space. The library unpacks a stream to at
/// most 256 MiB; documents of hundreds of pages take 20 MB in all.
#[cfg(unix)]
const MEMORY: u64 = 512 << 20;
/// Longest that it may compute, in seconds, should nobody be there to end it.
#[cfg(unix)]
const CPU_SECONDS: u64 = 30;

/// Lenient as decoders of data URLs are: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether these are the arguments of a process that reads a PDF.
pub fn is_child(args: &[OsString]) -> bool {
    matches!(args, [_, argument] if argument == ARGUMENT)
}

/// Reads base64, as it stands in a JSON string, from standard input, and writes the PDF's text to
/// standard output.
///
/// # Errors
/// Nobody reads or writes at the other end.
pub fn child() -> io::Result<()> {
    limit();
    // Nobody looks at standard error; a page that panics is one that cannot be read.
    std::panic::set_hook(Box::new(|_| {}));
    let mut given = String::new();
    io::stdin().lock().read_to_string(&mut given)?;
    let mut out = io::stdout().lock();
    let end = match decode(&given) {
        Some(pdf) => {
            drop(given);
            match text(pdf, &mut out)? {
                Ok(()) => WHOLE,
                Err(Sealed::NoPdf) => NO_PDF,
                Err(Sealed::Password) => PASSWORD,
            }
        }
        None => NO_PDF,
    };
    out.write_all(&[end])?;
    out.flush()
}

/// The bytes behind the inside of a JSON string of base64, which may have line breaks.
fn decode(given: &str) -> Option<Vec<u8>> {
    let text: Cow<'_, str> = if given.contains('\\') {
        serde_json::from_str::<String>(&format!("\"{given}\"")).ok()?.into()
    } else {
        given.into()
    };
    if text.contains(char::is_whitespace) {
        let text: String = text.split_whitespace().collect();
        return BASE64.decode(text).ok();
    }
    BASE64.decode(text.as_bytes()).ok()
}

/// From here on this process can do little harm.
#[cfg(unix)]
fn limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    for (what, most) in [
        (Resource::As, MEMORY),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Core, 0),
        // It writes no file.
        (Resource::Fsize, 0),
    ] {
        // A limit that is lower already stays.
        let _ = setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) });
    }
    // If the machine's memory runs out, this one goes first.
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

#[cfg(not(unix))]
fn limit() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_json_has_it() {
        for given in ["JVBERi8/", "JVBERi8\\/", "JVBE\\nRi8/\\r\\n", "JVBE\\u0052i8/"] {
            assert_eq!(decode(given).as_deref(), Some(&b"%PDF/?"[..]), "{given}");
        }
        assert_eq!(decode("JVA").as_deref(), Some(&b"%P"[..]));
        assert_eq!(decode("!"), None);
        assert_eq!(decode("\\"), None);
    }

    #[test]
    fn nobody_types_that() {
        let args = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(is_child(&args(&["claude-proxy", ARGUMENT])));
        assert!(!is_child(&args(&["claude-proxy", "read-pdf"])));
        assert!(!is_child(&args(&["claude-proxy", "serve", ARGUMENT])));
    }
}
