//! The set-id family while coroutines run: the C library has every thread of the process make the system call.

use super::{PATIENCE, alone, runtime};
use libc::{c_int, gid_t, uid_t};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const UNCHANGED: u32 = u32::MAX;

/// Each call of the family once, changing nothing; and one that fails.
fn all_of_them() {
    // SAFETY: S7: numbers only; so in all of these.
    let (uid, gid): (uid_t, gid_t) = (unsafe { libc::geteuid() }, unsafe { libc::getegid() });
    let results: [c_int; 8] = [
        // SAFETY: S7: numbers only.
        unsafe { libc::setresuid(UNCHANGED, UNCHANGED, UNCHANGED) },
        // SAFETY: S7: numbers only.
        unsafe { libc::setresgid(UNCHANGED, UNCHANGED, UNCHANGED) },
        // SAFETY: S7: numbers only.
        unsafe { libc::setreuid(UNCHANGED, UNCHANGED) },
        // SAFETY: S7: numbers only.
        unsafe { libc::setregid(UNCHANGED, UNCHANGED) },
        // SAFETY: S7: numbers only.
        unsafe { libc::seteuid(uid) },
        // SAFETY: S7: numbers only.
        unsafe { libc::setegid(gid) },
        // SAFETY: S7: numbers only.
        unsafe { libc::setuid(uid) },
        // SAFETY: S7: numbers only.
        unsafe { libc::setgid(gid) },
    ];
    assert_eq!(results, [0; 8]);
    if uid == 0 {
        let mut groups = [0; 256];
        // SAFETY: S7: room for as many as said.
        let count = unsafe { libc::getgroups(256, groups.as_mut_ptr()) };
        // SAFETY: S7: as many as were told.
        assert_eq!(unsafe { libc::setgroups(count as usize, groups.as_ptr()) }, 0);
    }
}

/// Coroutines that compute, switch, allocate, park and end, until the flag is set.
fn busy(runtime: &silken::Runtime, stop: &Arc<AtomicBool>) -> Vec<silken::JoinHandle<()>> {
    let kinds: [fn(); 4] = [
        || {
            (0..100_000).for_each(|_| std::hint::spin_loop());
            silken::yield_now();
        },
        silken::yield_now,
        || std::thread::sleep(Duration::from_micros(50)),
        || {
            let children: Vec<_> = (0..16).map(|i| silken::spawn(move || vec![i; 100])).collect();
            for child in children {
                assert_eq!(child.join().unwrap().len(), 100);
            }
        },
    ];
    let unit = |step: fn()| {
        let stop = Arc::clone(stop);
        runtime.spawn(move || {
            // Relaxed: a flag.
            while !stop.load(Ordering::Relaxed) {
                step();
            }
        })
    };
    kinds.into_iter().map(unit).collect()
}

/// Runs the family's calls with `call`, beside coroutines of every kind. Ends the process if one does not return.
fn beside_busy_coroutines(call: impl Fn(&silken::Runtime)) {
    let _alone = alone();
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let stop = Arc::new(AtomicBool::new(false));
        let units = busy(&runtime, &stop);
        call(&runtime);
        // Relaxed: a flag.
        stop.store(true, Ordering::Relaxed);
        for unit in units {
            unit.join().unwrap();
        }
    }
}

fn joined(unit: silken::JoinHandle<()>) {
    unit.join_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("the call has not returned"))
        .unwrap();
}

fn joined_thread(thread: std::thread::JoinHandle<()>) {
    let start = std::time::Instant::now();
    while !thread.is_finished() {
        assert!(start.elapsed() < PATIENCE, "the call has not returned");
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap();
}

#[test]
fn can_be_set_by_a_thread() {
    beside_busy_coroutines(|_| joined_thread(std::thread::spawn(|| (0..20).for_each(|_| all_of_them()))));
}

#[test]
fn can_be_set_by_coroutines() {
    beside_busy_coroutines(|runtime| {
        let units: Vec<_> = (0..4)
            .map(|_| runtime.spawn(|| (0..5).for_each(|_| all_of_them())))
            .collect();
        units.into_iter().for_each(joined);
    });
}

/// Callers of both kinds, while threads and runtimes come and go.
#[test]
fn can_be_set_by_all_at_once() {
    beside_busy_coroutines(|runtime| {
        let units: Vec<_> = (0..2)
            .map(|_| runtime.spawn(|| (0..5).for_each(|_| all_of_them())))
            .collect();
        let callers: Vec<_> = (0..2)
            .map(|_| std::thread::spawn(|| (0..10).for_each(|_| all_of_them())))
            .collect();
        for _ in 0..20 {
            std::thread::spawn(all_of_them).join().unwrap();
            let short = super::runtime(2);
            short.spawn(all_of_them).join().unwrap();
        }
        units.into_iter().for_each(joined);
        callers.into_iter().for_each(joined_thread);
    });
}

/// What a failed call says arrives in the caller's errno.
#[test]
fn that_may_not_be_set_are_refused_with_errno() {
    let _alone = alone();
    let runtime = runtime(2);
    let ask = || {
        // SAFETY: S7: a flag that no call of the family knows.
        let result = unsafe { libc::setgroups(usize::MAX, std::ptr::null()) };
        (result, std::io::Error::last_os_error().raw_os_error())
    };
    let on_thread = std::thread::spawn(ask).join().unwrap();
    assert_eq!(on_thread.0, -1);
    assert_eq!(runtime.spawn(ask).join().unwrap(), on_thread);
}

/// A thread of the runtime's serves posts of semaphores that come from signal handlers. It takes part, too.
#[test]
fn can_be_set_after_a_coroutine_has_waited_for_a_semaphore() {
    let _alone = alone();
    let runtime = runtime(2);
    let semaphore = Box::leak(Box::new(std::mem::MaybeUninit::<libc::sem_t>::uninit()));
    // SAFETY: S7: a place for a semaphore.
    assert_eq!(unsafe { libc::sem_init(semaphore.as_mut_ptr(), 0, 0) }, 0);
    let address = semaphore.as_mut_ptr().expose_provenance();
    // SAFETY: S7: the semaphore, which stays.
    let waiter = runtime.spawn(move || unsafe { libc::sem_wait(std::ptr::with_exposed_provenance_mut(address)) });
    std::thread::sleep(super::SOON);
    // SAFETY: S7: the semaphore, which stays.
    assert_eq!(unsafe { libc::sem_post(semaphore.as_mut_ptr()) }, 0);
    assert_eq!(waiter.join().unwrap(), 0);
    all_of_them();
    runtime.block_on(all_of_them);
}
