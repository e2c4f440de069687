//! `exo doctor` between hosts: real monitors in network namespaces on one bridge, which is then made
//! to fail in one way after the other.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{Binaries, is_native_only};
use compat_tests::deadline::Deadline;
use compat_tests::program::Program;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A bridge, until the end of its input.
const NETWORK: &str = r#"
set -e
ip link add bridge0 type bridge mcast_snooping 0
ip link set bridge0 up
echo ready
exec cat
"#;

/// Waits for the bridge's end of its link, then for the end of its input.
const HOST: &str = r#"
set -e
ip link set lo up
echo waiting
read -r address
ip addr add "$address/24" dev eth0
ip link set eth0 up
ip route add 224.0.0.0/4 dev eth0
echo ready
exec cat
"#;

/// Three hosts with a monitor each. The namespaces end with the programs that hold them.
struct Hosts {
    monitors: Vec<Program>, // dropped first: they run in the namespaces
    holders: Vec<Program>,
    network: Program,
    binaries: Binaries,
    folder: TempDir,
}

fn address(host: usize) -> String {
    format!("10.79.0.{}", host + 1)
}

/// Runs `program` in the network namespace of `holder`.
fn inside(holder: Pid, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &holder.to_string(), "-n"]);
    if !Uid::effective().is_root() {
        command.args(["-U", "--preserve-credentials"]);
    }
    command.arg("--").arg(program.as_ref());
    command
}

impl Hosts {
    fn start(transport: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("exo-doctor-").tempdir()?;
        let mut command = Command::new("unshare");
        command.arg(if Uid::effective().is_root() {
            "-n"
        } else {
            "-rn"
        });
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "sh", "-c"]);
        command.arg(NETWORK);
        let mut network = Program::start(command, "network", folder.path())?;
        network
            .wait_for("ready", Deadline::seconds(20))
            .context("cannot make a bridge: be root or allow user namespaces")?;
        let mut hosts = Self {
            monitors: Vec::new(),
            holders: Vec::new(),
            network,
            binaries: Binaries::find()?,
            folder,
        };
        for host in 0..NAMES.len() {
            hosts.add_namespace(host)?;
        }
        let mut command = Command::new(&hosts.binaries.exo);
        command
            .args(["keygen", "--out"])
            .arg(hosts.path("ring.key"));
        hosts.run("keygen", command)?;
        for host in 0..NAMES.len() {
            hosts.add_monitor(host, transport)?;
        }
        Ok(hosts)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, name: &str, command: Command) -> Result<()> {
        let program = Program::start(command, name, self.folder.path())?;
        program.wait(Deadline::seconds(20))?.ok().map(drop)
    }

    /// Runs lines of a shell where the bridge is.
    fn in_network(&self, lines: &str) -> Result<()> {
        let mut command = inside(self.network.pid(), "sh");
        command.args(["-e", "-c", lines]);
        self.run("network", command)
    }

    fn add_namespace(&mut self, host: usize) -> Result<()> {
        let mut command = inside(self.network.pid(), "unshare");
        command.args([
            "-n",
            "--",
            "setpriv",
            "--pdeathsig",
            "KILL",
            "sh",
            "-c",
            HOST,
        ]);
        let mut holder = Program::start(command, NAMES[host], self.folder.path())?;
        holder.wait_for("waiting", Deadline::seconds(20))?;
        let pid = holder.pid();
        self.in_network(&format!(
            "ip link add port{host} type veth peer name eth0 netns {pid}
             ip link set port{host} master bridge0 up"
        ))?;
        holder.say(&format!("{}\n", address(host)))?;
        holder.wait_for("ready", Deadline::seconds(20))?;
        self.holders.push(holder);
        Ok(())
    }

    fn socket(&self, host: usize) -> PathBuf {
        self.path(&format!("{}.sock", NAMES[host]))
    }

    fn add_monitor(&mut self, host: usize, transport: &str) -> Result<()> {
        let name = NAMES[host];
        let mut text = format!(
            "[ring]\nhost = \"{name}\"\ntransport = \"{transport}\"\nkey_file = \"{}\"\n\
             state = \"{}\"\n",
            self.path("ring.key").display(),
            self.path(&format!("{name}.state")).display()
        );
        for (other, name) in NAMES.iter().enumerate() {
            let address = address(other);
            writeln!(
                text,
                "[[host]]\nname = \"{name}\"\naddress = \"{address}:7946\""
            )?;
        }
        let config = self.path(&format!("{name}.toml"));
        fs::write(&config, text)?;
        let mut command = inside(self.holders[host].pid(), "setpriv");
        command.args(["--pdeathsig", "KILL"]);
        command.arg(&self.binaries.exod).arg("--config").arg(config);
        command.arg("--socket").arg(self.socket(host));
        let mut monitor = Program::start(command, &format!("exod-{name}"), self.folder.path())?;
        monitor.wait_for("ready", Deadline::seconds(20))?;
        self.monitors.push(monitor);
        Ok(())
    }

    /// A datagram that is no frame, to a host's probe port.
    fn send_nonsense(&self, from: usize, port: u16, to: usize) -> Result<()> {
        let mut command = inside(self.holders[from].pid(), "python3");
        let (from, to) = (address(from), address(to));
        command.arg("-c").arg(format!(
            "import socket\n\
             it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             it.bind((\"{from}\", {port}))\n\
             it.sendto(b\"x\" * 200, (\"{to}\", 7947))"
        ));
        self.run("python3", command)
    }

    /// What `exo doctor` says on a host, and its exit code.
    fn doctor(&self, host: usize) -> Result<(Value, Option<i32>)> {
        let mut command = inside(self.holders[host].pid(), &self.binaries.exo);
        command.arg("--socket").arg(self.socket(host));
        command.args(["doctor", "--json"]);
        let program = Program::start(command, "doctor", self.folder.path())?;
        let ended = program.wait(Deadline::seconds(20))?;
        let document = serde_json::from_str(&ended.stdout).with_context(|| ended.stderr.clone())?;
        Ok((document, ended.status.code()))
    }

    /// Waits until a host's findings are `wanted`, one text for each, and returns the document.
    fn await_findings(&self, host: usize, wanted: &[&str]) -> Result<(Value, Option<i32>)> {
        let mut last = Value::Null;
        let found = Deadline::seconds(60).until("these findings", || {
            let (document, code) = self.doctor(host)?;
            let between = &document["between_hosts"];
            last = between.clone();
            let found = between["findings"].as_array().context("no findings")?;
            let found: Vec<_> = found.iter().map(|it| it["what"].as_str()).collect();
            let wanted: Vec<_> = wanted.iter().map(|what| Some(*what)).collect();
            Ok((found == wanted).then_some((document, code)))
        });
        found.with_context(|| format!("{wanted:?} on {}; last: {last:#}", NAMES[host]))
    }
}

#[test]
fn hosts_that_hear_each_other_have_nothing_to_find() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    for transport in ["udp-multicast", "tcp"] {
        let hosts = Hosts::start(transport)?;
        for host in [0, 2] {
            let (document, _) = hosts.await_findings(host, &[])?;
            let between = &document["between_hosts"];
            ensure!(between["has_majority"] == true, "{between:#}");
            let pairs = between["pairs"].as_array().context("no pairs")?;
            ensure!(pairs.len() == 6, "all ways between three hosts: {pairs:#?}");
            for pair in pairs {
                ensure!(pair["sent"] == 10 && pair["answered"] == 10, "{pair:#}");
                ensure!(pair["rtt_median_ns"].as_u64() > Some(0), "{pair:#}");
                ensure!(pair["largest_bytes"] == 1472, "{pair:#}");
                if transport == "tcp" {
                    ensure!(pair["tcp_answers"] == true, "{pair:#}");
                } else {
                    ensure!(pair["heard_to_all"] == 10, "{pair:#}");
                }
            }
            let checks = document["checks"].as_array().context("no checks")?;
            let is_ours = |check: &&Value| check["name"] == "between hosts";
            let check = checks.iter().find(is_ours).context("no check")?;
            ensure!(check["level"] == "ok", "{check:#}");
        }
    }
    Ok(())
}

#[test]
fn what_is_wrong_between_hosts_is_named_with_what_to_do() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let hosts = Hosts::start("udp-multicast")?;
    hosts.await_findings(0, &[])?;

    hosts.in_network("bridge link set dev port1 mcast_flood off")?;
    let deaf = ["nothing arrives at b by multicast from a, c, but unicast does"];
    for host in [0, 1, 2] {
        let (document, code) = hosts.await_findings(host, &deaf)?;
        ensure!(code == Some(5), "{code:?}");
        let fix = document["between_hosts"]["findings"][0]["fix"].as_str();
        ensure!(fix.is_some_and(|fix| fix.contains("udp-copies")), "{fix:?}");
    }
    hosts.in_network("bridge link set dev port1 mcast_flood on")?;

    hosts.in_network("ip link set port2 mtu 1400")?;
    let short = ["c to a", "c to b", "a, b to c"]
        .map(|way| format!("frames of 1472 bytes do not pass from {way}, only short ones do"));
    hosts.await_findings(0, &short.each_ref().map(String::as_str))?;
    hosts.in_network("ip link set port2 mtu 1500")?;

    hosts.monitors[2].signal(Signal::SIGKILL)?;
    let (_, code) = hosts.await_findings(0, &["no answer at all from c"])?;
    ensure!(code == Some(5), "{code:?}");
    for (port, reason) in [(7947, "refused"), (9, "unknown_source")] {
        hosts.send_nonsense(2, port, 0)?;
        let (document, _) = hosts.await_findings(0, &["no answer at all from c"])?;
        let dropped = &document["between_hosts"]["dropped"];
        ensure!(dropped[reason] == 1, "{reason}: {dropped}");
    }

    hosts.monitors[1].signal(Signal::SIGKILL)?;
    let nobody = ["no answer at all from b", "no answer at all from c"];
    let (document, code) = hosts.await_findings(0, &nobody)?;
    ensure!(code == Some(4), "{code:?}: {document:#}");
    Ok(())
}
