//! One survey: what a host sends to all others, and what it makes of their answers.
//!
//! [`COUNT`] echoes to each host, beside them as many to all at once where the ring has a way to
//! all, then twice each length that is tried. A state machine: times are arguments.

use std::time::Duration;

use libexo::ids::HostId;
use libexo::time::{Time, Timestamp};

use super::packet::{Echo, Heard, Row};

/// Echoes to each host, and to all.
pub(super) const COUNT: u16 = 10;
/// Between two echoes to one host.
const GAP: Duration = Duration::from_millis(20);
/// How often a length is tried.
const TRIES: u16 = 2;
/// After the last echo; longer than any way there and back.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is sent next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sending {
    /// `None`: all at once.
    pub(super) to: Option<HostId>,
    pub(super) echo: Echo,
    /// Length of the whole frame; `None`: as short as it can be.
    pub(super) frame_bytes: Option<u16>,
}

/// A survey that runs, or ran.
#[derive(Debug)]
pub(super) struct Survey {
    number: u32,
    begun: Time,
    has_way_to_all: bool,
    lengths: Vec<u16>,
    /// The next echo, and to whom: an index into `others`, behind which "all" stands.
    step: u16,
    index: usize,
    others: Vec<Other>,
}

/// What is known about another host.
#[derive(Debug)]
struct Other {
    host: HostId,
    /// When each echo went.
    sent_at: Vec<(Time, Timestamp)>,
    /// Which echoes to it alone were answered, the first [`COUNT`] of them.
    answered: [bool; COUNT as usize],
    rtts: Vec<Duration>,
    /// That of the quickest answer: least time there and back, then the clock's lead.
    skew: Option<(Duration, i64)>,
    heard: u16,
    heard_to_all: u16,
    largest: u16,
}

impl Survey {
    /// Survey `number` of host `me` among `hosts`; `lengths` are those of whole frames, ascending.
    pub(super) fn new(
        now: Time,
        number: u32,
        me: HostId,
        hosts: usize,
        has_way_to_all: bool,
        lengths: Vec<u16>,
    ) -> Self {
        let others = (0..=u8::MAX).take(hosts).map(HostId);
        let other = |host| Other {
            host,
            sent_at: Vec::new(),
            answered: [false; COUNT as usize],
            rtts: Vec::new(),
            skew: None,
            heard: 0,
            heard_to_all: 0,
            largest: 0,
        };
        Self {
            number,
            begun: now,
            has_way_to_all,
            lengths,
            step: 0,
            index: 0,
            others: others.filter(|host| *host != me).map(other).collect(),
        }
    }

    fn steps(&self) -> u16 {
        COUNT + TRIES * u16::try_from(self.lengths.len()).expect("a few lengths")
    }

    fn begins(&self, step: u16) -> Time {
        self.begun.after(GAP * u32::from(step))
    }

    /// The next echo that is due; `wall` is now, too.
    pub(super) fn poll_send(&mut self, now: Time, wall: Timestamp) -> Option<Sending> {
        while self.step < self.steps() && now >= self.begins(self.step) {
            let (number, index) = (self.step, self.index);
            let echo = |to_all| Echo {
                survey: self.number,
                number,
                to_all,
            };
            if let Some(other) = self.others.get_mut(index) {
                self.index += 1;
                other.sent_at.push((now, wall));
                let tries = number.checked_sub(COUNT);
                let length = tries.map(|tried| self.lengths[usize::from(tried / TRIES)]);
                return Some(Sending {
                    to: Some(other.host),
                    echo: echo(false),
                    frame_bytes: length,
                });
            }
            (self.step, self.index) = (self.step + 1, 0);
            if self.has_way_to_all && number < COUNT {
                return Some(Sending {
                    to: None,
                    echo: echo(true),
                    frame_bytes: None,
                });
            }
        }
        None
    }

    /// Host `from` heard an echo; its answer came `now`.
    pub(super) fn on_heard(&mut self, now: Time, wall: Timestamp, from: HostId, heard: &Heard) {
        let echo = heard.echo;
        let number = usize::from(echo.number);
        let Some(other) = self.others.iter_mut().find(|other| other.host == from) else {
            return;
        };
        if echo.survey != self.number {
            return; // of an earlier one: late
        }
        let Some((sent_at, sent_wall)) = other.sent_at.get(number).copied() else {
            return; // of none that was sent
        };
        other.heard = other.heard.max(heard.to_one.min(COUNT));
        other.heard_to_all = other.heard_to_all.max(heard.to_all.min(COUNT));
        if echo.to_all {
            return;
        }
        let Some(answered) = other.answered.get_mut(number) else {
            let tried = usize::from((echo.number - COUNT) / TRIES);
            other.largest = other.largest.max(self.lengths[tried]);
            return;
        };
        if std::mem::replace(answered, true) {
            return;
        }
        let there = Duration::from_nanos(heard.told_at.saturating_sub(heard.heard_at));
        let rtt = now.since(sent_at).saturating_sub(there);
        other.rtts.push(rtt);
        if other.skew.is_none_or(|(least, _)| rtt < least) {
            let ahead = |theirs: u64, ours: Timestamp| i128::from(theirs) - i128::from(ours.0);
            let twice = ahead(heard.heard_at, sent_wall) + ahead(heard.told_at, wall);
            let skew = twice / 2;
            other.skew = Some((rtt, i64::try_from(skew).unwrap_or(i64::MAX)));
        }
    }

    /// When to look again; `None` once it is over.
    pub(super) fn due(&self) -> Option<Time> {
        let has_all = |other: &Other| {
            other.answered.iter().all(|answered| *answered)
                && other.heard_to_all >= self.sent_to_all()
                && self
                    .lengths
                    .last()
                    .is_none_or(|most| other.largest == *most)
        };
        if self.step < self.steps() {
            Some(self.begins(self.step))
        } else if self.others.iter().all(has_all) {
            None
        } else {
            Some(self.begins(self.steps()).after(PATIENCE))
        }
    }

    /// Whether nothing more is sent or waited for.
    pub(super) fn is_over(&self, now: Time) -> bool {
        let is_all_sent = self.step == self.steps();
        is_all_sent && self.due().is_none_or(|end| now >= end)
    }

    fn sent_to_all(&self) -> u16 {
        if self.has_way_to_all { COUNT } else { 0 }
    }

    /// What was measured, in the order of the hosts.
    pub(super) fn rows(&self) -> Vec<Row> {
        let byte = |count: usize| u8::try_from(count).expect("at most COUNT");
        let row = |other: &Other| {
            let mut rtts = other.rtts.clone();
            rtts.sort_unstable();
            let ns = |rtt: Option<&Duration>| {
                let ns = rtt.map_or(0, Duration::as_nanos);
                u32::try_from(ns).unwrap_or(u32::MAX)
            };
            Row {
                host: other.host,
                tcp: None,
                sent: byte(other.sent_at.len().min(usize::from(COUNT))),
                heard: byte(usize::from(other.heard)),
                answered: byte(rtts.len()),
                sent_to_all: byte(usize::from(self.sent_to_all())),
                heard_to_all: byte(usize::from(other.heard_to_all)),
                tried: self.lengths.last().copied().unwrap_or(0),
                largest: other.largest,
                rtt_ns: ns(rtts.get(rtts.len() / 2)),
                rtt_max_ns: ns(rtts.last()),
                skew_ns: other.skew.map_or(0, |(_, skew)| skew),
            }
        };
        self.others.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    /// Runs a survey between host 0 and host 1, whose clock is `skew_ns` ahead; each way takes
    /// `way_ns`, and `lost` says which echoes do not come back.
    fn survey(skew_ns: i64, way_ns: u64, lost: impl Fn(&Sending) -> bool) -> Row {
        let start = Time(5 * SECOND);
        let mut survey = Survey::new(start, 7, HostId(0), 2, true, vec![1000, 1472]);
        let wall = |now: Time| Timestamp(1000 * SECOND + now.0);
        let (mut to_one, mut to_all) = (0, 0);
        let mut now = start;
        while !survey.is_over(now) {
            while let Some(sending) = survey.poll_send(now, wall(now)) {
                if lost(&sending) {
                    continue;
                }
                if sending.echo.number < COUNT {
                    *(if sending.to.is_some() {
                        &mut to_one
                    } else {
                        &mut to_all
                    }) += 1;
                }
                let heard_at = wall(Time(now.0 + way_ns)).0.saturating_add_signed(skew_ns);
                let heard = Heard {
                    echo: sending.echo,
                    heard_at,
                    told_at: heard_at + MS,
                    to_one,
                    to_all,
                };
                let back = Time(now.0 + 2 * way_ns + MS);
                survey.on_heard(back, wall(back), HostId(1), &heard);
                survey.on_heard(back, wall(back), HostId(1), &heard); // twice is as good as once
            }
            now = survey.due().unwrap_or(now);
        }
        let rows = survey.rows();
        assert_eq!(rows.len(), 1);
        rows[0]
    }

    #[test]
    fn a_good_way_is_measured_in_both_directions() {
        let row = survey(0, 2 * MS, |_| false);
        let counts = [
            row.sent,
            row.heard,
            row.answered,
            row.sent_to_all,
            row.heard_to_all,
        ];
        assert_eq!(counts, [10; 5]);
        assert_eq!((row.tried, row.largest), (1472, 1472));
        assert_eq!((row.rtt_ns, row.rtt_max_ns), (4_000_000, 4_000_000));
        assert_eq!(row.skew_ns, 0);
    }

    #[test]
    fn a_clock_that_is_ahead_or_behind_is_found_however_long_the_way() {
        for skew_ns in [3_000_000_000, -3_000_000_000, 1] {
            for way_ns in [0, 40 * MS] {
                assert_eq!(survey(skew_ns, way_ns, |_| false).skew_ns, skew_ns);
            }
        }
    }

    #[test]
    fn what_is_lost_is_counted_by_its_way() {
        let row = survey(0, MS, |sending| sending.to.is_none());
        assert_eq!((row.answered, row.heard_to_all), (10, 0));
        let row = survey(0, MS, |sending| sending.echo.number == 3);
        assert_eq!((row.heard, row.answered, row.heard_to_all), (9, 9, 9));
        let row = survey(0, MS, |sending| sending.frame_bytes == Some(1472));
        assert_eq!((row.largest, row.tried), (1000, 1472));
        let row = survey(0, MS, |_| true);
        assert_eq!(
            (row.sent, row.heard, row.answered, row.largest),
            (10, 0, 0, 0)
        );
    }

    #[test]
    fn answers_to_nothing_change_nothing() {
        let now = Time(SECOND);
        let mut survey = Survey::new(now, 7, HostId(0), 3, true, vec![1472]);
        let sent = survey.poll_send(now, Timestamp(SECOND)).expect("the first");
        let heard = |survey, number| Heard {
            echo: Echo {
                survey,
                number,
                ..sent.echo
            },
            heard_at: 1,
            told_at: 1,
            to_one: 1,
            to_all: 1,
        };
        let before = survey.rows();
        for (from, answer) in [
            (1, heard(6, 0)),
            (1, heard(7, 1)),
            (1, heard(7, 999)),
            (9, heard(7, 0)),
        ] {
            survey.on_heard(now, Timestamp(SECOND), HostId(from), &answer);
        }
        assert_eq!(survey.rows(), before);
        survey.on_heard(now, Timestamp(SECOND), HostId(1), &heard(7, 0));
        assert_ne!(survey.rows(), before);
    }
}
