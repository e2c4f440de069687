//! Having a private monitor that orders the wanted groups: asked, or started first.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use libexo::control::operator::{self, AskError, Query};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};

use crate::errors::{FAILED, Stop};
use crate::place;
use crate::status;

/// How long a private monitor stays without a session.
const IDLE_EXIT: &str = "10s";

/// A start takes milliseconds; this much means that something is wrong with the machine.
const START_TIMEOUT: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A longer log is put aside before the next monitor writes.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// Leaves a monitor at `socket` that orders all of `groups`.
///
/// Several of us at once are one after the other: who comes first starts it.
///
/// # Errors
///
/// It could not be started, or refuses a group.
pub(crate) fn ensure(socket: &Path, groups: &[SocketAddr]) -> Result<(), Stop> {
    if add_groups(socket, groups)? {
        return Ok(());
    }
    let folder = place::folder_of(socket)?;
    place::make_folder(folder)?;
    let _lock = lock(folder)?;
    if add_groups(socket, groups)? {
        return Ok(()); // somebody was faster
    }
    let Err(stop) = start(socket, folder, groups) else {
        return Ok(());
    };
    // Somebody may have started one by hand, who knows nothing of our lock.
    if add_groups(socket, groups)? {
        Ok(())
    } else {
        Err(stop)
    }
}

/// Asks the monitor to order the groups; false if none runs.
fn add_groups(socket: &Path, groups: &[SocketAddr]) -> Result<bool, Stop> {
    for &address in groups {
        match operator::ask(socket, Query::AddGroup { address }) {
            Ok(_) => {}
            Err(AskError::NoMonitor { .. }) => return Ok(false),
            Err(AskError::Because { why }) => {
                return Err(Stop::new(
                    FAILED,
                    format!(
                        "the monitor at {} refuses -g {address}: {why}",
                        socket.display()
                    ),
                    "leave -g away to use its groups, or give another --socket",
                ));
            }
            Err(error) => return Err(status::unanswered(socket, &error)),
        }
    }
    Ok(true)
}

/// Held until it is dropped; the kernel drops it for us whatever happens.
fn lock(folder: &Path) -> Result<File, Stop> {
    let path = folder.join("exod.lock");
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| {
            let what = format!("cannot lock {}: {error}", path.display());
            Stop::new(FAILED, what, "check that its folder is yours and not full")
        })
}

fn start(socket: &Path, folder: &Path, groups: &[SocketAddr]) -> Result<(), Stop> {
    let daemon = place::daemon()?;
    let log_path = folder.join("exod.log");
    let failed = |what: String| {
        Stop::new(
            FAILED,
            what,
            format!("see {} and `exo doctor`", log_path.display()),
        )
    };
    let log = open_log(&log_path)
        .map_err(|error| failed(format!("cannot write {}: {error}", log_path.display())))?;
    let socket = std::path::absolute(socket).map_err(|error| {
        failed(format!(
            "cannot tell where {} is: {error}",
            socket.display()
        ))
    })?;
    let own = std::env::current_exe()
        .map_err(|error| failed(format!("cannot tell where exo itself is: {error}")))?;
    let (ready, ready_far_end) =
        io::pipe().map_err(|error| failed(format!("cannot make a pipe: {error}")))?;
    // The one descriptor that the daemon is meant to inherit.
    rustix::io::fcntl_setfd(&ready_far_end, FdFlags::empty())
        .map_err(|errno| failed(format!("cannot pass a pipe on: {errno}")))?;

    let ready_fd = ready_far_end.as_raw_fd().to_string();
    let mut arguments: Vec<OsString> = vec!["detach".into(), "--keep".into()];
    arguments.extend([
        ready_fd.clone().into(),
        "--".into(),
        daemon.clone().into_os_string(),
    ]);
    arguments.extend(["--socket".into(), socket.into_os_string()]);
    arguments.extend(["--idle-exit".into(), IDLE_EXIT.into()]);
    arguments.extend(["--ready-fd".into(), ready_fd.into()]);
    for address in groups {
        arguments.extend(["-g".into(), address.to_string().into()]);
    }
    let status = Command::new(own)
        .args(arguments)
        // The monitor outlives the caller's folder and must never run under the shim that it serves.
        .current_dir("/")
        .env_remove("LD_PRELOAD")
        .env_remove("EXO_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .status()
        .map_err(|error| failed(format!("cannot start {}: {error}", daemon.display())))?;
    drop(ready_far_end);
    if !status.success() {
        return Err(failed(format!("cannot start {}", daemon.display())));
    }
    match wait_until_ready(ready) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let last = last_line(&log_path);
            Err(failed(format!(
                "the private monitor ended as it started{last}"
            )))
        }
        Err(errno) => Err(failed(format!(
            "the private monitor does not get ready: {errno}"
        ))),
    }
}

/// The log of private monitors, whose start is a single long-lived file.
fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Whether a byte arrived; false when all writers are gone without one.
fn wait_until_ready(mut ready: io::PipeReader) -> Result<bool, Errno> {
    loop {
        let mut waiting = [PollFd::from_borrowed_fd(ready.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut waiting, Some(&START_TIMEOUT)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => break,
            Err(Errno::INTR) => {} // a signal of the terminal: wait anew
            Err(errno) => return Err(errno),
        }
    }
    let mut byte = [0];
    match ready.read(&mut byte) {
        Ok(count) => Ok(count == 1),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// `: ` and what the log says last, if it says anything.
fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}
