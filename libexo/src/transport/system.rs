#![allow(
    unsafe_code,
    reason = "socket options and requests that rustix does not have"
)]
//! Network interfaces and the few socket options that rustix does not offer.

use core::mem::{size_of, zeroed};
use core::ptr::from_mut;
use std::io;

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::peers::MacAddress;

/// Why a transport could not be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused a step.
    #[error("cannot {step}: {errno} ({hint})")]
    System {
        /// What was tried, and on what.
        step: String,
        /// The system's answer.
        errno: Errno,
        /// What to do next.
        hint: &'static str,
    },
    /// What was configured cannot work.
    #[error("{what}: {hint}")]
    Configuration {
        /// What does not fit.
        what: String,
        /// What to do next.
        hint: &'static str,
    },
}

/// For `map_err`: says what was tried and what to do.
pub(super) fn failed(
    step: impl Into<String>,
    hint: &'static str,
) -> impl FnOnce(Errno) -> OpenError {
    let step = step.into();
    move |errno| OpenError::System { step, errno, hint }
}

/// Makes a non-blocking socket.
pub(super) fn socket(
    family: AddressFamily,
    kind: SocketType,
    what: &str,
) -> Result<OwnedFd, OpenError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, kind, flags, None).map_err(failed(
        format!("make a socket for {what}"),
        "raise the limit of open files",
    ))
}

/// A network interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mtu_bytes: usize,
    /// `None` for an interface that is not Ethernet.
    pub(super) mac: Option<MacAddress>,
}

impl Link {
    /// Looks up the interface `name` in the network namespace of this thread.
    pub(super) fn find(name: &str) -> Result<Self, OpenError> {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, name)?;
        let ask = |request, what: &str| {
            let mut answer = request_for(name).ok_or_else(|| OpenError::Configuration {
                what: format!("{name:?} cannot be the name of a network interface"),
                hint: "take a name that `ip link` shows",
            })?;
            // SAFETY: these requests read the name and write into the structure and no further.
            let done = unsafe { libc::ioctl(socket.as_raw_fd(), request, from_mut(&mut answer)) };
            if done == 0 {
                return Ok(answer);
            }
            let hint = "`ip link` shows the interfaces; name one of them";
            Err(failed(format!("read the {what} of interface {name}"), hint)(last_errno()))
        };
        let index = ask(libc::SIOCGIFINDEX, "index")?;
        let mtu = ask(libc::SIOCGIFMTU, "MTU")?;
        let mac = ask(libc::SIOCGIFHWADDR, "address")?;
        // SAFETY: the system has filled the member that belongs to the request, in each of them.
        let (index, mtu, mac) = unsafe {
            (
                index.ifr_ifru.ifru_ifindex,
                mtu.ifr_ifru.ifru_mtu,
                mac.ifr_ifru.ifru_hwaddr,
            )
        };
        let is_ethernet = mac.sa_family == libc::ARPHRD_ETHER;
        let octets = core::array::from_fn(|at| mac.sa_data[at].cast_unsigned());
        Ok(Self {
            index: index.cast_unsigned(),
            mtu_bytes: usize::try_from(mtu).unwrap_or(0),
            mac: is_ethernet.then_some(MacAddress(octets)),
        })
    }
}

/// A request about the interface `name`; `None` for what cannot be a name.
fn request_for(name: &str) -> Option<libc::ifreq> {
    // SAFETY: `ifreq` is made of integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    let room = request.ifr_name.len() - 1; // a zero ends it
    if name.is_empty() || name.len() > room || name.bytes().any(|letter| letter == 0) {
        return None;
    }
    for (place, letter) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = letter.cast_signed();
    }
    Some(request)
}

pub(super) fn last_errno() -> Errno {
    let errno = io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(errno.unwrap_or(libc::EIO))
}

/// Sets a socket option whose value is a `T`.
pub(super) fn set_option<T: Copy>(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &T,
) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| Errno::INVAL)?;
    let place = core::ptr::from_ref(value).cast();
    // SAFETY: the system reads `length` bytes of `value`.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, place, length) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Reads a socket option into `words`; returns how many of them the system wrote.
pub(super) fn read_option(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    words: &mut [u32],
) -> Result<usize, Errno> {
    let mut length = libc::socklen_t::try_from(size_of_val(words)).map_err(|_| Errno::INVAL)?;
    let place = words.as_mut_ptr().cast();
    // SAFETY: the system writes at most `length` bytes, which is what `words` has.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            place,
            from_mut(&mut length),
        )
    };
    if done == 0 {
        Ok(length as usize / size_of::<u32>())
    } else {
        Err(last_errno())
    }
}

/// Datagrams that the system dropped at this socket because its receive buffer was full.
pub(super) fn receive_drops(socket: BorrowedFd<'_>) -> u64 {
    let mut words = [0; 16];
    let at = usize::try_from(libc::SK_MEMINFO_DROPS).unwrap_or(usize::MAX);
    match read_option(socket, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut words) {
        Ok(count) if at < count => u64::from(words[at]),
        _ => 0, // a kernel before 4.12 does not tell
    }
}

/// Gives a socket `bytes` of buffer in each direction, or as much as the system allows.
pub(super) fn size_buffers(socket: BorrowedFd<'_>, bytes: usize) -> Result<(), OpenError> {
    use rustix::net::sockopt;
    let hint = "give a size between 4 KiB and 1 GiB";
    // The forced form exceeds net.core.rmem_max, and is allowed with CAP_NET_ADMIN only.
    if sockopt::set_socket_recv_buffer_size_force(socket, bytes).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, bytes)
            .map_err(failed("size the receive buffer", hint))?;
    }
    set_send_buffer(socket, bytes)
}

/// The sending half of [`size_buffers`].
pub(super) fn set_send_buffer(socket: BorrowedFd<'_>, bytes: usize) -> Result<(), OpenError> {
    use rustix::net::sockopt;
    if sockopt::set_socket_send_buffer_size_force(socket, bytes).is_err() {
        sockopt::set_socket_send_buffer_size(socket, bytes).map_err(failed(
            "size the send buffer",
            "give a size between 4 KiB and 1 GiB",
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_that_is_not_there_is_named_with_what_to_do() {
        let error = Link::find("no-such-link")
            .expect_err("nobody has it")
            .to_string();
        assert!(error.starts_with("cannot read the index of interface no-such-link: "));
        assert!(error.contains("ip link"), "{error}");
        for name in ["a-name-of-more-than-15-letters", "", "a\0"] {
            let error = Link::find(name).expect_err("not a name").to_string();
            assert!(error.contains("cannot be the name"), "{error}");
        }
    }
}
