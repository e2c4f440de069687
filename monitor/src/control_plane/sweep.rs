//! Which sockets still exist, by the kernel's own tables.
//!
//! A socket may be closed where no shim sees it, and may live on in a forked child: only the
//! kernel knows. Its table of UDP sockets, read through a file that was opened for the process's
//! network namespace, lists the inode of each.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Opens the tables of the network namespace of `pid`.
pub(super) fn open_tables(pid: i32) -> Vec<File> {
    ["udp", "udp6"]
        .iter()
        .filter_map(|name| File::open(format!("/proc/{pid}/net/{name}")).ok())
        .collect()
}

/// Adds the inodes of all sockets in `table` to `inodes`. False: the table could not be read.
pub(super) fn read_inodes(table: &mut File, inodes: &mut HashSet<u64>) -> bool {
    let mut text = String::new();
    if table.seek(SeekFrom::Start(0)).is_err() || table.read_to_string(&mut text).is_err() {
        return false;
    }
    inodes.extend(text.lines().skip(1).filter_map(inode_of_line));
    true
}

/// The tenth column of a line of `/proc/net/udp`.
fn inode_of_line(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(9)?.parse().ok()
}

/// Whether some process other than this one has a descriptor of the socket with `inode`.
///
/// For sockets with kernel delivery only: there this process holds one itself, so the kernel's
/// table goes on listing it.
pub(super) fn is_held_elsewhere(inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let me = std::process::id();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != me)
        .filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).ok())
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .any(|target| target.as_os_str() == wanted.as_str())
}

/// Whether process `pid` has a descriptor of the socket with `inode`.
pub(super) fn has_socket(pid: i32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .any(|target| target.as_os_str() == wanted.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inode_is_found_in_a_line_of_the_kernel() {
        let line = "  431: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 18523 2 0000000000000000 0";
        assert_eq!(inode_of_line(line), Some(18_523));
        assert_eq!(inode_of_line("sl local_address"), None);
    }

    #[test]
    fn an_open_socket_is_listed_and_a_closed_one_is_not() {
        use std::os::unix::fs::MetadataExt;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let link = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let inode = std::fs::metadata(format!("/proc/self/fd/{link}"))
            .unwrap()
            .ino();
        let mut tables = open_tables(pid);
        let mut inodes = HashSet::new();
        assert!(read_inodes(&mut tables[0], &mut inodes));
        assert!(inodes.contains(&inode));
        drop(socket);
        inodes.clear();
        assert!(read_inodes(&mut tables[0], &mut inodes));
        assert!(!inodes.contains(&inode));
    }
}
