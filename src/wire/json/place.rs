//! Strings and values by where they stand, to find them again in the same bytes elsewhere.

use std::ops::Range;

use super::{JsonStr, RawJson};

/// Where a string or a value stands in a text, and what was found out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    start: u32,
    len: u32,
    flags: u8,
}

/// What has a [`Place`] in the text that it was read from.
pub trait Placed<'a>: Sized {
    /// Its text, and what was found out about it.
    fn parts(self) -> (&'a str, u8);
    /// The same of a text.
    fn of_parts(text: &'a str, flags: u8) -> Self;
}

impl Place {
    /// The place of what was read from `text`, or none if it was read from another.
    pub fn of<'a>(part: impl Placed<'a>, text: &str) -> Option<Self> {
        let (part, flags) = part.parts();
        let place = place_in(part, text)?;
        Some(Self { start: place.start.try_into().ok()?, len: place.len().try_into().ok()?, flags })
    }

    /// What stands at this place of a text of the same bytes.
    pub fn in_text<'a, P: Placed<'a>>(self, text: &'a str) -> P {
        let (start, len) = (self.start as usize, self.len as usize);
        P::of_parts(text.get(start..start + len).unwrap_or_default(), self.flags)
    }
}

/// Where `part` stands in `text`, which it is a part of.
pub(super) fn place_in(part: &str, text: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= text.len()).then_some(start..end)
}

impl<'a> Placed<'a> for JsonStr<'a> {
    fn parts(self) -> (&'a str, u8) {
        (self.raw, self.flags)
    }

    fn of_parts(raw: &'a str, flags: u8) -> Self {
        Self { raw, flags }
    }
}

impl<'a> Placed<'a> for RawJson<'a> {
    fn parts(self) -> (&'a str, u8) {
        (self.text, self.compact.into())
    }

    fn of_parts(text: &'a str, flags: u8) -> Self {
        Self { text, compact: flags == 1 }
    }
}
