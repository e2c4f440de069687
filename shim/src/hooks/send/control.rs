//! What a program sends along with a datagram: control messages of `sendmsg`.
//!
//! The kernel refuses what it does not understand before it looks at the datagram, so a datagram for
//! a group is refused for the same. Of what it understands, only `UDP_SEGMENT` has an effect here.

use libc::{c_int, cmsghdr, msghdr};

use crate::names::option;
use crate::probe;

/// Room that `CMSG_LEN` adds to content.
const HEAD: usize = size_of::<cmsghdr>();
/// Room for the program's control messages: more is cut, which the kernel, too, does at some length.
const LEN_MAX: usize = 4096;
const SO_MARK: c_int = 36;
const SO_TIMESTAMPING_NEW: c_int = 65;
const SO_PRIORITY: c_int = 12;
const IP_PROTOCOL: c_int = 52;
const IP_RETOPTS: c_int = 7;

/// Checks the control messages of a datagram for a group. `Ok`: the length of the datagrams that it
/// is to be cut into, if it says one. `Err` is the errno.
///
/// # Safety
///
/// The header is readable; its control messages are not unmapped meanwhile.
#[cold]
pub(super) unsafe fn check(
    fd: c_int,
    message: &msghdr,
    inet6: bool,
    to_v4: bool,
) -> Result<Option<u16>, c_int> {
    let len = message.msg_controllen;
    if len > c_int::MAX.cast_unsigned() as usize {
        return Err(libc::ENOBUFS);
    }
    let base = message.msg_control.cast::<u8>();
    if !probe::is_readable(base, len.min(LEN_MAX)) {
        return Err(libc::EFAULT);
    }
    let len = len.min(LEN_MAX);
    let mut segment = None;
    let mut at = 0;
    while len.saturating_sub(at) >= HEAD {
        // SAFETY: a head has room there; programs align it, and if not, it is read all the same.
        let head = unsafe { base.add(at).cast::<cmsghdr>().read_unaligned() };
        let whole = head.cmsg_len;
        if whole < HEAD || whole > len - at {
            return Err(libc::EINVAL);
        }
        // SAFETY: readable, as looked at in the beginning.
        let content = unsafe { core::slice::from_raw_parts(base.add(at + HEAD), whole - HEAD) };
        match head.cmsg_level {
            libc::SOL_UDP => segment = Some(segment_of(head.cmsg_type, content)?),
            libc::SOL_SOCKET => of_socket(fd, head.cmsg_type, content)?,
            libc::IPPROTO_IP if to_v4 => of_ip(head.cmsg_type, content)?,
            libc::IPPROTO_IPV6 if !to_v4 => of_ipv6(head.cmsg_type, content)?,
            libc::IPPROTO_IPV6 if inet6 && head.cmsg_type == libc::IPV6_PKTINFO => {
                let is_mapped = content
                    .get(..12)
                    .is_some_and(|start| start == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
                if content.len() < 20 || !is_mapped {
                    return Err(libc::EINVAL);
                }
            }
            _ => {}
        }
        at += whole.next_multiple_of(align_of::<cmsghdr>());
    }
    Ok(segment)
}

/// What a message says in a native number, if it is one.
fn number(content: &[u8]) -> Option<c_int> {
    Some(c_int::from_ne_bytes(content.try_into().ok()?))
}

const fn when(is_good: bool) -> Result<(), c_int> {
    if is_good { Ok(()) } else { Err(libc::EINVAL) }
}

fn segment_of(kind: c_int, content: &[u8]) -> Result<u16, c_int> {
    match content.try_into() {
        Ok(bytes) if kind == libc::UDP_SEGMENT => Ok(u16::from_ne_bytes(bytes)),
        _ => Err(libc::EINVAL),
    }
}

fn of_socket(fd: c_int, kind: c_int, content: &[u8]) -> Result<(), c_int> {
    match kind {
        libc::SCM_RIGHTS | libc::SCM_CREDENTIALS => Ok(()),
        libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => when(content.len() == 4),
        // Who may not set the option may not send the message.
        SO_MARK | SO_PRIORITY => {
            when(content.len() == 4)?;
            let before = option(fd, libc::SOL_SOCKET, kind).unwrap_or(0);
            let wanted = number(content).unwrap_or(0);
            if before == wanted || crate::names::set_option(fd, libc::SOL_SOCKET, kind, wanted) {
                crate::names::set_option(fd, libc::SOL_SOCKET, kind, before);
                Ok(())
            } else {
                Err(libc::EPERM)
            }
        }
        _ => Err(libc::EINVAL),
    }
}

fn of_ip(kind: c_int, content: &[u8]) -> Result<(), c_int> {
    let value = number(content);
    match kind {
        libc::IP_PKTINFO => when(content.len() == 12),
        libc::IP_TTL | IP_PROTOCOL => when(value.is_some_and(|value| (1..=255).contains(&value))),
        libc::IP_TOS => {
            when(content.len() == 1 || value.is_some_and(|value| (0..=255).contains(&value)))
        }
        IP_RETOPTS => Ok(()),
        _ => Err(libc::EINVAL),
    }
}

fn of_ipv6(kind: c_int, content: &[u8]) -> Result<(), c_int> {
    let value = number(content);
    match kind {
        libc::IPV6_PKTINFO => when(content.len() >= 20),
        libc::IPV6_FLOWINFO => when(content.len() >= 4),
        libc::IPV6_HOPLIMIT | libc::IPV6_TCLASS => {
            when(value.is_some_and(|value| (-1..=255).contains(&value)))
        }
        libc::IPV6_DONTFRAG => when(value.is_some_and(|value| value == 0 || value == 1)),
        libc::IPV6_HOPOPTS | libc::IPV6_DSTOPTS | libc::IPV6_RTHDR | libc::IPV6_RTHDRDSTOPTS => {
            Ok(())
        }
        _ => Err(libc::EINVAL),
    }
}
