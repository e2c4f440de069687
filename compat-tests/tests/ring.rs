//! One order on several hosts, over every transport, with and without a bad network.

#![allow(clippy::print_stdout, reason = "times are shown and not asserted")]

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{is_native_only, is_soak};
use compat_tests::deadline::{Deadline, Start, tick};
use compat_tests::hosts::{Hosts, Settings};
use compat_tests::load::{self, Load};
use compat_tests::sockperf::{self, ensure_no_faults, number_after};
use compat_tests::told::Told;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Datagrams of all members together, in each of two groups.
const DATAGRAMS: usize = 18_000;
/// The same in the long variant: a million in all.
const DATAGRAMS_SOAK: usize = 500_000;
const FAULTS: &str = "loss=5%,dup=5%,reorder=5%";

// ---- Python, C, socat and sockperf members on every host

fn one_order(settings: Settings) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let datagrams = if is_soak() { DATAGRAMS_SOAK } else { DATAGRAMS };
    let settings = Settings {
        groups: load::groups(settings.is_ipv6),
        ..settings
    };
    let mut hosts = Hosts::start(settings.clone())?;
    let load = Load::start(&hosts, &settings, datagrams)?;
    let start = Start::now();
    load.check(&hosts)
        .with_context(|| format!("{settings:?}"))?;
    if settings.faults.is_some() {
        let mut repairs = 0;
        for host in hosts.all() {
            let frames = &hosts.standing(host)?.ring["frames"];
            for kind in ["resent_turns", "gaps_asked_for", "repaired_turns"] {
                repairs += frames[kind].as_u64().context("no count")?;
            }
        }
        ensure!(repairs > 100, "{repairs} repairs: the network was good");
    }
    println!(
        "{datagrams} datagrams in each of two groups: {:?}",
        start.elapsed()
    );
    hosts.check()
}

fn bad(count: usize, transport: &'static str) -> Settings {
    Settings {
        faults: Some(FAULTS.to_owned()),
        ..Settings::new(count, transport)
    }
}

fn ipv6(transport: &'static str) -> Settings {
    Settings {
        is_ipv6: true,
        ..Settings::new(3, transport)
    }
}

fn with(ring: &str) -> Settings {
    Settings {
        ring: ring.to_owned(),
        ..Settings::new(3, "udp-multicast")
    }
}

/// One test for each line: its name and what the ring is to be.
macro_rules! one_order {
    ($($(#[$attribute:meta])* $test:ident => $settings:expr;)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $test() -> Result<()> {
                one_order($settings)
            }
        )*
    };
}

one_order! {
    three_hosts_have_one_order_over_udp_multicast => Settings::new(3, "udp-multicast");
    three_hosts_have_one_order_over_udp_broadcast => Settings::new(3, "udp-broadcast");
    three_hosts_have_one_order_over_udp_copies => Settings::new(3, "udp-copies");
    three_hosts_have_one_order_over_tcp => Settings::new(3, "tcp");
    three_hosts_have_one_order_over_raw_multicast => Settings::new(3, "raw-multicast");
    three_hosts_have_one_order_over_raw_copies => Settings::new(3, "raw-copies");
    a_bad_network_changes_nothing_over_udp_multicast => bad(3, "udp-multicast");
    a_bad_network_changes_nothing_over_udp_broadcast => bad(3, "udp-broadcast");
    a_bad_network_changes_nothing_over_udp_copies => bad(3, "udp-copies");
    a_bad_network_changes_nothing_over_tcp => bad(3, "tcp");
    a_bad_network_changes_nothing_over_raw_multicast => bad(3, "raw-multicast");
    a_bad_network_changes_nothing_over_raw_copies => bad(3, "raw-copies");
    five_hosts_have_one_order_over_udp_multicast => Settings::new(5, "udp-multicast");
    #[ignore = "make soak"]
    five_hosts_have_one_order_over_udp_broadcast => Settings::new(5, "udp-broadcast");
    #[ignore = "make soak"]
    five_hosts_have_one_order_over_udp_copies => Settings::new(5, "udp-copies");
    five_hosts_have_one_order_over_tcp => Settings::new(5, "tcp");
    #[ignore = "make soak"]
    five_hosts_have_one_order_over_raw_multicast => Settings::new(5, "raw-multicast");
    #[ignore = "make soak"]
    five_hosts_have_one_order_over_raw_copies => Settings::new(5, "raw-copies");
    #[ignore = "make soak"]
    a_bad_network_changes_nothing_for_five_over_udp_multicast => bad(5, "udp-multicast");
    #[ignore = "make soak"]
    a_bad_network_changes_nothing_for_five_over_udp_broadcast => bad(5, "udp-broadcast");
    #[ignore = "make soak"]
    a_bad_network_changes_nothing_for_five_over_udp_copies => bad(5, "udp-copies");
    #[ignore = "make soak"]
    a_bad_network_changes_nothing_for_five_over_tcp => bad(5, "tcp");
    #[ignore = "make soak"]
    a_bad_network_changes_nothing_for_five_over_raw_multicast => bad(5, "raw-multicast");
    #[ignore = "make soak"]
    a_bad_network_changes_nothing_for_five_over_raw_copies => bad(5, "raw-copies");
    three_hosts_have_one_order_over_udp_multicast_with_ipv6 => ipv6("udp-multicast");
    three_hosts_have_one_order_over_tcp_with_ipv6 => ipv6("tcp");
    three_hosts_have_one_order_of_what_all_of_them_hold => with("deliver = \"safe\"");
    three_hosts_have_one_order_of_what_is_on_disk => with("deliver = \"durable\"\njournal = true");
    three_hosts_have_one_order_that_nobody_else_can_read => with("encryption = true");
}

// ---- sockperf

const ORDERS: &str = "239.1.2.3";

fn sockperf_between_hosts(transport: &'static str) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(Settings::new(3, transport))?;
    let server = sockperf::command(&hosts[0], ORDERS, &["server"])?;
    let mut server = hosts[0].start("sockperf-server", server)?;
    server.wait_for("to block on socket", Deadline::seconds(15))?;
    hosts.await_joined(0, "orders", 1, Deadline::seconds(15))?;
    let words = [
        "under-load",
        "-t",
        "2",
        "--mps",
        "5000",
        "--reply-every",
        "10",
    ];
    let client = sockperf::command(&hosts[1], ORDERS, &words)?;
    let client = hosts[1]
        .run("sockperf-client", client, Deadline::seconds(60))?
        .ok()?;
    let client = client.stdout + &client.stderr;
    let sent = number_after(&client, "SentMessages=")?;
    ensure!(sent > 100, "too few were sent:\n{client}");
    hosts[0].await_read(&["orders"], sent, Deadline::seconds(60))?;
    server.signal(Signal::SIGINT)?;
    let server = server.wait(Deadline::seconds(15))?;
    let server = server.stdout + &server.stderr;
    ensure_no_faults(&client, u64::MAX)?;
    ensure!(
        number_after(&server, "Total")? >= sent,
        "lost: {client}\n{server}"
    );
    hosts.check()
}

#[test]
fn sockperf_between_hosts_loses_nothing_over_udp_multicast() -> Result<()> {
    sockperf_between_hosts("udp-multicast")
}

#[test]
fn sockperf_between_hosts_loses_nothing_over_tcp() -> Result<()> {
    sockperf_between_hosts("tcp")
}

// ---- rest

/// Ten frames a second and one hundredth of a core for each monitor are what was promised. A
/// datagram that needed a timeout would take 50 ms, or another epoch; one of several attempts needs
/// none even when the machine takes cores away.
fn idle(transport: &'static str) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(3);
    const ATTEMPTS: usize = 5;
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(Settings::new(3, transport))?;
    let (mut sender, mut reader) = (Told::start(&hosts[0])?, Told::start(&hosts[1])?);
    sender.has("open", "ok")?;
    reader.has("open", "ok")?;
    sender.has("send hello", "ok")?;
    reader.has("recv", "hello")?;
    let count = |hosts: &Hosts| -> Result<(Vec<u64>, Vec<Duration>)> {
        let frames = |host| {
            let sent = &hosts.standing(host)?.ring["frames"]["sent"];
            sent.as_u64().context("no count")
        };
        let frames: Result<_> = hosts.all().map(frames).collect();
        let times: Result<_> = hosts.all().map(|host| hosts.processor_time(host)).collect();
        Ok((frames?, times?))
    };
    let rest = |length| {
        let end = Deadline::after(length);
        while !end.passed() {
            tick();
        }
    };
    rest(Duration::from_millis(500)); // the datagram becomes safe
    let (frames, times) = count(&hosts)?;
    let on_links = hosts.frames_sent_by_all()?;
    rest(WATCHED); // a rate needs its time
    let on_links = hosts.frames_sent_by_all()? - on_links;
    let (frames_later, times_later) = count(&hosts)?;
    let sent: u64 = frames_later.iter().sum::<u64>() - frames.iter().sum::<u64>();
    let used: Vec<Duration> = (0..3).map(|host| times_later[host] - times[host]).collect();
    println!(
        "at rest for {WATCHED:?}: {sent} frames of the ring, {on_links} of any kind, processor time {used:?}"
    );
    // The one that the watch began with is not the rate's.
    ensure!(
        sent <= 10 * WATCHED.as_secs() + 1,
        "{sent} frames in {WATCHED:?}"
    );
    // Also with TCP's acknowledgements. The rest is the kernel's: who has which address, who is in
    // which group.
    ensure!(
        on_links <= (10 + 5) * WATCHED.as_secs(),
        "{on_links} frames on the links for {sent} of the ring"
    );
    ensure!(
        used.iter().all(|used| *used < WATCHED / 100),
        "processor time {used:?} in {WATCHED:?}"
    );

    let (mut ages, mut at_once) = (Vec::new(), 0);
    for _ in 0..ATTEMPTS {
        let epoch = hosts.standing(0)?.epoch;
        reader.tell("age")?;
        rest(Duration::from_millis(300));
        sender.has("stamp", "ok")?;
        let age = reader.answer()?;
        let age: u64 = age.parse().with_context(|| age)?;
        ages.push(age);
        at_once += u32::from(age < 40_000 && hosts.standing(0)?.epoch == epoch);
    }
    println!("the first datagram after a rest came in {ages:?} us, {at_once} times at once");
    ensure!(
        at_once > 0,
        "{ages:?} us, or in a ring that was formed anew"
    );
    hosts.check()
}

#[test]
fn a_ring_at_rest_is_silent_and_wakes_at_once_over_udp_multicast() -> Result<()> {
    idle("udp-multicast")
}

#[test]
fn a_ring_at_rest_is_silent_and_wakes_at_once_over_tcp() -> Result<()> {
    idle("tcp")
}

#[test]
fn a_ring_at_rest_is_silent_and_wakes_at_once_over_what_it_chose() -> Result<()> {
    idle("auto")
}
