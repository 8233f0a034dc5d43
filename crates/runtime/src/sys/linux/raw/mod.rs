//! How a system call is made without libc: no errno, no interposable symbol, no stack, safe in a signal handler (S6).
//!
//! Linux answers with one register: `-4095..=-1` is a negated error number, any other value is the result. The
//! processor's file (chosen here) holds the bare instruction; this file turns the register into a `Result`. A port to
//! aarch64 is one more file with the same seven functions.
//!
//! Rejected: libc's `syscall`. It is the very symbol that the futex hook replaces, and it writes errno.

use std::io;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as stub;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("sys/linux/raw has no system call stub for this processor yet");

/// An error number as a value: it never passes through the thread's errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const AGAIN: Self = Self(libc::EAGAIN);
    pub(crate) const ALREADY: Self = Self(libc::EALREADY);
    pub(crate) const BUSY: Self = Self(libc::EBUSY);
    pub(crate) const CANCELED: Self = Self(libc::ECANCELED);
    pub(crate) const BADF: Self = Self(libc::EBADF);
    #[cfg(test)]
    pub(crate) const NOENT: Self = Self(libc::ENOENT);
    pub(crate) const EXIST: Self = Self(libc::EEXIST);
    pub(crate) const FAULT: Self = Self(libc::EFAULT);
    pub(crate) const INPROGRESS: Self = Self(libc::EINPROGRESS);
    pub(crate) const INTR: Self = Self(libc::EINTR);
    pub(crate) const INVAL: Self = Self(libc::EINVAL);
    pub(crate) const NOSYS: Self = Self(libc::ENOSYS);
    pub(crate) const NOTSOCK: Self = Self(libc::ENOTSOCK);
    pub(crate) const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    pub(crate) const PERM: Self = Self(libc::EPERM);
    pub(crate) const TIMEDOUT: Self = Self(libc::ETIMEDOUT);
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        io::Error::from_raw_os_error(errno.0)
    }
}

/// The largest error number that the kernel may return (`MAX_ERRNO` in its `err.h`).
const ERRNO_MAX: usize = 4095;

#[inline(always)]
fn decode(register: usize) -> Result<usize, Errno> {
    if register > usize::MAX - ERRNO_MAX {
        // The register is the two's complement of a number that is at most 4095.
        Err(Errno(register.wrapping_neg() as i32))
    } else {
        Ok(register)
    }
}

macro_rules! checked {
    ($($name:ident($($argument:ident),*);)*) => {$(
        /// Enters the kernel with these arguments.
        ///
        /// # Safety
        /// The call does to memory, descriptors and the process what `number` says. Memory that it names is valid for
        /// that until it returns, or for as long as the kernel keeps it (S5).
        #[inline(always)]
        pub(crate) unsafe fn $name(
            number: libc::c_long,
            $($argument: usize),*
        ) -> Result<usize, Errno> {
            // SAFETY: S5: the caller upholds this function's contract, which is the stub's.
            decode(unsafe { stub::$name(number as usize, $($argument),*) })
        }
    )*};
}

checked! {
    syscall0();
    syscall1(a);
    syscall2(a, b);
    syscall3(a, b, c);
    syscall4(a, b, c, d);
    syscall5(a, b, c, d, e);
    syscall6(a, b, c, d, e, f);
}

/// Makes a call until no signal interrupts it.
#[inline]
pub(crate) fn repeat_interrupted(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_splits_results_from_errors_at_the_last_4095_values() {
        assert_eq!(decode(0), Ok(0));
        assert_eq!(decode((-1isize) as usize), Err(Errno(1)));
        assert_eq!(decode((-4095isize) as usize), Err(Errno(4095)));
        assert_eq!(decode((-4096isize) as usize), Ok((-4096isize) as usize));
    }

    #[test]
    fn a_call_without_arguments_agrees_with_std() {
        // SAFETY: S5: getpid touches no memory.
        let pid = unsafe { syscall0(libc::SYS_getpid) };
        assert_eq!(pid, Ok(std::process::id() as usize));
    }

    #[test]
    fn all_six_arguments_arrive_in_order() {
        // mmap checks each of its six arguments: only the right order maps a page of the file at this offset.
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let mut file = tempfile();
        file.write_all(&[1u8; 4096]).unwrap();
        file.write_all(&[2u8; 4096]).unwrap();
        // SAFETY: S5: a fresh private mapping aliases nothing.
        let address = unsafe {
            syscall6(
                libc::SYS_mmap,
                0,
                4096,
                libc::PROT_READ as usize,
                libc::MAP_PRIVATE as usize,
                file.as_raw_fd() as usize,
                4096,
            )
        }
        .unwrap();
        // SAFETY: S5: the mapping above is readable and 4096 bytes long.
        let byte = unsafe { *(address as *const u8) };
        assert_eq!(byte, 2);
        // SAFETY: S5: nothing refers to the mapping any more.
        unsafe { syscall2(libc::SYS_munmap, address, 4096) }.unwrap();
    }

    fn tempfile() -> std::fs::File {
        use std::os::fd::FromRawFd;
        // SAFETY: S5: the name is a C string that outlives the call.
        let fd = unsafe { syscall2(libc::SYS_memfd_create, c"raw".as_ptr() as usize, 0) }.unwrap();
        // SAFETY: S5: the descriptor is new, so the File is its only owner.
        unsafe { std::fs::File::from_raw_fd(fd as i32) }
    }

    #[test]
    fn errors_come_back_as_values_and_leave_errno_alone() {
        // SAFETY: S3: the address of this thread's errno, used on this thread.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: S3: the address of this thread's errno, used on this thread.
        unsafe { *errno = 12345 };
        // SAFETY: S5: close touches no memory, and -1 is no descriptor.
        let closed = unsafe { syscall1(libc::SYS_close, usize::MAX) };
        // SAFETY: S3: the address of this thread's errno, used on this thread.
        let after = unsafe { *errno };
        assert_eq!(closed, Err(Errno::BADF));
        assert_eq!(after, 12345);
        assert_eq!(io::Error::from(Errno::AGAIN).kind(), io::ErrorKind::WouldBlock);
    }
}
