//! Who sleeps, who searches, and who must be woken when work appears.
//!
//! # Protocol
//! A worker without work becomes *searching* (one at a time), looks everywhere, and goes to sleep in its driver when it
//! finds nothing. Whoever makes work calls [`Idle::should_wake`]: if somebody sleeps and nobody searches, one sleeper
//! is woken, as a searcher. A searcher that finds work stops searching and, if there may be more, wakes the next one.
//! So wake-ups form a chain as long as there is work for it, a busy process makes none, and an idle process makes none
//! at all.
//!
//! # The race
//! A producer pushes work and then looks for sleepers; a worker announces that it sleeps and then looks for work. If
//! neither saw the other the work would lie. Each side therefore has a full barrier between its write and its read.
//! Producers are hot and sleepers are not, so the barriers are asymmetric: the sleeper's is `membarrier(2)`, which
//! makes every other running thread of the process execute a barrier, and the producer's is then a compiler barrier
//! only; see [`sys::barrier`](crate::sys::barrier). After the sleeper's barrier every producer has either pushed (and
//! the sleeper's look sees it) or will see the sleeper.
//!
//! # Watching
//! What a coroutine that computes for long has woken, and the events and deadlines of its processor, wait for its
//! worker. So while somebody is busy and somebody sleeps, one sleeper is the *watcher*: it sleeps by turns, and between
//! them looks after those who have not picked anybody since the last one (`worker.rs`). Whoever goes to sleep while
//! others are busy takes the duty if it is free. Whoever becomes busy while others sleep *appoints* one of them if it
//! is free, and wakes it.
//!
//! Invariant, whenever the lock is free: if a worker is neither asleep nor searching, and one is asleep, there is a
//! watcher, or the one who goes to sleep has not asked for its duty yet. Workers become busy in `awake` and
//! `stop_searching` only; the duty ends in three places. `awake` appoints the next watcher. `wake_one` and its like
//! wake a worker that then calls `awake`. `role` ends it if nobody is busy. All of them hold the lock.
//!
//! A worker that serves one request at a time becomes busy and idle a hundred thousand times a second, so appointments
//! must be rare. An appointed watcher keeps the duty until it has slept a turn of 10 ms, even if nobody is busy
//! meanwhile. Turns double from 50 µs to 10 ms: at most some ten wake-ups in 20 ms, and as many after the last
//! activity. Then the process is silent.
//!
//! # Rejected
//! Sleeping with a time limit (may's 10 ms, cogo's 1 s): a hundred wake-ups a second, and a lost wake-up shows as a
//! stall instead of a bug. Waking a worker per piece of work: on a virtual machine a wake-up costs more than most
//! pieces.

use crate::loom::atomic::{AtomicU64, Ordering};
use crate::sys::{Lock, barrier};

/// The counts, packed so that a producer reads one word: sleeping in the low half, searching in the high half.
#[derive(Clone, Copy)]
struct Counts(u64);

impl Counts {
    fn new(sleeping: usize, searching: usize) -> Self {
        Self(sleeping as u64 | (searching as u64) << 32)
    }

    fn sleeping(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn searching(self) -> usize {
        (self.0 >> 32) as usize
    }
}

/// What a sleeper is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SleeperRole {
    /// Sleep until it is woken.
    Sleep,
    /// Look after busy workers from time to time.
    Watch,
    /// Get up: somebody has taken it out, and counts it as a searcher.
    Leave,
}

struct Sleepers {
    /// Who sleeps; the last to go to sleep is woken first, since its caches are warmest.
    stack: Vec<usize>,
    searching: usize,
    watcher: Option<usize>,
    /// The watcher was appointed and has not had a long turn yet.
    appointed: bool,
}

impl Sleepers {
    /// Somebody has become busy. The sleeper that is to watch from now on, and to be woken for it: the one that has
    /// slept longest, since it is woken last for other work.
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
    workers: usize,
}

impl Idle {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            counts: AtomicU64::new(0),
            sleepers: Lock::new(Sleepers {
                stack: Vec::with_capacity(workers),
                searching: 0,
                watcher: None,
                appointed: false,
            }),
            workers,
        }
    }

    fn publish(&self, sleepers: &Sleepers) {
        // Relaxed: the barriers in `sleep` and `should_wake` order this word against the queues.
        self.counts.store(
            Counts::new(sleepers.stack.len(), sleepers.searching).0,
            Ordering::Relaxed,
        );
    }

    /// To be asked after work was made visible: whether [`wake_one`](Self::wake_one) is called for.
    #[inline(always)]
    pub(super) fn should_wake(&self) -> bool {
        barrier::light();
        // Relaxed: ordered by the barrier.
        let counts = Counts(self.counts.load(Ordering::Relaxed));
        counts.sleeping() > 0 && counts.searching() == 0
    }

    /// Takes one sleeper out, as a searcher; the caller wakes it.
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

    /// Takes a certain sleeper out, because work came that only it can do.
    pub(super) fn wake_this(&self, worker: usize) -> bool {
        barrier::light();
        // Relaxed: ordered by the barrier.
        if Counts(self.counts.load(Ordering::Relaxed)).sleeping() == 0 {
            return false;
        }
        let mut sleepers = self.sleepers.lock();
        let Some(position) = sleepers.stack.iter().position(|sleeper| *sleeper == worker) else {
            return false;
        };
        sleepers.stack.remove(position);
        sleepers.searching += 1;
        self.publish(&sleepers);
        true
    }

    /// Takes every sleeper out, for a shutdown; the caller wakes them all.
    pub(super) fn wake_all(&self) -> Vec<usize> {
        let mut sleepers = self.sleepers.lock();
        let all = std::mem::take(&mut sleepers.stack);
        sleepers.searching += all.len();
        self.publish(&sleepers);
        all
    }

    /// A worker without work asks to search. `false`: somebody does already.
    pub(super) fn start_searching(&self) -> bool {
        let mut sleepers = self.sleepers.lock();
        if sleepers.searching > 0 {
            return false;
        }
        sleepers.searching += 1;
        self.publish(&sleepers);
        true
    }

    /// A searcher has found work. `true` when it was the last one: it should see to it that another searches, if there
    /// may be more work. And the sleeper that is to be woken to watch.
    #[must_use]
    pub(super) fn stop_searching(&self) -> (bool, Option<usize>) {
        let mut sleepers = self.sleepers.lock();
        sleepers.searching -= 1;
        self.publish(&sleepers);
        (sleepers.searching == 0, sleepers.appoint())
    }

    /// Whether the worker is among the sleepers: a snapshot.
    pub(super) fn is_asleep(&self, worker: usize) -> bool {
        self.sleepers.lock().stack.contains(&worker)
    }

    /// Announces a sleep. After this the worker looks everywhere once more, and then sleeps.
    pub(super) fn sleep(&self, worker: usize, searching: bool) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.searching -= usize::from(searching);
            sleepers.stack.push(worker);
            self.publish(&sleepers);
        }
        barrier::heavy();
    }

    /// The worker is awake, for whatever reason. `true`: somebody had taken it out, so it is a searcher now. And the
    /// sleeper that is to be woken to watch.
    #[must_use]
    pub(super) fn awake(&self, worker: usize) -> (bool, Option<usize>) {
        let mut sleepers = self.sleepers.lock();
        if sleepers.watcher == Some(worker) {
            sleepers.watcher = None;
            sleepers.appointed = false;
        }
        let position = sleepers.stack.iter().position(|sleeper| *sleeper == worker);
        if let Some(position) = position {
            sleepers.stack.remove(position);
            self.publish(&sleepers);
        }
        (position.is_none(), sleepers.appoint())
    }

    /// A sleeper asks, before each turn of sleep, what to do, and says whether its last turn was a long one. Watch duty
    /// is granted to one, while somebody is busy. The wake-up that ended a watcher's turn may be the only one there is:
    /// who is not in the stack any more must not lie down again.
    pub(super) fn role(&self, worker: usize, had_long_turn: bool) -> SleeperRole {
        let mut sleepers = self.sleepers.lock();
        if !sleepers.stack.contains(&worker) {
            return SleeperRole::Leave;
        }
        let is_watcher = sleepers.watcher == Some(worker);
        sleepers.appointed &= !(is_watcher && had_long_turn);
        if is_watcher && sleepers.appointed {
            return SleeperRole::Watch;
        }
        let somebody_is_busy = sleepers.stack.len() + sleepers.searching < self.workers;
        match sleepers.watcher {
            None if somebody_is_busy => sleepers.watcher = Some(worker),
            // Nobody is left to look after: an idle process makes no wake-ups.
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
