//! Hosts that only listen: their members receive the one order, and whatever becomes of them the
//! hosts that vote do not notice.

#![allow(
    clippy::print_stdout,
    reason = "times are shown, and asserted with much room only"
)]

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{Binaries, is_native_only};
use compat_tests::deadline::{Deadline, Start};
use compat_tests::hosts::{Hosts, Settings, name};
use compat_tests::member::{Pace, ensure_agree};
use compat_tests::program::Ended;
use compat_tests::told::Told;
use compat_tests::trace::ensure_one_order;
use compat_tests::traced::{Member, finish, go, longest_pause};
use compat_tests::world::Under;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;

/// Hosts that only listen; their names stand between those of the hosts that vote.
const LISTENERS: [usize; 2] = [1, 3];
const VOTERS: [usize; 3] = [0, 2, 4];
/// Each voter's member sends so many datagrams a second, and says a last word.
const PACE: Pace = Pace {
    rate: 1_000,
    count: 0,
    finals: 3,
};
/// Nothing that happens to a listener makes the others wait. On a machine whose cores are taken
/// away they pause for reasons of their own; so this only tells waiting from not waiting.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const STOPPED: Duration = Duration::from_secs(10);
const WITHIN: u64 = 30;

fn settings(transport: &'static str) -> Settings {
    Settings {
        listeners: LISTENERS.to_vec(),
        ..Settings::new(5, transport)
    }
}

/// Three hosts that vote and two that listen, with a member each that has received something.
fn under_load(transport: &'static str) -> Result<(Hosts, Vec<Member>)> {
    let hosts = Hosts::start(settings(transport))?;
    let mut members = hosts.members(hosts.all(), PACE)?;
    go(&mut members)?;
    for member in &mut members {
        member.await_more(500, Deadline::seconds(60))?;
    }
    Ok((hosts, members))
}

/// All of them received the same, from the first datagram to the last.
fn ensure_equal(members: Vec<Member>) -> Result<()> {
    let (reports, traces) = finish(members, Deadline::seconds(60))?;
    ensure_agree(&reports)?;
    ensure_one_order(&traces)
}

fn one_order(transport: &'static str) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(transport)?;
    for member in &mut members {
        member.await_more(6_000, Deadline::seconds(60))?;
    }
    ensure_equal(members)?;
    hosts.check()?;
    hosts.close()
}

#[test]
fn members_on_listeners_receive_the_one_order_over_udp_multicast() -> Result<()> {
    one_order("udp-multicast")
}

#[test]
fn members_on_listeners_receive_the_one_order_over_tcp() -> Result<()> {
    one_order("tcp")
}

#[test]
fn members_on_listeners_receive_the_one_order_over_raw_multicast() -> Result<()> {
    one_order("raw-multicast")
}

fn stopped(transport: &'static str) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(transport)?;
    let epoch = hosts.standing(0)?.epoch;
    hosts.pause(LISTENERS[0])?;
    let start = Start::now();
    let pause = longest_pause(&members[VOTERS[1]], Deadline::seconds(60), |_| {
        Ok(start.elapsed() >= STOPPED)
    })?;
    println!("{transport}: longest pause beside a stopped listener: {pause:?}");
    ensure!(pause < PAUSE_MAX, "the others waited for {pause:?}");
    let missed = members[VOTERS[1]].received()? - members[LISTENERS[0]].received()?;
    ensure!(missed > 10_000, "it stood still, and missed {missed}");
    hosts.go_on(LISTENERS[0])?;
    let back = Start::now();
    members[LISTENERS[0]].await_more(missed, Deadline::seconds(60))?;
    println!(
        "{transport}: {missed} datagrams caught up with in {:?}",
        back.elapsed()
    );
    println!("epoch {epoch}, then {}", hosts.standing(0)?.epoch);
    // What it missed is far less than the others retain.
    ensure_equal(members)?;
    hosts.check()?;
    hosts.close()
}

#[test]
fn a_stopped_listener_holds_nobody_up_and_catches_up() -> Result<()> {
    stopped("udp-multicast")
}

#[test]
fn a_stopped_listener_holds_nobody_up_over_tcp() -> Result<()> {
    stopped("tcp")
}

#[test]
fn listeners_that_die_are_not_noticed_and_one_that_starts_hears_from_then_on() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load("udp-multicast")?;
    let mut dead = Vec::new();
    for host in LISTENERS.into_iter().rev() {
        hosts.end(host, Signal::SIGKILL)?;
        dead.push(members.remove(host));
    }
    let wanted = members[0].received()? + 5_000;
    let pause = longest_pause(&members[0], Deadline::seconds(60), |_| {
        Ok(members[0].received()? >= wanted)
    })?;
    println!("longest pause after both listeners died: {pause:?}");
    ensure!(pause < PAUSE_MAX, "the others waited for {pause:?}");
    hosts.await_ring(&VOTERS, &VOTERS, Deadline::seconds(WITHIN))?;
    let mut traces = Vec::new();
    for mut member in dead {
        member
            .program
            .wait_for("failed: ENETDOWN", Deadline::seconds(20))?;
        traces.push(member.trace()?);
    }

    hosts.restart(LISTENERS[0])?;
    hosts.await_state(LISTENERS[0], "listening", Deadline::seconds(WITHIN))?;
    let mut late = hosts.member(LISTENERS[0], PACE)?;
    go(std::slice::from_mut(&mut late))?;
    late.await_more(3_000, Deadline::seconds(60))?;
    members.push(late);
    let (reports, mut others) = finish(members, Deadline::seconds(60))?;
    ensure_agree(&reports[..VOTERS.len()])?;
    let late = &reports[VOTERS.len()];
    // What was sent before it joined is no gap of its own; its trace shows that there is none.
    ensure!(
        late.complete && late.disorder + late.invented == 0,
        "{late:?}"
    );
    traces.append(&mut others);
    ensure_one_order(&traces)?;
    hosts.check()
}

#[test]
fn without_a_majority_of_those_that_vote_listeners_halt_too() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load("udp-multicast")?;
    // With the listeners this side has more hosts, and yet no majority.
    let (alone, listening) = (VOTERS[2], [1, 3, 4]);
    hosts.network().part(&VOTERS[..2], &listening)?;
    for host in [alone, LISTENERS[0], LISTENERS[1]] {
        hosts.await_state(host, "no majority", Deadline::seconds(WITHIN))?;
    }
    let ended = exo(&hosts, LISTENERS[0], &["status"])?;
    ensure!(ended.status.code() == Some(4), "{ended:?}");
    hosts.await_ring(&VOTERS[..2], &VOTERS[..2], Deadline::seconds(WITHIN))?;
    members[0].await_more(3_000, Deadline::seconds(60))?;
    hosts.network().heal(&VOTERS[..2], &listening)?;
    hosts.await_ring(&[0, 1, 2, 3, 4], &VOTERS, Deadline::seconds(WITHIN))?;
    for host in LISTENERS {
        hosts.await_state(host, "listening", Deadline::seconds(WITHIN))?;
    }
    ensure_equal(members)?;
    hosts.check()
}

fn exo(hosts: &Hosts, host: usize, words: &[&str]) -> Result<Ended> {
    let world = &hosts[host];
    let mut command = world.command(Under::Kernel, Binaries::find()?.exo)?;
    command.arg("--socket").arg(world.socket()?).args(words);
    world.run("exo", command, Deadline::seconds(30))
}

#[test]
fn sends_at_a_listener_fail_and_it_says_why() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(settings("udp-multicast"))?;
    let (listener, voter) = (LISTENERS[0], VOTERS[0]);
    let (mut here, mut there) = (Told::start(&hosts[listener])?, Told::start(&hosts[voter])?);
    here.has("open", "ok")?;
    there.has("open", "ok")?;
    here.has("send one", "ENETUNREACH")?;
    there.has("send two", "ok")?;
    here.has("recv", "two")?;
    // It stays so when a majority was gone and has come back.
    hosts.network().part(&VOTERS[..2], &[1, 3, 4])?;
    there.has("send three", "ok")?;
    hosts.await_state(listener, "no majority", Deadline::seconds(WITHIN))?;
    hosts.network().heal(&VOTERS[..2], &[1, 3, 4])?;
    hosts.await_state(listener, "listening", Deadline::seconds(WITHIN))?;
    here.has("recv", "three")?;
    here.has("send four", "ENETUNREACH")?;

    let said = |words: &[&str], code: i32, wanted: &[&str]| -> Result<()> {
        let ended = exo(&hosts, listener, words)?;
        let text = format!("{}{}", ended.stdout, ended.stderr);
        let is_said = wanted.iter().all(|wanted| text.contains(wanted));
        ensure!(
            is_said && ended.status.code() == Some(code),
            "{words:?}: {ended:?}"
        );
        Ok(())
    };
    said(
        &["ring"],
        0,
        &["programs here receive and cannot send", "listens"],
    )?;
    said(&["status"], 0, &["listening: 3 of 3 hosts, 2 listen"])?;
    said(&["ping", "orders"], 1, &["this host only listens"])?;
    let pid = here.program.pid().to_string();
    let what = format!(
        "fail with ENETUNREACH: host {} only listens",
        name(listener)
    );
    said(&["why", &pid], 5, &[&what])?;
    said(
        &["ring", "form", "--hosts", "host0,host1"],
        1,
        &["only listens"],
    )?;
    // The majority is one of those that vote, whoever else answers.
    let ended = exo(&hosts, listener, &["doctor", "--json"])?;
    let document: Value = serde_json::from_str(&ended.stdout)?;
    let between = &document["between_hosts"];
    let listens = |host: &&Value| host["listens"] == true;
    let table = between["hosts"].as_array().context("no hosts")?;
    let is_right = between["has_majority"] == true && table.iter().filter(listens).count() == 2;
    ensure!(is_right, "{between:#}");
    for host in &VOTERS[..2] {
        hosts.end(*host, Signal::SIGKILL)?;
    }
    Deadline::seconds(WITHIN).until("no majority for doctor", || {
        let ended = exo(&hosts, listener, &["doctor"])?;
        Ok((ended.status.code() == Some(4)).then_some(()))
    })?;
    hosts.check()
}

#[test]
fn a_listener_whose_table_says_that_it_votes_is_refused_by_name() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::without_monitors(settings("udp-multicast"))?;
    for host in VOTERS {
        hosts.add_monitor(host)?;
    }
    hosts.await_ring(&VOTERS, &VOTERS, Deadline::seconds(WITHIN))?;
    let tables = hosts.tables(1).replacen("listens = true\n", "", 1);
    hosts.add_monitor_with(1, &tables)?;
    let text = "its table of hosts is ";
    Deadline::seconds(WITHIN)
        .until("the refusal", || {
            let log = hosts.log(1)?;
            Ok(log.contains(text).then_some(()))
        })
        .with_context(|| hosts.for_people())?;
    hosts.check()
}
