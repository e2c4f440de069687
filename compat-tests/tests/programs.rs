//! Whole programs, unmodified, and the promises that Exo makes to them.
//!
//! Where the kernel cannot keep a promise, the same test shows that it does not: a test that could
//! not fail would prove nothing.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{is_native_only, is_soak};
use compat_tests::compile::{python, python_program};
use compat_tests::deadline::{Deadline, tick};
use compat_tests::member::{self, Pace, Report, agree, ensure_agree};
use compat_tests::program::Program;
use compat_tests::sockperf::{ensure_no_faults, number_after};
use compat_tests::world::{ADDRESS, GROUPS, Under, World};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

const SENDERS: u32 = 8;
/// Datagrams of each of them.
const DATAGRAMS: u32 = 12_000;
const DATAGRAMS_SOAK: u32 = 50_000;

// ---- 8 Python processes, all to all

fn eight_pythons(under: Under, how: &str, datagrams: u32) -> Result<Vec<Report>> {
    let mut world = World::for_programs(under, GROUPS)?;
    let python = python()?;
    let mut members = Vec::new();
    for sender in 0..SENDERS {
        let mut command = world.command(under, &python)?;
        command.arg(python_program("order")).arg(how);
        command.args([sender, SENDERS, datagrams].map(|word| word.to_string()));
        members.push(world.start(how, command)?);
    }
    for member in &mut members {
        member.wait_for("ready", Deadline::seconds(30))?;
    }
    for member in &mut members {
        member.say("go\n")?;
    }
    let deadline = Deadline::seconds(150);
    for member in &mut members {
        member.wait_for("sent", deadline)?;
    }
    for member in &mut members {
        member.say("finish\n")?;
    }
    let reports: Result<Vec<Report>> = members
        .into_iter()
        .map(|member| member::report(member, deadline))
        .collect();
    if under != Under::Kernel {
        world.check_monitor()?;
        world.close()?;
    }
    reports
}

fn eight_pythons_agree(how: &str) -> Result<()> {
    let datagrams = if is_soak() { DATAGRAMS_SOAK } else { DATAGRAMS };
    let native = eight_pythons(Under::Kernel, how, datagrams).context("natively")?;
    ensure!(
        !agree(&native),
        "the kernel kept order and lost nothing, so this test shows nothing"
    );
    if is_native_only() {
        return Ok(());
    }
    let exo = eight_pythons(Under::ExoRun, how, datagrams).context("under exo run")?;
    ensure_agree(&exo)?;
    ensure!(exo[0].received == u64::from(SENDERS * datagrams), "{exo:?}");
    Ok(())
}

#[test]
fn eight_pythons_with_poll_agree_and_natively_do_not() -> Result<()> {
    eight_pythons_agree("poll")
}

#[test]
fn eight_pythons_with_edge_triggered_epoll_agree_and_natively_do_not() -> Result<()> {
    eight_pythons_agree("edge")
}

#[test]
fn eight_pythons_with_blocking_threads_agree_and_natively_do_not() -> Result<()> {
    eight_pythons_agree("threads")
}

// ---- members killed, stopped, slow

fn members_killed(under: Under, duration: Duration) -> Result<Vec<Report>> {
    const SURVIVORS: u32 = 3;
    const PERIOD: Duration = Duration::from_millis(100);
    let mut world = World::for_programs(under, GROUPS)?;
    let survivor = Pace {
        rate: 5_000,
        count: 0,
        finals: SURVIVORS,
    };
    let victim = Pace {
        rate: 0,
        count: 0,
        finals: u32::MAX,
    };
    let mut survivors = Vec::new();
    for _ in 0..SURVIVORS {
        survivors.push(member::start(&world, under, "survivor", survivor)?);
    }
    for program in &mut survivors {
        program.say("go\n")?;
    }
    let mut victims: Vec<Program> = Vec::new();
    let end = Deadline::after(duration);
    let mut killed = 0_u32;
    while !end.passed() {
        let next = Deadline::after(PERIOD);
        let mut program = member::launch(&world, under, "victim", victim)?;
        program.say("go\n")?;
        victims.push(program);
        if victims.len() > 2 {
            victims.remove(0).signal(Signal::SIGKILL)?;
            killed += 1;
        }
        for program in &mut survivors {
            ensure!(
                program.try_wait()?.is_none(),
                "a survivor ended: {}",
                program.stdout()?
            );
        }
        while !next.passed() {
            tick();
        }
    }
    for program in victims.drain(..) {
        program.signal(Signal::SIGKILL)?;
    }
    let floor = u128::from(killed) * 2 > duration.as_millis() / PERIOD.as_millis();
    ensure!(floor, "only {killed} members were killed in {duration:?}");
    let reports = member::finish(survivors, Deadline::seconds(60))?;
    if under != Under::Kernel {
        world.check_monitor()?;
        world.close()?;
    }
    Ok(reports)
}

#[test]
fn members_killed_every_100_ms_leave_survivors_in_agreement() -> Result<()> {
    let native = members_killed(Under::Kernel, Duration::from_secs(2)).context("natively")?;
    ensure!(
        !agree(&native),
        "the kernel lost nothing, so this test shows nothing: {native:?}"
    );
    if is_native_only() {
        return Ok(());
    }
    let seconds = if is_soak() { 600 } else { 10 };
    let exo = members_killed(Under::Exo, Duration::from_secs(seconds)).context("under Exo")?;
    ensure_agree(&exo)?;
    ensure!(exo[0].senders > 3, "no victim was heard: {exo:?}");
    Ok(())
}

/// One group with a small log and this policy for members that do not read.
fn slow_group(policy: &str, wait: &str) -> String {
    format!(
        "[[group]]\nname = \"orders\"\naddress = \"239.1.2.3:5000\"\nlog = \"1MiB\"\n\
         slow_member = {{ wait = \"{wait}\", policy = \"{policy}\" }}\n"
    )
}

/// A sender, a good reader and a stopped one; much more is sent than the log holds.
struct Stopped {
    world: World,
    good: Vec<Program>,
    stopped: Program,
}

impl Stopped {
    fn start(under: Under, groups: &str, finals: u32) -> Result<Self> {
        let world = World::for_programs(under, groups)?;
        let sends = Pace {
            rate: 0,
            count: 60_000,
            finals,
        };
        let reads = Pace { count: 1, ..sends };
        let sender = member::start(&world, under, "sender", sends)?;
        let reader = member::start(&world, under, "reader", reads)?;
        let stopped = member::start(&world, under, "stopped", reads)?;
        stopped.signal(Signal::SIGSTOP)?;
        let mut good = vec![sender, reader];
        for program in &mut good {
            program.say("go\n")?;
        }
        Ok(Self {
            world,
            good,
            stopped,
        })
    }
}

#[test]
fn a_stopped_reader_holds_back_senders_when_told_to_throttle() -> Result<()> {
    if !is_native_only() {
        let mut it = Stopped::start(Under::Exo, &slow_group("throttle", "200ms"), 3)?;
        // Back-pressure is something that does not happen, so this one wait is for its whole length.
        let held_back = it.good[0].wait_for("sent all", Deadline::after(Duration::from_secs(1)));
        ensure!(held_back.is_err(), "the sender was not held back");
        it.stopped.signal(Signal::SIGCONT)?;
        it.good[0].wait_for("sent all", Deadline::seconds(60))?;
        it.good.push(it.stopped);
        let reports = member::finish(it.good, Deadline::seconds(60))?;
        ensure_agree(&reports)?;
        ensure!(reports[0].received == 60_000 + 1 + 3, "{reports:?}"); // with the last words
        it.world.close()?;
    }
    Ok(())
}

#[test]
fn a_stopped_reader_is_told_of_its_gap_and_others_lose_nothing() -> Result<()> {
    if !is_native_only() {
        let mut it = Stopped::start(Under::Exo, &slow_group("gap", "500ms"), 3)?;
        it.good[0].wait_for("sent all", Deadline::seconds(60))?;
        it.stopped.signal(Signal::SIGCONT)?;
        it.good.push(it.stopped);
        let mut reports = member::finish(it.good, Deadline::seconds(60))?;
        let slow = reports.pop().context("three reports")?;
        ensure_agree(&reports)?;
        ensure!(
            slow.gaps > 0 && slow.dropped > 0,
            "it was not told of a gap: {slow:?}"
        );
        ensure!(slow.disorder == 0 && slow.invented == 0, "{slow:?}");
        it.world.close()?;
    }
    Ok(())
}

#[test]
fn a_stopped_reader_is_expelled_and_others_lose_nothing() -> Result<()> {
    if !is_native_only() {
        let mut it = Stopped::start(Under::Exo, &slow_group("expel", "500ms"), 2)?;
        it.good[0].wait_for("sent all", Deadline::seconds(60))?;
        let reports = member::finish(it.good, Deadline::seconds(60))?;
        ensure_agree(&reports)?;
        let _ = it.stopped.signal(Signal::SIGCONT); // it may be gone
        it.world.close()?;
    }
    Ok(())
}

// ---- sockperf

const SOCKPERF_GROUPS: &str = "U:239.1.2.3:5000\nU:239.1.2.4:5001\n";

struct Sockperf<'a> {
    world: &'a World,
    under: Under,
    feed: std::path::PathBuf,
    how: &'a str,
}

impl Sockperf<'_> {
    fn command(&self, words: &[&str]) -> Result<std::process::Command> {
        let mut command = self.world.command(self.under, "sockperf")?;
        command
            .arg(words[0])
            .arg("-f")
            .arg(&self.feed)
            .args(["-F", self.how]);
        command.args([
            "--mc-rx-if",
            ADDRESS,
            "--mc-tx-if",
            ADDRESS,
            "--mc-loopback-enable",
        ]);
        command.args(&words[1..]);
        Ok(command)
    }

    /// Output of the client and of the server for one run.
    fn run(&self, server: &[&str], client: &[&str]) -> Result<(String, String)> {
        let mut words = vec!["server"];
        words.extend(server);
        let mut server = self.world.start("sockperf-server", self.command(&words)?)?;
        server
            .wait_for("to block on socket", Deadline::seconds(15))
            .or_else(|_| server.wait_for("listen on", Deadline::seconds(5)))?;
        server.wait_quiet(Deadline::seconds(15))?;
        let client = self.command(client)?;
        let client = self
            .world
            .run("sockperf-client", client, Deadline::seconds(40))?
            .ok()?;
        server.wait_quiet(Deadline::seconds(30))?;
        server.signal(Signal::SIGINT)?;
        let server = server.wait(Deadline::seconds(15))?;
        Ok((
            client.stdout + &client.stderr,
            server.stdout + &server.stderr,
        ))
    }
}

/// Did the server get all that the client sent? The timer that ends the client may interrupt a send
/// that waits for room; the client counts it, although nothing was sent.
fn ensure_all_received(sent: u64, received: u64, output: &str) -> Result<()> {
    ensure!(
        received == sent || received + 1 == sent,
        "sent {sent}, received {received}:\n{output}"
    );
    Ok(())
}

fn sockperf(under: Under, how: &str) -> Result<()> {
    let world = World::for_programs(under, GROUPS)?;
    let feed = world.path("feed");
    fs::write(&feed, SOCKPERF_GROUPS)?;
    let sockperf = Sockperf {
        world: &world,
        under,
        feed,
        how,
    };
    // A lost datagram ends ping-pong at once; more seconds are for machines that stand still for a while.
    let seconds = if is_soak() { "5" } else { "1" };
    let under_load = [
        "under-load",
        "-t",
        seconds,
        "--mps",
        "20000",
        "--reply-every",
        "10",
    ];
    let (client, server) = sockperf.run(&[], &under_load).context("20,000/s")?;
    if under == Under::Kernel {
        return Ok(()); // it runs here; the kernel loses when a core is taken away
    }
    ensure_no_faults(&client, u64::MAX)?;
    let sent = number_after(&client, "SentMessages=")?;
    ensure!(sent > 1_000, "too few were sent:\n{client}");
    let total = number_after(&server, "Total")?;
    ensure!(total >= sent, "lost: {client}\n{server}");
    let ping_pong = ["ping-pong", "-t", seconds, "--mps", "max"];
    let (client, _) = sockperf
        .run(&[], &ping_pong)
        .context("ping-pong at full speed")?;
    ensure_no_faults(&client, 1)?; // one under way at the end
    let throughput = ["throughput", "-t", seconds, "--mps", "max"];
    let (client, server) = sockperf.run(&[], &throughput).context("throughput")?;
    let sent = number_after(&client, "Total of")?;
    let received = number_after(&server, "Total")?;
    ensure_all_received(sent, received, &format!("{client}\n{server}"))?;
    // Sequence numbers run over both groups, so gaps can be told only with one.
    fs::write(
        &sockperf.feed,
        SOCKPERF_GROUPS
            .split_inclusive('\n')
            .next()
            .context("a group")?,
    )?;
    let (client, server) = sockperf
        .run(&["--gap-detection"], &throughput)
        .context("gaps")?;
    let sent = number_after(&client, "Total of")?;
    ensure_all_received(sent, number_after(&server, "sockperf: Total")?, &client)?;
    ensure!(
        number_after(&server, "Summary: Total Dropped/OOO:")? == 0,
        "{server}"
    );
    world.close()
}

fn sockperf_both(how: &str) -> Result<()> {
    sockperf(Under::Kernel, how).context("natively")?;
    match is_native_only() {
        true => Ok(()),
        false => sockperf(Under::ExoRun, how).context("under exo run"),
    }
}

#[test]
fn sockperf_with_select_loses_nothing() -> Result<()> {
    sockperf_both("s")
}

#[test]
fn sockperf_with_poll_loses_nothing() -> Result<()> {
    sockperf_both("p")
}

#[test]
fn sockperf_with_epoll_loses_nothing() -> Result<()> {
    sockperf_both("e")
}

// ---- iperf 2

fn iperf(under: Under) -> Result<Vec<(u64, u64)>> {
    let world = World::for_programs(under, GROUPS)?;
    let mut receivers = Vec::new();
    for _ in 0..2 {
        let mut command = world.command(under, "iperf")?;
        command.args(["-s", "-u", "-B", "239.1.2.3", "-p", "5000"]);
        let mut receiver = world.start("iperf-server", command)?;
        receiver.wait_for("UDP buffer size", Deadline::seconds(15))?;
        receivers.push(receiver);
    }
    for receiver in &receivers {
        receiver.wait_quiet(Deadline::seconds(15))?;
    }
    let mut command = world.command(under, "iperf")?;
    let seconds = if is_soak() { "10" } else { "2" };
    command.args(["-c", "239.1.2.3", "-u", "-p", "5000"]);
    command.args(["-b", "100m", "-t", seconds]);
    command.args(["-l", "1400", "-T", "1"]);
    world
        .run("iperf-client", command, Deadline::seconds(30))?
        .ok()?;
    let mut results = Vec::new();
    for mut receiver in receivers {
        let line = receiver.wait_for("%)", Deadline::seconds(15))?;
        let counts = line
            .split_whitespace()
            .rev()
            .find(|word| word.contains('/') && !word.contains("sec"));
        let counts = counts
            .with_context(|| line.clone())?
            .split_once('/')
            .context("checked")?;
        results.push((counts.0.parse()?, counts.1.parse()?));
    }
    if under != Under::Kernel {
        world.close()?;
    }
    Ok(results)
}

#[test]
fn iperf_at_100_mbit_loses_nothing_at_two_receivers() -> Result<()> {
    let native = iperf(Under::Kernel).context("natively")?;
    ensure!(
        native.iter().all(|(_, total)| *total > 10_000),
        "iperf did not run: {native:?}"
    );
    if is_native_only() {
        return Ok(());
    }
    let exo = iperf(Under::ExoRun).context("under exo run")?;
    ensure!(
        exo.iter()
            .all(|(lost, total)| *lost == 0 && *total > 10_000),
        "lost/total: {exo:?}"
    );
    Ok(())
}

// ---- socat

/// Lines that a receiver has written so far, and whether the last one is whole.
fn lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    Ok(text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(str::to_owned)
        .collect())
}

fn socat(under: Under) -> Result<()> {
    let world = World::for_programs(under, GROUPS)?;
    let mut receivers = Vec::new();
    for number in 0..3 {
        let file = world.path(&format!("received-{number}"));
        fs::write(&file, "")?;
        let mut command = world.command(under, "socat")?;
        let listen =
            format!("UDP4-RECVFROM:5000,ip-add-membership=239.1.2.3:{ADDRESS},reuseaddr,fork");
        command.arg("-u").arg(listen);
        command.arg(format!("OPEN:{},append", file.display()));
        let receiver = world.start("socat", command)?;
        receiver.wait_quiet(Deadline::seconds(15))?;
        receivers.push((receiver, file));
    }
    let send = |text: &str| -> Result<()> {
        let mut command = world.command(under, "socat")?;
        command.args(["-u", "-"]);
        command.arg(format!(
            "UDP4-DATAGRAM:239.1.2.3:5000,ip-multicast-if={ADDRESS}"
        ));
        let mut sender = world.start("socat-send", command)?;
        sender.say(text)?;
        sender.wait(Deadline::seconds(15))?.ok()?;
        Ok(())
    };
    let await_lines = |count: usize| {
        Deadline::seconds(30).until(&format!("{count} lines at each receiver"), || {
            for (_, file) in &receivers {
                if lines(file)?.len() < count {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    };
    // A receiver forks for each datagram and its children run side by side, so their lines are in
    // order only when each is awaited.
    for number in 1..=20 {
        send(&format!("line {number}\n"))?;
        await_lines(number)?;
    }
    let reference = lines(&receivers[0].1)?;
    ensure!(reference.len() == 20, "{reference:?}");
    for (_, file) in &receivers {
        ensure!(
            lines(file)? == reference,
            "the receivers differ: {:?}",
            lines(file)?
        );
    }
    if under != Under::Kernel {
        for number in 21..=60 {
            send(&format!("line {number}\n"))?;
        }
        await_lines(60)?;
        let expected: BTreeSet<String> = (1..=60).map(|n| format!("line {n}\n")).collect();
        for (_, file) in &receivers {
            let heard = lines(file)?;
            ensure!(heard.len() == 60, "{heard:?}");
            ensure!(
                heard.into_iter().collect::<BTreeSet<_>>() == expected,
                "not each once"
            );
        }
        drop(receivers);
        world.close()?;
    }
    Ok(())
}

#[test]
fn three_forking_socat_receivers_hear_the_same() -> Result<()> {
    socat(Under::Kernel).context("natively")?;
    match is_native_only() {
        true => Ok(()),
        false => socat(Under::ExoRun).context("under exo run"),
    }
}
