use super::*;
use std::collections::VecDeque;

/// A network that delivers what was put into it.
#[derive(Debug)]
struct Script(VecDeque<(HostId, Vec<u8>)>, std::net::UdpSocket);

impl Script {
    fn new(frames: u32) -> Self {
        let frame = |number: u32| (HostId(1), number.to_le_bytes().to_vec());
        // A descriptor that nobody polls.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        Self((0..frames).map(frame).collect(), socket)
    }
}

impl Transport for Script {
    fn me(&self) -> HostId {
        HostId(0)
    }

    fn mtu(&self) -> usize {
        16
    }

    fn send(&mut self, _: Destination, _: &[&[u8]]) -> Result<(), SendError> {
        Ok(())
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        let before = inbox.len();
        while !inbox.is_full() {
            let Some((from, frame)) = self.0.pop_front() else {
                break;
            };
            assert!(inbox.push(from, &frame));
        }
        inbox.len() - before
    }

    fn on_time(&mut self, _: Time) -> Option<Time> {
        None
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        rustix::fd::AsFd::as_fd(&self.1)
    }

    fn counters(&mut self) -> Counters {
        Counters::default()
    }
}

/// All that comes out, in steps of a millisecond until nothing is left.
fn run(frames: u32, faults: &str, seed: u64) -> (Vec<Vec<u8>>, FaultCounters) {
    let faults = faults.parse().expect("a specification");
    let mut network = Faulty::new(Script::new(frames), faults, seed);
    let mut inbox = Inbox::new(50, 16);
    let mut received = Vec::new();
    let mut now = Time(0);
    loop {
        let next = network.on_time(now);
        inbox.clear();
        while network.recv(&mut inbox) > 0 {
            received.extend(inbox.iter().map(|(_, frame)| frame.to_vec()));
            inbox.clear();
        }
        if next.is_none() && network.on_time(now).is_none() {
            return (received, network.made());
        }
        now = now.after(Duration::from_millis(1));
    }
}

fn numbers(frames: &[Vec<u8>]) -> Vec<u32> {
    let number = |frame: &Vec<u8>| u32::from_le_bytes(frame[..].try_into().expect("four bytes"));
    frames.iter().map(number).collect()
}

const ALL: &str = "loss=5%,dup=1%,reorder=2%,delay=1ms..3ms,corrupt=0.1%";

#[test]
fn same_seed_makes_the_same_faults_and_another_seed_others() {
    assert_eq!(run(3000, ALL, 7), run(3000, ALL, 7));
    assert_ne!(run(3000, ALL, 7).0, run(3000, ALL, 8).0);
}

#[test]
fn without_faults_everything_passes_in_order() {
    let (frames, made) = run(1000, "", 1);
    assert_eq!(numbers(&frames), (0..1000).collect::<Vec<_>>());
    assert_eq!(made, FaultCounters::default());
}

#[test]
fn each_frame_is_lost_or_arrives() {
    let (frames, made) = run(10_000, "loss=10%,dup=5%", 3);
    assert_eq!(frames.len() as u64, 10_000 - made.lost + made.duplicated);
    assert!((800..1200).contains(&made.lost), "{made:?}");
    assert!((350..550).contains(&made.duplicated), "{made:?}");
    let mut once = numbers(&frames);
    once.dedup();
    assert!(once.is_sorted() && once.len() as u64 == 10_000 - made.lost);
}

#[test]
fn raising_one_rate_moves_no_other_fault() {
    let (_, before) = run(10_000, "loss=1%", 5);
    let (_, after) = run(10_000, "loss=1%,corrupt=50%,reorder=50%", 5);
    assert_eq!(before.lost, after.lost);
}

#[test]
fn reordered_frame_lets_one_pass() {
    let (frames, made) = run(10_000, "reorder=5%", 9);
    let numbers = numbers(&frames);
    assert_eq!(frames.len(), 10_000);
    assert!(made.reordered > 300, "{made:?}");
    let late = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
    // All but, at most, one that nobody came to pass.
    assert!(
        (made.reordered - 1..=made.reordered).contains(&late),
        "{late} of {made:?}"
    );
    for (place, number) in numbers.iter().enumerate() {
        assert!(number.abs_diff(u32::try_from(place).expect("small")) <= 1);
    }
}

#[test]
fn corrupt_frame_differs_in_one_bit() {
    let (frames, made) = run(1000, "corrupt=100%", 2);
    assert_eq!(made.corrupted, 1000);
    for (expected, found) in numbers(&frames).into_iter().enumerate() {
        let expected = u32::try_from(expected).expect("small");
        assert_eq!((expected ^ found).count_ones(), 1);
    }
}

#[test]
fn cut_direction_carries_nothing_and_the_other_everything() {
    let (frames, made) = run(100, "cut=1>0", 2);
    assert!(frames.is_empty() && made.cut == 100);
    assert_eq!(run(100, "cut=0>1,cut=1>2", 2).0.len(), 100);
}

#[test]
fn delayed_frame_waits_for_its_moment() {
    let mut network = Faulty::new(
        Script::new(1),
        "delay=2ms".parse().expect("a specification"),
        1,
    );
    let mut inbox = Inbox::new(4, 16);
    network.on_time(Time(1_000_000));
    assert_eq!(network.recv(&mut inbox), 0);
    assert_eq!(network.on_time(Time(2_999_999)), Some(Time(3_000_000)));
    assert_eq!(network.recv(&mut inbox), 0);
    network.on_time(Time(3_000_000));
    assert_eq!(network.recv(&mut inbox), 1);
}

#[test]
fn last_frame_that_nobody_passes_comes_in_the_end() {
    let (frames, _) = run(1, "reorder=100%", 1);
    assert_eq!(frames.len(), 1);
}

#[test]
fn flood_of_delayed_frames_is_bounded_and_counted() {
    let (frames, made) = run(10_000, "delay=1s", 1);
    assert_eq!(frames.len() as u64 + made.overflowed, 10_000);
    assert!(frames.len() <= HELD_MAX);
}
