//! One side: all members started, joined, sending; and what each of them had in the end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use libexo::control::operator::{self, Query};

use super::members::{Kind, Member, Tools};
use super::report::{Receiver, Side, progress};
use super::{GROUP, PORT};
use crate::private_monitor;

/// Nothing new for this long: the kernel has dropped the rest.
const KERNEL_QUIET: Duration = Duration::from_millis(1500);
/// Exo drops nothing, so this is only how long a hang may last before it is called one.
const EXO_QUIET: Duration = Duration::from_secs(8);
/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(20);

/// What both sides are asked to carry.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) tools: &'a Tools,
    /// For sockets.
    pub(super) folder: &'a Path,
    /// For what the members receive.
    pub(super) received: &'a Path,
    pub(super) kinds: &'a [Kind],
    pub(super) count: u32,
    pub(super) interface: &'a str,
}

impl Load<'_> {
    /// What each member should receive: everybody's datagrams, its own among them.
    fn expected(&self) -> u64 {
        u64::from(self.count) * self.kinds.len() as u64
    }
}

/// The members as they are.
pub(super) fn over_kernel(load: &Load<'_>) -> anyhow::Result<Side> {
    measure(load, "kernel", &[], KERNEL_QUIET)
}

/// The same members under `exo run`, with a private monitor.
pub(super) fn over_exo(load: &Load<'_>) -> anyhow::Result<Side> {
    let exo = std::env::current_exe().context("cannot tell where exo is; call it by its path")?;
    let socket = load.folder.join("exod.sock");
    let _monitor = Monitor::start(&socket)?;
    let run = [
        "run",
        "--require",
        "--socket",
        &socket.display().to_string(),
        "--",
    ];
    let mut run: Vec<String> = run.map(str::to_owned).to_vec();
    run.insert(0, exo.display().to_string());
    measure(load, "exo", &run, EXO_QUIET)
}

fn measure(load: &Load<'_>, side: &str, run: &[String], quiet: Duration) -> anyhow::Result<Side> {
    let mut members = Vec::new();
    for (index, kind) in load.kinds.iter().enumerate() {
        let number = load.kinds[..=index]
            .iter()
            .filter(|other| *other == kind)
            .count();
        let name = format!("{}-{number}", kind.name());
        let received = load.received.join(format!("{side}-{name}.received"));
        let how = (load.interface, load.count);
        members.push(Member::start(load.tools, *kind, &name, how, run, received)?);
    }
    // Everybody has joined before anybody sends: a member hears nothing from before its join.
    for member in &members {
        member.wait_until_joined()?;
    }
    let begin = now();
    for member in &mut members {
        member.go();
    }
    let took = wait_until_quiet(&mut members, load.expected(), side, begin, quiet)?;
    let mut receivers = Vec::new();
    for member in members {
        let (kind, name, path) = (member.kind, member.name.clone(), member.received.clone());
        let received = member.received_count();
        drop(member); // the file is whole: its program had nothing to do for a while
        receivers.push(Receiver {
            name,
            kind,
            received,
            digest: digest(&path)?,
        });
    }
    Ok(Side::new(receivers, load.expected(), took))
}

/// Watches the files grow. Returns the time until the last one had its last datagram.
fn wait_until_quiet(
    members: &mut [Member],
    expected: u64,
    side: &str,
    begin: Instant,
    quiet: Duration,
) -> anyhow::Result<Duration> {
    let (mut last, mut last_change, mut last_said) = (0, begin, begin);
    loop {
        pause(LOOK);
        let counts: Vec<u64> = members.iter().map(Member::received_count).collect();
        let (sum, now) = (counts.iter().sum::<u64>(), now());
        if sum != last {
            (last, last_change) = (sum, now);
        }
        if now - last_said >= Duration::from_secs(1) {
            last_said = now;
            let each: Vec<String> = members
                .iter()
                .zip(&counts)
                .map(|(member, count)| format!("{} {count}", member.name))
                .collect();
            progress(&format!("{side}: {} of {expected} each", each.join(", ")));
        }
        let is_complete = counts.iter().all(|count| *count >= expected);
        if is_complete || now - last_change >= quiet {
            progress(&format!(
                "{side}: {sum} of {} received",
                expected * members.len() as u64
            ));
            return Ok(last_change - begin);
        }
        if let Some(why) = members.iter_mut().find_map(Member::end) {
            bail!("{why}");
        }
    }
}

/// `sha256sum` of a file: anybody can repeat it on what `--keep` leaves.
fn digest(path: &Path) -> anyhow::Result<String> {
    let output = Command::new("sha256sum").arg(path).output();
    let output = output.context("cannot run sha256sum (apt-get install -y coreutils)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split_whitespace().next() {
        Some(digest) if output.status.success() => Ok(digest.trim_start_matches('\\').to_owned()),
        _ => bail!(
            "sha256sum {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// A monitor for this demonstration only, stopped when dropped.
#[derive(Debug)]
struct Monitor<'a> {
    socket: &'a Path,
}

impl<'a> Monitor<'a> {
    /// Starts it as `exo run` does.
    fn start(socket: &'a Path) -> anyhow::Result<Self> {
        let group = format!("{GROUP}:{PORT}")
            .parse()
            .expect("the demonstration's group is one");
        private_monitor::ensure(socket, &[group])?;
        Ok(Self { socket })
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        // One that does not answer ends by itself when nobody is attached for a while.
        let _ = operator::ask(self.socket, Query::Stop);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a demonstration is watched in real time"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "files offer nothing to wait on that all have"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
