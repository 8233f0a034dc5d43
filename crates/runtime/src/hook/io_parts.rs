//! Lists of buffers, as the vectored calls give them, and what is left of one after a short call.
//!
//! The caller's list is read as the kernel would read it, but only if its head can be believed: a null list or an impossible count is left to
//! the kernel to refuse. The list is copied when a second round needs a tail of it, not before.

use crate::hook::lent::faults;
use libc::{iovec, msghdr};

/// What the kernel takes at most (UIO_MAXIOV).
const COUNT_MAX: usize = 1024;

/// A caller's list of buffers.
pub(super) struct Parts {
    given: *const iovec,
    count: usize,
    total: usize,
    tail: Vec<iovec>,
}

/// The sum of the lengths; `None` for a list that the kernel would refuse.
///
/// # Safety
/// S5: `given` names `count` readable entries if it is not null and the count is possible.
pub(super) unsafe fn total(given: *const iovec, count: usize) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    // SAFETY: S7: only called with the hooks in place.
    if given.is_null() || count > COUNT_MAX || unsafe { faults(given, count) } {
        return None;
    }
    // SAFETY: S5: the caller's contract.
    let parts = unsafe { std::slice::from_raw_parts(given, count) };
    parts
        .iter()
        .try_fold(0_usize, |sum, part| sum.checked_add(part.iov_len))
        .filter(|sum| isize::try_from(*sum).is_ok())
}

/// A message of these parts, without address or ancillary data.
pub(super) fn message(given: *const iovec, count: usize) -> msghdr {
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
    pub(super) unsafe fn new(given: *const iovec, count: usize) -> Option<Self> {
        // SAFETY: S5: the caller's contract.
        let total = unsafe { total(given, count) }?;
        Some(Self {
            given,
            count,
            total,
            tail: Vec::new(),
        })
    }

    #[inline]
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The list without its first `done` bytes, of which there are more than that.
    #[inline]
    pub(super) fn from(&mut self, done: usize) -> (*mut iovec, usize) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

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
