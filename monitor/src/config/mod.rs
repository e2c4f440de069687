//! Settings of the monitor: what `exo.toml`, its drop-ins and the command line say, as typed values.
//!
//! ```text
//!  exo.toml ─┐                     ┌─▶ Config  (typed, checked, complete)
//!  *.d/*.toml├─▶ tree ─▶ merge ─▶ read
//!  arguments ┘                     └─▶ origins (who said so, line by line)
//! ```
//!
//! A file is parsed into a tree that remembers where every word stands; trees are merged as
//! tables; the merged tree is read into settings. All mistakes of one reading are reported
//! together, each with file, line, column and what to write instead. Never here: what a setting
//! does, watching files, and deciding whether a reload is taken.

mod errors;
mod fields;
mod merge;
mod read;
mod ring;
mod tree;
mod units;
mod values;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

pub use errors::{AddressError, ConfigError, ConfigErrors, Place};
pub use ring::{HostSettings, Level, Minority, RingSettings, Spin, TransportKind, voters};

use tree::Sources;

/// Where the system's monitor reads its settings when nobody says otherwise.
pub const CONFIG_FILE: &str = "/etc/exo/exo.toml";

/// Where the system's monitor listens when nobody says otherwise.
pub const SYSTEM_SOCKET: &str = "/run/exo/exod.sock";

/// Most groups of one monitor: each costs a log and a place in every session's tables.
pub const GROUPS_MAX: usize = 1024;

/// A file larger than this is not a configuration of [`GROUPS_MAX`] groups.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that a monitor is told, complete: what no file mentions has its default.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "exo.toml")]
pub struct Config {
    /// The daemon itself.
    pub monitor: MonitorSettings,
    /// What the hosts have in common.
    pub ring: RingSettings,
    /// The hosts that order together, by name, and behind them those that listen; alone when left
    /// out.
    #[serde(rename = "host", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostSettings>,
    /// The groups whose datagrams it orders.
    #[serde(rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSettings>,
}

/// Table `[monitor]`.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSettings {
    /// Path of the control socket; absolute.
    pub socket: PathBuf,
    /// What is logged: off, error, warn, info, debug, trace, or a list like "info,exo=debug".
    pub log: String,
    /// How a log line is written.
    pub log_format: LogFormat,
    /// Stop after this long without a session; "0s" is never.
    #[serde(with = "units::duration")]
    #[schemars(with = "String", regex(pattern = units::DURATION_PATTERN))]
    pub idle_exit: Duration,
    /// Longest time that the engine thread looks for work before it sleeps; at most "10ms".
    #[serde(with = "units::duration")]
    #[schemars(with = "String", regex(pattern = units::DURATION_PATTERN))]
    pub spin: Duration,
    /// Size of one session's submit ring: a power of two from "256KiB" to "64MiB".
    #[serde(rename = "lane", with = "units::size")]
    #[schemars(with = "String", regex(pattern = units::SIZE_PATTERN))]
    pub lane_bytes: u64,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self {
            socket: PathBuf::from(SYSTEM_SOCKET),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            idle_exit: Duration::ZERO,
            spin: Duration::from_micros(50),
            lane_bytes: 1 << 20,
        }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One `[[group]]`.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// What people call it; the address when left out.
    #[serde(default)]
    pub name: String,
    /// Address and port that mark a socket: `239.1.2.3:5000` or `[ff15::1]:5000`.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Must be said when the address is not a multicast address.
    #[serde(default)]
    pub unicast: bool,
    /// Who orders the messages.
    #[serde(default)]
    pub order: Order,
    /// When a message is handed to the receivers.
    #[serde(default)]
    pub deliver: Deliver,
    /// Size of the log that the members read: a power of two from "1MiB" to "1GiB".
    #[serde(rename = "log", with = "units::size", default = "log_bytes_default")]
    #[schemars(with = "String", regex(pattern = units::SIZE_PATTERN))]
    pub log_bytes: u64,
    /// What a receiver that stops reading costs the others.
    #[serde(default)]
    pub slow_member: SlowMember,
    /// Who may join; everybody when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_join: Option<Allow>,
    /// Who may send; everybody when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_send: Option<Allow>,
}

impl GroupSettings {
    /// The group that `-g ADDRESS:PORT` asks for: all defaults, named after its address.
    ///
    /// # Errors
    ///
    /// A unicast address, because `-g` has no way to say that it is meant; and everything that no
    /// group can have, such as port 0.
    pub fn for_address(address: SocketAddr) -> Result<Self, AddressError> {
        values::check_address(address, false).map_err(|wrong| AddressError {
            what: wrong.what,
            hint: if address.ip().is_multicast() {
                wrong.hint
            } else {
                "give a group in 224.0.0.0/4 or ff00::/8, or write a [[group]] with \
                 unicast = true into exo.toml"
                    .to_owned()
            },
        })?;
        Ok(Self::with_defaults(address))
    }

    fn with_defaults(address: SocketAddr) -> Self {
        Self {
            name: address.to_string(),
            address,
            unicast: false,
            order: Order::Ring,
            deliver: Deliver::Agreed,
            log_bytes: log_bytes_default(),
            slow_member: SlowMember::default(),
            may_join: None,
            may_send: None,
        }
    }

    /// Whether one datagram could belong to both groups.
    ///
    /// An IPv6 address without a scope stands for itself in every scope.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.address, other.address) {
            (SocketAddr::V6(a), SocketAddr::V6(b)) => {
                let scopes_meet =
                    a.scope_id() == b.scope_id() || a.scope_id() == 0 || b.scope_id() == 0;
                a.ip() == b.ip() && a.port() == b.port() && scopes_meet
            }
            (a, b) => a == b,
        }
    }
}

/// 8 MiB: an average of 8 KiB for each of 1,024 datagrams that a reader may be behind.
fn log_bytes_default() -> u64 {
    8 << 20
}

/// Who orders the messages of a group.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Exo's token ring; on one host a ring of one.
    #[default]
    Ring,
}

/// When a message is handed to the receivers.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deliver {
    /// Its place in the order is final.
    #[default]
    Agreed,
}

/// What a receiver that stops reading costs the others.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowMember {
    /// How long senders of the group wait for it; at most "1h".
    #[serde(with = "units::duration")]
    #[schemars(with = "String", regex(pattern = units::DURATION_PATTERN))]
    pub wait: Duration,
    /// What happens then.
    pub policy: SlowPolicy,
}

impl Default for SlowMember {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(5),
            policy: SlowPolicy::Gap,
        }
    }
}

/// What happens to a receiver that was waited for long enough.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SlowPolicy {
    /// Nothing: senders go on waiting.
    Throttle,
    /// It loses the oldest messages and is told how many.
    #[default]
    Gap,
    /// It leaves the group.
    Expel,
}

/// Who may do a thing: a process that one of the lists names. Empty lists allow nobody.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allow {
    /// User numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid: Vec<u32>,
    /// Group numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid: Vec<u32>,
    /// Executables, by absolute path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exe: Vec<PathBuf>,
}

/// What the command line of the daemon sets; it outranks every file.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// `--socket`
    pub socket: Option<PathBuf>,
    /// `--log`
    pub log: Option<String>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--idle-exit`
    pub idle_exit: Option<Duration>,
    /// `-g`, each; one that a file describes already changes nothing.
    pub groups: Vec<SocketAddr>,
}

/// A configuration and where each of its values comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// One for every setting: those of the files and the defaults in the order of the document, then
    /// those of the command line.
    pub origins: Vec<Origin>,
    /// The files that were read, in order of rank, lowest first.
    pub files: Vec<PathBuf>,
}

/// Where one value comes from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Origin {
    /// `monitor.socket`, `group.orders.log`, …
    pub key: String,
    /// As TOML.
    pub value: String,
    /// Who said so.
    pub from: Place,
}

/// Reads `main` and its drop-ins (`MAIN.d/*.toml`, in the order of their names), then `arguments`.
///
/// Tables are merged key by key, the later file wins; `[[group]]` entries add up. A `main` that
/// does not exist is an empty one unless `main_required`; without a `main` only the arguments
/// count.
///
/// # Errors
///
/// All mistakes that were found, at least one.
pub fn load(
    main: Option<&Path>,
    main_required: bool,
    arguments: &Arguments,
) -> Result<Loaded, ConfigErrors> {
    let mut sources = Sources::default();
    let mut errors = Vec::new();
    if let Some(main) = main {
        match read_file(main) {
            Ok(text) => sources.add(main, text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !main_required => {}
            Err(error) => errors.push(ConfigError::unreadable(main, &error)),
        }
        match drop_ins(main) {
            Ok(paths) => {
                for path in paths {
                    match read_file(&path) {
                        Ok(text) => sources.add(&path, text),
                        Err(error) => errors.push(ConfigError::unreadable(&path, &error)),
                    }
                }
            }
            Err(error) => errors.push(ConfigError::unreadable(&drop_in_folder(main), &error)),
        }
    }
    load_sources(&sources, arguments, errors)
}

/// The JSON schema of `exo.toml`, for editors and generators.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// Everything after the file system.
fn load_sources(
    sources: &Sources,
    arguments: &Arguments,
    mut errors: Vec<ConfigError>,
) -> Result<Loaded, ConfigErrors> {
    let mut merged = tree::Table::default();
    for file in sources.files() {
        let (table, mistakes) = tree::parse(sources, file);
        errors.extend(mistakes);
        merge::merge(&mut merged, table);
    }
    if !errors.is_empty() {
        // Half a document would be blamed for what its other half says.
        return Err(ConfigErrors::new(errors));
    }
    let (config, origins) = read::read(sources, &merged, arguments, &mut errors);
    if errors.is_empty() {
        Ok(Loaded {
            config,
            origins,
            files: sources.paths(),
        })
    } else {
        errors.sort_by_key(|error| sources.rank(&error.place));
        Err(ConfigErrors::new(errors))
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let length_bytes = fs::metadata(path)?.len();
    if length_bytes > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length_bytes} bytes are more than the {FILE_BYTES_MAX} of the largest"),
        ));
    }
    fs::read_to_string(path)
}

fn drop_in_folder(main: &Path) -> PathBuf {
    let mut folder = main.as_os_str().to_owned();
    folder.push(".d");
    PathBuf::from(folder)
}

/// The drop-ins of `main` in the order of their names; hidden files are an editor's.
fn drop_ins(main: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(drop_in_folder(main)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
            && !is_hidden
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
