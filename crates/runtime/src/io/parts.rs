//! How does a vectored call go on after a short count? This file has the lists of buffers, and what is left of one.
//!
//! A null list, and a count above UIO_MAXIOV, is passed to the kernel, which refuses it. Other lists are read as the
//! kernel reads them. A list is copied only when a second round needs a tail of it.
//!
//! Control data of a receive in rounds ([`Rounds`]): the kernel makes one list of control messages for the whole call.
//! So each round gets the caller's whole room, and the caller sees the data of the last round that brought bytes.
//! Before a further round, a Unix socket is asked whether the kernel would read on.

use super::memory::faults;
use crate::driver::fd_table::FdKind;
use crate::sys::raw::Errno;
use crate::sys::socket;
use libc::{c_int, cmsghdr, iovec, msghdr};
use std::mem::MaybeUninit;
use std::ptr;

/// The most parts that the kernel takes (UIO_MAXIOV).
const COUNT_MAX: usize = 1024;

/// A caller's list of buffers.
pub(crate) struct Parts {
    given: *const iovec,
    count: usize,
    total: usize,
    tail: Vec<iovec>,
}

/// The sum of the lengths. `None` for a list that the kernel would refuse.
///
/// # Safety
/// S5: `given` names `count` readable entries if it is not null and the count is possible.
pub(crate) unsafe fn total(given: *const iovec, count: usize) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    // SAFETY: S7: only called with the hooks in place.
    if given.is_null() || count > COUNT_MAX || unsafe { faults(given, count) } {
        return None;
    }
    // SAFETY: S5: the caller promises: `given` names `count` readable entries if it is not null and the count is
    // possible.
    let parts = unsafe { std::slice::from_raw_parts(given, count) };
    parts
        .iter()
        .try_fold(0_usize, |sum, part| sum.checked_add(part.iov_len))
        .filter(|sum| isize::try_from(*sum).is_ok())
}

/// A message of these parts, without an address or ancillary data.
pub(crate) fn message(given: *const iovec, count: usize) -> msghdr {
    // SAFETY: S5: all zeros is an empty message.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = given.cast_mut();
    message.msg_iovlen = count;
    message
}

impl Parts {
    /// # Safety
    /// S5: as for [`total`], and for as long as the value lives.
    #[inline]
    pub(crate) unsafe fn new(given: *const iovec, count: usize) -> Option<Self> {
        // SAFETY: S5: the caller promises: as for [`total`], and for as long as the value lives.
        let total = unsafe { total(given, count) }?;
        Some(Self {
            given,
            count,
            total,
            tail: Vec::new(),
        })
    }

    #[inline]
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The list without its first `done` bytes. The list must have more than `done` bytes.
    #[inline]
    pub(crate) fn from(&mut self, done: usize) -> (*mut iovec, usize) {
        if done == 0 {
            return (self.given.cast_mut(), self.count);
        }
        self.cut(done);
        (self.tail.as_mut_ptr(), self.tail.len())
    }

    #[cold]
    fn cut(&mut self, mut done: usize) {
        let given = match self.count {
            0 => &[],
            // SAFETY: S5: `new` has seen that the list is there, and the caller still lends it.
            count => unsafe { std::slice::from_raw_parts(self.given, count) },
        };
        self.tail.clear();
        for part in given {
            let skipped = done.min(part.iov_len);
            done -= skipped;
            if skipped < part.iov_len {
                self.tail.push(iovec {
                    iov_base: part.iov_base.wrapping_byte_add(skipped),
                    iov_len: part.iov_len - skipped,
                });
            }
        }
        debug_assert_eq!(done, 0, "more was moved than there is");
    }
}

/// The rounds of one `recvmsg` with MSG_WAITALL.
pub(crate) struct Rounds {
    fd: c_int,
    kind: FdKind,
    /// The caller's message; `given` is a copy of it from before the first round.
    message: *mut msghdr,
    given: msghdr,
}

impl Rounds {
    pub(crate) fn new(fd: c_int, kind: FdKind, message: *mut msghdr, given: msghdr) -> Self {
        Self {
            fd,
            kind,
            message,
            given,
        }
    }

    /// Makes one round. Returns 0, which ends the call, where the kernel would not read on.
    ///
    /// # Safety
    /// S5: the caller of recvmsg lends the message and what it names; `done` bytes are there.
    pub(crate) unsafe fn receive(&mut self, parts: &mut Parts, done: usize, flags: c_int) -> Result<usize, Errno> {
        if done == 0 {
            // SAFETY: S5: the caller promises: the caller of recvmsg lends the message and what it names.
            return unsafe { socket::recvmsg(self.fd, self.message, flags) };
        }
        // SAFETY: S5: the first round has filled it in.
        let so_far = unsafe { &mut *self.message };
        // SAFETY: S5: the first round has filled it in.
        if self.kind != FdKind::InetStream && !unsafe { self.reads_on(so_far) }? {
            return Ok(0);
        }
        let mut rest = self.given;
        (rest.msg_iov, rest.msg_iovlen) = parts.from(done);
        (rest.msg_name, rest.msg_namelen) = (ptr::null_mut(), 0);
        // SAFETY: S5: the tail of the buffers, and the control bytes, whose contents the later ones replace.
        let count = unsafe { socket::recvmsg(self.fd, &mut rest, flags) }?;
        if count > 0 {
            so_far.msg_controllen = rest.msg_controllen;
            so_far.msg_flags |= rest.msg_flags;
        }
        Ok(count)
    }

    /// Whether the next bytes may follow those that were received: no descriptor was passed with the latter, and the
    /// writer is the same if credentials are asked for. Fails with would-block if no byte is there yet, because a
    /// receive that finds nothing overwrites the credentials all the same.
    ///
    /// # Safety
    /// S5: the message was received.
    unsafe fn reads_on(&self, so_far: &msghdr) -> Result<bool, Errno> {
        // SAFETY: S5: the caller promises: the message was received.
        let has_rights = unsafe { find_control(so_far, libc::SCM_RIGHTS) }.is_some();
        // Descriptors for which there was no room have ended the receive as well.
        if has_rights || so_far.msg_flags & libc::MSG_CTRUNC != 0 {
            return Ok(false);
        }
        // SAFETY: S5: the caller promises: the message was received.
        let Some(writer) = (unsafe { find_control(so_far, libc::SCM_CREDENTIALS) }) else {
            return Ok(true);
        };
        // SAFETY: S5: the kernel has written a whole one there, aligned to its own taste.
        let writer = unsafe { writer.cast::<[u8; CREDENTIAL_BYTES]>().read_unaligned() };
        Ok(self.next_writer()? == Some(writer))
    }

    /// The credentials of the writer of the next bytes; `None` at the end. There is no room for more control data, so
    /// no descriptor is passed.
    fn next_writer(&self) -> Result<Option<[u8; CREDENTIAL_BYTES]>, Errno> {
        let mut byte = 0_u8;
        let mut part = iovec {
            iov_base: ptr::from_mut(&mut byte).cast(),
            iov_len: 1,
        };
        let mut control = MaybeUninit::<[u64; 4]>::zeroed();
        let mut peeked = message(&raw const part, 1);
        peeked.msg_iov = &mut part;
        peeked.msg_control = control.as_mut_ptr().cast();
        peeked.msg_controllen = size_of_val(&control);
        // SAFETY: S5: live locals.
        let count = unsafe { socket::recvmsg(self.fd, &mut peeked, libc::MSG_PEEK | libc::MSG_DONTWAIT) }?;
        // SAFETY: S5: just received.
        let next = unsafe { find_control(&peeked, libc::SCM_CREDENTIALS) };
        // SAFETY: S5: as in `reads_on`.
        let next = next.map(|next| unsafe { next.cast::<[u8; CREDENTIAL_BYTES]>().read_unaligned() });
        Ok(next.filter(|_| count > 0))
    }
}

/// The size of the credentials: process, user and group.
const CREDENTIAL_BYTES: usize = size_of::<libc::ucred>();

/// The data of the first control message of the given kind at level SOL_SOCKET.
///
/// # Safety
/// S5: the message was received.
unsafe fn find_control(received: &msghdr, kind: c_int) -> Option<*const u8> {
    // SAFETY: S5: the caller promises: the message was received.
    let mut controls = unsafe { controls(received) };
    controls
        .find(|(header, _)| (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, kind))
        .map(|(_, data)| data)
}

/// The headers of a message's control data, and where the data of each begins.
///
/// # Safety
/// S5: the kernel has read or written the message, which stays as it is while this is used.
pub(crate) unsafe fn controls<'a>(message: *const msghdr) -> impl Iterator<Item = (&'a cmsghdr, *const u8)> {
    // SAFETY: S5: the caller promises: the kernel has read or written the message, which stays as it is while this is
    // used.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: S5: null or a header within the control bytes.
    std::iter::successors(unsafe { first.as_ref() }, move |header| {
        // SAFETY: S5: null or a header within the control bytes.
        let next = unsafe { libc::CMSG_NXTHDR(message, *header) };
        // SAFETY: S5: null or a header within the control bytes.
        unsafe { next.as_ref() }
    })
    .map(|header| {
        // SAFETY: S5: null or a header within the control bytes.
        let data = unsafe { libc::CMSG_DATA(header) };
        (header, data.cast_const())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: &[u8]) -> iovec {
        iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        }
    }

    #[test]
    fn a_tail_starts_where_the_last_round_ended() {
        let (first, second, third) = ([0_u8; 3], [0_u8; 0], [0_u8; 5]);
        let list = [part(&first), part(&second), part(&third)];
        // SAFETY: S5: a live list over live locals.
        let mut parts = unsafe { Parts::new(list.as_ptr(), 3) }.unwrap();
        assert_eq!(parts.total(), 8);
        assert_eq!(parts.from(0), (list.as_ptr().cast_mut(), 3));
        for done in 1..8 {
            let (tail, count) = parts.from(done);
            // SAFETY: S5: the list that was just returned.
            let tail = unsafe { std::slice::from_raw_parts(tail, count) };
            assert_eq!(tail.iter().map(|part| part.iov_len).sum::<usize>(), 8 - done);
            let end = tail.last().unwrap();
            assert_eq!(end.iov_base as usize + end.iov_len, third.as_ptr() as usize + 5);
            assert_eq!(count, if done < 3 { 2 } else { 1 });
        }
    }

    #[test]
    fn lists_that_the_kernel_refuses_are_left_to_it() {
        // SAFETY: S5: nothing is read of a null list.
        assert_eq!(unsafe { total(ptr::null(), 1) }, None);
        // SAFETY: S5: nothing is read of an empty list.
        assert_eq!(unsafe { total(ptr::null(), 0) }, Some(0));
        let list = [iovec {
            iov_base: ptr::null_mut(),
            iov_len: usize::MAX,
        }; 2];
        // SAFETY: S5: a live list.
        assert_eq!(unsafe { total(list.as_ptr(), 2) }, None);
        // SAFETY: S5: the count is refused before anything is read.
        assert_eq!(unsafe { total(list.as_ptr(), COUNT_MAX + 1) }, None);
    }
}
