//! What comes out: one report, as tables, as JSON, and as a picture.

pub(crate) mod html;
pub(crate) mod text;

use crate::machine::Machine;
use crate::scenario::hosts::{hop, load, oneway};
use crate::scenario::{Rows, ping_pong, throughput};

/// Everything that was measured. Its JSON form is versioned by `schema`.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    machine: Machine,
    repeats: u32,
    quick: bool,
    command: &'static str,
    throughput: Vec<throughput::Row>,
    ping_pong: Vec<ping_pong::Row>,
    /// Between hosts: the token.
    hop: Vec<hop::Row>,
    /// Between hosts: datagrams a second.
    load: Vec<load::Row>,
    /// Between hosts: latency.
    oneway: Vec<oneway::Row>,
    /// In every row on one host.
    is_exo_ahead: bool,
    /// Between hosts: nothing lost and one order, in every repeat.
    is_whole: bool,
    /// Between hosts: in every row that has a goal.
    is_goal_reached: bool,
}

impl Report {
    /// Puts the rows together and judges them.
    pub(crate) fn new(
        machine: Machine,
        repeats: u32,
        quick: bool,
        command: &'static str,
        rows: Rows,
    ) -> Self {
        let Rows {
            throughput,
            ping_pong,
            hop,
            load,
            oneway,
            line_ns: _,
        } = rows;
        Self {
            schema: "exo.bench/1",
            is_exo_ahead: throughput.iter().all(|row| row.is_exo_ahead)
                && ping_pong.iter().all(|row| row.is_exo_ahead),
            is_whole: hop.iter().all(|row| row.is_same_order)
                && load.iter().all(|row| row.is_whole)
                && oneway.iter().all(|row| row.is_whole),
            is_goal_reached: hop.iter().all(|row| row.is_goal_reached)
                && load.iter().all(|row| row.is_goal_reached),
            machine,
            repeats,
            quick,
            command,
            throughput,
            ping_pong,
            hop,
            load,
            oneway,
        }
    }

    /// Exo is ahead of the kernel on one host, and lost nothing between hosts. A missed goal is told
    /// and is no failure: goals are for machines with a core for each host.
    pub(crate) const fn is_good(&self) -> bool {
        self.is_exo_ahead && self.is_whole
    }

    fn verdict(&self) -> String {
        let behind = self
            .throughput
            .iter()
            .filter(|row| !row.is_exo_ahead)
            .map(|row| &row.name);
        let behind = behind.chain(
            self.ping_pong
                .iter()
                .filter(|row| !row.is_exo_ahead)
                .map(|row| &row.name),
        );
        let behind: Vec<&str> = behind.map(String::as_str).collect();
        let mut verdict = Vec::new();
        if !behind.is_empty() {
            verdict.push(format!(
                "Exo is behind the kernel, or lost something, in: {}.",
                behind.join("; ")
            ));
        } else if !self.throughput.is_empty() || !self.ping_pong.is_empty() {
            verdict.push(
                "Exo is ahead of the kernel in every row, with nothing lost and one order.".into(),
            );
        }
        verdict.extend(self.verdict_between_hosts());
        verdict.join("\n")
    }

    /// What is said of the rows between hosts; nothing without such rows.
    fn verdict_between_hosts(&self) -> Vec<String> {
        let broken: Vec<&str> = self
            .hop
            .iter()
            .map(|row| (row.is_same_order, &row.name))
            .chain(self.load.iter().map(|row| (row.is_whole, &row.name)))
            .chain(self.oneway.iter().map(|row| (row.is_whole, &row.name)))
            .filter(|(is_whole, _)| !is_whole)
            .map(|(_, name)| name.as_str())
            .collect();
        let with_goal = || {
            let hops = self.hop.iter();
            let hops = hops.map(|row| (row.is_goal_reached, &row.name));
            let loads = self.load.iter().filter(|row| row.goal_per_second > 0.0);
            hops.chain(loads.map(|row| (row.is_goal_reached, &row.name)))
        };
        let mut verdict = Vec::new();
        if !broken.is_empty() {
            verdict.push(format!(
                "Between hosts Exo lost something, or failed, in: {}.",
                broken.join("; ")
            ));
        } else if !self.hop.is_empty() || !self.load.is_empty() || !self.oneway.is_empty() {
            verdict.push("Between hosts nothing was lost and every host saw one order.".into());
        }
        if with_goal().count() > 0 {
            let reached = with_goal().filter(|(is_reached, _)| *is_reached).count();
            verdict.push(format!(
                "Goals between hosts reached in {reached} of {} rows{}.",
                with_goal().count(),
                if self.machine.cores < 3 {
                    ", on a machine where three hosts cannot spin at once"
                } else {
                    ""
                }
            ));
        }
        verdict
    }
}

/// Share of lost datagrams for a reader; a loss never rounds to none.
fn lost(share: f64) -> String {
    if share <= 0.0 {
        "none".into()
    } else if share < 0.001 {
        "<0.1 %".into()
    } else {
        format!("{:.1} %", share * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::hosts::Repeated;

    fn report(is_same_order: bool, is_goal_reached: bool) -> Report {
        let question = hop::Question {
            transport: "tcp",
            hosts: 3,
            waiting: hop::Waiting::Sleeping,
        };
        let row = hop::Row {
            name: question.to_string(),
            question,
            frame_ns: Repeated::of(vec![10.0, 20.0]),
            hop_ns: Repeated::of(vec![30.0]),
            hop_to_frame: 1.5,
            turns_per_second: 1e9,
            goal_turns_per_second: 0.0,
            goal_hop_to_frame: hop::GOAL_RATIO,
            repairs: 0,
            is_goal_reached,
            is_same_order,
        };
        let rows = Rows {
            hop: vec![row],
            ..Rows::default()
        };
        Report::new(crate::machine::describe(1.0), 1, true, "make bench", rows)
    }

    #[test]
    fn a_missed_goal_is_told_and_is_no_failure() {
        let missed = report(true, false);
        assert!(missed.is_good());
        assert!(missed.verdict().contains("reached in 0 of 1 rows"));
        assert!(
            report(true, true)
                .verdict()
                .contains("reached in 1 of 1 rows")
        );
    }

    #[test]
    fn hosts_that_differ_are_a_failure_and_named() {
        let broken = report(false, false);
        assert!(!broken.is_good());
        assert!(broken.verdict().contains("hop, tcp, 3 hosts, sleeping"));
        assert!(text::tables(&broken).contains("← failed"));
    }
}
