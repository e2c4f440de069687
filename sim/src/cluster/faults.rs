//! Steps: submissions and faults, as the plan says, until the network heals.

use libexo::engine::ring::Ring;

use super::disk::Journal;
use super::{Cluster, What};
use crate::checker::Broken;
use crate::fault::Fault;
use crate::step::{Act, Hosts, letter};

impl Cluster<'_> {
    /// Hosts that have forgotten, or are down and will have.
    pub(super) fn forgetful(&self) -> usize {
        self.hosts.iter().filter(|host| host.has_forgotten).count()
    }

    /// How many may forget at once.
    pub(super) const fn tolerated(&self) -> usize {
        let voters = self.plan.voters();
        voters - voters / 2 - 1
    }

    pub(super) fn act(&mut self, index: usize) -> Result<(), Broken> {
        let plan = self.plan;
        match &plan.steps[index].act {
            Act::Submit { host, bytes, label } => self.submit(*host, *bytes, label.as_ref())?,
            Act::Forget { host, span } => self.forget(*host, *span),
            Act::Crash { hosts, span } => self.crash_all(*hosts, *span),
            Act::Pause { host, span } => {
                let own = &mut self.hosts[*host];
                own.paused_until = own.paused_until.max(self.now.saturating_add(*span));
                let at = own.paused_until;
                self.at(at, What::Resume { host: *host });
                self.came(Fault::Pause, Some(*host), || "stands still".to_owned());
            }
            Act::Slow { host, each, span } => {
                let own = &mut self.hosts[*host];
                own.slow_each = *each;
                own.slow_until = self.now.saturating_add(*span);
                self.after(*span, What::EndSlow { host: *host });
                self.came(Fault::Slow, Some(*host), || "is slow".to_owned());
            }
            Act::Partition { sides, span } => {
                let side_of = |host| sides.iter().position(|side| side.has(host));
                let is_cut = |from, to| {
                    let ends = (side_of(from), side_of(to));
                    matches!(ends, (Some(a), Some(b)) if a != b)
                };
                self.cut(is_cut, *span);
                let names: Vec<_> = sides.iter().map(ToString::to_string).collect();
                let text = || format!("partition {}", names.join(" | "));
                self.came(Fault::Partition, None, text);
            }
            Act::Cut { from, to, span } => {
                self.cut(|a, b| from.has(a) && to.has(b), *span);
                self.came(Fault::OneWay, None, || format!("cut {from} > {to}"));
            }
            Act::Flap { a, b, times, each } => {
                self.flap(*a, *b, *times, *each);
                let text = || format!("link {}{} flaps", letter(*a), letter(*b));
                self.came(Fault::Flapping, None, text);
            }
            Act::Leave { host, span } => {
                self.tell_ring(*host, |ring, _| Ring::leave(ring));
                self.pump(*host)?;
                self.after(*span, What::Rejoin { host: *host });
                self.came(Fault::Leave, Some(*host), || "wants to leave".to_owned());
            }
            Act::SlowDisk { host, each, span } => {
                self.hosts[*host].disk_slow = (*each, self.now.saturating_add(*span));
                self.came(Fault::SlowDisk, Some(*host), || "disk is slow".to_owned());
            }
            Act::DiskError { host, span } => {
                // Counted when a write meets it.
                let own = &mut self.hosts[*host];
                own.is_disk_broken = true;
                own.repaired_at = self.now.saturating_add(*span);
                let at = own.repaired_at;
                self.at(at, What::RepairDisk { host: *host });
            }
            Act::ClockRate {
                host,
                percent,
                span,
            } => {
                self.hosts[*host].set_rate(self.now, Some(*percent));
                self.after(*span, What::EndClockRate { host: *host });
                let text = || format!("clock at {percent} %");
                self.came(Fault::ClockRate, Some(*host), text);
                self.wake(*host)?;
            }
            Act::ClockJump { host, by } => {
                self.hosts[*host].jump(*by);
                let text = || format!("clock jumps {} ms", by / 1_000_000);
                self.came(Fault::ClockJump, Some(*host), text);
                self.wake(*host)?;
            }
            Act::Mend => {
                self.mend_all();
                self.tell(None, false, || "every link works".to_owned());
            }
            Act::Expect(expect) => self.expect(expect)?,
        }
        Ok(())
    }

    fn came(&mut self, fault: Fault, host: Option<usize>, text: impl FnOnce() -> String) {
        self.outcome.faults.count(fault);
        self.tell(host, false, text);
    }

    fn forget(&mut self, host: usize, span: u64) {
        if self.plan.listens(host) {
            return self.end_listener(host, span);
        }
        // Who has forgotten loses nothing more.
        let may = self.plan.forgets_too_much
            || self.hosts[host].has_forgotten
            || self.forgetful() < self.tolerated();
        if self.hosts[host].ring.is_none() || !may {
            return;
        }
        self.count_life(host);
        let own = &mut self.hosts[host];
        own.ring = None;
        own.journal = Journal::default();
        own.has_forgotten = true;
        own.has_agreed = false;
        own.disk_free = self.now;
        self.came(Fault::Forget, Some(host), || "down, forgets".to_owned());
        self.after(span, What::Restart { host });
    }

    /// It keeps nothing, and comes back as one that comes late.
    fn end_listener(&mut self, host: usize, span: u64) {
        if self.hosts[host].ring.is_none() {
            return;
        }
        self.count_life(host);
        let own = &mut self.hosts[host];
        own.ring = None;
        own.disk_free = self.now;
        self.came(Fault::ListenerEnds, Some(host), || "down".to_owned());
        self.after(span, What::Restart { host });
    }

    fn crash_all(&mut self, hosts: Hosts, span: u64) {
        let is_all = (0..self.plan.voters()).all(|host| hosts.has(host));
        let fault = if is_all {
            Fault::PowerCut
        } else {
            Fault::Crash
        };
        // Without a journal it would forget.
        let can_fall = |host: &usize| {
            let has_memory = self.plan.has_journal && !self.plan.listens(*host);
            has_memory && self.hosts[*host].ring.is_some()
        };
        let falls: Vec<_> = hosts.iter().filter(can_fall).collect();
        for host in hosts.iter().filter(|host| self.plan.listens(*host)) {
            self.end_listener(host, span);
        }
        if !falls.is_empty() {
            self.came(fault, None, || format!("{} of {hosts}", fault.name()));
        }
        for host in falls {
            self.crash(host);
            self.after(span, What::Restart { host });
        }
    }

    // Links.

    fn cut(&mut self, is_cut: impl Fn(usize, usize) -> bool, span: u64) {
        let mut links = Vec::new();
        for from in 0..self.plan.hosts {
            for to in 0..self.plan.hosts {
                if from != to && is_cut(from, to) {
                    self.cut[from][to] += 1;
                    links.push((from, to));
                }
            }
        }
        self.after(span, What::Mend { links });
    }

    /// One fault's cuts end.
    pub(super) fn mend(&mut self, links: &[(usize, usize)]) {
        for (from, to) in links {
            let cut = &mut self.cut[*from][*to];
            *cut = cut.saturating_sub(1);
        }
    }

    pub(super) fn mend_all(&mut self) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = 0);
    }

    pub(super) fn flap(&mut self, a: usize, b: usize, left: u64, each: u64) {
        if left == 0 || self.is_healed {
            return;
        }
        let is_it = |from, to| (from, to) == (a, b) || (from, to) == (b, a);
        self.cut(is_it, each);
        let left = left - 1;
        self.after(each.saturating_mul(2), What::Flap { a, b, left, each });
    }
}
