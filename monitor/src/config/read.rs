//! From a merged tree to settings: types, bounds, and what the groups owe each other.
//!
//! Reading goes on after a mistake, with the default in the place of what was wrong, so that one
//! run reports all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::errors::{ConfigError, Place};
use super::fields::{Fields, Reading};
use super::tree::{Node, Sources, Table};
use super::units::show_duration;
use super::values::{
    Wrong, absolute_path, boolean, check_address, check_log_filter, group_name, id, log_filter,
    nearest, parse_address, quote, socket_path, string, word_of,
};
use super::{
    Allow, Arguments, Config, Deliver, GROUPS_MAX, GroupSettings, LogFormat, MonitorSettings,
    Order, Origin, SlowMember, SlowPolicy,
};

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const ORDERS: &[(&str, Order)] = &[("ring", Order::Ring)];
const DELIVERS: &[(&str, Deliver)] = &[("agreed", Deliver::Agreed)];
const SLOW_POLICIES: &[(&str, SlowPolicy)] = &[
    ("throttle", SlowPolicy::Throttle),
    ("gap", SlowPolicy::Gap),
    ("expel", SlowPolicy::Expel),
];

/// Stands for an address that was reported, until reading ends without a configuration.
const UNREAD_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A year: longer is a typing mistake, and "0s" already says never.
const IDLE_EXIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Beyond this, sleeping and being woken costs less than what spinning takes from the members.
const SPIN_MAX: Duration = Duration::from_millis(10);
const SLOW_WAIT_MAX: Duration = Duration::from_secs(3600);
const LANE_BYTES_MIN: u64 = 256 << 10;
const LANE_BYTES_MAX: u64 = 64 << 20;
const LOG_BYTES_MIN: u64 = 1 << 20;
const LOG_BYTES_MAX: u64 = 1 << 30;

/// Reads everything. What it returns is meaningless once `errors` holds anything.
pub(super) fn read(
    sources: &Sources,
    merged: &Table,
    arguments: &Arguments,
    errors: &mut Vec<ConfigError>,
) -> (Config, Vec<Origin>) {
    let mut reading = Reading {
        sources,
        errors,
        origins: Vec::new(),
    };
    let mut fields = Fields::new(merged, "exo.toml", "");
    let monitor = fields.table(
        &mut reading,
        "monitor",
        "[monitor]",
        MonitorSettings::default(),
        monitor,
    );
    let ring = super::ring::ring(&mut reading, &mut fields);
    let mut config = Config {
        monitor,
        hosts: super::ring::hosts(&mut reading, &mut fields, &ring),
        ring,
        groups: groups(&mut reading, &mut fields),
    };
    fields.finish(&mut reading);
    apply(&mut reading, &mut config, arguments);
    (config, reading.origins)
}

fn monitor(reading: &mut Reading<'_>, fields: &mut Fields<'_>) -> MonitorSettings {
    let default = MonitorSettings::default();
    MonitorSettings {
        socket: fields.value(reading, "socket", default.socket, socket_path, |path| {
            quote(&path.display().to_string())
        }),
        log: fields.value(reading, "log", default.log, log_filter, |filter| {
            quote(filter)
        }),
        log_format: fields.word(reading, "log_format", LOG_FORMATS),
        idle_exit: fields.duration(reading, "idle_exit", default.idle_exit, IDLE_EXIT_MAX),
        spin: fields.duration(reading, "spin", default.spin, SPIN_MAX),
        lane_bytes: fields.size(
            reading,
            "lane",
            default.lane_bytes,
            LANE_BYTES_MIN,
            LANE_BYTES_MAX,
        ),
    }
}

/// Every `[[group]]`, then what they owe each other.
fn groups(reading: &mut Reading<'_>, root: &mut Fields<'_>) -> Vec<GroupSettings> {
    let example = "{ address = \"239.1.2.3:5000\" }";
    let Some((_, tables)) = root.tables(reading, "group", example) else {
        return Vec::new();
    };
    let mut groups = Vec::new();
    let mut places = Places::default();
    for (item, table) in tables {
        if groups.len() == GROUPS_MAX {
            let what = format!("more than {GROUPS_MAX} groups");
            reading.wrong(
                &item.span,
                Wrong::new(what, "run a second monitor for the rest"),
            );
            break;
        }
        if let Some(group) = group(reading, item, table) {
            places.check(reading, item, table, &group, &groups);
            groups.push(group);
        }
    }
    groups
}

/// One `[[group]]`; nothing if it has no usable address, which was reported.
fn group(reading: &mut Reading<'_>, item: &Node, table: &Table) -> Option<GroupSettings> {
    let mut fields = Fields::new(table, "[[group]]", "");
    let address = address(reading, &mut fields, item);
    let name = fields.take("name").and_then(|node| {
        let name = group_name(node)
            .map_err(|wrong| reading.wrong(&node.span, wrong))
            .ok()?;
        Some((name, reading.sources.place(&node.span)))
    });
    let (name, name_from) = match (name, &address) {
        (Some((name, from)), _) => (name, from),
        (None, Some((address, _))) => (address.to_string(), Place::Default),
        (None, None) => (String::from("?"), Place::Default),
    };
    fields.prefix = format!("group.{name}.");
    reading.origin(format!("group.{name}.name"), quote(&name), name_from);
    if let Some((address, from)) = &address {
        let value = quote(&address.to_string());
        reading.origin(format!("group.{name}.address"), value, from.clone());
    }

    let address = address.map(|(address, _)| address);
    let default = GroupSettings::with_defaults(address.unwrap_or(UNREAD_ADDRESS));
    let group = GroupSettings {
        name,
        address: default.address,
        unicast: fields.value(reading, "unicast", false, boolean, ToString::to_string),
        order: fields.word(reading, "order", ORDERS),
        deliver: fields.word(reading, "deliver", DELIVERS),
        log_bytes: fields.size(
            reading,
            "log",
            default.log_bytes,
            LOG_BYTES_MIN,
            LOG_BYTES_MAX,
        ),
        slow_member: slow_member(reading, &mut fields),
        may_join: allow(reading, &mut fields, "may_join"),
        may_send: allow(reading, &mut fields, "may_send"),
    };
    fields.finish(reading);
    address?;
    if let Err(wrong) = check_address(group.address, group.unicast) {
        let span = table
            .find("address")
            .map_or(&item.span, |entry| &entry.node.span);
        reading.wrong(span, wrong);
    }
    Some(group)
}

fn address(
    reading: &mut Reading<'_>,
    fields: &mut Fields<'_>,
    item: &Node,
) -> Option<(SocketAddr, Place)> {
    let Some(node) = fields.take("address") else {
        // A misspelt key is reported as such; saying that the right one is missing adds nothing.
        let is_misspelt = fields
            .table
            .entries
            .iter()
            .any(|entry| nearest(&entry.key, &["address"]).is_some());
        if !is_misspelt {
            let hint = "add a line such as address = \"239.1.2.3:5000\"";
            reading.wrong(
                &item.span,
                Wrong::new("this [[group]] has no address", hint),
            );
        }
        return None;
    };
    let from = reading.sources.place(&node.span);
    match string(node, "\"239.1.2.3:5000\"").and_then(parse_address) {
        Ok(address) => Some((address, from)),
        Err(wrong) => {
            reading.wrong(&node.span, wrong);
            None
        }
    }
}

fn slow_member(reading: &mut Reading<'_>, group: &mut Fields<'_>) -> SlowMember {
    let default = SlowMember::default();
    group.table(
        reading,
        "slow_member",
        "slow_member",
        default.clone(),
        |reading, fields| SlowMember {
            wait: fields.duration(reading, "wait", default.wait, SLOW_WAIT_MAX),
            policy: fields.word(reading, "policy", SLOW_POLICIES),
        },
    )
}

fn allow(reading: &mut Reading<'_>, group: &mut Fields<'_>, key: &'static str) -> Option<Allow> {
    if group.table.find(key).is_none() {
        group.take(key);
        return None;
    }
    Some(
        group.table(reading, key, key, Allow::default(), |reading, fields| {
            Allow {
                uid: fields.list(reading, "uid", |node| id(node, "user", "id -u NAME")),
                gid: fields.list(reading, "gid", |node| {
                    id(node, "group", "getent group NAME")
                }),
                exe: fields.list(reading, "exe", absolute_path),
            }
        }),
    )
}

/// What the command line says comes last.
fn apply(reading: &mut Reading<'_>, config: &mut Config, arguments: &Arguments) {
    let monitor = &mut config.monitor;
    if let Some(socket) = &arguments.socket {
        monitor.socket.clone_from(socket);
        reading.override_origin("monitor.socket", quote(&socket.display().to_string()));
    }
    if let Some(log) = &arguments.log {
        match check_log_filter(log) {
            Ok(log) => {
                reading.override_origin("monitor.log", quote(&log));
                monitor.log = log;
            }
            Err(wrong) => reading.wrong_argument(wrong),
        }
    }
    if let Some(log_format) = arguments.log_format {
        monitor.log_format = log_format;
        reading.override_origin(
            "monitor.log_format",
            quote(word_of(LOG_FORMATS, &log_format)),
        );
    }
    if let Some(idle_exit) = arguments.idle_exit {
        monitor.idle_exit = idle_exit;
        reading.override_origin("monitor.idle_exit", quote(&show_duration(&idle_exit)));
    }
    for &address in &arguments.groups {
        match GroupSettings::for_address(address) {
            Ok(group) if config.groups.iter().any(|known| known.overlaps(&group)) => {}
            Ok(group) if config.groups.len() == GROUPS_MAX => {
                let what = format!(
                    "-g {address}: more than {GROUPS_MAX} groups",
                    address = group.name
                );
                reading.wrong_argument(Wrong::new(what, "run a second monitor for the rest"));
            }
            Ok(group) if config.groups.iter().any(|known| known.name == group.name) => {
                let what = format!("-g {address}: another group has this address for a name");
                reading.wrong_argument(Wrong::new(what, "give that group another name"));
            }
            Ok(group) => {
                let key = format!("group.{}.address", group.name);
                reading.origin(key, quote(&group.name), Place::Argument);
                config.groups.push(group);
            }
            Err(error) => {
                reading.wrong_argument(Wrong::new(
                    format!("-g {address}: {}", error.what),
                    error.hint,
                ));
            }
        }
    }
}

/// Where the names and addresses of the groups read so far stand.
#[derive(Default)]
struct Places {
    names: HashMap<String, Place>,
    addresses: Vec<Place>,
}

impl Places {
    /// Reports a name or an address that an earlier group has, and remembers this one's.
    fn check(
        &mut self,
        reading: &mut Reading<'_>,
        item: &Node,
        table: &Table,
        group: &GroupSettings,
        earlier: &[GroupSettings],
    ) {
        let span_of = |key| table.find(key).map(|entry| &entry.node.span);
        let address_span = span_of("address").unwrap_or(&item.span);
        let name_span = span_of("name").unwrap_or(address_span);
        if let Some(index) = earlier.iter().position(|other| other.overlaps(group)) {
            let (other, place) = (&earlier[index], &self.addresses[index]);
            let what = if other.address == group.address {
                format!(
                    "address {} is already that of group {}",
                    group.address, other.name
                )
            } else {
                let (ours, theirs) = (group.address, other.address);
                format!("address {ours} overlaps {theirs} of group {}", other.name)
            };
            let hint = format!("give each group its own address or port (the other is at {place})");
            reading.wrong(address_span, Wrong::new(what, hint));
        } else if let Some(place) = self.names.get(&group.name) {
            let what = format!("a second group is called \"{}\"", group.name);
            let hint = format!("give each group its own name (the other is at {place})");
            reading.wrong(name_span, Wrong::new(what, hint));
        }
        let place = reading.sources.place(name_span);
        self.names.entry(group.name.clone()).or_insert(place);
        self.addresses.push(reading.sources.place(address_span));
    }
}
