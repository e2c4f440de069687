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

/// The built programs that the benchmark drives.
#[derive(Debug)]
pub(crate) struct Binaries {
    exo: PathBuf,
    exod: PathBuf,
}

impl Binaries {
    /// Finds them in `folder`.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Self> {
        for name in ["exo", "exod", "libexo_shim.so"] {
            if !folder.join(name).exists() {
                bail!("{} is not in {} (make build)", name, folder.display());
            }
        }
        Ok(Self {
            exo: folder.join("exo"),
            exod: folder.join("exod"),
        })
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
        let socket = folder.join("exod.sock");
        let mut command = Command::new(&binaries.exod);
        command.arg("--socket").arg(&socket).args(["--log", "warn"]);
        for group in groups {
            command.args(["-g", group]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start exod (make build)")?;
        let mut monitor = Self {
            binaries,
            socket,
            child,
        };
        monitor.wait_until_ready()?;
        Ok(monitor)
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
