#![allow(unsafe_code, reason = "sendmmsg takes arrays of pointers")]
//! Many frames in one system call.

use core::fmt;
use core::mem::{size_of, zeroed};
use core::ptr::{from_mut, from_ref, null, null_mut};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::fd::{AsRawFd, BorrowedFd};

use super::counters::{Counters, DropReason};

/// Most frames of one system call: beyond this the call itself no longer shows in the cost.
const BATCH: usize = 64;

/// Where copies of a frame go: an address, or bytes that are put in front of the frame.
#[derive(Clone, Copy)]
pub(super) struct Target {
    name: libc::sockaddr_storage,
    name_bytes: libc::socklen_t,
    header: [u8; 14],
    header_bytes: usize,
}

impl Target {
    /// A datagram to `address`.
    pub(super) fn address(address: SocketAddr) -> Self {
        // SAFETY: `sockaddr_storage` is made of integers, for which zero is a value.
        let mut name: libc::sockaddr_storage = unsafe { zeroed() };
        let name_bytes = match address {
            SocketAddr::V4(address) => {
                let place = from_mut(&mut name).cast::<libc::sockaddr_in>();
                // SAFETY: the storage is large enough and aligned for every kind of address.
                unsafe { (*place).sin_family = family(libc::AF_INET) };
                // SAFETY: as above.
                unsafe { (*place).sin_port = address.port().to_be() };
                // SAFETY: as above.
                unsafe { (*place).sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets()) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(address) => {
                let place = from_mut(&mut name).cast::<libc::sockaddr_in6>();
                // SAFETY: the storage is large enough and aligned for every kind of address.
                unsafe { (*place).sin6_family = family(libc::AF_INET6) };
                // SAFETY: as above.
                unsafe { (*place).sin6_port = address.port().to_be() };
                // SAFETY: as above.
                unsafe { (*place).sin6_addr.s6_addr = address.ip().octets() };
                // SAFETY: as above.
                unsafe { (*place).sin6_scope_id = address.scope_id() };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self {
            name,
            name_bytes: libc::socklen_t::try_from(name_bytes).expect("addresses are short"),
            header: [0; 14],
            header_bytes: 0,
        }
    }

    /// Lets a header name this address.
    pub(super) const fn name(&self, header: &mut libc::msghdr) {
        header.msg_name = from_ref(&self.name).cast_mut().cast();
        header.msg_namelen = self.name_bytes;
    }

    /// Frames behind `header`, through a socket that is bound to a link.
    pub(super) const fn behind(header: [u8; 14]) -> Self {
        Self {
            // SAFETY: `sockaddr_storage` is made of integers, for which zero is a value.
            name: unsafe { zeroed() },
            name_bytes: 0,
            header,
            header_bytes: header.len(),
        }
    }
}

fn family(number: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).expect("families are small numbers")
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match read_address(&self.name) {
            Some(address) => write!(formatter, "Target({address})"),
            None => write!(formatter, "Target({:02x?})", self.header),
        }
    }
}

/// The address in `name`, if it is of the Internet.
pub(super) fn read_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the system wrote an address of this family, and the storage is aligned.
            let name = unsafe { &*from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = name.sin_addr.s_addr.to_ne_bytes().into();
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the system wrote an address of this family, and the storage is aligned.
            let name = unsafe { &*from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The arrays of the two calls, made once.
pub(super) struct Batch {
    headers: Vec<libc::mmsghdr>,
    parts: Vec<[libc::iovec; 2]>,
    /// One frame behind its header.
    one: Vec<u8>,
}

// SAFETY: the pointers are written anew before each system call and not used after it.
unsafe impl Send for Batch {}

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Batch")
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: zero is a value of these integers and pointers.
        let header = unsafe { zeroed::<libc::mmsghdr>() };
        let none = libc::iovec {
            iov_base: null_mut(),
            iov_len: 0,
        };
        Self {
            headers: vec![header; BATCH],
            parts: vec![[none; 2]; BATCH],
            one: Vec::new(),
        }
    }

    /// Sends each of `frames` to each of `targets`; counts what passed and what did not.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        targets: &[Target],
        frames: &[&[u8]],
        counters: &mut Counters,
    ) {
        if let ([target], [frame]) = (targets, frames) {
            return self.send_one(socket, target, frame, counters);
        }
        let mut copies = frames
            .iter()
            .flat_map(|frame| targets.iter().map(move |target| (target, *frame)));
        loop {
            let mut count = 0;
            for (target, frame) in copies.by_ref().take(BATCH) {
                self.address_frame(count, target, frame);
                count += 1;
            }
            if count == 0 {
                return;
            }
            self.send_filled(socket, count, counters);
        }
    }

    /// The cheapest call for what is sent most: an empty turn.
    fn send_one(
        &mut self,
        socket: BorrowedFd<'_>,
        target: &Target,
        frame: &[u8],
        counters: &mut Counters,
    ) {
        let bytes = if target.header_bytes == 0 {
            frame
        } else {
            self.one.clear();
            self.one
                .extend_from_slice(&target.header[..target.header_bytes]);
            self.one.extend_from_slice(frame);
            &self.one
        };
        let name = if target.name_bytes == 0 {
            null()
        } else {
            from_ref(&target.name).cast()
        };
        loop {
            // SAFETY: bytes and name outlive the call, which only reads them.
            let sent = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    libc::MSG_NOSIGNAL,
                    name,
                    target.name_bytes,
                )
            };
            if sent >= 0 {
                return counters.sent.add(frame.len());
            }
            match last_errno() {
                libc::EINTR => {}
                libc::EAGAIN | libc::ENOBUFS => {
                    return counters.drop_frames(DropReason::SendBufferFull, 1);
                }
                errno => {
                    counters.last_errno = errno;
                    return counters.drop_frames(DropReason::SendRefused, 1);
                }
            }
        }
    }

    fn address_frame(&mut self, index: usize, target: &Target, frame: &[u8]) {
        let part = |bytes: &[u8]| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        self.parts[index] = [part(&target.header[..target.header_bytes]), part(frame)];
        let first = usize::from(target.header_bytes == 0);
        let header = &mut self.headers[index].msg_hdr;
        *header = EMPTY;
        if target.name_bytes > 0 {
            target.name(header);
        }
        header.msg_iov = from_mut(&mut self.parts[index][first]);
        header.msg_iovlen = 2 - first;
    }

    fn send_filled(&mut self, socket: BorrowedFd<'_>, count: usize, counters: &mut Counters) {
        let (headers, parts) = (&mut self.headers[..count], &self.parts);
        let sent = send_all(
            socket,
            headers,
            counters,
            |index| &parts[index][1..],
            |_, _| false,
        );
        assert!(sent, "nothing is refused");
    }
}

/// Sends the datagrams that `headers` describe, all from memory that outlives the call. Counts the
/// frames of each, which `frames_of` gives as its pieces, as sent or dropped. False if `is_refusal`
/// takes the system's answer to the first of them for one: then nothing was sent or counted.
pub(super) fn send_all<'a>(
    socket: BorrowedFd<'_>,
    headers: &mut [libc::mmsghdr],
    counters: &mut Counters,
    frames_of: impl Fn(usize) -> &'a [libc::iovec],
    is_refusal: impl Fn(usize, i32) -> bool,
) -> bool {
    let mut next = 0;
    while next < headers.len() {
        let length = u32::try_from(headers.len() - next).expect("some hundreds");
        let rest = headers[next..].as_mut_ptr();
        // SAFETY: the headers point to pieces, names and controls that outlive this call and are
        // only read; the call writes into the headers, which are the caller's alone.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest, length, libc::MSG_NOSIGNAL) };
        if let Ok(sent @ 1..) = usize::try_from(sent) {
            let frames = (next..next + sent).flat_map(&frames_of);
            frames.for_each(|frame| counters.sent.add(frame.iov_len));
            next += sent;
            continue;
        }
        let errno = last_errno();
        match errno {
            libc::EINTR => {}
            // No room: each of the rest would be told the same.
            libc::EAGAIN | libc::ENOBUFS => {
                let rest = (next..headers.len()).flat_map(&frames_of).count() as u64;
                counters.drop_frames(DropReason::SendBufferFull, rest);
                return true;
            }
            _ if is_refusal(next, errno) => return false,
            _ => {
                counters.last_errno = errno;
                let one = frames_of(next).len() as u64;
                counters.drop_frames(DropReason::SendRefused, one);
                next += 1;
            }
        }
    }
    true
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

// SAFETY: zero is a value of these integers and pointers.
const EMPTY: libc::msghdr = unsafe { zeroed() };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_survives_the_way_through_the_system_s_form() {
        for text in ["10.1.2.3:65535", "[fd00::1]:7", "[fe80::2%5]:9"] {
            let address = text.parse().expect("an address");
            assert_eq!(read_address(&Target::address(address).name), Some(address));
        }
        assert_eq!(read_address(&Target::behind([0; 14]).name), None);
    }
}
