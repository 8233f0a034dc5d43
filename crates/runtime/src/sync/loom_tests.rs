//! Can the words of `sync`, and the queue beside them, break exclusion or lose a wake? These models check both, with OS
//! threads as waiters. Exclusion: loom's cell checks each access. A lost wake: a waiter that is never woken is a
//! deadlock, which loom reports. A deadline in a model is one that has passed: it ends the wait as soon as the wait
//! begins, against wakers at every step.

use super::lock_arm::{Take, Taking};
use super::raw_mutex::RawMutex;
use super::raw_rwlock::{RawRwLock, Writes};
use super::{AcquireError, Barrier, Condvar, Mutex, Notification, Notify, Once, Semaphore, SyncFlag, WaitGroup};
use crate::coroutine::{Outcome, WaitCell};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Without a bound (LOOM_MAX_PREEMPTIONS unset) three threads do not finish.
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

struct Guarded<L> {
    lock: L,
    value: UnsafeCell<usize>,
}

// SAFETY: S2: that accesses exclude each other is what loom checks.
unsafe impl<L: Sync> Sync for Guarded<L> {}
// SAFETY: S2: that accesses exclude each other is what loom checks.
unsafe impl<L: Send> Send for Guarded<L> {}

impl<L> Guarded<L> {
    fn new(lock: L) -> Arc<Self> {
        Arc::new(Self {
            lock,
            value: UnsafeCell::new(0),
        })
    }

    fn add_one(&self) {
        // SAFETY: S2: loom checks it.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> usize {
        // SAFETY: S2: loom checks it.
        self.value.with(|value| unsafe { *value })
    }
}

fn mutex_counts<const PATIENCE_NS: u64>(threads: usize, rounds: usize, timed: bool) {
    check(move || {
        let shared = Guarded::new(RawMutex::<PATIENCE_NS>::new());
        let work = move |shared: &Guarded<RawMutex<PATIENCE_NS>>, timed: bool| {
            let mut done = 0;
            for _ in 0..rounds {
                if timed && !shared.lock.lock_until(|| 0) {
                    continue;
                }
                if !timed {
                    shared.lock.lock(false);
                }
                shared.add_one();
                done += 1;
                // SAFETY: S2: locked above.
                unsafe { shared.lock.unlock() };
            }
            done
        };
        let others: Vec<_> = (1..threads)
            .map(|number| {
                let shared = shared.clone();
                thread::spawn(move || work(&shared, timed && number == 1))
            })
            .collect();
        let mut done = work(&shared, false);
        for other in others {
            done += other.join().unwrap();
        }
        assert!(shared.lock.try_lock());
        assert_eq!(shared.get(), done);
    });
}

#[test]
fn loom_sync_mutex_barging_two() {
    mutex_counts::<{ u64::MAX }>(2, 2, false);
}

#[test]
fn loom_sync_mutex_hand_off_two() {
    mutex_counts::<0>(2, 2, false);
}

/// Three threads, since with two no waiter is ever left behind in the queue.
#[test]
fn loom_sync_mutex_barging_three() {
    mutex_counts::<{ u64::MAX }>(3, 1, false);
}

#[test]
fn loom_sync_mutex_hand_off_three() {
    mutex_counts::<0>(3, 1, false);
}

#[test]
fn loom_sync_mutex_deadline_barging() {
    mutex_counts::<{ u64::MAX }>(3, 1, true);
}

#[test]
fn loom_sync_mutex_deadline_hand_off() {
    mutex_counts::<0>(3, 1, true);
}

fn rwlock(writers: usize, readers: usize, timed_writer: bool) {
    check(move || {
        let shared = Guarded::new(RawRwLock::new());
        if timed_writer {
            // So the writer has a reader to wait for, and readers have a writer to wait behind.
            shared.lock.read(None);
        }
        let write = |shared: &Guarded<RawRwLock>, deadline_ns| {
            let taken = shared.lock.write(deadline_ns);
            if taken {
                shared.add_one();
                // SAFETY: S2: locked above.
                unsafe { shared.lock.unlock_write() };
            }
            usize::from(taken)
        };
        let writers: Vec<_> = (0..writers)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || write(&shared, timed_writer.then_some(0)))
            })
            .collect();
        let readers: Vec<_> = (1..readers)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || read(&shared))
            })
            .collect();
        if !timed_writer {
            read(&shared);
        }
        let written: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        // They need no unlock: a writer that has given up keeps no reader out.
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        if timed_writer {
            // SAFETY: S2: locked above.
            unsafe { shared.lock.unlock_read() };
        }
        assert!(shared.lock.try_write(), "free, and nobody is left in the queue");
        assert_eq!(shared.get(), written);
    });
}

fn read(shared: &Guarded<RawRwLock>) {
    shared.lock.read(None);
    shared.get();
    // SAFETY: S2: locked above.
    unsafe { shared.lock.unlock_read() };
}

#[test]
fn loom_sync_rwlock_writer_and_reader() {
    rwlock(1, 1, false);
}

#[test]
fn loom_sync_rwlock_writer_and_two_readers() {
    rwlock(1, 2, false);
}

#[test]
fn loom_sync_rwlock_two_writers_and_reader() {
    rwlock(2, 1, false);
}

#[test]
fn loom_sync_rwlock_a_writer_that_gives_up_lets_readers_in() {
    rwlock(1, 2, true);
}

#[test]
fn loom_sync_rwlock_downgrade() {
    check(|| {
        let shared = Guarded::new(RawRwLock::new());
        let other = shared.clone();
        let reader = thread::spawn(move || read(&other));
        shared.lock.write(None);
        shared.add_one();
        // SAFETY: S2: locked above.
        unsafe { shared.lock.downgrade() };
        assert_eq!(shared.get(), 1);
        // SAFETY: S2: downgraded above.
        unsafe { shared.lock.unlock_read() };
        reader.join().unwrap();
        assert!(shared.lock.try_write());
    });
}

#[test]
fn loom_sync_condvar_no_notification_is_lost() {
    check(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = shared.clone();
        let waiter = thread::spawn(move || {
            let guard = other.0.lock().unwrap();
            assert!(*other.1.wait_while(guard, |flag| !*flag).unwrap());
        });
        *shared.0.lock().unwrap() = true;
        shared.1.notify_one();
        waiter.join().unwrap();
    });
}

/// One of two waiters gives up. The notification of one must reach the other.
#[test]
fn loom_sync_condvar_a_notification_passes_one_who_left() {
    check(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let (patient, hasty) = (shared.clone(), shared.clone());
        let patient = thread::spawn(move || {
            let guard = patient.0.lock().unwrap();
            drop(patient.1.wait_while(guard, |flag| !*flag).unwrap());
        });
        let hasty = thread::spawn(move || {
            let guard = hasty.0.lock().unwrap();
            let (_guard, result) = hasty.1.wait_timeout(guard, Duration::ZERO).unwrap();
            result.timed_out()
        });
        *shared.0.lock().unwrap() = true;
        shared.1.notify_one();
        if !hasty.join().unwrap() {
            // The hasty waiter got the notification.
            shared.1.notify_one();
        }
        patient.join().unwrap();
    });
}

#[test]
fn loom_sync_semaphore_permits_are_kept() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let work = |semaphore: &Semaphore, permits: usize| {
            drop(semaphore.acquire_many(permits).unwrap());
        };
        let other = semaphore.clone();
        let child = thread::spawn(move || work(&other, 1));
        let big = semaphore.clone();
        let big = thread::spawn(move || work(&big, 2));
        semaphore.add_permits(1);
        child.join().unwrap();
        big.join().unwrap();
        assert_eq!(semaphore.available_permits(), 2);
    });
}

/// A big request at the head of the queue gives up: the small one behind it may go.
#[test]
fn loom_sync_semaphore_who_gives_up_serves_the_next() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let other = semaphore.clone();
        let big = thread::spawn(move || other.acquire_many_timeout(2, Duration::ZERO).map(drop));
        drop(semaphore.acquire().unwrap());
        assert_eq!(big.join().unwrap(), Err(AcquireError::TimedOut));
        assert!(semaphore.try_acquire().is_ok());
    });
}

#[test]
fn loom_sync_semaphore_close_ends_waits() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let other = semaphore.clone();
        let waiter = thread::spawn(move || other.acquire().map(drop));
        semaphore.close();
        assert_eq!(waiter.join().unwrap(), Err(AcquireError::Closed));
    });
}

#[test]
fn loom_sync_once_runs_once_and_all_see_it() {
    check(|| {
        let shared = Guarded::new(Once::new());
        let call = |shared: &Guarded<Once>| {
            shared.lock.call_once(|| {
                thread::yield_now();
                shared.add_one();
            });
            assert_eq!(shared.get(), 1);
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || call(&shared))
            })
            .collect();
        call(&shared);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn loom_sync_once_bystanders_hear_of_the_end() {
    check(|| {
        let shared = Guarded::new(Once::new());
        let other = shared.clone();
        let child = thread::spawn(move || other.lock.call_once(|| other.add_one()));
        shared.lock.wait();
        assert_eq!(shared.get(), 1);
        child.join().unwrap();
    });
}

#[test]
fn loom_sync_flag_reaches_all() {
    check(|| {
        let shared = Guarded::new(SyncFlag::new());
        let other = shared.clone();
        let waiter = thread::spawn(move || {
            other.lock.wait();
            assert_eq!(other.get(), 1);
        });
        shared.add_one();
        shared.lock.fire();
        waiter.join().unwrap();
    });
}

/// A notification goes to a select that another arm's waker settles at the same moment. Either the arm has the
/// notification, or it is kept; never both, never neither.
#[test]
fn loom_sync_a_notification_to_a_select_is_had_once() {
    check(|| {
        let notify = Arc::new(Notify::new());
        let cell = Arc::new(WaitCell::new());
        let (notifier, other) = (notify.clone(), cell.clone());
        let part = Notification::of(&notify);
        // SAFETY: S8: both stay until it is unlisted below.
        assert!(unsafe { part.list(&cell) });
        let notifier = thread::spawn(move || notifier.notify_one());
        let other = thread::spawn(move || other.settle(Outcome::Woken));
        part.unlist();
        let had = part.take();
        notifier.join().unwrap();
        other.join().unwrap();
        drop(part);
        let kept = notify.notified_timeout(Duration::ZERO);
        assert!(had != kept, "had: {had}, kept: {kept}");
    });
}

/// A lock goes to a select that another arm's waker settles at the same moment. Either the arm has the lock and
/// releases it, or the next waiter gets it. No waiter is left waiting, and two never hold the lock at once.
fn a_lock_for_a_select<L: Send + Sync + 'static>(
    lock: fn() -> L,
    hold: fn(&L),
    let_go: fn(&L),
    arm: impl Fn(&'static Guarded<L>) -> Box<dyn Part> + Send + Sync + 'static,
) {
    check(move || {
        let shared = Guarded::new(lock());
        hold(&shared.lock);
        let cell = Arc::new(WaitCell::new());
        // SAFETY: S1: this frame keeps a count until the arm is gone.
        let lent: &'static Guarded<L> = unsafe { &*Arc::as_ptr(&shared) };
        let part = arm(lent);
        // SAFETY: S8: both stay until it is unlisted below.
        let listed = unsafe { part.list(&cell) };
        assert!(listed, "it is held");
        let (holder, next) = (shared.clone(), shared.clone());
        let other = cell.clone();
        let holder = thread::spawn(move || {
            holder.add_one();
            let_go(&holder.lock);
            let _ = other.settle(Outcome::Woken);
        });
        let next = thread::spawn(move || {
            hold(&next.lock);
            next.add_one();
            let_go(&next.lock);
        });
        part.unlist();
        if part.is_held() {
            shared.add_one();
        }
        drop(part);
        holder.join().unwrap();
        next.join().unwrap();
        hold(&shared.lock);
        assert!(matches!(shared.get(), 2 | 3));
    });
}

/// A [`Taking`] of any lock.
trait Part {
    unsafe fn list(&self, cell: &WaitCell) -> bool;
    fn unlist(&self);
    fn is_held(&self) -> bool;
}

impl<L: Take> Part for Taking<L> {
    unsafe fn list(&self, cell: &WaitCell) -> bool {
        // SAFETY: S8: the model keeps part and cell in place until `unlist`.
        unsafe { Taking::list(self, cell) }
    }

    fn unlist(&self) {
        Taking::unlist(self);
    }

    fn is_held(&self) -> bool {
        Taking::is_held(self)
    }
}

#[test]
fn loom_sync_a_mutex_for_a_select_is_handed_on() {
    a_lock_for_a_select(
        RawMutex::<{ u64::MAX }>::new,
        |lock| lock.lock(false),
        // SAFETY: S2: held.
        |lock| unsafe { lock.unlock() },
        |shared| Box::new(Taking::of(&shared.lock)),
    );
}

#[test]
fn loom_sync_a_write_lock_for_a_select_is_handed_on() {
    a_lock_for_a_select(
        RawRwLock::new,
        |lock| drop(lock.write(None)),
        // SAFETY: S2: held.
        |lock| unsafe { lock.unlock_write() },
        |shared| Box::new(Taking::of(Writes(&shared.lock))),
    );
}

/// One notification, one waiter that gives up and one that waits on: the notification is not lost.
#[test]
fn loom_sync_notify_is_kept_or_received() {
    check(|| {
        let notify = Arc::new(Notify::new());
        let (hasty, patient) = (notify.clone(), notify.clone());
        let hasty = thread::spawn(move || hasty.notified_timeout(Duration::ZERO));
        let patient = thread::spawn(move || patient.notified());
        notify.notify_one();
        if hasty.join().unwrap() {
            notify.notify_one();
        }
        patient.join().unwrap();
        assert!(!notify.notified_timeout(Duration::ZERO));
    });
}

/// `AtomicOption`: each value has one owner.
#[test]
fn loom_sync_atomic_option_gives_each_value_once() {
    check(|| {
        let place = Arc::new(super::AtomicOption::<usize>::none());
        let other = place.clone();
        let child = thread::spawn(move || other.swap(1).into_iter().chain(other.take()).sum::<usize>());
        let mine: usize = place.swap(2).into_iter().chain(place.take()).sum();
        let theirs = child.join().unwrap();
        assert_eq!(mine + theirs + place.take().unwrap_or(0), 3);
    });
}

/// Two callers both give up at once. They have met or they have not, and they agree on that. None is left counted.
#[test]
fn loom_sync_barrier_a_meeting_is_one_for_both() {
    check(|| {
        let barrier = Arc::new(Barrier::new(2));
        let other = barrier.clone();
        let other = thread::spawn(move || other.wait_timeout(Duration::ZERO));
        let mine = barrier.wait_timeout(Duration::ZERO);
        match (mine, other.join().unwrap()) {
            (None, None) => {}
            (Some(mine), Some(theirs)) => assert!(mine.is_leader() ^ theirs.is_leader()),
            (mine, theirs) => panic!("one met, the other did not: {mine:?}, {theirs:?}"),
        }
        assert!(
            barrier.wait_timeout(Duration::ZERO).is_none(),
            "somebody was left counted"
        );
    });
}

/// The last member that leaves wakes the waiter.
#[test]
fn loom_sync_wait_group_the_last_to_leave_is_heard() {
    check(|| {
        let group = WaitGroup::new();
        let members = [group.clone(), group.clone()];
        let members = members.map(|member| thread::spawn(move || drop(member)));
        group.wait_others();
        for member in members {
            member.join().unwrap();
        }
        assert_eq!(group.members(), 1);
    });
}
