//! Calls that no hook sees.

use std::time::Duration;

/// Sleeps in the kernel by an inline system call, as a library does that is not built on libc.
pub(crate) fn sleep_unseen(time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let mut result = libc::SYS_nanosleep;
    // SAFETY: S7: a live place for the time, and none for what is left of it; the kernel changes these registers only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") result,
            in("rdi") &time,
            in("rsi") 0,
            out("rcx") _,
            out("r11") _,
        );
    }
    assert!(result == 0 || result == -i64::from(libc::EINTR), "{result}");
}

/// Waits for the exclusive lock on a file by an inline system call.
#[allow(dead_code)] // Not every program that includes this file locks.
pub(crate) fn lock_unseen(file: &std::fs::File) {
    let number = std::os::fd::AsRawFd::as_raw_fd(file);
    loop {
        let mut result = libc::SYS_flock;
        // SAFETY: S7: numbers only; the kernel changes these registers only.
        unsafe {
            std::arch::asm!(
                "syscall",
                inout("rax") result,
                in("rdi") i64::from(number),
                in("rsi") i64::from(libc::LOCK_EX),
                out("rcx") _,
                out("r11") _,
            );
        }
        if result != -i64::from(libc::EINTR) {
            assert_eq!(result, 0);
            return;
        }
    }
}
