#![allow(
    unsafe_code,
    reason = "maps shared memory, handles signals, and gives descriptors by number"
)]
#![cfg(not(loom))]
//! Lanes and logs between real processes, over the sealed regions that the monitor makes.
//!
//! The other process is this binary again, running the test `other_process` with its part in the
//! environment and the regions at inherited descriptors.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use libexo::ids::{GrantId, Seq};
use libexo::shm::area::Area;
use libexo::shm::log::{self, LogHeader, LogReader, LogWriter, Look, Origin};
use libexo::shm::region::{Descriptor, Mapping, Region, Writers, sealed_len};
use libexo::shm::socket_page::{PAGE_BYTES, SocketPage};
use libexo::shm::submit_ring::{self, Full, LaneHeader, SubmitDrain, Submitter};
use libexo::time::Timestamp;
use rustix::io::Errno;

const LANE_BYTES: u64 = submit_ring::CAPACITY_MIN;
const LOG_BYTES: u64 = log::CAPACITY_MIN;
const GRANT: GrantId = GrantId(3);

// ---- shared by both sides ---------------------------------------------------------------------

/// Bytes of record `index`: a window of a fixed pattern, its place and length told by the index.
struct Pattern(Vec<u8>);

impl Pattern {
    fn new() -> Self {
        Self(
            (0..4096_u32)
                .map(|i| u8::try_from(i * i / 7 % 251).expect("a byte"))
                .collect(),
        )
    }

    fn of(&self, index: u64) -> &[u8] {
        let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let len = usize::try_from(mixed >> 53).expect("11 bits").min(1400);
        let from = usize::try_from(mixed >> 40 & 0x7ff).expect("11 bits");
        &self.0[from..from + len]
    }
}

fn lane_of(mapping: &Mapping) -> (&'static LaneHeader, Area) {
    // SAFETY: the tests keep their mappings to the end; a lane begins with its header, and its
    // data follows.
    unsafe {
        let area = Area::new(mapping.base().add(submit_ring::HEADER_BYTES), LANE_BYTES);
        (&*mapping.base().cast::<LaneHeader>(), area)
    }
}

fn log_of(mapping: &Mapping) -> (&'static LogHeader, Area) {
    // SAFETY: as above.
    unsafe {
        let area = Area::new(mapping.base().add(log::HEADER_BYTES), LOG_BYTES);
        (&*mapping.base().cast::<LogHeader>(), area)
    }
}

fn page_of(mapping: &Mapping) -> &'static SocketPage {
    // SAFETY: as above, for a page.
    unsafe { &*mapping.base().cast::<SocketPage>() }
}

fn make(bytes: u64, writers: Writers) -> Region {
    let len = usize::try_from(bytes).expect("a test's region");
    Region::create("exo-test", len, writers).expect("memfd with seals")
}

fn make_lane() -> (Region, SubmitDrain<&'static LaneHeader>) {
    let region = make(
        submit_ring::HEADER_BYTES as u64 + LANE_BYTES,
        Writers::Holders,
    );
    let (header, area) = lane_of(&region.mapping);
    header.initialise(LANE_BYTES);
    (region, SubmitDrain::new(header, area))
}

/// The other process; it does not outlive a test that fails.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this binary as the other process, with `regions` open at the numbers that it is told.
fn start(part: &str, regions: &[&Region]) -> Other {
    let numbers: Vec<_> = regions
        .iter()
        .map(|region| {
            rustix::io::fcntl_setfd(&region.fd, rustix::io::FdFlags::empty()).expect("its flags");
            region.fd.raw().to_string()
        })
        .collect();
    let child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "other_process", "--nocapture"])
        .env("EXO_TEST_PART", part)
        .env("EXO_TEST_REGIONS", numbers.join(","))
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("this binary starts");
    Other(child)
}

fn assert_went_well(mut other: Other) {
    let status = other.0.wait().expect("a child of ours");
    assert!(status.success(), "the other process: {status}");
}

/// Maps an inherited region, with the checks of a client.
fn inherited(index: usize, writable: bool) -> (Descriptor, Mapping) {
    let numbers = std::env::var("EXO_TEST_REGIONS").expect("told by the parent");
    let number = numbers
        .split(',')
        .nth(index)
        .expect("as many as the part needs");
    let fd = Descriptor::from_raw(number.parse().expect("a number"));
    let len = sealed_len(fd.as_fd()).expect("a sealed region");
    let mapping = Mapping::new(fd.as_fd(), len, writable).expect("a mapping");
    (fd, mapping)
}

#[test]
fn other_process() {
    match std::env::var("EXO_TEST_PART").as_deref() {
        Ok("submit") => submit_for_ever(),
        Ok("submit-with-handler") => submit_with_handler(),
        Ok("read") => read_log(),
        Ok("tamper") => tamper(),
        _ => {} // an ordinary run of all tests
    }
}

// ---- lane -------------------------------------------------------------------------------------

fn submit(lane: &Submitter<&'static LaneHeader>, kind: u8, index: u64, bytes: &[u8]) -> bool {
    let mut head = [0; 16];
    head[0] = kind;
    head[8..].copy_from_slice(&index.to_le_bytes());
    let submitted = lane.submit(GRANT, 16 + bytes.len(), |area, position| {
        area.write(position, &head);
        area.write(position + 16, bytes);
    });
    submitted != Err(Full)
}

fn submit_for_ever() {
    let (_fd, mapping) = inherited(0, true);
    let (header, area) = lane_of(&mapping);
    assert_eq!(header.capacity(mapping.len() as u64), Ok(LANE_BYTES));
    let lane = Submitter::new(header, area);
    let pattern = Pattern::new();
    for index in 0.. {
        while !submit(&lane, 0, index, pattern.of(index)) {
            if lane.header().ended.load(Ordering::Relaxed) != 0 {
                return;
            }
            rustix::thread::sched_yield();
        }
    }
}

/// Takes what is there. `next` counts the records of each kind.
fn drain(
    lane: &mut SubmitDrain<&'static LaneHeader>,
    pattern: &Pattern,
    next: &mut [u64; 2],
) -> bool {
    if !lane.fetch().expect("a correct submitter") {
        return false;
    }
    while let Some(record) = lane.peek().expect("a correct submitter") {
        assert_eq!(record.grant, GRANT);
        let kind = usize::from(record.bytes[0]);
        let index = u64::from_le_bytes(record.bytes[8..16].try_into().expect("8 bytes"));
        assert_eq!(
            index, next[kind],
            "records of kind {kind} come once and in order"
        );
        assert!(
            &record.bytes[16..] == pattern.of(index),
            "record {index} is torn"
        );
        next[kind] += 1;
        let record_bytes = record.record_bytes();
        lane.take(record_bytes);
    }
    lane.release();
    true
}

#[test]
fn lane_carries_a_million_records_between_processes() {
    let (region, mut lane) = make_lane();
    let other = start("submit", &[&region]);
    let pattern = Pattern::new();
    let mut next = [0; 2];
    while next[0] < 1_000_000 {
        if !drain(&mut lane, &pattern, &mut next) {
            rustix::thread::sched_yield();
        }
    }
    lane.header().ended.store(1, Ordering::Relaxed);
    assert_went_well(other);
}

#[test]
fn killed_sender_leaves_no_torn_record() {
    let pattern = Pattern::new();
    let mut mixed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..200 {
        let (region, mut lane) = make_lane();
        let mut other = start("submit", &[&region]);
        mixed ^= mixed << 13;
        mixed ^= mixed >> 7;
        mixed ^= mixed << 17;
        let enough = mixed % 5000;
        let mut next = [0; 2];
        while next[0] <= enough {
            if !drain(&mut lane, &pattern, &mut next) {
                rustix::thread::sched_yield();
            }
        }
        other.0.kill().expect("it runs until then"); // SIGKILL
        other.0.wait().expect("a child of ours");
        while drain(&mut lane, &pattern, &mut next) {}
        assert_eq!(lane.pending_bytes(), Ok(0));
    }
}

static LANE: OnceLock<(Submitter<&'static LaneHeader>, Pattern)> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_alarm(_: libc::c_int) {
    if let Some((lane, pattern)) = LANE.get() {
        let index = HANDLED.load(Ordering::Relaxed);
        if submit(lane, 1, index, pattern.of(index)) {
            HANDLED.store(index + 1, Ordering::Relaxed);
        }
    }
}

fn submit_with_handler() {
    let (_fd, mapping) = inherited(0, true);
    let (header, area) = lane_of(&mapping);
    let (lane, pattern) = LANE.get_or_init(|| (Submitter::new(header, area), Pattern::new()));
    // Signals of the process must come to this thread: the test harness has others, which wait.
    // SAFETY: plain calls with values that live through them.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        let thread = libc::pthread_self();
        let every = std::time::Duration::from_micros(20);
        std::thread::spawn(move || {
            let spec = rustix::time::Timespec::try_from(every).expect("microseconds");
            while libc::pthread_kill(thread, libc::SIGALRM) == 0 {
                // Its own wait, so that the interruptions fall anywhere.
                let _ = rustix::thread::nanosleep(&spec);
            }
        });
    }
    for index in 0.. {
        while !submit(lane, 0, index, pattern.of(index)) {
            if header.ended.load(Ordering::Relaxed) != 0 {
                // The thread that sends signals must not outlive this one.
                rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                )
                .expect("oneself");
            }
            rustix::thread::sched_yield();
        }
    }
}

#[test]
fn handler_that_submits_at_any_moment_damages_nothing() {
    let (region, mut lane) = make_lane();
    let mut other = start("submit-with-handler", &[&region]);
    let pattern = Pattern::new();
    let mut next = [0; 2];
    while next[0] < 500_000 || next[1] < 2_000 {
        if !drain(&mut lane, &pattern, &mut next) {
            rustix::thread::sched_yield();
        }
    }
    lane.header().ended.store(1, Ordering::Relaxed);
    other.0.wait().expect("a child of ours");
}

// ---- log --------------------------------------------------------------------------------------

const LOG_RECORDS: u64 = 500_000;

fn read_log() {
    let (_log, log_mapping) = inherited(0, false);
    let (_page, page_mapping) = inherited(1, true);
    let (header, area) = log_of(&log_mapping);
    assert_eq!(header.capacity(log_mapping.len() as u64), Ok(LOG_BYTES));
    let page = page_of(&page_mapping);
    assert_eq!(page.check(page_mapping.len() as u64), Ok(()));
    let reader = LogReader::new(header, area);
    let cursor = page.memberships[0].cursor();
    let pattern = Pattern::new();
    let mut bytes = [0; 2048];
    for index in 0..LOG_RECORDS {
        loop {
            let Look::Found(position, record) = reader.look(cursor) else {
                rustix::thread::sched_yield();
                continue;
            };
            let (head, origin) = (record.head, record.origin());
            record.read(&mut bytes);
            assert!(
                reader.advance(cursor, position, &head),
                "nobody else moves this cursor"
            );
            assert_eq!((head.seq, origin.source.port()), (Seq(index + 1), 4000));
            assert!(
                &bytes[..head.len as usize] == pattern.of(index),
                "record {index} is torn"
            );
            break;
        }
    }
    assert!(matches!(reader.look(cursor), Look::Empty));
}

#[test]
fn log_is_read_whole_in_another_process_that_holds_the_writer_back() {
    let region = make(log::HEADER_BYTES as u64 + LOG_BYTES, Writers::MakerOnly);
    let (header, area) = log_of(&region.mapping);
    header.initialise(LOG_BYTES);
    let page_region = make(PAGE_BYTES as u64, Writers::Holders);
    let page = page_of(&page_region.mapping);
    page.initialise(1);
    let address = "239.1.2.3:5000".parse().expect("an address");
    page.memberships[0].activate(1, address, LOG_BYTES, 0);
    let other = start("read", &[&region, &page_region]);
    let mut writer = LogWriter::new(header, area);
    let pattern = Pattern::new();
    let sources = ["10.0.0.1:4000", "[fd00::7]:4000"].map(|text| text.parse().expect("an address"));
    for index in 0..LOG_RECORDS {
        let payload = pattern.of(index);
        let slowest = || page.memberships[0].cursor().next.load(Ordering::Acquire);
        while !writer.has_room(slowest(), payload.len()) {
            writer.publish();
            rustix::thread::sched_yield();
        }
        let source = sources[usize::from(index % 3 == 0)];
        let origin = Origin {
            source,
            ttl: 1,
            tos: 0,
            no_loop: None,
        };
        writer.append(Seq(index + 1), Timestamp(index), &origin, payload);
        if index % 16 == 0 {
            writer.publish();
        }
    }
    writer.publish();
    assert_went_well(other);
}

/// Everything that changes a log must fail on `fd`.
fn assert_unchangeable(fd: BorrowedFd<'_>, len: usize, how: &str) {
    use rustix::fs::FallocateFlags;
    assert!(
        Mapping::new(fd, len, true).is_err(),
        "{how}: mapped for writing"
    );
    assert!(rustix::io::write(fd, b"x").is_err(), "{how}: write");
    assert!(rustix::io::pwrite(fd, b"x", 4096).is_err(), "{how}: pwrite");
    assert!(rustix::fs::ftruncate(fd, 0).is_err(), "{how}: shrunk");
    assert!(
        rustix::fs::ftruncate(fd, len as u64 * 2).is_err(),
        "{how}: grown"
    );
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert!(
        rustix::fs::fallocate(fd, punch, 0, 4096).is_err(),
        "{how}: hole punched"
    );
    let seals = rustix::fs::fcntl_add_seals(fd, rustix::fs::SealFlags::WRITE);
    assert_eq!(seals, Err(Errno::PERM), "{how}: sealed further");
}

fn tamper() {
    let (fd, mapping) = inherited(0, false);
    assert_unchangeable(fd.as_fd(), mapping.len(), "the descriptor");
    // SAFETY: the range is mapped; the call must fail.
    let protected = unsafe {
        rustix::mm::mprotect(
            mapping.base().cast(),
            mapping.len(),
            rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE,
        )
    };
    assert!(protected.is_err(), "the mapping was made writable");
    let path = format!("/proc/self/fd/{}", fd.raw());
    for user in ["the same user", "another user"] {
        // As another user it may be refused; what is opened must be worth nothing.
        for options in [
            std::fs::OpenOptions::new().read(true).write(true),
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .truncate(true),
        ] {
            if let Ok(file) = options.open(&path) {
                assert_unchangeable(file.as_fd(), mapping.len(), user);
                assert!(file.as_raw_fd() != fd.raw());
            }
        }
        // SAFETY: this process is one thread's business, and it ends after this.
        if user == "another user" || unsafe { libc::setuid(65_534) } != 0 {
            break; // not root: there is only one user to be
        }
    }
}

#[test]
fn log_cannot_be_changed_by_who_reads_it() {
    let region = make(log::HEADER_BYTES as u64 + LOG_BYTES, Writers::MakerOnly);
    let (header, area) = log_of(&region.mapping);
    header.initialise(LOG_BYTES);
    let mut writer = LogWriter::new(header, area);
    let source = "10.0.0.1:4000".parse().expect("an address");
    let origin = Origin {
        source,
        ttl: 1,
        tos: 0,
        no_loop: None,
    };
    writer.append(Seq(1), Timestamp(1), &origin, b"stays");
    writer.publish();
    assert_went_well(start("tamper", &[&region]));
    let mut bytes = [0; 5];
    writer.record_at(0).read(&mut bytes);
    assert_eq!(&bytes, b"stays");
    assert_eq!(sealed_len(region.fd.as_fd()), Ok(region.mapping.len()));
}
