//! What happens to a host: frames, alarms, records on disk, submissions, starts.

use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Admit, Engine, Frame, PersistId, Port, Submission};
use libexo::ids::GroupId;
use libexo::wire::auth::Protection;
use libexo::wire::key::Key;
use libexo::wire::record::Record;

use super::{Cluster, RING, What, hash, host_id};
use crate::checker::Broken;

impl Cluster<'_> {
    pub(super) fn happen(&mut self, what: What) -> Result<(), Broken> {
        match what {
            What::Arrive { to, from, bytes } => self.arrive(to, from, bytes)?,
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
            What::Submit { host } => self.submit(host)?,
            What::Fault { number } => self.fault(number)?,
            What::Restart { host } => {
                // Healing may have started it before.
                if self.hosts[host].ring.is_none() {
                    self.start(host)?;
                }
            }
            What::Resume { host } => {
                self.hosts[host].is_paused = false;
                self.wake(host)?;
            }
            What::Rejoin { host } => {
                let now = self.hosts[host].clock(self.now);
                if let Some(ring) = &mut self.hosts[host].ring {
                    ring.rejoin(now);
                }
                self.pump(host)?;
            }
            What::Flap { left } => self.flap(left),
            What::HealLinks => self.cut.iter_mut().flatten().for_each(|cut| *cut = false),
        }
        Ok(())
    }

    fn arrive(&mut self, to: usize, from: usize, bytes: Vec<u8>) -> Result<(), Broken> {
        if self.hosts[to].is_paused && !self.is_healed {
            // The kernel's buffer keeps some.
            if self.prng.chance(300) {
                let at = self.now + 5_000_000;
                self.at(at, What::Arrive { to, from, bytes });
            }
            return Ok(());
        }
        let now = self.hosts[to].clock(self.now);
        let port = Port {
            host: host_id(from),
            link: 0,
        };
        if let Some(ring) = &mut self.hosts[to].ring {
            ring.on_frame(now, port, Frame { bytes: &bytes });
            self.pump(to)?;
        }
        Ok(())
    }

    pub(super) fn wake(&mut self, host: usize) -> Result<(), Broken> {
        self.hosts[host].wake_at = None;
        if self.hosts[host].is_paused {
            return Ok(());
        }
        let now = self.hosts[host].clock(self.now);
        if let Some(ring) = &mut self.hosts[host].ring {
            if ring.poll_timeout().is_some_and(|at| at <= now) {
                ring.on_timeout(now);
            }
            self.pump(host)?;
        }
        Ok(())
    }

    fn durable(&mut self, host: usize, life: u64, id: u64, bytes: Vec<u8>) -> Result<(), Broken> {
        if self.hosts[host].life != life || self.hosts[host].ring.is_none() {
            return Ok(());
        }
        self.hosts[host].disk = Some(bytes);
        let now = self.hosts[host].clock(self.now);
        if let Some(ring) = &mut self.hosts[host].ring {
            ring.on_durable(now, PersistId(id));
        }
        self.pump(host)
    }

    pub(super) fn submit(&mut self, host: usize) -> Result<(), Broken> {
        if self.hosts[host].is_paused || self.hosts[host].ring.is_none() {
            return Ok(());
        }
        let len = self.prng.index(self.plan.message_bytes_max + 1);
        let mut bytes = vec![0; len];
        bytes
            .iter_mut()
            .for_each(|byte| *byte = self.prng.next().to_le_bytes()[0]);
        let group = GroupId(u32::try_from(self.prng.below(3)).expect("small"));
        let own = &mut self.hosts[host];
        let now = own.clock(self.now);
        let Some(ring) = &mut own.ring else {
            return Ok(());
        };
        let submission = Submission {
            group,
            origin: 77 << 32 | own.life,
            bytes: &bytes,
        };
        if let Admit::Taken(ticket) = ring.on_submit(now, submission) {
            own.submitted += 1;
            own.taken = ticket.0;
            let name = (host_id(host).0, own.life, ticket.0);
            self.checker.submitted(name, hash(group, &bytes));
        }
        self.pump(host)
    }

    pub(super) fn start(&mut self, host: usize) -> Result<(), Broken> {
        let life = self.hosts[host].life + 1;
        let stored = self.hosts[host].disk.as_ref();
        let stored = stored.map(|bytes| Record::parse(bytes).expect("it was written whole"));
        let memory = self.memory(host, stored.map_or(0, |stored| stored.generation));
        // The clock may be wrong; the record saves the day.
        let boot_inc = if self.prng.chance(800) {
            self.now << 2 | life
        } else {
            life
        };
        let key = Key::from_bytes([9; 32]);
        let protection = match (self.plan.sealed, self.plan.seed % 2) {
            (false, _) => Protection::Open,
            (true, 0) => Protection::Tagged(key),
            (true, _) => Protection::Encrypted(key),
        };
        let setup = Setup {
            me: host_id(host),
            hosts: self.plan.hosts,
            ring: RING,
            boot_inc,
            stored,
            seed: self.prng.next(),
            params: self.plan.params,
            protection,
        };
        if let Some(stored) = stored.filter(|stored| stored.generation != 0) {
            self.enter_generation(host_id(host).0, stored.generation);
        }
        let own = &mut self.hosts[host];
        own.life = life;
        own.taken = 0;
        own.is_paused = false;
        let now = own.clock(self.now);
        own.ring = Some(if self.plan.durable {
            Ring::with_journal(&setup, memory, now)
        } else {
            Ring::member(&setup, now)
        });
        self.pump(host)
    }
}
