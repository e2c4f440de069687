//! What the demonstration found: as a table, or as data with a version.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::members::{DATAGRAM_BYTES, Kind};
use crate::output::Output;

/// One member's part.
#[derive(Debug, serde::Serialize)]
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) received: u64,
    /// SHA-256 of everything received, in the order received.
    pub(super) digest: String,
}

/// One side's result.
#[derive(Debug, serde::Serialize)]
pub(super) struct Side {
    pub(super) receivers: Vec<Receiver>,
    pub(super) seconds: f64,
    pub(super) is_complete: bool,
    pub(super) is_one_order: bool,
}

impl Side {
    /// Judges what the receivers had.
    pub(super) fn new(receivers: Vec<Receiver>, expected: u64, took: Duration) -> Self {
        let is_complete = receivers
            .iter()
            .all(|receiver| receiver.received == expected);
        let is_one_order = receivers
            .windows(2)
            .all(|pair| pair[0].digest == pair[1].digest);
        Self {
            receivers,
            seconds: took.as_secs_f64(),
            is_complete,
            is_one_order,
        }
    }
}

/// The kernel's side, or why there is none.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kernel {
    Ran(Side),
    Skipped(String),
}

/// Everything. Its JSON form is versioned by `schema`.
#[derive(Debug, serde::Serialize)]
pub(super) struct Report {
    schema: &'static str,
    group: String,
    datagram_bytes: u64,
    sent_by_each: u32,
    expected_by_each: u64,
    exo: Side,
    kernel: Kernel,
    /// Over Exo nothing was lost and every digest is the same.
    #[serde(rename = "ok")]
    pub(super) is_exo_complete: bool,
}

impl Report {
    /// Puts both sides together.
    pub(super) fn new(group: String, count: u32, exo: Side, kernel: Kernel) -> Self {
        Self {
            schema: "exo.demo/1",
            group,
            datagram_bytes: DATAGRAM_BYTES,
            sent_by_each: count,
            expected_by_each: u64::from(count) * exo.receivers.len() as u64,
            is_exo_complete: exo.is_complete && exo.is_one_order,
            exo,
            kernel,
        }
    }

    /// To stdout, as a table or as JSON.
    pub(super) fn print(&self, out: &Output) -> anyhow::Result<()> {
        out.report(self, || self.table())
    }

    fn table(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_table(&mut page);
        page
    }

    fn write_table(&self, page: &mut String) -> std::fmt::Result {
        let expected = self.expected_by_each;
        writeln!(
            page,
            "{} unmodified programs on {}, each sending {} datagrams and hearing all {expected}",
            self.exo.receivers.len(),
            self.group,
            self.sent_by_each,
        )?;
        writeln!(page, "\n{:<10}{:^36}{:^36}", "", "kernel", "Exo")?;
        let head = format!("{:>11}{:>11}  {:<12}", "received", "lost", "order");
        writeln!(page, "{:<10}{head}{head}", "")?;
        for (index, exo) in self.exo.receivers.iter().enumerate() {
            write!(page, "{:<10}", exo.name)?;
            match &self.kernel {
                Kernel::Ran(side) => write_cell(page, &side.receivers[index], expected)?,
                Kernel::Skipped(_) => write!(page, "{:>11}{:>11}  {:<12}", "-", "-", "-")?,
            }
            write_cell(page, exo, expected)?;
            writeln!(page)?;
        }
        writeln!(page)?;
        match &self.kernel {
            Kernel::Ran(side) => {
                writeln!(page, "kernel: {} ({:.2} s)", verdict(side), side.seconds)
            }
            Kernel::Skipped(why) => writeln!(page, "kernel: skipped, {why}"),
        }?;
        writeln!(
            page,
            "Exo:    {} ({:.2} s)",
            verdict(&self.exo),
            self.exo.seconds
        )
    }
}

/// Received, lost, and enough of the digest to see whether two are the same.
fn write_cell(page: &mut String, receiver: &Receiver, expected: u64) -> std::fmt::Result {
    let lost = expected.saturating_sub(receiver.received);
    let digest = receiver.digest.get(..10).unwrap_or(&receiver.digest);
    write!(page, "{:>11}{lost:>11}  {digest:<12}", receiver.received)
}

fn verdict(side: &Side) -> String {
    let lost = if side.is_complete {
        "nothing lost"
    } else {
        "datagrams lost"
    };
    let digests: std::collections::BTreeSet<&str> = side
        .receivers
        .iter()
        .map(|receiver| receiver.digest.as_str())
        .collect();
    let order = match digests.len() {
        1 => "the same order everywhere".to_owned(),
        count => format!("{count} different orders"),
    };
    format!("{lost}, {order}")
}

/// Progress, on stderr only.
pub(super) fn progress(what: &str) {
    // Without a reader nobody misses it.
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(received: u64, digest: &str) -> Receiver {
        Receiver {
            name: "c-1".into(),
            kind: Kind::C,
            received,
            digest: digest.into(),
        }
    }

    #[test]
    fn one_missing_datagram_fails_the_demonstration() {
        let side = Side::new(vec![receiver(3, "a"), receiver(4, "a")], 4, Duration::ZERO);
        assert!(!side.is_complete);
        assert!(side.is_one_order);
    }

    #[test]
    fn two_orders_fail_the_demonstration() {
        let side = Side::new(vec![receiver(4, "a"), receiver(4, "b")], 4, Duration::ZERO);
        let report = Report::new(
            "239.0.0.1:1".into(),
            2,
            side,
            Kernel::Skipped("test".into()),
        );
        assert!(!report.is_exo_complete);
        assert!(report.table().contains("2 different orders"));
    }
}
