//! io_uring: where a container's filter forbids it, where no descriptor is left for it, and where it is not wanted.
//! Calls on files do the same in each case.

use super::{Case, End};
use silken::{IoDriver, Runtime};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// `io_uring_setup(2)` on x86-64.
const SYS_IO_URING_SETUP: u32 = 425;

/// Has the kernel answer EPERM to `io_uring_setup`, as container filters do.
fn forbid_rings() {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let program = [
        // The number of the call is the first word.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYS_IO_URING_SETUP),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: S7: numbers only.
    let dropped = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: S7: a live program.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!((dropped, filtered), (0, 0));
}

/// How many rings the process has open.
fn rings() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names.filter(|name| name == Path::new("anon_inode:[io_uring]")).count()
}

/// Writes a file, has the system forget it, and reads it in both ways.
fn use_a_file() {
    let path = std::env::temp_dir().join(format!("silken-rings-{}", std::process::id()));
    let content: Vec<u8> = (0..300_000).map(|at| (at / 7) as u8).collect();
    let mut file = File::create(&path).unwrap();
    file.write_all(&content).unwrap();
    file.sync_all().unwrap();
    let mut file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // SAFETY: S7: numbers only.
    let evict = |file: &File| unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    let mut part = vec![0; 100_000];
    assert_eq!(evict(&file), 0);
    file.read_exact_at(&mut part, 150_000).unwrap();
    assert!(part == content[150_000..250_000]);
    assert_eq!(evict(&file), 0);
    let mut whole = Vec::new();
    file.read_to_end(&mut whole).unwrap();
    assert!(whole == content);
}

/// The runtime's text on itself, after a file was used.
fn with_files(runtime: &Runtime) -> String {
    runtime.block_on(use_a_file);
    runtime.describe()
}

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

fn forbidden() {
    forbid_rings();
    let refused = Runtime::builder()
        .driver(IoDriver::IoUring)
        .build()
        .map(drop)
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    for part in ["io_uring_setup", "kernel.io_uring_disabled", "SILKEN_DRIVER=epoll"] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
    let text = with_files(&one_worker());
    assert!(text.ends_with("driver epoll"), "{text}");
}

fn unwanted() {
    let text = with_files(&one_worker());
    assert!(text.ends_with("driver epoll"), "{text}");
    assert_eq!(rings(), 0);
}

fn taken() {
    if Runtime::builder().driver(IoDriver::IoUring).build().is_err() {
        eprintln!("no io_uring here");
        return;
    }
    let runtime = one_worker();
    assert_eq!(rings(), 0, "it is made when it is needed");
    let text = with_files(&runtime);
    assert!(text.ends_with("io_uring for files"), "{text}");
    assert_eq!(rings(), 1);
    // The next runtime gets the driver, with its ring, or is told not to use it.
    drop(runtime);
    let other = Runtime::builder().workers(1).driver(IoDriver::Epoll).build().unwrap();
    assert!(with_files(&other).ends_with("driver epoll"));
    assert_eq!(rings(), 1);
}

/// No descriptor is left when the first call wants a ring: a pool's thread makes it. Later there is room, and a ring.
fn no_descriptor() {
    let runtime = one_worker();
    runtime
        .run(|| {
            let file = File::open("/proc/self/exe").unwrap();
            // SAFETY: S7: numbers only.
            let evict = || unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            let mut taken = Vec::new();
            while let Ok(one) = file.try_clone() {
                taken.push(one);
            }
            evict();
            file.sync_all().unwrap();
            file.read_exact_at(&mut [0; 10_000], 10_000).unwrap();
            drop(taken);
            assert_eq!(rings(), 0);
            use_a_file();
        })
        .unwrap();
}

/// A program that has closed its standard input gets that number by its next open, not the runtime by a ring.
fn standard_numbers() {
    let runtime = one_worker();
    runtime.block_on(|| {
        let file = File::open("/proc/self/exe").unwrap();
        // SAFETY: S7: numbers only.
        let closed = unsafe { libc::close(0) };
        assert_eq!(closed, 0);
        // SAFETY: S7: numbers only.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        file.sync_all().unwrap();
        file.read_exact_at(&mut [0; 10_000], 10_000).unwrap();
        assert_eq!(File::open("/dev/null").unwrap().as_raw_fd(), 0);
        // The ring serves from its other number.
        use_a_file();
    });
}

/// Standard error is full: a runtime's report does not end the program.
fn reports_into_nothing() {
    // SAFETY: S7: names that end, and numbers.
    let full = unsafe { libc::open(c"/dev/full".as_ptr(), libc::O_WRONLY) };
    assert!(full > 2);
    // SAFETY: S7: numbers only.
    assert_eq!(unsafe { libc::dup2(full, 2) }, 2);
    let runtime = one_worker();
    runtime.run(|| drop(silken::spawn(silken::park))).unwrap();
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("rings::forbidden", forbidden, End::Returns),
        Case::new("rings::unwanted", unwanted, End::Returns).environment(&[("SILKEN_DRIVER", "epoll")]),
        Case::new("rings::taken", taken, End::Returns),
        Case::new("rings::no_descriptor", no_descriptor, End::Returns),
        Case::new("rings::standard_numbers", standard_numbers, End::Returns),
        Case::new("rings::reports_into_nothing", reports_into_nothing, End::Returns)
            .environment(&[("SILKEN_REPORT", "1"), ("SILKEN_STACK_REPORT", "1")]),
        Case::new("rings::not_understood", unwanted, End::Exits(101))
            .environment(&[("SILKEN_DRIVER", "aio")])
            .says(&["SILKEN_DRIVER=aio is not understood: epoll or io_uring"]),
    ]
}
