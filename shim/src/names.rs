//! Socket addresses between C and Rust.

use core::ffi::c_void;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::ptr;

use libc::{AF_INET, AF_INET6, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use crate::probe;

const V4_LEN: usize = size_of::<sockaddr_in>();
const V6_LEN: usize = size_of::<sockaddr_in6>();

/// Whether `name` is a multicast address: the quick look before anything else.
///
/// # Safety
///
/// What `name` points to is not unmapped meanwhile.
#[inline]
pub(crate) unsafe fn is_multicast(name: *const sockaddr, len: socklen_t) -> bool {
    if len < 16 || !probe::is_readable(name.cast(), 16) {
        return false;
    }
    let bytes = name.cast::<u8>();
    // SAFETY: at least 16 bytes are readable, and 24 for the longer family.
    unsafe {
        match i32::from(ptr::read_unaligned(name.cast::<u16>())) {
            // `sendto` takes no family for IPv4.
            AF_INET | 0 => *bytes.add(4) & 0xf0 == 0xe0,
            // ff00::/8, or IPv4 in IPv6.
            AF_INET6 if len >= 24 && probe::is_readable(bytes, 24) => {
                *bytes.add(8) == 0xff || (*bytes.add(19) == 0xff && *bytes.add(20) & 0xf0 == 0xe0)
            }
            _ => false,
        }
    }
}

/// Whether `name` is seen to be no multicast address by a look alone. False also where that takes more.
///
/// # Safety
///
/// What `name` points to is not unmapped meanwhile.
#[inline(always)]
pub(crate) unsafe fn is_plainly_unicast(name: *const sockaddr, len: socklen_t) -> bool {
    let bytes = name.cast::<u8>();
    if len < 16 || !probe::is_known::<V6_LEN>(bytes) {
        return false;
    }
    // SAFETY: as many bytes are readable.
    unsafe {
        match i32::from(ptr::read_unaligned(name.cast::<u16>())) {
            AF_INET => *bytes.add(4) & 0xf0 != 0xe0,
            // Nor IPv4 in IPv6.
            AF_INET6 => *bytes.add(8) != 0xff && *bytes.add(19) != 0xff,
            _ => false,
        }
    }
}

/// Whether `name` says that it is an IPv6 address.
///
/// # Safety
///
/// What `name` points to is not unmapped meanwhile.
#[inline]
pub(crate) unsafe fn is_inet6(name: *const sockaddr, len: socklen_t) -> bool {
    // SAFETY: two bytes are readable, as just seen.
    len >= 2
        && probe::is_readable(name.cast(), 2)
        && i32::from(unsafe { ptr::read_unaligned(name.cast::<u16>()) }) == AF_INET6
}

/// Whether `name` has no family: nobody's address.
///
/// # Safety
///
/// What `name` points to is not unmapped meanwhile.
pub(crate) unsafe fn is_no_name(name: *const sockaddr, len: socklen_t) -> bool {
    (2..=128).contains(&len)
        && probe::is_readable(name.cast(), 2)
        // SAFETY: readable, as just seen.
        && unsafe { ptr::read_unaligned(name.cast::<u16>()) } == 0
}

/// Whether a pointer can be a program's: not in the first pages, which nothing is mapped to, and
/// not in the kernel's half. What it points to may still be unmapped.
#[inline]
pub(crate) fn is_user(pointer: *const u8) -> bool {
    const LOWEST: usize = 1 << 16;
    const HIGHEST: usize = 1 << 56;
    (LOWEST..HIGHEST).contains(&pointer.addr())
}

/// The Internet address behind `name`; `None` for every other family, for wrong lengths and for
/// memory that is not there, which the kernel shall answer.
///
/// # Safety
///
/// What `name` points to is not unmapped meanwhile.
#[inline]
pub(crate) unsafe fn parse(name: *const sockaddr, len: socklen_t) -> Option<SocketAddr> {
    let len = len as usize;
    if !(2..=128).contains(&len) || !probe::is_readable(name.cast(), len) {
        return None;
    }
    // SAFETY: at least two bytes are readable.
    let family = i32::from(unsafe { ptr::read_unaligned(name.cast::<u16>()) });
    if family == AF_INET && len >= V4_LEN {
        // SAFETY: the length was checked.
        let v4 = unsafe { ptr::read_unaligned(name.cast::<sockaddr_in>()) };
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Some(SocketAddr::V4(SocketAddrV4::new(
            ip,
            u16::from_be(v4.sin_port),
        )));
    }
    // The kernel takes an address without its scope, too.
    if family == AF_INET6 && len >= V6_LEN - 4 {
        let mut bytes = [0_u8; V6_LEN];
        // SAFETY: at most `len` bytes are read, into an array that holds them.
        unsafe {
            ptr::copy_nonoverlapping(name.cast::<u8>(), bytes.as_mut_ptr(), len.min(V6_LEN));
        }
        // SAFETY: any bytes are a `sockaddr_in6`.
        let v6 = unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<sockaddr_in6>()) };
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        let port = u16::from_be(v6.sin6_port);
        return Some(canonical(SocketAddr::V6(SocketAddrV6::new(
            ip,
            port,
            0,
            v6.sin6_scope_id,
        ))));
    }
    None
}

/// As [`parse`], for a destination: the kernel takes one without a family for IPv4.
///
/// # Safety
///
/// As `parse`.
#[inline]
pub(crate) unsafe fn parse_target(name: *const sockaddr, len: socklen_t) -> Option<SocketAddr> {
    // SAFETY: by contract.
    unsafe {
        if (16..=128).contains(&len)
            && probe::is_readable(name.cast(), 16)
            && ptr::read_unaligned(name.cast::<u16>()) == 0
        {
            let mut v4 = ptr::read_unaligned(name.cast::<sockaddr_in>());
            v4.sin_family = 2;
            return parse((&raw const v4).cast(), 16);
        }
        parse(name, len)
    }
}

/// IPv4 in IPv6 as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Writes `address` as a socket of the given family shows it, cut to what fits, and the full
/// length, as the kernel does.
///
/// # Safety
///
/// `len` is null or valid; `name` is null or points to as many writable bytes as `len` says.
#[inline]
pub(crate) unsafe fn store(
    address: SocketAddr,
    inet6: bool,
    name: *mut sockaddr,
    len: *mut socklen_t,
) {
    if name.is_null() || len.is_null() {
        return;
    }
    let mut bytes = [0_u8; V6_LEN];
    let full = encode(address, inet6, &mut bytes);
    // SAFETY: valid by contract; at most the stated room is written.
    unsafe {
        let room = *len as usize;
        ptr::copy_nonoverlapping(bytes.as_ptr(), name.cast::<u8>(), room.min(full));
        #[allow(clippy::cast_possible_truncation, reason = "16 or 28")]
        {
            *len = full as socklen_t;
        }
    }
}

/// The bytes of a C socket address; returns how many.
#[inline]
pub(crate) fn encode(address: SocketAddr, inet6: bool, bytes: &mut [u8; V6_LEN]) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "small constants")]
    match (address, inet6) {
        (SocketAddr::V4(v4), false) => {
            bytes[0..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
            bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            V4_LEN
        }
        (address, _) => {
            let (ip, scope) = match address {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
            };
            bytes[0..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
            bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
            bytes[8..24].copy_from_slice(&ip.octets());
            bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
            V6_LEN
        }
    }
}

/// Bytes enough for either family.
pub(crate) type NameBytes = [u8; V6_LEN];

/// An integer socket option of `fd`, by the kernel's answer.
pub(crate) fn option(fd: i32, level: i32, name: i32) -> Option<i32> {
    let mut value = 0_i32;
    let mut len: socklen_t = 4;
    // SAFETY: four writable bytes.
    let result = unsafe {
        crate::real::getsockopt(
            fd,
            level,
            name,
            (&raw mut value).cast::<c_void>(),
            &raw mut len,
        )
    };
    // IP options may come back as one byte.
    (result == 0).then_some(if len == 1 { value & 0xff } else { value })
}

/// Sets an integer socket option; errors are the caller's to ignore or not.
pub(crate) fn set_option(fd: i32, level: i32, name: i32, value: i32) -> bool {
    // SAFETY: four readable bytes.
    unsafe { crate::real::setsockopt(fd, level, name, (&raw const value).cast::<c_void>(), 4) == 0 }
}
