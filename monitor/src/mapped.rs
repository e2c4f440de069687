#![allow(unsafe_code, reason = "headers inside mappings are reached by pointer")]
//! Headers that live in shared memory, held together with their mapping.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use libexo::shm::area::Area;
use libexo::shm::board::{BOARD_BYTES, Board};
use libexo::shm::log::LogHeader;
use libexo::shm::region::{Descriptor, Mapping, Region, Writers, sealed_len};
use libexo::shm::socket_page::{PAGE_BYTES, SocketPage};
use libexo::shm::submit_ring::LaneHeader;
use rustix::fd::AsFd;
use rustix::io::Errno;

/// A `T` at the beginning of a mapping, which stays mapped while this exists.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    mapping: Arc<Mapping>,
    kind: PhantomData<T>,
}

impl<T> Clone for Mapped<T> {
    fn clone(&self) -> Self {
        Self {
            mapping: Arc::clone(&self.mapping),
            kind: PhantomData,
        }
    }
}

impl<T> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` is private to the makers below, each of which made a mapping that is large
        // enough for its `T` and page-aligned; every word of a `T` is an atomic or unused.
        unsafe { &*self.mapping.base().cast::<T>() }
    }
}

impl<T> Mapped<T> {
    fn new(mapping: Mapping) -> Self {
        assert!(
            mapping.len() >= size_of::<T>(),
            "the makers below choose the length"
        );
        Self {
            mapping: Arc::new(mapping),
            kind: PhantomData,
        }
    }

    fn area(&self, header_bytes: usize, capacity: u64) -> Area {
        assert!(header_bytes as u64 + capacity == self.mapping.len() as u64);
        // SAFETY: the range lies in the mapping, as was just asserted; the holder of the area also
        // holds this.
        unsafe { Area::new(self.mapping.base().add(header_bytes), capacity) }
    }
}

/// A new region with a header and a circular data area.
#[derive(Debug)]
pub(crate) struct Made<T> {
    pub(crate) fd: Descriptor,
    pub(crate) header: Mapped<T>,
    pub(crate) area: Area,
}

/// Makes the board.
pub(crate) fn board() -> Result<(Descriptor, Mapped<Board>), Errno> {
    let region = Region::create("exo-board", BOARD_BYTES, Writers::MakerOnly)?;
    let board = Mapped::<Board>::new(region.mapping);
    board.initialise();
    Ok((region.fd, board))
}

/// Makes a lane.
pub(crate) fn lane(capacity: u64) -> Result<Made<LaneHeader>, Errno> {
    use libexo::shm::submit_ring::HEADER_BYTES;
    let initialise = |header: &LaneHeader| header.initialise(capacity);
    circular(
        "exo-lane",
        HEADER_BYTES,
        capacity,
        Writers::Holders,
        initialise,
    )
}

/// Makes a group's log.
pub(crate) fn log(capacity: u64) -> Result<Made<LogHeader>, Errno> {
    use libexo::shm::log::HEADER_BYTES;
    let initialise = |header: &LogHeader| header.initialise(capacity);
    circular(
        "exo-log",
        HEADER_BYTES,
        capacity,
        Writers::MakerOnly,
        initialise,
    )
}

fn circular<T>(
    name: &str,
    header_bytes: usize,
    capacity: u64,
    writers: Writers,
    initialise: impl FnOnce(&T),
) -> Result<Made<T>, Errno> {
    let len = usize::try_from(capacity)
        .ok()
        .and_then(|capacity| capacity.checked_add(header_bytes))
        .ok_or(Errno::NOMEM)?;
    let region = Region::create(name, len, writers)?;
    let header = Mapped::<T>::new(region.mapping);
    initialise(&header);
    let area = header.area(header_bytes, capacity);
    Ok(Made {
        fd: region.fd,
        header,
        area,
    })
}

/// Makes a socket page.
pub(crate) fn socket_page(socket: u32) -> Result<(Descriptor, Mapped<SocketPage>), Errno> {
    let region = Region::create("exo-socket", PAGE_BYTES, Writers::Holders)?;
    let page = Mapped::<SocketPage>::new(region.mapping);
    page.initialise(socket);
    Ok((region.fd, page))
}

/// Maps a socket page that another process made, for who wakes its sleepers.
pub(crate) fn page_of(fd: &Descriptor) -> Result<Mapped<SocketPage>, Errno> {
    let len = sealed_len(fd.as_fd())?;
    if len != PAGE_BYTES {
        return Err(Errno::INVAL);
    }
    Mapping::new(fd.as_fd(), len, true).map(Mapped::new)
}
