//! Peeking at an offset: `SO_PEEK_OFF`.
//!
//! The offset counts the bytes of all queued datagrams, and a peek begins at the one it lies in.
//! What is passed over stays: this walks with places of its own beside the socket's cursors.

use super::session::Session;
use super::socket::{GroupSocket, Incoming};
use crate::shm::log::{Cursor, Look, Record};
use crate::shm::socket_page::{FILTERED, MEMBERSHIPS_MAX};
use crate::sync::{AtomicU64, Ordering, fence};

/// The next position to look at in each slot's log.
type Places = [AtomicU64; MEMBERSHIPS_MAX];

impl GroupSocket {
    /// Looks at the datagram in which byte `offset` of the queue lies; `read` is told where in it.
    /// `None`: the queue ends before.
    ///
    /// An empty datagram at the offset is shown once and then passed over, as by the kernel.
    #[cold]
    pub fn peek_at<R>(
        &self,
        session: &Session,
        offset: u32,
        mut read: impl FnMut(&Incoming<'_>, usize) -> R,
    ) -> Option<R> {
        loop {
            let places: Places = core::array::from_fn(|index| {
                let next = self.page().memberships[index].cursor().next;
                AtomicU64::new(next.load(Ordering::Acquire))
            });
            let (index, position, record, from) = self.walk(session, &places, offset)?;
            let membership = &self.page().memberships[index];
            let incoming = Incoming {
                record: &record,
                membership,
            };
            let result = read(&incoming, from as usize);
            fence(Ordering::Acquire); // the copy is over before the cursor is looked at
            let cursor = membership.cursor();
            if cursor.next.load(Ordering::Relaxed) > position
                || cursor.floor.load(Ordering::Relaxed) > position
            {
                continue; // taken meanwhile, and perhaps overwritten: from the beginning
            }
            if record.head.len == 0 {
                let seq = record.head.seq.0;
                self.page().peeked_empty.store(seq, Ordering::Relaxed);
            }
            return Some(result);
        }
    }

    /// Goes `offset` bytes from `places` on: slot, position, record, and the offset in it.
    fn walk(
        &self,
        session: &Session,
        places: &Places,
        offset: u32,
    ) -> Option<(usize, u64, Record<'_>, u32)> {
        let mut left = offset;
        loop {
            let (index, position, record) = self.next_of(session, places)?;
            let len = record.head.len;
            let peeked_empty = self.page().peeked_empty.load(Ordering::Relaxed);
            let is_before = left >= len && (left > 0 || record.head.seq.0 <= peeked_empty);
            if !is_before {
                return Some((index, position, record, left));
            }
            left -= len;
            places[index].store(position + record.head.record_bytes(), Ordering::Relaxed);
        }
    }

    /// The first record in the order from `places` on, as `look` from the cursors on.
    fn next_of(&self, session: &Session, places: &Places) -> Option<(usize, u64, Record<'_>)> {
        let slots = self.page().slots();
        let published = session.board().published();
        let mut first: Option<(usize, u64, Record<'_>)> = None;
        for (index, membership) in slots.iter().enumerate() {
            if !membership.is_open() {
                continue;
            }
            let cursor = Cursor {
                next: &places[index],
                ..membership.cursor()
            };
            let Some(reader) = self.reader(index) else {
                continue;
            };
            while let Look::Found(position, record) = reader.look(cursor) {
                let is_wanted = (!self.page().has(FILTERED) && !record.is_extended())
                    || position < membership.exempt.load(Ordering::Relaxed)
                    || self.is_wanted(session, membership, &record);
                if !is_wanted {
                    let next = position + record.head.record_bytes();
                    places[index].store(next, Ordering::Relaxed);
                    continue;
                }
                // Of several logs, only what is published is there in all of them.
                if (slots.len() == 1 || record.head.seq <= published)
                    && first
                        .as_ref()
                        .is_none_or(|(_, _, other)| record.head.seq < other.head.seq)
                {
                    first = Some((index, position, record));
                }
                break;
            }
        }
        first
    }
}
