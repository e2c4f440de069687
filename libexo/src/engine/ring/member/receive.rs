//! Frames that arrive: whether they are for this host, and which handler gets them.

use core::time::Duration;

use super::listen::concerns_listeners;
use super::{DropReason, Entry, Member};
use crate::engine::{Frame as RawFrame, Notice, Port};
use crate::ids::HostId;
use crate::planted::{self, Mistake};
use crate::time::Time;
use crate::wire::auth::AuthError;
use crate::wire::{Flags, Frame, FrameError, Header, Kind, body};

/// How long a refusal that goes on is not told again.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// A host whose frames were refused within this time is refused still: who is refused asks to come
/// in every two seconds at the latest (`join_max`).
const REFUSED_FOR: Duration = Duration::from_secs(10);

impl Member {
    pub(in crate::engine::ring) fn on_frame(&mut self, now: Time, from: Port, raw: RawFrame<'_>) {
        self.now = now;
        if self.fatal.is_some() {
            return;
        }
        // Lent out, because what was decrypted outlives the guard's work.
        let mut plain = std::mem::take(&mut self.plain);
        match self.let_in(from.host, raw.bytes, &mut plain) {
            Ok(frame) => self.on_opened(from.host, &frame),
            Err(error) => self.refuse_frame(from.host, error),
        }
        self.plain = plain;
    }

    fn let_in<'a>(
        &mut self,
        from: HostId,
        bytes: &'a [u8],
        plain: &'a mut Vec<u8>,
    ) -> Result<Frame<'a>, FrameError> {
        let frame = Frame::parse(bytes, self.ring_id)?;
        Ok(self.guard.open(from, frame, bytes, plain)?)
    }

    /// Counts it; an operator hears of it if it is for them to mend.
    fn refuse_frame(&mut self, host: HostId, error: FrameError) {
        let reason = DropReason::of(&error);
        self.counters.drop_frame(reason);
        if let FrameError::Seal(AuthError::Replay { counter }) = error {
            self.tell_higher(host, counter);
        }
        if !error.is_disagreement() || usize::from(host.0) >= self.told.len() {
            return;
        }
        self.disagreements.insert(host, (self.now, error));
        let told = self.refused.get(&(host, reason));
        if told.is_none_or(|told| self.now >= told.after(TELL_AGAIN)) {
            self.refused.insert((host, reason), self.now);
            self.outbox
                .notices
                .push_back(Notice::Refused { host, error });
        }
    }

    /// Why frames of `host` are refused at present, if they are.
    pub(super) fn disagreement(&self, host: HostId) -> Option<FrameError> {
        let (at, error) = self.disagreements.get(&host)?;
        (self.now < at.after(REFUSED_FOR)).then_some(*error)
    }

    fn on_opened(&mut self, from: HostId, frame: &Frame<'_>) {
        if self.listens(frame.header.src) {
            return self.on_listener(frame);
        }
        if let Err(reason) = self.admit_header(&frame.header, from) {
            return self.counters.drop_frame(reason);
        }
        self.hear(&frame.header, from);
        if !self.is_listener() || concerns_listeners(frame.header.kind) {
            self.dispatch(from, frame);
        }
    }

    /// Whether the frame is for this host, of its generation, and not its own.
    fn admit_header(&mut self, header: &Header, from: HostId) -> Result<(), DropReason> {
        let is_other = header.flags.has(Flags::UNICAST) && header.dst != self.me;
        // Own turns come back when others repair them; a founder that restarted needs its INSTALL.
        let is_own = header.src == self.me && !matches!(header.kind, Kind::Turn | Kind::Install);
        if is_own || is_other || usize::from(header.src.0) >= self.hosts {
            return Err(DropReason::NotForUs);
        }
        let low = |generation: u64| generation & u64::from(u32::MAX);
        if self.generation == 0
            && self.forsaken != 0
            && u64::from(header.generation) == low(self.forsaken)
            && header.kind != Kind::Join
        {
            return Err(DropReason::Generation);
        }
        let is_ours = self.generation == 0 || header.generation == self.generation_low();
        if is_ours || planted::is(Mistake::GenerationsMixed) {
            return Ok(());
        }
        if header.generation == 0 {
            // A host that belongs to none yet may promise, probe and ask.
            return Ok(());
        }
        if self.hears_majority_elsewhere(header, from) {
            self.leave_generation();
            return Ok(());
        }
        self.hear_other_generation(header)
    }

    fn dispatch(&mut self, from: HostId, frame: &Frame<'_>) {
        let header = &frame.header;
        match header.kind {
            Kind::Turn => self.on_turn(from, frame),
            Kind::Install => {
                if let Some(whole) = self.long_frames.put(frame) {
                    match Entry::from_parts(whole).filter(|entry| entry.is_of(self.hosts)) {
                        Some(entry) => self.on_install(from, header.generation, entry),
                        None => self.counters.drop_frame(DropReason::Malformed),
                    }
                }
            }
            Kind::Park => self.on_park(header),
            Kind::Wake => self.on_wake(header),
            Kind::Probe => match body::Probe::parse(frame.payload) {
                Ok(probe) => self.on_probe(header, probe),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::ProbeAck => match body::Probe::parse(frame.payload) {
                Ok(probe) => self.on_probe_ack(header, probe),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::Nack => match body::parse_nack(frame.payload) {
                Ok(list) => self.on_nack(header, &list),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::Refuse => match body::Refuse::parse(frame.payload) {
                Ok(refuse) => self.on_refuse(refuse),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::Join => match body::Join::parse(frame.payload) {
                Ok(join) => self.on_join(header, &join),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::Fetch => match body::Fetch::parse(frame.payload) {
                Ok(fetch) => self.on_fetch(header, &fetch),
                Err(_) => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::Prepare | Kind::Promise | Kind::Fetched => {
                if let Some(whole) = self.long_frames.put(frame) {
                    self.on_long(&whole.header, &whole.body);
                }
            }
            // Only inside FETCHED.
            Kind::Base => self.counters.drop_frame(DropReason::Unexpected),
        }
    }

    fn on_long(&mut self, header: &Header, bytes: &[u8]) {
        match header.kind {
            Kind::Prepare => match body::Prepare::parse(bytes) {
                Ok(prepare) if prepare.crash_vector.len() == self.hosts => {
                    self.on_prepare(header, &prepare);
                }
                _ => self.counters.drop_frame(DropReason::Malformed),
            },
            Kind::Promise => match body::Promise::parse(bytes) {
                Ok(promise) if promise.crash_vector.len() == self.hosts => {
                    self.on_promise(header, promise);
                }
                _ => self.counters.drop_frame(DropReason::Malformed),
            },
            _ => self.on_fetched(header, bytes),
        }
    }
}
