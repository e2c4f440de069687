//! Several hosts: network namespaces, each with a link to one bridge. They are gone with this
//! process, because nothing but its descriptors holds them.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns, unshare};

use crate::world::ip;

/// Where monitors listen for frames.
const PORT: u16 = 7946;

/// The hosts, numbered from 0.
#[derive(Debug)]
pub(crate) struct Network {
    home: File,
    hosts: Vec<File>,
}

impl Network {
    /// Joins `count` new hosts. Their bridge lies in this thread's namespace.
    pub(crate) fn join(count: usize) -> anyhow::Result<Self> {
        let home = namespace()?;
        // Without snooping, because there is nobody who asks for memberships.
        ip("link add hosts0 type bridge mcast_snooping 0")
            .context("cannot make a bridge between hosts")?;
        ip("link set hosts0 up")?;
        let mut network = Self {
            home,
            hosts: Vec::new(),
        };
        for host in 0..count {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a namespace for a host")?;
            let inside = namespace();
            setns(&network.home, CloneFlags::CLONE_NEWNET).context("cannot come back from it")?;
            network.hosts.push(inside?);
            let path = network.path(host);
            ip(&format!(
                "link add h{host} type veth peer name eth0 address {} netns {path}",
                mac(host)
            ))?;
            ip(&format!("link set h{host} master hosts0 up"))?;
            network.on(host, || {
                ip("link set lo up")?;
                ip("link set eth0 addrgenmode none up")?;
                ip(&format!(
                    "addr add {}/24 broadcast + dev eth0",
                    address(host)
                ))?;
                ip("route add 224.0.0.0/4 dev eth0")
            })?;
        }
        Ok(network)
    }

    /// A file that names a host's namespace for other programs.
    pub(crate) fn path(&self, host: usize) -> String {
        let descriptor = self.hosts[host].as_raw_fd();
        format!("/proc/{}/fd/{descriptor}", std::process::id())
    }

    /// Runs `spawn` so that the process it starts is on `host`.
    pub(crate) fn on<T>(
        &self,
        host: usize,
        spawn: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        setns(&self.hosts[host], CloneFlags::CLONE_NEWNET).context("cannot enter a host")?;
        let spawned = spawn();
        setns(&self.home, CloneFlags::CLONE_NEWNET).context("cannot come back from a host")?;
        spawned
    }

    /// How many hosts there are.
    pub(crate) const fn count(&self) -> usize {
        self.hosts.len()
    }

    /// The `[[host]]` tables of `exod`.
    pub(crate) fn tables(&self) -> String {
        let table = |host| {
            format!(
                "[[host]]\nname = \"h{host}\"\naddress = \"{}:{PORT}\"\nmac = \"{}\"\n",
                address(host),
                mac(host)
            )
        };
        (0..self.count()).map(table).collect()
    }
}

/// The address of a host's link.
pub(crate) fn address(host: usize) -> String {
    format!("10.78.0.{}", host + 1)
}

fn mac(host: usize) -> String {
    format!("02:45:58:4f:00:{:02x}", host + 1)
}

/// The network namespace of this thread.
fn namespace() -> anyhow::Result<File> {
    File::open("/proc/thread-self/ns/net").context("cannot open this thread's network namespace")
}
