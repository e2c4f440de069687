//! What must hold between hosts, and come true after the last fault.

use core::time::Duration;

use libexo::engine::ring::Ring;

use super::{Cluster, HEAL, What};
use crate::checker::Broken;

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
        let too_many = forgotten > tolerated && forgotten < self.plan.hosts;
        // First generations beside each other: who forgets one of them may leave all without a
        // majority that remembers, before anything was agreed on in any. That takes the operator.
        let is_split = forgotten > 0 && !self.has_agreed && self.generations.len() > 1;
        // Who forgot another generation is not heard.
        let differ = forgotten == self.plan.hosts && self.forgot_different_generations();
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
        for host in 0..self.plan.hosts {
            self.submit(host, 20, None)?;
        }
        if !self.run_until(self.now + HEAL, |cluster| {
            cluster.is_settled() && cluster.is_level()
        })? {
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
        (0..self.plan.hosts).any(|host| of(host) != of(0))
    }

    /// Every host is in the ring of one epoch and has nothing of its own waiting.
    fn is_settled(&self) -> bool {
        let mut epochs = None;
        self.hosts.iter().all(|host| {
            let Some(state) = host.ring.as_ref().and_then(Ring::inspect) else {
                return false;
            };
            let key = (state.generation, state.joined, state.promised);
            let is_same = *epochs.get_or_insert(key) == key;
            is_same
                && !state.is_amnesiac
                && state.joined == state.promised
                && state.ring.len() == self.plan.hosts
                && state.queued == 0
        })
    }

    /// All have delivered up to the same place, and nothing beyond it was ever delivered.
    fn is_level(&self) -> bool {
        let place = |host: usize| self.checker.highest(self.name(host));
        let last = self.checker.last_place();
        (0..self.plan.hosts).all(|host| place(host) == last)
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
