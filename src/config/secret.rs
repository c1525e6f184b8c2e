//! Keys that never show themselves.

/// No key at all.
pub(super) static NONE: Secret = Secret(String::new());

/// A key. Its `Debug` and `Display` never show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself: only for the header that carries it and for comparison.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Blots the key out of a text that somebody else wrote, where they repeated it.
    pub fn blot(&self, text: &mut String) {
        // A shorter one is no secret worth the name, and may be a word of the text.
        if self.0.len() >= 8 && text.contains(&self.0) {
            *text = text.replace(&self.0, "[key]");
        }
    }

    /// No key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_blotted_out() {
        let mut text = "Incorrect API key provided: sk-0123456789.".to_owned();
        Secret::new("sk-0123456789").blot(&mut text);
        assert_eq!(text, "Incorrect API key provided: [key].");
        Secret::new("").blot(&mut text);
        Secret::new("key").blot(&mut text);
        assert_eq!(text, "Incorrect API key provided: [key].");
    }
}
