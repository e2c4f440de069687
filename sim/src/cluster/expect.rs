//! What a scenario expects.

use libexo::engine::ring::Ring;

use super::Cluster;
use crate::checker::Broken;
use crate::step::{Expect, Hosts, letter};

impl Cluster<'_> {
    pub(super) fn expect(&mut self, expect: &Expect) -> Result<(), Broken> {
        let state = |host: usize| self.hosts[host].ring.as_ref().and_then(Ring::inspect);
        let wrong = |seen: String| {
            Err(Broken {
                guarantee: "expectation",
                seen: format!("{expect} – {seen}{}", self.describe()),
            })
        };
        match expect {
            Expect::Ring { ring, at } => {
                for host in at.iter() {
                    let Some(state) = state(host) else {
                        return wrong(format!("{} is down", letter(host)));
                    };
                    let found: Hosts = state.ring.iter().map(|host| usize::from(host.0)).collect();
                    if found != *ring {
                        return wrong(format!("{} sees {found}", letter(host)));
                    }
                }
            }
            Expect::Delivered { labels, at } => {
                for label in labels {
                    let told = self.told.get(label).copied().unwrap_or_default();
                    if at.minus(told).count() > 0 {
                        return wrong(format!("{label} is at {told}"));
                    }
                }
            }
            Expect::Missing { labels, at } => {
                for label in labels {
                    let told = self.told.get(label).copied().unwrap_or_default();
                    if at.iter().any(|host| told.has(host)) {
                        return wrong(format!("{label} is at {told}"));
                    }
                }
            }
            Expect::Halted(hosts) => {
                for host in hosts.iter() {
                    if !state(host).is_some_and(|state| state.is_halted) {
                        return wrong(format!("{} is not", letter(host)));
                    }
                }
            }
            Expect::Forgotten(hosts) => {
                for host in hosts.iter() {
                    if !state(host).is_some_and(|state| state.is_amnesiac) {
                        return wrong(format!("{} has not", letter(host)));
                    }
                }
            }
            Expect::Gapless(hosts) => {
                for host in hosts.iter() {
                    let mut gaps = self.hosts[host].gaps.iter();
                    if gaps.any(|(from, to)| self.checker.has_any(*from, *to)) {
                        return wrong(format!("{} did", letter(host)));
                    }
                }
            }
        }
        self.tell(None, false, || format!("{expect}: so it is"));
        Ok(())
    }
}
