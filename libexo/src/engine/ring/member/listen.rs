//! Hosts that only listen: they take the order in as all do, and write, promise and count nothing.
//! Their places come after those of the hosts that vote, so that every vector and majority is
//! that of the hosts that vote.
//!
//! A listener is like a host that left of its own will: it enters epochs, holds the log and
//! delivers. It speaks to one host at a time, only to ask; what it is sent in answer is limited, so
//! that no number of listeners holds the ring up.

use core::time::Duration;

use super::timers::Timer;
use super::{DropReason, Header, HostSet, INCARNATION_STEP, Member, Notice};
use crate::engine::ring::parts::{Early, LongFrames};
use crate::ids::{Epoch, HostId, Position};
use crate::time::Time;
use crate::wire::body::{self, Fetch};
use crate::wire::{Flags, Frame, Kind};

/// What a byte that a listener asked for costs: a host sends at most 32 MB a second to all of them.
const BYTE_NS: u64 = 32;
/// So much may be sent at once after a silence: 256 KiB.
const BURST: Duration = Duration::from_nanos(BYTE_NS * 256 * 1024);
/// What one listener misses, the others often miss, too: they ask within this time, not at once.
const SPREAD: Duration = Duration::from_micros(2500);
/// A listener that hears nothing asks less and less often, down to once in this time.
const ASK_MAX: Duration = Duration::from_millis(500);

/// Whether frames of this kind say something to a host that only listens.
pub(super) const fn concerns_listeners(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Turn | Kind::Install | Kind::Park | Kind::Fetched | Kind::Refuse
    )
}

/// What listeners may be sent on request.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// When all that was sent is paid for.
    paid_at: Time,
}

impl Allowance {
    fn has_some(&self, now: Time) -> bool {
        self.paid_at <= now
    }

    fn spend(&mut self, now: Time, bytes: usize) {
        let burst = u64::try_from(BURST.as_nanos()).expect("milliseconds");
        let from = self.paid_at.0.max(now.0.saturating_sub(burst));
        self.paid_at = Time(from.saturating_add(bytes as u64 * BYTE_NS));
    }
}

impl Member {
    pub(super) fn is_listener(&self) -> bool {
        usize::from(self.me.0) >= self.hosts
    }

    /// Whether `host` is one that only listens.
    pub(super) fn listens(&self, host: HostId) -> bool {
        (self.hosts..self.told.len()).contains(&usize::from(host.0))
    }

    // At a host that votes.

    /// A frame by a host that only listens.
    pub(super) fn on_listener(&mut self, frame: &Frame<'_>) {
        let header = &frame.header;
        let is_other = header.flags.has(Flags::UNICAST) && header.dst != self.me;
        if is_other || self.is_listener() {
            return self.counters.drop_frame(DropReason::NotForUs);
        }
        if !matches!(header.kind, Kind::Probe | Kind::Nack | Kind::Fetch) {
            return self.counters.drop_frame(DropReason::Listener);
        }
        if self.is_amnesiac || self.joined == Epoch(0) {
            return self.counters.drop_frame(DropReason::NotWorking);
        }
        if header.generation != self.generation_low() || header.epoch < self.joined {
            return self.tell_install(header.src);
        }
        match header.kind {
            Kind::Nack => match body::parse_nack(frame.payload) {
                Ok(list) => self.on_nack(header, &list),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::Fetch => match Fetch::parse(frame.payload) {
                Ok(fetch) => self.on_fetch(header, &fetch),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            _ => self.show_tail(header),
        }
    }

    /// A listener has not heard anything for a while.
    fn show_tail(&mut self, header: &Header) {
        let asker = header.src;
        if self.is_parked {
            return self.send_park(Some(asker));
        }
        let is_turn = |member: &Self| {
            let entry = member.log.get(member.tail());
            entry.is_some_and(|entry| entry.kind == Kind::Turn)
        };
        let is_behind = header.epoch == self.joined && header.seq < self.tail();
        if is_behind && is_turn(self) && self.may_answer(asker) {
            self.send_tail(Some(asker), Flags::RTX);
        }
    }

    /// Whether `asker` may be sent what it asks for.
    pub(super) fn may_answer(&mut self, asker: HostId) -> bool {
        let may = !self.listens(asker) || self.allowance.has_some(self.now);
        self.counters.deferred += u64::from(!may);
        may
    }

    /// So many bytes of the log were sent on request.
    pub(super) fn note_answer(&mut self, asker: HostId, bytes: usize) {
        if self.listens(asker) {
            self.allowance.spend(self.now, bytes);
        }
    }

    /// A counter far below those that a listener used before is of a life whose clock is behind:
    /// nobody would ever let its frames in.
    pub(super) fn tell_listener_higher(&mut self, host: HostId, counter: u64) {
        let highest = self.guard.highest(host);
        if counter.saturating_add(INCARNATION_STEP / 2) <= highest {
            self.tell_incarnation(host, highest);
        }
    }

    // At a listener.

    /// An earlier life of this listener counted so far.
    pub(super) fn count_above(&mut self, known: u64) {
        if known > self.guard.counter() {
            self.inc = known.saturating_add(INCARNATION_STEP);
            self.guard.raise(self.inc);
            self.counters.incarnations_raised += 1;
            self.persist();
        }
    }

    /// Asks one host after the other where the ring is.
    pub(super) fn ask_one(&mut self) {
        let round = usize::try_from(self.probe_rounds).unwrap_or(0);
        let host = (usize::from(self.me.0) + round) % self.hosts;
        let host = HostId(u8::try_from(host).expect("below 256"));
        let header = self.own_header(Kind::Probe, self.joined);
        let body = self.probe_body();
        self.send(Some(host), header, &body);
        let loss = self.loss_time();
        let doubled = loss * 2_u32.saturating_pow(self.probe_rounds.min(8));
        let wait = doubled.min(loss.max(ASK_MAX));
        let wait = wait + self.jitter.below(loss / 2);
        self.timers.arm(Timer::Loss, self.now.after(wait));
    }

    /// Whether what is in order waits for slow programs until nothing more is taken in. Nobody
    /// keeps back for a listener: what it does not take in it asks for later.
    pub(super) fn is_full(&self) -> bool {
        self.is_journal_full() || self.is_listener() && self.is_stuffed()
    }

    fn is_stuffed(&self) -> bool {
        let undelivered = self.log.bytes_above(self.deliverer.done());
        let unready = self.log.bytes_above(self.deliverable());
        undelivered.saturating_sub(unready) > self.params.receive_bytes
    }

    /// How long a listener lets others ask first.
    pub(super) fn spread(&mut self) -> Duration {
        if self.is_listener() {
            self.jitter.below(SPREAD)
        } else {
            Duration::ZERO
        }
    }

    /// This listener hears no majority of its generation, and a majority of hosts in another. Who
    /// belongs to another generation never takes part in this one again: this one is over.
    pub(super) fn hears_majority_elsewhere(&mut self, header: &Header, from: HostId) -> bool {
        if !self.is_listener() || self.listens(from) {
            return false;
        }
        if self.elsewhere.0 != header.generation {
            self.elsewhere = (header.generation, HostSet::default());
        }
        self.elsewhere.1.insert(from);
        self.is_halted && self.elsewhere.1.len() >= self.quorum
    }

    /// Begins anew in another generation. What its programs missed at the end of this one nobody
    /// can tell.
    pub(super) fn leave_generation(&mut self) {
        self.counters.generations_left += 1;
        if self.seq().0 > 0 {
            let from = self.deliverer.done().next();
            let to = self.heard_tail.max(from);
            self.outbox.notices.push_back(Notice::Gap { from, to });
        }
        self.forsaken = self.generation;
        self.generation = 0;
        self.promised = Epoch(0);
        self.begin_anew();
        self.heard_tail = Position(0);
        self.elsewhere = (0, HostSet::default());
        self.early = Early::default();
        self.long_frames = LongFrames::default();
        self.arm_loss();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_get_a_burst_and_then_so_much_a_second() {
        let mut allowance = Allowance::default();
        let start = Time(1_000_000_000);
        let mut sent = 0;
        while allowance.has_some(start) {
            allowance.spend(start, 1000);
            sent += 1000;
        }
        assert!((262_144..=264_144).contains(&sent), "{sent} at once");
        for ms in 1..=1000 {
            let now = Time(start.0 + ms * 1_000_000);
            while allowance.has_some(now) {
                allowance.spend(now, 1000);
                sent += 1000;
            }
        }
        let each_second = sent - 262_144;
        assert!(
            (31_000_000..=31_500_000).contains(&each_second),
            "{each_second} in a second"
        );
    }
}
