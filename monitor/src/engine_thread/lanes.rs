//! One session's lane: draining it, fairly and bounded.

use std::time::Duration;

use libexo::engine::{Admit, Engine, Submission};
use libexo::ids::{GrantId, GroupId, SessionId};
use libexo::shm::log::Origin;
use libexo::shm::region::Descriptor;
use libexo::shm::submit_ring::{LaneHeader, RingCorrupt, SubmitDrain};
use libexo::sync::Ordering;
use libexo::time::Time;
use rustix::net::SendFlags;

use super::egress::Groups;
use super::envelope::{Label, Labels};
use crate::mapped::Mapped;

/// Most grants of one session; more are refused.
pub(crate) const GRANTS_MAX: usize = 65_536;

/// One session's lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) session: SessionId,
    pub(super) drain: SubmitDrain<Mapped<LaneHeader>>,
    grants: Vec<Grant>,
    /// A datagram behind its label's head.
    labelled: Vec<u8>,
    /// Connections of senders that wait for room.
    waiters: Vec<Descriptor>,
    pub(super) submitted: u64,
    /// The session has ended; the lane goes once it is empty.
    pub(super) closing: bool,
}

/// What the session may submit.
#[derive(Debug)]
struct Grant {
    group: GroupId,
    origin: Origin,
    /// How it travels to other hosts; `None` without any.
    label: Option<Label>,
}

/// How a pass over a lane ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Drained {
    /// So many records; the lane may hold more.
    Taken(u32),
    /// So many records, and then one for a group whose log is full.
    Blocked(u32, GroupId),
    /// So many records, and then the engine was full.
    Full(u32),
}

impl Lane {
    pub(super) fn new(session: SessionId, drain: SubmitDrain<Mapped<LaneHeader>>) -> Self {
        Self {
            session,
            drain,
            grants: Vec::new(),
            labelled: Vec::new(),
            waiters: Vec::new(),
            submitted: 0,
            closing: false,
        }
    }

    pub(super) fn grant(
        &mut self,
        group: GroupId,
        origin: Origin,
        labels: Option<&Labels>,
    ) -> Option<GrantId> {
        let is_same = |other: &Grant| (other.group, other.origin) == (group, origin);
        if let Some(index) = self.grants.iter().position(is_same) {
            return u32::try_from(index).ok().map(GrantId);
        }
        if self.grants.len() == GRANTS_MAX {
            return None;
        }
        self.grants.push(Grant {
            group,
            origin,
            label: labels.map(|labels| labels.label(group, &origin)),
        });
        u32::try_from(self.grants.len() - 1).ok().map(GrantId)
    }

    #[inline]
    pub(super) fn origin(&self, grant: u64) -> &Origin {
        let index = usize::try_from(grant).expect("it was an index");
        &self.grants[index].origin
    }

    /// Submits one batch of the lane's records to the engine, as far as logs and engine have room.
    /// Takes nothing that could not be delivered: the room is reserved first.
    #[inline]
    pub(super) fn drain_into(
        &mut self,
        now: Time,
        index: usize,
        engine: &mut impl Engine,
        groups: &mut Groups,
    ) -> Result<Drained, RingCorrupt> {
        if !self.drain.fetch()? {
            return Ok(Drained::Taken(0));
        }
        let mut count = 0;
        let mut ended = None;
        while let Some(record) = self.drain.peek()? {
            let grant = record.grant.0 as usize;
            let Some(granted) = self.grants.get(grant) else {
                return Err(record.unknown_grant());
            };
            if !groups.reserve(granted.group, record.bytes.len()) {
                ended = Some(Drained::Blocked(0, granted.group));
                break;
            }
            let submission = match &granted.label {
                None => Submission {
                    group: granted.group,
                    origin: (index as u64) << 32 | grant as u64,
                    bytes: record.bytes,
                },
                Some(label) => Submission {
                    group: label.group,
                    origin: label.origin,
                    bytes: if label.head.is_empty() {
                        record.bytes
                    } else {
                        self.labelled.clear();
                        self.labelled.extend_from_slice(&label.head);
                        self.labelled.extend_from_slice(record.bytes);
                        &self.labelled
                    },
                },
            };
            match engine.on_submit(now, submission) {
                Admit::Taken(_) => {}
                Admit::Busy => {
                    ended = Some(Drained::Full(0));
                    break;
                }
                Admit::Redirect(_) => unreachable!("a ring host takes its own submissions"),
            }
            let record_bytes = record.record_bytes();
            self.drain.take(record_bytes);
            count += 1;
        }
        self.submitted += u64::from(count);
        self.drain.release();
        if !self.waiters.is_empty() {
            self.answer_waiters();
        }
        Ok(match ended {
            Some(Drained::Blocked(_, group)) => Drained::Blocked(count, group),
            Some(Drained::Full(_)) => Drained::Full(count),
            _ => Drained::Taken(count),
        })
    }

    /// A sender waits for room on the connection `answer`.
    pub(super) fn wait(&mut self, answer: Descriptor) {
        self.waiters.push(answer);
        self.answer_waiters();
    }

    /// Wakes the waiting senders: sends fail now.
    pub(super) fn give_up_waiting(&mut self) {
        for waiter in self.waiters.drain(..) {
            wake(&waiter);
        }
    }

    /// Wakes the waiting senders once half of the lane is free.
    fn answer_waiters(&mut self) {
        let half = self.drain.capacity_bytes() / 2;
        if self
            .drain
            .pending_bytes()
            .is_ok_and(|pending| pending <= half)
        {
            for waiter in self.waiters.drain(..) {
                wake(&waiter);
            }
        }
    }

    /// Says that the lane is not read any more.
    pub(super) fn end(&self) {
        self.drain.header().ended.store(1, Ordering::Release);
    }
}

/// Ends one sender's wait.
fn wake(waiter: &Descriptor) {
    // A waiter that gave up has closed its end.
    let _ = rustix::net::send(waiter, &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

/// How long the engine thread may sleep while it waits for slow readers or full sockets.
pub(super) const RECHECK: Duration = Duration::from_millis(1);
