//! What comes out: one report, as tables, as JSON, and as a picture.

pub(crate) mod html;
pub(crate) mod text;

use crate::machine::Machine;
use crate::scenario::{ping_pong, throughput};

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
    /// In every row.
    pub(crate) is_exo_ahead: bool,
}

impl Report {
    /// Puts the rows together and judges them.
    pub(crate) fn new(
        machine: Machine,
        repeats: u32,
        quick: bool,
        throughput: Vec<throughput::Row>,
        ping_pong: Vec<ping_pong::Row>,
    ) -> Self {
        let is_exo_ahead = throughput.iter().all(|row| row.is_exo_ahead)
            && ping_pong.iter().all(|row| row.is_exo_ahead);
        let command = if quick {
            "make bench BENCH=--quick"
        } else {
            "make bench"
        };
        Self {
            schema: "exo.bench/1",
            machine,
            repeats,
            quick,
            command,
            throughput,
            ping_pong,
            is_exo_ahead,
        }
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
        if behind.is_empty() {
            "Exo is ahead of the kernel in every row, with nothing lost and one order.".into()
        } else {
            format!(
                "Exo is behind the kernel, or lost something, in: {}.",
                behind.join("; ")
            )
        }
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
