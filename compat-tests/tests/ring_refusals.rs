//! Hosts that are configured differently, and datagrams that are no frames: refused by name, and
//! nobody else notices.

#![allow(
    clippy::print_stdout,
    reason = "times are shown, and asserted with much room only"
)]

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::is_native_only;
use compat_tests::compile::{python, python_program};
use compat_tests::deadline::{Deadline, Start};
use compat_tests::hosts::{Hosts, PORT, Settings, name};
use compat_tests::member::{Pace, ensure_agree};
use compat_tests::trace::ensure_one_order;
use compat_tests::traced::{Member, finish, go};
use compat_tests::world::Under;
use nix::sys::signal::Signal;

const PACE: Pace = Pace {
    rate: 1_000,
    count: 0,
    finals: 2,
};
/// A host that is refused says so within a second; a machine whose cores are taken away has longer.
const TOLD_WITHIN: u64 = 10;

/// Two of three hosts at work, with a member each; the third has no monitor yet.
struct Two {
    hosts: Hosts,
    members: Vec<Member>,
    epoch: u64,
}

impl Two {
    fn start(transport: &'static str) -> Result<Self> {
        let mut hosts = Hosts::without_monitors(Settings::new(3, transport))?;
        for host in [0, 1] {
            hosts.add_monitor(host)?;
        }
        hosts.await_members(&[0, 1], Deadline::seconds(20))?;
        let mut members = hosts.members([0, 1], PACE)?;
        go(&mut members)?;
        for member in &mut members {
            member.await_more(500, Deadline::seconds(30))?;
        }
        let epoch = hosts.standing(0)?.epoch;
        Ok(Self {
            hosts,
            members,
            epoch,
        })
    }

    /// Starts the third with its tables changed, and waits for what `hosts` log about it.
    fn add_third(&mut self, from: &str, to: &str, told: &[(usize, &str)]) -> Result<()> {
        let tables = self.hosts.tables(2);
        ensure!(tables.contains(from), "no {from:?} in {tables}");
        self.hosts
            .add_monitor_with(2, &tables.replacen(from, to, 1))?;
        let start = Start::now();
        for (host, text) in told {
            self.await_told(*host, text)?;
        }
        println!("told after {:?}", start.elapsed());
        Ok(())
    }

    fn await_told(&self, host: usize, text: &str) -> Result<()> {
        let what = format!("{text:?} in the log of {}", name(host));
        Deadline::seconds(TOLD_WITHIN)
            .until(&what, || {
                let log = self.hosts.log(host)?;
                let is_told = log
                    .lines()
                    .any(|line| line.contains("refused") && line.contains(text));
                Ok(is_told.then_some(()))
            })
            .with_context(|| self.hosts.for_people())
    }

    /// The two went on all the time, in the same epoch, and have one order.
    fn check(mut self) -> Result<()> {
        for member in &mut self.members {
            member.await_more(1_000, Deadline::seconds(30))?;
        }
        for host in [0, 1] {
            let standing = self.hosts.standing(host)?;
            ensure!(
                standing.members == [0, 1] && standing.epoch == self.epoch,
                "somebody noticed: {standing:#?}"
            );
        }
        let (reports, traces) = finish(self.members, Deadline::seconds(60))?;
        ensure_agree(&reports)?;
        ensure_one_order(&traces)?;
        self.hosts.check()
    }
}

#[test]
fn a_host_with_another_key_is_refused_by_name() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("udp-multicast")?;
    let other = it.hosts[2].path("other.key");
    it.hosts.make_key(&other)?;
    let own = it.hosts.key().display().to_string();
    let text = "it has key ";
    it.add_third(
        &own,
        &other.display().to_string(),
        &[(0, text), (1, text), (2, text)],
    )?;
    it.check()
}

#[test]
fn a_host_with_another_table_is_refused_by_name() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("udp-multicast")?;
    let fourth = "[[host]]\nname = \"host9\"\naddress = \"10.78.0.9:7946\"\n[[host]]";
    let text = "its table of hosts is ";
    it.add_third("[[host]]", fourth, &[(0, text), (1, text), (2, text)])?;
    it.check()
}

#[test]
fn a_host_without_a_key_is_refused_by_name() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("tcp")?;
    let text = "its frames are ";
    it.add_third(
        "[ring]\n",
        "[ring]\nauthentication = false\n",
        &[(0, text), (1, text), (2, text)],
    )?;
    it.check()
}

#[test]
fn a_host_of_another_ring_is_refused_by_name() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("raw-multicast")?;
    let text = "it belongs to ring ";
    it.add_third(
        "[ring]\n",
        "[ring]\nnumber = 7\n",
        &[(0, text), (1, text), (2, text)],
    )?;
    it.check()
}

#[test]
fn a_second_host_of_one_name_is_refused_by_name() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("raw-multicast")?;
    // It speaks as host1, from host2's station.
    it.add_third(
        "host = \"host2\"",
        "host = \"host1\"\ninterface = \"eth0\"",
        &[
            (0, "it says that it is host 1"),
            (1, "it says that it is this host"),
        ],
    )?;
    it.check()
}

#[test]
fn a_host_that_has_not_the_address_of_its_name_does_not_start() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("udp-copies")?;
    let tables = it
        .hosts
        .tables(2)
        .replacen("host = \"host2\"", "host = \"host1\"", 1);
    let error = it.hosts.add_monitor_with(2, &tables).err();
    let error = format!("{:#}", error.context("it started")?);
    ensure!(error.contains("10.78.0.2"), "{error}");
    it.check()
}

#[test]
fn datagrams_that_are_no_frames_are_counted_and_nobody_notices() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("udp-multicast")?;
    let world = &it.hosts[2];
    let dropped = |hosts: &Hosts, host: usize, reason: &str| -> Result<u64> {
        let ring = hosts.standing(host)?.ring;
        ring["frames"]["dropped"][reason]
            .as_u64()
            .context("no such reason")
    };
    let mut command = world.command(Under::Kernel, python()?)?;
    command.arg(python_program("strays")).arg(world.address());
    command.args([&PORT.to_string(), "239.255.88.79"]);
    command.args([it.hosts[0].address(), it.hosts[1].address()]);
    let ended = world.run("strays", command, Deadline::seconds(20))?.ok()?;
    ensure!(ended.stdout == "sent 10\n", "{}", ended.stdout);
    for host in [0, 1] {
        // To the host itself and to the group: two of another version, eight that are nothing at all.
        let counted = Deadline::seconds(20).until("the count of strays", || {
            let hosts = &it.hosts;
            let malformed = dropped(hosts, host, "malformed")? + dropped(hosts, host, "check")?;
            let version = dropped(hosts, host, "version")?;
            Ok((malformed + version >= 20).then_some((malformed, version)))
        });
        let counted = counted.with_context(|| it.hosts.for_people())?;
        ensure!(counted == (16, 4), "(no frame, other version): {counted:?}");
        it.await_told(host, "it speaks version 9")?;
    }
    it.members[0].await_more(1_000, Deadline::seconds(30))?;
    it.check()
}

#[test]
fn a_host_that_is_refused_comes_in_once_it_is_corrected() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Two::start("udp-multicast")?;
    let text = "it belongs to ring ";
    it.add_third("[ring]\n", "[ring]\nnumber = 7\n", &[(0, text), (2, text)])?;
    it.hosts.end(2, Signal::SIGTERM)?;
    it.hosts.add_monitor(2)?;
    it.hosts.await_members(&[0, 1, 2], Deadline::seconds(30))?;
    let (reports, traces) = finish(it.members, Deadline::seconds(60))?;
    ensure_agree(&reports)?;
    ensure_one_order(&traces)?;
    it.hosts.check()
}
