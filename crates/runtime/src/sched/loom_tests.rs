//! Loom models of the idle protocol, the injector, levels, surplus workers, the shutdown's list, the monitor's sleep,
//! and the seizure of a worker.
//!
//! Workers are threads that follow `Worker::find` and `Worker::sleep`; everything that the protocol does not mention is
//! left out. A worker takes one piece of work and is busy with it for ever, so any other work must wake another worker.
//! A wake-up that is lost is a deadlock, which loom reports. The barriers are fences on both sides here (`sys::barrier`
//! is never asymmetric under loom): the kernel promises its half of the asymmetric pair, and the model does not check
//! that.

use super::idle::{Idle, SleeperRole};
use super::injector::Injector;
use super::levels::SharedLevels;
use super::monitor::SleepWord;
use crate::coroutine::{Core, Ready};
use crate::sys::{FutexWord, Word, barrier};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::thread;
use std::ptr::NonNull;

/// What ends a worker's sleep in its driver. It is remembered until the next sleep, as an event descriptor does.
struct Event(Word);

impl Event {
    fn notify(&self) {
        if self.0.swap(1, Ordering::Release) == 0 {
            self.0.wake_one();
        }
    }

    fn wait(&self) {
        while !self.take() {
            self.0.sleep_while(0, None);
        }
    }

    fn take(&self) -> bool {
        self.0.swap(0, Ordering::Acquire) != 0
    }
}

/// The part of a scheduler that the idle protocol uses.
struct Model {
    idle: Idle,
    /// Pieces of work that any worker may take.
    queue: AtomicUsize,
    /// Pieces of work for one worker.
    inboxes: Vec<AtomicUsize>,
    events: Vec<Event>,
    /// Workers from this number on are surplus (`size.rs`).
    active: AtomicUsize,
    stopping: AtomicBool,
}

/// How a worker ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Busy,
    Stopped,
}

fn model(workers: usize) -> Arc<Model> {
    Arc::new(Model {
        idle: Idle::new(workers),
        queue: AtomicUsize::new(0),
        inboxes: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        events: (0..workers).map(|_| Event(Word::new(0))).collect(),
        active: AtomicUsize::new(workers),
        stopping: AtomicBool::new(false),
    })
}

/// Takes a piece; Relaxed, since only the protocol's barriers may be what makes it visible.
fn take_from(queue: &AtomicUsize) -> bool {
    queue
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |length| length.checked_sub(1))
        .is_ok()
}

impl Model {
    fn notify(&self) {
        if self.idle.should_wake()
            && let Some(worker) = self.idle.wake_one()
        {
            self.events[worker].notify();
        }
    }

    fn produce(&self) {
        self.queue.fetch_add(1, Ordering::Relaxed);
        self.notify();
    }

    fn produce_for(&self, worker: usize) {
        self.inboxes[worker].fetch_add(1, Ordering::Relaxed);
        if self.idle.wake_this(worker) {
            self.events[worker].notify();
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        barrier::heavy();
        drop(self.idle.wake_all());
        self.events.iter().for_each(Event::notify);
    }

    fn resize(&self, active: usize) {
        let before = self.active.swap(active, Ordering::Relaxed);
        for worker in before.min(active)..before.max(active) {
            self.events[worker].notify();
        }
    }

    fn is_surplus(&self, worker: usize) -> bool {
        worker >= self.active.load(Ordering::Relaxed)
    }

    fn work_is_visible(&self, worker: usize) -> bool {
        self.stopping.load(Ordering::Relaxed)
            || !self.is_surplus(worker) && self.queue.load(Ordering::Relaxed) > 0
            || self.inboxes[worker].load(Ordering::Relaxed) > 0
    }

    /// Sleeps. A watcher's first turn may end at any moment, and consumes an event that has just come. Its second turn
    /// lasts until an event.
    fn lie(&self, worker: usize) {
        let mut turns = 0;
        let was_surplus = self.is_surplus(worker);
        while self.is_surplus(worker) == was_surplus {
            match self.idle.role(worker, turns > 0) {
                SleeperRole::Leave => return,
                SleeperRole::Watch if turns == 0 => {
                    turns += 1;
                    self.events[worker].take();
                }
                _ => self.events[worker].wait(),
            }
            if self.work_is_visible(worker) {
                return;
            }
        }
    }

    fn stop_searching(&self) -> bool {
        let (was_last, watcher) = self.idle.stop_searching();
        self.wake(watcher);
        was_last
    }

    fn awake(&self, worker: usize) -> bool {
        let (searching, watcher) = self.idle.awake(worker);
        self.wake(watcher);
        searching
    }

    fn wake(&self, watcher: Option<usize>) {
        if let Some(watcher) = watcher {
            self.events[watcher].notify();
        }
    }

    fn work(&self, worker: usize) -> End {
        let mut searching = false;
        loop {
            if take_from(&self.inboxes[worker]) || !self.is_surplus(worker) && take_from(&self.queue) {
                // A worker that was searching wakes the next one. A worker that cancelled its sleep is not counted as
                // searching, yet a producer may have seen it so and skipped its notification. So it notifies here if it
                // leaves work behind.
                let last_searcher = searching && self.stop_searching();
                if last_searcher || self.queue.load(Ordering::Relaxed) > 0 {
                    self.notify();
                }
                return End::Busy;
            }
            if self.stopping.load(Ordering::Relaxed) {
                if searching {
                    self.stop_searching();
                }
                return End::Stopped;
            }
            if self.is_surplus(worker) {
                self.idle.sleep_as_surplus(worker, searching);
                if searching {
                    self.notify();
                }
            } else {
                searching = searching || self.idle.start_searching();
                self.idle.sleep(worker, searching);
            }
            if !self.work_is_visible(worker) {
                self.lie(worker);
            }
            searching = self.awake(worker);
        }
    }
}

fn check(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Without a bound (LOOM_MAX_PREEMPTIONS unset) three threads do not finish.
    builder.preemption_bound.get_or_insert(2);
    builder.check(body);
}

fn worker(model: &Arc<Model>, worker: usize) -> thread::JoinHandle<End> {
    let model = model.clone();
    thread::spawn(move || model.work(worker))
}

/// The race of `idle.rs` in its smallest form: one worker goes to sleep, one producer makes work.
#[test]
fn no_work_lies_while_the_only_worker_sleeps() {
    check(|| {
        let model = model(1);
        let sleeper = worker(&model, 0);
        model.produce();
        assert_eq!(sleeper.join().unwrap(), End::Busy);
    });
}

/// Two pieces of work, two workers: the second wake-up comes from the producer or from the first searching worker.
#[test]
fn no_work_lies_while_one_of_two_sleeps() {
    check(|| {
        let model = model(2);
        let workers = [worker(&model, 0), worker(&model, 1)];
        model.produce();
        model.produce();
        for worker in workers {
            assert_eq!(worker.join().unwrap(), End::Busy);
        }
        assert_eq!(model.queue.load(Ordering::Relaxed), 0);
    });
}

/// The other worker is busy, so the sleeper watches, and the wake-up may come as its turn ends.
#[test]
fn a_watcher_gets_up_when_it_is_taken_out() {
    check(|| {
        let model = model(2);
        let watcher = worker(&model, 0);
        model.produce();
        assert_eq!(watcher.join().unwrap(), End::Busy);
    });
}

/// Work that only one worker can do wakes that worker, whichever others sleep.
#[test]
fn bound_work_wakes_its_worker() {
    check(|| {
        let model = model(2);
        let bound = worker(&model, 1);
        // The other one sleeps already, above or below the bound one in the stack.
        model.idle.sleep(0, false);
        model.produce_for(1);
        assert_eq!(bound.join().unwrap(), End::Busy);
        assert_eq!(model.inboxes[1].load(Ordering::Relaxed), 0);
    });
}

/// Bound work and common work at once: each wakes a worker that can do it.
#[test]
fn bound_and_common_work_wake_both() {
    check(|| {
        let model = model(1);
        let sleeper = worker(&model, 0);
        let other = thread::spawn({
            let model = model.clone();
            move || model.produce_for(0)
        });
        model.produce();
        assert_eq!(sleeper.join().unwrap(), End::Busy);
        other.join().unwrap();
        // One piece is left for the busy worker's next look.
        let left = model.queue.load(Ordering::Relaxed) + model.inboxes[0].load(Ordering::Relaxed);
        assert_eq!(left, 1);
    });
}

/// A stop reaches every worker: asleep, about to sleep, or searching.
#[test]
fn a_stop_ends_all() {
    check(|| {
        let model = model(2);
        let workers = [worker(&model, 0), worker(&model, 1)];
        model.stop();
        for worker in workers {
            assert_eq!(worker.join().unwrap(), End::Stopped);
        }
    });
}

/// A stop and a piece of work: all end, and the piece is not taken twice.
#[test]
fn a_stop_against_a_producer() {
    check(|| {
        let model = model(1);
        let sleeper = worker(&model, 0);
        let stopper = thread::spawn({
            let model = model.clone();
            move || model.stop()
        });
        model.produce();
        stopper.join().unwrap();
        let took = usize::from(sleeper.join().unwrap() == End::Busy);
        assert_eq!(took + model.queue.load(Ordering::Relaxed), 1);
    });
}

/// Of two sleepers, one watches the third worker, which is busy. The role is free again when the watcher wakes.
#[test]
fn one_watcher_at_a_time() {
    check(|| {
        let model = model(3);
        let watching = Arc::new(AtomicUsize::new(0));
        let sleepers = [0, 1].map(|worker| {
            let (model, watching) = (model.clone(), watching.clone());
            thread::spawn(move || {
                model.idle.sleep(worker, false);
                if model.idle.role(worker, false) == SleeperRole::Watch {
                    assert_eq!(watching.fetch_add(1, Ordering::Relaxed), 0, "two watchers");
                    watching.fetch_sub(1, Ordering::Relaxed);
                }
                let _ = model.idle.awake(worker);
            })
        });
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        model.idle.sleep(2, false);
        assert_eq!(
            model.idle.role(2, false),
            SleeperRole::Watch,
            "the role was not given back"
        );
    });
}

/// Two workers sleep; one is woken and becomes busy. The other one watches, even if it was about to give the role up at
/// that moment.
#[test]
fn who_becomes_busy_is_watched_over() {
    check(|| {
        let model = model(2);
        model.idle.sleep(0, false);
        model.idle.sleep(1, false);
        let watcher = thread::spawn({
            let model = model.clone();
            // A watcher that ends a turn, or has a spurious wake-up, asks for its role.
            move || model.idle.role(1, true) == SleeperRole::Watch
        });
        let (searching, appointed) = model.idle.awake(0);
        assert!(!searching);
        assert!(model.idle.start_searching());
        let (_, appointed_later) = model.idle.stop_searching();
        let asked = watcher.join().unwrap();
        let appointed = appointed.or(appointed_later);
        assert!(asked || appointed == Some(1), "nobody watches over the busy worker");
        assert_eq!(model.idle.role(1, false), SleeperRole::Watch);
    });
}

/// One of two sleepers fetches an event by itself and becomes busy for ever. The other one sees what it leaves behind,
/// since it is woken to watch.
#[test]
fn a_sleeper_is_woken_to_watch() {
    check(|| {
        let model = model(2);
        model.idle.sleep(0, false);
        let (watches, event) = (Arc::new(AtomicBool::new(false)), model.clone());
        let sleeper = thread::spawn({
            let watches = watches.clone();
            move || {
                event.idle.sleep(1, false);
                loop {
                    match event.idle.role(1, false) {
                        SleeperRole::Watch => break watches.store(true, Ordering::Relaxed),
                        SleeperRole::Sleep => event.events[1].wait(),
                        SleeperRole::Leave => unreachable!("nobody takes it out"),
                    }
                }
            }
        });
        model.awake(0);
        sleeper.join().unwrap();
        assert!(watches.load(Ordering::Relaxed));
    });
}

/// A coroutine ends and another spawns, while the shutdown lists the coroutines that are left. Every coroutine that is
/// alive after all is in the list.
#[test]
fn the_list_of_a_shutdown_is_complete() {
    check(|| {
        let stopping = Arc::new(AtomicBool::new(false));
        // The first slot is the spawner's, which lives on, the second one ends, the third is made.
        let slots: Arc<Vec<AtomicBool>> = Arc::new([true, true, false].map(AtomicBool::new).into());
        let (spawned, finished) = (Arc::new(AtomicU64::new(2)), Arc::new(AtomicU64::new(0)));
        let spawner = {
            let (slots, spawned, stopping) = (slots.clone(), spawned.clone(), stopping.clone());
            thread::spawn(move || {
                spawned.store(3, Ordering::Release);
                barrier::light();
                let may = !stopping.load(Ordering::Relaxed);
                if may {
                    slots[2].store(true, Ordering::Release);
                } else {
                    spawned.store(2, Ordering::Relaxed);
                }
                may
            })
        };
        let ender = {
            let (slots, finished) = (slots.clone(), finished.clone());
            thread::spawn(move || {
                slots[1].store(false, Ordering::Release);
                finished.store(1, Ordering::Release);
            })
        };
        stopping.store(true, Ordering::Relaxed);
        barrier::heavy();
        let left = loop {
            let done = finished.load(Ordering::Acquire);
            let alive = spawned.load(Ordering::Acquire).saturating_sub(done);
            let left: Vec<bool> = slots.iter().map(|slot| slot.load(Ordering::Acquire)).collect();
            if left.iter().filter(|there| **there).count() as u64 >= alive {
                break left;
            }
            thread::yield_now();
        };
        let was_made = spawner.join().unwrap();
        ender.join().unwrap();
        assert!(left[0] && left[2] == was_made, "{left:?}, made: {was_made}");
    });
}

fn ready(core: &Core) -> Ready {
    // SAFETY: S1: a core of the model's own, which is in no other queue.
    unsafe { Ready::from_core(NonNull::from(core)) }
}

/// A worker becomes surplus while work is made that it may have been woken for: the other one does it.
#[test]
fn a_worker_that_becomes_surplus_passes_the_wake_up_on() {
    check(|| {
        let model = model(2);
        let kept = worker(&model, 0);
        let surplus = {
            let model = model.clone();
            thread::spawn(move || {
                model.resize(1);
                model.work(1)
            })
        };
        model.produce();
        assert_eq!(kept.join().unwrap(), End::Busy);
        model.stop();
        assert_eq!(surplus.join().unwrap(), End::Stopped);
    });
}

/// Work that only a surplus worker can do wakes it.
#[test]
fn bound_work_wakes_a_surplus_worker() {
    check(|| {
        let model = model(2);
        model.idle.sleep(0, false);
        model.resize(1);
        let surplus = worker(&model, 1);
        model.produce_for(1);
        assert_eq!(surplus.join().unwrap(), End::Busy);
    });
}

/// Two threads push, one takes in batches. Nothing is lost or doubled, each pusher's order is kept, and the length
/// beside the list is right.
#[test]
fn the_injector_keeps_all_and_their_order() {
    check(|| {
        let injector = Arc::new(Injector::new());
        let cores: Arc<[Core; 3]> = Arc::new(std::array::from_fn(|_| Core::free()));
        let pusher = thread::spawn({
            let (injector, cores) = (injector.clone(), cores.clone());
            move || injector.push_all([&cores[0], &cores[1]].into_iter().map(ready))
        });
        let single = thread::spawn({
            let (injector, cores) = (injector.clone(), cores.clone());
            move || injector.push(ready(&cores[2]))
        });
        let mut taken = Vec::new();
        let mut take = |max| injector.pop_batch(max, |ready| taken.push(ready.into_core()));
        assert!(take(2) <= 2);
        pusher.join().unwrap();
        single.join().unwrap();
        while take(1) > 0 {}
        assert_eq!(injector.len(), 0);
        let place = |core: &Core| {
            taken
                .iter()
                .position(|taken| *taken == NonNull::from(core))
                .expect("lost")
        };
        assert!(place(&cores[0]) < place(&cores[1]));
        place(&cores[2]);
        assert_eq!(taken.len(), 3);
    });
}

/// The owner queues coroutines of two priorities while a thief takes. Each is taken once, and the owner finds the more
/// urgent one of those that are left first.
#[test]
fn levels_are_shared_with_thieves() {
    check(|| {
        let levels = Arc::new(SharedLevels::new());
        let cores: Arc<[Core; 3]> = Arc::new(std::array::from_fn(|_| Core::free()));
        for (core, priority) in cores.iter().zip([2, -1, 2]) {
            core.priority.set(priority);
        }
        levels.push(ready(&cores[0]));
        let thief = thread::spawn({
            let levels = levels.clone();
            move || {
                let urgent = levels.pop_urgent().map(|ready| ready.into_core().addr());
                [urgent, levels.pop().map(|ready| ready.into_core().addr())]
            }
        });
        levels.push(ready(&cores[1]));
        levels.push(ready(&cores[2]));
        let left: Vec<_> = std::iter::from_fn(|| levels.pop()).map(Ready::into_core).collect();
        // SAFETY: S2: cores of the model's own.
        assert!(left.is_sorted_by_key(|core| unsafe { core.as_ref() }.priority.get()));
        let stolen = thief.join().unwrap();
        let taken = stolen.into_iter().flatten().chain(left.iter().map(|core| core.addr()));
        let mut taken: Vec<_> = taken.collect();
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), 3, "lost or doubled");
        assert!(!levels.has_work());
    });
}

/// A worker becomes busy while the monitor goes to sleep (`monitor.rs`).
#[test]
fn the_monitor_does_not_sleep_while_a_worker_is_busy() {
    check(|| {
        let parts = Arc::new((Idle::new(1), SleepWord::new(), AtomicBool::new(false)));
        parts.0.sleep(0, false);
        let worker = thread::spawn({
            let parts = parts.clone();
            move || {
                let (idle, word, woken) = &*parts;
                let _ = idle.awake(0);
                if word.must_wake() {
                    woken.store(true, Ordering::Relaxed);
                }
            }
        });
        let (idle, word, woken) = &*parts;
        word.announce();
        let sleeps = idle.busy_and_sleeping().0 == 0;
        worker.join().unwrap();
        assert!(!sleeps || woken.load(Ordering::Relaxed));
    });
}

/// A coroutine enters a critical section and reads its link while the monitor takes the link away (`late.rs`). The
/// worker is used by one of the two, at most.
#[test]
fn a_seized_worker_is_used_by_one_thread() {
    check(|| {
        // The link is there (1) or not; the depth of critical sections; who uses the worker.
        let parts = Arc::new((AtomicUsize::new(1), AtomicUsize::new(0), AtomicUsize::new(0)));
        let coroutine = thread::spawn({
            let parts = parts.clone();
            move || {
                let (link, depth, users) = &*parts;
                depth.store(1, Ordering::Relaxed);
                barrier::light();
                if link.load(Ordering::Relaxed) == 1 {
                    users.fetch_add(1, Ordering::Relaxed);
                }
                depth.store(0, Ordering::Release);
            }
        });
        let (link, depth, users) = &*parts;
        let took = link
            .compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        barrier::heavy();
        // A depth of 0 after the section: the coroutine has been there, and has left. The count of picks, which the
        // runtime compares too, is not part of this model.
        let seized = took && depth.load(Ordering::Acquire) == 0;
        let used_before = users.load(Ordering::Relaxed);
        coroutine.join().unwrap();
        assert!(!seized || users.load(Ordering::Relaxed) == used_before);
    });
}
