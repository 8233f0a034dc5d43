//! Does a call that no hook sees block nobody but the coroutine that makes it?
//!
//! A process of its own: it counts the process's threads.

mod late;
#[path = "../common/unseen.rs"]
mod unseen;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
pub(crate) use unseen::sleep_unseen;

pub(crate) fn runtime(workers: usize) -> silken::Runtime {
    silken::Runtime::builder()
        .workers(workers)
        .build()
        .expect("the runtime starts")
}

/// The process's threads of this name.
fn threads_named(name: &str) -> usize {
    let all = std::fs::read_dir("/proc/self/task").expect("it is mounted");
    let names = all.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|of_task| of_task.trim() == name).count()
}

/// How many times another coroutine runs, on the only worker, while a call blocks that worker's thread for half a
/// second.
fn turns_meanwhile(builder: silken::RuntimeBuilder, prepare: impl FnOnce() + Send) -> usize {
    let runtime = builder.workers(1).build().expect("the runtime starts");
    runtime
        .run(|| {
            prepare();
            let (over, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let (seen, count) = (over.clone(), turns.clone());
            let others = silken::spawn(move || {
                while !seen.load(SeqCst) {
                    count.fetch_add(1, SeqCst);
                    silken::sleep(Duration::from_millis(1));
                }
            });
            silken::yield_now();
            let before = turns.load(SeqCst);
            sleep_unseen(Duration::from_millis(500));
            let after = turns.load(SeqCst);
            over.store(true, SeqCst);
            others.join().unwrap();
            after - before
        })
        .unwrap()
}

#[test]
fn the_only_worker_goes_on_without_the_blocked_thread() {
    assert!(turns_meanwhile(silken::Runtime::builder(), || ()) >= 20);
}

#[test]
fn a_runtime_without_spare_threads_stands_still() {
    assert_eq!(turns_meanwhile(silken::Runtime::builder().spare_threads(0), || ()), 0);
    assert_eq!(turns_meanwhile(silken::Runtime::builder().hand_off(None), || ()), 0);
}

#[test]
fn a_worker_that_has_started_a_light_coroutine_keeps_its_thread() {
    let starts_a_light_one = || {
        // SAFETY: S12: it does nothing.
        let builder = unsafe { silken::Builder::new().light() };
        builder.spawn(|| ()).unwrap().join().unwrap();
    };
    assert_eq!(turns_meanwhile(silken::Runtime::builder(), starts_a_light_one), 0);
}

/// Mostly blocked, and sometimes computing in the C library, where nothing is preempted.
#[test]
fn a_coroutine_that_computes_and_blocks_by_turns_lets_others_run() {
    runtime(1)
        .run(|| {
            let over = Arc::new(AtomicBool::new(false));
            let seen = over.clone();
            let blocks = silken::spawn(move || {
                let mut memory = vec![0_u8; 4 << 20];
                for round in 0.. {
                    if seen.load(SeqCst) {
                        break;
                    }
                    memory.fill(std::hint::black_box(round));
                    sleep_unseen(Duration::from_millis(3));
                }
            });
            (0..50).for_each(|_| silken::sleep(Duration::from_millis(1)));
            over.store(true, SeqCst);
            blocks.join().unwrap();
        })
        .unwrap();
}

/// A thread that takes a worker over has blocked the same signals as the thread that has started the runtime.
#[test]
fn spare_threads_inherit_from_who_starts_the_runtime() {
    fn blocked() -> u64 {
        let mut set = 0_u64;
        // SAFETY: S5: a live word of the kernel's size.
        let asked = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, 0, &raw mut set, 8) };
        assert_eq!(asked, 0);
        set & !(1 << (libc::SIGURG - 1))
    }

    fn change(how: i32, set: u64) {
        // SAFETY: S5: a live word of the kernel's size.
        let changed = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, 0, 8) };
        assert_eq!(changed, 0);
    }

    let quit = 1 << (libc::SIGQUIT - 1);
    change(libc::SIG_BLOCK, quit);
    let runtime = runtime(1);
    change(libc::SIG_UNBLOCK, quit);
    runtime
        .run(|| {
            let before = blocked();
            assert_ne!(before & quit, 0);
            let other = silken::spawn(blocked);
            sleep_unseen(Duration::from_millis(50));
            assert_eq!(other.join().unwrap(), before);
        })
        .unwrap();
}

#[test]
fn fifty_blocked_calls_on_two_workers() {
    let turns = runtime(2)
        .run(|| {
            let (over, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let others: Vec<_> = (0..100)
                .map(|_| {
                    let (over, turns) = (over.clone(), turns.clone());
                    silken::spawn(move || {
                        while !over.load(SeqCst) {
                            turns.fetch_add(1, SeqCst);
                            silken::sleep(Duration::from_millis(1));
                        }
                    })
                })
                .collect();
            let blocked: Vec<_> = (0..50)
                .map(|_| silken::spawn(|| sleep_unseen(Duration::from_millis(1500))))
                .collect();
            blocked.into_iter().for_each(|each| each.join().unwrap());
            over.store(true, SeqCst);
            others.into_iter().for_each(|each| each.join().unwrap());
            turns.load(SeqCst)
        })
        .unwrap();
    assert!(turns >= 2000, "{turns}");
}

#[test]
fn threads_end_when_they_are_not_needed() {
    runtime(1)
        .run(|| {
            let blocked: Vec<_> = (0..10)
                .map(|_| silken::spawn(|| sleep_unseen(Duration::from_millis(300))))
                .collect();
            blocked.into_iter().for_each(|each| each.join().unwrap());
            let begun = Instant::now();
            // Those of other tests are among them.
            while threads_named("silken-spare") > 1 {
                assert!(begun.elapsed() < Duration::from_secs(100), "they stay");
                silken::sleep(Duration::from_millis(100));
            }
        })
        .unwrap();
}

/// A mutex of C, which no hook sees when it is contended.
struct CMutex(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: S2: a mutex is for several threads.
unsafe impl Sync for CMutex {}

impl CMutex {
    fn lock(&self) {
        // SAFETY: S7: an initialised mutex, which is not moved.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.0.get()) }, 0);
    }

    fn unlock(&self) {
        // SAFETY: S7: the caller has locked it.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
    }
}

#[test]
fn a_coroutine_that_parks_with_a_mutex_of_c_does_not_stop_the_process() {
    static MUTEX: CMutex = CMutex(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    runtime(2)
        .run(|| {
            let holder = silken::spawn(|| {
                MUTEX.lock();
                silken::sleep(Duration::from_millis(50));
                MUTEX.unlock();
            });
            silken::sleep(Duration::from_millis(10));
            let wanting: Vec<_> = (0..8)
                .map(|_| {
                    silken::spawn(|| {
                        MUTEX.lock();
                        silken::yield_now();
                        MUTEX.unlock();
                    })
                })
                .collect();
            wanting.into_iter().for_each(|each| each.join().unwrap());
            holder.join().unwrap();
        })
        .unwrap();
}

#[test]
fn a_runtime_that_ends_does_not_wait_for_a_blocked_call() {
    let (told, asked) = mpsc::channel();
    let runtime = silken::Runtime::builder()
        .workers(1)
        .grace(Duration::from_millis(100))
        .build()
        .unwrap();
    let begun = Instant::now();
    runtime
        .run(move || {
            silken::spawn(move || {
                sleep_unseen(Duration::from_secs(3));
                told.send(()).unwrap();
            });
            silken::yield_now();
        })
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    // It was left behind, and goes on.
    asked.recv_timeout(Duration::from_secs(60)).unwrap();
}

/// A report names the calls that blocked workers, what they were about, and where their coroutines come from.
#[test]
fn a_report_names_the_calls_that_block() {
    let runtime = silken::Runtime::builder().workers(1).report(true).build().unwrap();
    let path = std::env::temp_dir().join(format!("silken-report-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let line = runtime.block_on(|| {
        let sleeps = silken::spawn(|| sleep_unseen(Duration::from_millis(50)));
        sleeps.join().unwrap();
        // A lock that a thread holds, by a call that no hook sees.
        let holder = file.try_clone().unwrap();
        holder.lock().unwrap();
        let other = std::fs::File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap();
        let thread = silken::native(|| {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                holder.unlock().unwrap();
            })
        });
        let waits = silken::spawn(move || unseen::lock_unseen(&other));
        let line = line!() - 1;
        waits.join().unwrap();
        thread.join().unwrap();
        line
    });
    let report = runtime.report();
    let of = |call: &str| report.blocked.iter().find(|blocked| blocked.call == call);
    let sleep = of("nanosleep").unwrap_or_else(|| panic!("{report}"));
    assert_eq!((sleep.object.as_deref(), sleep.count >= 1), (None, true), "{report}");
    let lock = of("flock").unwrap_or_else(|| panic!("{report}"));
    let object = lock.object.as_deref().unwrap_or_default();
    assert!(object.starts_with(path.to_str().unwrap()), "{report}");
    let place = lock.spawned_at.expect("it is known");
    assert_eq!((place.file(), place.line()), (file!(), line));
    assert!(report.hand_offs >= 2 && report.spare_threads_max >= 1, "{report}");
    assert_eq!((report.workers, report.spawned), (1, 3));
    assert!(report.ended <= 3, "{report}");
    assert!(report.switches >= 3 && report.resident_bytes > 1 << 20, "{report}");
    assert!(report.resident_bytes_max >= report.resident_bytes / 2, "{report}");
    let text = report.to_string();
    assert!(
        text.contains("calls that blocked a worker:") && text.contains("flock of "),
        "{text}"
    );
}
