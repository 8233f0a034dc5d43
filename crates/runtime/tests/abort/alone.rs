//! What a process has and keeps, where only one that does nothing else can tell.

use super::{Case, End};
use silken::Runtime;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "runtimes_leave_no_descriptors",
            runtimes_leave_no_descriptors,
            End::Returns,
        ),
        Case::new(
            "a_runtime_that_cannot_be_made_leaves_nothing",
            failures_leave_nothing,
            End::Returns,
        ),
    ]
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn once(workers: usize) {
    let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
    assert_eq!(runtime.run(|| silken::spawn(|| 7).join().unwrap()).unwrap(), 7);
}

fn runtimes_leave_no_descriptors() {
    // Drivers are kept for the next runtime: as many as there were workers at one time.
    once(3);
    let before = descriptors();
    for round in 0..200 {
        once(1 + round % 3);
    }
    assert_eq!(descriptors(), before);
}

/// Sets the soft limit of descriptors.
fn limit_descriptors(limit: u64) {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: S7: a valid place.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut now) }, 0);
    now.rlim_cur = limit;
    // SAFETY: S7: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &now) }, 0);
}

/// The third worker's driver finds no descriptor left: the first two's come back.
fn failures_leave_nothing() {
    const LIMIT: u64 = 64;
    limit_descriptors(LIMIT);
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    held.truncate(held.len() - 5);
    for _ in 0..10 {
        let error = Runtime::builder()
            .workers(3)
            .build()
            .expect_err("there are five descriptors");
        // The system's own error is the source of the one that explains it.
        let source = error.get_ref().and_then(|explained| explained.source());
        let source = source.and_then(|source| source.downcast_ref::<std::io::Error>());
        let number = source.and_then(std::io::Error::raw_os_error);
        assert_eq!(number, Some(libc::EMFILE), "{error}");
    }
    once(2);
}
