//! `select` and `pselect` over sockets that are read from shared memory; see `poll`.

use core::sync::atomic::Ordering;

use libc::{c_int, fd_set, sigset_t, timespec, timeval};
use libexo::client::session::Session;
use libexo::client::socket::GroupSocket;

use super::poll::{
    LOOKS_FOR_THE_BELL, Limit, PAUSE_NS, is_full, is_readable, is_time, is_watched_and_readable,
    nanoseconds_of, receiver, timespec_of,
};
use crate::descriptor::{self, Object};
use crate::{probe, real, session};

const BITS: usize = 64;
/// Words of an `fd_set`; programs that go beyond make their own arrays.
const WORDS_MAX: usize = 1 << 10;

/// A bit set of the program's, of `count` descriptors.
#[derive(Clone, Copy)]
struct Set {
    words: *mut u64,
    count: usize,
}

impl Set {
    fn has(self, fd: usize) -> bool {
        // SAFETY: `fd < count`, which the program says its set has.
        !self.words.is_null()
            && fd < self.count
            && unsafe { *self.words.add(fd / BITS) } >> (fd % BITS) & 1 != 0
    }

    fn put(self, fd: usize, on: bool) {
        if self.words.is_null() || fd >= self.count {
            return;
        }
        // SAFETY: as above.
        unsafe {
            let word = self.words.add(fd / BITS);
            let bit = 1 << (fd % BITS);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    /// Calls `each` for the descriptors on which a send would have to wait.
    fn each_full(self, session: &Session, mut each: impl FnMut(usize)) {
        for fd in (0..self.count).filter(|fd| self.has(*fd)) {
            if c_int::try_from(fd).is_ok_and(|fd| is_full(fd, session)) {
                each(fd);
            }
        }
    }

    fn each_receiver(self, mut each: impl FnMut(usize, &'static Object, &'static GroupSocket)) {
        for fd in (0..self.count).filter(|fd| self.has(*fd)) {
            if let Some((object, socket)) = c_int::try_from(fd).ok().and_then(receiver) {
                each(fd, object, socket);
            }
        }
    }
}

/// The heart of both calls. `call` is the real call with sets and a limit.
unsafe fn select_ours(
    count: c_int,
    sets: [*mut fd_set; 3],
    limit_ns: Option<u64>,
    session: &Session,
    call: impl Fn(c_int, [*mut fd_set; 3], Option<u64>) -> c_int,
) -> c_int {
    let wait = |limit| call(count, sets, limit);
    let pause = |ns| call(0, [core::ptr::null_mut(); 3], Some(ns));
    let count = usize::try_from(count).unwrap_or(0);
    let words = count.div_ceil(BITS);
    // What was asked for, because each wait overwrites it.
    let mut asked = [[0_u64; WORDS_MAX]; 3];
    for (copy, set) in asked.iter_mut().zip(sets) {
        if !set.is_null() {
            // SAFETY: the program's set has `count` bits.
            unsafe {
                core::ptr::copy_nonoverlapping(set.cast::<u64>(), copy.as_mut_ptr(), words);
            }
        }
    }
    let read = Set {
        words: asked[0].as_mut_ptr(),
        count,
    };
    let write = Set {
        words: asked[1].as_mut_ptr(),
        count,
    };
    let restore = || {
        for (copy, set) in asked.iter().zip(sets) {
            if !set.is_null() {
                // SAFETY: as above.
                unsafe {
                    core::ptr::copy_nonoverlapping(copy.as_ptr(), set.cast::<u64>(), words);
                }
            }
        }
    };
    let any_readable = || {
        let mut any = false;
        read.each_receiver(|_, _, socket| any = any || is_readable(socket, session));
        any
    };
    let limit = Limit::after_ns(limit_ns);
    let (mut wakes, mut looks) = (0, 0);
    loop {
        read.each_receiver(|_, object, socket| {
            object.sleepers.fetch_add(1, Ordering::AcqRel);
            socket.page().doorbell().begin_sleep();
        });
        let mut full = false;
        write.each_full(session, |_| full = true);
        let ready = any_readable();
        let result = wait(if ready || full {
            Some(0)
        } else {
            limit.left_ns()
        });
        let errno = crate::errno::get();
        read.each_receiver(|_, object, socket| {
            socket.page().doorbell().end_sleep();
            object.sleepers.fetch_sub(1, Ordering::AcqRel);
        });
        crate::errno::set(errno);
        if result < 0 {
            return result;
        }
        let shown = Set {
            words: sets[0].cast::<u64>(),
            count,
        };
        let mut found = result;
        let (mut spurious, mut late) = (false, false);
        read.each_receiver(|fd, _, socket| {
            let (is_shown, is_true) = (shown.has(fd), is_readable(socket, session));
            late |= is_true && !is_shown && is_watched_and_readable(socket, session);
            if is_shown != is_true {
                shown.put(fd, is_true);
                found += if is_true { 1 } else { -1 };
                spurious |= is_shown;
            }
        });
        if late && looks < LOOKS_FOR_THE_BELL {
            looks += 1;
            restore();
            rustix::thread::sched_yield();
            continue;
        }
        let writable = Set {
            words: sets[1].cast::<u64>(),
            count,
        };
        writable.each_full(session, |fd| {
            writable.put(fd, false);
            found -= 1;
        });
        let left = limit.left_ns();
        if found > 0 || left == Some(0) {
            return found.max(0);
        }
        restore();
        if full {
            session.wake_engine();
            if pause(left.map_or(PAUSE_NS, |left| left.min(PAUSE_NS))) < 0 {
                return -1;
            }
        }
        if spurious {
            wakes += 1;
            read.each_receiver(|fd, _, socket| {
                socket.was_woken_for_nothing(wakes);
                let fd = c_int::try_from(fd).unwrap_or(-1);
                let _ = socket.next_len(session, crate::convert::borrow(fd));
            });
            rustix::thread::sched_yield();
        }
    }
}

/// The session, if some descriptor of the read set is read from shared memory, or one of the write
/// set has no room.
fn concern(count: c_int, sets: [*mut fd_set; 3]) -> Option<&'static Session> {
    if !descriptor::is_used() {
        return None;
    }
    let session = session::get().or_else(session::last)?;
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= WORDS_MAX * BITS)?;
    let bytes = count.div_ceil(BITS) * size_of::<u64>();
    if !sets
        .iter()
        .all(|set| set.is_null() || probe::is_writable(set.cast(), bytes))
    {
        return None; // the kernel knows the error
    }
    let set = |words: *mut fd_set| Set {
        words: words.cast::<u64>(),
        count,
    };
    let [read, write, _] = sets;
    let mut ours = false;
    set(read).each_receiver(|_, _, _| ours = true);
    set(write).each_full(session, |_| ours = true);
    ours.then_some(session)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        let sets = [read, write, except];
        let Some(session) = concern(count, sets).filter(|_| is_time(timeout)) else {
            return real::select(count, read, write, except, timeout);
        };
        let limit = timeout.as_ref().map(|limit| {
            limit
                .tv_sec
                .max(0)
                .cast_unsigned()
                .saturating_mul(1_000_000_000)
                .saturating_add(limit.tv_usec.max(0).cast_unsigned() * 1000)
        });
        if timeout
            .as_ref()
            .is_some_and(|limit| limit.tv_sec < 0 || limit.tv_usec < 0)
        {
            return real::select(count, read, write, except, timeout);
        }
        let began = super::poll::now_ns();
        let result = select_ours(count, sets, limit, session, |count, sets, limit| {
            let mut left = timeval {
                tv_sec: 0,
                tv_usec: 0,
            };
            let mut pointer = core::ptr::null_mut();
            if let Some(ns) = limit {
                left.tv_sec = (ns / 1_000_000_000).cast_signed();
                left.tv_usec = (ns % 1_000_000_000 / 1000).cast_signed();
                pointer = &raw mut left;
            }
            real::select(count, sets[0], sets[1], sets[2], pointer)
        });
        // Linux tells how much was left.
        if let (Some(rest), Some(limit)) = (timeout.as_mut(), limit) {
            let left = limit.saturating_sub(super::poll::now_ns() - began);
            rest.tv_sec = (left / 1_000_000_000).cast_signed();
            rest.tv_usec = (left % 1_000_000_000 / 1000).cast_signed();
        }
        result
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: as above.
    unsafe { select(count, read, write, except, timeout) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let sets = [read, write, except];
        let Some(session) = concern(count, sets).filter(|_| is_time(timeout)) else {
            return real::pselect(count, read, write, except, timeout, mask);
        };
        let Ok(limit) = nanoseconds_of(timeout.as_ref()) else {
            return real::pselect(count, read, write, except, timeout, mask);
        };
        select_ours(count, sets, limit, session, |count, sets, limit| {
            let limit = limit.map(timespec_of);
            let limit = limit
                .as_ref()
                .map_or(core::ptr::null(), core::ptr::from_ref);
            real::pselect(count, sets[0], sets[1], sets[2], limit, mask)
        })
    }
}
