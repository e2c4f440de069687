//! Where things are: control sockets, the shim, the daemon.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use exo_monitor::config::SYSTEM_SOCKET;

use crate::errors::{FAILED, Stop};

const SHIM_FILE: &str = "libexo_shim.so";
const DAEMON_FILE: &str = "exod";

/// The name that every socket of a private monitor has.
const SOCKET_FILE: &str = "exod.sock";

/// `sun_path` of `sockaddr_un`, less its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A control socket that may have a monitor behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) socket: PathBuf,
    /// The per-user one, whose folder must be ours alone.
    pub(crate) is_private: bool,
}

impl Place {
    /// The sockets to try, best first: the one that was named, by option or `EXO_SOCKET`; else the
    /// system's, then the private one.
    pub(crate) fn all(explicit: Option<&Path>) -> Vec<Self> {
        let named = |socket: PathBuf| {
            vec![Self {
                socket,
                is_private: false,
            }]
        };
        if let Some(socket) = explicit {
            return named(socket.to_owned());
        }
        if let Some(socket) = environment_path("EXO_SOCKET") {
            return named(socket);
        }
        let mut places = named(PathBuf::from(SYSTEM_SOCKET));
        let private = Self {
            socket: private_socket(),
            is_private: true,
        };
        // Nobody else's monitor is trusted with our datagrams, whatever it is called.
        if folder_of(&private.socket).is_ok_and(|folder| check_folder(folder).is_ok()) {
            places.push(private);
        }
        places
    }

    /// Where `exo run -g` keeps its monitor.
    pub(crate) fn for_groups(explicit: Option<&Path>) -> Self {
        match explicit
            .map(Path::to_owned)
            .or_else(|| environment_path("EXO_SOCKET"))
        {
            Some(socket) => Self {
                socket,
                is_private: false,
            },
            None => Self {
                socket: private_socket(),
                is_private: true,
            },
        }
    }
}

/// A variable that holds a path; empty is unset.
pub(crate) fn environment_path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// `$XDG_RUNTIME_DIR/exo/exod.sock`, else `/tmp/exo-UID/exod.sock`.
pub(crate) fn private_socket() -> PathBuf {
    let folder = environment_path("XDG_RUNTIME_DIR")
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .map_or_else(
            || PathBuf::from(format!("/tmp/exo-{}", rustix::process::geteuid().as_raw())),
            |folder| folder.join("exo"),
        );
    folder.join(SOCKET_FILE)
}

/// The folder of a socket.
///
/// # Errors
///
/// The path is not one that a socket can have.
pub(crate) fn folder_of(socket: &Path) -> Result<&Path, Stop> {
    let length_bytes = socket.as_os_str().len();
    if length_bytes > SOCKET_PATH_BYTES_MAX {
        return Err(Stop::new(
            FAILED,
            format!(
                "the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes, not {length_bytes}"
            ),
            "give a shorter one with --socket",
        ));
    }
    match socket.parent() {
        Some(folder) if folder == Path::new("") => Ok(Path::new(".")),
        Some(folder) => Ok(folder),
        None => Err(Stop::new(
            FAILED,
            format!("{} is not the path of a socket", socket.display()),
            "give a file name in a folder of your own with --socket",
        )),
    }
}

/// Makes the folder of a private monitor, or takes it as it is when it is ours alone.
///
/// # Errors
///
/// It cannot be made, or others could put their own socket there.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Stop> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_folder(folder),
        Err(error) => Err(Stop::new(
            FAILED,
            format!("cannot make the folder {}: {error}", folder.display()),
            "set XDG_RUNTIME_DIR to a folder of your own, or give --socket",
        )),
    }
}

/// Whether `folder` is a folder of ours that nobody else can write or enter.
///
/// # Errors
///
/// It is not.
pub(crate) fn check_folder(folder: &Path) -> Result<(), Stop> {
    let refuse = |what: String, hint: String| Err(Stop::new(FAILED, what, hint));
    let shown = folder.display();
    let metadata = match fs::symlink_metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) => return refuse(format!("cannot look at {shown}: {error}"), "make it".into()),
    };
    let ours = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        refuse(format!("{shown} is not a folder"), "move it away".into())
    } else if metadata.uid() != ours {
        let owner = metadata.uid();
        let hint = "set XDG_RUNTIME_DIR to a folder of your own, or give --socket".to_owned();
        refuse(
            format!("{shown} belongs to user {owner}, not to user {ours}"),
            hint,
        )
    } else if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        refuse(
            format!("{shown} is open to others (mode {mode:o})"),
            format!("chmod 700 {shown}"),
        )
    } else {
        Ok(())
    }
}

/// The shim: `$EXO_SHIM`, beside this program, in `../lib`, in `../lib/exo`.
///
/// # Errors
///
/// It is in none of these places, or the loader could not be told about it.
pub(crate) fn shim() -> Result<PathBuf, Stop> {
    let shim = find(SHIM_FILE, "EXO_SHIM", &[".", "../lib", "../lib/exo"])?;
    let is_separator = |byte: &u8| byte.is_ascii_whitespace() || *byte == b':';
    if shim.as_os_str().as_encoded_bytes().iter().any(is_separator) {
        return Err(Stop::new(
            FAILED,
            format!(
                "{} holds a space or a colon, which LD_PRELOAD cannot name",
                shim.display()
            ),
            "install Exo under another path, or set EXO_SHIM",
        ));
    }
    Ok(shim)
}

/// The daemon: `$EXO_EXOD`, beside this program, in `../sbin`, in `../libexec/exo`.
///
/// # Errors
///
/// It is in none of these places.
pub(crate) fn daemon() -> Result<PathBuf, Stop> {
    find(DAEMON_FILE, "EXO_EXOD", &[".", "../sbin", "../libexec/exo"])
}

fn find(file: &str, variable: &str, folders: &[&str]) -> Result<PathBuf, Stop> {
    let hint = format!("install Exo as a whole, or set {variable} to the path of {file}");
    if let Some(path) = environment_path(variable) {
        return fs::canonicalize(&path).map_err(|error| {
            let what = format!("{variable} is {}: {error}", path.display());
            Stop::new(
                FAILED,
                what,
                format!("set it to the path of {file}, or unset it"),
            )
        });
    }
    let own = env::current_exe().map_err(|error| {
        Stop::new(
            FAILED,
            format!("cannot tell where exo itself is: {error}"),
            hint.clone(),
        )
    })?;
    let beside = own.parent().unwrap_or_else(|| Path::new("/"));
    folders
        .iter()
        .find_map(|folder| fs::canonicalize(beside.join(folder).join(file)).ok())
        .ok_or_else(|| {
            let what = format!("{file} is neither in {} nor near it", beside.display());
            Stop::new(FAILED, what, hint)
        })
}
