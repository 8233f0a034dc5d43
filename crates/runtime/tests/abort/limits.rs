//! Limits of the system and mistakes in the environment: each failure says what failed, which limit it is, and what to
//! set.

use super::{Case, End};
use silken::Runtime;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

fn spawn_and_say() {
    silken::spawn(|| ()).join().unwrap();
}

fn build_and_say() {
    let built = Runtime::builder().workers(1).build();
    drop(built.unwrap_or_else(|error| panic!("{error}")));
}

fn limit(what: libc::__rlimit_resource_t, to: u64) {
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: to,
    };
    // SAFETY: S7: a live structure.
    assert_eq!(unsafe { libc::setrlimit(what, &limit) }, 0);
}

fn few_files() {
    limit(libc::RLIMIT_NOFILE, 16);
    let error = Runtime::builder()
        .workers(100)
        .build()
        .map(drop)
        .unwrap_err()
        .to_string();
    for part in ["epoll_create1", "ulimit -n", "SILKEN_WORKERS", "Too many open files"] {
        assert!(error.contains(part), "{error}");
    }
    // What it had is given back: a smaller one starts.
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.run(|| silken::spawn(|| ()).join().unwrap()).unwrap();
}

/// `RUST_MIN_STACK` asks for more for each thread than there is.
fn little_address_space() {
    limit(libc::RLIMIT_AS, 600 << 20);
    let error = Runtime::builder().workers(1).build().map(drop).unwrap_err().to_string();
    for part in ["pthread_create", "ulimit -u", "ulimit -v", "SILKEN_WORKERS"] {
        assert!(error.contains(part), "{error}");
    }
}

fn little_address_space_for_a_stack() {
    limit(libc::RLIMIT_AS, 600 << 20);
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.block_on(|| {
        let error = silken::Builder::new()
            .stack_size(1 << 30)
            .spawn(|| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("RLIMIT_AS"), "{error}");
        silken::spawn(|| ()).join().unwrap();
    });
}

/// The kernel drops what comes with a signal: a coroutine that computes is interrupted all the same.
fn no_room_for_signals() {
    limit(libc::RLIMIT_SIGPENDING, 0);
    static IS_SET: AtomicBool = AtomicBool::new(false);
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.block_on(|| {
        let computes = silken::spawn(|| {
            while !IS_SET.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        let sets = silken::spawn(|| IS_SET.store(true, Relaxed));
        computes.join().unwrap();
        sets.join().unwrap();
    });
}

/// The address space that the process has.
fn address_space_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// Waits for the whole file's lock. Returns the error number, or 0.
fn exclusive(file: &File) -> i32 {
    // SAFETY: S5: no memory.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => 0,
        _ => std::io::Error::last_os_error().raw_os_error().unwrap(),
    }
}

/// Calls that wait for another party fail, and those that end by themselves are made all the same.
fn no_thread_for_a_wait() {
    let name = format!("silken-limits-{}", std::process::id());
    let [fifo, file] = ["fifo", "file"].map(|end| std::env::temp_dir().join(format!("{name}-{end}")));
    let path = CString::new(fifo.as_os_str().as_bytes()).unwrap();
    // SAFETY: S7: a text that ends.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.block_on(|| {
        let held = File::create(&file).unwrap();
        assert_eq!(exclusive(&held), 0);
        let second = File::open(&file).unwrap();
        // Less than the stack of a thread.
        limit(libc::RLIMIT_AS, address_space_bytes() + (700 << 10));
        let opened = File::open(&fifo).unwrap_err().raw_os_error();
        assert_eq!((opened, exclusive(&second)), (Some(libc::ENOMEM), libc::ENOMEM));
        held.sync_all().unwrap();
    });
    [fifo, file].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

pub(super) fn cases() -> Vec<Case> {
    let panics = |name| Case::new(name, spawn_and_say, End::Exits(101));
    vec![
        panics("limits::no_workers")
            .environment(&[("SILKEN_WORKERS", "0")])
            .says(&[
                "SILKEN_WORKERS=0 is not understood: a number from 1 to 16384",
                "abort/limits.rs:",
            ]),
        panics("limits::words_for_workers")
            .environment(&[("SILKEN_WORKERS", "abc")])
            .says(&["SILKEN_WORKERS=abc is not understood"]),
        panics("limits::too_many_workers")
            .environment(&[("SILKEN_WORKERS", "100000")])
            .says(&["SILKEN_WORKERS=100000 is not understood: a number from 1 to 16384"]),
        panics("limits::no_blocking_threads")
            .environment(&[("SILKEN_BLOCKING_THREADS", "0")])
            .says(&["SILKEN_BLOCKING_THREADS=0 is not understood: a number from 1 to 16384"]),
        panics("limits::a_size_without_sense")
            .environment(&[("SILKEN_STACK_SIZE", "64kg")])
            .says(&["SILKEN_STACK_SIZE=64kg is not understood: bytes, or with k, m or g"]),
        Case::new("limits::a_grace_without_unit", build_and_say, End::Exits(101))
            .environment(&[("SILKEN_GRACE", "5")])
            .says(&["SILKEN_GRACE=5 is not understood: a time, as in 500ms, 2s or 0"]),
        panics("limits::an_unknown_policy")
            .environment(&[("SILKEN_OVERFLOW", "later")])
            .says(&["SILKEN_OVERFLOW=later is not understood: contain or abort"]),
        Case::new("limits::few_files", few_files, End::Returns),
        Case::new("limits::no_room_for_signals", no_room_for_signals, End::Returns),
        Case::new("limits::no_thread_for_a_wait", no_thread_for_a_wait, End::Returns).says(&[
            "no thread can be made (pthread_create)",
            "fails with ENOMEM",
            "ulimit -u",
        ]),
        Case::new("limits::little_address_space", little_address_space, End::Returns)
            .environment(&[("RUST_MIN_STACK", "2000000000")]),
        Case::new(
            "limits::little_address_space_for_a_stack",
            little_address_space_for_a_stack,
            End::Returns,
        ),
    ]
}
