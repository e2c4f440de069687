//! The published figures of the rack-scale ring follow from the published parts.

use exo_sim::rack::{Frame, Network, Parameters, Path, Report, Setup, Span, report};

fn published() -> Report {
    report(&Parameters {
        sizes: vec![3, 5],
        ..Parameters::default()
    })
}

/// Each figure with how far off it may be, as a share: what the slides round, `docs/rack.md` explains.
#[test]
fn published_figures_follow_from_published_parts() {
    let tolerances = [
        ("hop, all-optical", 0.0),
        ("hop, Fusion switch", 0.0),
        ("hop, lab switches", 0.0),
        ("ring, all-optical", 0.034),
        ("ring, Fusion switch", 0.012),
        ("ring, lab switches", 0.002),
        ("hop, host in the loop", 0.171),
        ("rotation of 200, hop of 1 µs", 0.0),
        ("each of 200, hop of 1 µs", 0.0),
        ("rotation of 200, hop from parts", 0.171),
        ("each of 200, hop from parts", 0.146),
        ("turn, offload pipelined", 0.0),
        ("rotation of 200, pipelined", 0.0),
        ("each of 200, pipelined", 0.0),
        ("ring, offload (measured there)", 0.0),
        ("all of 4 have built on it", 0.0),
        ("turns behind it for a majority of 5", 0.0),
    ];
    let figures = published().published;
    assert_eq!(figures.len(), tolerances.len());
    for (figure, (name, tolerance)) in figures.iter().zip(tolerances) {
        assert_eq!(figure.name, name);
        let off = figure.deviation();
        assert!(
            off.abs() <= tolerance + 1e-9,
            "{name}: {off:+.4}, {figure:?}"
        );
    }
}

#[test]
fn a_ring_computes_what_it_is_given_and_not_what_is_published() {
    let faster = Network {
        aggregate: Span::ns(50),
        ..Network::LAB
    };
    let timing = Setup::new(faster, Path::Network).timing(10);
    assert_eq!(
        (timing.turn, timing.rotation),
        (Span::ns(70), Span::ns(700))
    );
    // The bus is slower than this network; then it sets the pace.
    let setup = Setup::new(faster, Path::Offload);
    assert_eq!(setup.timing(10).turn, setup.bus.up);
    // A network slower than the bus sets it itself.
    let slower = Network {
        aggregate: Span::ns(980),
        ..Network::LAB
    };
    let timing = Setup::new(slower, Path::Offload).timing(10);
    assert_eq!(timing.turn, slower.hop());
}

#[test]
fn the_line_carries_one_frame_at_a_time() {
    let smallest = Setup::new(Network::OPTICAL, Path::Network);
    assert_eq!(smallest.timing(10).turn, Frame::SMALLEST.line_time());
    let whole = Setup {
        frame: Frame {
            is_taken_whole: true,
            ..Frame::SMALLEST
        },
        ..smallest
    };
    let expected = Frame::SMALLEST.line_time() + Network::OPTICAL.hop();
    assert_eq!(whole.timing(10).turn, expected);
}

#[test]
fn a_message_that_is_slow_to_reach_the_card_holds_up_a_small_ring_only() {
    let mut setup = Setup::new(Network::LAB, Path::Offload);
    setup.bus.down = Span::ns(10_000);
    assert_eq!(setup.timing(3).rotation, Span::ns(10_000));
    assert_eq!(setup.timing(64).turn, Span::ns(400));
}

#[test]
fn agreement_takes_a_majority_of_turns_in_every_size() {
    let setup = Setup::new(Network::LAB, Path::Network);
    for hosts in (3..=40).chain([64, 100, 127, 128, 200, 255, 256]) {
        let timing = setup.timing(hosts);
        let majority = hosts / 2 + 1;
        assert_eq!(timing.turn, Network::LAB.hop(), "{hosts} hosts");
        assert_eq!(
            timing.agreed_at_author,
            timing.turn * majority,
            "{hosts} hosts"
        );
        // A host that has not written yet counts itself, and is done a turn earlier.
        let elsewhere = timing.turn * (majority - 1);
        assert_eq!(timing.agreed_elsewhere, elsewhere, "{hosts} hosts");
        assert_eq!(timing.rotation, timing.turn * hosts, "{hosts} hosts");
    }
}

#[test]
fn the_report_is_a_text_and_a_picture() {
    let report = published();
    let text = report.to_string();
    for part in [
        "each of 200, pipelined",
        "12,500",
        "A ring of 200",
        "1.17 µs",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let svg = report.svg();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<polyline ").count(), report.rings.len());
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert!(!svg.contains("href"), "{svg}");
}

#[test]
fn a_name_that_svg_would_read_is_only_shown() {
    let network = Network {
        name: "<b>A&B",
        ..Network::LAB
    };
    let svg = report(&Parameters {
        hosts: 3,
        sizes: vec![3, 4],
        setups: vec![Setup::new(network, Path::Host)],
    })
    .svg();
    assert!(svg.contains(">&lt;b>A&amp;B, host in the loop<"), "{svg}");
}

#[test]
fn a_report_about_one_size_or_none_can_be_drawn() {
    for sizes in [vec![], vec![7]] {
        let parameters = Parameters {
            sizes,
            ..Parameters::default()
        };
        let svg = report(&parameters).svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    }
}
