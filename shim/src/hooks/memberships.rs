//! Memberships: joins, leaves and source filters, as the options of IPv4, IPv6 and both ask for them.
//!
//! The kernel joins, too, and has the last word on arguments and interfaces.

use core::ffi::c_void;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ptr;
use core::sync::atomic::Ordering;

use libc::{c_int, socklen_t};
use libexo::client::session::Session;
use libexo::shm::socket_page::{FILTERED, Membership, SOURCES_MAX, membership_state};

use crate::convert::{away_errno, bound_address, forget_join, is_udp, join, marked, remember_join};
use crate::descriptor::{self, Object};
use crate::errno::{self, fail};
use crate::{real, session};

const MCAST_JOIN_GROUP: c_int = 42;
const MCAST_BLOCK_SOURCE: c_int = 43;
const MCAST_UNBLOCK_SOURCE: c_int = 44;
const MCAST_LEAVE_GROUP: c_int = 45;
const MCAST_JOIN_SOURCE_GROUP: c_int = 46;
const MCAST_LEAVE_SOURCE_GROUP: c_int = 47;
const IP_UNBLOCK_SOURCE: c_int = 37;
const IP_BLOCK_SOURCE: c_int = 38;

/// What a membership option asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Join,
    Leave,
    JoinSource,
    LeaveSource,
    Block,
    Unblock,
}

pub(super) struct Change {
    action: Action,
    group: IpAddr,
    source: Option<IpAddr>,
    interface: u32,
    /// The program named an interface; an error about it is its own.
    names_interface: bool,
}

fn v4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(
        <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?,
    ))
}

fn v6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(
        <[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?,
    ))
}

fn index_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The address in a `sockaddr_storage` at `at`.
fn storage_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => v4_at(bytes, at + 4).map(IpAddr::V4),
        libc::AF_INET6 => v6_at(bytes, at + 8).map(IpAddr::V6),
        _ => None,
    }
}

/// The change of membership that an option means; `None` for every other option.
pub(super) fn parse_change(level: c_int, name: c_int, bytes: &[u8]) -> Option<Change> {
    if level == libc::IPPROTO_IP {
        let simple = match name {
            libc::IP_ADD_MEMBERSHIP => Some(Action::Join),
            libc::IP_DROP_MEMBERSHIP => Some(Action::Leave),
            _ => None,
        };
        if let Some(action) = simple {
            let group = v4_at(bytes, 0)?;
            let local = v4_at(bytes, 4)?;
            // The longer form, `ip_mreqn`, ends in an index.
            let index = index_at(bytes, 8).unwrap_or(0);
            let interface = if index != 0 {
                index
            } else if local.is_unspecified() {
                default_interface(IpAddr::V4(group))
            } else {
                interface_of(IpAddr::V4(local))
            };
            let names_interface = index != 0 || !local.is_unspecified();
            let group = IpAddr::V4(group);
            return Some(Change {
                action,
                group,
                source: None,
                interface,
                names_interface,
            });
        }
        let with_source = match name {
            libc::IP_ADD_SOURCE_MEMBERSHIP => Some(Action::JoinSource),
            libc::IP_DROP_SOURCE_MEMBERSHIP => Some(Action::LeaveSource),
            IP_BLOCK_SOURCE => Some(Action::Block),
            IP_UNBLOCK_SOURCE => Some(Action::Unblock),
            _ => None,
        };
        if let Some(action) = with_source {
            let group = IpAddr::V4(v4_at(bytes, 0)?);
            let local = v4_at(bytes, 4)?;
            let source = Some(IpAddr::V4(v4_at(bytes, 8)?));
            let interface = if local.is_unspecified() {
                default_interface(group)
            } else {
                interface_of(IpAddr::V4(local))
            };
            let names_interface = !local.is_unspecified();
            return Some(Change {
                action,
                group,
                source,
                interface,
                names_interface,
            });
        }
    }
    if level == libc::IPPROTO_IPV6 {
        let action = match name {
            libc::IPV6_ADD_MEMBERSHIP => Some(Action::Join),
            libc::IPV6_DROP_MEMBERSHIP => Some(Action::Leave),
            _ => None,
        };
        if let Some(action) = action {
            let group = IpAddr::V6(v6_at(bytes, 0)?);
            let index = index_at(bytes, 16)?;
            let interface = if index == 0 {
                default_interface(group)
            } else {
                index
            };
            return Some(Change {
                action,
                group,
                source: None,
                interface,
                names_interface: index != 0,
            });
        }
    }
    if level == libc::IPPROTO_IP || level == libc::IPPROTO_IPV6 {
        let action = match name {
            MCAST_JOIN_GROUP => Action::Join,
            MCAST_LEAVE_GROUP => Action::Leave,
            MCAST_JOIN_SOURCE_GROUP => Action::JoinSource,
            MCAST_LEAVE_SOURCE_GROUP => Action::LeaveSource,
            MCAST_BLOCK_SOURCE => Action::Block,
            MCAST_UNBLOCK_SOURCE => Action::Unblock,
            _ => return None,
        };
        // interface:u32, padding, sockaddr_storage group, sockaddr_storage source
        let index = index_at(bytes, 0)?;
        let group = storage_at(bytes, 8)?;
        let source = match action {
            Action::Join | Action::Leave => None,
            _ => Some(storage_at(bytes, 136)?),
        };
        let interface = if index == 0 {
            default_interface(group)
        } else {
            index
        };
        let names_interface = index != 0;
        return Some(Change {
            action,
            group,
            source,
            interface,
            names_interface,
        });
    }
    None
}

/// Index of the interface that has an address; 0 if none has.
fn interface_of(address: IpAddr) -> u32 {
    let mut found = 0;
    for_each_interface(|entry, ip| {
        if ip == address && found == 0 {
            // SAFETY: a name that getifaddrs gave.
            found = unsafe { libc::if_nametoindex(entry.ifa_name) };
        }
    });
    found
}

/// First IPv4 address of an interface, for `ipi_spec_dst`.
pub(super) fn interface_address(index: u32) -> Option<Ipv4Addr> {
    use core::sync::atomic::AtomicU64;
    // The last answer, as `index << 32 | address`: datagrams come by one interface mostly.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let last = LAST.load(Ordering::Relaxed);
    if index == 0 {
        return None;
    }
    if last >> 32 == u64::from(index) {
        return Some(Ipv4Addr::from((last & 0xffff_ffff) as u32));
    }
    let mut found = None;
    for_each_interface(|entry, ip| {
        if let (IpAddr::V4(v4), None) = (ip, found)
            // SAFETY: a name that getifaddrs gave.
            && unsafe { libc::if_nametoindex(entry.ifa_name) } == index
        {
            found = Some(v4);
        }
    });
    if let Some(v4) = found {
        LAST.store(
            u64::from(index) << 32 | u64::from(v4.to_bits()),
            Ordering::Relaxed,
        );
    }
    found
}

fn for_each_interface(mut each: impl FnMut(&libc::ifaddrs, IpAddr)) {
    let mut list = ptr::null_mut();
    // SAFETY: the list is read while it exists and given back once.
    unsafe {
        if libc::getifaddrs(&raw mut list) != 0 {
            return;
        }
        let mut entry = list;
        while let Some(this) = entry.as_ref() {
            if let Some(address) = crate::names::parse(this.ifa_addr, 28) {
                each(this, address.ip());
            }
            entry = this.ifa_next;
        }
        libc::freeifaddrs(list);
    }
}

/// Index of the interface that the route to a group leads through; 0 if there is none.
fn default_interface(group: IpAddr) -> u32 {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let family = if group.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let probe = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let Ok(probe) = probe.map(libexo::shm::region::Descriptor::from_owned) else {
        return 0;
    };
    if rustix::net::connect(&probe, &SocketAddr::new(group, 1)).is_err() {
        return 0;
    }
    libexo::client::pair::name_of(rustix::fd::AsFd::as_fd(&probe))
        .map_or(0, |name| interface_of(name.ip()))
}

/// Whether an option changes which groups a socket receives.
pub(super) const fn is_membership(level: c_int, name: c_int) -> bool {
    (level == libc::IPPROTO_IP && name >= libc::IP_ADD_MEMBERSHIP && name <= 47 && name != 41)
        || (level == libc::IPPROTO_IP && (name == 37 || name == 38))
        || (level == libc::IPPROTO_IPV6
            && (name == libc::IPV6_ADD_MEMBERSHIP
                || name == libc::IPV6_DROP_MEMBERSHIP
                || (name >= 42 && name <= 47)))
}

/// A change of membership that may concern a marked group. `None`: it does not.
///
/// # Safety
///
/// `value` and `len` are what `setsockopt` takes.
pub(super) unsafe fn change_membership(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
    change: &Change,
) -> Option<c_int> {
    if !change.group.is_multicast() {
        return None; // the kernel knows the error
    }
    let session = session::get();
    let is_known = session.is_some_and(|session| {
        session
            .board()
            .find(|group| group.address.ip() == change.group)
            .is_some()
    });
    if !is_known {
        if session.is_none()
            && let Some(errno) = away_errno()
        {
            return Some(fail(errno));
        }
        return None;
    }
    if !is_udp(fd) {
        return None;
    }
    let bound = bound_address(fd)?;
    if bound.port() == 0 {
        // SAFETY: the caller's arguments.
        let result = unsafe { real::setsockopt(fd, level, name, value, len) };
        match change.action {
            Action::Join if result == 0 || excuses(change) => {
                if !remember_join(fd, change.group, change.interface) {
                    return Some(fail(libc::ENOBUFS));
                }
                return Some(0);
            }
            Action::Leave => forget_join(fd, change.group),
            _ => {}
        }
        return Some(result);
    }
    let address = SocketAddr::new(change.group, bound.port());
    let Some((session, _)) = marked(address) else {
        let is_away = session::get().is_none();
        return away_errno().filter(|_| is_away).map(fail);
    };
    let ours = descriptor::get(fd).and_then(Object::group);
    let is_meant = bound.ip().is_unspecified() || bound.ip() == change.group;
    if !is_meant || (ours.is_none() && !bound.ip().is_unspecified()) {
        return None;
    }
    let outcome = match change.action {
        Action::Join | Action::JoinSource => {
            enter(fd, session, address, change, || {
                // SAFETY: the caller's arguments.
                unsafe { real::setsockopt(fd, level, name, value, len) }
            })
        }
        Action::Leave | Action::LeaveSource | Action::Block | Action::Unblock => {
            // SAFETY: the caller's arguments.
            let result = unsafe { real::setsockopt(fd, level, name, value, len) };
            let errno = errno::get();
            let joined_by_kernel = descriptor::get(fd)
                .and_then(|object| active_slot(object, change))
                .is_some_and(|(_, slot)| slot.interface.load(Ordering::Relaxed) != 0);
            if result != 0 && joined_by_kernel {
                return Some(fail(errno));
            }
            alter(fd, session, change).map_or_else(
                |()| if result == 0 { Ok(()) } else { Err(errno) },
                |done| if done { Ok(()) } else { Err(errno) },
            )
        }
    };
    Some(outcome.map_or_else(fail, |()| 0))
}

/// A join that the kernel refuses only because this network has no multicast.
fn excuses(change: &Change) -> bool {
    errno::get() == libc::ENODEV && !change.names_interface
}

fn active_slot(object: &Object, change: &Change) -> Option<(u32, &'static Membership)> {
    let page = object.group()?.page();
    page.slots()
        .iter()
        .enumerate()
        .find_map(|(index, membership)| {
            let is_it = membership.state.load(Ordering::Acquire) == membership_state::ACTIVE
                && membership
                    .address
                    .get()
                    .is_some_and(|address| address.ip() == change.group)
                && (!change.names_interface
                    || membership.interface.load(Ordering::Relaxed) == change.interface);
            is_it.then(|| (u32::try_from(index).unwrap_or(0), membership))
        })
}

/// Joins, if the kernel and the monitor agree.
fn enter(
    fd: c_int,
    session: &Session,
    address: SocketAddr,
    change: &Change,
    kernel: impl FnOnce() -> c_int,
) -> Result<(), c_int> {
    let member = descriptor::get(fd)
        .and_then(|object| active_slot(object, change))
        .map(|(_, m)| m);
    if kernel() != 0 {
        if !excuses(change) {
            return Err(errno::get());
        }
        if member.is_some() && change.action == Action::Join {
            return Err(libc::EADDRINUSE);
        }
    }
    if change.action == Action::Join || member.is_none() {
        join(fd, session, address, change.interface).inspect_err(|_| {
            // The kernel's membership alone would be of no use.
            undo_kernel_join(fd, change);
        })?;
    }
    if let Some(source) = change.source {
        let object = descriptor::get(fd).ok_or(libc::EBADF)?;
        let (_, membership) = active_slot(object, change).ok_or(libc::EBADF)?;
        change_sources(object, membership, 1, source, true)?;
    }
    Ok(())
}

fn undo_kernel_join(fd: c_int, change: &Change) {
    let mut request = [0_u8; 20];
    let (level, name, len) = match change.group {
        IpAddr::V4(v4) => {
            request[..4].copy_from_slice(&v4.octets());
            request[8..12].copy_from_slice(&change.interface.to_ne_bytes());
            (libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, 12)
        }
        IpAddr::V6(v6) => {
            request[..16].copy_from_slice(&v6.octets());
            request[16..].copy_from_slice(&change.interface.to_ne_bytes());
            (libc::IPPROTO_IPV6, libc::IPV6_DROP_MEMBERSHIP, 20)
        }
    };
    // SAFETY: `len` readable bytes. What it cannot undo was not done.
    unsafe { real::setsockopt(fd, level, name, request.as_ptr().cast(), len) };
}

/// Leaves a group or changes a source filter. `Ok(true)`: done here; `Ok(false)`: there is no such
/// membership; `Err`: whatever the kernel said.
fn alter(fd: c_int, session: &Session, change: &Change) -> Result<bool, ()> {
    let object = descriptor::get(fd).ok_or(())?;
    let Some((slot, membership)) = active_slot(object, change) else {
        return Err(());
    };
    match (change.action, change.source) {
        (Action::Leave, _) => leave(object, session, slot),
        (Action::LeaveSource, Some(source)) => {
            change_sources(object, membership, 1, source, false).map_err(drop)?;
            if membership.source_count.load(Ordering::Relaxed) == 0 {
                leave(object, session, slot);
            }
        }
        (Action::Block, Some(source)) => {
            change_sources(object, membership, 2, source, true).map_err(drop)?;
        }
        (Action::Unblock, Some(source)) => {
            change_sources(object, membership, 2, source, false).map_err(drop)?;
        }
        _ => return Err(()),
    }
    Ok(true)
}

fn leave(object: &Object, session: &Session, slot: u32) {
    if let Some(group) = object.group() {
        // Without a monitor there is nothing to leave.
        let _ = group.leave(session, slot);
    }
}

/// Adds a source to a membership's filter, or takes it away. Mode 1 lets only the listed sources
/// through, 2 all others.
fn change_sources(
    object: &Object,
    membership: &Membership,
    mode: u32,
    source: IpAddr,
    add: bool,
) -> Result<(), c_int> {
    let mut sources = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); SOURCES_MAX + 1];
    let mut count = 0;
    for known in membership.sources(source.is_ipv6()) {
        if known != source {
            sources[count] = known;
            count += 1;
        }
    }
    if let Some(group) = object.group() {
        super::naming::note_filter_change(group);
    }
    if add {
        sources[count] = source;
        count += 1;
    }
    if count > SOURCES_MAX {
        return Err(libc::ENOBUFS);
    }
    // An empty list of excluded sources is no filter; an empty list of admitted ones admits nobody.
    let filter = if mode == 2 && count == 0 { 0 } else { mode };
    membership.set_filter(filter, &sources[..count]);
    if let Some(group) = object.group() {
        let page = group.page();
        page.set(FILTERED, super::naming::is_filtered(page));
    }
    Ok(())
}
