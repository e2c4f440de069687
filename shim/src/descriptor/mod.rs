//! Which descriptor is what: number → object, looked up without locks.

mod cork;
mod object;

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

pub(crate) use cork::Cork;
pub(crate) use object::Object;

/// Descriptors at or above this are never ours; programs have their low numbers first.
const TABLE_SIZE: usize = 1 << 16;

static TABLE: [AtomicPtr<Object>; TABLE_SIZE] =
    [const { AtomicPtr::new(ptr::null_mut()) }; TABLE_SIZE];
/// What was done with a number before it became ours.
static HISTORY: [AtomicU8; TABLE_SIZE] = [const { AtomicU8::new(0) }; TABLE_SIZE];
/// No number at or above this was ever ours.
static HIGHEST: AtomicU32 = AtomicU32::new(0);

/// The number is in an epoll set.
pub(crate) const IN_EPOLL: u8 = 1;
/// … edge-triggered.
pub(crate) const EDGE: u8 = 2;

/// The last edge-triggered registration of a number that asks for room: epoll set << 32 | events,
/// and the program's data. 0 for none.
static EDGES: [[AtomicU64; 2]; TABLE_SIZE] =
    [const { [const { AtomicU64::new(0) }; 2] }; TABLE_SIZE];

/// The object of `fd`, or `None` if the kernel has it alone.
#[inline]
pub(crate) fn get(fd: i32) -> Option<&'static Object> {
    #[allow(
        clippy::cast_sign_loss,
        reason = "a negative number is beyond the table"
    )]
    let object = TABLE.get(fd as u32 as usize)?.load(Ordering::Acquire);
    if object.is_null() {
        return None;
    }
    // SAFETY: an object is unmapped only after it left the table and its quarantine is over.
    Some(unsafe { &*object })
}

/// Whether anything is known of `fd`: an object, or what was done with the number.
#[inline]
pub(crate) fn is_known(fd: i32) -> bool {
    let (Some(slot), Some(history)) = (slot(fd), history(fd)) else {
        return false;
    };
    !slot.load(Ordering::Relaxed).is_null() || history.load(Ordering::Relaxed) != 0
}

/// The table's entry of a number.
#[inline]
fn slot(fd: i32) -> Option<&'static AtomicPtr<Object>> {
    #[allow(
        clippy::cast_sign_loss,
        reason = "a negative number is beyond the table"
    )]
    TABLE.get(fd as u32 as usize)
}

/// What was done with the number.
#[inline]
pub(crate) fn history(fd: i32) -> Option<&'static AtomicU8> {
    #[allow(
        clippy::cast_sign_loss,
        reason = "a negative number is beyond the table"
    )]
    HISTORY.get(fd as u32 as usize)
}

#[inline]
fn edge_words(fd: i32) -> Option<&'static [AtomicU64; 2]> {
    #[allow(
        clippy::cast_sign_loss,
        reason = "a negative number is beyond the table"
    )]
    EDGES.get(fd as u32 as usize)
}

/// `fd` waits in `epoll` for an edge when there is room.
pub(crate) fn note_edge(fd: i32, epoll: i32, events: u32, data: u64) {
    if let Some([name, value]) = edge_words(fd) {
        value.store(data, Ordering::Relaxed);
        let epoll = u64::from(epoll.cast_unsigned());
        name.store(epoll << 32 | u64::from(events), Ordering::Release); // pairs with `edge`
    }
}

/// `fd` does not wait in `epoll` for an edge any more.
#[inline]
pub(crate) fn forget_edge(fd: i32, epoll: i32) {
    if let Some([name, _]) = edge_words(fd) {
        let noted = name.load(Ordering::Relaxed);
        if noted != 0 && noted >> 32 == u64::from(epoll.cast_unsigned()) {
            name.store(0, Ordering::Relaxed);
        }
    }
}

/// The epoll set, events and data by which `fd` waits for an edge when there is room.
pub(crate) fn edge(fd: i32) -> Option<(i32, u32, u64)> {
    let [name, value] = edge_words(fd)?;
    let noted = name.load(Ordering::Acquire); // pairs with `note_edge`
    #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
    (noted != 0).then(|| {
        let (epoll, events) = ((noted >> 32) as u32, noted as u32);
        (epoll.cast_signed(), events, value.load(Ordering::Relaxed))
    })
}

/// Gives `fd` an object. False: the number is too high.
pub(crate) fn put(fd: i32, object: *mut Object) -> bool {
    let Some(slot) = slot(fd) else { return false };
    // SAFETY: the caller's object is alive.
    unsafe { &*object }
        .references
        .fetch_add(1, Ordering::Relaxed);
    #[allow(clippy::cast_sign_loss, reason = "it is in the table")]
    HIGHEST.fetch_max(fd as u32 + 1, Ordering::Relaxed);
    let old = slot.swap(object, Ordering::AcqRel);
    release(old);
    true
}

/// The number now names something else, or nothing. Returns the object if this was its last name.
pub(crate) fn clear(fd: i32) -> Option<&'static Object> {
    let slot = slot(fd)?;
    if let Some(history) = history(fd)
        && history.load(Ordering::Relaxed) != 0
        && !crate::session::is_vfork_child()
    {
        history.store(0, Ordering::Relaxed);
        if let Some([name, _]) = edge_words(fd) {
            name.store(0, Ordering::Relaxed);
        }
    }
    if slot.load(Ordering::Relaxed).is_null() || crate::session::is_vfork_child() {
        return None;
    }
    release(slot.swap(ptr::null_mut(), Ordering::AcqRel))
}

fn release(object: *mut Object) -> Option<&'static Object> {
    // SAFETY: it was in the table, so it is alive until its quarantine is over.
    let object = unsafe { object.as_ref() }?;
    if object.references.fetch_sub(1, Ordering::AcqRel) == 1 {
        object::retire(object);
        return Some(object);
    }
    None
}

/// Calls `each` for every number that has an object.
pub(crate) fn for_each(mut each: impl FnMut(i32, &'static Object)) {
    let highest = HIGHEST.load(Ordering::Relaxed) as usize;
    for (fd, slot) in TABLE.iter().enumerate().take(highest) {
        let object = slot.load(Ordering::Acquire);
        // SAFETY: as in `get`.
        if let (Some(object), Ok(fd)) = (unsafe { object.as_ref() }, i32::try_from(fd)) {
            each(fd, object);
        }
    }
}

/// Whether any number was ever ours.
#[inline]
pub(crate) fn is_used() -> bool {
    HIGHEST.load(Ordering::Relaxed) != 0
}
