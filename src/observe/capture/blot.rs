//! Keys out of bodies, piece by piece.

use memchr::memmem::Finder;

/// What stands in their place; the same as in error messages.
const BLOT: &[u8] = b"[key]";
/// A shorter one is no secret worth the name, and may be a word of the text.
const SHORTEST: usize = 8;

/// The words that must not be written. Its `Debug` does not show them.
pub(super) struct Blot {
    words: Vec<String>,
    finders: Vec<Finder<'static>>,
}

impl std::fmt::Debug for Blot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blot({})", self.finders.len())
    }
}

impl Blot {
    /// For these words, as they are and as JSON writes them.
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut blot = Self { words: Vec::new(), finders: Vec::new() };
        blot.add(secrets);
        blot
    }

    /// For these words too.
    pub(super) fn add(&mut self, secrets: impl IntoIterator<Item = String>) {
        let words = &mut self.words;
        for secret in secrets.into_iter().filter(|s| s.len() >= SHORTEST) {
            let escaped = serde_json::to_string(&secret).unwrap_or_default();
            words.push(escaped.trim_matches('"').to_owned());
            words.push(secret);
        }
        // Where one begins with another, the longer one goes first.
        words.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        words.dedup();
        self.finders = words.iter().map(|w| Finder::new(w.as_bytes()).into_owned()).collect();
    }

    /// Moves what is certain from `held` to `out`, without the words. What may be the beginning
    /// of one stays in `held`, unless nothing follows (`last`).
    pub(super) fn pass(&self, held: &mut Vec<u8>, last: bool, out: &mut Vec<u8>) {
        let mut from = 0;
        loop {
            let rest = held.get(from..).unwrap_or_default();
            let found = self
                .finders
                .iter()
                .filter_map(|f| f.find(rest).map(|at| (at, f.needle().len())))
                .min_by_key(|(at, len)| (*at, std::cmp::Reverse(*len)));
            let Some((at, len)) = found else { break };
            out.extend_from_slice(rest.get(..at).unwrap_or_default());
            out.extend_from_slice(BLOT);
            from += at + len;
        }
        let rest = held.get(from..).unwrap_or_default();
        let keep = if last { 0 } else { self.begun(rest) };
        out.extend_from_slice(rest.get(..rest.len() - keep).unwrap_or_default());
        held.drain(..held.len() - keep);
    }

    /// How many bytes at the end may be the beginning of a word.
    fn begun(&self, text: &[u8]) -> usize {
        let longest = |needle: &[u8]| {
            let most = (needle.len() - 1).min(text.len());
            (1..=most).rev().find(|n| needle.get(..*n).is_some_and(|head| text.ends_with(head)))
        };
        self.finders.iter().filter_map(|f| longest(f.needle())).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blotted(pieces: &[&str]) -> String {
        let blot =
            Blot::new(["sk-0123456789", "sk-0123456789-longer", "short", "with\"quote"].map(String::from));
        let (mut held, mut out) = (Vec::new(), Vec::new());
        for (n, piece) in pieces.iter().enumerate() {
            held.extend_from_slice(piece.as_bytes());
            blot.pass(&mut held, n + 1 == pieces.len(), &mut out);
        }
        assert!(held.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_go_wherever_they_are_cut() {
        let text = "a sk-0123456789 b sk-0123456789-longer c short {\"k\":\"with\\\"quote\"} sk-01";
        let want = "a [key] b [key] c short {\"k\":\"[key]\"} sk-01";
        assert_eq!(blotted(&[text]), want);
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            // A key that is the beginning of another is replaced as soon as it is whole.
            assert_eq!(blotted(&[head, tail]).replace("[key]-longer", "[key]"), want, "{at}");
        }
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(blotted(&letters).replace("[key]-longer", "[key]"), want);
        assert_eq!(blotted(&[""]), "");
    }

    #[test]
    fn nothing_is_held_back_without_keys() {
        let blot = Blot::new([]);
        let (mut held, mut out) = (b"abc".to_vec(), Vec::new());
        blot.pass(&mut held, false, &mut out);
        assert_eq!(out, b"abc");
        let mut blot = blot;
        blot.add(["sk-0123456789".to_owned()]);
        blot.add(["sk-9876543210".to_owned(), "sk-0123456789".to_owned()]);
        let (mut held, mut out) = (b"sk-0123456789 sk-9876543210".to_vec(), Vec::new());
        blot.pass(&mut held, true, &mut out);
        assert_eq!(out, b"[key] [key]");
        assert!(!format!("{:?}", Blot::new(["sk-0123456789".to_owned()])).contains("sk-"));
    }
}
