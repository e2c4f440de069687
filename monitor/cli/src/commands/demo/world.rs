//! The network that the members run in: a namespace of its own with one multicast-capable link.
//!
//! Not on `lo`: packets that leave through it come back as if from outside, so the kernel's
//! multicast behaves differently there.

use std::process::Command;

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, getgid, getuid};

/// The address of the link that the members join on.
pub(super) const INTERFACE: &str = "10.77.0.1";

/// Moves this process into a fresh network namespace, as root or with a user namespace.
///
/// # Errors
///
/// The machine does not allow it, or `ip` is missing; the process may then be in an empty
/// namespace, which is good enough for Exo.
pub(super) fn enter_own_network() -> anyhow::Result<()> {
    if !super::needs::is_there("ip") {
        bail!("ip is missing (apt-get install iproute2)");
    }
    if Uid::effective().is_root() {
        unshare(CloneFlags::CLONE_NEWNET).context("root may not make a network namespace here")?;
    } else {
        let (uid, gid) = (getuid(), getgid());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
            .context("user namespaces are not allowed here (run as root)")?;
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), text)
                .with_context(|| format!("cannot write /proc/self/{file} (run as root)"))?;
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
        let output = Command::new("ip")
            .args(arguments.split(' '))
            .output()
            .context("cannot run ip")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("ip {arguments}: {} (is the veth module there?)", why.trim());
        }
    }
    Ok(())
}
