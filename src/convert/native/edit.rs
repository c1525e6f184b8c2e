//! Changes at places of a JSON text; every other byte stays.

use std::borrow::Cow;
use std::ops::Range;

use crate::wire::anthropic::outline::List;

/// Changes to one text, none overlapping another.
#[derive(Debug, Default)]
pub(super) struct Edits<'a>(Vec<(Range<usize>, Cow<'a, str>)>);

impl<'a> Edits<'a> {
    pub(super) fn replace(&mut self, at: Range<usize>, with: impl Into<Cow<'a, str>>) {
        self.0.push((at, with.into()));
    }

    /// Takes items out of a list or object; what is left is one still.
    pub(super) fn remove<T>(&mut self, text: &str, list: &List<T>, is_gone: impl Fn(usize, &T) -> bool) {
        let (mut start, mut leading) = (list.start, true);
        for (n, (item, end)) in list.items.iter().enumerate() {
            if is_gone(n, item) {
                self.replace(start..*end, "");
            } else if std::mem::replace(&mut leading, false) && n > 0 {
                // The first that stays has no comma before it.
                let rest = text.get(start..*end).unwrap_or_default();
                let comma = rest.find(',').map_or(0, |at| at + 1);
                self.replace(start..start + comma, "");
            }
            start = *end;
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all that came after the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// The text with every change made.
    pub(super) fn apply(mut self, text: &str) -> Vec<u8> {
        self.0.sort_by_key(|(at, _)| at.start);
        let more: usize = self.0.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(text.len() + more);
        let mut from = 0;
        for (at, with) in self.0 {
            out.extend_from_slice(text.get(from..at.start).unwrap_or_default().as_bytes());
            out.extend_from_slice(with.as_bytes());
            from = at.end;
        }
        out.extend_from_slice(text.get(from..).unwrap_or_default().as_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_a_list() {
        let text = "[ 1 , \"a,b\",[2,3] ,{\"k\":4}]";
        let list = List { start: 1, items: vec![(1, 3), (2, 11), (3, 17), (4, 26)] };
        let without = |gone: &[i32]| {
            let mut edits = Edits::default();
            edits.remove(text, &list, |_, item| gone.contains(item));
            String::from_utf8(edits.apply(text)).unwrap()
        };
        assert_eq!(without(&[]), text);
        assert_eq!(without(&[1]), "[ \"a,b\",[2,3] ,{\"k\":4}]");
        assert_eq!(without(&[2]), "[ 1,[2,3] ,{\"k\":4}]");
        assert_eq!(without(&[4]), "[ 1 , \"a,b\",[2,3]]");
        assert_eq!(without(&[1, 2]), "[[2,3] ,{\"k\":4}]");
        assert_eq!(without(&[1, 2, 3]), "[{\"k\":4}]");
        assert_eq!(without(&[1, 2, 3, 4]), "[]");
        for mask in 0..16 {
            let gone: Vec<i32> = (1..=4).filter(|n| mask & (1 << (n - 1)) != 0).collect();
            let left: Vec<serde_json::Value> = serde_json::from_str(&without(&gone)).unwrap();
            assert_eq!(left.len(), 4 - gone.len(), "{gone:?}");
        }
    }
}
