//! The network that both sides run in: a namespace of its own with one multicast-capable link.
//!
//! Not on `lo`: packets that leave through it come back as if from outside, so multicast behaves
//! differently there.

use std::process::Command;

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::{Pid, Uid, getgid, getuid};

/// The address of the link that the programs join on.
pub(crate) const INTERFACE: &str = "10.77.0.1";

/// Moves this process into a fresh network namespace, as root or with a user namespace.
pub(crate) fn enter_own_network() -> anyhow::Result<()> {
    if Uid::effective().is_root() {
        unshare(CloneFlags::CLONE_NEWNET).context(
            "cannot make a network namespace (in a container: start it with --cap-add SYS_ADMIN)",
        )?;
    } else {
        let (uid, gid) = (getuid(), getgid());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).context(
            "cannot make a user and network namespace \
             (run as root, or allow it: sysctl -w kernel.unprivileged_userns_clone=1)",
        )?;
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), text).with_context(|| {
                format!("cannot write /proc/self/{file} of the new user namespace (run as root)")
            })?;
        }
    }
    for arguments in [
        "link set lo up",
        "link add x0 type veth peer name x1",
        &format!("addr add {INTERFACE}/24 dev x0"),
        "link set x1 up",
        "link set x0 multicast on up",
        "route add 224.0.0.0/4 dev x0",
    ] {
        ip(arguments)?;
    }
    Ok(())
}

pub(crate) fn ip(arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .context("cannot run ip (apt-get install iproute2)")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("ip {arguments}: {} (is the veth module there?)", why.trim());
    }
    Ok(())
}

/// Runs `spawn` so that the process it starts may use only `core`; `None` leaves it to the kernel.
pub(crate) fn on_core<T>(
    core: Option<usize>,
    spawn: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Some(core) = core else { return spawn() };
    let this_thread = Pid::from_raw(0);
    let before = sched_getaffinity(this_thread).context("cannot read the CPU affinity")?;
    let allowed: Vec<usize> = (0..CpuSet::count())
        .filter(|cpu| before.is_set(*cpu).unwrap_or(false))
        .collect();
    let mut narrowed = CpuSet::new();
    narrowed.set(allowed[core % allowed.len()])?;
    sched_setaffinity(this_thread, &narrowed).context("cannot set the CPU affinity")?;
    let spawned = spawn(); // inherits the affinity of the thread that starts it
    sched_setaffinity(this_thread, &before).context("cannot restore the CPU affinity")?;
    spawned
}
