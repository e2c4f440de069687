//! The timing of the published rack-scale ring, computed from its parts.
//!
//! Source: M. P. Grosvenor, M. Fayed, A. W. Moore, "Exo: Atomic Broadcast for the Rack-Scale
//! Computer", the slides; `docs/rack.md` compares figure by figure. A ring without faults, in which
//! every host always has something to say, is simulated turn by turn on a network that carries one
//! frame at a time (`simulate`); nothing of the outcome is written down here.
//!
//! Never here: faults and the engine of `libexo`, which the rest of this crate is for.

mod plot;
mod published;
mod simulate;
mod text;

use std::ops::{Add, AddAssign, Mul};

use serde::{Serialize, Serializer};

pub use published::Figure;
pub use simulate::Timing;

/// The smallest ring that tolerates a failure.
pub const HOSTS_MIN: u32 = 3;
/// The largest ring of the slides, and of Exo.
pub const HOSTS_MAX: u32 = 256;
/// The smallest frame of Ethernet, bytes from address to checksum.
pub const FRAME_BYTES_MIN: u32 = 64;
/// The largest frame with which the model is of use (a jumbo frame).
pub const FRAME_BYTES_MAX: u32 = 9_216;

/// A span of time in picoseconds. As a document: nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(u64);

impl Span {
    /// So many picoseconds.
    #[must_use]
    pub const fn ps(picoseconds: u64) -> Self {
        Self(picoseconds)
    }

    /// So many nanoseconds.
    #[must_use]
    pub const fn ns(nanoseconds: u64) -> Self {
        Self(nanoseconds * 1_000)
    }

    /// As nanoseconds.
    #[must_use]
    pub fn as_ns(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// How often it fits into a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        1e12 / self.0 as f64
    }

    /// The part of it that each of `count` gets.
    #[must_use]
    pub const fn shared_by(self, count: u32) -> Self {
        Self(self.0 / count as u64)
    }

    /// What is left after `other`; none if that is longer.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u32> for Span {
    type Output = Self;

    fn mul(self, count: u32) -> Self {
        Self(self.0 * u64::from(count))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_ns())
    }
}

/// A network that hands a frame from one host to all: the aggregating side, then the broadcasting.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Network {
    /// What it is built from.
    pub name: &'static str,
    /// From the sender to the middle.
    #[serde(rename = "fibre_in_ns")]
    pub fibre_in: Span,
    /// Bringing all senders together.
    #[serde(rename = "aggregate_ns")]
    pub aggregate: Span,
    /// Handing on to all receivers.
    #[serde(rename = "broadcast_ns")]
    pub broadcast: Span,
    /// From the middle to a receiver.
    #[serde(rename = "fibre_out_ns")]
    pub fibre_out: Span,
}

impl Network {
    /// Passive optics (slide 11).
    pub const OPTICAL: Self = Self::of("all-optical", Span::ns(0), Span::ns(0));
    /// A switch with a fast aggregating side (slides 13 and 14).
    pub const FUSION: Self = Self::of("Fusion switch", Span::ns(95), Span::ns(5));
    /// An Ethernet switch to aggregate, a matrix switch to broadcast (slides 15 and 16).
    pub const LAB: Self = Self::of("lab switches", Span::ns(350), Span::ns(5));

    const fn of(name: &'static str, aggregate: Span, broadcast: Span) -> Self {
        Self {
            name,
            fibre_in: Span::ps(7_500),
            aggregate,
            broadcast,
            fibre_out: Span::ps(7_500),
        }
    }

    /// From a sender's plug to a receiver's.
    #[must_use]
    pub fn hop(&self) -> Span {
        self.fibre_in + self.aggregate + self.broadcast + self.fibre_out
    }
}

/// Who runs the protocol, and what a turn waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Path {
    /// The network card, and nothing goes to the host: the network by itself.
    Network,
    /// The host: each turn crosses the bus to it and back before the next one.
    Host,
    /// The network card: the next message already lies in it, and what arrived goes to the host while
    /// the ring goes on. The ring waits only for a bus that is still busy with the turn before.
    Offload,
}

/// The bus between host and network card: one transfer in each direction at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Bus {
    /// Host to card, for one message.
    #[serde(rename = "down_ns")]
    pub down: Span,
    /// Card to host.
    #[serde(rename = "up_ns")]
    pub up: Span,
}

impl Bus {
    /// PCI Express as on slide 20.
    pub const PCIE: Self = Self {
        down: Span::ns(400),
        up: Span::ns(400),
    };
}

/// The frames of turns, all of one length.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Frame {
    /// From address to checksum.
    pub bytes: u32,
    /// Preamble and gap, which the line carries besides.
    pub extra_bytes: u32,
    /// The line's rate.
    pub bits_per_second: u64,
    /// Whether the next turn waits for the end of the frame, as Exo's rules want it, or for its
    /// beginning, as the slides reckon.
    pub is_taken_whole: bool,
}

impl Frame {
    /// The frames of slide 12: 64 bytes at 10 Gbit/s.
    pub const SMALLEST: Self = Self {
        bytes: FRAME_BYTES_MIN,
        extra_bytes: 20,
        bits_per_second: 10_000_000_000,
        is_taken_whole: false,
    };

    /// How long it occupies the line.
    #[must_use]
    pub fn line_time(&self) -> Span {
        let bits = u64::from(self.bytes + self.extra_bytes) * 8;
        Span::ps(bits * 1_000_000_000_000 / self.bits_per_second)
    }
}

/// Everything that decides a ring's timing but the number of hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Setup {
    /// The network.
    pub network: Network,
    /// Who runs the protocol.
    pub path: Path,
    /// The bus to the hosts.
    pub bus: Bus,
    /// The frames.
    pub frame: Frame,
}

impl Setup {
    /// A network and a path; the rest as on the slides.
    #[must_use]
    pub const fn new(network: Network, path: Path) -> Self {
        Self {
            network,
            path,
            bus: Bus::PCIE,
            frame: Frame::SMALLEST,
        }
    }

    /// Simulates a ring of `hosts`, from [`HOSTS_MIN`] to [`HOSTS_MAX`].
    ///
    /// # Panics
    ///
    /// When there are fewer or more hosts.
    #[must_use]
    pub fn timing(&self, hosts: u32) -> Timing {
        assert!((HOSTS_MIN..=HOSTS_MAX).contains(&hosts), "{hosts} hosts");
        simulate::timing(self, hosts)
    }

    /// "lab switches, offload".
    fn name(&self) -> String {
        let path = match self.path {
            Path::Network => "network alone",
            Path::Host => "host in the loop",
            Path::Offload => "offload, pipelined",
        };
        format!("{}, {path}", self.network.name)
    }
}

/// What to report about.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Parameters {
    /// The ring's hosts, [`HOSTS_MIN`] to [`HOSTS_MAX`].
    pub hosts: u32,
    /// The sizes for which agreement is drawn, in the same bounds, growing.
    pub sizes: Vec<u32>,
    /// What to compare.
    pub setups: Vec<Setup>,
}

impl Default for Parameters {
    /// The slides: 200 hosts, three networks, and the third also with its hosts.
    fn default() -> Self {
        Self {
            hosts: 200,
            sizes: vec![3, 4, 5, 7, 9, 16, 32, 64, 100, 128, 200, 256],
            setups: vec![
                Setup::new(Network::OPTICAL, Path::Network),
                Setup::new(Network::FUSION, Path::Network),
                Setup::new(Network::LAB, Path::Network),
                Setup::new(Network::LAB, Path::Host),
                Setup::new(Network::LAB, Path::Offload),
            ],
        }
    }
}

impl Parameters {
    /// The same with other frames in every setup.
    #[must_use]
    pub fn with_frame(mut self, frame: Frame) -> Self {
        for setup in &mut self.setups {
            setup.frame = frame;
        }
        self
    }
}

/// The ring of one setup.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ring {
    /// Network and path, in words.
    pub name: String,
    /// From what it was computed.
    pub setup: Setup,
    /// Its timing with [`Parameters::hosts`].
    pub timing: Timing,
    /// Turns per second of all hosts together.
    pub turns_per_s: f64,
    /// Turns per second of each.
    pub turns_per_host_per_s: f64,
}

/// How long agreement takes in a ring of one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// The size.
    pub hosts: u32,
    /// The timing in each setup, in the order of [`Report::rings`].
    pub timings: Vec<Timing>,
}

/// What [`report`] comes to. Displays itself as tables; [`Report::svg`] draws it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Hosts of [`Report::rings`].
    pub hosts: u32,
    /// The published figures beside what this model makes of the published parameters.
    pub published: Vec<Figure>,
    /// The setups asked for.
    pub rings: Vec<Ring>,
    /// Agreement against the size of the ring.
    pub agreement: Vec<Agreement>,
}

impl Report {
    /// Agreement against the size of the ring, as a picture that needs nothing else.
    #[must_use]
    pub fn svg(&self) -> String {
        plot::svg(self)
    }
}

/// Simulates every setup in every size.
///
/// # Panics
///
/// When a size is out of its bounds.
#[must_use]
pub fn report(parameters: &Parameters) -> Report {
    let rings = parameters.setups.iter().map(|setup| {
        let timing = setup.timing(parameters.hosts);
        Ring {
            name: setup.name(),
            setup: *setup,
            timing,
            turns_per_s: timing.turn.per_second(),
            turns_per_host_per_s: timing.rotation.per_second(),
        }
    });
    let agreement = parameters.sizes.iter().map(|hosts| Agreement {
        hosts: *hosts,
        timings: parameters
            .setups
            .iter()
            .map(|setup| setup.timing(*hosts))
            .collect(),
    });
    Report {
        hosts: parameters.hosts,
        published: published::figures(),
        rings: rings.collect(),
        agreement: agreement.collect(),
    }
}
