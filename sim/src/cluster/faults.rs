//! Faults, at random, until the network heals.

use super::{Cluster, What};
use crate::checker::Broken;
use crate::plan::Fault;

impl Cluster<'_> {
    /// Hosts that have forgotten, or are down and will have.
    pub(super) fn forgetful(&self) -> usize {
        self.hosts.iter().filter(|host| host.has_forgotten).count()
    }

    pub(super) fn fault(&mut self, number: u64) -> Result<(), Broken> {
        if self.is_healed {
            return Ok(());
        }
        let fault = self.prng.pick(&self.plan.faults);
        let host = self.prng.index(self.plan.hosts);
        let length = 1_000_000 + self.prng.below(400_000_000);
        let end = self.now + length;
        let tolerated = self.plan.hosts - self.plan.hosts / 2 - 1;
        match fault {
            Fault::Amnesia => {
                let may = self.plan.forgets_too_much || self.forgetful() < tolerated;
                if self.hosts[host].ring.is_none() || !may || self.hosts[host].has_forgotten {
                    return Ok(());
                }
                self.count_life(host);
                self.hosts[host].ring = None;
                self.hosts[host].has_forgotten = true;
                self.lose_disk(host);
                self.at(end, What::Restart { host });
            }
            Fault::Reboot => {
                self.cut_power(host);
                self.at(end, What::Restart { host });
            }
            Fault::PowerCut => {
                for host in 0..self.plan.hosts {
                    self.cut_power(host);
                    let at = self.now + self.prng.below(length);
                    self.at(at, What::Restart { host });
                }
            }
            Fault::Pause => {
                self.hosts[host].is_paused = true;
                self.at(end, What::Resume { host });
            }
            Fault::Partition => {
                let sides: Vec<bool> = (0..self.plan.hosts)
                    .map(|_| self.prng.chance(500))
                    .collect();
                for from in 0..self.plan.hosts {
                    for to in 0..self.plan.hosts {
                        self.cut[from][to] = sides[from] != sides[to];
                    }
                }
                self.at(end, What::HealLinks);
            }
            Fault::OneWay => {
                let hears = self.prng.chance(500);
                for other in (0..self.plan.hosts).filter(|other| *other != host) {
                    let (from, to) = if hears { (host, other) } else { (other, host) };
                    self.cut[from][to] = true;
                }
                self.at(end, What::HealLinks);
            }
            Fault::Flapping => self.at(self.now, What::Flap { left: 10 + number }),
            Fault::Leave => {
                if let Some(ring) = &mut self.hosts[host].ring {
                    ring.leave();
                }
                self.at(end, What::Rejoin { host });
            }
        }
        let index = crate::plan::FAULTS.iter().position(|kind| *kind == fault);
        self.outcome.faults[index.expect("one of all")] += 1;
        Ok(())
    }

    pub(super) fn flap(&mut self, left: u64) {
        if left == 0 || self.is_healed {
            return;
        }
        let (a, b) = (
            self.prng.index(self.plan.hosts),
            self.prng.index(self.plan.hosts),
        );
        self.cut[a][b] = !self.cut[a][b] && a != b;
        if left == 1 {
            self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
        }
        let at = self.now + self.prng.below(40_000_000);
        self.at(at, What::Flap { left: left - 1 });
    }
}
