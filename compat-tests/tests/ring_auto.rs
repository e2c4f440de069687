//! `transport = "auto"`: multicast where all hosts hear it, copies where one does not, and over
//! from one to the other while members send.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{Binaries, is_native_only};
use compat_tests::deadline::Deadline;
use compat_tests::hosts::{Hosts, Settings, name};
use compat_tests::member::{Pace, ensure_agree};
use compat_tests::trace::ensure_one_order;
use compat_tests::traced::{Member, finish, go};
use compat_tests::world::Under;
use serde_json::Value;

const PACE: Pace = Pace {
    rate: 1_000,
    count: 0,
    finals: 3,
};

/// Waits until hosts send to all in these ways, for reasons with these words.
fn await_ways(hosts: &Hosts, ways: [(&str, &str); 3]) -> Result<()> {
    for (host, (way, why)) in ways.into_iter().enumerate() {
        let mut last = Value::Null;
        let what = format!("{way} ({why}) on {}", name(host));
        let seen = Deadline::seconds(30).until(&what, || {
            last = hosts.standing(host)?.ring["to_all"].clone();
            let said = last["why"].as_str().context("no reason")?;
            Ok((last["way"] == way && said.contains(why)).then_some(()))
        });
        seen.with_context(|| format!("{last}\n{}", hosts.for_people()))?;
    }
    Ok(())
}

/// What `exo doctor` measured, and its exit code.
fn doctor(hosts: &Hosts, host: usize) -> Result<(Value, Option<i32>)> {
    let world = &hosts[host];
    let mut command = world.command(Under::Kernel, Binaries::find()?.exo)?;
    command.args(["--json", "--socket"]).arg(world.socket()?);
    command.arg("doctor");
    let ended = world.run("doctor", command, Deadline::seconds(20))?;
    let document: Value =
        serde_json::from_str(&ended.stdout).with_context(|| ended.stderr.clone())?;
    Ok((document["between_hosts"].clone(), ended.status.code()))
}

fn at_work(hosts: &Hosts) -> Result<Vec<Member>> {
    let mut members = hosts.members(hosts.all(), PACE)?;
    go(&mut members)?;
    await_more(&mut members, 300)?;
    Ok(members)
}

fn await_more(members: &mut [Member], count: u64) -> Result<()> {
    members
        .iter_mut()
        .try_for_each(|member| member.await_more(count, Deadline::seconds(60)))
}

/// Nothing was lost, and all have one order.
fn check(mut hosts: Hosts, members: Vec<Member>) -> Result<()> {
    let (reports, traces) = finish(members, Deadline::seconds(60))?;
    ensure_agree(&reports)?;
    ensure_one_order(&traces)?;
    hosts.check()
}

const HEARD: (&str, &str) = ("multicast", "every host that answers hears it");

#[test]
fn hosts_that_hear_multicast_use_it() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let hosts = Hosts::start(Settings::new(3, "auto"))?;
    await_ways(&hosts, [HEARD; 3])?;
    let members = at_work(&hosts)?;
    await_ways(&hosts, [HEARD; 3])?;
    let (between, _) = doctor(&hosts, 1)?;
    ensure!(between["to_all"]["way"] == "multicast", "{between:#}");
    ensure!(between["findings"] == Value::Array(vec![]), "{between:#}");
    check(hosts, members)
}

#[test]
fn where_multicast_is_filtered_copies_are_sent() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::without_monitors(Settings::new(3, "auto"))?;
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        hosts.network().filter_multicast(from, to)?;
    }
    for host in hosts.all() {
        hosts.add_monitor(host)?;
    }
    hosts.await_members(&[0, 1, 2], Deadline::seconds(20))?;
    let epoch = hosts.standing(0)?.epoch;
    let members = at_work(&hosts)?;
    let deaf = |who| ("copies", who);
    let ways = ["host1, host2", "host0, host2", "host0, host1"].map(deaf);
    await_ways(&hosts, ways)?;
    // Nothing is wrong: the ring does without.
    let (between, _) = doctor(&hosts, 0)?;
    ensure!(between["to_all"]["way"] == "copies", "{between:#}");
    ensure!(between["findings"] == Value::Array(vec![]), "{between:#}");
    for host in hosts.all() {
        let standing = hosts.standing(host)?;
        ensure!(
            standing.epoch == epoch,
            "somebody was missed: {standing:#?}"
        );
    }
    check(hosts, members)
}

#[test]
fn a_ring_goes_over_to_copies_and_back_while_members_send() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let hosts = Hosts::start(Settings::new(3, "auto"))?;
    await_ways(&hosts, [HEARD; 3])?;
    let mut members = at_work(&hosts)?;
    // One way only: the others' multicast is heard by all.
    hosts.network().filter_multicast(0, 1)?;
    let deaf = ("copies", "multicast does not reach host1");
    await_ways(&hosts, [deaf, HEARD, HEARD])?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(30))?;
    await_more(&mut members, 500)?;
    let epoch = hosts.standing(0)?.epoch;
    await_more(&mut members, 1_000)?;
    ensure!(hosts.standing(0)?.epoch == epoch, "host1 is missed still");

    hosts.network().pass_multicast(0, 1)?;
    await_ways(&hosts, [HEARD; 3])?;
    await_more(&mut members, 500)?;

    // All at once, and back.
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        hosts.network().filter_multicast(from, to)?;
    }
    await_ways(&hosts, [("copies", "multicast does not reach "); 3])?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(30))?;
    await_more(&mut members, 500)?;
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        hosts.network().pass_multicast(from, to)?;
    }
    await_ways(&hosts, [HEARD; 3])?;
    await_more(&mut members, 500)?;
    check(hosts, members)
}
