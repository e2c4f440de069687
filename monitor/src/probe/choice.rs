//! `transport = "auto"`: whether a frame to all goes out as one multicast or as a copy for each host.
//!
//! Every host listens for both, so each chooses for what it sends, and none has to agree with another:
//! multicast where every host that answers at all hears this host's, else copies. In rounds an echo
//! goes to the group, and one to each host alone that did not answer the last; who answers the second
//! and not the first is deaf to multicast. A host that answers neither is down or cut off, which
//! copies would not mend.
//!
//! ```text
//!  copies ── 3 rounds in which all that answer hear multicast ──▶ multicast
//!         ◀── a host deaf for 2 rounds ──
//! ```
//!
//! A state machine: time is an argument.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libexo::ids::HostId;
use libexo::time::Time;

use super::packet::Echo;

/// Number of the echoes of a round; those of surveys are small.
pub(super) const NUMBER: u16 = u16::MAX;
/// Between two rounds while nothing changes, for as many hosts as [`HOSTS_A_PERIOD`].
const PERIOD: Duration = Duration::from_secs(1);
/// While the ring rests only one period in so many has a round: rounds and signs of life together are at
/// most 10 frames a second on three hosts. If multicast is lost then, signs of life are, too, and the
/// rest is over.
const REST_PERIODS: u8 = 15;
/// More hosts have longer periods, so that a host answers at most so many rounds a second.
const HOSTS_A_PERIOD: usize = 8;
/// Between two rounds while something is to be found out; longer than any way there and back on a
/// common link.
const HASTE: Duration = Duration::from_millis(100);
/// Rounds in a row in which a host is deaf before copies are sent: one may be lost.
const DEAF_ROUNDS: u8 = 2;
/// Rounds in a row in which all is well before multicast is sent.
const GOOD_ROUNDS: u8 = 3;
/// Rounds in haste for a host that has stopped answering.
const HASTY_ROUNDS: u8 = 4;

/// How frames to all are sent at present: written by the thread of probes, read by all others.
#[derive(Debug)]
pub(crate) struct Choice {
    is_multicast: AtomicBool,
    why: Mutex<String>,
    /// Written by the engine thread.
    rests: AtomicBool,
}

impl Choice {
    /// Copies, until something better is known.
    pub(crate) fn new() -> Self {
        Self {
            is_multicast: AtomicBool::new(false),
            why: Mutex::new("no other host has answered a probe yet".to_owned()),
            rests: AtomicBool::new(false),
        }
    }

    /// Whether nothing is to be sent, and this host hears that it is so.
    pub(crate) fn note_rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed); // nothing else is read by it
    }

    pub(super) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// Whether a frame to all is one multicast.
    pub(crate) fn is_multicast(&self) -> bool {
        // Nothing else is read by what this says.
        self.is_multicast.load(Ordering::Relaxed)
    }

    /// As operators read it, with the reason.
    pub(crate) fn told(&self) -> (&'static str, String) {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let way = match self.is_multicast() {
            true => "multicast",
            false => "copies",
        };
        (way, why.clone())
    }

    pub(crate) fn settle(&self, is_multicast: bool, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.is_multicast.store(is_multicast, Ordering::Relaxed);
    }
}

/// What a round sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Round {
    pub(super) number: u32,
    /// Who gets an echo alone, beside the one to all.
    pub(super) alone: Vec<HostId>,
}

/// Makes the choice.
#[derive(Debug)]
pub(super) struct Chooser {
    others: Vec<Other>,
    period: Duration,
    number: u32,
    /// When this round ends and the next begins.
    next: Time,
    is_first: bool,
    /// Answers are awaited.
    is_open: bool,
    /// Periods without a round, since the last.
    skipped: u8,
    is_multicast: bool,
    /// Good rounds in a row.
    good: u8,
    /// Multicast was chosen once: from then on there is no haste to choose it.
    has_chosen: bool,
}

#[derive(Debug)]
struct Other {
    host: HostId,
    /// In this round.
    heard_all: bool,
    heard_alone: bool,
    /// Rounds in a row without an answer to the echo to all; none before its first answer.
    missed: u8,
    /// Of these the last ones in which it answered the other echo.
    deaf: u8,
}

impl Chooser {
    /// Of host `me` among `hosts`; rounds are numbered from `number` on.
    pub(super) fn new(now: Time, number: u32, me: HostId, hosts: usize) -> Self {
        let others = (0..=u8::MAX).take(hosts).map(HostId);
        let other = |host| Other {
            host,
            heard_all: false,
            heard_alone: false,
            missed: 0,
            deaf: 0,
        };
        let periods = hosts.div_ceil(HOSTS_A_PERIOD);
        Self {
            others: others.filter(|host| *host != me).map(other).collect(),
            period: PERIOD * u32::try_from(periods).expect("at most 256 hosts"),
            number,
            next: now,
            is_first: true,
            is_open: false,
            skipped: 0,
            is_multicast: false,
            good: 0,
            has_chosen: false,
        }
    }

    /// When to look again.
    pub(super) const fn due(&self) -> Time {
        self.next
    }

    /// Whether frames to all are to be multicast.
    pub(super) const fn is_multicast(&self) -> bool {
        self.is_multicast
    }

    /// The hosts that answer and do not hear multicast.
    pub(super) fn deaf(&self) -> impl Iterator<Item = HostId> {
        let deaf = self.others.iter().filter(|other| other.deaf > 0);
        deaf.map(|other| other.host)
    }

    /// Whether any host answered in the last round.
    pub(super) fn has_answers(&self) -> bool {
        let answers = |other: &Other| other.missed == 0 || other.deaf > 0;
        !self.is_first && self.others.iter().any(answers)
    }

    /// Ends a round whose time is over; what the next one sends. While the ring `rests` most periods
    /// have none.
    pub(super) fn poll_round(&mut self, now: Time, rests: bool) -> Option<Round> {
        if now < self.next {
            return None;
        }
        if std::mem::take(&mut self.is_open) {
            self.conclude();
        }
        let is_unclear = |other: &Other| (1..=HASTY_ROUNDS).contains(&other.missed);
        let is_hasty = self.is_first
            || self.others.iter().any(is_unclear)
            || self.good > 0 && !self.has_chosen && !self.is_multicast;
        if rests && !is_hasty && self.skipped + 1 < REST_PERIODS {
            self.skipped += 1;
            self.next = now.after(self.period);
            return None;
        }
        (self.is_first, self.is_open, self.skipped) = (false, true, 0);
        self.number = self.number.wrapping_add(1);
        self.next = now.after(if is_hasty { HASTE } else { self.period });
        let unheard = self.others.iter().filter(|other| other.missed > 0);
        Some(Round {
            number: self.number,
            alone: unheard.map(|other| other.host).collect(),
        })
    }

    fn conclude(&mut self) {
        for other in &mut self.others {
            let is_deaf = other.heard_alone && !other.heard_all;
            other.deaf = if is_deaf {
                other.deaf.saturating_add(1)
            } else {
                0
            };
            other.missed = match other.heard_all {
                true => 0,
                false => other.missed.saturating_add(1),
            };
            (other.heard_all, other.heard_alone) = (false, false);
        }
        let all = || self.others.iter();
        let is_heard = all().any(|other| other.missed == 0);
        let is_clear = all().all(|other| other.missed == 0 || other.missed > HASTY_ROUNDS);
        if self.deaf().next().is_none() && is_heard && is_clear {
            self.good = self.good.saturating_add(1);
        } else {
            self.good = 0;
        }
        if self.is_multicast {
            self.is_multicast = all().all(|other| other.deaf < DEAF_ROUNDS);
        } else if self.good >= GOOD_ROUNDS {
            self.is_multicast = true;
            self.has_chosen = true;
        }
    }

    /// A host answered an echo.
    pub(super) fn on_heard(&mut self, from: HostId, echo: Echo) {
        if !self.is_open || echo.survey != self.number || echo.number != NUMBER {
            return; // of an earlier round
        }
        let Some(other) = self.others.iter_mut().find(|other| other.host == from) else {
            return;
        };
        if echo.to_all {
            other.heard_all = true;
        } else {
            other.heard_alone = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reaches a host.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Way {
        Both,
        Alone,
        Nothing,
    }

    struct World {
        chooser: Chooser,
        now: Time,
        rounds: u32,
        echoes_alone: usize,
    }

    impl World {
        fn new(hosts: usize) -> Self {
            Self {
                chooser: Chooser::new(Time(0), 7, HostId(0), hosts),
                now: Time(0),
                rounds: 0,
                echoes_alone: 0,
            }
        }

        /// One round, and how long it took.
        fn round(&mut self, ways: &[Way]) -> Duration {
            let round = self.chooser.poll_round(self.now, false).expect("it is due");
            self.rounds += 1;
            self.echoes_alone += round.alone.len();
            for (host, way) in (1..).map(HostId).zip(ways) {
                let echo = |to_all| Echo {
                    survey: round.number,
                    number: NUMBER,
                    to_all,
                };
                if *way == Way::Both {
                    self.chooser.on_heard(host, echo(true));
                }
                if *way != Way::Nothing && round.alone.contains(&host) {
                    self.chooser.on_heard(host, echo(false));
                }
            }
            let began = std::mem::replace(&mut self.now, self.chooser.due());
            self.now.since(began)
        }

        /// How long it takes until the choice is this one.
        fn until(&mut self, is_multicast: bool, ways: &[Way]) -> Duration {
            let (begun, mut chosen) = (self.now, self.now);
            while self.chooser.is_multicast() != is_multicast {
                chosen = self.now;
                self.round(ways);
                assert!(self.now.since(begun) < PERIOD * 20, "{ways:?}");
            }
            chosen.since(begun)
        }

        fn stays(&mut self, ways: &[Way]) {
            let before = self.chooser.is_multicast();
            for _ in 0..50 {
                self.round(ways);
                assert_eq!(self.chooser.is_multicast(), before, "{ways:?}");
            }
        }
    }

    const GOOD: [Way; 2] = [Way::Both; 2];

    #[test]
    fn multicast_is_chosen_soon_where_all_hear_it() {
        let mut world = World::new(3);
        assert!(!world.chooser.is_multicast(), "copies work everywhere");
        assert_eq!(world.until(true, &GOOD), HASTE * 3);
        world.stays(&GOOD);
        assert_eq!(world.round(&GOOD), PERIOD);
        assert_eq!(world.echoes_alone, 0);
    }

    #[test]
    fn one_host_that_is_deaf_to_it_means_copies_and_its_hearing_means_multicast() {
        let deaf = [Way::Both, Way::Alone];
        let mut world = World::new(3);
        world.stays(&deaf);
        assert_eq!(world.chooser.deaf().collect::<Vec<_>>(), [HostId(2)]);
        assert_eq!(world.round(&deaf), PERIOD, "nothing is left to find out");
        world.until(true, &GOOD);
        assert!(world.until(false, &deaf) <= PERIOD + HASTE * 3);
        assert!(world.until(true, &GOOD) >= PERIOD * 2, "no haste back");
    }

    #[test]
    fn a_host_that_answers_nothing_decides_nothing() {
        let mut world = World::new(3);
        world.stays(&[Way::Nothing; 2]);
        assert!(!world.chooser.has_answers());
        let down = [Way::Both, Way::Nothing];
        world.until(true, &down);
        world.stays(&down);
        assert_eq!(world.round(&down), PERIOD);
        world.stays(&[Way::Nothing; 2]);
    }

    #[test]
    fn a_ring_at_rest_has_few_rounds_and_one_at_once_when_the_rest_ends() {
        let mut world = World::new(3);
        world.until(true, &GOOD);
        world.round(&GOOD);
        let mut rounds = 0;
        for _ in 0..10 * u32::from(REST_PERIODS) {
            let round = world.chooser.poll_round(world.now, true);
            if let Some(round) = round {
                rounds += 1;
                for host in [1, 2].map(HostId) {
                    let (survey, number) = (round.number, NUMBER);
                    let to_all = true;
                    world.chooser.on_heard(
                        host,
                        Echo {
                            survey,
                            number,
                            to_all,
                        },
                    );
                }
            }
            world.now = world.chooser.due();
        }
        assert_eq!(rounds, 10);
        assert!(world.chooser.is_multicast());
        let before = world.now;
        world.round(&GOOD);
        assert!(world.now.since(before) <= PERIOD);
    }

    #[test]
    fn one_lost_echo_changes_nothing() {
        let mut world = World::new(3);
        world.until(true, &GOOD);
        for _ in 0..50 {
            world.round(&[Way::Alone, Way::Both]);
            world.round(&GOOD);
            assert!(world.chooser.is_multicast());
        }
    }

    #[test]
    fn late_answers_and_those_of_nobody_are_none() {
        let mut chooser = Chooser::new(Time(0), 7, HostId(0), 3);
        let mut now = Time(0);
        for _ in 0..20 {
            let round = chooser.poll_round(now, false).expect("it is due");
            let echo = |survey, number| Echo {
                survey,
                number,
                to_all: true,
            };
            chooser.on_heard(HostId(1), echo(round.number.wrapping_sub(1), NUMBER));
            chooser.on_heard(HostId(1), echo(round.number, 0));
            chooser.on_heard(HostId(9), echo(round.number, NUMBER));
            now = chooser.due();
        }
        assert!(!chooser.is_multicast() && !chooser.has_answers());
    }

    #[test]
    fn more_hosts_have_longer_periods() {
        for (hosts, periods) in [(2, 1), (8, 1), (9, 2), (256, 32)] {
            let chooser = Chooser::new(Time(0), 0, HostId(0), hosts);
            assert_eq!(chooser.period, PERIOD * periods, "{hosts} hosts");
        }
    }
}
