//! Models of the lock: mutual exclusion (loom's cell checks each access, the counter shows lost updates) and no lost
//! wake (a sleeper that no thread wakes is a deadlock, which loom reports).

use super::Lock;
use loom::sync::Arc;
use loom::thread;

fn count_with(threads: usize, rounds: usize) {
    let mut model = loom::model::Builder::new();
    // Without a bound (LOOM_MAX_PREEMPTIONS unset) a model of three threads does not finish.
    model.preemption_bound.get_or_insert(2);
    model.check(move || {
        let lock = Arc::new(Lock::new(0));
        let count = move |lock: &Lock<usize>| {
            for _ in 0..rounds {
                let mut guard = lock.lock();
                // Two accesses, so that an intruder between them is caught.
                let before = *guard;
                *guard = before + 1;
            }
        };
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || count(&lock))
            })
            .collect();
        count(&lock);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(*lock.lock(), threads * rounds);
    });
}

#[test]
fn loom_two_threads_exclude_each_other_twice() {
    count_with(2, 2);
}

/// Three threads, since with two the woken thread never leaves another thread asleep.
#[test]
fn loom_three_threads_lose_no_wake() {
    count_with(3, 1);
}

#[test]
fn loom_try_lock_sees_what_the_holder_wrote() {
    loom::model(|| {
        let lock = Arc::new(Lock::new(0));
        let other = thread::spawn({
            let lock = lock.clone();
            move || *lock.lock() = 7
        });
        // A refused attempt must not unlock for the holder: if it did, the second attempt would get in.
        for _ in 0..2 {
            if let Some(guard) = lock.try_lock() {
                assert!(*guard == 0 || *guard == 7);
            }
        }
        other.join().unwrap();
        assert_eq!(*lock.try_lock().expect("nobody holds it"), 7);
    });
}
