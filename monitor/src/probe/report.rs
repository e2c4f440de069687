//! From what all hosts measured to what is wrong and what to do about it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libexo::ids::HostId;
use libexo::quorum::majority;
use serde::Serialize;

use super::packet::Row;
use crate::config::TransportKind;

/// Clocks that differ by more are told.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// What was asked of whom, and what came back.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) me: HostId,
    /// Names and the addresses of probes, by host.
    pub(super) hosts: Vec<(String, std::net::SocketAddr)>,
    /// So many vote; those behind them listen.
    pub(super) voters: usize,
    pub(super) transport: TransportKind,
    /// How frames to all are sent at present and why, where it is chosen.
    pub(super) choice: Option<(&'static str, String)>,
    /// The ring's longest frame, where datagrams carry it.
    pub(super) frame_bytes: Option<u16>,
    /// By who measured, then by whom it measured.
    pub(super) rows: BTreeMap<(HostId, HostId), Row>,
    /// Why probes of a host were refused here, as last.
    pub(super) refused: BTreeMap<HostId, String>,
    /// Probes that were dropped here since the start, by reason.
    pub(super) dropped: Dropped,
}

/// Probes that were dropped since the monitor's start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(super) struct Dropped {
    /// From an address of no host.
    pub(super) unknown_source: u64,
    /// No frame of this ring, or not sealed by the host that sent it.
    pub(super) refused: u64,
    /// Sealed, and neither question nor answer.
    pub(super) malformed: u64,
    /// Questions beyond the rate that is answered.
    pub(super) too_many: u64,
}

/// The document that an operator gets.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    host: String,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_all: Option<ToAll>,
    /// Hosts that answered, this one included, are a majority of those that vote.
    has_majority: bool,
    hosts: Vec<HostReport>,
    pairs: Vec<Pair>,
    findings: Vec<Finding>,
    dropped: Dropped,
}

/// The choice of `transport = "auto"`.
#[derive(Debug, Serialize)]
struct ToAll {
    way: &'static str,
    why: String,
}

#[derive(Debug, Serialize)]
struct HostReport {
    name: String,
    address: String,
    answers: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    listens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_ahead_ns: Option<i64>,
}

/// One host's measurements towards another.
#[derive(Debug, Serialize)]
struct Pair {
    from: String,
    to: String,
    sent: u8,
    heard: u8,
    answered: u8,
    sent_to_all: u8,
    heard_to_all: u8,
    largest_tried_bytes: u16,
    largest_bytes: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_median_ns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_max_ns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_answers: Option<bool>,
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Finding {
    what: String,
    fix: String,
}

/// The report of what was measured.
pub(super) fn report(measured: &Measured) -> Report {
    let all = || (0..=u8::MAX).map(HostId).zip(&measured.hosts);
    let answers = |host| host == measured.me || measured.is_answering(host);
    let hosts: Vec<_> = all()
        .map(|(host, (name, address))| HostReport {
            name: name.clone(),
            address: address.to_string(),
            answers: answers(host),
            listens: measured.listens(host),
            clock_ahead_ns: measured
                .row(measured.me, host)
                .filter(|row| row.answered > 0)
                .map(|row| row.skew_ns),
        })
        .collect();
    let voters = hosts.iter().filter(|host| host.answers && !host.listens);
    let has_majority = voters.count() >= majority(measured.voters);
    let pairs = measured.used_rows().map(|((from, _), row)| {
        let rtt = |ns| (row.answered > 0).then_some(ns);
        Pair {
            from: measured.name(*from).to_owned(),
            to: measured.name(row.host).to_owned(),
            sent: row.sent,
            heard: row.heard,
            answered: row.answered,
            sent_to_all: row.sent_to_all,
            heard_to_all: row.heard_to_all,
            largest_tried_bytes: row.tried,
            largest_bytes: row.largest,
            rtt_median_ns: rtt(row.rtt_ns),
            rtt_max_ns: rtt(row.rtt_max_ns),
            tcp_answers: row.tcp,
        }
    });
    Report {
        host: measured.name(measured.me).to_owned(),
        transport: measured.transport.name(),
        to_all: measured.choice.clone().map(|(way, why)| ToAll { way, why }),
        has_majority,
        pairs: pairs.collect(),
        hosts,
        findings: findings(measured),
        dropped: measured.dropped,
    }
}

impl Measured {
    fn name(&self, host: HostId) -> &str {
        &self.hosts[usize::from(host.0)].0
    }

    fn listens(&self, host: HostId) -> bool {
        usize::from(host.0) >= self.voters
    }

    /// Measurements on ways that the ring uses: listeners say nothing to each other.
    fn used_rows(&self) -> impl Iterator<Item = (&(HostId, HostId), &Row)> {
        let is_used = |((from, to), _): &(&(HostId, HostId), &Row)| {
            !self.listens(*from) || !self.listens(*to)
        };
        self.rows.iter().filter(is_used)
    }

    /// What `from` measured towards `to`.
    fn row(&self, from: HostId, to: HostId) -> Option<&Row> {
        self.rows.get(&(from, to))
    }

    /// Whether anybody heard of the host, or it told what it measured.
    fn is_answering(&self, host: HostId) -> bool {
        let concerns = |(by, row): (&(HostId, HostId), &Row)| {
            by.0 == host || row.host == host && row.answered > 0
        };
        self.rows.iter().any(concerns)
    }

    /// Names of the hosts whose measurements towards `to` are `wanted`.
    fn froms(&self, to: HostId, wanted: impl Fn(&Row) -> bool) -> BTreeSet<&str> {
        let rows = self.used_rows().filter(|(_, row)| row.host == to);
        rows.filter(|(_, row)| wanted(row))
            .map(|((from, _), _)| self.name(*from))
            .collect()
    }
}

fn findings(measured: &Measured) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |what: String, fix: String| found.push(Finding { what, fix });
    let hosts = u8::try_from(measured.hosts.len() - 1).expect("at most 256 hosts");
    for to in (0..=hosts).map(HostId) {
        let (b, address) = &measured.hosts[usize::from(to.0)];
        if let Some(why) = measured.refused.get(&to) {
            let fix =
                "make both hosts' configurations the same; `exo ring` shows refused frames, too";
            add(
                format!("probes of {b} are refused here: {why}"),
                fix.to_owned(),
            );
        }
        if to != measured.me && !measured.is_answering(to) {
            let fix = format!(
                "look whether exod runs there, has the same [ring] and [[host]], and whether \
                 firewalls let UDP port {} through, both ways; where no UDP passes, take \
                 transport = \"tcp\"",
                address.port()
            );
            add(format!("no answer at all from {b}"), fix);
            continue;
        }
        let silent = measured.froms(to, |row| row.answered == 0);
        if !silent.is_empty() {
            let what = format!("{b} does not answer {}, but others", list(&silent));
            let port = address.port();
            let fix = format!("look at firewalls and routes between them (UDP port {port})");
            add(what, fix);
        }
        let deaf = |row: &Row| row.answered > 0 && row.sent_to_all > 0 && row.heard_to_all == 0;
        let unheard = measured.froms(to, deaf);
        // Where copies are sent instead, nothing is wrong.
        if !unheard.is_empty() && measured.transport != TransportKind::Auto {
            add(
                format!(
                    "nothing arrives at {b} by {} from {}, but unicast does",
                    way_to_all(measured.transport),
                    list(&unheard)
                ),
                fix_to_all(measured.transport).to_owned(),
            );
        }
        for ((from, _), row) in measured.used_rows().filter(|(_, row)| row.host == to) {
            let a = measured.name(*from);
            if let Some(what) = lost(a, b, measured.transport, row) {
                let fix = "look at cables, at `ethtool -S` and at full buffers (`nstat`); the \
                           ring repairs what is lost, which takes time";
                add(what, fix.to_owned());
            }
        }
        // Where the frame itself passes, smaller ones do.
        if let Some(frame_bytes) = measured.frame_bytes {
            let is_short = |row: &Row| row.answered > 0 && row.largest < frame_bytes.min(row.tried);
            let shortened = measured.froms(to, is_short);
            if !shortened.is_empty() {
                let rows = measured
                    .used_rows()
                    .filter(|(_, row)| row.host == to && is_short(row));
                let largest = rows.map(|(_, row)| row.largest).min().unwrap_or(0);
                let what = format!(
                    "frames of {frame_bytes} bytes do not pass from {} to {b}, {}",
                    list(&shortened),
                    match largest {
                        0 => "only short ones do".to_owned(),
                        largest => format!("those of {largest} do"),
                    }
                );
                let fix = "give all links on the way one MTU (`ip link set DEV mtu N`), or take \
                           transport = \"tcp\"";
                add(what, fix.to_owned());
            }
        }
        let closed = measured.froms(to, |row| row.tcp == Some(false));
        if !closed.is_empty() && measured.is_answering(to) {
            let what = format!("{b}'s TCP port does not answer {}", list(&closed));
            let fix = "let the port of [[host]] through firewalls; `exo ring` shows who is in";
            add(what, fix.to_owned());
        }
        if let Some(row) = measured.row(measured.me, to).filter(|row| row.answered > 0)
            && row.skew_ns.unsigned_abs() > u64::try_from(SKEW_MAX.as_nanos()).expect("a second")
        {
            let direction = if row.skew_ns > 0 {
                "ahead of"
            } else {
                "behind"
            };
            let what = format!(
                "the clock of {b} is {} {direction} that of {}",
                seconds(row.skew_ns.unsigned_abs()),
                measured.name(measured.me)
            );
            let fix = "run chrony or systemd-timesyncd on both; the order does not need it, time \
                       stamps and logs do";
            add(what, fix.to_owned());
        }
        let told = measured.rows.keys().any(|(from, _)| *from == to);
        if to != measured.me && !told {
            let what = format!("{b} answers, but did not tell what it measures itself");
            add(
                what,
                "ask again; if it stays so, ask on that host".to_owned(),
            );
        }
    }
    found
}

/// Datagrams that some of which did not pass, if so.
fn lost(a: &str, b: &str, transport: TransportKind, row: &Row) -> Option<String> {
    if row.answered == 0 {
        return None; // told as silence
    }
    let (there, back) = (row.sent - row.heard, row.heard.saturating_sub(row.answered));
    let to_all = row.sent_to_all - row.heard_to_all;
    let mut parts = Vec::new();
    if there > 0 {
        parts.push(format!("{there} of {} from {a} to {b}", row.sent));
    }
    if back > 0 {
        parts.push(format!("{back} of {} answers", row.heard));
    }
    if to_all > 0 && row.heard_to_all > 0 {
        let way = way_to_all(transport);
        parts.push(format!(
            "{to_all} of {} by {way} from {a} to {b}",
            row.sent_to_all
        ));
    }
    (!parts.is_empty()).then(|| format!("datagrams are lost: {}", parts.join(", ")))
}

const fn way_to_all(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::UdpBroadcast => "broadcast",
        _ => "multicast",
    }
}

const fn fix_to_all(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::UdpBroadcast => {
            "`broadcast` is not the same on all hosts, or the link filters it: take transport = \
             \"udp-copies\""
        }
        _ => {
            "`multicast` is not the same on all hosts, a firewall drops it, or the switch filters \
             it (IGMP snooping without a querier): mend that, or take transport = \"auto\" or \"udp-copies\""
        }
    }
}

fn list(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

fn seconds(ns: u64) -> String {
    format!("{}.{} s", ns / 1_000_000_000, ns / 100_000_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Row = Row {
        host: HostId(0),
        tcp: None,
        sent: 10,
        heard: 10,
        answered: 10,
        sent_to_all: 10,
        heard_to_all: 10,
        tried: 1472,
        largest: 1472,
        rtt_ns: 100_000,
        rtt_max_ns: 200_000,
        skew_ns: 1000,
    };

    /// Hosts a, b and c, of which a asks; `change` sees who measured, whom, and what.
    fn measured(change: impl Fn(u8, u8, &mut Row)) -> Measured {
        let mut rows = BTreeMap::new();
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let mut row = Row {
                host: HostId(to),
                ..GOOD
            };
            change(from, to, &mut row);
            rows.insert((HostId(from), HostId(to)), row);
        }
        let address = |n: u8| std::net::SocketAddr::from(([10, 0, 0, n], 7947));
        let host = |n: u8, name: &str| (name.to_owned(), address(n));
        Measured {
            me: HostId(0),
            hosts: vec![host(1, "a"), host(2, "b"), host(3, "c")],
            voters: 3,
            transport: TransportKind::UdpMulticast,
            choice: None,
            frame_bytes: Some(1472),
            rows,
            refused: BTreeMap::new(),
            dropped: Dropped::default(),
        }
    }

    /// The one finding.
    #[track_caller]
    fn only(measured: &Measured) -> Finding {
        let found = findings(measured);
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    }

    fn is_silent(row: &mut Row) {
        *row = Row {
            heard: 0,
            answered: 0,
            heard_to_all: 0,
            largest: 0,
            rtt_ns: 0,
            rtt_max_ns: 0,
            skew_ns: 0,
            ..*row
        };
    }

    #[test]
    fn listeners_are_no_part_of_a_majority_and_say_nothing_to_each_other() {
        let mut it = measured(|from, to, row| {
            if (from, to) == (1, 2) || (from, to) == (2, 1) {
                is_silent(row);
            }
        });
        it.voters = 1;
        let alone = report(&it);
        assert!(alone.has_majority, "a is the only one that votes");
        assert_eq!(
            alone
                .hosts
                .iter()
                .map(|host| host.listens)
                .collect::<Vec<_>>(),
            [false, true, true]
        );
        assert_eq!(alone.pairs.len(), 4, "not those between b and c");
        assert_eq!(findings(&it), [], "b and c need not hear each other");
        it.voters = 3;
        assert_eq!(findings(&it).len(), 2);
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        let measured = measured(|_, _, _| {});
        assert_eq!(findings(&measured), []);
        let report = report(&measured);
        assert!(report.has_majority);
        assert_eq!((report.hosts.len(), report.pairs.len()), (3, 6));
    }

    #[test]
    fn a_host_that_is_down_is_told_once() {
        let mut measured = measured(|_, to, row| {
            if to == 1 {
                is_silent(row);
            }
        });
        measured.rows.retain(|(from, _), _| *from != HostId(1));
        let finding = only(&measured);
        assert_eq!(finding.what, "no answer at all from b");
        assert!(finding.fix.contains("exod"), "{finding:?}");
        assert!(finding.fix.contains("7947"), "{finding:?}");
        assert!(report(&measured).has_majority);
        measured.rows.retain(|(from, _), _| *from == HostId(0));
        measured.rows.values_mut().for_each(is_silent);
        assert_eq!(findings(&measured).len(), 2);
        assert!(!report(&measured).has_majority);
    }

    #[test]
    fn a_wall_between_two_hosts_is_told_as_theirs() {
        let measured = measured(|from, to, row| {
            if (from, to) == (2, 1) {
                is_silent(row);
            }
        });
        assert_eq!(only(&measured).what, "b does not answer c, but others");
    }

    #[test]
    fn filtered_multicast_is_told_with_its_way_out() {
        let deaf = measured(|_, to, row| {
            if to == 1 {
                row.heard_to_all = 0;
            }
        });
        let finding = only(&deaf);
        let what = "nothing arrives at b by multicast from a, c, but unicast does";
        assert_eq!(finding.what, what);
        assert!(finding.fix.contains("udp-copies"), "{finding:?}");
        // Without a way to all there is nothing to filter.
        let copies = measured(|_, _, row| (row.sent_to_all, row.heard_to_all) = (0, 0));
        assert_eq!(findings(&copies), []);
    }

    #[test]
    fn loss_is_told_with_its_direction() {
        let there = measured(|from, to, row| {
            if (from, to) == (0, 1) {
                (row.heard, row.answered) = (7, 7);
            }
        });
        assert_eq!(only(&there).what, "datagrams are lost: 3 of 10 from a to b");
        let back = measured(|from, to, row| {
            if (from, to) == (0, 1) {
                row.answered = 9;
                row.heard_to_all = 8;
            }
        });
        let what = "datagrams are lost: 1 of 10 answers, 2 of 10 by multicast from a to b";
        assert_eq!(only(&back).what, what);
    }

    #[test]
    fn clocks_that_differ_are_told_by_how_much() {
        for (skew_ns, what) in [
            (3_000_000_000, "the clock of b is 3.0 s ahead of that of a"),
            (-1_500_000_000, "the clock of b is 1.5 s behind that of a"),
        ] {
            let measured = measured(|from, to, row| {
                if (from, to) == (0, 1) {
                    row.skew_ns = skew_ns;
                }
            });
            assert_eq!(only(&measured).what, what);
        }
        let measured = measured(|_, _, row| row.skew_ns = 900_000_000);
        assert_eq!(findings(&measured), []);
    }

    #[test]
    fn frames_that_do_not_pass_are_told_with_those_that_do() {
        let cut = |largest| {
            measured(move |_, to, row| {
                if to == 2 {
                    row.largest = largest;
                }
            })
        };
        let what = "frames of 1472 bytes do not pass from a, b to c, those of 1000 do";
        assert_eq!(only(&cut(1000)).what, what);
        let what = "frames of 1472 bytes do not pass from a, b to c, only short ones do";
        assert_eq!(only(&cut(0)).what, what);
        // TCP cuts as it needs, and what is longer than the ring's frames need not pass.
        let mut tcp = cut(1000);
        tcp.frame_bytes = None;
        assert_eq!(findings(&tcp), []);
        let jumbo = measured(|_, _, row| row.tried = 8972);
        assert_eq!(findings(&jumbo), []);
    }

    #[test]
    fn a_closed_tcp_port_is_told() {
        let measured = measured(|_, to, row| row.tcp = Some(to != 1));
        assert_eq!(only(&measured).what, "b's TCP port does not answer a, c");
    }

    #[test]
    fn what_was_refused_and_who_did_not_tell_is_said() {
        let mut refusing = measured(|_, _, _| {});
        refusing.refused.insert(HostId(2), "another key".to_owned());
        let what = "probes of c are refused here: another key";
        assert_eq!(only(&refusing).what, what);
        let mut untold = measured(|_, _, _| {});
        untold.rows.retain(|(from, _), _| *from != HostId(2));
        assert!(
            only(&untold)
                .what
                .starts_with("c answers, but did not tell")
        );
    }
}
