//! What must hold between hosts, and come true after the last fault.

use core::time::Duration;

use libexo::engine::ring::Ring;
use libexo::ids::Position;

use super::{Cluster, HEAL, What};
use crate::checker::Broken;

/// How often all hosts send anew until listeners miss nothing.
const NEW_AGAIN: u64 = 9;

impl Cluster<'_> {
    /// T4: equal positions and epochs mean equal logs.
    pub(super) fn compare_logs(&self) -> Result<(), Broken> {
        let rings = self.hosts.iter().filter_map(|host| host.ring.as_ref());
        let mut known: std::collections::HashMap<_, _> = std::collections::HashMap::new();
        for ring in rings {
            let generation = ring.inspect().map(|state| state.generation);
            for (position, epoch, digest) in &ring.held() {
                let other = *known
                    .entry((generation, *position, *epoch))
                    .or_insert(*digest);
                if other != *digest {
                    let seen = format!("{position:?} of {epoch:?}");
                    return Err(Broken {
                        guarantee: "log matching",
                        seen,
                    });
                }
            }
        }
        Ok(())
    }

    // After the last fault.

    pub(super) fn heal(&mut self) -> Result<(), Broken> {
        self.is_healed = true;
        self.tell(None, false, || "the faults end".to_owned());
        self.mend_all();
        for host in 0..self.plan.hosts {
            let now = self.now;
            let own = &mut self.hosts[host];
            own.paused_until = now;
            own.slow_each = 0;
            own.disk_slow = (0, 0);
            own.set_rate(now, None);
            if own.ring.is_none() {
                self.happen(What::Restart { host })?;
            }
            self.happen(What::Rejoin { host })?;
            self.wake(host)?;
        }
        let (forgotten, tolerated) = (self.forgetful(), self.tolerated());
        let start = self.now;
        // If nobody remembers anything, a new generation begins.
        let too_many = forgotten > tolerated && forgotten < self.plan.voters();
        // First generations beside each other: who forgets one of them may leave all without a
        // majority that remembers, before anything was agreed on in any, or where only who forgot
        // had agreed. That takes the operator.
        let voters = &self.hosts[..self.plan.voters()];
        let has_agreed = voters.iter().any(|host| host.has_agreed);
        let is_split = forgotten > 0 && !has_agreed && self.generations.len() > 1;
        // Who forgot another generation is not heard.
        let differ = forgotten == self.plan.voters() && self.forgot_different_generations();
        if too_many || is_split || differ {
            // Progress would take the operator.
            self.tell(None, false, || "only safety is asked for".to_owned());
            self.run_until(start + 3_000_000_000, |_| false)?;
            return Ok(());
        }
        let is_settled = |cluster: &Self| cluster.is_settled();
        if !self.run_until(start + HEAL, is_settled)? {
            return Err(Broken {
                guarantee: "progress after healing",
                seen: self.describe(),
            });
        }
        if !self.agrees_on_new()? {
            return Err(Broken {
                guarantee: "new messages after healing",
                seen: self.describe(),
            });
        }
        self.outcome.healed = 1;
        let took = Duration::from_nanos(self.now - start).as_millis();
        self.outcome.heal_ms_max = u64::try_from(took).expect("minutes");
        self.all_own_are_placed()
    }

    fn forgot_different_generations(&self) -> bool {
        let of = |host| self.stored(host).map(|stored| stored.generation);
        (0..self.plan.voters()).any(|host| of(host) != of(0))
    }

    /// Every host that votes is in the ring of one epoch and has nothing of its own waiting; every
    /// listener follows it.
    fn is_settled(&self) -> bool {
        let mut epochs = None;
        let mut tail = Position(0);
        self.hosts.iter().enumerate().all(|(index, host)| {
            let Some(state) = host.ring.as_ref().and_then(Ring::inspect) else {
                return false;
            };
            let key = (state.generation, state.joined, state.promised);
            let is_same = *epochs.get_or_insert(key) == key;
            let own = state.marks.tail();
            // A listener holds what those before it hold.
            let is_behind = self.plan.listens(index) && own < tail;
            tail = tail.max(own);
            is_same
                && !is_behind
                && !state.is_amnesiac
                && state.joined == state.promised
                && state.ring.len() == self.plan.voters()
                && state.queued == 0
        })
    }

    /// All deliver a new message from each host that votes. Where nothing is retained a listener
    /// may miss one that came too early for it; then it delivers the next ones.
    fn agrees_on_new(&mut self) -> Result<bool, Broken> {
        let (voters, all) = (self.plan.voters(), self.plan.hosts);
        for _ in 0..1 + NEW_AGAIN * u64::from(voters < all) {
            for host in 0..voters {
                self.submit(host, 20, None)?;
            }
            let is_done = |cluster: &Self| cluster.is_settled() && cluster.is_level(voters);
            if !self.run_until(self.now + HEAL, is_done)? {
                return Ok(false);
            }
            if self.is_level(all) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first `count` hosts have delivered up to the same place, and nothing beyond it was ever
    /// delivered.
    fn is_level(&self, count: usize) -> bool {
        let place = |host: usize| self.checker.highest(self.name(host));
        let last = self.checker.last_place();
        (0..count).all(|host| place(host) == last)
    }

    /// Whatever a host of the last lives took is in the order.
    fn all_own_are_placed(&self) -> Result<(), Broken> {
        for (host, own) in self.hosts.iter().enumerate() {
            for number in 1..=own.taken {
                let (id, life) = self.name(host);
                let name = (id, life, number);
                // What fell into the sender's own gap was agreed, and perhaps seen by nobody left.
                let had_gap = self.hosts.iter().any(|host| {
                    host.ring
                        .as_ref()
                        .is_some_and(|ring| ring.counters().gaps > 0)
                });
                if self.checker.place(name).is_none() && !had_gap {
                    return Err(Broken {
                        guarantee: "validity",
                        seen: format!("{name:?}"),
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for (index, host) in self.hosts.iter().enumerate() {
            if let Some(state) = host.ring.as_ref().and_then(Ring::inspect) {
                let ring: Vec<u8> = state.ring.iter().map(|host| host.0).collect();
                text += &format!(
                    "\n  {index}: last {:x} gaps {} gen {:x} inc {} {}promised {:x} joined {:x} {:?} base {} ring {ring:?} queued {}{}{}",
                    self.checker.highest(self.name(index)),
                    state.counters.gaps,
                    state.generation & 0xffff,
                    state.inc,
                    if state.is_amnesiac { "AMNESIAC " } else { "" },
                    state.promised.0,
                    state.joined.0,
                    state.marks,
                    state.base.0,
                    state.queued,
                    if state.is_parked { " parked" } else { "" },
                    if state.is_halted { " halted" } else { "" },
                );
            }
        }
        text
    }
}
