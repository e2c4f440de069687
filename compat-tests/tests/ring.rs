//! One order on several hosts, over every transport, with and without a bad network.

#![allow(clippy::print_stdout, reason = "times are shown and not asserted")]

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{is_native_only, is_soak};
use compat_tests::compile::{python, python_program};
use compat_tests::deadline::{Deadline, Start, tick};
use compat_tests::hosts::{Hosts, Settings};
use compat_tests::member::{self, Pace, ensure_agree};
use compat_tests::program::Program;
use compat_tests::sockperf::{ensure_no_faults, number_after};
use compat_tests::told::Told;
use compat_tests::world::{Under, World};
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Datagrams of all members together, in each of the two groups.
const DATAGRAMS: usize = 18_000;
/// The same in the long variant: a million in all.
const DATAGRAMS_SOAK: usize = 500_000;
const FAULTS: &str = "loss=5%,dup=5%,reorder=5%";
/// How `order.py` waits, on the first host and so on.
const WAYS: [&str; 3] = ["poll", "edge", "threads"];
const TRADES: &str = "239.1.2.4";

// ---- Python, C and socat members on every host

/// On each host: a Python member and a socat reader in one group, a C member in the other.
struct Load {
    pythons: Vec<Program>,
    socats: Vec<(Program, PathBuf)>,
    members: Vec<Program>,
}

impl Load {
    fn start(hosts: &Hosts, datagrams: usize) -> Result<Self> {
        let python = python()?;
        let count = hosts.all().len();
        let each = datagrams / count;
        let (mut pythons, mut socats, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for host in hosts.all() {
            let world = &hosts[host];
            let mut command = world.command(Under::Exo, &python)?;
            command.arg(python_program("order")).arg(WAYS[host % 3]);
            command.args([host, count, each].map(|word| word.to_string()));
            command.arg("extremes").env("ADDRESS", world.address());
            pythons.push(world.start("order", command)?);

            let file = world.path("received");
            fs::write(&file, "")?;
            let mut command = world.command(Under::Exo, "socat")?;
            let address = world.address();
            command.args(["-u", "-b", "70000"]);
            command.arg(format!(
                "UDP4-RECV:5000,bind=239.1.2.3,ip-add-membership=239.1.2.3:{address},reuseaddr"
            ));
            command.arg(format!("OPEN:{},append", file.display()));
            socats.push((world.start("socat", command)?, file));

            let pace = Pace {
                rate: 0,
                count: each as u64,
                finals: u32::try_from(count)?,
            };
            let mut command = member::command(world, Under::Exo, pace)?;
            command.env("GROUP", TRADES);
            members.push(world.start("member", command)?);
        }
        for program in pythons.iter_mut().chain(&mut members) {
            program.wait_for("ready", Deadline::seconds(30))?;
        }
        for host in hosts.all() {
            hosts.await_joined(host, "orders", 2, Deadline::seconds(30))?; // Python and socat
        }
        Ok(Self {
            pythons,
            socats,
            members,
        })
    }

    /// Lets all send, and compares what came.
    fn check(mut self, datagrams: usize) -> Result<()> {
        let deadline = Deadline::seconds(if is_soak() { 800 } else { 100 });
        let count = self.pythons.len();
        for program in self.pythons.iter_mut().chain(&mut self.members) {
            program.say("go\n")?;
        }
        for member in &mut self.members {
            member.wait_for("sent all", deadline)?;
        }
        let reports = member::finish(self.members, deadline).context("C members")?;
        ensure_agree(&reports).context("C members")?;
        let each = (datagrams / count) as u64;
        // Everybody's datagrams and last words, but for last words behind the last that was awaited.
        ensure!(
            reports[0].received == (each + 1) * count as u64,
            "{reports:?}"
        );

        for python in &mut self.pythons {
            python.wait_for("sent", deadline)?;
        }
        for python in &mut self.pythons {
            let _ = python.say("finish\n"); // one that has everything may have ended
        }
        let reports: Result<Vec<_>> = self
            .pythons
            .into_iter()
            .map(|program| member::report(program, deadline))
            .collect();
        let reports = reports.context("Python members")?;
        ensure_agree(&reports).context("Python members")?;
        ensure!(reports[0].received == each * count as u64, "{reports:?}");
        for (socat, file) in self.socats {
            let mut digest = String::new();
            let same = Deadline::seconds(30).until("the last bytes at socat", || {
                digest = stream_digest(&file)?;
                Ok((digest == reports[0].stream).then_some(()))
            });
            same.with_context(|| format!("{digest} at socat: {reports:?}"))?;
            drop(socat);
        }
        Ok(())
    }
}

/// As `order.py` makes it.
fn stream_digest(file: &PathBuf) -> Result<String> {
    let output = Command::new("b2sum")
        .args(["-l", "128"])
        .arg(file)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').next().context("no digest")?.to_owned())
}

fn one_order(settings: Settings) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let datagrams = if is_soak() { DATAGRAMS_SOAK } else { DATAGRAMS };
    let what = format!("{settings:?}");
    let has_faults = settings.faults.is_some();
    let mut hosts = Hosts::start(settings)?;
    let load = Load::start(&hosts, datagrams)?;
    let start = Start::now();
    load.check(datagrams).context(what)?;
    if has_faults {
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

fn bad(transport: &'static str) -> Settings {
    Settings {
        faults: Some(FAULTS.to_owned()),
        ..Settings::new(3, transport)
    }
}

#[test]
fn three_hosts_have_one_order_over_udp_multicast() -> Result<()> {
    one_order(Settings::new(3, "udp-multicast"))
}

#[test]
fn three_hosts_have_one_order_over_udp_broadcast() -> Result<()> {
    one_order(Settings::new(3, "udp-broadcast"))
}

#[test]
fn three_hosts_have_one_order_over_udp_copies() -> Result<()> {
    one_order(Settings::new(3, "udp-copies"))
}

#[test]
fn three_hosts_have_one_order_over_tcp() -> Result<()> {
    one_order(Settings::new(3, "tcp"))
}

#[test]
fn three_hosts_have_one_order_over_raw_multicast() -> Result<()> {
    one_order(Settings::new(3, "raw-multicast"))
}

#[test]
fn three_hosts_have_one_order_over_raw_copies() -> Result<()> {
    one_order(Settings::new(3, "raw-copies"))
}

#[test]
fn a_bad_network_changes_nothing_over_udp_multicast() -> Result<()> {
    one_order(bad("udp-multicast"))
}

#[test]
fn a_bad_network_changes_nothing_over_udp_broadcast() -> Result<()> {
    one_order(bad("udp-broadcast"))
}

#[test]
fn a_bad_network_changes_nothing_over_udp_copies() -> Result<()> {
    one_order(bad("udp-copies"))
}

#[test]
fn a_bad_network_changes_nothing_over_tcp() -> Result<()> {
    one_order(bad("tcp"))
}

#[test]
fn a_bad_network_changes_nothing_over_raw_multicast() -> Result<()> {
    one_order(bad("raw-multicast"))
}

#[test]
fn a_bad_network_changes_nothing_over_raw_copies() -> Result<()> {
    one_order(bad("raw-copies"))
}

#[test]
fn five_hosts_have_one_order_over_udp_multicast() -> Result<()> {
    one_order(Settings::new(5, "udp-multicast"))
}

#[test]
fn five_hosts_have_one_order_over_tcp() -> Result<()> {
    one_order(Settings::new(5, "tcp"))
}

fn with(ring: &str) -> Settings {
    Settings {
        ring: ring.to_owned(),
        ..Settings::new(3, "udp-multicast")
    }
}

#[test]
fn three_hosts_have_one_order_of_what_all_of_them_hold() -> Result<()> {
    one_order(with("deliver = \"safe\""))
}

#[test]
fn three_hosts_have_one_order_of_what_is_on_disk() -> Result<()> {
    one_order(with("deliver = \"durable\"\njournal = true"))
}

#[test]
fn three_hosts_have_one_order_that_nobody_else_can_read() -> Result<()> {
    one_order(with("encryption = true"))
}

// ---- sockperf

const FEED: &str = "U:239.1.2.3:5000\n";

fn sockperf_command(world: &World, words: &[&str]) -> Result<Command> {
    let feed = world.path("feed");
    fs::write(&feed, FEED)?;
    let mut command = world.command(Under::ExoRun, "sockperf")?;
    command.arg(words[0]).arg("-f").arg(feed).args(["-F", "e"]);
    command.args(["--mc-rx-if", world.address()]);
    command.args(["--mc-tx-if", world.address(), "--mc-loopback-enable"]);
    command.args(&words[1..]);
    Ok(command)
}

fn sockperf_between_hosts(transport: &'static str) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(Settings::new(3, transport))?;
    let mut server =
        hosts[0].start("sockperf-server", sockperf_command(&hosts[0], &["server"])?)?;
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
    let client = sockperf_command(&hosts[1], &words)?;
    let client = hosts[1]
        .run("sockperf-client", client, Deadline::seconds(60))?
        .ok()?;
    let client = client.stdout + &client.stderr;
    server.wait_quiet(Deadline::seconds(30))?;
    server.signal(Signal::SIGINT)?;
    let server = server.wait(Deadline::seconds(15))?;
    let server = server.stdout + &server.stderr;
    ensure_no_faults(&client)?;
    let sent = number_after(&client, "SentMessages=")?;
    ensure!(sent > 100, "too few were sent:\n{client}");
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
/// datagram that needed a timeout would take 50 ms; one of several attempts is faster even when the
/// machine takes cores away.
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
    // The kernel's own: acknowledgements, who has which address, who is in which group.
    ensure!(
        on_links <= 2 * sent + 5 * WATCHED.as_secs(),
        "{on_links} frames on the links for {sent} of the ring"
    );
    ensure!(
        used.iter().all(|used| *used < WATCHED / 100),
        "processor time {used:?} in {WATCHED:?}"
    );

    let epoch = hosts.standing(0)?.epoch;
    let mut ages = Vec::new();
    for _ in 0..ATTEMPTS {
        reader.tell("age")?;
        rest(Duration::from_millis(300));
        sender.has("stamp", "ok")?;
        let age = reader.answer()?;
        ages.push(age.parse::<u64>().with_context(|| age)?);
    }
    println!("the first datagram after a rest came in {ages:?} us");
    ensure!(ages.iter().any(|age| *age < 40_000), "{ages:?} us");
    ensure!(
        hosts.standing(0)?.epoch == epoch,
        "the ring was formed anew"
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
