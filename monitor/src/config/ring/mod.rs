//! The hosts of a ring and how they reach each other: `[ring]` and `[[host]]`.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use libexo::quorum::HOSTS_MAX;
use libexo::transport::MacAddress;
use libexo::wire::auth::Mode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::errors::Place;
use crate::config::fields::{Fields, Reading};
use crate::config::tree::{Node, Span, Table, Value};
use crate::config::values::{
    Wrong, absolute_path, boolean, group_name, id, parse_address, quote, string, word_of,
};

/// Where the hosts of ring 1 meet by multicast when nobody says otherwise; with `auto` higher rings
/// have the addresses behind. Site-local, and no one else's.
const MULTICAST_V4: [u8; 4] = [239, 255, 88, 79];
/// The same with IPv6: the number of the ring is the end.
const MULTICAST_V6: [u16; 6] = [0xff15, 0, 0, 0, 0, 0x4558];
const MULTICAST_PORT: u16 = 7946;
/// Where a host keeps its vote when nobody says otherwise.
const STATE_FOLDER: &str = "/var/lib/exo/ring";

const TRANSPORTS: &[(&str, TransportKind)] = &[
    ("auto", TransportKind::Auto),
    ("udp-multicast", TransportKind::UdpMulticast),
    ("udp-broadcast", TransportKind::UdpBroadcast),
    ("udp-copies", TransportKind::UdpCopies),
    ("tcp", TransportKind::Tcp),
    ("raw-multicast", TransportKind::RawMulticast),
    ("raw-copies", TransportKind::RawCopies),
];
const LEVELS: &[(&str, Level)] = &[
    ("agreed", Level::Agreed),
    ("safe", Level::Safe),
    ("durable", Level::Durable),
];
const SPINS: &[(&str, Spin)] = &[("rest", Spin::Rest), ("always", Spin::Always)];
const MINORITIES: &[(&str, Minority)] = &[("block", Minority::Block), ("fail", Minority::Fail)];

/// Table `[ring]`: what the hosts of `[[host]]` have in common. Without hosts it means nothing.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingSettings {
    /// Number of the ring, for rings that share a network; the same on every host.
    pub number: u32,
    /// Which `[[host]]` this machine is; when left out, the one whose address it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How frames travel; the same on every host.
    pub transport: TransportKind,
    /// Interface that carries the frames; when left out, the one that has this host's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Group and port of `auto` and `udp-multicast`, the same on every host. When left out,
    /// 239.255.88.79:7946; with `auto` and a `number` above 1 as many addresses behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub multicast: Option<SocketAddr>,
    /// UDP port of probes (`exo doctor`), the same on every host; 0: none. When left out, the one
    /// behind that of the host's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_port: Option<u16>,
    /// Broadcast address of the link, for `udp-broadcast`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<IpAddr>,
    /// File with the ring's key, which `exo keygen` makes; the same on every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Whether frames carry a tag that only owners of the key can make.
    pub authentication: bool,
    /// Whether frames can be read only by owners of the key; the same on every host.
    pub encryption: bool,
    /// Folder for what must survive a restart; each monitor has its own.
    pub state: PathBuf,
    /// Whether the token rests while nobody sends; the same on every host.
    pub spin: Spin,
    /// Whether this host keeps the order on disk, in the folder `state`, and comes back from it.
    pub journal: bool,
    /// When a message is handed to the receivers; the same on every host.
    pub deliver: Level,
    /// What sends do while no majority of the hosts can be reached.
    pub minority: Minority,
}

impl Default for RingSettings {
    fn default() -> Self {
        Self {
            number: 1,
            host: None,
            transport: TransportKind::default(),
            interface: None,
            multicast: None,
            probe_port: None,
            broadcast: None,
            key_file: None,
            authentication: true,
            encryption: false,
            state: PathBuf::from(STATE_FOLDER),
            spin: Spin::default(),
            journal: false,
            deliver: Level::default(),
            minority: Minority::default(),
        }
    }
}

impl RingSettings {
    /// The multicast group and port of hosts whose addresses are IPv4's, or IPv6's: the one that is
    /// set, else with `auto` the one that follows from the ring's number. With `udp-multicast` all
    /// rings share that of ring 1, so that hosts with different numbers refuse each other by name.
    #[must_use]
    pub fn group(&self, is_v4: bool) -> SocketAddr {
        let number = match self.transport {
            TransportKind::Auto => self.number,
            _ => 1,
        };
        let [g, h, i, j] = number.to_be_bytes();
        let (high, low) = (u16::from_be_bytes([g, h]), u16::from_be_bytes([i, j]));
        let ip: IpAddr = if is_v4 {
            let [a, b, c, d] = MULTICAST_V4;
            let behind = u16::from_be_bytes([c, d]).wrapping_add(low.wrapping_sub(1));
            let [c, d] = behind.to_be_bytes();
            Ipv4Addr::new(a, b, c, d).into()
        } else {
            let [a, b, c, d, e, f] = MULTICAST_V6;
            Ipv6Addr::new(a, b, c, d, e, f, high, low).into()
        };
        self.multicast
            .unwrap_or_else(|| SocketAddr::new(ip, MULTICAST_PORT))
    }

    /// What is done to frames.
    #[must_use]
    pub const fn protection(&self) -> Mode {
        match (self.authentication, self.encryption) {
            (false, _) => Mode::Open,
            (true, false) => Mode::Tagged,
            (true, true) => Mode::Encrypted,
        }
    }
}

/// How frames travel between hosts.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportKind {
    /// Datagrams, to a multicast group where all hosts hear it, else a copy for each host.
    #[default]
    Auto,
    /// Datagrams to a multicast group. Needs a common link.
    UdpMulticast,
    /// Datagrams to the link's broadcast address.
    UdpBroadcast,
    /// A datagram for each host; for networks without multicast.
    UdpCopies,
    /// Connections between all hosts.
    Tcp,
    /// Ethernet frames to a multicast address. Needs `CAP_NET_RAW`.
    RawMulticast,
    /// An Ethernet frame for each host.
    RawCopies,
}

impl TransportKind {
    /// As the configuration calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        word_of(TRANSPORTS, &self)
    }

    /// Whether a frame to all is a copy for each host, or may be.
    pub(crate) const fn sends_copies(self) -> bool {
        matches!(
            self,
            Self::Auto | Self::UdpCopies | Self::Tcp | Self::RawCopies
        )
    }

    pub(crate) const fn is_raw(self) -> bool {
        matches!(self, Self::RawMulticast | Self::RawCopies)
    }
}

/// Whether the token rests while nobody sends.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spin {
    /// It rests at one host, which says ten times a second that it is there.
    #[default]
    Rest,
    /// It never rests, and the engine threads never sleep: a processor of each host for the least
    /// delay after a silence.
    Always,
}

/// When a message is handed to the receivers.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Its place in the order is final.
    #[default]
    Agreed,
    /// Every host holds it.
    Safe,
    /// A majority has it on disk. Needs journals.
    Durable,
}

/// What sends do while no majority of the hosts can be reached.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Minority {
    /// They wait, or say `EAGAIN`, once the lane is full.
    #[default]
    Block,
    /// They fail with `ENETUNREACH`.
    Fail,
}

/// One `[[host]]`. All hosts of a ring have the same table.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// What people call it.
    pub name: String,
    /// Where its monitor listens for frames: `10.0.0.1:7946` or `[fd00::1]:7946`.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Ethernet address, for the raw transports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[serde(serialize_with = "show_mac")]
    pub mac: Option<MacAddress>,
    /// Whether it only listens: its programs receive and cannot send, and it counts for no majority.
    #[serde(default, skip_serializing_if = "is_false")]
    pub listens: bool,
}

/// How many of the hosts of a ring vote: the first ones.
#[must_use]
pub fn voters(hosts: &[HostSettings]) -> usize {
    hosts.iter().filter(|host| !host.listens).count()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::ref_option, reason = "serde's form")]
fn show_mac<S: serde::Serializer>(mac: &Option<MacAddress>, to: S) -> Result<S::Ok, S::Error> {
    match mac {
        Some(mac) => to.collect_str(mac),
        None => to.serialize_none(),
    }
}

/// Table `[ring]`.
pub(in crate::config) fn ring(reading: &mut Reading<'_>, root: &mut Fields<'_>) -> RingSettings {
    let default = RingSettings::default();
    root.table(
        reading,
        "ring",
        "[ring]",
        default.clone(),
        |reading, fields| RingSettings {
            number: fields.value(
                reading,
                "number",
                default.number,
                |node| id(node, "ring", "exo status"),
                u32::to_string,
            ),
            host: optional(reading, fields, "host", group_name, |name| quote(name)),
            transport: fields.word(reading, "transport", TRANSPORTS),
            interface: optional(reading, fields, "interface", interface, |name| quote(name)),
            multicast: optional(reading, fields, "multicast", multicast, |to| {
                quote(&to.to_string())
            }),
            probe_port: optional(reading, fields, "probe_port", port, u16::to_string),
            broadcast: optional(reading, fields, "broadcast", broadcast, |to| {
                quote(&to.to_string())
            }),
            key_file: optional(reading, fields, "key_file", absolute_path, |path| {
                quote(&path.display().to_string())
            }),
            authentication: fields.value(
                reading,
                "authentication",
                default.authentication,
                boolean,
                ToString::to_string,
            ),
            encryption: fields.value(
                reading,
                "encryption",
                default.encryption,
                boolean,
                ToString::to_string,
            ),
            state: fields.value(reading, "state", default.state, absolute_path, |path| {
                quote(&path.display().to_string())
            }),
            spin: fields.word(reading, "spin", SPINS),
            journal: fields.value(
                reading,
                "journal",
                default.journal,
                boolean,
                ToString::to_string,
            ),
            deliver: fields.word(reading, "deliver", LEVELS),
            minority: fields.word(reading, "minority", MINORITIES),
        },
    )
}

/// A setting without a default: its origin is told only when somebody set it.
fn optional<T>(
    reading: &mut Reading<'_>,
    fields: &mut Fields<'_>,
    key: &'static str,
    parse: impl Fn(&Node) -> Result<T, Wrong>,
    show: impl Fn(&T) -> String,
) -> Option<T> {
    let node = fields.take(key)?;
    match parse(node) {
        Ok(value) => {
            let from = reading.sources.place(&node.span);
            reading.origin(format!("{}{key}", fields.prefix), show(&value), from);
            Some(value)
        }
        Err(wrong) => {
            reading.wrong(&node.span, wrong);
            None
        }
    }
}

fn interface(node: &Node) -> Result<String, Wrong> {
    let name = string(node, "\"eth0\"")?;
    // `IFNAMSIZ` less its final zero.
    if name.is_empty() || name.len() > 15 || name.contains(['/', ' ', '\0']) {
        let what = format!("{} cannot be the name of a network interface", quote(name));
        return Err(Wrong::new(what, "take a name that `ip link` shows"));
    }
    Ok(name.to_owned())
}

fn multicast(node: &Node) -> Result<SocketAddr, Wrong> {
    let address = parse_address(string(node, "\"239.255.88.79:7946\"")?)?;
    if !address.ip().is_multicast() || address.port() == 0 {
        return Err(Wrong::new(
            format!("{address} is not a multicast address with a port"),
            "give one in 224.0.0.0/4 or ff00::/8 that no program uses",
        ));
    }
    Ok(address)
}

fn port(node: &Node) -> Result<u16, Wrong> {
    let example = "7947";
    let Value::Integer(number) = &node.value else {
        return Err(Wrong::kind(node, "a port", example));
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| {
            let hint = "take one of 1 to 65535, or 0 for no probes";
            Wrong::new("this number is not a port".to_owned(), hint)
        })
}

fn broadcast(node: &Node) -> Result<IpAddr, Wrong> {
    let text = string(node, "\"10.0.0.255\"")?;
    match text.parse() {
        Ok(IpAddr::V4(ip)) if !ip.is_multicast() && !ip.is_unspecified() => Ok(IpAddr::V4(ip)),
        _ => Err(Wrong::new(
            format!("{} is not an IPv4 broadcast address", quote(text)),
            "write what `ip address` shows behind \"brd\", such as \"10.0.0.255\"",
        )),
    }
}

/// Every `[[host]]`, then what they owe each other and `[ring]`. First those that vote, then those
/// that listen, both in the order of their names, so that the order in the file does not matter.
pub(in crate::config) fn hosts(
    reading: &mut Reading<'_>,
    root: &mut Fields<'_>,
    ring: &RingSettings,
) -> Vec<HostSettings> {
    let example = "{ name = \"a\", address = \"10.0.0.1:7946\" }";
    let before = reading.errors.len();
    let Some((node, tables)) = root.tables(reading, "host", example) else {
        return Vec::new();
    };
    if tables.len() > HOSTS_MAX {
        let what = format!("{} hosts are more than {HOSTS_MAX}", tables.len());
        reading.wrong(&node.span, Wrong::new(what, "make several rings"));
    }
    let mut hosts: Vec<HostSettings> = Vec::new();
    for (item, table) in tables {
        if let Some(host) = host(reading, item, table) {
            check_host(reading, item, table, &host, &hosts, ring);
            hosts.push(host);
        }
    }
    hosts.sort_by(|a, b| (a.listens, &a.name).cmp(&(b.listens, &b.name)));
    if reading.errors.len() == before {
        check_ring(reading, &node.span, &hosts, ring);
    }
    hosts
}

fn host(reading: &mut Reading<'_>, item: &Node, table: &Table) -> Option<HostSettings> {
    let mut fields = Fields::new(table, "[[host]]", "");
    let name = required(
        reading,
        &mut fields,
        item,
        "name",
        "name = \"a\"",
        group_name,
    );
    let address = required(
        reading,
        &mut fields,
        item,
        "address",
        "address = \"10.0.0.1:7946\"",
        host_address,
    );
    if let Some((name, from)) = &name {
        fields.prefix = format!("host.{name}.");
        reading.origin(format!("host.{name}.name"), quote(name), from.clone());
        if let Some((address, from)) = &address {
            let value = quote(&address.to_string());
            reading.origin(format!("host.{name}.address"), value, from.clone());
        }
    }
    let mac = optional(reading, &mut fields, "mac", mac, |mac| {
        quote(&mac.to_string())
    });
    let listens = optional(reading, &mut fields, "listens", boolean, bool::to_string);
    fields.finish(reading);
    Some(HostSettings {
        name: name?.0,
        address: address?.0,
        mac,
        listens: listens.unwrap_or(false),
    })
}

fn required<T>(
    reading: &mut Reading<'_>,
    fields: &mut Fields<'_>,
    item: &Node,
    key: &'static str,
    example: &str,
    parse: impl Fn(&Node) -> Result<T, Wrong>,
) -> Option<(T, Place)> {
    let Some(node) = fields.take(key) else {
        let hint = format!("add a line such as {example}");
        reading.wrong(
            &item.span,
            Wrong::new(format!("this [[host]] has no {key}"), hint),
        );
        return None;
    };
    match parse(node) {
        Ok(value) => Some((value, reading.sources.place(&node.span))),
        Err(wrong) => {
            reading.wrong(&node.span, wrong);
            None
        }
    }
}

fn host_address(node: &Node) -> Result<SocketAddr, Wrong> {
    let address = parse_address(string(node, "\"10.0.0.1:7946\"")?)?;
    let ip = address.ip();
    if ip.is_multicast() || ip.is_unspecified() || address.port() == 0 {
        return Err(Wrong::new(
            format!("{address} is not the address of one host"),
            "give an address that one of its interfaces has, and a port",
        ));
    }
    Ok(address)
}

fn mac(node: &Node) -> Result<MacAddress, Wrong> {
    let text = string(node, "\"02:00:00:00:00:01\"")?;
    let hint = "write what `ip link` shows behind \"link/ether\"";
    match text.parse::<MacAddress>() {
        Ok(mac) if !mac.is_multicast() => Ok(mac),
        Ok(mac) => Err(Wrong::new(
            format!("{mac} is not the address of one station"),
            hint,
        )),
        Err(error) => Err(Wrong::new(error.to_string(), hint)),
    }
}

fn check_host(
    reading: &mut Reading<'_>,
    item: &Node,
    table: &Table,
    host: &HostSettings,
    earlier: &[HostSettings],
    ring: &RingSettings,
) {
    let span_of = |key| table.find(key).map_or(&item.span, |entry| &entry.node.span);
    let mut taken = |key, what: String| {
        let hint = format!("give each host its own {key}");
        reading.wrong(span_of(key), Wrong::new(what, hint));
    };
    for other in earlier {
        if other.name == host.name {
            taken("name", format!("a second host is called \"{}\"", host.name));
        }
        if other.address == host.address {
            let what = format!("address {} is already that of {}", host.address, other.name);
            taken("address", what);
        }
        if let (Some(a), Some(b)) = (host.mac, other.mac)
            && a == b
        {
            taken("mac", format!("{a} is already that of {}", other.name));
        }
    }
    if let Some(first) = earlier.first()
        && first.address.is_ipv4() != host.address.is_ipv4()
    {
        let what = format!("{} and {} are of two families", first.address, host.address);
        let hint = "give all hosts IPv4 addresses, or all of them IPv6 addresses";
        reading.wrong(span_of("address"), Wrong::new(what, hint));
    }
    if ring.transport.is_raw() && host.mac.is_none() {
        let what = format!(
            "host {} has no mac, which {} needs",
            host.name,
            ring.transport.name()
        );
        let hint = "add what `ip link` shows behind \"link/ether\", such as \
                    mac = \"02:00:00:00:00:01\"";
        reading.wrong(&item.span, Wrong::new(what, hint));
    }
}

fn check_ring(reading: &mut Reading<'_>, span: &Span, hosts: &[HostSettings], ring: &RingSettings) {
    let mut wrong = |what: String, hint: &str| reading.wrong(span, Wrong::new(what, hint));
    if let Some(name) = &ring.host
        && !hosts.iter().any(|host| host.name == *name)
    {
        wrong(
            format!(
                "[ring] says that this is host {}, and no [[host]] is called so",
                quote(name)
            ),
            "add it, or correct the name",
        );
    }
    if !hosts.is_empty() && voters(hosts) == 0 {
        wrong(
            "every host only listens, and nobody orders".to_owned(),
            "take listens = true away from one [[host]], better from three",
        );
    }
    let Some(first) = hosts.first().filter(|_| hosts.len() > 1) else {
        return;
    };
    let is_v4 = first.address.is_ipv4();
    if ring.authentication && ring.key_file.is_none() {
        wrong(
            "hosts need a key, and [ring] names none".to_owned(),
            "make one with `exo keygen`, copy it to every host, and add key_file = \"PATH\" \
             (or authentication = false, if nobody else can reach the network)",
        );
    }
    if ring.deliver == Level::Durable && !ring.journal {
        wrong(
            "deliver = \"durable\" needs journals".to_owned(),
            "add journal = true to [ring], or take \"safe\" or \"agreed\"",
        );
    }
    if ring.encryption && !ring.authentication {
        wrong(
            "encryption without authentication would hide what anybody can alter".to_owned(),
            "leave authentication out, or take encryption = true away",
        );
    }
    match ring.transport {
        TransportKind::Auto | TransportKind::UdpMulticast
            if ring.group(is_v4).is_ipv4() != is_v4 =>
        {
            wrong(
                format!("{} is of another family than the hosts", ring.group(is_v4)),
                "give multicast in [ring] an address of theirs, or leave it out",
            );
        }
        TransportKind::UdpBroadcast if !is_v4 || ring.broadcast.is_none() => wrong(
            "udp-broadcast needs IPv4 hosts and the link's broadcast address".to_owned(),
            "add broadcast = \"10.0.0.255\" to [ring], or take udp-multicast",
        ),
        TransportKind::UdpBroadcast
            if hosts
                .iter()
                .any(|host| host.address.port() != first.address.port()) =>
        {
            wrong(
                "udp-broadcast needs the same port on every host".to_owned(),
                "give all hosts one port, or take udp-copies",
            );
        }
        _ => {}
    }
}
