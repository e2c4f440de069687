//! What a call on an ordinary descriptor costs more under the shim, in instructions.
//!
//! Time on a shared machine says little; instructions are the same in every run. 5 ns are some 15
//! cycles, in which a processor of today executes 25 instructions of straight code and more.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::is_native_only;
use compat_tests::compile::c_program;
use compat_tests::deadline::Deadline;
use compat_tests::world::{GROUPS, Under, World};
use std::fmt::Write;

/// Instructions that a call may cost more.
const BOUNDS: [(&str, i64); 15] = [
    ("read", 15),
    ("write", 15),
    ("recv", 15),
    ("recvfrom", 15),
    ("recvmsg", 25),
    ("send", 15),
    ("sendto", 40),  // the address is looked at: it may be a group's
    ("sendmsg", 55), // the header is looked at, too
    ("poll", 35),    // each descriptor is looked at
    ("select", 55),
    ("epoll_wait", 5),
    ("fcntl", 25),
    ("ioctl", 25),
    ("dup+close", 65), // two calls, and a number that changes hands
    ("getsockopt", 10),
];
/// Two numbers of calls; what differs between the runs is their difference.
const TIMES: [i64; 2] = [1_000, 5_000];

fn instructions(world: &World, under: Under, call: &str, times: i64) -> Result<i64> {
    // The tool prints its total; nothing is to be kept.
    let mut command = world.command(under, "valgrind")?;
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command
        .arg(c_program("passthrough")?)
        .arg(call)
        .arg(times.to_string());
    let ended = world
        .run("callgrind", command, Deadline::seconds(100))?
        .ok()?;
    let line = ended
        .stderr
        .lines()
        .find(|line| line.contains("Collected :"));
    let line = line.with_context(|| format!("no total in:\n{}", ended.stderr))?;
    let total = line.rsplit(' ').next().context("a line has a last word")?;
    total.parse().with_context(|| line.to_owned())
}

fn per_call(world: &World, under: Under, call: &str) -> Result<i64> {
    let [few, many] = [
        instructions(world, under, call, TIMES[0])?,
        instructions(world, under, call, TIMES[1])?,
    ];
    // Rounded up, so that a fraction of an instruction is one.
    Ok((many - few + TIMES[1] - TIMES[0] - 1) / (TIMES[1] - TIMES[0]))
}

#[test]
fn a_call_on_an_ordinary_descriptor_costs_few_instructions_more() -> Result<()> {
    let native_world = World::native()?;
    if is_native_only() {
        let read = per_call(&native_world, Under::Kernel, "read")?;
        ensure!((5..200).contains(&read), "read takes {read} instructions");
        return Ok(());
    }
    let exo_world = World::with_monitor(GROUPS)?;
    let (mut table, mut is_too_slow) = (String::new(), false);
    for (call, bound) in BOUNDS {
        let native = per_call(&native_world, Under::Kernel, call)?;
        let exo = per_call(&exo_world, Under::Exo, call)?;
        let more = exo - native;
        is_too_slow |= more > bound;
        let mark = if more > bound { '!' } else { ' ' };
        writeln!(
            table,
            "{mark} {call:<12} {native:>5} natively, {more:>4} more, at most {bound}"
        )?;
    }
    println!("{table}");
    ensure!(!is_too_slow, "too many instructions:\n{table}");
    exo_world.close()
}
