//! The figures of the slides, each beside what the model makes of the slides' parameters.

use serde::Serialize;

use super::{Network, Path, Setup, Span, Timing};

/// A published figure and its computed one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What is measured.
    pub name: &'static str,
    /// The slide that says it.
    pub slide: u32,
    /// The unit of both.
    pub unit: &'static str,
    /// The slide's figure.
    pub published: f64,
    /// The model's.
    pub computed: f64,
}

impl Figure {
    /// How far the computed figure is off, as a share of the published one.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.computed / self.published - 1.0
    }
}

/// The slides' large ring.
const HOSTS: u32 = 200;

pub(super) fn figures() -> Vec<Figure> {
    let alone = |network| Setup::new(network, Path::Network).timing(HOSTS);
    let (optical, fusion, lab) = (
        alone(Network::OPTICAL),
        alone(Network::FUSION),
        alone(Network::LAB),
    );
    let host = Setup::new(Network::LAB, Path::Host).timing(HOSTS);
    let offload = Setup::new(Network::LAB, Path::Offload).timing(HOSTS);
    // The slides go on with a hop of 1 µs, to which they round the sum of its parts.
    let rounded = Network {
        name: "1 µs per hop",
        aggregate: Span::ns(985),
        ..Network::OPTICAL
    };
    let rounded = alone(rounded);
    let four = Setup::new(Network::LAB, Path::Network).timing(4);
    let five = Setup::new(Network::LAB, Path::Network).timing(5);
    let hops = |span: Span, timing: Timing| span.as_ns() / timing.turn.as_ns();
    let figure = |name, slide, unit, published, computed| Figure {
        name,
        slide,
        unit,
        published,
        computed,
    };
    vec![
        figure(
            "hop, all-optical",
            11,
            "ns",
            15.0,
            Network::OPTICAL.hop().as_ns(),
        ),
        figure(
            "hop, Fusion switch",
            14,
            "ns",
            115.0,
            Network::FUSION.hop().as_ns(),
        ),
        figure(
            "hop, lab switches",
            16,
            "ns",
            370.0,
            Network::LAB.hop().as_ns(),
        ),
        figure("ring, all-optical", 12, "M msg/s", 14.4, millions(optical)),
        figure("ring, Fusion switch", 14, "M msg/s", 8.6, millions(fusion)),
        figure("ring, lab switches", 16, "M msg/s", 2.7, millions(lab)),
        figure(
            "hop, host in the loop",
            21,
            "µs",
            1.0,
            host.turn.as_ns() / 1e3,
        ),
        figure(
            "rotation of 200, hop of 1 µs",
            21,
            "µs",
            200.0,
            rounded.rotation.as_ns() / 1e3,
        ),
        figure(
            "each of 200, hop of 1 µs",
            21,
            "msg/s",
            5000.0,
            rounded.rotation.per_second(),
        ),
        figure(
            "rotation of 200, hop from parts",
            21,
            "µs",
            200.0,
            host.rotation.as_ns() / 1e3,
        ),
        figure(
            "each of 200, hop from parts",
            21,
            "msg/s",
            5000.0,
            host.rotation.per_second(),
        ),
        figure(
            "turn, offload pipelined",
            25,
            "ns",
            400.0,
            offload.turn.as_ns(),
        ),
        figure(
            "rotation of 200, pipelined",
            25,
            "µs",
            80.0,
            offload.rotation.as_ns() / 1e3,
        ),
        figure(
            "each of 200, pipelined",
            25,
            "msg/s",
            12_500.0,
            offload.rotation.per_second(),
        ),
        figure(
            "ring, offload (measured there)",
            50,
            "M msg/s",
            2.5,
            millions(offload),
        ),
        figure(
            "all of 4 have built on it",
            10,
            "hops",
            4.0,
            hops(four.rotation, four),
        ),
        figure(
            "turns behind it for a majority of 5",
            41,
            "hops",
            2.0,
            hops(five.agreed_at_author, five) - 1.0,
        ),
    ]
}

fn millions(timing: Timing) -> f64 {
    timing.turn.per_second() / 1e6
}
