//! Between hosts: what a hop of the token, an ordered datagram and a way to another host cost, each
//! beside the same without Exo.

use std::process::Command;

use tempfile::TempDir;

pub(crate) mod hop;
pub(crate) mod load;
pub(crate) mod oneway;

use super::{Bench, Side};
use crate::monitor::Monitor;
use crate::network::Network;

/// Names of all transports, as `exod`'s configuration calls them; the first is the default.
pub(crate) const TRANSPORTS: [&str; 6] = [
    "udp-multicast",
    "udp-broadcast",
    "udp-copies",
    "tcp",
    "raw-multicast",
    "raw-copies",
];

/// The transports of the rows that take long: all in the long run, else the default.
fn transports(bench: &Bench<'_>) -> &'static [&'static str] {
    if bench.long {
        &TRANSPORTS
    } else {
        &TRANSPORTS[..1]
    }
}

const GROUP: &str = "239.77.0.1";
const PORT: &str = "5000";
/// Time to live: datagrams reach the other hosts of the link.
const LINK: &str = "1";

/// What was measured of one side, and how far the repeats were apart.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Repeated {
    pub(crate) median: f64,
    /// Highest less lowest, as a share of the median.
    pub(crate) spread: f64,
    pub(crate) repeats: Vec<f64>,
}

impl Repeated {
    pub(crate) fn of(repeats: Vec<f64>) -> Self {
        Self {
            median: crate::statistics::median(&repeats),
            spread: crate::statistics::spread(&repeats),
            repeats,
        }
    }
}

/// What delivers on the hosts during one run: a monitor on each, with authentication, or nothing
/// but the kernel.
struct Delivery<'a> {
    network: &'a Network,
    monitors: Vec<Monitor<'a>>,
    /// Sockets, configurations and votes; gone after the monitors.
    _folder: TempDir,
}

impl<'a> Delivery<'a> {
    fn start(
        bench: &'a Bench<'_>,
        network: &'a Network,
        side: Side,
        transport: &str,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(bench.folder)?;
        let mut monitors = Vec::new();
        if side == Side::Exo {
            let key = folder.path().join("key");
            bench.binaries.make_key(&key)?;
            for host in 0..network.count() {
                let configuration = format!(
                    "[ring]\nhost = \"h{host}\"\ntransport = \"{transport}\"\n\
                     broadcast = \"10.78.0.255\"\nkey_file = \"{}\"\nstate = \"{}\"\n{}\
                     [[group]]\nname = \"bench\"\naddress = \"{GROUP}:{PORT}\"\n",
                    key.display(),
                    folder.path().join(format!("state{host}")).display(),
                    network.tables(),
                );
                let socket = folder.path().join(format!("exod{host}.sock"));
                let start = || Monitor::configured(&bench.binaries, socket, &configuration);
                monitors.push(network.on(host, start)?);
            }
            for monitor in &mut monitors {
                monitor.wait_for_ring()?;
            }
        }
        Ok(Self {
            network,
            monitors,
            _folder: folder,
        })
    }

    /// Runs `start` on a host with a command for `program` there.
    fn on<T>(
        &self,
        host: usize,
        program: &std::path::Path,
        start: impl FnOnce(Command) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let monitor = self.monitors.get(host);
        let command = monitor.map_or_else(|| Command::new(program), |it| it.command(program));
        self.network.on(host, || start(command))
    }

    /// What the ring counted, as far as one host can tell; nothing without monitors.
    fn counts(&self) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        for monitor in &self.monitors {
            let ring = monitor.ring()?;
            let frames = &ring["frames"];
            let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
            counts.turns = counts.turns.max(count(&ring["tail"]));
            counts.frames += count(&frames["sent"]);
            for repair in ["relayed_turns", "repaired_turns", "resent_turns"] {
                counts.repairs += count(&frames[repair]);
            }
        }
        Ok(counts)
    }
}

/// What a ring counted since its start.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    turns: u64,
    /// Sent by all hosts, each copy.
    frames: u64,
    /// Turns sent again for any reason.
    repairs: u64,
}

impl Counts {
    fn since(self, before: Self) -> Self {
        Self {
            turns: self.turns - before.turns,
            frames: self.frames - before.frames,
            repairs: self.repairs - before.repairs,
        }
    }
}
