//! A hostile member ends its own session and nothing else.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{is_native_only, is_soak};
use compat_tests::compile::c_program;
use compat_tests::deadline::{Deadline, tick};
use compat_tests::member::{self, Pace, Report, agree, ensure_agree};
use compat_tests::world::{ADDRESS, GROUPS, LINK, Under, World};
use std::time::Duration;

/// Two good members exchange while hostile ones come and go for `duration`.
fn beside_hostile_members(under: Under, duration: Duration) -> Result<(Vec<Report>, u32)> {
    let mut world = World::for_programs(under, GROUPS)?;
    let pace = Pace {
        rate: 2_000,
        count: 0,
        finals: 2,
    };
    let mut good = Vec::new();
    for _ in 0..2 {
        good.push(member::start(&world, under, "good", pace)?);
    }
    for program in &mut good {
        program.say("go\n")?;
    }
    let end = Deadline::after(duration);
    let (mut lives, mut writable) = (0_u32, 0_u32);
    while !end.passed() {
        lives += 1;
        let mut command = world.command(under, c_program("hostile")?)?;
        command.args(["flip", "3", &lives.to_string()]);
        command.envs([("ADDRESS", ADDRESS), ("LINK", LINK)]);
        let mut hostile = world.start("hostile", command)?;
        // It lives until its own alarm or until what it did to itself ends it.
        let life = Deadline::seconds(20);
        while hostile.try_wait()?.is_none() && !end.passed() && !life.passed() {
            for program in &mut good {
                let ended = program.try_wait()?;
                ensure!(
                    ended.is_none(),
                    "a good member ended: {}",
                    program.stdout()?
                );
            }
            tick();
        }
        let said = hostile.stdout()?;
        if said.contains("shared mappings:") && !said.contains("shared mappings: 0") {
            writable += 1;
        }
        if under != Under::Kernel {
            world
                .check_monitor()
                .with_context(|| format!("in life {lives}: {said}"))?;
        }
    }
    let reports = member::finish(good, Deadline::seconds(30))?;
    if under != Under::Kernel {
        world.check_monitor()?;
        world.close()?;
    }
    Ok((reports, writable))
}

/// The hostile member's datagrams have no words of a member: everybody counts the same of them.
fn without_invented(mut reports: Vec<Report>) -> Vec<Report> {
    for report in &mut reports {
        report.invented = 0;
    }
    reports
}

#[test]
fn flipping_every_shared_word_harms_only_oneself() -> Result<()> {
    let short = Duration::from_millis(500);
    let (native, _) = beside_hostile_members(Under::Kernel, short).context("natively")?;
    ensure!(
        native.iter().all(|report| report.received > 0),
        "the members did not run: {native:?}"
    );
    if is_native_only() {
        return Ok(());
    }
    let duration = Duration::from_secs(if is_soak() { 120 } else { 6 });
    let (exo, writable) = beside_hostile_members(Under::Exo, duration).context("under Exo")?;
    ensure!(
        writable > 0,
        "the hostile member found no shared memory to write to"
    );
    ensure!(
        agree(&without_invented(exo.clone())),
        "the good members do not agree: {exo:#?}"
    );
    ensure_agree(&without_invented(exo))
}

#[test]
fn a_member_cannot_change_a_log() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::with_monitor(GROUPS)?;
    for under in [Under::Exo, Under::ExoRun] {
        let mut command = world.command(under, c_program("hostile")?)?;
        command
            .arg("probe")
            .envs([("ADDRESS", ADDRESS), ("LINK", LINK)]);
        let ended = world.run("probe", command, Deadline::seconds(30))?.ok()?;
        ensure!(
            ended.stdout.contains("tried: yes"),
            "no log was found:\n{}",
            ended.stdout
        );
        ensure!(ended.stdout.contains("changed: 0"), "{}", ended.stdout);
    }
    world.close()
}
