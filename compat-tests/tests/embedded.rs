//! `exo run -g` alone: no monitor was started, no file was written, no root is needed.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{Binaries, is_native_only};
use compat_tests::compile::c_program;
use compat_tests::deadline::Deadline;
use compat_tests::member::{self, ensure_agree};
use compat_tests::program::Program;
use compat_tests::world::{ADDRESS, LINK, Under, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;
use std::time::Duration;

/// `exo` with a runtime folder of its own, so that no other monitor of this user is met.
fn exo(world: &World, binaries: &Binaries, words: &[&str]) -> Result<Command> {
    let mut command = world.command(Under::Kernel, &binaries.exo)?;
    command
        .args(words)
        .env("XDG_RUNTIME_DIR", world.path(""))
        .env_remove("EXO_SOCKET");
    command.envs([("ADDRESS", ADDRESS), ("LINK", LINK)]);
    Ok(command)
}

#[test]
fn exo_run_starts_a_private_monitor_and_programs_agree() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::native()?;
    let binaries = Binaries::find()?;
    let mut members: Vec<Program> = Vec::new();
    for _ in 0..3 {
        let words = ["run", "--require", "-g", "239.1.2.3:5000", "--"];
        let mut command = exo(&world, &binaries, &words)?;
        command.arg(c_program("member")?).args(["0", "20000", "3"]);
        let mut program = world.start("member", command)?;
        program.wait_for("ready", Deadline::seconds(20))?;
        members.push(program);
    }
    let status = exo(&world, &binaries, &["status", "--json"])?;
    let status = world.run("status", status, Deadline::seconds(10))?.ok()?;
    let status: serde_json::Value = serde_json::from_str(&status.stdout)?;
    let pid = status["monitor"]["pid"]
        .as_i64()
        .context("the monitor's pid")?;
    let result = (|| {
        for program in &mut members {
            program.say("go\n")?;
        }
        for program in &mut members {
            program.wait_for("sent all", Deadline::seconds(60))?;
        }
        let reports = member::finish(members, Deadline::seconds(60))?;
        ensure_agree(&reports)?;
        ensure!(reports[0].received == 60_003, "{reports:?}");
        Ok(())
    })();
    // It would go by itself when idle; here nothing may be left behind.
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    result
}

#[test]
fn asking_for_a_group_keeps_an_idle_monitor() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    const IDLE: Duration = Duration::from_secs(2);
    let world = World::native()?;
    let binaries = Binaries::find()?;
    let mut command = world.command(Under::Kernel, &binaries.exod)?;
    let socket = world.path("exod.sock");
    command.arg("--socket").arg(&socket);
    command.args(["-g", "239.1.2.3:5000", "--idle-exit", "2s"]);
    let mut monitor = world.start("exod", command)?;
    monitor.wait_for("ready", Deadline::seconds(20))?;
    // A program without sockets never attaches; only the question for its group counts.
    let enough = Deadline::after(2 * IDLE);
    while !enough.passed() {
        let mut command = exo(&world, &binaries, &["run", "--require", "--socket"])?;
        command.arg(&socket);
        command.args(["-g", "239.1.2.3:5000", "--", "true"]);
        world.run("exo", command, Deadline::seconds(20))?.ok()?;
        let ended = monitor.try_wait()?;
        ensure!(ended.is_none(), "{ended:?}: {}", monitor.stderr()?);
    }
    let ended = monitor.wait(Deadline::seconds(20))?.ok()?;
    ensure!(
        ended.stderr.contains("nobody is attached"),
        "{}",
        ended.stderr
    );
    Ok(())
}

#[test]
fn programs_that_cannot_be_served_are_refused_by_name() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::native()?;
    let binaries = Binaries::find()?;
    let run = |words: &[&str]| -> Result<Option<i32>> {
        let command = exo(&world, &binaries, words)?;
        Ok(world
            .run("exo", command, Deadline::seconds(20))?
            .status
            .code())
    };
    ensure!(
        run(&[
            "run",
            "--require",
            "-g",
            "239.1.2.3:5000",
            "--",
            "/no/such/program"
        ])? == Some(127),
        "not found"
    );
    ensure!(
        run(&[
            "run",
            "--require",
            "-g",
            "239.1.2.3:5000",
            "--",
            "/etc/passwd"
        ])? == Some(126),
        "not executable"
    );
    ensure!(
        run(&[
            "run",
            "--require",
            "-g",
            "239.1.2.3:5000",
            "--",
            "/bin/sh",
            "-c",
            "exit 7"
        ])? == Some(7),
        "its own"
    );
    Ok(())
}
