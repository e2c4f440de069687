//! The report as tables for a terminal.

use std::fmt::Write as _;

use super::{Report, lost};

/// Machine, tables, verdict, and the command that repeats them.
pub(crate) fn tables(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_tables(&mut page, report);
    page
}

fn write_tables(page: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(page, "{}", report.machine)?;
    writeln!(
        page,
        "{}: the same C programs on both sides, sides alternating, median of {}\n",
        report.command, report.repeats
    )?;
    if !report.throughput.is_empty() {
        writeln!(page, "Million datagrams a second at each receiver")?;
        writeln!(
            page,
            "{:<30}{:>9}{:>9}{:>9}{:>7}{:>13}{:>9}{:>11}",
            "", "kernel", "lost", "Exo", "lost", "Exo/kernel", "floor", "Exo/floor"
        )?;
    }
    for row in &report.throughput {
        writeln!(
            page,
            "{:<30}{:>9.3}{:>9}{:>9.2}{:>7}{:>11.1} ×{:>9.1}{:>9.0} %{}",
            row.name,
            row.kernel.per_second / 1e6,
            lost(row.kernel.lost_share),
            row.exo.per_second / 1e6,
            lost(row.exo.lost_share),
            row.exo_to_kernel,
            row.floor_per_second / 1e6,
            row.exo_to_floor * 100.0,
            if row.is_exo_ahead { "" } else { "  ← behind" }
        )?;
    }
    if !report.ping_pong.is_empty() {
        writeln!(
            page,
            "\nRound trip of 64 B in µs (spinning: each side in its best placement)"
        )?;
        writeln!(
            page,
            "{:<32}{:>10}{:>8}{:>11}{:>10}{:>8}{:>11}{:>12}{:>8}",
            "",
            "kernel p50",
            "p99",
            "placement",
            "Exo p50",
            "p99",
            "placement",
            "kernel/Exo",
            "floor"
        )?;
    }
    for row in &report.ping_pong {
        let floor = if row.floor_p50_ns > 0.0 {
            format!("{:.2}", row.floor_p50_ns / 1e3)
        } else {
            "-".into()
        };
        writeln!(
            page,
            "{:<32}{:>10.2}{:>8.1}{:>11}{:>10.2}{:>8.1}{:>11}{:>10.2} ×{:>8}{}",
            row.name,
            row.kernel.p50_ns / 1e3,
            row.kernel.p99_ns / 1e3,
            row.kernel.placement.name(),
            row.exo.p50_ns / 1e3,
            row.exo.p99_ns / 1e3,
            row.exo.placement.name(),
            row.kernel_to_exo,
            floor,
            if row.is_exo_ahead { "" } else { "  ← behind" }
        )?;
        for (side, placements) in [
            ("kernel", &row.kernel_placements),
            ("Exo", &row.exo_placements),
        ] {
            let each: Vec<String> = placements
                .iter()
                .map(|trip| format!("{} {:.2}", trip.placement.name(), trip.p50_ns / 1e3))
                .collect();
            writeln!(page, "    {side:<7} p50: {}", each.join(", "))?;
        }
    }
    writeln!(
        page,
        "\nfloor: one ring per sender, one monitor, one log, no socket call. lost: worst repeat."
    )?;
    writeln!(page, "{}", report.verdict())
}
