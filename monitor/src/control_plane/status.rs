//! Everything an operator may want to know, as one JSON document.

use std::time::Duration;

use serde_json::{Value, json};

use super::Control;
use super::session::Socket;
use crate::config::HostSettings;
use crate::engine_thread::command::{Command, RingUsage, Usage};
use crate::key_file::Keys;
use libexo::engine::ring::{DropReason, HostLag, Inspection};
use libexo::ids::{HostId, SessionId};
use libexo::shm::socket_page::membership_state;
use libexo::sync::Ordering;

impl Control {
    /// The status document, schema `exo.status/1`.
    pub(super) fn status(&self) -> Value {
        let usage = self
            .engine
            .ask(|done| Command::Usage { done })
            .unwrap_or_default();
        let counters: serde_json::Map<_, _> = self
            .board
            .counters()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        json!({
            "schema": "exo.status/1",
            "monitor": {
                "pid": std::process::id(),
                "uid": rustix::process::geteuid().as_raw(),
                "version": env!("CARGO_PKG_VERSION"),
                "socket": self.socket_path,
                "config": self.config_path,
                "uptime_ms": u64::try_from(crate::clock::now().since(self.started).as_millis())
                    .unwrap_or(u64::MAX),
                "sessions": self.sessions.len(),
            },
            "ring": usage.ring.as_ref().map(|ring| self.ring_value(ring)),
            "groups": self.group_values(&usage),
            "sessions": self.sessions.values().map(|session| json!({
                "id": session.id.0,
                "pid": session.identity.pid,
                "uid": session.identity.uid,
                "gid": session.identity.gid,
                "comm": session.identity.comm,
                "exe": session.identity.exe,
                "submitted": lane(&usage, session.id).map_or(0, |lane| lane.submitted),
                "lane_bytes": lane(&usage, session.id).map_or(0, |lane| lane.capacity_bytes),
                "lane_used_bytes": lane(&usage, session.id).map_or(0, |lane| lane.used_bytes),
                "sockets": self.sockets.values()
                    .filter(|socket| socket.session == session.id)
                    .map(|socket| self.socket_value(socket, &usage))
                    .collect::<Vec<_>>(),
                "grants": session.grants.iter().map(|(group, source)| json!({
                    "group": self.group_name(*group),
                    "source": source.to_string(),
                })).collect::<Vec<_>>(),
                "refusals": session.refusals.iter().map(|note| json!({
                    "group": note.group,
                    "asked": note.wish,
                    "why": note.why,
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "counters": counters,
        })
    }

    fn ring_value(&self, used: &RingUsage) -> Value {
        let (settings, hosts) = (&self.config.ring, &self.config.hosts);
        let state = &used.inspection;
        let name = |host: HostId| {
            hosts
                .get(usize::from(host.0))
                .map(|host| host.name.as_str())
        };
        json!({
            "number": settings.number,
            "host": name(used.me),
            "transport": settings.transport.name(),
            "to_all": self.choice.as_ref().map(|choice| {
                let (way, why) = choice.told();
                json!({ "way": way, "why": why })
            }),
            "protection": settings.protection().to_string(),
            "keys": self.keys.iter().flat_map(Keys::iter).map(|(role, key)| json!({
                "role": role.to_string(),
                "fingerprint": key.fingerprint().to_string(),
            })).collect::<Vec<_>>(),
            "deliver": settings.deliver,
            "minority": settings.minority,
            "state": ring_state(state),
            "listens": state.is_listener,
            "epoch": state.joined.0,
            "founder": name(state.joined.founder()).filter(|_| state.joined.0 != 0),
            "promised": state.promised.0,
            "generation": format!("{:016x}", state.generation),
            "incarnation": format!("{:016x}", state.inc),
            "tail": state.marks.tail().0,
            "agreed": state.marks.agreed().0,
            "safe": state.marks.safe().0,
            "base": state.base.0,
            "queued": state.queued,
            "is_parked": state.is_parked,
            "owner": state.owner.and_then(name),
            "delivered": state.delivered.0,
            "synced": state.synced.map(|position| position.0),
            "journal_backlog_bytes": state.journal_backlog_bytes,
            "log_bytes": state.log_bytes,
            "hop_ns": nanoseconds(state.hop),
            "hop_deviation_ns": nanoseconds(state.hop_deviation),
            "rotation_ns": nanoseconds(state.rotation),
            "timeouts": {
                "resend_ns": nanoseconds(state.timeouts.resend),
                "loss_ns": nanoseconds(state.timeouts.loss),
                "nack_ns": nanoseconds(state.timeouts.nack),
                "epoch_ns": nanoseconds(state.timeouts.epoch),
                "join_ns": nanoseconds(state.timeouts.join),
                "park_ns": nanoseconds(state.timeouts.park),
            },
            "hosts": hosts.iter().zip(&state.hosts).map(host_of).collect::<Vec<_>>(),
            "foreign_messages": used.foreign,
            "frames": frames(used),
        })
    }

    fn group_values(&self, usage: &Usage) -> Vec<Value> {
        self.groups
            .iter()
            .zip(&usage.groups)
            .map(|(group, used)| {
                let grants = |id| {
                    self.sessions
                        .values()
                        .flat_map(|s| &s.grants)
                        .filter(|g| g.0 == id)
                        .count()
                };
                json!({
                    "id": group.id.0,
                    "name": group.settings.name,
                    "address": group.settings.address.to_string(),
                    "order": "ring",
                    "deliver": "agreed",
                    "seq": used.seq,
                    "messages": used.messages,
                    "log_bytes": used.log_bytes,
                    "log_used_bytes": used.used_bytes,
                    "members": used.readers.len(),
                    "sends": grants(group.id),
                    "gaps": used.gaps,
                    "expelled": used.expelled,
                    "longest_wait_ms": u64::try_from(used.waited.as_millis()).unwrap_or(u64::MAX),
                    "slow_policy": group.settings.slow_member.policy,
                    "slow_wait_ms": u64::try_from(group.settings.slow_member.wait.as_millis())
                        .unwrap_or(u64::MAX),
                })
            })
            .collect()
    }

    fn socket_value(&self, socket: &Socket, usage: &Usage) -> Value {
        let memberships: Vec<Value> = socket
            .memberships
            .iter()
            .enumerate()
            .filter_map(|(slot, group)| {
                let group = (*group)?;
                let membership = &socket.page.memberships[slot];
                if membership.state.load(Ordering::Relaxed) == membership_state::FREE {
                    return None;
                }
                let reader = usage
                    .groups
                    .iter()
                    .find(|used| used.id == group)
                    .and_then(|used| used.readers.iter().find(|r| r.socket == socket.id));
                Some(json!({
                    "group": self.group_name(group),
                    "address": self.group_address(group).to_string(),
                    "cursor_lag_bytes": reader.map_or(0, |reader| reader.lag_bytes),
                    "delivered": reader.map_or(0, |reader| reader.delivered.0),
                    "dropped": membership.dropped.load(Ordering::Relaxed),
                }))
            })
            .collect();
        json!({
            "id": socket.id.0,
            "cookie": socket.cookie,
            "inode": socket.inode,
            "domain": if socket.inet6 { "inet6" } else { "inet" },
            "bound": socket.bound.to_string(),
            "delivery": if socket.queue.is_some() { "kernel" } else { "shared-memory" },
            "names_sources": socket.queue.as_ref().is_none_or(|queue| queue.names_sources()),
            "rule": socket.rule,
            "demoted_because": socket.demoted.map(libexo::control::message::DemoteReason::name),
            "memberships": memberships,
        })
    }
}

/// What is known of a host of the ring.
fn host_of((host, known): (&HostSettings, &HostLag)) -> Value {
    json!({
        "id": known.host.0,
        "name": host.name,
        "address": host.address.to_string(),
        "listens": host.listens,
        "is_member": known.is_member,
        "is_known": known.inc != 0,
        "holds": known.holds.0,
        "stores": known.stores.0,
        "lag": known.lag,
        "key": known.key.map(|key| key.to_string()),
        "refused": known.refused.map(|error| error.to_string()),
    })
}

/// What passed and what was dropped.
fn frames(used: &RingUsage) -> Value {
    let (traffic, counted) = (&used.traffic, &used.inspection.counters);
    json!({
        "sent": traffic.sent.frames,
        "sent_bytes": traffic.sent.bytes,
        "received": traffic.received.frames,
        "received_bytes": traffic.received.bytes,
        "resent_turns": counted.resends,
        "gaps_asked_for": counted.nacks,
        "repaired_turns": counted.repairs,
        "relayed_turns": counted.relays,
        "dropped": DropReason::ALL.iter()
            .map(|reason| (reason.name().to_owned(), json!(counted.dropped(*reason))))
            .collect::<serde_json::Map<_, _>>(),
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// In one word, how this host stands in its ring.
const fn ring_state(state: &Inspection) -> &'static str {
    if state.is_halted {
        "no majority"
    } else if state.is_amnesiac {
        "lost its memory"
    } else if state.joined.0 == 0 {
        "forming"
    } else if state.is_listener {
        "listening"
    } else {
        "ordering"
    }
}

fn lane(usage: &Usage, session: SessionId) -> Option<&crate::engine_thread::command::LaneUsage> {
    usage.lanes.iter().find(|lane| lane.session == session)
}
