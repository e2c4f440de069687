//! What joins the hosts of one test, and can be cut while they run.
//!
//! Each host has a link `eth0`. The network is made of bridges and veth pairs in
//! one more namespace, so it needs no packet filter, no module beyond these two and no root:
//!
//! ```text
//!  host 0 ── bridge 0 ──┬── 0-1   1-0 ──┬── bridge 1 ── host 1
//!                       └── 0-2   2-0 ──┼── bridge 2 ── host 2      0-1 and 1-0 are one veth pair
//! ```
//!
//! Every two bridges have a wire. The ports of wires are isolated: what comes from one goes to the
//! host and to no other wire, so there are no loops. They learn nothing and flood no unicast: an
//! entry in the forwarding database says which wire leads to a host. The way from one host to
//! another is cut, for every kind of frame and not the way back, by taking this entry and the flooding
//! of multicast and broadcast away from one port.
//!
//! In a user namespace of its own when not root: the network's holder makes it, and the hosts'
//! namespaces belong to it.

use crate::deadline::Deadline;
use crate::program::Program;
use anyhow::{Context, Result};
use nix::unistd::Uid;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of each host's link.
pub const LINK: &str = "eth0";

/// A host waits until the network gives it its link.
const HOST: &str = r#"
set -e
ip link set lo up
echo waiting
read -r address address6
ip link set eth0 addrgenmode none
ip addr add "$address/24" broadcast + dev eth0
ip link set eth0 up
if [ -n "$address6" ]; then ip -6 addr add "$address6/64" dev eth0 nodad; fi
ip route add 224.0.0.0/4 dev eth0
echo ready
exec cat
"#;

/// The bridges and wires between hosts.
#[derive(Debug)]
pub struct Network {
    program: Program,
    folder: PathBuf,
    count: usize,
}

impl Network {
    /// The network and, for each host, the process that holds its namespace with a link in it, which
    /// has an address of IPv6, too, if that is wanted.
    ///
    /// # Errors
    ///
    /// When namespaces or bridges are not allowed.
    pub fn start(count: usize, has_ipv6: bool, folder: &Path) -> Result<(Self, Vec<Program>)> {
        let mut command = Command::new("unshare");
        command.arg(if Uid::effective().is_root() {
            "-n"
        } else {
            "-rn"
        });
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "sh", "-c"]);
        command.arg("echo ready; exec cat");
        let mut program = Program::start(command, "network", folder)?;
        program.wait_for("ready", Deadline::seconds(20)).context(
            "cannot make a network namespace: be root or allow user namespaces, and install \
             util-linux (compat-tests/setup.sh does)",
        )?;
        let network = Self {
            program,
            folder: folder.to_owned(),
            count,
        };
        let holders: Result<Vec<_>> = (0..count).map(|host| network.holder(host)).collect();
        let mut holders = holders?;
        for holder in &mut holders {
            holder.wait_for("waiting", Deadline::seconds(20))?;
        }
        network.run(&network.wiring(&holders)?).context(
            "cannot make bridges: the kernel needs bridge and veth, and iproute2 must be \
             installed (compat-tests/setup.sh does)",
        )?;
        for (host, holder) in holders.iter_mut().enumerate() {
            let second = if has_ipv6 {
                address6(host)
            } else {
                String::new()
            };
            holder.say(&format!("{} {second}\n", address(host)))?;
            holder.wait_for("ready", Deadline::seconds(20))?;
        }
        Ok((network, holders))
    }

    /// Lets nothing pass from one host to another; the way back stays open.
    ///
    /// # Errors
    ///
    /// When it is cut already.
    pub fn cut(&self, from: usize, to: usize) -> Result<()> {
        self.run(&cut(from, to))
    }

    /// Opens the way from one host to another again.
    ///
    /// # Errors
    ///
    /// When it is open.
    pub fn join(&self, from: usize, to: usize) -> Result<()> {
        self.run(&join(from, to))
    }

    /// Lets nothing pass between the two sides, at one moment.
    ///
    /// # Errors
    ///
    /// When one of the ways is cut already.
    pub fn part(&self, one: &[usize], other: &[usize]) -> Result<()> {
        self.run(&between(one, other, cut))
    }

    /// Opens all ways between the two sides again.
    ///
    /// # Errors
    ///
    /// When one of them is open.
    pub fn heal(&self, one: &[usize], other: &[usize]) -> Result<()> {
        self.run(&between(one, other, join))
    }

    /// Lets no multicast pass from one host to another; unicast does.
    ///
    /// # Errors
    ///
    /// When the bridges are gone.
    pub fn filter_multicast(&self, from: usize, to: usize) -> Result<()> {
        self.run(&format!("bridge link set dev {from}-{to} mcast_flood off"))
    }

    /// Lets multicast pass again.
    ///
    /// # Errors
    ///
    /// When the bridges are gone.
    pub fn pass_multicast(&self, from: usize, to: usize) -> Result<()> {
        self.run(&format!("bridge link set dev {from}-{to} mcast_flood on"))
    }

    /// Longest IP packet, in bytes, on the wire between two hosts, both ways. Links are made for 1500.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the number.
    pub fn set_mtu(&self, one: usize, other: usize, bytes: usize) -> Result<()> {
        self.run(&format!(
            "ip link set {one}-{other} mtu {bytes}\nip link set {other}-{one} mtu {bytes}"
        ))
    }

    /// A process in a network namespace of its own, which waits for a link.
    fn holder(&self, host: usize) -> Result<Program> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.program.pid().to_string(), "-n"]);
        if !Uid::effective().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["--", "unshare", "-n", "--"]);
        command.args(["setpriv", "--pdeathsig", "KILL", "sh", "-c", HOST]);
        Program::start(command, &format!("host{host}"), &self.folder)
    }

    fn wiring(&self, holders: &[Program]) -> Result<String> {
        let mut text = String::new();
        for (host, holder) in holders.iter().enumerate() {
            let (mac, pid) = (mac(host), holder.pid());
            writeln!(
                text,
                "ip link add bridge{host} type bridge mcast_snooping 0
                 ip link set bridge{host} addrgenmode none up
                 ip link add host{host} type veth peer name {LINK} address {mac} netns {pid}
                 ip link set host{host} addrgenmode none master bridge{host} up"
            )?;
        }
        for (from, to) in ways(self.count) {
            if from < to {
                writeln!(
                    text,
                    "ip link add {from}-{to} type veth peer name {to}-{from}"
                )?;
            }
        }
        for (from, to) in ways(self.count) {
            writeln!(
                text,
                "ip link set {from}-{to} addrgenmode none master bridge{from} up
                 bridge link set dev {from}-{to} isolated on learning off flood off"
            )?;
            text += &join(from, to);
        }
        Ok(text)
    }

    /// Runs lines of a shell where the bridges are.
    fn run(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.program.pid().to_string(), "-n"]);
        if !Uid::effective().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["--", "sh", "-e", "-c", lines]);
        Program::start(command, "wires", &self.folder)?
            .wait(Deadline::seconds(20))?
            .ok()
            .map(drop)
    }
}

/// Address of a host's link.
pub fn address(host: usize) -> String {
    format!("10.78.0.{}", host + 1)
}

/// Its address of IPv6, where there is one.
pub fn address6(host: usize) -> String {
    format!("fd78::{:x}", host + 1)
}

/// Ethernet address of a host's link.
pub fn mac(host: usize) -> String {
    format!("02:45:58:00:00:{:02x}", host + 1)
}

/// All ways from one host to another.
fn ways(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count)
        .flat_map(move |from| (0..count).map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
}

fn between(one: &[usize], other: &[usize], what: fn(usize, usize) -> String) -> String {
    one.iter()
        .flat_map(|a| other.iter().map(|b| what(*a, *b) + &what(*b, *a)))
        .collect()
}

fn cut(from: usize, to: usize) -> String {
    let mac = mac(to);
    format!(
        "bridge link set dev {from}-{to} mcast_flood off bcast_flood off\n\
         bridge fdb del {mac} dev {from}-{to} master static\n"
    )
}

fn join(from: usize, to: usize) -> String {
    let mac = mac(to);
    format!(
        "bridge fdb add {mac} dev {from}-{to} master static\n\
         bridge link set dev {from}-{to} mcast_flood on bcast_flood on\n"
    )
}
