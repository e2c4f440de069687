//! Exo's side: where its binaries are, and one private monitor per measurement.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::Pid;

/// How long the monitor may take to open its socket, or to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where cargo puts examples.
const RING_HOP: &str = "examples/ring_hop";

/// The built programs that the benchmark drives.
#[derive(Debug)]
pub(crate) struct Binaries {
    exo: PathBuf,
    exod: PathBuf,
    /// Rings of engines without programs (`libexo/examples`).
    pub(crate) ring_hop: PathBuf,
}

impl Binaries {
    /// Finds them in `folder`.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Self> {
        for name in ["exo", "exod", "libexo_shim.so", RING_HOP] {
            if !folder.join(name).exists() {
                bail!("{} is not in {} (make build)", name, folder.display());
            }
        }
        Ok(Self {
            exo: folder.join("exo"),
            exod: folder.join("exod"),
            ring_hop: folder.join(RING_HOP),
        })
    }

    /// Writes a new key of a ring.
    pub(crate) fn make_key(&self, path: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(&self.exo);
        command.arg("keygen").arg("--out").arg(path);
        let output = command.output().context("cannot run exo (make build)")?;
        let why = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "exo keygen: {}", why.trim());
        Ok(())
    }
}

/// A private monitor, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Monitor<'a> {
    binaries: &'a Binaries,
    socket: PathBuf,
    child: Child,
}

impl<'a> Monitor<'a> {
    /// Starts `exod` for `groups` with its socket in `folder`.
    pub(crate) fn start(
        binaries: &'a Binaries,
        folder: &Path,
        groups: &[String],
    ) -> anyhow::Result<Self> {
        let arguments = groups.iter().flat_map(|group| ["-g", group]);
        let mut monitor = Self::spawn(binaries, folder.join("exod.sock"), arguments)?;
        monitor.wait_until_ready()?;
        Ok(monitor)
    }

    /// Starts `exod` with a configuration, in the network namespace of this thread. Its socket opens
    /// some time later.
    pub(crate) fn configured(
        binaries: &'a Binaries,
        socket: PathBuf,
        configuration: &str,
    ) -> anyhow::Result<Self> {
        let path = socket.with_extension("toml");
        std::fs::write(&path, configuration).context("cannot write a configuration")?;
        let path = path.to_str().context("TMPDIR is not UTF-8")?;
        Self::spawn(binaries, socket, ["--config", path].into_iter())
    }

    fn spawn<'b>(
        binaries: &'a Binaries,
        socket: PathBuf,
        arguments: impl Iterator<Item = &'b str>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(&binaries.exod);
        command.arg("--socket").arg(&socket).args(["--log", "warn"]);
        command.args(arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start exod (make build)")?;
        Ok(Self {
            binaries,
            socket,
            child,
        })
    }

    /// What `exo ring` says, once the hosts order together.
    pub(crate) fn wait_for_ring(&mut self) -> anyhow::Result<()> {
        self.wait_until_ready()?;
        for _ in 0..PATIENCE.as_millis() / 5 {
            let ring = self.ring()?;
            let hosts = ring["hosts"].as_array().context("no hosts in exo ring")?;
            if ring["state"] == "ordering" && hosts.iter().all(|host| host["is_member"] == true) {
                return Ok(());
            }
            pause();
        }
        bail!("no ring of all hosts within {PATIENCE:?}: {}", self.ring()?)
    }

    /// What `exo ring --json` says.
    pub(crate) fn ring(&self) -> anyhow::Result<serde_json::Value> {
        let mut command = Command::new(&self.binaries.exo);
        command.args(["ring", "--json", "--socket"]);
        let output = command.arg(&self.socket).output()?;
        // Its exit status tells how the ring stands; what it says tells more.
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
        Ok(answer["ring"].clone())
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let address = UnixAddr::new(&self.socket).context("the socket's path is too long")?;
        for _ in 0..PATIENCE.as_millis() / 5 {
            if let Some(status) = self.child.try_wait()? {
                bail!("exod ended at once: {status} (its message is above)");
            }
            let kind = SockType::SeqPacket;
            let probe = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
            if connect(std::os::fd::AsRawFd::as_raw_fd(&probe), &address).is_ok() {
                return Ok(());
            }
            pause();
        }
        bail!("exod opened no socket within {PATIENCE:?}")
    }

    /// `program` under Exo; with `--require`, so that a side that is not Exo's cannot go unnoticed.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.binaries.exo);
        command
            .args(["run", "--require", "--socket"])
            .arg(&self.socket)
            .arg("--")
            .arg(program);
        command
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid is an i32"));
        // Fails only when it has ended by itself.
        let _ = kill(pid, Signal::SIGTERM);
        for _ in 0..PATIENCE.as_millis() / 5 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process offers nothing to wait on here"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
