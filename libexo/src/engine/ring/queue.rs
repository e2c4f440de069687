//! Own messages: waiting for a turn, then packed into one until they are delivered.
//!
//! One byte buffer of fixed size; messages leave in the order in which they came, so it is a
//! circle without holes. A message never runs over the end.

use std::collections::VecDeque;

use crate::engine::{Submission, Ticket};
use crate::ids::GroupId;

#[derive(Clone, Copy, Debug)]
struct Place {
    group: GroupId,
    origin: u64,
    ticket: Ticket,
    offset: usize,
    len: usize,
}

/// A message that leaves the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) group: GroupId,
    pub(super) origin: u64,
    pub(super) ticket: Ticket,
    pub(super) bytes: &'a [u8],
}

#[derive(Debug)]
pub(super) struct Queue {
    bytes: Box<[u8]>,
    places: VecDeque<Place>,
    places_max: usize,
    /// How many of `places`, from the front, are packed into turns.
    packed: usize,
    /// Where the next message goes.
    end: usize,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, messages_max: usize) -> Self {
        Self {
            bytes: vec![0; bytes_max].into_boxed_slice(),
            places: VecDeque::with_capacity(messages_max),
            places_max: messages_max,
            packed: 0,
            end: 0,
        }
    }

    /// Messages that wait for a turn.
    pub(super) fn waiting(&self) -> usize {
        self.places.len() - self.packed
    }

    /// Messages packed into turns and not delivered.
    pub(super) const fn packed(&self) -> usize {
        self.packed
    }

    /// Bytes of all messages.
    pub(super) fn bytes(&self) -> usize {
        self.places.iter().map(|place| place.len).sum()
    }

    /// Appends a message. False: there is no room.
    pub(super) fn push(&mut self, ticket: Ticket, submission: Submission<'_>) -> bool {
        let Submission {
            group,
            origin,
            bytes,
        } = submission;
        if self.places.len() == self.places_max {
            return false;
        }
        let Some(offset) = self.room_for(bytes.len()) else {
            return false;
        };
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.end = offset + bytes.len();
        self.places.push_back(Place {
            group,
            origin,
            ticket,
            offset,
            len: bytes.len(),
        });
        true
    }

    fn room_for(&self, len: usize) -> Option<usize> {
        let Some(first) = self.places.front() else {
            return (len <= self.bytes.len()).then_some(0);
        };
        let start = first.offset;
        // `end == start` with messages in between means full (or only empty messages at `start`,
        // which the next push puts after them all the same).
        if self.end > start || (self.end == start && self.places.iter().all(|p| p.len == 0)) {
            if self.end + len <= self.bytes.len() {
                return Some(self.end);
            }
            // Strictly below: an end that met the start would look like an empty circle.
            return (len < start).then_some(0);
        }
        (self.end + len < start).then_some(self.end)
    }

    /// Packs waiting messages into a turn of at most `bytes_max`, at least one. Returns how many.
    pub(super) fn pack(&mut self, bytes_max: usize) -> usize {
        let mut bytes = 0;
        let mut count = 0;
        for place in self.places.iter().skip(self.packed) {
            bytes += place.len;
            if count > 0 && bytes > bytes_max {
                break;
            }
            count += 1;
        }
        self.packed += count;
        count
    }

    /// The message at `index` from the front, without taking it.
    pub(super) fn message(&self, index: usize) -> Option<Message<'_>> {
        let place = self.places.get(index)?;
        Some(Message {
            group: place.group,
            origin: place.origin,
            ticket: place.ticket,
            bytes: &self.bytes[place.offset..place.offset + place.len],
        })
    }

    /// One more message, the first that waits, is packed into a turn.
    pub(super) fn pack_one(&mut self) {
        assert!(self.waiting() > 0, "a message waits");
        self.packed += 1;
    }

    /// From the front, the messages up to number `last` are packed into turns, and no others.
    pub(super) fn repack(&mut self, last: Ticket) {
        self.packed = self.places.partition_point(|place| place.ticket <= last);
    }

    /// Drops the messages up to number `last`, packed or not. Returns how many.
    pub(super) fn forget(&mut self, last: Ticket) -> usize {
        let count = self.places.partition_point(|place| place.ticket <= last);
        self.places.drain(..count);
        self.packed = self.packed.saturating_sub(count);
        count
    }

    /// Takes the first packed message out.
    pub(super) fn take_packed(&mut self) -> Message<'_> {
        assert!(
            self.packed > 0,
            "a turn in the log has messages in the queue"
        );
        self.packed -= 1;
        let place = self.places.pop_front().expect("`packed` counts places");
        let Place {
            group,
            origin,
            ticket,
            offset,
            len,
        } = place;
        Message {
            group,
            origin,
            ticket,
            bytes: &self.bytes[offset..offset + len],
        }
    }
}
