//! What every transport must do, and the steps of the tests.

use std::time::Duration;

use libexo::ids::HostId;
use libexo::time::Time;
use libexo::transport::{Counters, Destination, DropReason, Inbox, SendError, Transport};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::world::HOSTS;

pub(crate) type Any = Box<dyn Transport + Send>;

pub(crate) fn all<T: Transport + Send + 'static>(open: impl FnMut(u8) -> T) -> Vec<Any> {
    (0..HOSTS)
        .map(open)
        .map(|transport| Box::new(transport) as Any)
        .collect()
}

pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).expect("after the start");
    Time(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).expect("not negative"))
}

/// Lets all hosts work until `is_done`, which sees what arrived where, says so.
pub(crate) fn pump(hosts: &mut [Any], mut is_done: impl FnMut(usize, &Inbox) -> bool) {
    let mut inbox = Inbox::new(64, hosts[0].mtu());
    let deadline = now().after(Duration::from_secs(20));
    let mut is_first = true;
    loop {
        let mut received = 0;
        for (host, transport) in hosts.iter_mut().enumerate() {
            transport.on_time(now());
            inbox.clear();
            received += transport.recv(&mut inbox);
            if is_done(host, &inbox) && !is_first {
                return;
            }
        }
        is_first = false;
        if received == 0 {
            wait(hosts);
            assert!(
                now() < deadline,
                "nothing more comes: {:?}",
                counters(hosts)
            );
        }
    }
}

/// Waits until one has something, or a moment.
pub(crate) fn wait(hosts: &[Any]) {
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let readable = |host| PollFd::from_borrowed_fd(host, PollFlags::IN);
    let mut descriptors: Vec<_> = hosts
        .iter()
        .map(|host| readable(host.descriptor()))
        .collect();
    poll(&mut descriptors, Some(&limit)).expect("open descriptors");
}

fn counters(hosts: &mut [Any]) -> Vec<Counters> {
    hosts.iter_mut().map(Transport::counters).collect()
}

pub(crate) fn send(hosts: &mut [Any], from: u8, to: Destination, frame: &[u8]) {
    hosts[usize::from(from)]
        .send(to, &[frame])
        .expect("it fits");
}

/// Waits until exactly `expected` (receiver, sender) has arrived, with `frame` as content.
pub(crate) fn expect(hosts: &mut [Any], frame: &[u8], mut expected: Vec<(u8, u8)>) {
    pump(hosts, |host, inbox| {
        for (from, content) in inbox.iter() {
            assert_eq!(content, frame);
            let pair = (u8::try_from(host).expect("three"), from.0);
            let at = expected.iter().position(|other| *other == pair);
            expected.remove(at.unwrap_or_else(|| panic!("{pair:?} is too much")));
        }
        expected.is_empty()
    });
}

/// Whatever all transports must do.
pub(crate) fn check(name: &str, hosts: &mut [Any]) {
    for from in 0..HOSTS {
        assert_eq!(hosts[usize::from(from)].me(), HostId(from));
        let frame = [from + 1; 60];
        let others: Vec<_> = (0..HOSTS).filter(|to| *to != from).collect();
        send(hosts, from, Destination::All, &frame);
        expect(hosts, &frame, others.iter().map(|to| (*to, from)).collect());
        for to in others {
            send(hosts, from, Destination::Host(HostId(to)), &frame);
            expect(hosts, &frame, vec![(to, from)]);
        }
        let myself = HostId(from);
        let refused = hosts[usize::from(from)].send(Destination::Host(myself), &[&frame]);
        assert_eq!(refused, Err(SendError::UnknownHost { host: myself }));
    }
    check_mtu(hosts);
    flood(name, hosts);
    hops(name, hosts);
    for (host, counters) in counters(hosts).into_iter().enumerate() {
        for reason in DropReason::ALL
            .into_iter()
            .filter(|reason| *reason != DropReason::Own)
        {
            assert_eq!(
                counters.dropped(reason),
                0,
                "{name}, host {host}: {counters:?}"
            );
        }
    }
}

fn check_mtu(hosts: &mut [Any]) {
    let mtu_bytes = hosts[0].mtu();
    let longest = vec![7; mtu_bytes];
    send(hosts, 0, Destination::All, &longest);
    expect(hosts, &longest, vec![(1, 0), (2, 0)]);
    let len_bytes = mtu_bytes + 1;
    let refused = hosts[0].send(Destination::All, &[&vec![7; len_bytes]]);
    assert_eq!(
        refused,
        Err(SendError::TooLong {
            len_bytes,
            mtu_bytes
        })
    );
}

/// 100,000 frames from one to all: each arrives once, in order, and is counted.
fn flood(name: &str, hosts: &mut [Any]) {
    const FRAMES: u32 = 100_000;
    const BATCH: u32 = 50;
    let before = counters(hosts);
    let start = now();
    let mut frames = vec![[0; 64]; BATCH as usize];
    let mut next = [0_u32; HOSTS as usize];
    for first in (0..FRAMES).step_by(BATCH as usize) {
        for (number, frame) in (first..).zip(&mut frames) {
            frame[..4].copy_from_slice(&number.to_le_bytes());
        }
        let slices: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
        hosts[0].send(Destination::All, &slices).expect("they fit");
        pump(hosts, |host, inbox| {
            for (from, frame) in inbox.iter() {
                assert_eq!(
                    (from, &frame[..4]),
                    (HostId(0), &next[host].to_le_bytes()[..])
                );
                next[host] += 1;
            }
            next == [0, first + BATCH, first + BATCH]
        });
    }
    let rate = f64::from(FRAMES) / now().since(start).as_secs_f64();
    println!("{name}: {rate:.0} frames/s of 64 bytes, one sender and two receivers in one thread");
    let after = counters(hosts);
    let copies = after[0].sent.frames - before[0].sent.frames;
    assert!(
        copies == u64::from(FRAMES) || copies == 2 * u64::from(FRAMES),
        "{copies}"
    );
    assert_eq!(after[0].sent.bytes - before[0].sent.bytes, copies * 64);
    assert_eq!(
        after[0].received, before[0].received,
        "own frames are not heard"
    );
    for host in 1..3 {
        let frames = after[host].received.frames - before[host].received.frames;
        let bytes = after[host].received.bytes - before[host].received.bytes;
        assert_eq!((frames, bytes), (u64::from(FRAMES), u64::from(FRAMES) * 64));
    }
}

/// A token round and round: each host sends to all when it hears its predecessor.
fn hops(name: &str, hosts: &mut [Any]) {
    const HOPS: u32 = 6_000;
    let mut inbox = Inbox::new(16, hosts[0].mtu());
    let start = now();
    let deadline = start.after(Duration::from_secs(20));
    send(hosts, 0, Destination::All, &0_u32.to_le_bytes().repeat(16));
    for hop in 1..HOPS {
        let owner = usize::try_from(hop).expect("small") % hosts.len();
        'heard: loop {
            inbox.clear();
            hosts[owner].recv(&mut inbox);
            for (_, frame) in inbox.iter() {
                if frame[..4] == (hop - 1).to_le_bytes() {
                    break 'heard;
                }
            }
            assert!(now() < deadline, "hop {hop} is not heard");
        }
        let frame = hop.to_le_bytes().repeat(16);
        hosts[owner]
            .send(Destination::All, &[&frame])
            .expect("it fits");
    }
    let hop_us = now().since(start).as_secs_f64() * 1e6 / f64::from(HOPS);
    println!("{name}: {hop_us:.1} us for each hop of a token, three hosts in one thread");
    let mut left = [0, 1, 2].map(|host| u64::from(host != (HOPS - 1) % 3));
    let wanted = u64::from(HOPS - 1).to_le_bytes();
    pump(hosts, |host, inbox| {
        let last = inbox
            .iter()
            .filter(|(_, frame)| frame[..4] == wanted[..4])
            .count();
        left[host] = left[host].saturating_sub(last as u64);
        left == [0; 3]
    });
}

/// Waits until every pair of `hosts` is connected.
pub(crate) fn connect(hosts: &mut [Any], connected: &[u64]) {
    for _ in 0..4_000 {
        for host in hosts.iter_mut() {
            host.on_time(now());
            assert_eq!(host.recv(&mut Inbox::new(1, 64)), 0, "nobody sends yet");
        }
        if counters(hosts)
            .iter()
            .map(|counters| counters.connected)
            .eq(connected.iter().copied())
        {
            return;
        }
        wait(hosts);
    }
    panic!("no connection: {:?}", counters(hosts));
}
