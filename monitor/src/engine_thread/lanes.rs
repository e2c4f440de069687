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
use crate::mapped::Mapped;

/// Most grants of one session; more are refused.
pub(crate) const GRANTS_MAX: usize = 65_536;

/// One session's lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) session: SessionId,
    pub(super) drain: SubmitDrain<Mapped<LaneHeader>>,
    grants: Vec<(GroupId, Origin)>,
    /// Connections of senders that wait for room.
    waiters: Vec<Descriptor>,
    pub(super) submitted: u64,
    /// The session has ended; the lane goes once it is empty.
    pub(super) closing: bool,
}

/// How a pass over a lane ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Drained {
    /// So many records; the lane may hold more.
    Taken(u32),
    /// So many records, and then one for a group whose log is full.
    Blocked(u32, GroupId),
}

impl Lane {
    pub(super) fn new(session: SessionId, drain: SubmitDrain<Mapped<LaneHeader>>) -> Self {
        Self {
            session,
            drain,
            grants: Vec::new(),
            waiters: Vec::new(),
            submitted: 0,
            closing: false,
        }
    }

    pub(super) fn grant(&mut self, group: GroupId, origin: Origin) -> Option<GrantId> {
        let entry = (group, origin);
        if let Some(index) = self.grants.iter().position(|other| *other == entry) {
            return u32::try_from(index).ok().map(GrantId);
        }
        if self.grants.len() == GRANTS_MAX {
            return None;
        }
        self.grants.push(entry);
        u32::try_from(self.grants.len() - 1).ok().map(GrantId)
    }

    #[inline]
    pub(super) fn origin(&self, grant: u64) -> &Origin {
        let index = usize::try_from(grant).expect("it was an index");
        &self.grants[index].1
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
        let mut blocked = None;
        while let Some(record) = self.drain.peek()? {
            let grant = record.grant.0 as usize;
            let Some((group, _)) = self.grants.get(grant) else {
                return Err(record.unknown_grant());
            };
            if !groups.reserve(*group, record.bytes.len()) {
                blocked = Some(*group);
                break;
            }
            let origin = (index as u64) << 32 | grant as u64;
            let submission = Submission {
                group: *group,
                origin,
                bytes: record.bytes,
            };
            match engine.on_submit(now, submission) {
                Admit::Taken(_) => {}
                Admit::Busy => break,
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
        Ok(match blocked {
            Some(group) => Drained::Blocked(count, group),
            None => Drained::Taken(count),
        })
    }

    /// A sender waits for room on the connection `answer`.
    pub(super) fn wait(&mut self, answer: Descriptor) {
        self.waiters.push(answer);
        self.answer_waiters();
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
                // A waiter that gave up has closed its end.
                let _ = rustix::net::send(&waiter, &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            }
        }
    }

    /// Says that the lane is not read any more.
    pub(super) fn end(&self) {
        self.drain.header().ended.store(1, Ordering::Release);
    }
}

/// How long the engine thread may sleep while it waits for slow readers or full sockets.
pub(super) const RECHECK: Duration = Duration::from_millis(1);
