//! An operator's side of the control socket: one question, one document.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::channel::{Channel, Descriptors};
pub use super::message::Query;
use super::message::{PACKET_MAX, ParseError, Reply, Request};

/// How long an operator waits for the monitor's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens at the socket.
    #[error("no monitor is running at {path}", path = path.display())]
    NoMonitor {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The socket exists and this user may not use it.
    #[error("{path} may not be opened by this user", path = path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The monitor said no.
    #[error("the monitor refused: {}", std::io::Error::from_raw_os_error(*errno))]
    Refused {
        /// Its errno.
        errno: i32,
    },
    /// The monitor said no and why.
    #[error("the monitor refused: {why}")]
    Because {
        /// Its words.
        why: String,
    },
    /// The monitor speaks another version.
    #[error("the monitor at {path} answered in another version ({source}); restart it after an upgrade", path = path.display())]
    Version {
        /// The socket.
        path: PathBuf,
        /// What did not fit.
        source: ParseError,
    },
    /// The connection broke or timed out.
    #[error("the monitor at {path} did not answer: {source}", path = path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Asks the monitor at `socket` and returns its document (JSON).
///
/// # Errors
///
/// [`AskError`], with what to look at next.
pub fn ask(socket: &Path, query: Query) -> Result<String, AskError> {
    let path = || socket.to_path_buf();
    let broken = |errno: Errno| AskError::Broken {
        path: path(),
        source: errno.into(),
    };
    let channel = Channel::connect(socket.as_os_str().as_bytes()).map_err(|errno| match errno {
        Errno::NOENT | Errno::CONNREFUSED => AskError::NoMonitor { path: path() },
        Errno::ACCESS | Errno::PERM => AskError::Forbidden { path: path() },
        other => broken(other),
    })?;
    channel.set_timeout(ANSWER_TIMEOUT).map_err(broken)?;
    channel
        .send(Request::Ask(query).emit(1).as_bytes(), &[])
        .map_err(broken)?;
    let mut bytes = [0; PACKET_MAX];
    let mut descriptors = Descriptors::default();
    let len = channel
        .receive(&mut bytes, &mut descriptors)
        .map_err(broken)?;
    if len == 0 {
        return Err(broken(Errno::CONNRESET));
    }
    let (reply, _) = Reply::parse(&bytes[..len]).map_err(|source| AskError::Version {
        path: path(),
        source,
    })?;
    match reply {
        Reply::Document { len } => {
            let [Some(document), ..] = descriptors else {
                return Err(broken(Errno::BADMSG));
            };
            let len = usize::try_from(len).unwrap_or(0).min(DOCUMENT_MAX);
            let mut text = vec![0; len];
            let mut done = 0;
            while done < len {
                match rustix::io::pread(&document, &mut text[done..], done as u64) {
                    Ok(0) => return Err(broken(Errno::BADMSG)),
                    Ok(more) => done += more,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(broken(errno)),
                }
            }
            let text = String::from_utf8(text).map_err(|_| broken(Errno::BADMSG))?;
            match text.strip_prefix("refused: ") {
                Some(why) => Err(AskError::Because {
                    why: why.to_owned(),
                }),
                None => Ok(text),
            }
        }
        Reply::Refused { errno } => Err(AskError::Refused { errno }),
        _ => Ok(String::from("{}")),
    }
}

/// Longest document that is read.
const DOCUMENT_MAX: usize = 256 << 20;
