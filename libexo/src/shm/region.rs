//! Making, sealing and mapping the memory that processes share.
//!
//! The monitor makes every region and takes none from anybody: a memfd without the seals could be
//! truncated under a reader, who would die by SIGBUS. What members may only read is sealed with
//! `F_SEAL_FUTURE_WRITE` after the monitor has mapped it: a read-only descriptor alone does not
//! protect, because it can be opened again for writing through `/proc/self/fd`.

use core::ffi::c_void;
use core::ptr;
use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// An owned descriptor that is closed by the raw system call.
///
/// Dropping std's `OwnedFd` calls libc's `close`, which inside an application is the shim's hook.
#[derive(Debug)]
pub struct Descriptor(RawFd);

impl Descriptor {
    /// Takes over `fd`, which must be open and owned by nobody else.
    #[must_use]
    pub const fn from_raw(fd: RawFd) -> Self {
        Self(fd)
    }

    /// Takes over an `OwnedFd`.
    #[must_use]
    pub fn from_owned(fd: rustix::fd::OwnedFd) -> Self {
        Self(fd.into_raw_fd())
    }

    /// The number.
    #[must_use]
    pub const fn raw(&self) -> RawFd {
        self.0
    }

    /// Gives the number away unclosed.
    #[must_use]
    pub fn into_raw(self) -> RawFd {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is owned by `self` and open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: owned, and never used again.
        unsafe { rustix::io::close(self.0) };
    }
}

/// A shared mapping of a whole region.
#[derive(Debug)]
pub struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: a mapping is an address range; what is done with its bytes is the business of the types
// built over it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd`, for reading or for reading and writing.
    ///
    /// # Errors
    ///
    /// What `mmap` says; `EPERM` for a writable mapping of a sealed log.
    pub fn new(fd: BorrowedFd<'_>, len: usize, writable: bool) -> Result<Self, Errno> {
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // SAFETY: a new shared mapping at an address of the kernel's choice.
        let base =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, fd, 0) }?;
        Ok(Self {
            base: base.cast(),
            len,
        })
    }

    /// First byte.
    #[must_use]
    pub const fn base(&self) -> *mut u8 {
        self.base
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped; never true for a mapping that was made.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Leaves the memory mapped for the rest of the process's life.
    #[must_use]
    pub fn leak(self) -> *mut u8 {
        core::mem::ManuallyDrop::new(self).base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nothing built over it outlives the owner.
        // An error could only mean a wrong range, which `new` excludes.
        let _ = unsafe { rustix::mm::munmap(self.base.cast::<c_void>(), self.len) };
    }
}

/// A region that the monitor made: its memfd and its own writable mapping.
#[derive(Debug)]
pub struct Region {
    /// The sealed memfd, to hand out.
    pub fd: Descriptor,
    /// The maker's mapping.
    pub mapping: Mapping,
}

/// Who may map a region writable from now on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Writers {
    /// Everybody who gets the descriptor.
    Holders,
    /// Only the mapping that exists already.
    MakerOnly,
}

impl Region {
    /// Makes a region of `len` zero bytes (a multiple of the page size), maps and seals it.
    ///
    /// # Errors
    ///
    /// What `memfd_create`, `ftruncate`, `mmap` or `fcntl` says: no memory, no descriptors, or a
    /// kernel before 5.1, which has no `F_SEAL_FUTURE_WRITE`.
    pub fn create(name: &str, len: usize, writers: Writers) -> Result<Self, Errno> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Before Linux 6.3 NOEXEC_SEAL is unknown and answered with EINVAL.
        let fd = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| rustix::fs::memfd_create(name, flags))?;
        let fd = Descriptor::from_owned(fd);
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        let mapping = Mapping::new(fd.as_fd(), len, true)?;
        let seals = match writers {
            Writers::Holders => SealFlags::empty(),
            Writers::MakerOnly => SealFlags::FUTURE_WRITE,
        };
        rustix::fs::fcntl_add_seals(
            &fd,
            seals | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        Ok(Self { fd, mapping })
    }
}

/// Size of the region behind `fd`, and whether it carries the seals without which mapping it
/// would be a risk: nobody can shrink it under the reader.
///
/// # Errors
///
/// What `fstat` or `fcntl` says; `EINVAL` for a descriptor that is no sealed memfd.
pub fn sealed_len(fd: BorrowedFd<'_>) -> Result<usize, Errno> {
    let seals = rustix::fs::fcntl_get_seals(fd)?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        return Err(Errno::INVAL);
    }
    let stat = rustix::fs::fstat(fd)?;
    usize::try_from(stat.st_size).map_err(|_| Errno::INVAL)
}
