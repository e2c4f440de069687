//! What happens to a host: frames, alarms, records on disk, submissions, starts.

use std::rc::Rc;

use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Admit, Engine, Frame, PersistId, Port, Submission};
use libexo::ids::{Epoch, GroupId};
use libexo::time::Time;
use libexo::wire::auth::{Mode, Protection};
use libexo::wire::digest;
use libexo::wire::key::Key;

use super::{Cluster, RING, What, hash, host_id};
use crate::checker::Broken;
use crate::fault::Fault;
use crate::trace;

/// A slow host that is behind by more loses what comes: its buffer is full.
const BACKLOG_MAX: u64 = 300_000_000;

impl Cluster<'_> {
    pub(super) fn happen(&mut self, what: What) -> Result<(), Broken> {
        match what {
            What::Arrive { .. } => self.arrive(what)?,
            // An alarm that was set for a later time is void.
            What::Wake { host } if self.hosts[host].wake_at == Some(self.now) => self.wake(host)?,
            What::Wake { .. } => {}
            What::Durable {
                host,
                life,
                id,
                bytes,
            } => self.durable(host, life, id, bytes)?,
            What::Synced { host, life, id } => self.synced(host, life, id)?,
            What::Step { index } => {
                self.record(&[1, self.now, index as u64]);
                self.act(index)?;
            }
            What::Restart { host } => self.restart(host)?,
            What::Resume { host } => {
                if !self.hosts[host].is_paused(self.now) {
                    self.tell(Some(host), false, || "goes on".to_owned());
                    self.wake(host)?;
                }
            }
            What::Rejoin { host } => {
                self.tell_ring(host, Ring::rejoin);
                self.pump(host)?;
            }
            What::Flap { a, b, left, each } => self.flap(a, b, left, each),
            What::Mend { links } => self.mend(&links),
            What::EndSlow { host } => {
                let own = &mut self.hosts[host];
                if own.slow_until <= self.now {
                    own.slow_each = 0;
                }
            }
            What::RepairDisk { host } => self.hosts[host].is_disk_broken = false,
            What::EndClockRate { host } => {
                self.hosts[host].set_rate(self.now, None);
                self.wake(host)?;
            }
        }
        Ok(())
    }

    /// Tells the engine of a host something, with what its clock shows; nothing if it is down.
    pub(super) fn tell_ring<T>(
        &mut self,
        host: usize,
        tell: impl FnOnce(&mut Ring, Time) -> T,
    ) -> Option<T> {
        let own = &mut self.hosts[host];
        let now = own.clock(self.now);
        own.ring.as_mut().map(|ring| tell(ring, now))
    }

    pub(super) fn on_durable(&mut self, host: usize, id: u64) {
        self.tell_ring(host, |ring, now| ring.on_durable(now, PersistId(id)));
    }

    fn arrive(&mut self, what: What) -> Result<(), Broken> {
        let What::Arrive {
            to,
            from,
            bytes,
            is_corrupted,
            is_due,
        } = what
        else {
            return Ok(());
        };
        let own = &self.hosts[to];
        let again = |is_due| What::Arrive {
            to,
            from,
            bytes: Rc::clone(&bytes),
            is_corrupted,
            is_due,
        };
        if own.is_paused(self.now) {
            // The kernel's buffer keeps some.
            if self.prng.chance(300) {
                self.after(5_000_000, again(is_due));
            } else {
                self.outcome.faults.count(Fault::Loss);
            }
            return Ok(());
        }
        if !is_due && (own.slow_each > 0 || own.busy_until > self.now) {
            let begins = own.busy_until.max(self.now);
            if begins > self.now + BACKLOG_MAX {
                self.outcome.faults.count(Fault::Loss);
                return Ok(());
            }
            let at = begins + own.slow_each;
            self.hosts[to].busy_until = at;
            self.at(at, again(true));
            return Ok(());
        }
        if own.ring.is_none() {
            return Ok(());
        }
        self.record(&[2, self.now, to as u64, from as u64, digest::of(&bytes)]);
        self.tell(Some(to), true, || trace::received(from, &bytes));
        let dropped = |cluster: &Self| {
            let ring = cluster.hosts[to].ring.as_ref();
            ring.map_or(0, Ring::frames_dropped)
        };
        let before = dropped(self);
        let port = Port {
            host: host_id(from),
            link: 0,
        };
        self.tell_ring(to, |ring, now| {
            ring.on_frame(now, port, Frame { bytes: &bytes });
        });
        if is_corrupted && dropped(self) != before + 1 {
            let seen = format!("a corrupted frame from {from} to {to} was let in");
            return Err(Broken {
                guarantee: "integrity",
                seen,
            });
        }
        self.pump(to)
    }

    pub(super) fn wake(&mut self, host: usize) -> Result<(), Broken> {
        self.hosts[host].wake_at = None;
        if self.hosts[host].is_paused(self.now) {
            return Ok(());
        }
        let now = self.hosts[host].clock(self.now);
        let ring = self.hosts[host].ring.as_ref();
        if ring
            .and_then(Ring::poll_timeout)
            .is_some_and(|at| at <= now)
        {
            self.record(&[3, self.now, host as u64]);
            self.tell_ring(host, Ring::on_timeout);
        }
        self.pump(host)
    }

    pub(super) fn submit(
        &mut self,
        host: usize,
        len: usize,
        label: Option<&String>,
    ) -> Result<(), Broken> {
        if self.hosts[host].is_paused(self.now) || self.hosts[host].ring.is_none() {
            return Ok(());
        }
        let content = (0..len).map(|_| self.prng.next().to_le_bytes()[0]);
        let bytes: Vec<u8> = content.collect();
        let group = GroupId(u32::try_from(self.prng.below(3)).expect("small"));
        let life = self.hosts[host].life;
        let submission = Submission {
            group,
            origin: 77 << 32 | life,
            bytes: &bytes,
        };
        let answer = self.tell_ring(host, |ring, now| ring.on_submit(now, submission));
        if let Some(Admit::Taken(ticket)) = answer {
            self.hosts[host].taken = ticket.0;
            let name = (host_id(host).0, life, ticket.0);
            self.checker.submitted(name, hash(group, &bytes));
            if let Some(label) = label {
                self.labels.insert(name, label.clone());
                self.tell(Some(host), false, || format!("submits {label}"));
            }
        }
        self.pump(host)
    }

    fn restart(&mut self, host: usize) -> Result<(), Broken> {
        // Healing may have started it before.
        if self.hosts[host].ring.is_some() {
            return Ok(());
        }
        self.start(host)
    }

    /// A new life, from what is on the disk.
    fn start(&mut self, host: usize) -> Result<(), Broken> {
        let life = self.hosts[host].life + 1;
        let stored = self.stored(host);
        let memory = if self.plan.listens(host) {
            None
        } else {
            self.memory(host)
        };
        // The clock may be wrong; the record saves the day.
        let boot_inc = if self.prng.chance(800) {
            self.now << 2 | life
        } else {
            life
        };
        let key = Key::from_bytes([9; 32]);
        let setup = Setup {
            me: host_id(host),
            hosts: self.plan.voters(),
            listeners: self.plan.listeners,
            ring: RING,
            boot_inc,
            stored,
            seed: self.prng.next(),
            params: self.plan.params,
            protection: match self.plan.mode {
                Mode::Open => Protection::Open,
                Mode::Tagged => Protection::Tagged(key.into()),
                Mode::Encrypted => Protection::Encrypted(key.into()),
            },
        };
        let held = memory.as_ref().map_or(0, |memory| memory.tail().0);
        self.record(&[4, self.now, host as u64, life, held]);
        let has_memory = memory.is_some();
        self.tell(Some(host), false, || {
            let with = if has_memory {
                format!(", remembers {held}")
            } else {
                String::new()
            };
            format!("starts, life {life}{with}")
        });
        if let Some(stored) = stored.filter(|stored| stored.generation != 0) {
            self.enter_generation(host, stored.generation);
        }
        let own = &mut self.hosts[host];
        own.life = life;
        own.taken = 0;
        own.paused_until = 0;
        own.wake_at = None;
        own.seen = super::host::Seen::default();
        own.known = super::marks::Known::default();
        let started = own.clock(self.now);
        let ring = if self.plan.has_journal {
            Ring::with_journal(&setup, memory, started)
        } else {
            Ring::member(&setup, started)
        };
        if has_memory {
            self.check_memory(host, &ring)?;
        } else {
            self.hosts[host].has_promised = Epoch(0);
        }
        self.hosts[host].ring = Some(ring);
        self.pump(host)
    }
}
