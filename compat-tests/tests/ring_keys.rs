//! The key of a ring is changed while it works, host by host, and nobody notices.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{Binaries, is_native_only};
use compat_tests::deadline::Deadline;
use compat_tests::hosts::{Hosts, Settings, name};
use compat_tests::member::{Pace, ensure_agree};
use compat_tests::program::Ended;
use compat_tests::trace::ensure_one_order;
use compat_tests::traced::{Member, finish, go};
use compat_tests::world::Under;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Three hosts at work, each with a key file of its own, and members on some of them.
struct Ring {
    hosts: Hosts,
    members: Vec<Member>,
    epoch: u64,
}

impl Ring {
    fn start(settings: Settings, on: &[usize]) -> Result<Self> {
        let mut hosts = Hosts::without_monitors(settings)?;
        let shared = hosts.key();
        for host in hosts.all() {
            let own = key_file(&hosts, host);
            fs::copy(&shared, &own)?; // with its mode
            let tables = hosts.tables(host);
            let [from, to] = [&shared, &own].map(|path| path.display().to_string());
            ensure!(tables.contains(&from), "no {from} in {tables}");
            hosts.add_monitor_with(host, &tables.replacen(&from, &to, 1))?;
        }
        hosts.await_members(&[0, 1, 2], Deadline::seconds(20))?;
        let pace = Pace {
            rate: 1_000,
            count: 0,
            finals: u32::try_from(on.len())?,
        };
        let mut members = hosts.members(on.iter().copied(), pace)?;
        go(&mut members)?;
        for member in &mut members {
            member.await_more(300, Deadline::seconds(30))?;
        }
        let epoch = hosts.standing(0)?.epoch;
        Ok(Self {
            hosts,
            members,
            epoch,
        })
    }

    /// Takes a step at each host after the other, under load.
    fn step(&mut self, option: &str) -> Result<()> {
        for host in self.hosts.all() {
            if (option, host) == ("--add", 0) {
                exo(&self.hosts, 0, &["keygen", "--add"], true)?.ok()?;
            } else if option == "--add" {
                fs::copy(key_file(&self.hosts, 0), key_file(&self.hosts, host))?;
            } else {
                exo(&self.hosts, host, &["keygen", option], true)?.ok()?;
            }
            exo(&self.hosts, host, &["reload"], false)?.ok()?;
            for member in &mut self.members {
                member.await_more(200, Deadline::seconds(30))?;
            }
        }
        Ok(())
    }

    /// Waits until every host shows that all seal with the key of this id.
    fn await_key(&self, id: &str) -> Result<()> {
        for host in self.hosts.all() {
            let mut last = Value::Null;
            let seen = Deadline::seconds(20).until(&format!("key {id} on {}", name(host)), || {
                last = self.hosts.standing(host)?.ring["hosts"].clone();
                let all = last.as_array().context("no hosts")?;
                Ok(all.iter().all(|it| it["key"] == id).then_some(()))
            });
            seen.with_context(|| format!("{last:#}"))?;
        }
        Ok(())
    }

    /// No host refused a frame, and none left the ring.
    fn ensure_nobody_noticed(&self) -> Result<()> {
        for host in self.hosts.all() {
            let standing = self.hosts.standing(host)?;
            ensure!(
                standing.members == [0, 1, 2] && standing.epoch == self.epoch,
                "the ring changed: {standing:#?}"
            );
            ensure!(
                standing.ring["frames"]["dropped"]["key"] == 0,
                "{standing:#?}"
            );
            let log = self.hosts.log(host)?;
            ensure!(!log.contains("refused"), "{log}");
        }
        Ok(())
    }
}

fn key_file(hosts: &Hosts, host: usize) -> PathBuf {
    hosts[host].path("own.key")
}

/// Runs `exo` for a host's monitor, or on its key file.
fn exo(hosts: &Hosts, host: usize, words: &[&str], on_file: bool) -> Result<Ended> {
    let world = &hosts[host];
    let mut command = world.command(Under::Kernel, Binaries::find()?.exo)?;
    command.args(["--json", "--socket"]).arg(world.socket()?);
    command.args(words);
    if on_file {
        command.arg(key_file(hosts, host));
    }
    world.run("exo", command, Deadline::seconds(20))
}

/// The ids of a file's keys, as frames carry them, with their roles.
fn keys(hosts: &Hosts, host: usize) -> Result<Vec<(String, String)>> {
    let ended = exo(hosts, host, &["keygen", "--fingerprint"], true)?.ok()?;
    let document: Value = serde_json::from_str(&ended.stdout)?;
    let keys = document["keys"].as_array().context("no keys")?;
    keys.iter()
        .map(|key| {
            let fingerprint = key["fingerprint"].as_str().context("no fingerprint")?;
            let role = key["role"].as_str().context("no role")?;
            Ok((role.to_owned(), fingerprint[..9].to_owned()))
        })
        .collect()
}

fn change_the_key(settings: Settings) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Ring::start(settings, &[0, 1, 2])?;
    let first = keys(&it.hosts, 0)?[0].1.clone();
    it.await_key(&first)?;
    it.step("--add")?;
    let added = keys(&it.hosts, 2)?;
    let [(_, current), (role, second)] = &added[..] else {
        anyhow::bail!("{added:?}");
    };
    ensure!((current, role.as_str()) == (&first, "next"), "{added:?}");
    it.await_key(&first)?;
    it.step("--switch")?;
    it.await_key(second)?;
    it.step("--drop")?;
    it.await_key(second)?;
    let left = keys(&it.hosts, 1)?;
    ensure!(left == [("current".to_owned(), second.clone())], "{left:?}");
    it.ensure_nobody_noticed()?;
    let (reports, traces) = finish(it.members, Deadline::seconds(60))?;
    ensure_agree(&reports)?;
    ensure_one_order(&traces)?;
    it.hosts.check()
}

#[test]
fn a_key_is_changed_in_three_steps_and_nobody_notices() -> Result<()> {
    change_the_key(Settings::new(3, "udp-multicast"))
}

#[test]
fn the_key_of_an_encrypted_ring_is_changed_in_three_steps_and_nobody_notices() -> Result<()> {
    change_the_key(Settings {
        ring: "encryption = true".to_owned(),
        ..Settings::new(3, "tcp")
    })
}

#[test]
fn a_host_that_missed_the_change_is_refused_by_name_until_it_has_the_key() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Ring::start(Settings::new(3, "udp-multicast"), &[0, 1])?;
    let file = key_file(&it.hosts, 2);
    let first = fs::read(&file)?;
    for option in ["--add", "--switch", "--drop"] {
        it.step(option)?;
    }
    it.ensure_nobody_noticed()?;
    let last = fs::read(&file)?;
    let hosts = &mut it.hosts;
    hosts.end(2, Signal::SIGTERM)?;
    hosts.await_members(&[0, 1], Deadline::seconds(20))?;

    fs::write(&file, first)?;
    let old = keys(hosts, 2)?[0].1.clone();
    hosts.restart(2)?;
    let text = format!("it has key {old}, which is not accepted here");
    for host in [0, 1] {
        let what = format!("{text:?} on {}", name(host));
        Deadline::seconds(20).until(&what, || {
            let ring = hosts.standing(host)?.ring;
            let said = ring["hosts"][2]["refused"].as_str();
            let is_counted = ring["frames"]["dropped"]["key"].as_u64() > Some(0);
            let is_named = said.is_some_and(|said| said.contains(&text));
            Ok((is_counted && is_named && hosts.log(host)?.contains(&text)).then_some(()))
        })?;
    }

    // A file that holds no key changes nothing, and the reload says so.
    fs::write(&file, "exo-key-1:")?;
    let refused = exo(hosts, 2, &["reload"], false)?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("own.key"), "{}", refused.stderr);

    fs::write(&file, last)?;
    exo(hosts, 2, &["reload"], false)?.ok()?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(30))?;
    for host in [0, 1] {
        let what = format!("no refusal on {}", name(host));
        Deadline::seconds(30).until(&what, || {
            let ring = hosts.standing(host)?.ring;
            Ok(ring["hosts"][2]["refused"].is_null().then_some(()))
        })?;
    }
    let (reports, traces) = finish(it.members, Deadline::seconds(60))?;
    ensure_agree(&reports)?;
    ensure_one_order(&traces)?;
    it.hosts.check()
}
