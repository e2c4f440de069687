//! What the marks of a host promise about the others, seen from outside: so a wrong step is found
//! before it does harm.
//!
//! What is agreed is held, in the epoch in which it was counted, by a majority; what is durable is
//! on the disks of one; what is safe is held by every member, and only that is trimmed. A founder's
//! log holds whatever anybody agreed on in older epochs.

use std::collections::HashMap;

use libexo::engine::Stage;
use libexo::engine::marks::Marks;
use libexo::engine::ring::{Inspection, Ring};
use libexo::ids::{Epoch, Position};
use libexo::wire::{Frame, Kind};

use super::{Cluster, RING, host_id};
use crate::checker::{Broken, Delivered};
use crate::step::Hosts;

/// Where a frame says of which kind it is (`docs/wire.md`).
const KIND_AT: usize = 3;

/// How far each host ever was: what was held once was held.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// By generation, epoch and host.
    held: HashMap<(u64, Epoch, usize), Position>,
    stored: HashMap<(u64, Epoch, usize), Position>,
    /// What hosts that are gone had agreed on.
    agreed: Vec<Agreed>,
}

/// How far a host had agreed, working in an epoch.
#[derive(Clone, Copy, Debug)]
struct Agreed {
    generation: u64,
    joined: Epoch,
    position: Position,
    /// Of the log up to there; `None` if it was trimmed.
    digest: Option<u64>,
}

/// What was last seen of a host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    marks: Marks,
    ring: Hosts,
    joined: Epoch,
    promised: Epoch,
}

impl Known {
    /// How far the level has come at which messages are delivered.
    const fn level(&self, stage: Stage) -> Position {
        match stage {
            Stage::Tail => self.marks.tail(),
            Stage::Agreed => self.marks.agreed(),
            Stage::Durable => self.marks.durable(),
            Stage::Safe => self.marks.safe(),
        }
    }
}

fn digest_at(held: &[(Position, Epoch, u64)], position: Position) -> Option<u64> {
    let (first, _, _) = held.first()?;
    let index = usize::try_from(position.0.checked_sub(first.0)?).ok()?;
    held.get(index).map(|(_, _, digest)| *digest)
}

fn agreed_of(ring: &Ring) -> Option<Agreed> {
    let state = ring.inspect()?;
    let position = state.marks.agreed();
    Some(Agreed {
        generation: state.generation,
        joined: state.joined,
        position,
        digest: digest_at(&ring.held(), position),
    })
}

impl Cluster<'_> {
    /// The disk of a host holds its journal up to here, the last entry of this epoch.
    pub(super) fn note_stored(&mut self, at: (u64, Epoch, usize), tail: Position) {
        let known = self.reached.stored.entry(at).or_default();
        *known = tail.max(*known);
    }

    /// An engine goes: what it agreed on stays agreed.
    pub(super) fn note_end(&mut self, host: usize) {
        let agreed = self.hosts[host].ring.as_ref().and_then(agreed_of);
        self.reached.agreed.extend(agreed);
    }

    /// A frame leaves a host: a promise must outlive a crash from here on.
    pub(super) fn note_promise(&mut self, host: usize, bytes: &[u8]) {
        if bytes[KIND_AT] != Kind::Promise as u8 {
            return;
        }
        let frame = Frame::parse(bytes, RING).expect("the engine made it");
        let known = &mut self.hosts[host].has_promised;
        *known = frame.header.epoch.max(*known);
    }

    /// A host starts with the memory of its earlier lives.
    pub(super) fn check_memory(&self, host: usize, ring: &Ring) -> Result<(), Broken> {
        let promised = ring.inspect().map(|state| state.promised);
        let known = self.hosts[host].has_promised;
        if promised.is_some_and(|promised| promised < known) {
            return Err(Broken {
                guarantee: "no promise is taken back",
                seen: format!("{:?} {known:?}, then {promised:?}", host_id(host)),
            });
        }
        Ok(())
    }

    /// The marks of a host, if they moved.
    pub(super) fn check_marks(&mut self, host: usize, ring: &Ring) -> Result<(), Broken> {
        let Some(state) = ring.inspect() else {
            return Ok(());
        };
        let before = self.hosts[host].known;
        self.hosts[host].known.promised = state.promised;
        // A listener promises nothing, and leaves a generation that is over.
        if state.promised < before.promised && !self.plan.listens(host) {
            let (promised, now) = (before.promised, state.promised);
            return Err(Broken {
                guarantee: "no promise is taken back",
                seen: format!("{:?} {promised:?}, then {now:?}", host_id(host)),
            });
        }
        if (state.marks, state.joined) == (before.marks, before.joined) {
            return Ok(());
        }
        let members = state.ring.iter().map(|member| usize::from(member.0));
        let known = Known {
            marks: state.marks,
            ring: members.collect(),
            joined: state.joined,
            promised: state.promised,
        };
        self.hosts[host].known = known;
        let at = (state.generation, state.joined, host);
        let held = self.reached.held.entry(at).or_default();
        *held = state.marks.tail().max(*held);
        self.check_reached(host, &state, before)?;
        let has_founded = state.joined > before.joined
            && state.joined.founder() == host_id(host)
            && state.generation != 0;
        if has_founded {
            self.check_founder(host, &state, ring)?;
        }
        Ok(())
    }

    fn check_reached(&self, host: usize, state: &Inspection, before: Known) -> Result<(), Broken> {
        let wrong = |guarantee, hosts: Hosts| {
            let (me, marks) = (host_id(host), state.marks);
            let seen = format!("{me:?} {marks:?}, base {:?}, not {hosts}", state.base);
            Err(Broken { guarantee, seen })
        };
        let (generation, joined, marks) = (state.generation, state.joined, state.marks);
        let lacks = |position: Position, host: &usize| {
            let held = self.reached.held.get(&(generation, joined, *host));
            held.is_none_or(|held| *held < position)
        };
        let all = Hosts::first(self.plan.voters());
        let few = |lacking: Hosts| all.count() - lacking.count() <= all.count() / 2;
        // Who begins behind a base takes another's word for it.
        if marks.agreed() > before.marks.agreed().max(state.base) {
            let lacking = all
                .iter()
                .filter(|host| lacks(marks.agreed(), host))
                .collect();
            if few(lacking) {
                return wrong("a majority holds what is agreed", lacking);
            }
        }
        // Another's turn and an own one: among many members may have gone and come.
        let is_step = marks.tail().0 <= before.marks.tail().0 + 2;
        if is_step && marks.safe() > before.marks.safe().max(state.base) {
            // Who came in since may still be behind.
            let members = all.iter().filter(|host| {
                self.hosts[*host].known.joined == joined
                    && before.ring.has(*host)
                    && state.ring.contains(&host_id(*host))
            });
            let lacking: Hosts = members.filter(|host| lacks(marks.safe(), host)).collect();
            if lacking.count() > 0 {
                return wrong("every member holds what is safe", lacking);
            }
        }
        let has_come = marks.durable() > before.marks.durable().max(state.base);
        if self.plan.has_journal && has_come {
            let is_stored = |host: &usize| {
                let stored = self.reached.stored.get(&(generation, joined, *host));
                stored.is_some_and(|stored| *stored >= marks.durable())
            };
            let lacking = all.minus(all.iter().filter(is_stored).collect());
            if few(lacking) {
                return wrong("a majority stores what is durable", lacking);
            }
        }
        if state.base > marks.safe() {
            return wrong("only what is safe is trimmed", Hosts::default());
        }
        Ok(())
    }

    /// T5: what was agreed in older epochs is in the log of the founder of a newer one.
    fn check_founder(&self, host: usize, state: &Inspection, own: &Ring) -> Result<(), Broken> {
        let rings = self.hosts.iter().filter_map(|host| host.ring.as_ref());
        let agreed = rings.filter_map(agreed_of);
        let held = own.held();
        for it in agreed.chain(self.reached.agreed.iter().copied()) {
            if it.generation != state.generation || it.joined >= state.joined {
                continue;
            }
            let is_short = it.position >= state.marks.tail();
            let own = digest_at(&held, it.position);
            let differs = own.is_some() && it.digest.is_some() && own != it.digest;
            if is_short || differs {
                return Err(Broken {
                    guarantee: "founders hold what was agreed",
                    seen: format!("{:?} {:?} lacks {it:?}", host_id(host), state.joined),
                });
            }
        }
        Ok(())
    }

    /// A delivery whose level is not reached.
    pub(super) fn check_level(&self, host: usize, it: &Delivered) -> Result<(), Broken> {
        let (stage, known) = (self.plan.params.level, self.hosts[host].known);
        let position = Position(it.seq >> 16);
        if position > known.level(stage) {
            return Err(Broken {
                guarantee: "delivered at its level",
                seen: format!("{:?} {it:?} at {stage:?}, {:?}", host_id(host), known.marks),
            });
        }
        Ok(())
    }
}
