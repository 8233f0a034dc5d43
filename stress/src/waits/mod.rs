//! The kinds of waits. A [`Wait`] is a station: a primitive that some coroutines share, what each of them does with it,
//! and what must hold afterwards.
//!
//! | file | waits |
//! |---|---|
//! | `channels` | rendezvous, bounded and unbounded channels |
//! | `selects` | `select!` and `Select` over several channels |
//! | `values` | oneshot, broadcast, watch |
//! | `locks` | Mutex, RwLock, Semaphore |
//! | `events` | Condvar, Notify, Barrier, WaitGroup |
//! | `lives` | joins, scopes, park |
//! | `clocks` | sleeps, tickers, `after` |
//! | `foreign` | std's channels, locks and sleeps, and sockets, through the hooks |

mod channels;
mod clocks;
mod events;
mod foreign;
mod lives;
mod locks;
mod selects;
mod values;

use crate::ledger::{Ledger, Token};
use crate::plan::{Bounds, Rng};
use silken::channel::Receiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A station. Everything that waits there must end by itself after [`release`](Wait::release), or by cancellation if it
/// says so.
pub trait Wait: Send + Sync {
    /// What one coroutine does. It may be interrupted at any wait.
    fn part(&self, part: &mut Part);

    /// Something happens that lets some of those who wait go on. From coroutines and OS threads, at random moments.
    /// Must not wait itself.
    fn stir(&self, _rng: &mut Rng) {}

    /// The end: whoever waits, and whoever comes, goes on. Called once, by a coroutine.
    fn release(&self) {}

    /// Whether the coroutines that are left have to be cancelled after the release: they wait for what never comes.
    fn ends_by_cancel(&self) -> bool {
        false
    }

    /// Called when all have been joined, by a coroutine: everything balances, nobody is left behind, and the primitive
    /// still works.
    ///
    /// # Errors
    /// What does not hold.
    fn check(&self) -> Result<(), String>;
}

/// What a coroutine at a station has of its own.
pub struct Part<'a> {
    /// Which of the station's coroutines it is.
    pub index: usize,
    /// Its choices.
    pub rng: Rng,
    /// The round's tokens.
    pub ledger: &'a Arc<Ledger>,
    /// Coroutines that parts have made and do not join.
    pub children: &'a Arc<AtomicUsize>,
    /// Disconnected when it all begins, in a still round.
    pub gate: &'a Receiver<()>,
    /// How long it takes until everybody waits, in a still round.
    pub settle: Duration,
    /// The length of random moments.
    pub pace: Duration,
}

impl Part<'_> {
    /// A token of the round.
    pub fn token(&self) -> Token {
        self.ledger.token()
    }

    /// Lets some time go by: in a still round until everybody waits, else a random moment, or none.
    pub fn pause(&mut self) {
        let _ = self.gate.recv();
        match self.rng.below(4) {
            0 | 1 => {}
            2 => silken::yield_now(),
            _ => silken::sleep(self.rng.moment(self.pace)),
        }
    }

    /// The time of a random moment from now, not before everybody waits.
    pub fn moment(&mut self) -> Duration {
        self.settle + self.rng.moment(self.pace)
    }

    /// To be moved into a coroutine that nobody joins: the round waits until it has ended.
    pub fn child(&self) -> Counted {
        Counted::new(self.children)
    }
}

/// Counts those who are there, whatever ends them.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// One more.
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A kind of wait.
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// It asks who the thread is, so light coroutines, which share their worker's identity, cannot do it.
    pub isolated_only: bool,
    /// How many there may be.
    pub bounds: Bounds,
    /// Makes a station.
    pub make: fn(&mut Rng, &Arc<Ledger>) -> Arc<dyn Wait>,
}

const fn kind(name: &'static str, coroutines: usize, make: fn(&mut Rng, &Arc<Ledger>) -> Arc<dyn Wait>) -> Kind {
    Kind {
        name,
        isolated_only: false,
        bounds: Bounds {
            stations: usize::MAX,
            coroutines,
        },
        make,
    }
}

/// All kinds.
pub const KINDS: &[Kind] = &[
    kind("rendezvous", 64, |rng, ledger| {
        channels::Channel::station(0, rng, ledger)
    }),
    kind("bounded", 64, |rng, ledger| {
        let capacity = 1 + rng.below(8);
        channels::Channel::station(capacity, rng, ledger)
    }),
    kind("unbounded", 64, |rng, ledger| {
        channels::Channel::station(usize::MAX, rng, ledger)
    }),
    kind("select", 48, |_, ledger| Arc::new(selects::Selects::new(ledger))),
    kind("oneshot", 64, |_, _| Arc::new(values::Oneshots::new())),
    kind("broadcast", 32, |rng, ledger| {
        Arc::new(values::Broadcast::new(rng, ledger))
    }),
    kind("watch", 64, |_, ledger| Arc::new(values::Watch::new(ledger))),
    kind("mutex", 64, |_, _| Arc::new(locks::Mutexes::default())),
    kind("rwlock", 64, |_, _| Arc::new(locks::RwLocks::default())),
    kind("semaphore", 64, |rng, _| Arc::new(locks::Semaphores::new(rng))),
    kind("condvar", 64, |_, _| Arc::new(events::Condvars::default())),
    kind("notify", 64, |_, _| Arc::new(events::Notifies::default())),
    kind("barrier", 64, |rng, _| Arc::new(events::Barriers::new(rng))),
    kind("wait-group", 64, |_, _| Arc::new(events::WaitGroups::default())),
    kind("join", 16, |_, _| Arc::new(lives::Joins)),
    kind("scope", 16, |_, _| Arc::new(lives::Scopes)),
    kind("park", 64, |_, _| Arc::new(lives::Parks::default())),
    kind("sleep", 64, |_, _| Arc::new(clocks::Sleeps)),
    kind("ticker", 64, |rng, _| Arc::new(clocks::Tickers::new(rng))),
    Kind {
        isolated_only: true,
        ..kind("std-mpsc", 32, |_, ledger| Arc::new(foreign::StdChannel::new(ledger)))
    },
    Kind {
        isolated_only: true,
        ..kind("std-park", 64, |_, _| Arc::new(foreign::StdPark))
    },
    kind("std-condvar", 64, |_, _| Arc::new(foreign::StdCondvar::default())),
    kind("std-sleep", 64, |_, _| Arc::new(foreign::StdSleep)),
    Kind {
        name: "socket",
        isolated_only: false,
        bounds: Bounds {
            stations: 256,
            coroutines: 8,
        },
        make: |_, _| Arc::new(foreign::Sockets::new()),
    },
];
