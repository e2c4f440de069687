//! The monitor's own account of itself (`exo.status/1`), from which every question is answered.
//!
//! Fields that a newer monitor adds are kept in the document and ignored here; fields that an older
//! one lacks read as zero.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use libexo::control::operator::{self, AskError, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::errors::{FAILED, NO_MONITOR, Stop};
use crate::place::Place;

/// What is understood of the document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) monitor: Monitor,
    /// The hosts that order together, if there are several.
    pub(crate) ring: Option<Ring>,
    pub(crate) groups: Vec<Group>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) counters: serde_json::Map<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Monitor {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) version: String,
    pub(crate) socket: String,
    pub(crate) config: Option<String>,
    pub(crate) uptime_ms: u64,
}

/// A ring as one of its hosts sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ring {
    pub(crate) number: u32,
    pub(crate) host: String,
    pub(crate) transport: String,
    /// How frames to all are sent, where that is chosen.
    pub(crate) to_all: Option<ToAll>,
    pub(crate) protection: String,
    /// This host's, the one that seals first; nothing in an open ring.
    pub(crate) keys: Vec<Key>,
    pub(crate) deliver: String,
    pub(crate) state: String,
    /// This host only listens: its programs cannot send.
    pub(crate) listens: bool,
    pub(crate) epoch: u64,
    pub(crate) founder: Option<String>,
    pub(crate) tail: u64,
    pub(crate) agreed: u64,
    pub(crate) safe: u64,
    pub(crate) queued: u64,
    pub(crate) is_parked: bool,
    /// The host that the token is with.
    pub(crate) owner: Option<String>,
    /// How far the journal is on disk; nothing without a journal.
    pub(crate) synced: Option<u64>,
    pub(crate) hop_ns: u64,
    pub(crate) rotation_ns: u64,
    pub(crate) timeouts: Timeouts,
    pub(crate) hosts: Vec<Host>,
}

impl Ring {
    /// The hosts that vote.
    pub(crate) fn voters(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.listens)
    }
}

/// The choice of `transport = "auto"`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct ToAll {
    pub(crate) way: String,
    pub(crate) why: String,
}

/// One of the ring's keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Key {
    pub(crate) role: String,
    pub(crate) fingerprint: String,
}

/// Times in force, which follow what was measured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_field_names, reason = "the document's names")]
pub(crate) struct Timeouts {
    pub(crate) resend_ns: u64,
    pub(crate) loss_ns: u64,
    pub(crate) nack_ns: u64,
    pub(crate) epoch_ns: u64,
    pub(crate) join_ns: u64,
    pub(crate) park_ns: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Host {
    pub(crate) id: u8,
    /// Somebody has heard of it in this generation.
    pub(crate) is_known: bool,
    /// The highest position that it is known to hold.
    pub(crate) holds: u64,
    pub(crate) lag: u64,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) is_member: bool,
    /// It only listens: it is never a member, and counts for no majority.
    pub(crate) listens: bool,
    /// The key that it last sealed with.
    pub(crate) key: Option<String>,
    /// Why its frames are refused, if they are.
    pub(crate) refused: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) order: String,
    pub(crate) deliver: String,
    pub(crate) messages: u64,
    pub(crate) log_bytes: u64,
    pub(crate) log_used_bytes: u64,
    pub(crate) members: u64,
    /// Sockets that may send.
    pub(crate) sends: u64,
    pub(crate) gaps: u64,
    pub(crate) expelled: u64,
    pub(crate) longest_wait_ms: u64,
    pub(crate) slow_policy: String,
    pub(crate) slow_wait_ms: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Session {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) comm: String,
    pub(crate) submitted: u64,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) refusals: Vec<Refusal>,
    /// What it may send, and has tried to.
    pub(crate) grants: Vec<Granted>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Granted {
    pub(crate) group: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Socket {
    pub(crate) inode: u64,
    pub(crate) bound: Option<String>,
    pub(crate) delivery: String,
    /// The program sees who sent.
    pub(crate) names_sources: bool,
    pub(crate) rule: String,
    pub(crate) demoted_because: Option<String>,
    pub(crate) memberships: Vec<Membership>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Membership {
    pub(crate) group: String,
    pub(crate) address: String,
    pub(crate) cursor_lag_bytes: u64,
    /// Place in the order up to which it has received.
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Refusal {
    pub(crate) group: String,
    pub(crate) asked: String,
    pub(crate) why: String,
}

/// A monitor's answer: as understood, and word for word.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) socket: PathBuf,
    pub(crate) status: Status,
    pub(crate) document: Value,
}

/// Asks the first monitor that runs, of those that `exo` would use.
///
/// # Errors
///
/// Exit code 3 when none runs.
pub(crate) fn ask(explicit: Option<&Path>) -> Result<Answer, Stop> {
    let places = Place::all(explicit);
    for place in &places {
        if let Some(answer) = ask_one(&place.socket)? {
            return Ok(answer);
        }
    }
    Err(no_monitor(&places))
}

/// Asks one monitor; nothing if none runs there.
///
/// # Errors
///
/// It runs and does not answer.
pub(crate) fn ask_one(socket: &Path) -> Result<Option<Answer>, Stop> {
    let text = match operator::ask(socket, Query::Status) {
        Ok(text) => text,
        Err(AskError::NoMonitor { .. }) => return Ok(None),
        Err(error) => return Err(unanswered(socket, &error)),
    };
    let not_understood = |error: serde_json::Error| {
        Stop::new(
            FAILED,
            format!(
                "the monitor at {} answered what is no status: {error}",
                socket.display()
            ),
            "install exo and exod of the same version and restart the monitor",
        )
    };
    let document: Value = serde_json::from_str(&text).map_err(not_understood)?;
    let schema = document
        .get("schema")
        .and_then(Value::as_str)
        .unwrap_or("no schema");
    if schema != "exo.status/1" {
        return Err(Stop::new(
            FAILED,
            format!("the monitor at {} answers in {schema}", socket.display()),
            "install exo and exod of the same version and restart the monitor",
        ));
    }
    let status = Status::deserialize(&document).map_err(not_understood)?;
    Ok(Some(Answer {
        socket: socket.to_owned(),
        status,
        document,
    }))
}

/// What to do about an error of the operator's interface.
pub(crate) fn unanswered(socket: &Path, error: &AskError) -> Stop {
    let hint = match error {
        AskError::NoMonitor { .. } => {
            return no_monitor(&[Place {
                socket: socket.to_owned(),
                is_private: false,
            }]);
        }
        AskError::Forbidden { .. } => {
            "ask the administrator for access, or use a private monitor: exo run -g ADDR:PORT"
        }
        AskError::Version { .. } => "restart the monitor after an upgrade",
        AskError::Refused { .. } | AskError::Because { .. } => {
            "see `exo status` and the monitor's log"
        }
        _ => "see the monitor's log; restart it if it hangs",
    };
    Stop::new(FAILED, error.to_string(), hint)
}

fn no_monitor(places: &[Place]) -> Stop {
    let mut what = "no monitor is running".to_owned();
    for (index, place) in places.iter().enumerate() {
        let word = if index == 0 { " at" } else { " nor at" };
        // Writing to a String cannot fail.
        let _ = write!(what, "{word} {}", place.socket.display());
    }
    Stop::new(
        NO_MONITOR,
        what,
        "start a private one with `exo run -g 239.1.2.3:5000 -- PROGRAM`, or the system's with \
         `systemctl start exod`",
    )
}

/// One monitor with two processes: a member through shared memory, and one whose join was refused.
#[cfg(test)]
pub(crate) fn sample() -> Answer {
    let document = serde_json::json!({
        "schema": "exo.status/1",
        "monitor": {
            "pid": 1, "uid": 0, "version": "0.1.0", "socket": "/run/exo/exod.sock",
            "config": null, "uptime_ms": 65_000, "sessions": 2, "from_the_future": {},
        },
        "groups": [{
            "id": 1, "name": "orders", "address": "239.1.2.3:5000", "order": "ring",
            "deliver": "agreed", "seq": 125, "messages": 123, "log_bytes": 8_388_608, "log_used_bytes": 0,
            "members": 1, "sends": 10, "gaps": 0, "expelled": 0, "slow_policy": "gap",
            "slow_wait_ms": 5000,
        }],
        "sessions": [
            {
                "id": 7, "pid": 4242, "uid": 1000, "gid": 1000, "comm": "python3",
                "exe": "/usr/bin/python3", "submitted": 12,
                "sockets": [{
                    "id": 3, "cookie": 991, "inode": 123_456, "domain": "inet",
                    "bound": "0.0.0.0:5000", "delivery": "kernel", "names_sources": true,
                    "rule": "join of 239.1.2.3:5000", "demoted_because": "fdopen",
                    "memberships": [{
                        "group": "orders", "address": "239.1.2.3:5000",
                        "cursor_lag_bytes": 2048, "delivered": 93, "dropped": 0,
                    }],
                }],
                "grants": [], "refusals": [],
            },
            {
                "id": 8, "pid": 4243, "uid": 1001, "comm": "socat", "sockets": [],
                "refusals": [{
                    "group": "orders", "asked": "join",
                    "why": "policy may_join of group orders: uid 1001 is not listed",
                }],
            },
        ],
        "counters": { "frames_dropped": 0, "sessions_ended": 3 },
    });
    Answer {
        socket: PathBuf::from("/run/exo/exod.sock"),
        status: Status::deserialize(&document).unwrap(),
        document,
    }
}
