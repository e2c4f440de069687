//! What programs see when their monitor stops, dies or comes back, and what it says about them.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::is_native_only;
use compat_tests::compile::python;
use compat_tests::deadline::Deadline;
use compat_tests::told::Told;
use compat_tests::world::{GROUPS, SMALL_LOG, Under, World};
use nix::sys::signal::Signal;

const CLOSED: &str = r#"
[[group]]
name = "orders"
address = "239.1.2.3:5000"
may_join = { uid = [4242] }
"#;

/// Listens where a monitor would and answers everything in a version of the future.
const OTHER_VERSION: &str = r#"
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
while True:
    peer, _ = listener.accept()
    packet = peer.recv(512)
    peer.send(packet[:4] + b"\x09\x00" + packet[6:])
"#;

/// Sleepers in every call, bound in both ways, while the monitor ends by `signal`; then it is
/// started again, and they open their sockets anew.
fn sleepers_wake(signal: Signal) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut world = World::with_monitor(GROUPS)?;
    let mut all = Vec::new();
    for (call, open) in [
        ("recv", "open"),
        ("recv", "open any"),
        ("poll", "open"),
        ("select", "open any"),
        ("epoll", "open"),
        ("epoll", "open any"),
    ] {
        let mut told = Told::start(&world)?;
        told.has(open, "ok")?;
        told.tell(call)?;
        told.program.wait_quiet(Deadline::seconds(20))?;
        all.push((call, open, told));
    }
    world.end_monitor(signal)?;
    for (call, open, told) in &mut all {
        let what = || format!("{call} after {open}");
        told.expect("ENETDOWN").with_context(what)?;
        // It stays so, and nothing hangs: with and without waiting.
        told.has("recv", "ENETDOWN").with_context(what)?;
        told.has("poll", "ENETDOWN").with_context(what)?;
        told.has("send gone", "ENETDOWN").with_context(what)?;
    }
    world.restart_monitor()?;
    for (_, open, told) in &mut all {
        told.has("recv", "ENETDOWN")?;
        told.has("close", "ok")?;
        told.has(open, "ok")?;
    }
    let mut fresh = Told::start(&world)?;
    fresh.has("open", "ok")?;
    for (call, open, told) in &mut all {
        told.tell(call)?;
        told.program
            .wait_quiet(Deadline::seconds(20))
            .with_context(|| format!("{call} after {open} anew"))?;
    }
    fresh.has("send again", "ok")?;
    for (call, _, told) in &mut all {
        told.expect("again")
            .with_context(|| format!("{call} anew"))?;
    }
    fresh.has("recv", "again")?;
    world.close()
}

#[test]
fn sleepers_wake_when_the_monitor_is_killed() -> Result<()> {
    sleepers_wake(Signal::SIGKILL)
}

#[test]
fn sleepers_wake_when_the_monitor_stops() -> Result<()> {
    sleepers_wake(Signal::SIGTERM)
}

#[test]
fn what_was_ordered_is_received_after_the_monitors_end() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut world = World::with_monitor(GROUPS)?;
    let (mut sender, mut receiver) = (Told::start(&world)?, Told::start(&world)?);
    receiver.has("open", "ok")?;
    sender.has("open any", "ok")?;
    for text in ["one", "two", "three"] {
        sender.has(&format!("send {text}"), "ok")?;
    }
    Deadline::seconds(20).until("the order of three", || {
        Ok((world.ordered()? == 3).then_some(()))
    })?;
    world.end_monitor(Signal::SIGKILL)?;
    for text in ["one", "two", "three"] {
        receiver.has("poll", text)?;
    }
    receiver.has("recv", "ENETDOWN")?;
    // A socket that sends needs no new one: the right to send is asked for again.
    world.restart_monitor()?;
    let mut fresh = Told::start(&world)?;
    fresh.has("open", "ok")?;
    sender.has("send four", "ok")?;
    fresh.has("recv", "four")
}

#[test]
fn senders_hear_of_the_monitors_end() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut world = World::with_monitor(SMALL_LOG)?;
        let (mut sender, mut reader) = (Told::start(&world)?, Told::start(&world)?);
        sender.has("open any", "ok")?;
        sender.tell("flood")?;
        // Its own unread copies have filled the log: it waits for room.
        sender.program.wait_quiet(Deadline::seconds(20))?;
        reader.has("open", "ok")?;
        world.end_monitor(signal)?;
        sender.expect("ENETDOWN")?;
        reader.has("recv", "ENETDOWN")?;
    }
    Ok(())
}

#[test]
fn required_programs_get_no_socket_without_a_monitor() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut world = World::with_monitor(GROUPS)?;
    let mut early = Told::start(&world)?;
    // It has seen the groups' addresses, so that it may have sockets for others.
    early.has("socket", "ok")?;
    world.end_monitor(Signal::SIGKILL)?;
    early.has("socket", "ok")?;
    let mut late = Told::start(&world)?;
    let mut lost = Told::start_with(&world, &["-u", "EXO_SOCKET"])?;
    late.has("socket", "ENETDOWN")?;
    lost.has("socket", "ENETDOWN")?;
    for told in [&mut early, &mut late, &mut lost] {
        told.has("open", "ENETDOWN")?;
        told.has("open any", "ENETDOWN")?;
        told.has("join-first", "ENETDOWN")?;
    }
    world.restart_monitor()?;
    early.has("join-first", "ok")?;
    early.has("send x", "ok")?;
    early.has("recv", "x")?;
    world.close()
}

#[test]
fn required_programs_get_no_socket_from_another_version() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::with_monitor(GROUPS)?;
    let socket = world.path("other.sock");
    let mut command = world.command(Under::Kernel, python()?)?;
    command.args(["-c", OTHER_VERSION]).arg(&socket);
    let mut other = world.start("other", command)?;
    other.wait_for("ready", Deadline::seconds(20))?;
    let mut told = Told::start_with(&world, &[&format!("EXO_SOCKET={}", socket.display())])?;
    told.has("open", "ENETDOWN")?;
    for groups in [[].as_slice(), &["-g", "239.1.2.3:5000"]] {
        let mut command = world.command(Under::Kernel, &world.binaries()?.exo)?;
        command.args(["run", "--require", "--socket"]).arg(&socket);
        command.args(groups).args(["--", "true"]);
        let ended = world.run("exo", command, Deadline::seconds(20))?;
        ensure!(ended.status.code() == Some(125), "{ended:?}");
        ensure!(
            ended
                .stderr
                .contains("restart the monitor after an upgrade"),
            "{ended:?}"
        );
    }
    world.close()
}

#[test]
fn a_refused_join_is_never_left_to_the_kernel() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::with_monitor(CLOSED)?;
    for env in [[].as_slice(), &["-u", "EXO_REQUIRE"]] {
        let mut told = Told::start_with(&world, env)?;
        told.has("open any", "EACCES")?;
        told.has("join-first", "EACCES")?;
    }
    world.close()
}

#[test]
fn status_tells_how_far_each_member_has_received() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::with_monitor(GROUPS)?;
    let (mut reader, mut sleeper) = (Told::start(&world)?, Told::start(&world)?);
    reader.has("open", "ok")?;
    sleeper.has("open", "ok")?;
    for number in 1..=5 {
        reader.has(&format!("send {number}"), "ok")?;
        reader.has("recv", &number.to_string())?;
    }
    sleeper.has("recv", "1")?;
    sleeper.has("recv", "2")?;
    let status = world.status()?;
    let delivered = |told: &Told| -> Result<u64> {
        let sessions = status["sessions"].as_array().context("sessions")?;
        let pid = told.program.pid().as_raw();
        let session = sessions.iter().find(|session| session["pid"] == pid);
        let session = session.with_context(|| format!("no session of {pid}: {status}"))?;
        session["sockets"][0]["memberships"][0]["delivered"]
            .as_u64()
            .context("delivered")
    };
    ensure!(status["groups"][0]["seq"] == 5, "{status}");
    ensure!(delivered(&reader)? == 5, "{status}");
    ensure!(delivered(&sleeper)? == 2, "{status}");
    world.close()
}
