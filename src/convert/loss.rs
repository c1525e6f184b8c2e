//! What a conversion could not carry over, or only changed.

/// One thing that was dropped or degraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Where it stood: `messages[3].content[1]`, `temperature`.
    pub path: String,
    /// A short token for the `x-claude-proxy-warnings` header: `dropped:image`,
    /// `degraded:tool_choice`, `dropped_block:TYPE`.
    pub token: String,
}

/// The losses of one conversion, in the order in which they came up. Bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    list: Vec<Loss>,
    /// Losses beyond [`Losses::MAX`]: counted, not kept.
    more: usize,
}

impl Losses {
    /// More than this many are only counted, unless their token is new.
    pub const MAX: usize = 256;
    /// More than this many are only counted.
    const MAX_WITH_NEW_TOKENS: usize = 2 * Self::MAX;

    /// Notes a loss. `token` may hold text from outside: only `[A-Za-z0-9._:-]` of it is kept.
    pub fn add(&mut self, path: impl FnOnce() -> String, token: &str) {
        if self.list.len() >= Self::MAX_WITH_NEW_TOKENS {
            self.more += 1;
            return;
        }
        let token: String = token
            .chars()
            .take(80)
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-') { c } else { '_' })
            .collect();
        if self.list.len() >= Self::MAX && self.list.iter().any(|l| l.token == token) {
            self.more += 1;
            return;
        }
        self.list.push(Loss { path: path(), token });
    }

    /// Nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Every loss with its place.
    pub fn iter(&self) -> std::slice::Iter<'_, Loss> {
        self.list.iter()
    }

    /// How many were counted but not kept.
    pub fn uncounted(&self) -> usize {
        self.more
    }

    /// The tokens, each once, in order: the value of `x-claude-proxy-warnings`.
    pub fn tokens(&self) -> Vec<&str> {
        let mut out: Vec<&str> = Vec::new();
        for loss in &self.list {
            if !out.contains(&loss.token.as_str()) {
                out.push(&loss.token);
            }
        }
        out
    }

    /// Adds what another conversion of the same exchange lost.
    pub fn extend(&mut self, other: Self) {
        self.more += other.more;
        for loss in other.list {
            if self.list.len() < Self::MAX {
                self.list.push(loss);
            } else {
                self.more += 1;
            }
        }
    }
}

impl<'a> IntoIterator for &'a Losses {
    type Item = &'a Loss;
    type IntoIter = std::slice::Iter<'a, Loss>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_tokens_are_kept_when_the_list_is_full() {
        let mut losses = Losses::default();
        for _ in 0..2 * Losses::MAX {
            losses.add(|| "messages[0]".into(), "dropped:thinking");
        }
        losses.add(|| "top_k".into(), "dropped:top_k");
        assert_eq!(losses.tokens(), ["dropped:thinking", "dropped:top_k"]);
        assert_eq!(losses.uncounted(), Losses::MAX);
        for n in 0..2 * Losses::MAX {
            losses.add(String::new, &format!("dropped_block:{n}"));
        }
        assert_eq!(losses.iter().len(), Losses::MAX_WITH_NEW_TOKENS);
    }
}
