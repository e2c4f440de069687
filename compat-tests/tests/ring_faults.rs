//! Several hosts while hosts die, stop, come back, and cannot reach each other.
//!
//! Members leave traces: every test ends by comparing, place by place, what all of them received,
//! also those that died on the way.

#![allow(
    clippy::print_stdout,
    reason = "times are shown, and asserted with much room only"
)]

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{is_native_only, is_soak};
use compat_tests::deadline::{Deadline, Start, tick};
use compat_tests::hosts::{Hosts, Settings};
use compat_tests::member::Pace;
use compat_tests::told::Told;
use compat_tests::trace::{Trace, ensure_one_order};
use compat_tests::traced::{
    Member, await_more, ensure_died, ensure_equal, go, longest_pause, pace,
};
use nix::sys::signal::Signal;
use std::time::Duration;

/// So many more cannot have been on their way when something happened: half a second of three members.
const CLEARLY_LATER: u64 = 1_500;
/// A host is missed after 50 ms (`T_loss`) and the rest goes on within five of these. On a machine
/// whose cores are taken away for longer than that, hosts are missed that are there, and several
/// epochs follow each other; so this only tells slow from never. The figure itself is printed.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);
/// Hosts ask to come in at least every two seconds.
const RETURNS_WITHIN: u64 = 30;

/// Hosts with a sending member each, which have all received something.
fn under_load(settings: Settings, finals: usize) -> Result<(Hosts, Vec<Member>)> {
    let hosts = Hosts::start(settings)?;
    let mut members = hosts.members(hosts.all(), pace(finals))?;
    go(&mut members)?;
    await_more(&mut members, 500)?;
    Ok((hosts, members))
}

/// Waits until `member` goes on after something happened, which was before this call.
fn await_resumed(what: &str, member: &Member) -> Result<()> {
    let start = Start::now();
    let wanted = member.received()? + CLEARLY_LATER;
    let pause = longest_pause(member, Deadline::after(2 * RESUMES_WITHIN), |_| {
        Ok(member.received()? >= wanted)
    })
    .with_context(|| format!("{what}: host {} did not go on", member.host))?;
    println!(
        "{what}: host {} paused for {} ms and went on in {} ms",
        member.host,
        pause.as_millis(),
        start.elapsed().as_millis()
    );
    ensure!(pause < RESUMES_WITHIN, "{what}: a pause of {pause:?}");
    Ok(())
}

/// For a fault that is a length of time.
fn for_its_whole_length(length: Duration) {
    let end = Deadline::after(length);
    while !end.passed() {
        tick();
    }
}

// ---- partitions

fn parted(transport: &'static str, small: &[usize], large: &[usize]) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let count = small.len() + large.len();
    let (mut hosts, mut members) = under_load(Settings::new(count, transport), count)?;
    hosts.network().part(small, large)?;
    await_resumed("parted", &members[large[0]])?;
    hosts.await_members(large, Deadline::seconds(RETURNS_WITHIN))?;
    for host in small {
        hosts.await_state(*host, "no majority", Deadline::seconds(RETURNS_WITHIN))?;
    }
    let received = |members: &[Member]| -> Result<Vec<u64>> {
        small.iter().map(|host| members[*host].received()).collect()
    };
    let before = received(&members)?;
    for host in large {
        members[*host].await_more(3 * CLEARLY_LATER, Deadline::seconds(60))?;
    }
    let after = received(&members)?;
    ensure!(
        before == after,
        "the smaller side went from {before:?} to {after:?}"
    );
    hosts.network().heal(small, large)?;
    let everybody: Vec<usize> = hosts.all().collect();
    hosts.await_members(&everybody, Deadline::seconds(RETURNS_WITHIN))?;
    await_more(&mut members, CLEARLY_LATER)?;
    ensure_equal(members, Vec::new(), Vec::new())?;
    hosts.check()
}

#[test]
fn the_larger_side_goes_on_and_all_are_equal_after_healing() -> Result<()> {
    parted("udp-multicast", &[0, 1], &[2, 3, 4])
}

#[test]
fn the_larger_side_goes_on_over_tcp_too() -> Result<()> {
    parted("tcp", &[2], &[0, 1])
}

#[test]
fn nobody_goes_on_without_a_majority() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(Settings::new(3, "udp-multicast"), 3)?;
    hosts.network().part(&[0], &[1, 2])?;
    hosts.network().part(&[1], &[2])?;
    for host in hosts.all() {
        hosts.await_state(host, "no majority", Deadline::seconds(RETURNS_WITHIN))?;
    }
    let received =
        |members: &[Member]| -> Result<Vec<u64>> { members.iter().map(Member::received).collect() };
    let before = received(&members)?;
    // Order is something that does not happen, so this wait is for its whole length.
    for_its_whole_length(Duration::from_secs(1));
    let after = received(&members)?;
    ensure!(before == after, "from {before:?} to {after:?}");
    hosts.network().heal(&[0], &[1, 2])?;
    hosts.network().heal(&[1], &[2])?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(RETURNS_WITHIN))?;
    await_more(&mut members, CLEARLY_LATER)?;
    ensure_equal(members, Vec::new(), Vec::new())?;
    hosts.check()
}

#[test]
fn sends_of_the_smaller_side_fail_when_they_are_told_to() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let settings = Settings {
        ring: "minority = \"fail\"".to_owned(),
        ..Settings::new(3, "udp-multicast")
    };
    let mut hosts = Hosts::start(settings)?;
    let (mut alone, mut other) = (Told::start(&hosts[0])?, Told::start(&hosts[1])?);
    alone.has("open", "ok")?;
    other.has("open", "ok")?;
    alone.has("send one", "ok")?;
    other.has("recv", "one")?;
    hosts.network().part(&[0], &[1, 2])?;
    hosts.await_state(0, "no majority", Deadline::seconds(RETURNS_WITHIN))?;
    alone.has("send two", "ENETUNREACH")?;
    // A ring at rest need not notice; a datagram does.
    other.has("send three", "ok")?;
    other.has("recv", "three")?;
    hosts.network().heal(&[0], &[1, 2])?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(RETURNS_WITHIN))?;
    hosts.await_state(0, "ordering", Deadline::seconds(RETURNS_WITHIN))?;
    alone.has("send four", "ok")?;
    other.has("recv", "four")?;
    for expected in ["one", "three", "four"] {
        alone.has("recv", expected)?;
    }
    hosts.check()
}

/// While the ways in `cuts` are cut, `alive` go on.
fn one_way(transport: &'static str, cuts: &[(usize, usize)], alive: &[usize]) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(Settings::new(3, transport), 3)?;
    for (from, to) in cuts {
        hosts.network().cut(*from, *to)?;
    }
    await_resumed("cut one way", &members[alive[0]])?;
    for host in alive {
        members[*host].await_more(3 * CLEARLY_LATER, Deadline::seconds(60))?;
    }
    for (from, to) in cuts {
        hosts.network().join(*from, *to)?;
    }
    hosts.await_members(&[0, 1, 2], Deadline::seconds(RETURNS_WITHIN))?;
    await_more(&mut members, CLEARLY_LATER)?;
    ensure_equal(members, Vec::new(), Vec::new())?;
    hosts.check()
}

#[test]
fn a_way_cut_in_one_direction_stops_nobody_for_long() -> Result<()> {
    one_way("udp-multicast", &[(0, 1)], &[2])
}

#[test]
fn a_host_that_hears_nobody_does_not_stop_the_others() -> Result<()> {
    one_way("udp-multicast", &[(0, 2), (1, 2)], &[0, 1])
}

#[test]
fn a_host_that_nobody_hears_does_not_stop_the_others() -> Result<()> {
    one_way("udp-multicast", &[(2, 0), (2, 1)], &[0, 1])
}

#[test]
fn a_host_that_hears_nobody_does_not_stop_the_others_over_raw_frames() -> Result<()> {
    one_way("raw-copies", &[(0, 2), (1, 2)], &[0, 1])
}

// ---- hosts that die

#[test]
fn the_death_of_the_host_where_the_token_rests_is_noticed() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(Settings::new(3, "udp-multicast"))?;
    let few = Pace {
        count: 300,
        ..pace(2)
    };
    let mut members = hosts.members(hosts.all(), few)?;
    go(&mut members)?;
    for member in &mut members {
        member.await_total(900, Deadline::seconds(60))?;
    }
    let owner = Deadline::seconds(20).until("a host where the token rests", || {
        for host in hosts.all() {
            if hosts.standing(host)?.is_parked {
                return Ok(Some(host));
            }
        }
        Ok(None)
    })?;
    hosts.end(owner, Signal::SIGKILL)?;
    let dead = ensure_died(members.remove(owner))?;
    ensure!(
        dead.entries.len() == 900,
        "{} datagrams",
        dead.entries.len()
    );
    let start = Start::now();
    ensure_equal(members, Vec::new(), vec![dead])?;
    println!(
        "the token's host killed at rest: last words in {:?}",
        start.elapsed()
    );
    hosts.check()
}

#[test]
fn the_death_of_a_host_that_has_the_token_is_survived_under_load() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(Settings::new(3, "udp-multicast"), 2)?;
    // A stopped host keeps the token when it comes by. The others have then written all that they
    // may, and nothing moves; this is before they miss the host, or after.
    hosts.pause(1)?;
    longest_pause(&members[0], Deadline::seconds(20), |pause| {
        Ok(pause >= Duration::from_millis(10))
    })?;
    hosts.end(1, Signal::SIGKILL)?;
    await_resumed("the token's host killed", &members[0])?;
    hosts.await_members(&[0, 2], Deadline::seconds(RETURNS_WITHIN))?;
    let dead = ensure_died(members.remove(1))?;
    await_more(&mut members, CLEARLY_LATER)?;
    ensure_equal(members, Vec::new(), vec![dead])?;
    hosts.check()
}

#[test]
fn two_of_five_hosts_die_and_come_back() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(Settings::new(5, "udp-multicast"), 5)?;
    hosts.end(1, Signal::SIGKILL)?;
    hosts.end(3, Signal::SIGKILL)?;
    await_resumed("two of five killed", &members[0])?;
    hosts.await_members(&[0, 2, 4], Deadline::seconds(RETURNS_WITHIN))?;
    let dead = vec![
        ensure_died(members.remove(3))?,
        ensure_died(members.remove(1))?,
    ];
    hosts.restart(1)?;
    hosts.restart(3)?;
    hosts.await_members(&[0, 1, 2, 3, 4], Deadline::seconds(RETURNS_WITHIN))?;
    let mut late = hosts.members([1, 3], pace(5))?;
    go(&mut late)?;
    await_more(&mut late, CLEARLY_LATER)?;
    ensure_equal(members, late, dead)?;
    hosts.check()
}

#[test]
fn a_host_that_stood_still_for_ten_seconds_misses_nothing() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(Settings::new(3, "udp-multicast"), 3)?;
    hosts.pause(1)?;
    let end = Deadline::seconds(10);
    await_resumed("one stopped", &members[0])?;
    hosts.await_members(&[0, 2], Deadline::seconds(RETURNS_WITHIN))?;
    for_its_whole_length(end.left());
    hosts.go_on(1)?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(RETURNS_WITHIN))?;
    await_more(&mut members, CLEARLY_LATER)?;
    ensure_equal(members, Vec::new(), Vec::new())?;
    hosts.check()
}

// ---- hosts that come back

/// Ends a host's monitor under load and starts it again; fresh members follow those that died.
struct Restarts {
    hosts: Hosts,
    members: Vec<Member>,
    dead: Vec<Trace>,
}

impl Restarts {
    fn start(settings: Settings) -> Result<Self> {
        let (hosts, members) = under_load(settings, 3)?;
        Ok(Self {
            hosts,
            members,
            dead: Vec::new(),
        })
    }

    fn restart(&mut self, host: usize, signal: Signal, forgets: bool) -> Result<()> {
        let what = format!("host {host} ended by {signal}, memory kept: {}", !forgets);
        self.one(host, signal, forgets, &what).context(what)
    }

    fn one(&mut self, host: usize, signal: Signal, forgets: bool, what: &str) -> Result<()> {
        self.end(host, signal)?;
        let other = self.members.first().context("the others' members")?;
        await_resumed(what, other)?;
        if forgets {
            self.hosts.forget(host)?;
        }
        self.begin(&[host])
    }

    /// Ends a monitor; its members die.
    fn end(&mut self, host: usize, signal: Signal) -> Result<()> {
        self.hosts.end(host, signal)?;
        while let Some(place) = self.members.iter().position(|it| it.host == host) {
            self.dead.push(ensure_died(self.members.remove(place))?);
        }
        Ok(())
    }

    /// Starts monitors again, each with a fresh member.
    fn begin(&mut self, which: &[usize]) -> Result<()> {
        for host in which {
            self.hosts.restart(*host)?;
        }
        let everybody: Vec<usize> = self.hosts.all().collect();
        self.hosts
            .await_members(&everybody, Deadline::seconds(RETURNS_WITHIN))?;
        let count = everybody.len();
        let mut fresh = self.hosts.members(which.iter().copied(), pace(count))?;
        go(&mut fresh)?;
        self.members.append(&mut fresh);
        await_more(&mut self.members, CLEARLY_LATER)
    }

    fn check(mut self) -> Result<()> {
        ensure_equal(Vec::new(), self.members, self.dead)?;
        self.hosts.check()
    }
}

fn rounds() -> usize {
    if is_soak() { 10 } else { 1 }
}

#[test]
fn a_killed_host_comes_back_with_its_memory() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Restarts::start(Settings::new(3, "udp-multicast"))?;
    for _ in 0..rounds() {
        it.restart(1, Signal::SIGKILL, false)?;
    }
    it.check()
}

#[test]
fn a_host_that_came_back_with_its_memory_may_lose_it_afterwards() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Restarts::start(Settings::new(3, "udp-multicast"))?;
    it.restart(1, Signal::SIGKILL, false)?;
    it.restart(1, Signal::SIGKILL, true)?;
    it.check()
}

#[test]
fn all_hosts_are_restarted_one_after_the_other() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Restarts::start(Settings::new(3, "udp-multicast"))?;
    for _ in 0..rounds() {
        for host in 0..3 {
            it.restart(host, Signal::SIGTERM, false)?;
        }
    }
    it.check()
}

#[test]
fn all_hosts_are_killed_and_forget_one_after_the_other() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Restarts::start(Settings::new(3, "udp-multicast"))?;
    for _ in 0..rounds() {
        for host in 0..3 {
            it.restart(host, Signal::SIGKILL, true)?;
        }
    }
    it.check()
}

fn with_journals() -> Settings {
    Settings {
        ring: "journal = true\ndeliver = \"durable\"".to_owned(),
        ..Settings::new(3, "udp-multicast")
    }
}

#[test]
fn a_killed_host_comes_back_from_its_journal() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Restarts::start(with_journals())?;
    for _ in 0..rounds() {
        it.restart(1, Signal::SIGKILL, false)?;
    }
    it.check()
}

#[test]
fn all_hosts_are_killed_at_once_and_come_back_from_their_journals() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut it = Restarts::start(with_journals())?;
    let before = it.hosts.standing(0)?;
    for host in 0..3 {
        it.end(host, Signal::SIGKILL)?;
    }
    ensure_one_order(&it.dead)?;
    it.dead.clear(); // nobody was there to see what lies between
    it.begin(&[0, 1, 2])?;
    let after = it.hosts.standing(0)?;
    ensure!(
        after.ring["generation"] == before.ring["generation"]
            && after.ring["agreed"].as_u64() > before.ring["agreed"].as_u64(),
        "not the same order: {before:#?} {after:#?}"
    );
    it.check()
}

#[test]
fn a_host_that_forgot_does_not_help_one_that_is_behind() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let (mut hosts, mut members) = under_load(with_journals(), 3)?;
    hosts.network().part(&[2], &[0, 1])?;
    hosts.await_members(&[0, 1], Deadline::seconds(RETURNS_WITHIN))?;
    await_more(&mut members[..2], CLEARLY_LATER)?;
    for host in [1, 0] {
        hosts.end(host, Signal::SIGKILL)?;
    }
    let dead = vec![
        ensure_died(members.remove(1))?,
        ensure_died(members.remove(0))?,
    ];
    hosts.forget(1)?;
    hosts.network().heal(&[2], &[0, 1])?;
    // Two of three are there now. What both of those that died had delivered, neither of them knows.
    hosts.restart(1)?;
    let before = members[0].received()?;
    for_its_whole_length(Duration::from_secs(3));
    let after = members[0].received()?;
    ensure!(
        before == after,
        "host 2 went on from {before} to {after}: {}",
        hosts.for_people()
    );
    // The one that remembers comes back.
    hosts.restart(0)?;
    hosts.await_members(&[0, 1, 2], Deadline::seconds(RETURNS_WITHIN))?;
    let mut late = hosts.members([0, 1], pace(3))?;
    go(&mut late)?;
    await_more(&mut late, CLEARLY_LATER)?;
    ensure_equal(members, late, dead)?;
    hosts.check()
}

// ---- many faults, one after the other

/// Numbers that look like chance; the same for the same seed.
struct Chance(u64);

impl Chance {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

/// Hosts are cut off, stopped, killed and started again, under load, `rounds` times.
fn storm(count: usize, transport: &'static str, rounds: usize, seed: u64) -> Result<()> {
    let (hosts, members) = under_load(Settings::new(count, transport), count)?;
    let mut it = Restarts {
        hosts,
        members,
        dead: Vec::new(),
    };
    let mut chance = Chance(seed);
    let everybody: Vec<usize> = (0..count).collect();
    for round in 0..rounds {
        let host = chance.below(count);
        let other = (host + 1 + chance.below(count - 1)) % count;
        let length = Duration::from_millis(20 << chance.below(6));
        let kind = chance.below(5);
        let what = format!("round {round} of seed {seed}: fault {kind}, host {host}, {length:?}");
        let rest: Vec<usize> = everybody.iter().copied().filter(|it| *it != host).collect();
        match kind {
            0 => {
                it.hosts.network().part(&[host], &rest)?;
                for_its_whole_length(length);
                it.hosts.network().heal(&[host], &rest)?;
            }
            1 => {
                it.hosts.network().cut(host, other)?;
                for_its_whole_length(length);
                it.hosts.network().join(host, other)?;
            }
            2 => {
                it.hosts.pause(host)?;
                for_its_whole_length(length);
                it.hosts.go_on(host)?;
            }
            // 3 with its memory, 4 without.
            _ => {
                it.end(host, Signal::SIGKILL)?;
                for_its_whole_length(length);
                if kind == 4 {
                    it.hosts.forget(host)?;
                }
                it.begin(&[host]).with_context(|| what.clone())?;
            }
        }
        it.hosts
            .await_members(&everybody, Deadline::seconds(RETURNS_WITHIN))
            .with_context(|| what.clone())?;
        await_more(&mut it.members, 500).context(what)?;
    }
    it.check()
}

#[test]
fn many_faults_in_a_row_leave_one_order() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let rounds = if is_soak() { 100 } else { 8 };
    storm(3, "udp-multicast", rounds, 1)
}

#[test]
fn many_faults_in_a_row_leave_one_order_over_tcp() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let rounds = if is_soak() { 100 } else { 8 };
    storm(5, "tcp", rounds, 2)
}

#[test]
fn hosts_that_all_end_at_once_end_well() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let hosts = Hosts::start(Settings::new(3, "udp-multicast"))?;
    hosts.close()
}
