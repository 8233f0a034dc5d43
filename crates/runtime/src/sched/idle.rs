//! Which workers sleep, which one searches, and which must be woken when work appears?
//!
//! # Protocol
//! A worker without work becomes *searching* and looks everywhere, unless another worker searches already. If it finds
//! nothing it goes to sleep in its driver. Code that queues a coroutine where others may take it, and lets them know
//! (`sched/mod.rs` has the table), calls [`Idle::should_wake`] afterwards. If a worker sleeps and none searches, one
//! sleeper is woken, and is counted as searching. A worker that is woken for a coroutine that only it may run is
//! counted so too, so there may be several. A searching worker that finds work stops searching. If
//! there may be more work it wakes the next sleeper. So wake-ups form a chain that lasts as long as there is work for
//! it. While all workers are busy no worker is woken, and an idle process makes no wake-ups at all.
//!
//! # The race
//! A producer pushes work and then looks for sleepers. A worker announces that it sleeps and then looks for work. If
//! neither saw the other, the work would stay in its queue while the worker sleeps. Each side therefore has a full
//! barrier between its write and its read. Producers are hot and sleepers are not, so the barriers are asymmetric. The
//! sleeper's barrier is `membarrier(2)`, which makes every other running thread of the process execute a barrier. The
//! producer's barrier is then a compiler barrier only; see [`sys::barrier`](crate::sys::barrier). At the sleeper's
//! barrier, every producer either has pushed already, and the sleeper's second look sees the work; or it pushes later,
//! and then sees the sleeper.
//!
//! Example: worker W finds nothing and announces its sleep; coroutine C on another worker spawns. If C's push comes
//! before W's barrier, W's second look finds the new coroutine and W does not sleep. If it comes after, C reads a count
//! of one sleeper and wakes W through W's driver. If C sees a searcher X besides, it wakes nobody. X then finds work
//! and wakes the next sleeper as it stops searching; or it announces its own sleep and looks once more.
//!
//! # Watching
//! When a coroutine computes for long, the coroutines that it woke, and the events and deadlines of its processor, wait
//! for its worker. So while one worker is busy and another sleeps, one sleeper is the *watcher*. It sleeps by turns.
//! Between two turns it serves the processors whose workers have not picked a coroutine since the last turn
//! (`watch.rs`). A worker that goes to sleep while others are busy becomes the watcher, if there is none. A worker that
//! becomes busy while others sleep *appoints* one of them, if there is no watcher, and wakes it.
//!
//! Invariant, whenever the lock is free: if a worker is neither asleep nor searching, and another is asleep, then there
//! is a watcher, or a worker that is going to sleep has not asked for its role yet. (Surplus sleepers do not count:
//! they never watch.) A worker becomes busy in `awake`, `stop_searching` and `add_worker` only, and each of them
//! appoints a watcher. A watcher stops being one in two places. `awake` appoints the next watcher; a watcher that
//! `wake_one`, `wake_this` or `wake_all` removes calls it when it wakes up. `role` ends the duty if no worker is busy.
//! Both hold the lock.
//!
//! A worker that serves one request at a time becomes busy and idle a hundred thousand times a second, so appointments
//! must be rare. An appointed watcher remains the watcher until it has slept a turn of 10 ms, even if no worker is busy
//! meanwhile. Turns double from 50 µs to 10 ms: at most some ten wake-ups in 20 ms, and as many after the last
//! activity. Then the process makes no wake-ups.
//!
//! # Rejected
//! *Sleeping with a time limit* (may's 10 ms, cogo's 1 s): it makes a hundred wake-ups a second, and a lost wake-up
//! shows as a stall instead of a bug. *Waking a worker per piece of work*: on a virtual machine a wake-up costs more
//! than most pieces of work.

use crate::loom::atomic::{AtomicU64, Ordering};
use crate::sys::{Lock, barrier};

/// The counts, packed so that a producer reads one word: the sleeping workers in the lowest bits, then the searching
/// ones, then the surplus ones that sleep.
#[derive(Clone, Copy)]
struct Counts(u64);

impl Counts {
    /// Far more than there are workers.
    const BITS: u32 = 20;
    const MASK: u64 = (1 << Self::BITS) - 1;

    fn new(sleepers: &Sleepers) -> Self {
        let (sleeping, surplus) = (sleepers.stack.len() as u64, sleepers.surplus.len() as u64);
        Self(sleeping | (sleepers.searching as u64) << Self::BITS | surplus << (2 * Self::BITS))
    }

    fn sleeping(self) -> u64 {
        self.0 & Self::MASK
    }

    fn searching(self) -> u64 {
        self.0 >> Self::BITS & Self::MASK
    }

    fn surplus(self) -> u64 {
        self.0 >> (2 * Self::BITS)
    }
}

/// What a sleeping worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SleeperRole {
    /// Sleep until it is woken.
    Sleep,
    /// Sleep by turns, and serve the processors of busy workers between them.
    Watch,
    /// End the sleep: another thread has removed the worker from the sleepers, and counts it as searching.
    Leave,
}

struct Sleepers {
    /// The workers that sleep. The last to go to sleep is woken first, since its caches are warmest.
    stack: Vec<usize>,
    /// The surplus workers that sleep (`size.rs`). No one wakes them for common work.
    surplus: Vec<usize>,
    /// All workers that have, or are about to have, a thread.
    started: usize,
    searching: usize,
    watcher: Option<usize>,
    /// Whether the watcher was appointed and has not slept a long turn yet.
    appointed: bool,
}

impl Sleepers {
    /// How many workers neither sleep nor search.
    fn busy(&self) -> usize {
        let others = self.stack.len() + self.surplus.len() + self.searching;
        self.started.saturating_sub(others)
    }

    /// Removes a sleeper. `false`: the worker is none.
    fn take_out(&mut self, worker: usize) -> bool {
        for sleepers in [&mut self.stack, &mut self.surplus] {
            if let Some(position) = sleepers.iter().position(|sleeper| *sleeper == worker) {
                sleepers.remove(position);
                return true;
            }
        }
        false
    }

    /// A worker has become busy. Returns the sleeper that is to watch from now on and must be woken for it, if there
    /// was no watcher. It is the one that has slept longest, since that one is woken last for other work.
    fn appoint(&mut self) -> Option<usize> {
        if self.watcher.is_some() {
            return None;
        }
        self.watcher = self.stack.first().copied();
        self.appointed = self.watcher.is_some();
        self.watcher
    }
}

/// See the head of the file.
pub(super) struct Idle {
    counts: AtomicU64,
    sleepers: Lock<Sleepers>,
}

impl Idle {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            counts: AtomicU64::new(0),
            sleepers: Lock::new(Sleepers {
                stack: Vec::with_capacity(workers),
                surplus: Vec::new(),
                started: workers,
                searching: 0,
                watcher: None,
                appointed: false,
            }),
        }
    }

    fn publish(&self, sleepers: &Sleepers) {
        // Relaxed: the barriers in `sleep` and `should_wake` order this word against the queues.
        self.counts.store(Counts::new(sleepers).0, Ordering::Relaxed);
    }

    /// Whether the caller must call [`wake_one`](Self::wake_one). Asked after work was made visible.
    #[inline(always)]
    pub(super) fn should_wake(&self) -> bool {
        barrier::light();
        // Relaxed: ordered by the barrier.
        let counts = Counts(self.counts.load(Ordering::Relaxed));
        counts.sleeping() > 0 && counts.searching() == 0
    }

    /// Removes one sleeper and counts it as searching. The caller wakes it.
    #[cold]
    pub(super) fn wake_one(&self) -> Option<usize> {
        let mut sleepers = self.sleepers.lock();
        if sleepers.searching > 0 {
            return None;
        }
        let worker = sleepers.stack.pop()?;
        sleepers.searching += 1;
        self.publish(&sleepers);
        Some(worker)
    }

    /// Removes this sleeper and counts it as searching, because there is work that only it can do. `true`: the caller
    /// wakes it.
    pub(super) fn wake_this(&self, worker: usize) -> bool {
        barrier::light();
        // Relaxed: ordered by the barrier.
        let counts = Counts(self.counts.load(Ordering::Relaxed));
        if counts.sleeping() + counts.surplus() == 0 {
            return false;
        }
        let mut sleepers = self.sleepers.lock();
        if !sleepers.take_out(worker) {
            return false;
        }
        sleepers.searching += 1;
        self.publish(&sleepers);
        true
    }

    /// Removes every sleeper and counts it as searching, for a shutdown. The caller wakes them all.
    pub(super) fn wake_all(&self) -> Vec<usize> {
        let mut sleepers = self.sleepers.lock();
        let mut all = std::mem::take(&mut sleepers.stack);
        all.append(&mut sleepers.surplus);
        sleepers.searching += all.len();
        self.publish(&sleepers);
        all
    }

    /// A worker without work asks to search. `false`: another worker searches already.
    pub(super) fn start_searching(&self) -> bool {
        let mut sleepers = self.sleepers.lock();
        if sleepers.searching > 0 {
            return false;
        }
        sleepers.searching += 1;
        self.publish(&sleepers);
        true
    }

    /// A searching worker has found work. The first value is `true` if it was the last one that searched; then it must
    /// wake another, if there may be more work. The second value is the sleeper that the caller must wake to watch.
    #[must_use]
    pub(super) fn stop_searching(&self) -> (bool, Option<usize>) {
        let mut sleepers = self.sleepers.lock();
        sleepers.searching -= 1;
        self.publish(&sleepers);
        (sleepers.searching == 0, sleepers.appoint())
    }

    /// How many workers neither sleep nor search, and how many sleep (without the surplus ones).
    pub(super) fn busy_and_sleeping(&self) -> (usize, usize) {
        let sleepers = self.sleepers.lock();
        (sleepers.busy(), sleepers.stack.len())
    }

    /// Whether the worker is among the sleepers: a snapshot.
    pub(super) fn is_asleep(&self, worker: usize) -> bool {
        let sleepers = self.sleepers.lock();
        sleepers.stack.contains(&worker) || sleepers.surplus.contains(&worker)
    }

    /// How many workers have, or are about to have, a thread.
    pub(super) fn started(&self) -> usize {
        self.sleepers.lock().started
    }

    /// One more worker is about to get a thread. It begins as a busy one. Returns the sleeper that the caller must wake
    /// to watch.
    #[must_use]
    pub(super) fn add_worker(&self) -> Option<usize> {
        let mut sleepers = self.sleepers.lock();
        sleepers.started += 1;
        sleepers.appoint()
    }

    /// The worker that was added last gets no thread.
    pub(super) fn remove_worker(&self) {
        self.sleepers.lock().started -= 1;
    }

    /// Announces that the worker sleeps. The worker then looks for work once more, and sleeps if there is none.
    pub(super) fn sleep(&self, worker: usize, searching: bool) {
        self.add_sleeper(searching, |sleepers| sleepers.stack.push(worker));
    }

    /// The same for a surplus worker. It then looks once more for work that only it can do.
    pub(super) fn sleep_as_surplus(&self, worker: usize, searching: bool) {
        self.add_sleeper(searching, |sleepers| sleepers.surplus.push(worker));
    }

    fn add_sleeper(&self, searching: bool, add: impl FnOnce(&mut Sleepers)) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.searching -= usize::from(searching);
            add(&mut sleepers);
            self.publish(&sleepers);
        }
        barrier::heavy();
    }

    /// The worker is awake, for whatever reason. The first value is `true` if another thread had removed it from the
    /// sleepers; then it is counted as searching. The second value is the sleeper that the caller must wake to watch.
    #[must_use]
    pub(super) fn awake(&self, worker: usize) -> (bool, Option<usize>) {
        let mut sleepers = self.sleepers.lock();
        if sleepers.watcher == Some(worker) {
            sleepers.watcher = None;
            sleepers.appointed = false;
        }
        let was_asleep = sleepers.take_out(worker);
        if was_asleep {
            self.publish(&sleepers);
        }
        (!was_asleep, sleepers.appoint())
    }

    /// A sleeping worker asks what to do, before each turn of sleep, and says whether its last turn was a long one. One
    /// sleeper is told to watch, while another worker is busy. A worker that is no longer among the sleepers must not
    /// sleep again: the wake-up that ended a watcher's turn may be the only one that it gets.
    pub(super) fn role(&self, worker: usize, had_long_turn: bool) -> SleeperRole {
        let mut sleepers = self.sleepers.lock();
        if sleepers.surplus.contains(&worker) {
            return SleeperRole::Sleep;
        }
        if !sleepers.stack.contains(&worker) {
            return SleeperRole::Leave;
        }
        let is_watcher = sleepers.watcher == Some(worker);
        sleepers.appointed &= !(is_watcher && had_long_turn);
        if is_watcher && sleepers.appointed {
            return SleeperRole::Watch;
        }
        let somebody_is_busy = sleepers.busy() > 0;
        match sleepers.watcher {
            None if somebody_is_busy => sleepers.watcher = Some(worker),
            // No worker is busy, so there is no processor to serve: an idle process makes no wake-ups.
            Some(_) if is_watcher && !somebody_is_busy => sleepers.watcher = None,
            _ => {}
        }
        if sleepers.watcher == Some(worker) {
            SleeperRole::Watch
        } else {
            SleeperRole::Sleep
        }
    }
}
