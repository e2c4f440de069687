//! Takes little-endian numbers from the front of a slice; never panics, never allocates.

use super::hosts::HostSet;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// `count` reserved bytes, which must be zero.
    pub(super) fn zeros(&mut self, count: usize) -> Option<()> {
        let zeros = self.bytes(count)?;
        zeros.iter().all(|byte| *byte == 0).then_some(())
    }

    pub(super) fn hosts(&mut self) -> Option<HostSet> {
        Some(HostSet::from_words([
            self.u64()?,
            self.u64()?,
            self.u64()?,
            self.u64()?,
        ]))
    }

    /// `count` numbers; the length is checked before memory is taken.
    pub(super) fn numbers(&mut self, count: usize) -> Option<Vec<u64>> {
        let mut list = Reader(self.bytes(count.checked_mul(8)?)?);
        let mut numbers = Vec::with_capacity(count);
        while let Some(number) = list.u64() {
            numbers.push(number);
        }
        Some(numbers)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
