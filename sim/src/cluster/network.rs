//! What leaves a host: frames into the network, records to the disk, deliveries to the checker.

use std::rc::Rc;

use libexo::engine::ring::Ring;
use libexo::engine::{Engine, Event, Notice, Transmit};
use libexo::ids::Position;

use super::host::{Drained, Output, Seen, drain};
use super::{Cluster, What, host_id};
use crate::checker::Broken;
use crate::fault::Fault;
use crate::step::Hosts;
use crate::trace;

impl Cluster<'_> {
    fn transmit(&mut self, from: usize, frame: &Transmit) {
        let to = frame.to.map(|to| usize::from(to.0));
        self.tell(Some(from), true, || trace::sent(to, &frame.bytes));
        let whole: Rc<[u8]> = frame.bytes.as_slice().into();
        let everybody = 0..self.plan.hosts;
        let to = to.map_or(everybody, |to| to..to + 1);
        for to in to.filter(|to| *to != from) {
            self.outcome.frames += 1;
            let is_lost =
                !self.is_healed && (self.cut[from][to] > 0 || self.prng.chance(self.plan.loss));
            if is_lost {
                self.outcome.faults.count(Fault::Loss);
                continue;
            }
            let mut bytes = Rc::clone(&whole);
            let is_corrupted = !self.is_healed && self.prng.chance(self.plan.corruption);
            if is_corrupted {
                self.outcome.faults.count(Fault::Corruption);
                bytes = self.corrupt(&bytes);
            }
            let is_double = !self.is_healed && self.prng.chance(self.plan.duplication);
            if is_double {
                self.outcome.faults.count(Fault::Duplication);
            }
            for _ in 0..1 + u64::from(is_double) {
                let (least, most) = self.plan.delay;
                let at = self.now + least + self.prng.below(most - least);
                let last = &mut self.last_arrival[from][to];
                if at < *last {
                    self.outcome.faults.count(Fault::Reordering);
                }
                *last = at.max(*last);
                let bytes = Rc::clone(&bytes);
                self.at(
                    at,
                    What::Arrive {
                        to,
                        from,
                        bytes,
                        is_corrupted,
                        is_due: false,
                    },
                );
            }
        }
    }

    /// A bit, or up to four bytes in a row, are other ones: what the check of a frame always finds.
    fn corrupt(&mut self, bytes: &[u8]) -> Rc<[u8]> {
        let mut bytes = bytes.to_vec();
        let at = self.prng.index(bytes.len());
        bytes[at] ^= 1 << self.prng.below(8);
        if self.prng.chance(300) {
            let until = (at + 4).min(bytes.len());
            for byte in &mut bytes[at + 1..until] {
                *byte ^= self.prng.next().to_le_bytes()[0];
            }
        }
        bytes.into()
    }

    /// Takes everything out of a host's engine and sets its alarm.
    pub(super) fn pump(&mut self, host: usize) -> Result<(), Broken> {
        let Some(mut ring) = self.hosts[host].ring.take() else {
            return Ok(());
        };
        let Drained {
            outputs,
            records,
            units,
        } = drain(&mut ring);
        let checked = ring.check();
        let marked = self.check_marks(host, &ring);
        self.hosts[host].has_agreed |= ring.marks().agreed() > Position(0);
        if self.hosts[host].has_forgotten && self.is_back(host, &ring) {
            self.hosts[host].has_forgotten = false;
        }
        self.look(host, &ring);
        let next = ring.poll_timeout();
        self.hosts[host].ring = Some(ring);
        if let Err(violation) = checked {
            return Err(Broken {
                guarantee: violation.rule,
                seen: format!("{:?} {}", self.name(host), violation.found),
            });
        }
        marked?;
        for record in records {
            self.write(host, record);
        }
        self.append(host, units);
        for output in outputs {
            self.release(host, output)?;
        }
        let own = &mut self.hosts[host];
        let next = next.and_then(|at| own.real(at)).map(|at| at.max(self.now));
        if let Some(at) = next
            && own.wake_at.is_none_or(|before| at < before)
        {
            own.wake_at = Some(at);
            self.at(at, What::Wake { host });
        }
        Ok(())
    }

    /// Who it is, to the checker.
    pub(super) fn name(&self, host: usize) -> (u8, u64) {
        (host_id(host).0, self.hosts[host].life)
    }

    /// Tells whoever watches what is new in the state of a host.
    fn look(&mut self, host: usize, ring: &Ring) {
        if self.watch.is_none() {
            return;
        }
        let Some(state) = ring.inspect() else {
            return;
        };
        let seen = Seen {
            joined: state.joined.0,
            ring: state.ring.iter().map(|host| host.0).collect(),
            is_halted: state.is_halted,
            is_amnesiac: state.is_amnesiac,
        };
        let before = std::mem::replace(&mut self.hosts[host].seen, seen.clone());
        if seen.is_amnesiac && !before.is_amnesiac {
            self.tell(Some(host), false, || "has no memory".to_owned());
        }
        if (seen.joined, &seen.ring) != (before.joined, &before.ring) {
            let ring: Hosts = seen.ring.iter().map(|host| usize::from(*host)).collect();
            let text = || format!("epoch {} {ring}", trace::epoch(state.joined));
            self.tell(Some(host), false, text);
        }
        if seen.is_halted != before.is_halted {
            let text = if seen.is_halted { "halted" } else { "resumed" };
            self.tell(Some(host), false, || text.to_owned());
        }
    }

    /// Each generation has places of its own.
    pub(super) fn enter_generation(&mut self, host: usize, generation: u64) {
        let known = self.generations.iter().position(|it| *it == generation);
        let index = known.unwrap_or_else(|| {
            self.generations.push(generation);
            self.generations.len() - 1
        });
        self.hosts[host].first_seq = (index as u64) << 50;
    }

    /// An output leaves its host.
    fn release(&mut self, host: usize, output: Output) -> Result<(), Broken> {
        let me = self.name(host);
        match output {
            Output::Frame(frame) => {
                self.note_promise(host, &frame.bytes);
                self.transmit(host, &frame);
            }
            Output::Notice(Notice::Gap { from, to }) => {
                self.checker.gap(me);
                let own = &mut self.hosts[host];
                let place = |position: Position| own.first_seq + (position.0 << 16);
                let missed = (place(from), place(to.next()));
                own.gaps.push(missed);
                let text = || format!("missed {} to {}", from.0, to.0);
                self.tell(Some(host), false, text);
            }
            Output::Notice(Notice::Generation(generation)) => {
                self.enter_generation(host, generation);
            }
            // A changed bit may be that of the version.
            Output::Notice(Notice::Refused { .. }) if self.plan.corruption > 0 => {}
            Output::Notice(Notice::Refused { host, error }) => {
                return Err(Broken {
                    guarantee: "hosts that are configured alike hear each other",
                    seen: format!("{me:?} refuses {host:?}: {error}"),
                });
            }
            Output::Notice(notice @ Notice::Unagreed { .. }) => {
                return Err(Broken {
                    guarantee: "I10",
                    seen: format!("{me:?} {notice:?}"),
                });
            }
            Output::Notice(Notice::Fatal(violation)) => {
                return Err(Broken {
                    guarantee: violation.rule,
                    seen: format!("{me:?} {}", violation.found),
                });
            }
            Output::Deliver(mut it) => {
                self.check_level(host, &it)?;
                it.seq += self.hosts[host].first_seq;
                self.record(&[9, self.now, host as u64, it.seq, it.hash]);
                let label = self.labels.get(&it.name).cloned();
                let is_quiet = label.is_none();
                self.tell(Some(host), is_quiet, || {
                    let (sender, _, number) = it.name;
                    let sender = crate::step::letter(usize::from(sender));
                    let what = label.clone().unwrap_or_else(|| format!("{sender}{number}"));
                    format!("has {what}")
                });
                if let Some(label) = label {
                    let told = self.told.entry(label).or_default();
                    *told = told.iter().chain([host]).collect();
                }
                self.checker.delivered(me, it)?;
            }
            Output::Event(Event::View(view)) => {
                let members: Vec<u8> = view.members.iter().map(|host| host.0).collect();
                let position = view.position.0 + self.hosts[host].first_seq;
                self.checker.view(me, position, &members)?;
            }
            Output::Event(Event::Halted | Event::Resumed) => {}
        }
        Ok(())
    }
}
