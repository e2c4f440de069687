//! A running process as `/proc` shows it: its program, what is loaded into it, its UDP sockets.
//!
//! Everything here is read, nothing is touched, and every answer can be stale a moment later.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::errors::{FAILED, Stop};
use crate::program::Program;

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) comm: String,
    pub(crate) exe: PathBuf,
    pub(crate) program: Program,
    /// Whether `libexo_shim.so` is mapped.
    pub(crate) has_shim: bool,
    /// `EXO_SOCKET` of its environment, as it was started.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) udp_sockets: Vec<UdpSocket>,
}

/// A UDP socket that the kernel knows by an address.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UdpSocket {
    /// All descriptors that lead to it.
    pub(crate) fds: Vec<u32>,
    pub(crate) inode: u64,
    /// Where the kernel has it; a socket that Exo took is on 127.0.0.0/8 or `::1`.
    pub(crate) local: SocketAddr,
}

impl Process {
    /// Looks at a process.
    ///
    /// # Errors
    ///
    /// There is none, or this user may not look.
    pub(crate) fn look(pid: u32) -> Result<Self, Stop> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        if !folder.exists() {
            return Err(Stop::new(
                FAILED,
                format!("no process has the number {pid}"),
                "see `ps`",
            ));
        }
        let unseen = |error: io::Error| {
            let what = format!("cannot look at process {pid}: {error}");
            Stop::new(FAILED, what, "ask as its user or as root")
        };
        let link = folder.join("exe");
        let exe = fs::read_link(&link).map_err(unseen)?;
        let mut program = Program::inspect(&link);
        program.path.clone_from(&exe);
        program.executable.clone_from(&exe);
        let environment = fs::read(folder.join("environ")).map_err(unseen)?;
        let maps = fs::read(folder.join("maps")).map_err(unseen)?;
        Ok(Self {
            comm: fs::read_to_string(folder.join("comm"))
                .unwrap_or_default()
                .trim()
                .to_owned(),
            exe,
            program,
            has_shim: contains(&maps, b"/libexo_shim.so"),
            socket: variable(&environment, b"EXO_SOCKET="),
            udp_sockets: udp_sockets(&folder).map_err(unseen)?,
        })
    }
}

/// Whether `part` stands somewhere in `text`.
pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The value of a path variable in a zero-separated environment.
fn variable(environment: &[u8], name_and_sign: &[u8]) -> Option<PathBuf> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name_and_sign))
        .filter(|value| !value.is_empty())
        .map(|value| PathBuf::from(std::ffi::OsString::from_vec(value.to_vec())))
}

/// The process's descriptors joined with its network namespace's table of UDP sockets.
fn udp_sockets(folder: &Path) -> io::Result<Vec<UdpSocket>> {
    let mut fds = BTreeMap::<u64, Vec<u32>>::new();
    for entry in fs::read_dir(folder.join("fd"))? {
        let entry = entry?;
        // A descriptor that was closed meanwhile is none.
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let inode = target.to_str().and_then(|target| {
            target
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        });
        let fd = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (Some(inode), Some(fd)) = (inode, fd) {
            fds.entry(inode).or_default().push(fd);
        }
    }
    let mut sockets = Vec::new();
    for table in ["net/udp", "net/udp6"] {
        // A kernel without IPv6 has no second table.
        let text = fs::read_to_string(folder.join(table)).unwrap_or_default();
        for (local, inode) in text.lines().filter_map(parse_udp_line) {
            if let Some(mut fds) = fds.remove(&inode) {
                fds.sort_unstable();
                sockets.push(UdpSocket { fds, inode, local });
            }
        }
    }
    sockets.sort_by(|a, b| a.fds.cmp(&b.fds));
    Ok(sockets)
}

/// One line of `/proc/net/udp`: number, local, remote, state, queues, timer, retransmits, uid,
/// timeout, inode, …
fn parse_udp_line(line: &str) -> Option<(SocketAddr, u64)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (ip, port) = words.get(1)?.split_once(':')?;
    let inode = words.get(9)?.parse().ok()?;
    Some((
        SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?),
        inode,
    ))
}

/// Addresses are printed as 32-bit words in the machine's byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..][..4].copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn own_udp_sockets_are_found_with_their_addresses() {
        let four = UdpSocket::bind("127.0.0.1:0").unwrap();
        let six = UdpSocket::bind("[::1]:0").ok();
        let process = Process::look(std::process::id()).unwrap();
        let locals: Vec<_> = process
            .udp_sockets
            .iter()
            .map(|socket| socket.local)
            .collect();
        assert!(locals.contains(&four.local_addr().unwrap()), "{locals:?}");
        if let Some(six) = six {
            assert!(locals.contains(&six.local_addr().unwrap()), "{locals:?}");
        }
        assert!(!process.has_shim);
        assert_eq!(process.exe, std::env::current_exe().unwrap());
    }

    #[test]
    fn duplicates_of_a_descriptor_are_one_socket() {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _two = one.try_clone().unwrap();
        let process = Process::look(std::process::id()).unwrap();
        let local = one.local_addr().unwrap();
        let found: Vec<_> = process
            .udp_sockets
            .iter()
            .filter(|socket| socket.local == local)
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fds.len(), 2);
    }

    #[test]
    fn process_that_does_not_exist_is_said_to() {
        let stop = Process::look(u32::MAX).unwrap_err();
        assert!(
            stop.to_string().contains("no process has the number"),
            "{stop}"
        );
    }

    #[test]
    fn lines_that_are_no_sockets_are_skipped() {
        assert_eq!(
            parse_udp_line("  sl  local_address rem_address   st tx_queue"),
            None
        );
        assert_eq!(parse_udp_line(""), None);
    }
}
