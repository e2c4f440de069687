//! What a datagram consists of.

use libc::iovec;
use libexo::shm::area::Area;

use crate::probe;

/// What a datagram consists of.
#[derive(Clone, Copy)]
pub(in crate::hooks) struct Payload {
    pub(super) iov: *const iovec,
    pub(super) count: usize,
    /// Bytes of the first buffers that do not belong to it.
    pub(super) skip: usize,
    pub(super) len: usize,
    /// `UDP_SEGMENT` as a control message.
    pub(super) segment: Option<u16>,
}

impl Payload {
    /// # Safety
    ///
    /// `iov` is not unmapped meanwhile.
    #[inline]
    pub(super) unsafe fn new(iov: *const iovec, count: usize) -> Option<Self> {
        if count > 1024 || !probe::can_read_list(iov, count) {
            return None;
        }
        let mut len: usize = 0;
        for i in 0..count {
            // SAFETY: readable, as just seen.
            let part = unsafe { &*iov.add(i) };
            if probe::is_refused_at_once(part.iov_base) {
                return None;
            }
            len = len.checked_add(part.iov_len)?;
            // The kernel's own error for what is negative to it.
            isize::try_from(len).ok()?;
        }
        Some(Self {
            iov,
            count,
            skip: 0,
            len,
            segment: None,
        })
    }

    /// One buffer.
    pub(super) const fn of(part: &iovec) -> Self {
        Self {
            iov: core::ptr::from_ref(part),
            count: 1,
            skip: 0,
            len: part.iov_len,
            segment: None,
        }
    }

    /// Whether every part is a program's memory. The length was checked: this looks at each page.
    #[inline]
    pub(super) fn is_readable(&self) -> bool {
        (0..self.count).all(|i| {
            // SAFETY: the contract of `new`.
            let part = unsafe { &*self.iov.add(i) };
            probe::is_readable(part.iov_base.cast(), part.iov_len)
        })
    }

    /// Copies everything to `target`.
    ///
    /// # Safety
    ///
    /// `target` has room for `len` bytes.
    pub(super) unsafe fn copy_to(&self, mut target: *mut u8) {
        for i in 0..self.count {
            // SAFETY: the contract of `new`; the lengths were added up, and `target` has room for
            // their sum.
            unsafe {
                let part = &*self.iov.add(i);
                if part.iov_len > 0 {
                    core::ptr::copy(part.iov_base.cast(), target, part.iov_len);
                    target = target.add(part.iov_len);
                }
            }
        }
    }

    /// Copies everything to `position`.
    #[inline]
    pub(super) fn write_to(&self, area: &Area, mut position: u64) {
        let (mut skip, mut left) = (self.skip, self.len);
        for i in 0..self.count {
            // SAFETY: the contract of `new`; the lengths were added up and bounded before.
            unsafe {
                let part = &*self.iov.add(i);
                let passed = skip.min(part.iov_len);
                let len = (part.iov_len - passed).min(left);
                if len > 0 {
                    area.write_from(position, part.iov_base.cast::<u8>().add(passed), len);
                    position += len as u64;
                }
                skip -= passed;
                left -= len;
            }
        }
    }
}
