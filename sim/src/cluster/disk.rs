//! Disks: records and journals reach them one after the other, slowly or not at all; what a crash
//! leaves, and how a host comes back from it.

use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Admit, Record};
use libexo::time::Time;

use super::host::{Input, Journal, drain};
use super::{Cluster, What};
use crate::checker::Broken;
use crate::fault::Fault;

impl Journal {
    pub(super) const fn new(setup: Setup, started: Time) -> Self {
        Self {
            setup,
            started,
            inputs: Vec::new(),
            synced: 0,
            is_syncing: false,
            held: std::collections::VecDeque::new(),
            at_crash: None,
        }
    }
}

impl Cluster<'_> {
    /// When a write that is handed to the disk now will be done.
    fn disk_done(&mut self, host: usize) -> u64 {
        let (least, most) = self.plan.sync;
        let drawn = least + self.prng.below(most - least);
        let own = &mut self.hosts[host];
        let (each, until) = own.disk_slow;
        let slow = if until > self.now { each } else { 0 };
        own.disk_free = own.disk_free.max(self.now) + drawn + slow;
        own.disk_free
    }

    pub(super) fn write(&mut self, host: usize, record: Record) {
        let at = self.disk_done(host);
        let boot = self.hosts[host].boot;
        let (id, bytes) = (record.id.0, record.bytes);
        self.at(
            at,
            What::Durable {
                host,
                boot,
                id,
                bytes,
            },
        );
    }

    /// Whether a write of this boot is done; a paused host hears of it later.
    fn is_written(&mut self, host: usize, boot: u64) -> Result<bool, Broken> {
        let own = &self.hosts[host];
        if own.boot != boot || own.ring.is_none() {
            return Ok(false);
        }
        if own.is_disk_broken && !self.is_healed {
            self.outcome.faults.count(Fault::DiskError);
            self.tell(Some(host), false, || "disk error, halts".to_owned());
            let at = self.hosts[host].repaired_at;
            self.crash(host);
            self.at(at, What::Restart { host });
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn durable(
        &mut self,
        host: usize,
        boot: u64,
        id: u64,
        bytes: Vec<u8>,
    ) -> Result<(), Broken> {
        if !self.is_written(host, boot)? {
            return Ok(());
        }
        self.record(&[5, self.now, host as u64, id]);
        self.hosts[host].record = Some(bytes);
        let now = self.hosts[host].clock(self.now);
        self.feed(host, Input::Durable { now, id });
        self.pump(host)
    }

    /// Syncs everything that is not synced yet, unless that is under way.
    pub(super) fn begin_sync(&mut self, host: usize) {
        let Some(journal) = &mut self.hosts[host].journal else {
            return;
        };
        let inputs = journal.inputs.len();
        if journal.is_syncing || journal.synced == inputs && journal.held.is_empty() {
            return;
        }
        journal.is_syncing = true;
        let boot = self.hosts[host].boot;
        let at = self.disk_done(host);
        self.at(at, What::Synced { host, boot, inputs });
    }

    pub(super) fn synced(&mut self, host: usize, boot: u64, inputs: usize) -> Result<(), Broken> {
        if !self.is_written(host, boot)? {
            return Ok(());
        }
        self.record(&[6, self.now, host as u64, inputs as u64]);
        if let Some(journal) = &mut self.hosts[host].journal {
            journal.synced = inputs;
            journal.is_syncing = false;
        }
        while let Some(journal) = &mut self.hosts[host].journal
            && journal.held.front().is_some_and(|(at, _)| *at <= inputs)
            && let Some((_, output)) = journal.held.pop_front()
        {
            self.release(host, output)?;
        }
        self.begin_sync(host);
        Ok(())
    }

    /// The engine is gone, and with it whatever was not synced.
    pub(super) fn crash(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        let ring = own.ring.take();
        own.boot += 1;
        own.disk_free = self.now;
        let Some(journal) = &mut own.journal else {
            return;
        };
        let lost = journal.inputs.len() - journal.synced;
        let state = ring.map(|ring| state_of(&ring));
        journal.at_crash = state.filter(|_| lost == 0);
        journal.inputs.truncate(journal.synced);
        journal.held.clear();
        journal.is_syncing = false;
        self.record(&[7, self.now, host as u64, lost as u64]);
        if lost > 0 {
            self.outcome.faults.count(Fault::LostTail);
        }
        self.tell(Some(host), false, || {
            format!("down, {lost} inputs unsynced")
        });
    }

    /// The same life goes on from the journal: what was let out is not let out again, and no less
    /// is held than others were told.
    pub(super) fn restore(&mut self, host: usize) -> Result<(), Broken> {
        let own = &mut self.hosts[host];
        let Some(journal) = &own.journal else {
            return Ok(());
        };
        let (mut outputs, mut records, mut taken) = (Vec::new(), Vec::new(), 0);
        let mut ring = Ring::member(&journal.setup, journal.started);
        drain(&mut ring, &mut outputs, &mut records);
        for input in &journal.inputs {
            if let Some(Admit::Taken(ticket)) = input.apply(&mut ring) {
                taken = ticket.0;
            }
            if let Input::Durable { id, .. } = input {
                records.retain(|record| record.id.0 > *id);
            }
            drain(&mut ring, &mut outputs, &mut records);
            outputs.clear();
        }
        if journal
            .at_crash
            .as_ref()
            .is_some_and(|state| *state != state_of(&ring))
        {
            let seen = format!("{host}: {:?}\n  now {}", journal.at_crash, state_of(&ring));
            return Err(Broken {
                guarantee: "determinism",
                seen,
            });
        }
        own.ring = Some(ring);
        own.taken = taken;
        own.boot += 1;
        own.paused_until = 0;
        own.wake_at = None;
        let replayed = journal.inputs.len();
        self.record(&[8, self.now, host as u64, replayed as u64]);
        self.tell(Some(host), false, || format!("back, {replayed} inputs"));
        for record in records {
            self.write(host, record);
        }
        self.wake(host)
    }
}

fn state_of(ring: &Ring) -> String {
    format!("{:?}", ring.inspect())
}
