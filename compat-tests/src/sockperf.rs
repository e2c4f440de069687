//! sockperf on several hosts, and what it prints at its end.

use crate::world::{Under, World};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

/// One that runs under Exo with epoll, for the group at `address`; `words` begin with what it is to do.
///
/// # Errors
///
/// When there is no monitor.
pub fn command(world: &World, address: &str, words: &[&str]) -> Result<Command> {
    let feed = world.path(&format!("feed-{address}"));
    fs::write(&feed, format!("U:{address}:5000\n"))?;
    let mut command = world.command(Under::ExoRun, "sockperf")?;
    command.arg(words[0]).arg("-f").arg(feed).args(["-F", "e"]);
    command.args(["--mc-rx-if", world.address()]);
    command.args(["--mc-tx-if", world.address(), "--mc-loopback-enable"]);
    command.args(&words[1..]);
    Ok(command)
}

/// The number behind `label` in the first line that has it.
///
/// # Errors
///
/// When there is none.
pub fn number_after(text: &str, label: &str) -> Result<u64> {
    let rest = text
        .split_once(label)
        .with_context(|| format!("no {label:?} in:\n{text}"))?
        .1;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits
        .parse()
        .with_context(|| format!("no number behind {label:?} in:\n{text}"))
}

/// Did its client see nothing doubled or out of order, and miss at most `missed_max` replies?
///
/// Replies are unicast. It calls those dropped that come later than 50 ms after its end, which on a
/// busy machine says nothing; what was lost on the way to the server, the server's count says.
///
/// # Errors
///
/// What it printed.
pub fn ensure_no_faults(output: &str, missed_max: u64) -> Result<()> {
    for (fault, most) in [
        ("# dropped messages = ", missed_max),
        ("# duplicated messages = ", 0),
        ("# out-of-order messages = ", 0),
    ] {
        ensure!(
            number_after(output, fault)? <= most,
            "sockperf reports faults:\n{output}"
        );
    }
    Ok(())
}
