//! In which call does the kernel block a thread of this process, and what is the call about? For reports.
//!
//! `/proc/self/task/…/syscall` has the number of the system call and its arguments. The question opens a file for a
//! moment, which takes the lowest free number of a descriptor (`held.rs`); so it is asked only where a report was asked
//! for.

use super::held::HeldFile;
use libc::{c_long, pid_t};
use std::ffi::CString;

/// A call that blocks a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelCall {
    /// The name of the system call, or how it is numbered.
    pub(crate) name: String,
    /// What it waits for, if the call names a descriptor.
    pub(crate) object: Option<String>,
}

/// System calls that wait, by their numbers; `true`: the first argument is a descriptor.
const NAMES: &[(c_long, &str, bool)] = &[
    (libc::SYS_read, "read", true),
    (libc::SYS_write, "write", true),
    (libc::SYS_open, "open", false),
    (libc::SYS_close, "close", true),
    (libc::SYS_stat, "stat", false),
    (libc::SYS_fstat, "fstat", true),
    (libc::SYS_poll, "poll", false),
    (libc::SYS_ioctl, "ioctl", true),
    (libc::SYS_pread64, "pread64", true),
    (libc::SYS_pwrite64, "pwrite64", true),
    (libc::SYS_readv, "readv", true),
    (libc::SYS_writev, "writev", true),
    (libc::SYS_select, "select", false),
    (libc::SYS_msync, "msync", false),
    (libc::SYS_nanosleep, "nanosleep", false),
    (libc::SYS_connect, "connect", true),
    (libc::SYS_accept, "accept", true),
    (libc::SYS_sendto, "sendto", true),
    (libc::SYS_recvfrom, "recvfrom", true),
    (libc::SYS_sendmsg, "sendmsg", true),
    (libc::SYS_recvmsg, "recvmsg", true),
    (libc::SYS_wait4, "wait4", false),
    (libc::SYS_semop, "semop", false),
    (libc::SYS_fcntl, "fcntl", true),
    (libc::SYS_flock, "flock", true),
    (libc::SYS_fsync, "fsync", true),
    (libc::SYS_fdatasync, "fdatasync", true),
    (libc::SYS_truncate, "truncate", false),
    (libc::SYS_ftruncate, "ftruncate", true),
    (libc::SYS_getdents64, "getdents64", true),
    (libc::SYS_rename, "rename", false),
    (libc::SYS_mkdir, "mkdir", false),
    (libc::SYS_unlink, "unlink", false),
    (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait", false),
    (libc::SYS_futex, "futex", false),
    (libc::SYS_clock_nanosleep, "clock_nanosleep", false),
    (libc::SYS_epoll_wait, "epoll_wait", true),
    (libc::SYS_waitid, "waitid", false),
    (libc::SYS_openat, "openat", false),
    (libc::SYS_newfstatat, "newfstatat", false),
    (libc::SYS_unlinkat, "unlinkat", false),
    (libc::SYS_pselect6, "pselect6", false),
    (libc::SYS_ppoll, "ppoll", false),
    (libc::SYS_splice, "splice", true),
    (libc::SYS_epoll_pwait, "epoll_pwait", true),
    (libc::SYS_fallocate, "fallocate", true),
    (libc::SYS_accept4, "accept4", true),
    (libc::SYS_preadv, "preadv", true),
    (libc::SYS_pwritev, "pwritev", true),
    (libc::SYS_recvmmsg, "recvmmsg", true),
    (libc::SYS_syncfs, "syncfs", true),
    (libc::SYS_renameat2, "renameat2", false),
    (libc::SYS_getrandom, "getrandom", false),
    (libc::SYS_copy_file_range, "copy_file_range", true),
    (libc::SYS_preadv2, "preadv2", true),
    (libc::SYS_pwritev2, "pwritev2", true),
    (libc::SYS_statx, "statx", false),
    (libc::SYS_epoll_pwait2, "epoll_pwait2", true),
];

/// The call in which the thread is blocked. `None`: it is not blocked (any more), or the kernel does not tell.
pub(crate) fn of_thread(thread: pid_t) -> Option<KernelCall> {
    let path = CString::new(format!("/proc/self/task/{thread}/syscall")).ok()?;
    let text = HeldFile::open(&path).ok()?.read_all().ok()?;
    parse(std::str::from_utf8(&text).ok()?)
}

/// "running", or the number of the call and its arguments; the number is -1 in a page fault.
fn parse(text: &str) -> Option<KernelCall> {
    let mut words = text.split_whitespace();
    let number: c_long = words.next()?.parse().ok()?;
    if number < 0 {
        let name = "a page fault".to_owned();
        return Some(KernelCall { name, object: None });
    }
    let known = NAMES.iter().find(|(known, ..)| *known == number);
    let first = words
        .next()
        .and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    Some(KernelCall {
        name: known.map_or_else(|| format!("system call {number}"), |(_, name, _)| (*name).to_owned()),
        object: first
            .filter(|_| known.is_some_and(|(.., names_descriptor)| *names_descriptor))
            .and_then(file_of),
    })
}

/// What a descriptor is: a path, or the kind of a file without a name.
fn file_of(fd: u64) -> Option<String> {
    let path = CString::new(format!("/proc/self/fd/{}", fd as u32)).ok()?;
    let target = super::file::link_of(&path)?;
    // A socket's or a pipe's number differs each time, and says nothing.
    Some(match target.split_once(":[") {
        Some((kind @ ("socket" | "pipe"), _)) => format!("a {kind}"),
        _ => target,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::signal::gettid;
    use std::io::{Read, Write};

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(parse("running\n"), None);
        let call = |name: &str, object: Option<&str>| {
            let (name, object) = (name.to_owned(), object.map(str::to_owned));
            Some(KernelCall { name, object })
        };
        assert_eq!(parse("-1 0x7ffc 0x55d\n"), call("a page fault", None));
        assert_eq!(
            parse("202 0x7f10 0x80 0x0 0x0 0x0 0x0 0x7ffd 0x7f11\n"),
            call("futex", None)
        );
        assert_eq!(
            parse("9999 0x1 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f11\n"),
            call("system call 9999", None)
        );
        let null = std::fs::File::open("/dev/null").unwrap();
        let line = format!(
            "0 {:#x} 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f11\n",
            std::os::fd::AsRawFd::as_raw_fd(&null)
        );
        assert_eq!(parse(&line), call("read", Some("/dev/null")));
    }

    #[test]
    fn a_thread_that_reads_a_pipe_is_seen_to() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let (told, thread) = std::sync::mpsc::channel();
        let blocked = std::thread::spawn(move || {
            told.send(gettid()).unwrap();
            reader.read_exact(&mut [0]).unwrap();
        });
        let thread = thread.recv().unwrap();
        let expected = KernelCall {
            name: "read".into(),
            object: Some("a pipe".into()),
        };
        while of_thread(thread).as_ref() != Some(&expected) {
            std::thread::yield_now();
        }
        writer.write_all(b"x").unwrap();
        blocked.join().unwrap();
    }
}
