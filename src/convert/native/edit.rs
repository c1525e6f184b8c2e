//! Changes at places of a JSON text; every other byte stays.

use std::borrow::Cow;
use std::ops::Range;

use crate::wire::anthropic::outline::List;

/// Changes to one text, none overlapping another.
#[derive(Debug, Default)]
pub(in crate::convert) struct Edits<'a>(Vec<(Range<usize>, Cow<'a, str>)>);

impl<'a> Edits<'a> {
    pub(in crate::convert) fn replace(&mut self, at: Range<usize>, with: impl Into<Cow<'a, str>>) {
        self.0.push((at, with.into()));
    }

    /// Takes items out of a list or object; what is left is one still. `gone` are their indexes,
    /// in order.
    pub(in crate::convert) fn remove<T>(&mut self, text: &str, list: &List<T>, gone: &[usize]) {
        let mut gone = gone.iter().copied().peekable();
        if gone.peek().is_none() {
            return;
        }
        let (mut start, mut leading) = (list.start, true);
        for (n, end) in list.ends.iter().enumerate() {
            if gone.next_if_eq(&n).is_some() {
                self.replace(start..*end, "");
            } else if std::mem::replace(&mut leading, false) && n > 0 {
                // The first that stays has no comma before it.
                let rest = text.get(start..*end).unwrap_or_default();
                let comma = rest.find(',').map_or(0, |at| at + 1);
                self.replace(start..start + comma, "");
            }
            if gone.peek().is_none() && !leading {
                return;
            }
            start = *end;
        }
    }

    /// The text with every change made.
    pub(in crate::convert) fn apply(mut self, text: &str) -> Vec<u8> {
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
        let list: List<()> = List { start: 1, ends: vec![3, 11, 17, 26], marks: Vec::new() };
        let without = |gone: &[usize]| {
            let mut edits = Edits::default();
            let gone: Vec<usize> = gone.iter().map(|n| n - 1).collect();
            edits.remove(text, &list, &gone);
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
            let gone: Vec<usize> = (1..=4).filter(|n| mask & (1 << (n - 1)) != 0).collect();
            let left: Vec<serde_json::Value> = serde_json::from_str(&without(&gone)).unwrap();
            assert_eq!(left.len(), 4 - gone.len(), "{gone:?}");
        }
    }
}
