//! `exo ring form`: more hosts have forgotten than the ring can bear, and some are gone for good.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{Binaries, is_native_only};
use compat_tests::deadline::{Deadline, tick};
use compat_tests::hosts::{Hosts, Settings};
use compat_tests::program::Ended;
use compat_tests::trace::ensure_one_order;
use compat_tests::traced::{await_more, ensure_died, ensure_equal, go, pace};
use compat_tests::world::Under;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Says `exo ring form` on a host, with these words behind it.
fn form(hosts: &Hosts, host: usize, words: &[&str]) -> Result<Ended> {
    let world = &hosts[host];
    let mut command = world.command(Under::Kernel, Binaries::find()?.exo)?;
    command.arg("--socket").arg(world.socket()?);
    command.args(["ring", "form"]).args(words);
    world.run("form", command, Deadline::seconds(20))
}

fn ensure_refused(hosts: &Hosts, host: usize, words: &[&str], why: &str) -> Result<()> {
    let ended = form(hosts, host, words)?;
    ensure!(
        ended.status.code() == Some(1) && ended.stderr.contains(why),
        "{words:?} on host {host}: {ended:?}"
    );
    Ok(())
}

/// All hosts are killed at once; each of `which` comes back without its memory.
fn all_forget(hosts: &mut Hosts, which: &[usize]) -> Result<()> {
    for host in hosts.all() {
        hosts.end(host, Signal::SIGKILL)?;
    }
    for host in which {
        hosts.restart(*host)?;
    }
    for host in which {
        hosts.await_state(*host, "lost its memory", Deadline::seconds(30))?;
    }
    Ok(())
}

#[test]
fn two_of_three_that_forgot_everything_go_on_when_the_operator_says_so() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(Settings::new(3, "udp-multicast"))?;
    let mut members = hosts.members(hosts.all(), pace(3))?;
    go(&mut members)?;
    await_more(&mut members, 500)?;
    let before = hosts.standing(0)?;

    all_forget(&mut hosts, &[0, 1])?;
    // Programs hear of the end of the order that they were part of.
    let dead: Result<Vec<_>> = members.into_iter().map(ensure_died).collect();
    ensure_one_order(&dead?)?;

    let mut members = hosts.members([0, 1], pace(3))?;
    go(&mut members)?;
    // Order is something that does not happen, so this wait is for its whole length.
    let end = Deadline::after(Duration::from_secs(1));
    while !end.passed() {
        tick();
    }
    for member in &members {
        let received = member.received()?;
        ensure!(received == 0, "{received} datagrams before anybody said so");
    }

    let words = ["--hosts", "host0,host1"];
    form(&hosts, 0, &words)?.ok()?;
    form(&hosts, 1, &words)?.ok()?;
    hosts.await_members(&[0, 1], Deadline::seconds(30))?;
    await_more(&mut members, 500)?;
    for host in [0, 1] {
        let after = hosts.standing(host)?;
        ensure!(
            after.ring["generation"] != before.ring["generation"],
            "the same generation: {before:#?} {after:#?}"
        );
        ensure!(hosts.log(host)?.contains("generation entered"));
    }
    ensure!(
        hosts.standing(0)?.ring["generation"] == hosts.standing(1)?.ring["generation"],
        "two generations: {}",
        hosts.for_people()
    );
    ensure_refused(&hosts, 0, &words, "this host remembers generation")?;

    // The third was not gone for good. It comes into what the two made.
    hosts.restart(2)?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(60))?;
    let mut late = hosts.members([2], pace(3))?;
    go(&mut late)?;
    await_more(&mut late, 500)?;
    ensure_equal(members, late, Vec::new())?;
    hosts.check()
}

#[test]
fn a_host_forms_nothing_that_could_contradict_what_is_remembered() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(Settings::new(3, "tcp"))?;
    let epoch = hosts.standing(0)?.epoch;
    let two = ["--hosts", "host0,host1"];
    ensure_refused(&hosts, 0, &two, "this host remembers generation")?;
    ensure_refused(&hosts, 0, &[], "this host remembers generation")?;
    let standing = hosts.standing(0)?;
    ensure!(
        standing.epoch == epoch && standing.members == [0, 1, 2],
        "a refused word changed something: {standing:#?}"
    );

    all_forget(&mut hosts, &[0, 1])?;
    ensure_refused(&hosts, 0, &["--hosts", "host0"], "a majority is 2")?;
    ensure_refused(
        &hosts,
        0,
        &["--hosts", "host1,host2"],
        "not among the members",
    )?;
    ensure_refused(
        &hosts,
        0,
        &["--hosts", "host0,nobody"],
        "no [[host]] is called nobody",
    )?;
    for host in [0, 1] {
        let state = &hosts.standing(host)?.ring["state"];
        ensure!(state == "lost its memory", "host {host}: {state}");
    }
    // Nobody needs the operator once all are there: then it is certain that nobody remembers.
    hosts.restart(2)?;
    hosts
        .await_members(&[0, 1, 2], Deadline::seconds(60))
        .context("three that all forgot")?;
    hosts.check()
}
