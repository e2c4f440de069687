//! One order on several hosts, over every transport, with and without a bad network.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{is_native_only, is_soak};
use compat_tests::compile::{python, python_program};
use compat_tests::deadline::{Deadline, Start};
use compat_tests::hosts::{Hosts, Settings};
use compat_tests::member::{self, Pace, ensure_agree};
use compat_tests::program::Program;
use compat_tests::world::Under;
use std::fs;
use std::path::PathBuf;

/// Datagrams of all members together, in each of the two groups.
const DATAGRAMS: usize = 30_000;
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
    let output = std::process::Command::new("b2sum")
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
    let mut hosts = Hosts::start(settings)?;
    let load = Load::start(&hosts, datagrams)?;
    let start = Start::now();
    load.check(datagrams).context(what)?;
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
