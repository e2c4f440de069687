//! The report as one page that needs nothing else: bars on a logarithmic scale.

use std::fmt::Write as _;

use super::{Report, lost};
use crate::scenario::hosts::hop::{GOAL_RATIO, GOAL_TURNS_PER_SECOND};
use crate::scenario::hosts::load::GOAL_PER_SECOND;

const LABEL_WIDTH: f64 = 300.0;
const BARS_WIDTH: f64 = 620.0;
const BAR_HEIGHT: f64 = 13.0;

/// One bar: its class (colour), its value, and what is written behind it.
struct Bar {
    class: &'static str,
    value: f64,
    text: String,
}

/// A row: a label and its bars.
struct Bars {
    label: String,
    bars: Vec<Bar>,
}

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let throughput: Vec<Bars> = report
        .throughput
        .iter()
        .map(|row| Bars {
            label: row.name.clone(),
            bars: vec![
                bar("kernel", row.kernel.per_second, |value| {
                    format!("{value:.3} M/s, lost: {}", lost(row.kernel.lost_share))
                }),
                bar("exo", row.exo.per_second, |value| {
                    format!("{value:.2} M/s, {:.1} × the kernel", row.exo_to_kernel)
                }),
                bar("floor", row.floor_per_second, |value| {
                    format!("{value:.1} M/s")
                }),
            ],
        })
        .collect();
    let ping_pong: Vec<Bars> = report
        .ping_pong
        .iter()
        .map(|row| Bars {
            label: row.name.clone(),
            bars: [
                ("kernel", row.kernel.p50_ns),
                ("exo", row.exo.p50_ns),
                ("floor", row.floor_p50_ns),
            ]
            .into_iter()
            .filter(|(_, ns)| *ns > 0.0)
            .map(|(class, ns)| Bar {
                class,
                value: ns,
                text: format!("{:.2} µs", ns / 1e3),
            })
            .collect(),
        })
        .collect();
    let [hop, load, oneway] = between_hosts(report);
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Exo benchmark</title>\n\
         <style>body{{font:15px system-ui,sans-serif;margin:2em;max-width:62em;color:#222}}\
         svg text{{font:12px system-ui,sans-serif;fill:#222}}\
         .kernel,.frame{{fill:#b8b8b8}}.exo{{fill:#1f77b4}}.floor{{fill:#dfe8d0}}</style>\n\
         <h1>Exo and the kernel's multicast</h1>\n<p>{}</p>\n\
         <p>Same unmodified C programs on both sides, sides alternating, median of {}. \
         Repeat with <code>{}</code>. Scales are logarithmic. \
         Grey: kernel. Blue: Exo. Green: this machine's floor without socket calls.</p>\n\
         <h2>Datagrams a second at each receiver (longer is better)</h2>\n{}\n\
         <h2>Round trip of 64 B, p50 (shorter is better)</h2>\n{}\n\
         <h2>Between hosts: a hop of the token, grey a bare frame the same way (shorter is better)</h2>\n\
         <p>Goals: {GOAL_RATIO} bare frames; {GOAL_TURNS_PER_SECOND:.0} turns/s where hosts spin.</p>\n{}\n\
         <h2>Between hosts: ordered datagrams a second at each (longer is better)</h2>\n\
         <p>Goal: {GOAL_PER_SECOND:.0} of 64 B with mmsg.</p>\n{}\n\
         <h2>Between hosts: one way, p50 (shorter is better)</h2>\n{}\n<p>{}</p>\n</html>\n",
        escaped(&report.machine.to_string()),
        report.repeats,
        report.command,
        picture(&throughput),
        picture(&ping_pong),
        picture(&hop),
        picture(&load),
        picture(&oneway),
        escaped(&report.verdict()),
    )
}

/// The rows between hosts: hops, loads, one way.
fn between_hosts(report: &Report) -> [Vec<Bars>; 3] {
    let micros = |class, ns: f64, more: String| Bar {
        class,
        value: ns,
        text: format!("{:.2} µs{more}", ns / 1e3),
    };
    let hop = report.hop.iter().map(|row| Bars {
        label: row.name.clone(),
        bars: vec![
            micros("frame", row.frame_ns.median, String::new()),
            micros(
                "exo",
                row.hop_ns.median,
                format!(", {:.2} × the frame", row.hop_to_frame),
            ),
        ],
    });
    let load = report.load.iter().map(|row| {
        let kernel = row.kernel.as_ref().map(|kernel| {
            bar("kernel", kernel.per_second, |value| {
                format!("{value:.3} M/s, lost: {}", lost(kernel.lost_share))
            })
        });
        let exo = bar("exo", row.exo.per_second, |value| {
            format!("{value:.3} M/s, lost: {}", lost(row.exo.lost_share))
        });
        Bars {
            label: row.name.clone(),
            bars: kernel.into_iter().chain([exo]).collect(),
        }
    });
    let oneway = report.oneway.iter().map(|row| {
        let p99 = |ns: f64| format!(", p99 {:.1}", ns / 1e3);
        let kernel = row.kernel.as_ref();
        let kernel = kernel.map(|took| micros("kernel", took.p50_ns, p99(took.p99_ns)));
        let exo = micros("exo", row.exo.p50_ns, p99(row.exo.p99_ns));
        Bars {
            label: row.name.clone(),
            bars: kernel.into_iter().chain([exo]).collect(),
        }
    });
    [hop.collect(), load.collect(), oneway.collect()]
}

fn bar(class: &'static str, per_second: f64, text: impl FnOnce(f64) -> String) -> Bar {
    Bar {
        class,
        value: per_second,
        text: text(per_second / 1e6),
    }
}

fn picture(rows: &[Bars]) -> String {
    let values = || {
        rows.iter()
            .flat_map(|row| &row.bars)
            .map(|bar| bar.value.max(1.0))
    };
    let (low, high) = (
        values().fold(f64::INFINITY, f64::min).log10().floor(),
        values().fold(1.0, f64::max).log10().ceil(),
    );
    if !low.is_finite() {
        return "<p>Not measured in this run.</p>".into();
    }
    let (mut shapes, mut y) = (String::new(), 4.0);
    for row in rows {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            shapes,
            "<text x=\"0\" y=\"{:.0}\">{}</text>",
            y + BAR_HEIGHT,
            escaped(&row.label)
        );
        for bar in &row.bars {
            let share = (bar.value.max(1.0).log10() - low) / (high - low).max(1.0);
            let width = (share * BARS_WIDTH).max(1.0);
            let _ = writeln!(
                shapes,
                "<rect class=\"{}\" x=\"{LABEL_WIDTH}\" y=\"{y:.0}\" width=\"{width:.0}\" \
                 height=\"{:.0}\"/><text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
                bar.class,
                BAR_HEIGHT - 1.0,
                LABEL_WIDTH + width + 6.0,
                y + BAR_HEIGHT - 3.0,
                escaped(&bar.text)
            );
            y += BAR_HEIGHT;
        }
        y += 9.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{y:.0}\" \
         role=\"img\">\n{shapes}</svg>",
        LABEL_WIDTH + BARS_WIDTH + 220.0
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
