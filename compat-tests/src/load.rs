//! Unmodified programs on several hosts at once, in three groups, and whether all received the same.
//!
//! On each host: a Python member and a socat reader in the first group, a C member in the second, a
//! sockperf server in the third; and one sockperf client. Python, C and socat make digests of what
//! came; sockperf counts what it misses.

use crate::binaries::is_soak;
use crate::compile::{python, python_program};
use crate::deadline::Deadline;
use crate::hosts::{Hosts, Settings};
use crate::member::{self, Pace, Report, ensure_agree};
use crate::network::LINK;
use crate::program::Program;
use crate::sockperf::{self, number_after};
use crate::world::{Under, World};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How `order.py` waits, on the first host and so on.
const WAYS: [&str; 3] = ["poll", "edge", "threads"];
/// The C members' group.
const TRADES: &str = "239.1.2.4";
/// sockperf's.
const TICKS: &str = "239.1.2.5";
/// That of Python and socat when the hosts have addresses of IPv6.
const ORDERS6: &str = "ff15::1";
/// Words for sockperf's client: how long, at which rate. It begins to send after two seconds.
const SOCKPERF_CLIENT: [&str; 5] = ["throughput", "-t", "1", "--mps", "2000"];
const SOCKPERF_CLIENT_SOAK: [&str; 5] = ["throughput", "-t", "10", "--mps", "2000"];

/// The programs, ready to send.
#[derive(Debug)]
pub struct Load {
    each: u64,
    pythons: Vec<Program>,
    socats: Vec<(Program, PathBuf)>,
    members: Vec<Program>,
    servers: Vec<Program>,
    client: Program,
}

/// The `[[group]]` tables that a load needs.
pub fn groups(is_ipv6: bool) -> String {
    let orders = if is_ipv6 {
        format!("[{ORDERS6}]")
    } else {
        "239.1.2.3".to_owned()
    };
    let table =
        |(name, address)| format!("[[group]]\nname = \"{name}\"\naddress = \"{address}:5000\"\n");
    [
        ("orders", orders.as_str()),
        ("trades", TRADES),
        ("ticks", TICKS),
    ]
    .map(table)
    .concat()
}

impl Load {
    /// Starts all programs on hosts with [`groups`]; the members of each group send `datagrams`
    /// together.
    ///
    /// # Errors
    ///
    /// When one does not get ready.
    pub fn start(hosts: &Hosts, settings: &Settings, datagrams: usize) -> Result<Self> {
        let count = settings.count;
        let (servers, client) = start_sockperf(hosts)?;
        let mut it = Self {
            each: (datagrams / count) as u64,
            pythons: Vec::new(),
            socats: Vec::new(),
            members: Vec::new(),
            servers,
            client,
        };
        for host in hosts.all() {
            let world = &hosts[host];
            let python = it.python(world, host, settings)?;
            it.pythons.push(python);
            it.socats.push(socat(world, settings.is_ipv6)?);
            let pace = Pace {
                rate: 0,
                count: it.each,
                finals: u32::try_from(count)?,
            };
            let mut command = member::command(world, Under::Exo, pace)?;
            command.env("GROUP", TRADES);
            it.members.push(world.start("member", command)?);
        }
        for program in it.pythons.iter_mut().chain(&mut it.members) {
            program.wait_for("ready", Deadline::seconds(60))?;
        }
        for host in hosts.all() {
            hosts.await_joined(host, "orders", 2, Deadline::seconds(60))?; // Python and socat
        }
        Ok(it)
    }

    fn python(&self, world: &World, host: usize, settings: &Settings) -> Result<Program> {
        let mut command = world.command(Under::Exo, python()?)?;
        command.arg(python_program("order")).arg(WAYS[host % 3]);
        let numbers = [host as u64, settings.count as u64, self.each];
        command.args(numbers.map(|word| word.to_string()));
        command.arg("extremes").env("ADDRESS", world.address());
        if settings.is_ipv6 {
            command.env("GROUP", ORDERS6).env("LINK", LINK);
        }
        world.start("order", command)
    }

    /// Lets all send, and compares what came.
    ///
    /// # Errors
    ///
    /// What differs, or is missing.
    pub fn check(mut self, hosts: &Hosts) -> Result<()> {
        let deadline = Deadline::seconds(if is_soak() { 800 } else { 150 });
        for program in self.pythons.iter_mut().chain(&mut self.members) {
            program.say("go\n")?;
        }
        let count = self.pythons.len() as u64;

        for member in &mut self.members {
            member.wait_for("sent all", deadline)?;
        }
        let reports = member::finish(self.members, deadline).context("C members")?;
        ensure_agree(&reports).context("C members")?;
        // Everybody's datagrams and last words, but for last words behind the last that was awaited.
        ensure!(
            reports[0].received == (self.each + 1) * count,
            "{reports:?}"
        );

        let reports = finish_pythons(self.pythons, deadline).context("Python members")?;
        ensure_agree(&reports).context("Python members")?;
        ensure!(reports[0].received == self.each * count, "{reports:?}");
        for (socat, file) in self.socats {
            let mut digest = String::new();
            let same = Deadline::seconds(60).until("the last bytes at socat", || {
                digest = stream_digest(&file)?;
                Ok((digest == reports[0].stream).then_some(()))
            });
            same.with_context(|| format!("{digest} at socat: {reports:?}\n{:?}", socat.stderr()))?;
        }
        ensure_sockperf_lost_nothing(hosts, self.client, self.servers, deadline)
    }
}

/// A server on each host, and a client, which is about to send.
fn start_sockperf(hosts: &Hosts) -> Result<(Vec<Program>, Program)> {
    let mut servers = Vec::new();
    for host in hosts.all() {
        let command = sockperf::command(&hosts[host], TICKS, &["server", "--gap-detection"])?;
        servers.push(hosts[host].start("sockperf-server", command)?);
    }
    for host in hosts.all() {
        hosts.await_joined(host, "ticks", 1, Deadline::seconds(60))?;
    }
    let words = match is_soak() {
        true => SOCKPERF_CLIENT_SOAK,
        false => SOCKPERF_CLIENT,
    };
    let client = sockperf::command(&hosts[1], TICKS, &words)?;
    Ok((servers, hosts[1].start("sockperf-client", client)?))
}

/// A reader that writes what comes behind each other into a file.
fn socat(world: &World, is_ipv6: bool) -> Result<(Program, PathBuf)> {
    let file = world.path("received");
    fs::write(&file, "")?;
    let mut command = world.command(Under::Exo, "socat")?;
    let address = world.address();
    command.args(["-u", "-b", "70000"]);
    command.arg(match is_ipv6 {
        true => {
            format!("UDP6-RECV:5000,bind=[{ORDERS6}],ipv6-join-group=[{ORDERS6}]:{LINK},reuseaddr")
        }
        false => {
            format!("UDP4-RECV:5000,bind=239.1.2.3,ip-add-membership=239.1.2.3:{address},reuseaddr")
        }
    });
    command.arg(format!("OPEN:{},append", file.display()));
    Ok((world.start("socat", command)?, file))
}

fn finish_pythons(mut pythons: Vec<Program>, deadline: Deadline) -> Result<Vec<Report>> {
    for python in &mut pythons {
        python.wait_for("sent", deadline)?;
    }
    for python in &mut pythons {
        let _ = python.say("finish\n"); // one that has everything may have ended
    }
    pythons
        .into_iter()
        .map(|program| member::report(program, deadline))
        .collect()
}

/// As `order.py` makes it.
fn stream_digest(file: &Path) -> Result<String> {
    let output = Command::new("b2sum")
        .args(["-l", "128"])
        .arg(file)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').next().context("no digest")?.to_owned())
}

fn ensure_sockperf_lost_nothing(
    hosts: &Hosts,
    client: Program,
    servers: Vec<Program>,
    deadline: Deadline,
) -> Result<()> {
    let client = client.wait(deadline)?.ok().context("sockperf's client")?;
    let client = client.stdout + &client.stderr;
    let sent = number_after(&client, "Total of")?;
    ensure!(sent > 100, "too few were sent:\n{client}");
    // The timer that ends the client may interrupt a send that waits for room: it counts that one,
    // although nothing was sent.
    for host in hosts.all() {
        deadline.until(
            &format!("{sent} datagrams of sockperf on host {host}"),
            || {
                let status = hosts[host].status()?;
                let groups = status["groups"].as_array().context("no groups")?;
                let ticks = groups.iter().find(|group| group["name"] == "ticks");
                let ordered = ticks.context("no such group")?["messages"].as_u64();
                Ok(
                    (ordered.context("no count")? + 1 >= sent && has_read_all(&status))
                        .then_some(()),
                )
            },
        )?;
    }
    for server in &servers {
        server.signal(Signal::SIGINT)?;
    }
    for server in servers {
        let ended = server.wait(Deadline::seconds(60))?;
        let text = ended.stdout + &ended.stderr;
        let received = number_after(&text, "sockperf: Total")?;
        ensure!(
            received == sent || received + 1 == sent,
            "sent {sent}, received {received}:\n{client}\n{text}"
        );
        ensure!(
            number_after(&text, "Summary: Total Dropped/OOO:")? == 0,
            "{text}"
        );
    }
    Ok(())
}

/// Has every socket on this host received all that was delivered to it?
fn has_read_all(status: &serde_json::Value) -> bool {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    list(&status["sessions"])
        .iter()
        .flat_map(|session| list(&session["sockets"]))
        .flat_map(|socket| list(&socket["memberships"]))
        .all(|membership| membership["cursor_lag_bytes"] == 0)
}
