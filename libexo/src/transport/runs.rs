#![allow(unsafe_code, reason = "sendmmsg takes arrays of pointers")]
//! Runs of equally long datagrams as one: the system cuts them at the end of its way
//! (`UDP_SEGMENT`, Linux 4.18), so that a turn of many frames passes the stack a few times only.

use core::fmt;
use core::mem::{size_of, zeroed};
use core::ops::Range;
use core::ptr::from_mut;

use rustix::fd::BorrowedFd;

use super::counters::Counters;
use super::mmsg::{Target, send_all};

/// Most datagrams of one run (`UDP_MAX_SEGMENTS`).
const RUN_FRAMES: usize = 64;
/// Most bytes of one run: what one datagram could hold over either family.
const RUN_BYTES: usize = 65_487;
/// Most runs in one system call.
const RUNS: usize = 64;

/// Room for one control message with two bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

const CONTROL_BYTES: usize = {
    // SAFETY: arithmetic.
    let bytes = unsafe { libc::CMSG_SPACE(2) };
    bytes as usize
};

/// The arrays of the call, made once.
pub(super) struct Runs {
    headers: Vec<libc::mmsghdr>,
    controls: Vec<Control>,
    pieces: Vec<libc::iovec>,
    /// Which pieces are the frames of each header.
    frames: Vec<Range<usize>>,
}

// SAFETY: the pointers are written anew before each system call and not used after it.
unsafe impl Send for Runs {}

impl fmt::Debug for Runs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Runs")
    }
}

/// How many of `frames` make the first run: equally long ones, and one shorter one at the end.
fn first_run(frames: &[&[u8]]) -> usize {
    let Some(len) = frames.first().map(|frame| frame.len()) else {
        return 0;
    };
    if len == 0 {
        return 1;
    }
    let most = RUN_FRAMES.min(RUN_BYTES / len).max(1);
    let same = frames
        .iter()
        .take(most)
        .take_while(|frame| frame.len() == len);
    let same = same.count();
    let is_last = frames
        .get(same)
        .is_some_and(|frame| same < most && !frame.is_empty() && frame.len() < len);
    same + usize::from(is_last)
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Sent, or dropped and counted.
    Done,
    /// The system cannot cut runs; nothing was sent from this frame on, to any target.
    Refused(usize),
}

impl Runs {
    pub(super) fn new() -> Self {
        Self {
            headers: Vec::with_capacity(RUNS),
            controls: Vec::with_capacity(RUNS),
            pieces: Vec::new(),
            frames: Vec::with_capacity(RUNS),
        }
    }

    /// Sends `frames` to each of `targets`, which are addresses.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        targets: &[Target],
        frames: &[&[u8]],
        counters: &mut Counters,
    ) -> Outcome {
        let mut done = 0;
        while done < frames.len() {
            let count = self.fill(targets, &frames[done..]);
            if !self.send_filled(socket, counters) {
                return Outcome::Refused(done);
            }
            done += count;
        }
        Outcome::Done
    }

    /// Makes headers for as many runs as fit, to all targets. Returns how many frames they hold.
    fn fill(&mut self, targets: &[Target], frames: &[&[u8]]) -> usize {
        let runs_most = (RUNS / targets.len().max(1)).max(1);
        let mut lengths = [0; RUNS];
        let (mut runs, mut total) = (0, 0);
        while runs < runs_most && total < frames.len() {
            lengths[runs] = first_run(&frames[total..]);
            total += lengths[runs];
            runs += 1;
        }
        self.pieces.clear();
        self.pieces
            .extend(frames[..total].iter().map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            }));
        let headers = runs * targets.len();
        self.headers.clear();
        // SAFETY: zero is a value of these integers and pointers.
        self.headers.resize(headers, unsafe { zeroed() });
        self.controls.clear();
        self.controls.resize(headers, Control([0; CONTROL_BYTES]));
        self.frames.clear();
        let mut first = 0;
        for length in lengths.into_iter().take(runs) {
            for target in targets {
                self.address_run(target, first, length);
            }
            first += length;
        }
        total
    }

    fn address_run(&mut self, target: &Target, first: usize, length: usize) {
        let index = self.frames.len();
        self.frames.push(first..first + length);
        let pieces = &mut self.pieces[first..first + length];
        let segment_bytes = pieces[0].iov_len;
        let header = &mut self.headers[index].msg_hdr;
        target.name(header);
        header.msg_iov = pieces.as_mut_ptr();
        header.msg_iovlen = length;
        if length == 1 {
            return;
        }
        header.msg_control = from_mut(&mut self.controls[index]).cast();
        header.msg_controllen = CONTROL_BYTES;
        let segment_bytes = u16::try_from(segment_bytes).expect("a run is shorter");
        // SAFETY: the header's control buffer has room for this message, and is aligned for it.
        unsafe {
            let control = libc::CMSG_FIRSTHDR(header);
            (*control).cmsg_level = libc::SOL_UDP;
            (*control).cmsg_type = libc::UDP_SEGMENT;
            (*control).cmsg_len = libc::CMSG_LEN(2) as usize;
            libc::CMSG_DATA(control)
                .cast::<u16>()
                .write_unaligned(segment_bytes);
        }
    }

    /// Returns whether the system knows runs.
    fn send_filled(&mut self, socket: BorrowedFd<'_>, counters: &mut Counters) -> bool {
        let (pieces, frames) = (&self.pieces, &self.frames);
        let frames_of = |index: usize| &pieces[frames[index].clone()];
        // An old system, or a link that cannot do it.
        let is_refusal = |index: usize, errno| {
            index == 0
                && frames[0].len() > 1
                && matches!(
                    errno,
                    libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT
                )
        };
        send_all(socket, &mut self.headers, counters, frames_of, is_refusal)
    }
}

const _: () = assert!(size_of::<Control>() == CONTROL_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_equally_long_frames_and_a_shorter_last_one() {
        let (long, short): (&[u8], &[u8]) = (&[1; 1472], &[2; 100]);
        assert_eq!(first_run(&[]), 0);
        assert_eq!(first_run(&[long]), 1);
        assert_eq!(first_run(&[long, long, short, short]), 3);
        assert_eq!(first_run(&[short, long]), 1);
        assert_eq!(
            first_run(&[long, &[], long]),
            1,
            "nothing cannot be cut off"
        );
        assert_eq!(first_run(&[long; 100]), 44, "one datagram's bytes");
        assert_eq!(first_run(&[short; 100]), 64);
    }
}
