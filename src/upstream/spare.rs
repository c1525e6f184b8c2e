//! Large buffers that serve again.
//!
//! The allocator gives the memory of a freed one back to the system, and the next one of the
//! same size is fetched from there page by page: for an answer of 200 KB that is a fifth of all
//! that it costs. So each thread keeps a few.

use std::cell::RefCell;
use std::mem;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

/// Sizes that are kept, in bytes: smaller ones cost little, larger ones are rare.
const KEPT: std::ops::RangeInclusive<usize> = 32 << 10..=512 << 10;
/// Most that a thread keeps, in bytes: four answers of 200 KB under way need eight buffers.
const MOST: usize = 2 << 20;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that is kept when it is dropped.
#[derive(Debug, Default)]
pub struct Spare(Vec<u8>);

impl Spare {
    /// An empty one with room for `len` bytes.
    pub fn with_capacity(len: usize) -> Self {
        let kept = || {
            SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                let at = spare.iter().position(|buffer| buffer.capacity() >= len)?;
                Some(spare.swap_remove(at))
            })
        };
        // A small one takes none of the large.
        let kept = if KEPT.contains(&len) { kept().ok().flatten() } else { None };
        Self(kept.unwrap_or_else(|| Vec::with_capacity(len)))
    }

    /// The buffer; it is not kept unless it is made a `Spare` again.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u8> {
        mem::take(&mut self.0)
    }
}

impl From<Vec<u8>> for Spare {
    fn from(buffer: Vec<u8>) -> Self {
        Self(buffer)
    }
}

impl From<Spare> for Bytes {
    /// Kept when the last part of it is dropped.
    fn from(spare: Spare) -> Self {
        if KEPT.contains(&spare.0.capacity()) { Self::from_owner(spare) } else { spare.into_vec().into() }
    }
}

impl AsRef<[u8]> for Spare {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Spare {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Spare {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if !KEPT.contains(&self.0.capacity()) {
            return;
        }
        let mut buffer = mem::take(&mut self.0);
        buffer.clear();
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            let kept: usize = spare.iter().map(Vec::capacity).sum();
            if kept + buffer.capacity() <= MOST {
                spare.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Vec<usize> {
        SPARE.with_borrow(|spare| spare.iter().map(Vec::capacity).collect())
    }

    #[test]
    fn a_few_of_the_middle_sizes_are_kept() {
        let mut one = Spare::with_capacity(100 << 10);
        one.extend_from_slice(b"words of one client");
        let at = one.as_ptr();
        let bytes = Bytes::from(one);
        let part = bytes.slice(..5);
        drop(bytes);
        assert_eq!((kept().len(), &part[..]), (0, &b"words"[..]));
        drop(part);
        assert_eq!(kept(), [100 << 10]);
        let again = Spare::with_capacity(64 << 10);
        assert_eq!((again.as_ptr(), again.len()), (at, 0), "empty: the next client sees none of it");
        assert!(kept().is_empty());
        drop(again);
        assert_eq!(Spare::with_capacity(100).capacity(), 100, "a small one takes none");
        assert_eq!(kept(), [100 << 10]);
        assert!(Spare::with_capacity(101 << 10).capacity() > 100 << 10);
        let many: Vec<Spare> = (0..20).map(|_| Spare::with_capacity(200 << 10)).collect();
        drop(many);
        let sum: usize = kept().iter().sum();
        assert!(sum <= MOST && sum > MOST - (200 << 10), "{sum}");
        drop(Spare::with_capacity(600 << 10));
        assert!(kept().iter().all(|size| KEPT.contains(size)));
    }
}
