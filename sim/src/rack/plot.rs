//! Agreement against the number of hosts, both scales logarithmic, as SVG without anything from outside.

use std::fmt::Write as _;

use super::{Report, Span};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
/// Told apart also by those who do not see red or green.
const COLORS: [&str; 6] = [
    "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#000000",
];

/// A logarithmic scale from values to places.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }
}

pub(super) fn svg(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>Agreement against the number of hosts</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">From taking a turn until its author knows \
         that it is agreed</text>"
    );
    let spans = || {
        let timings = report
            .agreement
            .iter()
            .flat_map(|agreement| &agreement.timings);
        timings.map(|timing| timing.agreed_at_author.as_ns().max(1.0))
    };
    let sizes = || {
        report
            .agreement
            .iter()
            .map(|agreement| f64::from(agreement.hosts))
    };
    if spans().next().is_none() {
        return out + "</svg>\n";
    }
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::max);
    let hosts = Scale {
        low: least(&mut sizes()).log10(),
        // One size alone needs some room, too.
        high: most(&mut sizes())
            .log10()
            .max(least(&mut sizes()).log10() + 0.1),
        from: LEFT,
        to: WIDTH - RIGHT,
    };
    let times = Scale {
        low: least(&mut spans()).log10().floor(),
        high: most(&mut spans()).log10().ceil(),
        from: HEIGHT - BOTTOM,
        to: TOP,
    };
    axes(&mut out, report, &hosts, &times);
    lines(&mut out, report, &hosts, &times);
    out + "</svg>\n"
}

fn axes(out: &mut String, report: &Report, hosts: &Scale, times: &Scale) {
    let (right, bottom) = (hosts.to, times.from);
    let mut power = Span::ns(1);
    while power.as_ns().log10() <= times.high {
        if power.as_ns().log10() >= times.low {
            let y = times.place(power.as_ns());
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {y:.1}H{right:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                unit(power)
            );
        }
        power = power * 10;
    }
    let mut free_from = f64::NEG_INFINITY;
    for agreement in &report.agreement {
        let x = hosts.place(f64::from(agreement.hosts));
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {bottom:.1}v5\" stroke=\"#666666\"/>"
        );
        // Numbers that would touch the one before are left out.
        if x >= free_from {
            free_from = x + 24.0;
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                agreement.hosts
            );
        }
    }
    let _ = writeln!(
        out,
        "<path d=\"M{LEFT} {TOP}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#666666\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">hosts</text>",
        f64::midpoint(LEFT, right),
        bottom + 38.0
    );
}

/// "100 ns", "10 µs": for powers of ten.
fn unit(power: Span) -> String {
    let ns = power.as_ns();
    if ns >= 1e6 {
        format!("{:.0} ms", ns / 1e6)
    } else if ns >= 1e3 {
        format!("{:.0} µs", ns / 1e3)
    } else {
        format!("{ns:.0} ns")
    }
}

fn lines(out: &mut String, report: &Report, hosts: &Scale, times: &Scale) {
    let mut legend = TOP + 10.0;
    for (index, ring) in report.rings.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let points = report.agreement.iter().map(|agreement| {
            let span = agreement.timings[index].agreed_at_author;
            let x = hosts.place(f64::from(agreement.hosts));
            (x, times.place(span.as_ns().max(1.0)))
        });
        let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (x, y) = (WIDTH - RIGHT + 20.0, legend);
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>\n\
             <path d=\"M{x:.1} {y:.1}h24\" stroke=\"{color}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            points.join(" "),
            x + 30.0,
            y + 4.0,
            ring.name.replace('&', "&amp;").replace('<', "&lt;")
        );
        legend += 22.0;
    }
}
