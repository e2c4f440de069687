//! Every transport between three hosts: network namespaces on one bridge.
//!
//! Each test runs itself again in a network namespace of its own, where it may make the others, so
//! nothing of it is heard on a real network. Where namespaces are forbidden it says so and passes.
#![allow(
    clippy::print_stdout,
    reason = "a test says why it was skipped, and how fast it was"
)]

mod allocation;
mod checks;
mod world;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use checks::{Any, all, check, connect, expect, now, pump, send, wait};
use libexo::ids::HostId;
use libexo::time::Timestamp;
use libexo::transport::capture::Capture;
use libexo::transport::faulty::Faulty;
use libexo::transport::raw::{self, RawConfig, RawTransport};
use libexo::transport::udp;
use libexo::transport::{
    Counters, Destination, DropReason, Inbox, MacAddress, OpenError, Peers, Transport,
};
use rustix::thread::CapabilitySet;
use world::{HOSTS, in_namespace, ip4, ip6, mac, peers, sh};

#[test]
fn udp_multicast_reaches_all_others() {
    in_namespace("udp_multicast_reaches_all_others", |world| {
        let group = "239.77.0.1:7001".parse().expect("an address");
        let open = |host| world.udp(host, peers(host, ip4), udp::Reach::Multicast(group));
        check("UDP multicast, IPv4", &mut all(open));
    });
}

#[test]
fn udp_multicast_over_ipv6_reaches_all_others() {
    in_namespace("udp_multicast_over_ipv6_reaches_all_others", |world| {
        for group in ["[ff15::77]:7001", "[ff02::77]:7001"] {
            let group = group.parse().expect("an address");
            let open = |host| world.udp(host, peers(host, ip6), udp::Reach::Multicast(group));
            check("UDP multicast, IPv6", &mut all(open));
        }
    });
}

#[test]
fn udp_broadcast_reaches_all_others() {
    in_namespace("udp_broadcast_reaches_all_others", |world| {
        let everybody = "10.77.0.255:7000".parse().expect("an address");
        let open = |host| world.udp(host, peers(host, ip4), udp::Reach::Broadcast(everybody));
        check("UDP broadcast", &mut all(open));
    });
}

#[test]
fn udp_copies_reach_all_others() {
    in_namespace("udp_copies_reach_all_others", |world| {
        let open = |host| world.udp(host, peers(host, ip4), udp::Reach::FanOut);
        check("UDP copies", &mut all(open));
    });
}

#[test]
fn a_copy_to_each_is_heard_where_one_frame_would_reach_all() {
    in_namespace(
        "a_copy_to_each_is_heard_where_one_frame_would_reach_all",
        |world| {
            let group = "239.77.0.1:7001".parse().expect("an address");
            let open = |host| world.udp(host, peers(host, ip4), udp::Reach::Multicast(group));
            let mut hosts = all(open);
            let others = u64::from(HOSTS - 1);
            for (to, copies) in [(Destination::All, 1), (Destination::Each, others)] {
                let before = hosts[0].counters().sent.frames;
                hosts[0].send(to, &[b"frame"]).expect("a short one");
                assert_eq!(hosts[0].counters().sent.frames - before, copies, "{to:?}");
                let mut heard = vec![0; hosts.len()];
                pump(&mut hosts, |host, inbox| {
                    assert!(inbox.iter().all(|it| it == (HostId(0), &b"frame"[..])));
                    heard[host] += inbox.len();
                    heard[1..].iter().all(|count| *count == 1)
                });
            }
        },
    );
}

#[test]
fn raw_frames_reach_all_others() {
    in_namespace("raw_frames_reach_all_others", |world| {
        for (name, reach) in [
            ("raw multicast", raw::Reach::Multicast(MacAddress::EXO)),
            (
                "raw broadcast",
                raw::Reach::Multicast(MacAddress::BROADCAST),
            ),
            ("raw copies", raw::Reach::FanOut),
        ] {
            check(name, &mut all(|host| world.raw(host, reach)));
        }
    });
}

#[test]
fn nothing_is_allocated_while_frames_flow() {
    in_namespace("nothing_is_allocated_while_frames_flow", |world| {
        let mut tcp = all(|host| world.tcp(host));
        connect(&mut tcp, &[2, 2, 2]);
        let udp = |host| world.udp(host, peers(host, ip4), udp::Reach::FanOut);
        let faults = || "dup=10%,delay=1us..9us".parse().expect("faults");
        for (name, mut hosts) in [
            ("TCP", tcp),
            ("UDP", all(udp)),
            ("raw", all(|host| world.raw(host, raw::Reach::FanOut))),
            (
                "faulty",
                all(|host| Faulty::new(world.raw(host, raw::Reach::FanOut), faults(), 1)),
            ),
        ] {
            let mut inbox = Inbox::new(64, hosts[0].mtu());
            circulate(&mut hosts, &mut inbox, 500);
            let before = allocation::count();
            circulate(&mut hosts, &mut inbox, 2_000);
            assert_eq!(allocation::count(), before, "{name} allocates");
        }
    });
}

/// Each host in turn sends a batch to all, and all hear it.
fn circulate(hosts: &mut [Any], inbox: &mut Inbox, rounds: u32) {
    for round in 0..rounds {
        let number = round.to_le_bytes();
        let sender = round as usize % hosts.len();
        let batch: [&[u8]; 2] = [&number, &[0; 1_000]];
        hosts[sender]
            .send(Destination::All, &batch)
            .expect("they fit");
        let deadline = now().after(Duration::from_secs(20));
        for receiver in (0..hosts.len()).filter(|host| *host != sender) {
            let mut is_heard = false;
            while !is_heard {
                hosts[receiver].on_time(now());
                inbox.clear();
                hosts[receiver].recv(inbox);
                is_heard = inbox.iter().any(|(_, frame)| frame.starts_with(&number));
                assert!(now() < deadline, "round {round} is not heard");
            }
        }
    }
}

#[test]
fn tcp_mesh_reaches_all_others() {
    in_namespace("tcp_mesh_reaches_all_others", |world| {
        let mut hosts = all(|host| world.tcp(host));
        connect(&mut hosts, &[2, 2, 2]);
        check("TCP", &mut hosts);
    });
}

#[test]
fn tcp_mesh_is_whole_again_after_a_peer_restarts() {
    in_namespace("tcp_mesh_is_whole_again_after_a_peer_restarts", |world| {
        let mut hosts = all(|host| world.tcp(host));
        connect(&mut hosts, &[2, 2, 2]);
        let mut connected = [2, 2, 2];
        for restarted in 0..HOSTS {
            // Closed before the next is opened: it has the same address.
            drop(hosts.remove(usize::from(restarted)));
            hosts.insert(usize::from(restarted), Box::new(world.tcp(restarted)));
            for (host, count) in connected.iter_mut().enumerate() {
                *count = if host == usize::from(restarted) {
                    2
                } else {
                    *count + 1
                };
            }
            connect(&mut hosts, &connected);
            send(&mut hosts, restarted, Destination::All, b"back");
            let others = (0..HOSTS).filter(|host| *host != restarted);
            expect(
                &mut hosts,
                b"back",
                others.map(|host| (host, restarted)).collect(),
            );
            send(&mut hosts, 0, Destination::All, b"heard");
            expect(&mut hosts, b"heard", vec![(1, 0), (2, 0)]);
        }
    });
}

#[test]
fn tcp_connection_that_says_nonsense_is_closed_and_counted() {
    in_namespace(
        "tcp_connection_that_says_nonsense_is_closed_and_counted",
        |world| {
            let mut hosts = vec![Box::new(world.tcp(1)) as Any];
            // A wrong magic; a host that the address is not of; a frame longer than the longest.
            let says: [&[u8]; 3] = [
                b"GET / HTTP/1.1\r\n",
                b"EXOT\x01\x02\x01\x00\x00\x40\0\0\0\0\0\0",
                b"EXOT\x01\x00\x01\x00\x00\x40\0\0\0\0\0\0\xff\xff\xff\xff",
            ];
            for (before, text) in (0..).zip(says) {
                let mut stranger = world.at(0, || TcpStream::connect(ip4(1)).expect("a listener"));
                stranger.write_all(text).expect("it is open");
                pump_counters(&mut hosts, |counters| counters.nonsense == before + 1);
                let mut rest = Vec::new();
                // A reset is an end, too.
                let _ = stranger.read_to_end(&mut rest);
            }
            // From an address that no peer has.
            world.at(2, || {
                sh("ip addr flush dev x0 && ip addr add 10.77.0.9/24 dev x0");
            });
            let _stranger = world.at(2, || TcpStream::connect(ip4(1)).expect("a listener"));
            pump_counters(&mut hosts, |counters| counters.nonsense == 4);
        },
    );
}

/// Lets `hosts` work until the first's counters are as wanted.
fn pump_counters(hosts: &mut [Any], is_done: impl Fn(&Counters) -> bool) {
    for _ in 0..4_000 {
        for host in hosts.iter_mut() {
            host.on_time(now());
            host.recv(&mut Inbox::new(16, 64));
        }
        if is_done(&hosts[0].counters()) {
            return;
        }
        wait(hosts);
    }
    panic!("not as wanted: {:?}", hosts[0].counters());
}

#[test]
fn frames_of_a_stranger_are_counted_and_dropped() {
    in_namespace("frames_of_a_stranger_are_counted_and_dropped", |world| {
        let reach = udp::Reach::Broadcast("10.77.0.255:7000".parse().expect("an address"));
        let mut known = Peers::new(HostId(0));
        known.add(HostId(0), ip4(0)).expect("free");
        known.add(HostId(1), ip4(1)).expect("free");
        let mut hosts: Vec<Any> = vec![
            Box::new(world.udp(0, known, reach)),
            Box::new(world.udp(2, peers(2, ip4), reach)),
        ];
        send(&mut hosts, 1, Destination::All, b"who is this?");
        pump_counters(&mut hosts, |counters| {
            counters.dropped(DropReason::UnknownSource) == 1
        });
        assert_eq!(hosts[0].counters().received.frames, 0);
    });
}

#[test]
fn raw_transport_without_its_capability_names_it() {
    in_namespace("raw_transport_without_its_capability_names_it", |world| {
        let error = world.at(0, || {
            let mut sets = rustix::thread::capabilities(None).expect("this thread's");
            sets.effective.remove(CapabilitySet::NET_RAW);
            rustix::thread::set_capabilities(None, sets).expect("fewer are always allowed");
            RawTransport::open(RawConfig {
                link: "x0".to_owned(),
                peers: peers(0, mac),
                reach: raw::Reach::FanOut,
                ring_bytes: RawConfig::RING_BYTES,
            })
        });
        let error: OpenError = error.expect_err("it is not allowed");
        assert!(
            error.to_string().contains("CAP_NET_RAW is missing"),
            "{error}"
        );
    });
}

#[test]
fn faulty_network_between_hosts_loses_what_it_counts() {
    in_namespace(
        "faulty_network_between_hosts_loses_what_it_counts",
        |world| {
            let open = |host| world.udp(host, peers(host, ip4), udp::Reach::FanOut);
            let faults = "loss=20%,dup=10%,delay=1ms..3ms,cut=2>1"
                .parse()
                .expect("faults");
            let mut receiver = Faulty::new(open(1), faults, 77);
            let (mut zero, mut two) = (open(0), open(2));
            receiver.on_time(now());
            for _ in 0..1_000 {
                for sender in [&mut zero, &mut two] {
                    sender
                        .send(Destination::Host(HostId(1)), &[b"frame"])
                        .expect("it fits");
                }
            }
            let mut inbox = Inbox::new(2_048, 16);
            let mut next = receiver.on_time(now());
            while next.is_some() || receiver.made().cut < 1_000 {
                receiver.recv(&mut inbox);
                next = receiver.on_time(now());
            }
            let made = receiver.made();
            assert!(
                inbox
                    .iter()
                    .all(|(from, frame)| from == HostId(0) && frame == b"frame")
            );
            assert_eq!(
                inbox.len() as u64,
                1_000 - made.lost + made.duplicated,
                "{made:?}"
            );
            assert!(
                made.lost > 100 && made.duplicated > 30 && made.cut == 1_000,
                "{made:?}"
            );
        },
    );
}

#[test]
fn capture_is_what_passed_and_wireshark_reads_it() {
    in_namespace("capture_is_what_passed_and_wireshark_reads_it", |world| {
        let path = format!("{}/capture.pcapng", env!("CARGO_TARGET_TMPDIR"));
        let file = File::create(&path).expect("the build's own folder");
        let open = |host| world.udp(host, peers(host, ip4), udp::Reach::FanOut);
        let wall = Timestamp(1_700_000_000_000_000_000);
        let mut zero = Capture::new(open(0), file, 1 << 20, now(), wall);
        let mut one = open(1);
        zero.on_time(now());
        zero.send(Destination::All, &[b"out"]).expect("it fits");
        one.send(Destination::Host(HostId(0)), &[b"in"])
            .expect("it fits");
        let mut inbox = Inbox::new(4, 16);
        while inbox.is_empty() {
            zero.recv(&mut inbox);
        }
        zero.on_time(now());
        assert_eq!((zero.written(), zero.skipped(), zero.error()), (2, 0, None));
        drop(zero);
        let fields = ["eth.src", "eth.dst", "eth.type", "frame.p2p_dir"];
        let mut command = Command::new("tshark");
        command.args(["-r", &path, "-T", "fields"]);
        command.args(fields.iter().flat_map(|field| ["-e", field]));
        match command.output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let expected = "02:45:58:4f:00:00\t03:45:58:4f:00:00\t0x88b5\t0\n\
                                02:45:58:4f:00:01\t02:45:58:4f:00:00\t0x88b5\t1\n";
                assert_eq!(
                    text,
                    expected,
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            Err(error) => println!("not read back by tshark: {error}"),
        }
    });
}
