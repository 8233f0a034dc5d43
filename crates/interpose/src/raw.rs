//! How is the kernel called without the C library, while the C library's own definitions are not known yet?
//!
//! Nothing here allocates, locks or uses thread-locals other than errno. So it may run before `main`, inside `dlsym`
//! and in a signal handler. The calls are no cancellation points. No program notices that, since they are in use for
//! microseconds.
//!
//! A libc function that is not interposed would do as well, if there were one for each call. But `__read` and its kin
//! exist for only a third of the list.

use core::arch::asm;
use core::ptr;

use libc::{c_int, c_long, c_uint, fd_set, nfds_t, pollfd, sigset_t, timespec};

/// Bytes of the kernel's signal set, which is shorter than the C library's.
pub(crate) const KERNEL_SIGSET_BYTES: usize = 8;

/// Makes one system call. The result is the kernel's: an error is a negated error number.
///
/// # Safety
/// The caller must meet the requirements of the system call `number` on its arguments.
pub(crate) unsafe fn system_call(number: c_long, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: S7: the kernel's x86_64 convention: number and result in rax, arguments in rdi, rsi, rdx, r10, r8, r9,
    // rcx and r11 lost. Memory is not declared untouched, so buffers are seen as written. The caller vouches for the
    // rest.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Turns a kernel result into the C convention: for an error it sets errno and returns -1.
pub(crate) fn set_errno_of(result: isize) -> isize {
    if (-4095..0).contains(&result) {
        set_errno(-result as c_int);
        return -1;
    }
    result
}

/// The errno of the running thread, or of the running coroutine, in whose own block it lies.
pub(crate) fn errno() -> c_int {
    // SAFETY: S3: the address is asked for at each use, never kept over a call that may change the identity.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: S3: errno of the caller, alive as long as the caller.
    unsafe { place.read() }
}

/// Sets errno of the running thread.
pub(crate) fn set_errno(value: c_int) {
    // SAFETY: S3: as in `errno`.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: S3: as in `errno`.
    unsafe { place.write(value) }
}

/// Calls `ppoll` with a copy of the timeout: the kernel writes the remaining time back, and the C function promises not
/// to.
///
/// # Safety
/// The contract of `ppoll(2)`.
pub(crate) unsafe fn ppoll(
    entries: *mut pollfd,
    entry_count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> isize {
    // SAFETY: S7: null or a valid timespec, says the contract of ppoll.
    let mut copy = unsafe { timeout.as_ref() }.copied();
    let copy_address = copy.as_mut().map_or(0, |copy| ptr::from_mut(copy) as usize);
    let arguments = [
        entries as usize,
        entry_count as usize,
        copy_address,
        mask as usize,
        KERNEL_SIGSET_BYTES,
        0,
    ];
    // SAFETY: S7: the caller keeps the contract of ppoll; the copy outlives the call.
    unsafe { system_call(libc::SYS_ppoll, arguments) }
}

/// Calls `pselect6` with a copy of the timeout: the kernel writes the remaining time back, and the C function promises
/// not to. The kernel takes the mask and its size through one pointer.
///
/// # Safety
/// The contract of `pselect(2)`.
pub(crate) unsafe fn pselect(
    fd_count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> isize {
    // SAFETY: S7: null or a valid timespec, says the contract of pselect.
    let mut copy = unsafe { timeout.as_ref() }.copied();
    let copy_address = copy.as_mut().map_or(0, |copy| ptr::from_mut(copy) as usize);
    let sized_mask = [mask as usize, KERNEL_SIGSET_BYTES];
    let arguments = [
        fd_count as usize,
        reads as usize,
        writes as usize,
        exceptions as usize,
        copy_address,
        sized_mask.as_ptr() as usize,
    ];
    // SAFETY: S7: the caller keeps the contract of pselect; the copies outlive the call.
    unsafe { system_call(libc::SYS_pselect6, arguments) }
}

/// `usleep`, made of `nanosleep`.
pub(crate) fn usleep(duration_us: c_uint) -> c_int {
    let request = timespec {
        tv_sec: i64::from(duration_us / 1_000_000),
        tv_nsec: i64::from(duration_us % 1_000_000) * 1_000,
    };
    let arguments = [ptr::from_ref(&request) as usize, 0, 0, 0, 0, 0];
    // SAFETY: S7: a valid request that outlives the call, no place for the rest.
    set_errno_of(unsafe { system_call(libc::SYS_nanosleep, arguments) }) as c_int
}

/// `sleep`, made of `nanosleep`. The remaining time is rounded down to seconds, as glibc does it.
pub(crate) fn sleep(duration_s: c_uint) -> c_uint {
    let mut time = timespec {
        tv_sec: i64::from(duration_s),
        tv_nsec: 0,
    };
    let address = ptr::from_mut(&mut time) as usize;
    // SAFETY: S7: the kernel copies the request before it writes the rest to the same place.
    let result = unsafe { system_call(libc::SYS_nanosleep, [address, address, 0, 0, 0, 0]) };
    if result == 0 { 0 } else { time.tv_sec as c_uint }
}

/// The kernel's thread number: a coroutine's block holds an invented one.
pub(crate) fn gettid() -> usize {
    // SAFETY: S7: takes no arguments and cannot fail.
    unsafe { system_call(libc::SYS_gettid, [0; 6]) as usize }
}

/// The kernel's process number.
pub(crate) fn getpid() -> usize {
    // SAFETY: S7: takes no arguments and cannot fail.
    unsafe { system_call(libc::SYS_getpid, [0; 6]) as usize }
}
