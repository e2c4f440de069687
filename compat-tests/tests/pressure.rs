//! What only Exo's sockets do: fill up instead of losing, and refuse whom the policy excludes.

use anyhow::{Result, ensure};
use compat_tests::binaries::is_native_only;
use compat_tests::compile::c_program;
use compat_tests::deadline::Deadline;
use compat_tests::world::{ADDRESS, LINK, SMALL_LOG, Under, World};

const CLOSED: &str = r#"
[[group]]
name = "orders"
address = "239.1.2.3:5000"
may_join = { uid = [4242] }
may_send = { uid = [4242] }
[[group]]
name = "quotes"
address = "239.1.2.4:5001"
"#;

fn expect(groups: &str, name: &str, expected: &[&str]) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::with_monitor(groups)?;
    for bind in ["group", "any"] {
        let mut command = world.command(Under::Exo, c_program("pressure")?)?;
        command.arg(name);
        command.envs([("BIND", bind), ("ADDRESS", ADDRESS), ("LINK", LINK)]);
        let ended = world
            .run("pressure", command, Deadline::seconds(40))?
            .ok()?;
        let steps: Vec<&str> = ended.stdout.lines().collect();
        let (last, steps) = steps.split_last().unwrap_or((&"", &[]));
        ensure!(
            *last == "end" && steps == expected,
            "{name}, bound to {bind}: {steps:#?}"
        );
    }
    world.close()
}

#[test]
fn a_full_log_is_eagain_for_who_will_not_wait() -> Result<()> {
    let steps = [
        "full: -1 EAGAIN",
        "again: -1 EAGAIN",
        "with a flag: 1",
        "a batch: -1 EAGAIN",
        "all that was taken is heard: 1",
        "writable: 1",
        "more: 100, heard: 100",
    ];
    expect(SMALL_LOG, "would_block", &steps)
}

#[test]
fn a_send_with_a_limit_gives_up_on_a_full_log() -> Result<()> {
    expect(
        SMALL_LOG,
        "limited",
        &["filled: 1", "with a limit: -1 EAGAIN"],
    )
}

#[test]
fn a_blocked_send_can_be_interrupted_continued_and_cancelled() -> Result<()> {
    let steps = [
        "filled: 1",
        "blocked send: -1 EINTR",
        "still blocked: 1",
        "blocked send: 1000",
        "cancelled: 1",
    ];
    expect(SMALL_LOG, "blocked", &steps)
}

#[test]
fn who_waits_for_an_edge_to_send_gets_it() -> Result<()> {
    let steps = [
        "first edge: 1",
        "filled: 1",
        "full: -1 EAGAIN",
        "edge: 1",
        "send: 1000",
    ];
    expect(SMALL_LOG, "edge_when_writable", &steps)
}

#[test]
fn a_full_log_is_not_writable() -> Result<()> {
    let steps = [
        "poll at first: 4",
        "filled: 1",
        "poll: 0",
        "select: 0",
        "the other way, by poll: 1",
        "the other way, by select: 1",
        "poll with room: 4",
        "select with room: 4",
    ];
    expect(SMALL_LOG, "not_writable", &steps)
}

#[test]
fn one_thread_that_asks_before_each_call_never_blocks_itself() -> Result<()> {
    let steps = [
        "poll: sent 8000, heard 8000",
        "select: sent 8000, heard 8000",
    ];
    expect(SMALL_LOG, "both_ways", &steps)
}

#[test]
fn sending_much_before_reading_any_loses_nothing() -> Result<()> {
    expect(SMALL_LOG, "sends_then_reads", &["sent: 500, heard: 500"])
}

#[test]
fn who_may_not_join_or_send_gets_eacces() -> Result<()> {
    expect(
        CLOSED,
        "refused",
        &["refused: 1", "send: -1 EACCES", "open group: 4 open"],
    )
}
