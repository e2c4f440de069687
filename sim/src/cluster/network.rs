//! What leaves a host: frames into the network, records to the disk, deliveries to the checker.

use libexo::engine::ring::Ring;
use libexo::engine::{Engine, Event, Notice};
use libexo::ids::HostId;

use super::{Cluster, What, hash, host_id};
use crate::checker::{Broken, Delivered};

impl Cluster<'_> {
    fn transmit(&mut self, from: usize, to: Option<HostId>, bytes: &[u8]) {
        let everybody = 0..self.plan.hosts;
        let to = to.map_or(everybody, |to| usize::from(to.0)..usize::from(to.0) + 1);
        for to in to.filter(|to| *to != from) {
            self.outcome.frames[0] += 1;
            let is_lost =
                !self.is_healed && (self.cut[from][to] || self.prng.chance(self.plan.loss));
            if is_lost {
                self.outcome.frames[1] += 1;
                continue;
            }
            let mut bytes = bytes.to_vec();
            if !self.is_healed && self.prng.chance(self.plan.corruption) {
                self.outcome.frames[3] += 1;
                let at = self.prng.index(bytes.len());
                bytes[at] ^= 1 << self.prng.below(8);
            }
            let copies = if !self.is_healed && self.prng.chance(self.plan.duplication) {
                2
            } else {
                1
            };
            self.outcome.frames[2] += copies - 1;
            for _ in 0..copies {
                let (least, most) = self.plan.delay;
                let at = self.now + least + self.prng.below(most - least);
                self.at(
                    at,
                    What::Arrive {
                        to,
                        from,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
    }

    /// Takes everything out of a host's engine and sets its alarm.
    pub(super) fn pump(&mut self, host: usize) -> Result<(), Broken> {
        let me = (host_id(host).0, self.hosts[host].life);
        let Some(mut ring) = self.hosts[host].ring.take() else {
            return Ok(());
        };
        while let Some(record) = ring.poll_persist() {
            self.write(host, me.1, record);
        }
        while let Some(frame) = ring.poll_transmit() {
            self.transmit(host, frame.to, &frame.bytes);
        }
        // A record may have been made while turns were taken.
        while let Some(record) = ring.poll_persist() {
            self.write(host, me.1, record);
        }
        self.journal(host, me.1, &mut ring);
        let result = self.drain(me, &mut ring);
        let checked = ring.check();
        if ring.marks().agreed().0 > 0 {
            // Admitted again: it counts as one that remembers.
            self.hosts[host].has_forgotten = false;
        }
        let own = &mut self.hosts[host];
        let next = ring.poll_timeout().map(|at| own.real(at).max(self.now));
        own.ring = Some(ring);
        if let Some(at) = next
            && own.wake_at.is_none_or(|before| at < before)
        {
            own.wake_at = Some(at);
            self.at(at, What::Wake { host });
        }
        if let Err(violation) = checked {
            return Err(Broken {
                guarantee: violation.rule,
                seen: format!("{me:?} {}", violation.found),
            });
        }
        result
    }

    /// Each generation has places of its own.
    pub(super) fn enter_generation(&mut self, host: u8, generation: u64) {
        let known = self
            .generations
            .iter()
            .position(|known| *known == generation);
        let index = known.unwrap_or_else(|| {
            self.generations.push(generation);
            self.generations.len() - 1
        });
        let index = u64::try_from(index).expect("a few");
        self.hosts[usize::from(host)].first_seq = index << 50;
    }

    fn drain(&mut self, me: (u8, u64), ring: &mut Ring) -> Result<(), Broken> {
        while let Some(notice) = ring.poll_notice() {
            match notice {
                Notice::Gap { .. } => self.checker.gap(me),
                Notice::Generation(generation) => self.enter_generation(me.0, generation),
                // A changed bit may be that of the version.
                Notice::Refused { .. } if self.plan.corruption > 0 => {}
                Notice::Refused { host, error } => {
                    return Err(Broken {
                        guarantee: "hosts that are configured alike hear each other",
                        seen: format!("{me:?} refuses {host:?}: {error}"),
                    });
                }
                Notice::Unagreed { .. } => {
                    let seen = format!("{me:?} {notice:?}");
                    return Err(Broken {
                        guarantee: "I10",
                        seen,
                    });
                }
                Notice::Fatal(violation) => {
                    let seen = format!("{me:?} {}", violation.found);
                    return Err(Broken {
                        guarantee: violation.rule,
                        seen,
                    });
                }
            }
        }
        while let Some(it) = ring.poll_deliver() {
            // A sender's life is told apart by what it sends along.
            let life = it.origin & u64::from(u32::MAX);
            let name = (it.host.0, life, it.ticket.0);
            let hash = hash(it.group, it.bytes);
            let it = Delivered {
                seq: it.seq.0 + self.hosts[usize::from(me.0)].first_seq,
                name,
                hash,
            };
            self.outcome.trace = self.outcome.trace.wrapping_mul(31) ^ hash ^ it.seq;
            self.checker.delivered(me, it)?;
        }
        while let Some(event) = ring.poll_event() {
            if let Event::View(view) = event {
                let members: Vec<u8> = view.members.iter().map(|host| host.0).collect();
                let first = self.hosts[usize::from(me.0)].first_seq;
                self.checker.view(me, view.position.0 + first, &members)?;
            }
        }
        Ok(())
    }
}
