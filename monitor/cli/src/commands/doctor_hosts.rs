//! The part of `exo doctor` between hosts: what the monitors measured, as text and as a document.

use std::fmt::Write as _;
use std::path::Path;

use libexo::control::operator::{self, AskError, Query};
use serde::{Deserialize, Serialize};

use crate::output::{counted, micros, table};
use crate::status;

/// What a monitor answers to [`Query::Probe`].
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Between {
    host: String,
    transport: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to_all: Option<status::ToAll>,
    pub(super) has_majority: bool,
    hosts: Vec<Host>,
    pairs: Vec<Pair>,
    pub(super) findings: Vec<Finding>,
    dropped: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Host {
    name: String,
    address: String,
    answers: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    listens: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock_ahead_ns: Option<i64>,
}

/// What one host measured towards another.
#[derive(Debug, Deserialize, Serialize)]
struct Pair {
    from: String,
    to: String,
    sent: u32,
    heard: u32,
    answered: u32,
    sent_to_all: u32,
    heard_to_all: u32,
    largest_tried_bytes: u32,
    largest_bytes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rtt_median_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rtt_max_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp_answers: Option<bool>,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) fix: String,
}

/// Asks the monitor that serves `socket`. `None`: there is none, or it has no ring.
///
/// # Errors
///
/// Why there are no measurements, and what to do.
pub(super) fn ask(socket: Option<&Path>) -> Result<Option<Between>, Finding> {
    let Ok(answer) = status::ask(socket) else {
        return Ok(None); // the check of the monitor says so
    };
    if answer.status.ring.is_none() {
        return Ok(None);
    }
    let finding = |what: String, fix: &str| Finding {
        what,
        fix: fix.to_owned(),
    };
    let text = operator::ask(&answer.socket, Query::Probe).map_err(|error| match error {
        AskError::Because { why } => finding(why, "see [ring] in `exo config show`"),
        error => finding(
            error.to_string(),
            "install exo and exod of the same version and restart the monitor",
        ),
    })?;
    let between = serde_json::from_str(&text).map_err(|error| {
        finding(
            format!("the measurements are not understood: {error}"),
            "install exo and exod of the same version and restart the monitor",
        )
    })?;
    Ok(Some(between))
}

/// Tables of all hosts and pairs; findings stand among the others.
pub(super) fn text(between: &Between) -> String {
    let mut text = format!("\n{}, as {} asked:\n", between.transport, between.host);
    if let Some(to_all) = &between.to_all {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "to all by {}: {}", to_all.way, to_all.why);
    }
    let hosts = between.hosts.iter().map(|host| {
        let answers = match (host.answers, host.listens) {
            (true, false) => "yes",
            (true, true) => "yes, listens",
            (false, _) => "no",
        };
        let clock = host.clock_ahead_ns.map_or_else(String::new, millis);
        [
            host.name.clone(),
            host.address.clone(),
            answers.to_owned(),
            clock,
        ]
    });
    let header = ["HOST", "PROBES AT", "ANSWERS", "CLOCK AHEAD"];
    text += &table(header, hosts.collect());
    text.push('\n');
    let pairs = between.pairs.iter().map(|pair| {
        let of = |part: u32, whole: u32| match whole {
            0 => "-".to_owned(),
            whole => format!("{part}/{whole}"),
        };
        let micros =
            |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), |ns| format!("{} µs", micros(ns)));
        let tcp = match pair.tcp_answers {
            None => "-",
            Some(true) => "yes",
            Some(false) => "no",
        };
        [
            pair.from.clone(),
            pair.to.clone(),
            of(pair.heard, pair.sent),
            of(pair.answered, pair.heard),
            of(pair.heard_to_all, pair.sent_to_all),
            micros(pair.rtt_median_ns),
            micros(pair.rtt_max_ns),
            pair.largest_bytes.to_string(),
            tcp.to_owned(),
        ]
    });
    let header = [
        "FROM", "TO", "THERE", "BACK", "TO ALL", "RTT", "RTT MAX", "LONGEST", "TCP",
    ];
    text += &table(header, pairs.collect());
    if !between.has_majority {
        let answering = between.hosts.iter().filter(|host| host.answers).count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\nOnly {} of {} answer: no majority.",
            answering,
            counted(between.hosts.len(), "host")
        );
    }
    text
}

fn millis(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    format!("{sign}{}.{:03} ms", ns / 1_000_000, ns / 1000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `monitor/src/probe/report.rs` writes it.
    const DOCUMENT: &str = r#"{
        "host": "a", "transport": "udp-multicast", "has_majority": false,
        "hosts": [
            {"name": "a", "address": "10.0.0.1:7947", "answers": true},
            {"name": "b", "address": "10.0.0.2:7947", "answers": false, "clock_ahead_ns": -1500000}
        ],
        "pairs": [{
            "from": "a", "to": "b", "sent": 10, "heard": 9, "answered": 8, "sent_to_all": 0,
            "heard_to_all": 0, "largest_tried_bytes": 8972, "largest_bytes": 1472,
            "rtt_median_ns": 123456, "rtt_max_ns": 2000000
        }],
        "findings": [{"what": "no answer", "fix": "look"}],
        "dropped": {"refused": 1}
    }"#;

    #[test]
    fn measurements_are_shown_with_their_units() {
        let between: Between = serde_json::from_str(DOCUMENT).expect("a document");
        assert_eq!(between.findings.len(), 1);
        let text = text(&between);
        let rows: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let pair = "a b 9/10 8/9 - 123.4 µs 2000.0 µs 1472 -";
        let host = "b 10.0.0.2:7947 no -1.500 ms";
        for wanted in [pair, host, "Only 1 of 2 hosts answer: no majority."] {
            let wanted: Vec<_> = wanted.split(' ').collect();
            assert!(rows.contains(&wanted), "{wanted:?} in:\n{text}");
        }
    }
}
