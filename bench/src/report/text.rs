//! The report as tables for a terminal.

use std::fmt::Write as _;

use super::{Report, lost};
use crate::scenario::hosts::hop::{GOAL_RATIO, GOAL_TURNS_PER_SECOND};
use crate::scenario::hosts::load::GOAL_PER_SECOND;
use crate::scenario::hosts::oneway;

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
    write_hosts(page, report)?;
    writeln!(
        page,
        "\nfloor: one ring per sender, one monitor, one log, no socket call. lost: worst repeat."
    )?;
    writeln!(page, "{}", report.verdict())
}

/// The rows between hosts.
fn write_hosts(page: &mut String, report: &Report) -> std::fmt::Result {
    if !report.hop.is_empty() {
        writeln!(
            page,
            "\nBetween hosts: a hop of the token and a bare frame the same way, in µs; goals: \
             {GOAL_RATIO} frames, {GOAL_TURNS_PER_SECOND:.0} turns/s where hosts spin"
        )?;
        if report.machine.cores < 3 {
            writeln!(
                page,
                "({} cores: three hosts cannot spin at once; so two that spin, and three in one \
                 thread, in processor time)",
                report.machine.cores
            )?;
        }
        writeln!(
            page,
            "{:<42}{:>9}{:>8}{:>9}{:>8}{:>11}{:>11}{:>9}",
            "", "frame", "spread", "hop", "spread", "hop/frame", "turns/s", "repairs"
        )?;
    }
    for row in &report.hop {
        writeln!(
            page,
            "{:<42}{:>9.2}{:>6.0} %{:>9.2}{:>6.0} %{:>9.2} ×{:>11.0}{:>9}{}",
            row.name,
            row.frame_ns.median / 1e3,
            row.frame_ns.spread * 100.0,
            row.hop_ns.median / 1e3,
            row.hop_ns.spread * 100.0,
            row.hop_to_frame,
            row.turns_per_second,
            row.repairs,
            match (row.is_same_order, row.is_goal_reached) {
                (false, _) => "  ← failed",
                (true, false) => "  ← short of the goal",
                (true, true) => "",
            }
        )?;
    }
    if !report.load.is_empty() {
        writeln!(
            page,
            "\nBetween 3 hosts: million ordered datagrams a second at each, frames authenticated; \
             goal: {:.0} for 64 B, mmsg",
            GOAL_PER_SECOND / 1e6
        )?;
        writeln!(
            page,
            "{:<36}{:>9}{:>9}{:>9}{:>8}{:>7}{:>10}{:>14}{:>13}{:>9}",
            "",
            "kernel",
            "lost",
            "Exo",
            "spread",
            "lost",
            "turns/s",
            "messages/turn",
            "frames/turn",
            "repairs"
        )?;
    }
    for row in &report.load {
        let kernel = row.kernel.as_ref();
        writeln!(
            page,
            "{:<36}{:>9}{:>9}{:>9.3}{:>6.0} %{:>7}{:>10.0}{:>14.1}{:>13.1}{:>9}{}",
            row.name,
            kernel.map_or_else(|| "-".into(), |it| format!("{:.3}", it.per_second / 1e6)),
            kernel.map_or_else(|| "-".into(), |it| lost(it.lost_share)),
            row.exo.per_second / 1e6,
            row.exo_spread * 100.0,
            lost(row.exo.lost_share),
            row.turns_per_second,
            row.messages_per_turn,
            row.frames_per_turn,
            row.repairs,
            match (row.is_whole, row.is_goal_reached) {
                (false, _) => "  ← failed",
                (true, false) => "  ← short of the goal",
                (true, true) => "",
            }
        )?;
    }
    if !report.oneway.is_empty() {
        writeln!(
            page,
            "\nFrom sendto on one host to recvfrom on another, 64 B, sleeping, in µs"
        )?;
        writeln!(
            page,
            "{:<36}{:>11}{:>9}{:>10}{:>9}",
            "", "kernel p50", "p99", "Exo p50", "p99"
        )?;
    }
    for row in &report.oneway {
        let kernel = |of: fn(&oneway::Took) -> f64| {
            let took = row.kernel.as_ref();
            took.map_or_else(|| "-".into(), |took| format!("{:.1}", of(took) / 1e3))
        };
        writeln!(
            page,
            "{:<36}{:>11}{:>9}{:>10.1}{:>9.1}{}",
            row.name,
            kernel(|took| took.p50_ns),
            kernel(|took| took.p99_ns),
            row.exo.p50_ns / 1e3,
            row.exo.p99_ns / 1e3,
            if row.is_whole { "" } else { "  ← failed" }
        )?;
    }
    Ok(())
}
