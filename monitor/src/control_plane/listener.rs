//! The listening socket: one monitor a path, and the kernel's word for who connects.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libexo::control::channel::Channel;
use libexo::shm::region::Descriptor;
use rustix::fd::{AsFd, RawFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::access::Identity;

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another monitor has it.
    #[error(
        "exod with pid {pid} already serves {path}: use it, stop it with kill {pid}, or give \
         another path with --socket", path = path.display()
    )]
    Taken {
        /// The other monitor's process number.
        pid: i32,
        /// The socket.
        path: PathBuf,
    },
    /// Something is in the way.
    #[error("cannot listen at {path}: {source} (give another path with --socket)", path = path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// The listening socket. Removes its path when dropped.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Descriptor,
    path: PathBuf,
    /// Locked for as long as the monitor lives, so that two that start at once do not both win.
    _lock: std::fs::File,
}

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source: std::io::Error| ListenError::System {
            path: path.into(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(PathBuf::from(lock_path))
            .map_err(failed)?;
        if let Err(errno) =
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        {
            let pid = std::io::read_to_string(&lock)
                .ok()
                .and_then(|t| t.trim().parse().ok());
            return Err(match pid {
                Some(pid) => ListenError::Taken {
                    pid,
                    path: path.into(),
                },
                None => failed(errno.into()),
            });
        }
        lock.set_len(0).map_err(failed)?;
        std::io::Write::write_all(&mut &lock, std::process::id().to_string().as_bytes())
            .map_err(failed)?;
        // Whose lock it was is dead; so is the socket it left.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let socket = listen(path).map_err(|errno| failed(errno.into()))?;
        // Who may do what is decided for each request by who the kernel says they are; a private
        // monitor is protected by its folder.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(Self {
            socket,
            path: path.into(),
            _lock: lock,
        })
    }

    pub(super) const fn raw(&self) -> RawFd {
        self.socket.raw()
    }

    /// The next connection, and who made it.
    pub(super) fn accept(&self) -> Option<(Channel, Identity)> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(socket) => {
                    let socket = Descriptor::from_owned(socket);
                    let Ok(peer) = rustix::net::sockopt::socket_peercred(socket.as_fd()) else {
                        continue;
                    };
                    let pid = peer.pid.as_raw_nonzero().get();
                    let identity = Identity::of(pid, peer.uid.as_raw(), peer.gid.as_raw());
                    return Some((Channel::from_descriptor(socket), identity));
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return None,
                Err(errno) => {
                    tracing::warn!(%errno, "cannot accept a connection");
                    return None;
                }
            }
        }
    }
}

fn listen(path: &Path) -> Result<Descriptor, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let socket = Descriptor::from_owned(socket);
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 1024)?;
    Ok(socket)
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = std::fs::remove_file(&self.path);
    }
}
