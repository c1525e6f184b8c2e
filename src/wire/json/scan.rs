//! Looks through the inside of JSON strings, many bytes at a time.
//!
//! Long strings with the widest registers that the processor has, 64 bytes at a time; short ones
//! with those that every processor has, which needs no call.

#![expect(
    clippy::inline_always,
    reason = "each of them becomes part of the function that is compiled for a processor"
)]

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

/// Bytes that are looked at together.
const BLOCK: usize = 64;
/// After this many bytes without a quote or a backslash a run is a long one: base64, mostly.
const LONG: usize = 4 * BLOCK;

/// The quote that ends the string, if that comes soon and nothing special before it: so do nearly
/// all keys and many values.
#[inline]
pub(super) fn short(bytes: &[u8], from: usize) -> Option<usize> {
    let head: &[u8; 16] = bytes.get(from..)?.first_chunk()?;
    let at = (specials(head) | 1 << head.len()).trailing_zeros() as usize;
    (head.get(at) == Some(&b'"')).then_some(from + at)
}

/// Goes on from `from`, over plain text and escapes of two bytes, to what ends the string or
/// has to be looked at: a quote, a backslash, a control character, or the end of `bytes`.
///
/// Also: whether escapes were passed.
pub(super) fn inside(bytes: &[u8], from: usize) -> (usize, bool) {
    dispatch!(Level::new(), simd => blocks(simd, bytes, from))
}

/// Calls `found` with the place of each quote and backslash, in order.
#[inline]
pub(super) fn each_quote_or_backslash(bytes: &[u8], found: impl FnMut(usize)) {
    dispatch!(Level::new(), simd => quotes_and_backslashes(simd, bytes, found));
}

/// The first byte of `bytes` that is a quote, a backslash or a control character, or their end.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(head) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let special = specials(head);
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        at += head.len();
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// A bit for each quote, backslash and control character.
#[inline]
fn specials(bytes: &[u8; 16]) -> u64 {
    dispatch!(Level::baseline(), simd => {
        let bytes = u8x16::simd_from(simd, *bytes);
        (bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | bytes.simd_lt(0x20)).to_bitmask()
    })
}

/// There is no branch for each escape: in prompts they come every few dozen bytes, where no
/// processor foresees them.
#[inline(always)]
fn blocks<S: Simd>(simd: S, bytes: &[u8], from: usize) -> (usize, bool) {
    let (mut at, mut passed) = (from, false);
    let mut carry = 0;
    let mut clean = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let block = u8x64::simd_from(simd, *block);
        let is = |byte: u8| block.simd_eq(byte).to_bitmask();
        let (quotes, backslashes) = (is(b'"'), is(b'\\'));
        let (mut ends, mut odd) = (quotes, 0);
        if backslashes | carry != 0 {
            clean = 0;
            let escaped = escaped(backslashes, &mut carry);
            ends &= !escaped;
            let before = before(ends);
            passed |= backslashes & before != 0;
            let simple = (block.simd_eq(b'n') | block.simd_eq(b't')).to_bitmask();
            odd = escaped & before & !(quotes | backslashes | simple);
            while odd != 0 {
                let byte = bytes.get(at + odd.trailing_zeros() as usize);
                if !matches!(byte, Some(b'r' | b'/' | b'b' | b'f')) {
                    break;
                }
                odd &= odd - 1;
            }
        }
        let control = block.simd_lt(0x20).to_bitmask() & before(ends);
        if odd | control != 0 {
            // An escape's backslash is the byte before.
            let odd = (at + odd.trailing_zeros() as usize).saturating_sub(1);
            return (odd.min(at + control.trailing_zeros() as usize), passed);
        }
        if ends != 0 {
            return (at + ends.trailing_zeros() as usize, passed);
        }
        at += BLOCK;
        clean += BLOCK;
        if clean >= LONG {
            at += long(bytes.get(at..).unwrap_or_default());
            clean = 0;
        }
    }
    at -= carry as usize;
    (at + plain(bytes.get(at..).unwrap_or_default()), passed)
}

/// The bits below the lowest one that is set.
#[inline(always)]
fn before(bits: u64) -> u64 {
    bits.wrapping_sub(1) & !bits
}

/// The characters that a backslash escapes, as bits. `carry`: the first one is.
///
/// Source: Langdale and Lemire, "Parsing Gigabytes of JSON per Second", section 3.1.1.
#[inline(always)]
fn escaped(backslashes: u64, carry: &mut u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslashes = backslashes & !*carry;
    let follows = (backslashes << 1) | *carry;
    let odd_starts = backslashes & !EVEN & !follows;
    let (even_runs, overflow) = odd_starts.overflowing_add(backslashes);
    *carry = u64::from(overflow);
    (EVEN ^ (even_runs << 1)) & follows
}

#[inline(always)]
fn quotes_and_backslashes<S: Simd>(simd: S, bytes: &[u8], mut found: impl FnMut(usize)) {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    for (n, block) in blocks.iter().chain([&last]).enumerate() {
        let block = u8x64::simd_from(simd, *block);
        let mut bits = (block.simd_eq(b'"') | block.simd_eq(b'\\')).to_bitmask();
        while bits != 0 {
            found(n * BLOCK + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

/// Like [`plain`], for what is probably long.
fn long(bytes: &[u8]) -> usize {
    /// What fits into the nearest cache.
    const PART: usize = 16 << 10;
    let mut at = 0;
    for part in bytes.chunks(PART) {
        let end = memchr::memchr2(b'"', b'\\', part);
        let run = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
        // A loop without a branch: it vectorises, and nearly all runs pass.
        if run.iter().fold(u8::MAX, |least, b| least.min(*b)) < 0x20 {
            return at + run.iter().position(|b| *b < 0x20).unwrap_or(run.len());
        }
        at += run.len();
        if end.is_some() {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What [`inside`] says, one byte at a time.
    fn simply(bytes: &[u8], from: usize) -> (usize, bool) {
        let (mut at, mut passed) = (from, false);
        loop {
            match bytes.get(at..).unwrap_or_default() {
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                    passed = true;
                    at += 2;
                }
                [] | [b'"' | b'\\' | 0..0x20, ..] => return (at, passed),
                _ => at += 1,
            }
        }
    }

    /// It may stop at an escape that it could have passed.
    fn fully(bytes: &[u8], from: usize) -> (usize, bool) {
        let (mut at, mut passed) = (from, false);
        loop {
            let (stop, more) = inside(bytes, at);
            (at, passed) = (stop, passed | more);
            match bytes.get(at..).unwrap_or_default() {
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                    passed = true;
                    at += 2;
                }
                _ => return (at, passed),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_one_byte_at_a_time(
            parts in prop::collection::vec(
                prop_oneof![
                    8 => "[a-zé ]{0,40}".prop_map(String::into_bytes),
                    2 => (0usize..700).prop_map(|n| vec![b'A'; n]),
                    6 => r#"\\["\\/bfnrt]"#.prop_map(String::into_bytes),
                    2 => r"\\{1,70}".prop_map(String::into_bytes),
                    1 => Just(b"\"".to_vec()),
                    1 => r#"\\[uxz"]"#.prop_map(String::into_bytes),
                    1 => "[\\x00-\\x22]".prop_map(String::into_bytes),
                    1 => prop::collection::vec(any::<u8>(), 0..3),
                ],
                0..24,
            ),
            from in 0usize..70,
        ) {
            let bytes = parts.concat();
            let from = from.min(bytes.len());
            let want = simply(&bytes, from);
            let (stop, passed) = fully(&bytes, from);
            prop_assert_eq!(stop, want.0);
            // An escape that was passed is one of the string's, if perhaps one further on.
            prop_assert!(passed || !want.1);
            prop_assert!(!passed || bytes[from..].contains(&b'\\'));
            let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
            let quick = (bytes.get(want.0) == Some(&b'"') && !want.1 && want.0 < from + 16).then_some(want.0);
            prop_assert!(short(&bytes, from) == quick || from + 16 > bytes.len());
            let first = bytes[from..].iter().position(special).unwrap_or(bytes.len() - from);
            prop_assert_eq!(plain(&bytes[from..]), first);
            prop_assert_eq!(long(&bytes[from..]), first);
        }
    }
}
