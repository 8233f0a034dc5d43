//! Does the number of workers follow the processors that the process may use?
//!
//! A process of its own: it changes the cores of all of its threads.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The tests change the cores of the same threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The look at the machine comes once a second; a busy machine may take far longer.
const LONG: Duration = Duration::from_secs(60);

const MASK_BYTES: usize = 1024;

type Mask = [u64; MASK_BYTES / 8];

fn cores() -> Mask {
    let mut mask = [0; MASK_BYTES / 8];
    // SAFETY: S5: a live place of that size, for the calling thread's cores.
    let result = unsafe { libc::sched_getaffinity(0, MASK_BYTES, mask.as_mut_ptr().cast()) };
    assert_eq!(result, 0);
    mask
}

/// Only the first `count` of these.
fn first(all: &Mask, count: usize) -> Mask {
    let mut left = count;
    all.map(|word| {
        let mut kept = 0;
        for bit in (0..64).filter(|bit| word >> bit & 1 != 0) {
            if left > 0 {
                left -= 1;
                kept |= 1 << bit;
            }
        }
        kept
    })
}

fn count(mask: &Mask) -> usize {
    mask.iter().map(|word| word.count_ones() as usize).sum()
}

/// Does what `taskset --all-tasks --pid` does to this process.
fn set_cores(mask: &Mask) {
    for task in std::fs::read_dir("/proc/self/task").expect("it is mounted").flatten() {
        let id = task
            .file_name()
            .to_str()
            .and_then(|id| id.parse().ok())
            .expect("a number");
        // SAFETY: S5: a live mask of that size. A thread that has ended is no matter.
        let _ = unsafe { libc::sched_setaffinity(id, MASK_BYTES, mask.as_ptr().cast()) };
    }
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Keeps the runtime awake: the monitor looks at the machine while coroutines run.
fn load(runtime: &silken::Runtime) -> impl FnOnce() + use<> {
    let over = Arc::new(AtomicBool::new(false));
    let handles: Vec<_> = (0..8)
        .map(|_| {
            let over = over.clone();
            runtime.spawn(move || {
                while !over.load(SeqCst) {
                    silken::sleep(Duration::from_micros(300));
                }
            })
        })
        .collect();
    move || {
        over.store(true, SeqCst);
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    }
}

/// Runs on `count` workers at the same time, or never ends.
fn occupy(runtime: &silken::Runtime, count: usize) {
    let arrived = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let handles: Vec<_> = (0..count)
        .map(|_| {
            let arrived = arrived.clone();
            runtime.spawn(move || {
                arrived.fetch_add(1, SeqCst);
                silken::no_preempt(|| {
                    while arrived.load(SeqCst) < count {
                        std::thread::yield_now();
                    }
                });
            })
        })
        .collect();
    until("there are so many workers", || arrived.load(SeqCst) == count);
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn it_follows_the_cores_of_the_process() {
    let _alone = ONE_AT_A_TIME.lock();
    let all = cores();
    if count(&all) < 2 {
        eprintln!("not tested: the process may use one core only");
        return;
    }
    let two = first(&all, 2);
    set_cores(&two);
    let fixed = silken::Runtime::builder().workers(2).build().expect("it starts");
    let runtime = silken::Runtime::builder().build().expect("it starts");
    assert_eq!(runtime.workers(), 2);
    assert!(runtime.describe().contains("as the machine has processors"));
    let end_load = load(&runtime);
    for _ in 0..2 {
        set_cores(&first(&all, 1));
        until("one worker less", || runtime.workers() == 1);
        // A socket, a timer and a thread that wake a coroutine still do.
        runtime.block_on(|| {
            let (mut near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            let writer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                std::io::Write::write_all(&mut far, b"x").unwrap();
            });
            std::io::Read::read_exact(&mut near, &mut [0]).unwrap();
            writer.join().unwrap();
        });
        set_cores(&two);
        until("it comes back", || runtime.workers() == 2);
        occupy(&runtime, 2);
    }
    assert_eq!(fixed.workers(), 2, "a number that was asked for stays");
    end_load();
    assert!(runtime.shutdown(LONG).is_clean());
    assert!(fixed.shutdown(LONG).is_clean());

    // It also grows beyond the number with which it began.
    set_cores(&first(&all, 1));
    let runtime = silken::Runtime::builder().build().expect("it starts");
    assert_eq!(runtime.workers(), 1);
    let end_load = load(&runtime);
    set_cores(&two);
    until("it grows", || runtime.workers() == 2);
    occupy(&runtime, 2);
    end_load();
    assert!(runtime.shutdown(LONG).is_clean());
    set_cores(&all);
}

#[test]
fn pinned_workers_have_a_core_each() {
    let _alone = ONE_AT_A_TIME.lock();
    let runtime = silken::Runtime::builder()
        .workers(2)
        .pin_workers(true)
        .build()
        .expect("it starts");
    runtime
        .run(|| {
            let of = |id| {
                let builder = silken::Builder::new().worker(id);
                builder.spawn(cores).unwrap().join().unwrap()
            };
            let [first, second] = [0, 1].map(of);
            assert_eq!((count(&first), count(&second)), (1, 1));
        })
        .unwrap();
}
