//! A world for one test: a network namespace with one multicast link, a folder, a monitor.
//!
//! The namespace belongs to a holder process that waits on its standard input. However the test
//! ends, that input closes, the holder ends, and the kernel takes the namespace away; everything
//! started in it is killed when the test's thread ends (`PR_SET_PDEATHSIG`). Works as root, and as
//! anybody where unprivileged user namespaces are allowed. [`crate::hosts`] joins several of them.

use crate::binaries::Binaries;
use crate::deadline::Deadline;
use crate::program::{Ended, Program};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Address of the link that carries the groups.
pub const ADDRESS: &str = "10.77.0.1";
/// Name of that link.
pub const LINK: &str = "x0";

/// A log that fills soon, and that nobody's policy empties.
pub const SMALL_LOG: &str = r#"
[[group]]
name = "orders"
address = "239.1.2.3:5000"
log = "1MiB"
slow_member = { wait = "60s", policy = "throttle" }
"#;

/// Groups that most tests use. Their logs hold at least a hundred of the largest datagrams.
pub const GROUPS: &str = r#"
[[group]]
name = "orders"
address = "239.1.2.3:5000"
[[group]]
name = "trades"
address = "239.1.2.4:5000"
[[group]]
name = "quotes"
address = "239.1.2.4:5001"
[[group]]
name = "six"
address = "[ff15::1]:5000"
"#;

/// Link, addresses and routes. Duplicate-address detection is switched off where that is allowed
/// and waited for in any case: until it ends, IPv6 sends fail.
const SET_UP: &str = r#"
set -e
ip link set lo up
ip link add x0 type veth peer name x1
for link in x0 x1; do
    echo 0 2>/dev/null > /proc/sys/net/ipv6/conf/$link/accept_dad || true
done
ip addr add 10.77.0.1/24 dev x0
ip link set x1 up
ip link set x0 multicast on up
ip -6 addr add fd77::1/64 dev x0 nodad
ip route add 224.0.0.0/4 dev x0
until ip -6 addr show dev x0 scope link | grep -q inet6; do :; done
while ip -6 addr show tentative | grep -q inet6; do :; done
echo ready
exec cat
"#;

/// Whose multicast a program gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Under {
    /// The kernel's.
    Kernel,
    /// Exo's, by preloading the shim directly.
    Exo,
    /// Exo's, by `exo run --require`.
    ExoRun,
}

/// The namespace, the folder and the monitor of one test.
#[derive(Debug)]
pub struct World {
    monitor: Option<Monitor>, // dropped first: it runs in the namespace
    holder: Program,
    folder: TempDir,
    address: String,
    link: String,
}

#[derive(Debug)]
struct Monitor {
    program: Program,
    binaries: Binaries,
    socket: PathBuf,
    config: PathBuf,
    environment: Vec<(String, String)>,
}

impl World {
    /// A namespace without a monitor.
    ///
    /// # Errors
    ///
    /// When namespaces are not allowed or `ip` is missing; the text says which.
    pub fn native() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("exo-compat-").tempdir()?;
        let mut command = Command::new("unshare");
        command.arg(if Uid::effective().is_root() {
            "-n"
        } else {
            "-rn"
        });
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "sh", "-c", SET_UP]);
        let mut holder = Program::start(command, "namespace", folder.path())?;
        holder.wait_for("ready", Deadline::seconds(20)).context(
            "cannot make a network namespace: be root or allow user namespaces, and install \
             iproute2 (compat-tests/setup.sh does)",
        )?;
        Ok(Self::of(holder, folder, ADDRESS, LINK))
    }

    /// The namespace of `holder`, which has `link` with `address`.
    pub(crate) fn of(holder: Program, folder: TempDir, address: &str, link: &str) -> Self {
        Self {
            monitor: None,
            holder,
            folder,
            address: address.to_owned(),
            link: link.to_owned(),
        }
    }

    /// A namespace with a monitor for `groups`, which is the text of `[[group]]` tables.
    ///
    /// # Errors
    ///
    /// When the monitor does not become ready.
    pub fn with_monitor(groups: &str) -> Result<Self> {
        let mut world = Self::native()?;
        world.add_monitor(groups, &[])?;
        Ok(world)
    }

    /// Starts a monitor here whose configuration is `tables`, with more in its environment.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub(crate) fn add_monitor(
        &mut self,
        tables: &str,
        environment: &[(String, String)],
    ) -> Result<()> {
        let binaries = Binaries::find()?;
        let socket = self.path("exod.sock");
        let config = self.path("exo.toml");
        fs::write(
            &config,
            format!(
                "[monitor]\nsocket = \"{}\"\nlog = \"info\"\n{tables}",
                socket.display()
            ),
        )?;
        let program = self.start_monitor(&binaries, &config, &socket, environment)?;
        self.monitor = Some(Monitor {
            program,
            binaries,
            socket,
            config,
            environment: environment.to_vec(),
        });
        Ok(())
    }

    /// Starts `exod` and waits until it is ready.
    fn start_monitor(
        &self,
        binaries: &Binaries,
        config: &Path,
        socket: &Path,
        environment: &[(String, String)],
    ) -> Result<Program> {
        let folder = tempfile::tempdir_in(self.folder.path())?;
        let ready = folder.path().join("ready.sock");
        let notified = UnixDatagram::bind(&ready)?;
        notified.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut command = self.command(Under::Kernel, &binaries.exod)?;
        command
            .arg("--config")
            .arg(config)
            .arg("--socket")
            .arg(socket);
        command.env("NOTIFY_SOCKET", &ready);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut program = self.start("exod", command)?;
        Deadline::seconds(20).until("READY=1 from exod", || {
            let mut note = [0; 4096];
            match notified.recv(&mut note) {
                Ok(length) if note[..length].starts_with(b"READY=1") => return Ok(Some(())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = program.try_wait()? {
                bail!("exod ended ({status}):\n{}", program.stderr()?);
            }
            Ok(None)
        })?;
        Ok(program)
    }

    /// Ends the monitor by `signal` and waits for its end; its programs stay.
    ///
    /// # Errors
    ///
    /// When it had ended before, or does not end.
    pub fn end_monitor(&mut self, signal: Signal) -> Result<()> {
        self.check_monitor()?;
        let monitor = self.monitor.as_mut().context("checked above")?;
        monitor.program.signal(signal)?;
        Deadline::seconds(20)
            .until("the end of exod", || monitor.program.try_wait())
            .map(drop)
    }

    /// Starts the monitor again after [`World::end_monitor`], at the same socket.
    ///
    /// # Errors
    ///
    /// When there was none, or it does not become ready.
    pub fn restart_monitor(&mut self) -> Result<()> {
        let Monitor {
            binaries,
            socket,
            config,
            environment,
            ..
        } = self.monitor()?;
        let program = self.start_monitor(binaries, config, socket, environment)?;
        self.monitor.as_mut().context("asked above")?.program = program;
        Ok(())
    }

    /// A namespace for `under`: with a monitor of the usual groups unless it is the kernel's turn.
    ///
    /// # Errors
    ///
    /// As the two above.
    pub fn for_programs(under: Under, groups: &str) -> Result<Self> {
        match under {
            Under::Kernel => Self::native(),
            Under::Exo | Under::ExoRun => Self::with_monitor(groups),
        }
    }

    /// Address of the link that carries the groups.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Name of that link.
    pub fn link(&self) -> &str {
        &self.link
    }

    /// Process whose namespaces these are.
    pub(crate) fn holder(&self) -> Pid {
        self.holder.pid()
    }

    /// Process of the monitor.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn monitor_pid(&self) -> Result<Pid> {
        Ok(self.monitor()?.program.pid())
    }

    /// A signal to the monitor alone, which need not end it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn signal_monitor(&self, signal: Signal) -> Result<()> {
        self.monitor()?.program.signal(signal)
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The monitor's socket.
    ///
    /// # Errors
    ///
    /// When there is no monitor here.
    pub fn socket(&self) -> Result<&Path> {
        Ok(&self.monitor()?.socket)
    }

    /// Exo's binaries.
    ///
    /// # Errors
    ///
    /// When there is no monitor here.
    pub fn binaries(&self) -> Result<&Binaries> {
        Ok(&self.monitor()?.binaries)
    }

    /// A command that will run `program` in the namespace. Arguments are the caller's to add.
    ///
    /// # Errors
    ///
    /// When Exo is asked for and there is no monitor.
    pub fn command(&self, under: Under, program: impl AsRef<OsStr>) -> Result<Command> {
        let holder = self.holder.pid();
        let mut command = Command::new("nsenter");
        command.args(["-t", &holder.to_string(), "-n"]);
        if !Uid::effective().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["--", "setpriv", "--pdeathsig", "KILL"]);
        command
            .env_remove("LD_PRELOAD")
            .current_dir(self.folder.path());
        match under {
            Under::Kernel => {}
            Under::Exo => {
                // Only the last program of the chain is to be preloaded.
                let Monitor {
                    binaries, socket, ..
                } = self.monitor()?;
                command.arg("env");
                command.arg(format!("LD_PRELOAD={}", binaries.shim.display()));
                command.arg(format!("EXO_SOCKET={}", socket.display()));
                command.arg("EXO_REQUIRE=1");
            }
            Under::ExoRun => {
                let Monitor {
                    binaries, socket, ..
                } = self.monitor()?;
                command
                    .arg(&binaries.exo)
                    .args(["run", "--require", "--socket"]);
                command.arg(socket).arg("--");
            }
        }
        command.arg(program);
        Ok(command)
    }

    /// Starts a command made by [`World::command`].
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, name: &str, command: Command) -> Result<Program> {
        Program::start(command, name, self.folder.path())
    }

    /// Starts a command and waits for its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started or the deadline passes.
    pub fn run(&self, name: &str, command: Command, deadline: Deadline) -> Result<Ended> {
        self.start(name, command)?.wait(deadline)
    }

    /// The monitor's answer to `exo status --json`.
    ///
    /// # Errors
    ///
    /// When there is no monitor, or it does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        let Monitor {
            binaries, socket, ..
        } = self.monitor()?;
        let mut command = self.command(Under::Kernel, &binaries.exo)?;
        command.args(["status", "--json", "--socket"]).arg(socket);
        let ended = self.run("exo-status", command, Deadline::seconds(10))?;
        // What is wrong shows in the exit code, too; what is told is the same.
        match serde_json::from_str(&ended.stdout) {
            Ok(status) if ended.stdout.contains("\"exo.status/1\"") => Ok(status),
            _ => Err(ended.ok().err().context("exo status --json is not JSON")?),
        }
    }

    /// Messages that the monitor has ordered so far, in all groups together.
    ///
    /// # Errors
    ///
    /// As [`World::status`].
    pub fn ordered(&self) -> Result<u64> {
        let status = self.status()?;
        let groups = status["groups"]
            .as_array()
            .context("status without groups")?;
        Ok(groups
            .iter()
            .filter_map(|group| group["seq"].as_u64())
            .sum())
    }

    /// Waits until these groups have had `count` messages together, nothing that was sent here waits to
    /// be ordered, and every socket has received all that was delivered to it.
    ///
    /// # Errors
    ///
    /// As [`World::status`], or when the deadline passes first.
    pub fn await_read(&self, groups: &[&str], count: u64, deadline: Deadline) -> Result<()> {
        let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        let mut last = serde_json::Value::Null;
        let waited = deadline.until("that all is read", || {
            let status = self.status()?;
            let had: u64 = list(&status["groups"])
                .iter()
                .filter(|group| groups.iter().any(|name| group["name"] == *name))
                .filter_map(|group| group["messages"].as_u64())
                .sum();
            let sessions = list(&status["sessions"]);
            let has_read = |session: &serde_json::Value| {
                list(&session["sockets"])
                    .iter()
                    .flat_map(|socket| list(&socket["memberships"]))
                    .all(|membership| membership["cursor_lag_bytes"] == 0)
            };
            let is_sent = |session: &serde_json::Value| session["lane_used_bytes"] == 0;
            let all = had >= count && sessions.iter().all(is_sent) && sessions.iter().all(has_read);
            last = status;
            Ok(all.then_some(()))
        });
        waited.with_context(|| format!("{count} of {groups:?}: {last}"))
    }

    /// Is the monitor still there?
    ///
    /// # Errors
    ///
    /// When it ended, with its log.
    pub fn check_monitor(&mut self) -> Result<()> {
        let monitor = self.monitor.as_mut().context("there is no monitor here")?;
        if let Some(status) = monitor.program.try_wait()? {
            bail!("exod ended ({status}):\n{}", monitor.program.stderr()?);
        }
        Ok(())
    }

    /// What the monitor logged so far.
    ///
    /// # Errors
    ///
    /// When there is no monitor.
    pub fn monitor_log(&self) -> Result<String> {
        let program = &self.monitor()?.program;
        Ok(format!("{}{}", program.stdout()?, program.stderr()?))
    }

    /// Ends the monitor as a service manager would and checks that it ended well.
    ///
    /// # Errors
    ///
    /// When it had ended before, ends with another code than 0, or logged a panic.
    pub fn close(mut self) -> Result<()> {
        if self.monitor.is_none() {
            return Ok(());
        }
        self.ask_to_end()?;
        self.await_end()
    }

    /// Asks the monitor to end, as a service manager would.
    pub(crate) fn ask_to_end(&mut self) -> Result<()> {
        self.check_monitor()?;
        self.signal_monitor(Signal::SIGTERM)
    }

    /// Waits for the end of a monitor that was asked, and checks that it ended well.
    pub(crate) fn await_end(mut self) -> Result<()> {
        let monitor = self.monitor.take().context("this world has no monitor")?;
        let ended = monitor
            .program
            .wait(Deadline::seconds(20))?
            .ok()
            .context("exod's end")?;
        ensure!(
            !ended.stderr.contains("panicked"),
            "exod panicked:\n{}",
            ended.stderr
        );
        Ok(())
    }

    fn monitor(&self) -> Result<&Monitor> {
        self.monitor.as_ref().context("this world has no monitor")
    }
}
