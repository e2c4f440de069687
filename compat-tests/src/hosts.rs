//! Several hosts with a monitor each, for one test: namespaces joined by a network that can be cut.
//!
//! Each host is a [`World`], and [`Network`] is what joins them.

use crate::binaries::Binaries;
use crate::deadline::Deadline;
use crate::member::Pace;
use crate::network::{LINK, Network, address, address6, mac};
use crate::program::Program;
use crate::traced::Member;
use crate::world::World;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::fmt::Write;
use std::fs;
use std::ops::{Index, Range};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Where monitors listen for frames.
pub const PORT: u16 = 7946;

/// Groups of every host.
pub const GROUPS: &str = r#"
[[group]]
name = "orders"
address = "239.1.2.3:5000"
[[group]]
name = "trades"
address = "239.1.2.4:5000"
"#;

/// Names of all transports, as the configuration calls them.
pub const TRANSPORTS: [&str; 6] = [
    "udp-multicast",
    "udp-broadcast",
    "udp-copies",
    "tcp",
    "raw-multicast",
    "raw-copies",
];

/// What a ring is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many hosts.
    pub count: usize,
    /// How frames travel.
    pub transport: &'static str,
    /// Do they travel over IPv6?
    pub is_ipv6: bool,
    /// Faults on every link, as `EXO_RING_FAULTS` has them.
    pub faults: Option<String>,
    /// More lines for `[ring]`; all hosts have one key file.
    pub ring: String,
    /// The text of `[[group]]` tables.
    pub groups: String,
}

impl Settings {
    /// The usual ring of `count` hosts over `transport`.
    pub fn new(count: usize, transport: &'static str) -> Self {
        Self {
            count,
            transport,
            is_ipv6: false,
            faults: None,
            ring: String::new(),
            groups: GROUPS.to_owned(),
        }
    }
}

/// What a host says about its ring.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// The number of the epoch it works in.
    pub epoch: u64,
    /// The hosts of this epoch, by their numbers.
    pub members: Vec<usize>,
    /// Does the token rest there?
    pub is_parked: bool,
    /// All that it says.
    pub ring: serde_json::Value,
}

/// The hosts of one test, numbered from 0.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>, // dropped first: their links end in the network
    settings: Settings,
    network: Network,
    folder: TempDir,
}

#[derive(Debug)]
struct Host {
    world: World,
    is_running: bool,
}

impl Index<usize> for Hosts {
    type Output = World;

    fn index(&self, host: usize) -> &World {
        &self.hosts[host].world
    }
}

impl Hosts {
    /// Hosts with a running monitor each, which all see each other.
    ///
    /// # Errors
    ///
    /// When namespaces or bridges are not allowed, a monitor does not become ready, or no ring forms.
    pub fn start(settings: Settings) -> Result<Self> {
        let mut hosts = Self::without_monitors(settings)?;
        for host in hosts.all() {
            hosts.add_monitor(host)?;
        }
        hosts.await_members(&hosts.all().collect::<Vec<_>>(), Deadline::seconds(20))?;
        Ok(hosts)
    }

    /// Hosts and their network alone.
    ///
    /// # Errors
    ///
    /// When namespaces or bridges are not allowed.
    pub fn without_monitors(settings: Settings) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("exo-hosts-").tempdir()?;
        let (network, holders) = Network::start(settings.count, settings.is_ipv6, folder.path())?;
        let mut hosts = Self {
            hosts: Vec::new(),
            settings,
            network,
            folder,
        };
        hosts.make_key(&hosts.key())?;
        for (host, holder) in holders.into_iter().enumerate() {
            let folder = tempfile::Builder::new()
                .prefix("host-")
                .tempdir_in(hosts.folder.path())?;
            hosts.hosts.push(Host {
                world: World::of(holder, folder, &address(host), LINK),
                is_running: false,
            });
        }
        Ok(hosts)
    }

    /// Numbers of all hosts.
    pub fn all(&self) -> Range<usize> {
        0..self.settings.count
    }

    /// What joins them, and can be cut.
    pub fn network(&self) -> &Network {
        &self.network
    }

    // ---- monitors

    /// The `[ring]`, `[[host]]` and `[[group]]` tables of a host.
    pub fn tables(&self, host: usize) -> String {
        let Settings {
            transport,
            is_ipv6,
            ring,
            groups,
            ..
        } = &self.settings;
        let state = self.state(host);
        let mut text = format!(
            "[ring]\nhost = \"{}\"\ntransport = \"{transport}\"\n\
             key_file = \"{}\"\nstate = \"{}\"\n{ring}\n",
            name(host),
            self.key().display(),
            state.display()
        );
        text += match is_ipv6 {
            true => "multicast = \"[ff15::4558:4f]:7946\"\n",
            false => "broadcast = \"10.78.0.255\"\n",
        };
        for other in self.all() {
            let (name, mac) = (name(other), mac(other));
            let address = match is_ipv6 {
                true => format!("[{}]", address6(other)),
                false => address(other),
            };
            writeln!(
                text,
                "[[host]]\nname = \"{name}\"\naddress = \"{address}:{PORT}\"\nmac = \"{mac}\""
            )
            .expect("a String takes everything");
        }
        text + groups
    }

    /// Starts a monitor on a host that had none.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn add_monitor(&mut self, host: usize) -> Result<()> {
        let tables = self.tables(host);
        self.add_monitor_with(host, &tables)
    }

    /// The same with other tables.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn add_monitor_with(&mut self, host: usize, tables: &str) -> Result<()> {
        // The end of a log is shown when a test fails: the sentence, not the stack.
        let mut environment = vec![("RUST_BACKTRACE".to_owned(), "0".to_owned())];
        if let Some(faults) = &self.settings.faults {
            environment.push(("EXO_RING_FAULTS".to_owned(), faults.clone()));
        }
        let it = &mut self.hosts[host];
        it.world
            .add_monitor(tables, &environment)
            .with_context(|| name(host))?;
        it.is_running = true;
        Ok(())
    }

    /// Ends a host's monitor by `signal` and waits for its end.
    ///
    /// # Errors
    ///
    /// When it had ended before, or does not end.
    pub fn end(&mut self, host: usize, signal: Signal) -> Result<()> {
        let it = &mut self.hosts[host];
        it.is_running = false;
        it.world.end_monitor(signal).with_context(|| name(host))
    }

    /// Starts a host's monitor again after [`Hosts::end`].
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn restart(&mut self, host: usize) -> Result<()> {
        let it = &mut self.hosts[host];
        it.world.restart_monitor().with_context(|| name(host))?;
        it.is_running = true;
        Ok(())
    }

    /// Takes away what a host keeps for its next start; it must have ended.
    ///
    /// # Errors
    ///
    /// When there is nothing to take away.
    pub fn forget(&self, host: usize) -> Result<()> {
        assert!(!self.hosts[host].is_running, "it would write it again");
        fs::remove_dir_all(self.state(host)).context("nothing was kept")
    }

    /// Stops a host's monitor where it is, until [`Hosts::go_on`].
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn pause(&self, host: usize) -> Result<()> {
        self[host].signal_monitor(Signal::SIGSTOP)
    }

    /// Lets a stopped monitor go on.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn go_on(&self, host: usize) -> Result<()> {
        self[host].signal_monitor(Signal::SIGCONT)
    }

    /// What a host says about its ring.
    ///
    /// # Errors
    ///
    /// When its monitor does not answer, or says nothing of a ring.
    pub fn standing(&self, host: usize) -> Result<Standing> {
        let ring = self[host].status()?["ring"].clone();
        let table = ring["hosts"].as_array().context("no hosts")?;
        let is_member = |host: &usize| {
            let said =
                |line: &serde_json::Value| line["name"] == name(*host) && line["is_member"] == true;
            table.iter().any(said)
        };
        Ok(Standing {
            epoch: ring["epoch"].as_u64().context("no epoch")?,
            members: self.all().filter(is_member).collect(),
            is_parked: ring["is_parked"] == true,
            ring,
        })
    }

    /// Waits until each of `hosts`, in ascending order, says that these and no others are the ring.
    ///
    /// # Errors
    ///
    /// What each of them says instead when the deadline passes.
    pub fn await_members(&self, hosts: &[usize], deadline: Deadline) -> Result<()> {
        for host in hosts {
            let mut last = Standing::default();
            deadline
                .until(&format!("the ring of {hosts:?} on host {host}"), || {
                    last = self.standing(*host)?;
                    Ok((last.members == hosts).then_some(()))
                })
                .with_context(|| self.for_people())?;
        }
        Ok(())
    }

    /// Waits until a host says that its ring is in this state.
    ///
    /// # Errors
    ///
    /// What it says instead when the deadline passes.
    pub fn await_state(&self, host: usize, state: &str, deadline: Deadline) -> Result<()> {
        let mut last = Standing::default();
        deadline
            .until(&format!("{state:?} on host {host}"), || {
                last = self.standing(host)?;
                Ok((last.ring["state"] == state).then_some(()))
            })
            .with_context(|| self.for_people())
    }

    /// What a host's monitor logged so far.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn log(&self, host: usize) -> Result<String> {
        self[host].monitor_log()
    }

    fn frames_sent(&self, host: usize) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/net/dev", self[host].holder()))?;
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(&format!("{LINK}:")))
            .context("no link")?;
        // Eight words about what was received; then bytes and packets.
        let word = line.split_ascii_whitespace().nth(9).context("no count")?;
        Ok(word.parse()?)
    }

    /// Frames that all links have sent so far.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn frames_sent_by_all(&self) -> Result<u64> {
        self.all().map(|host| self.frames_sent(host)).sum()
    }

    /// Processor time that a host's monitor has used so far, all its threads together.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn processor_time(&self, host: usize) -> Result<Duration> {
        let pid = self[host].monitor_pid()?;
        let mut total = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let word = text.split_ascii_whitespace().next().context("no time")?;
            total += Duration::from_nanos(word.parse()?);
        }
        Ok(total)
    }

    /// Waits until `count` members of group `group` are on a host.
    ///
    /// # Errors
    ///
    /// When the monitor does not answer, or the deadline passes first.
    pub fn await_joined(
        &self,
        host: usize,
        group: &str,
        count: u64,
        deadline: Deadline,
    ) -> Result<()> {
        deadline.until(&format!("member {count} of {group}"), || {
            let status = self[host].status()?;
            let groups = status["groups"].as_array().context("no groups")?;
            let found = groups
                .iter()
                .find(|it| it["name"] == group)
                .context("no such group")?;
            Ok((found["members"] == count).then_some(()))
        })
    }

    // ---- members

    /// A C member on `host`, which has joined, waits for `go`, and leaves a trace.
    ///
    /// # Errors
    ///
    /// When it does not get ready.
    pub fn member(&self, host: usize, pace: Pace) -> Result<Member> {
        Member::start(host, &self[host], pace, self.folder.path())
    }

    /// A member on each of `hosts`, all ready.
    ///
    /// # Errors
    ///
    /// When one does not get ready.
    pub fn members(
        &self,
        hosts: impl IntoIterator<Item = usize>,
        pace: Pace,
    ) -> Result<Vec<Member>> {
        hosts
            .into_iter()
            .map(|host| self.member(host, pace))
            .collect()
    }

    /// Checks that every monitor that was started is there and never failed an assertion.
    ///
    /// # Errors
    ///
    /// The log of one that is not, or did.
    pub fn check(&mut self) -> Result<()> {
        for (host, it) in self.hosts.iter_mut().enumerate() {
            if it.is_running {
                it.world.check_monitor().with_context(|| name(host))?;
                let log = it.world.monitor_log()?;
                ensure!(!log.contains("panicked"), "{}:\n{log}", name(host));
            }
        }
        Ok(())
    }

    /// Ends all monitors as a service manager would and checks that each ended well.
    ///
    /// # Errors
    ///
    /// When one had ended by itself, or logged a panic.
    pub fn close(mut self) -> Result<()> {
        // All at once: a host that is left alone would wait for others that let it go.
        self.hosts.retain(|host| host.is_running);
        for host in &mut self.hosts {
            host.world
                .ask_to_end()
                .with_context(|| host.world.address().to_owned())?;
        }
        for host in self.hosts {
            let address = host.world.address().to_owned();
            host.world.await_end().context(address)?;
        }
        Ok(())
    }

    /// What every host says and the end of its log.
    pub fn for_people(&self) -> String {
        let mut text = String::new();
        for host in self.all().filter(|host| self.hosts[*host].is_running) {
            let said = self
                .standing(host)
                .map(|standing| standing.ring.to_string());
            let log = self.log(host).unwrap_or_else(|error| error.to_string());
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(20)..].join("\n");
            text += &format!("--- {}: {said:?}\n{end}\n", name(host));
        }
        text
    }

    /// File with the key of the ring.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("ring.key")
    }

    /// Makes a key.
    ///
    /// # Errors
    ///
    /// When `exo keygen` does not.
    pub fn make_key(&self, file: &Path) -> Result<()> {
        let mut command = Command::new(Binaries::find()?.exo);
        command.args(["keygen", "--out"]).arg(file);
        Program::start(command, "keygen", self.folder.path())?
            .wait(Deadline::seconds(20))?
            .ok()
            .map(drop)
    }

    fn state(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("state-{host}"))
    }
}

/// What a host is called.
pub fn name(host: usize) -> String {
    format!("host{host}")
}
