//! What does the monitor do in a turn? It looks at each processor, asks for preemption, and decides when to look again.
//! The head of `monitor.rs` explains it.

use super::{ASLEEP, SleepWord};
use crate::coroutine::Critical;
use crate::coroutine::c_thread::native;
use crate::sched::nudge::Nudge;
use crate::sched::{Scheduler, blocked, blocked_calls, late, preempt, size};
use crate::sys::signal::Heritage;
use crate::sys::{self, StaticLock, clock, futex};
use libc::pid_t;
use std::io;
use std::time::Duration;

/// The monitor sleeps after so many turns in which no worker ran. A process that works in short bursts would otherwise
/// wake the monitor at each burst.
const IDLE_TURNS: u32 = 2;

/// After so many turns in a row in which no processor stood still, the turns become longer.
const QUIET_TURNS: u32 = 32;

/// How often the monitor looks how many CPUs there are.
const MACHINE_EVERY_NS: u64 = clock::NS_PER_SECOND;

/// The longest turn while a worker runs.
const TURN_MAX_NS: u64 = 10_000_000;

/// A thread that has used at least three parts in four of the time since the last look computes: its state need not be
/// asked. On a busy machine a thread may compute and have less.
const COMPUTING_PARTS: u64 = 3;
const COMPUTING_PART: u64 = 4;

/// What the monitor knows of one processor.
#[derive(Clone, Copy, Default)]
struct Record {
    tick: u32,
    /// Since when the count of picks has had that value.
    since_ns: u64,
    /// The last look at the processor while it stood still, and what the CPU clock of its thread showed.
    last: Option<(u64, u64)>,
    /// The coroutine was asked to give way, and has not been seen to do so.
    is_asked: bool,
}

/// What a turn has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    NobodyRuns,
    SomebodyIsIdle,
    EverybodyRuns,
    /// And one of them stands still.
    SomebodyStands,
    OpenRequest,
}

/// One runtime, as the monitor sees it.
struct Watched {
    scheduler: &'static Scheduler,
    records: Vec<Record>,
    /// How many turns in a row have seen no processor that stood still.
    quiet_turns: u32,
}

impl Watched {
    fn new(scheduler: &'static Scheduler) -> Self {
        Self {
            scheduler,
            records: vec![Record::default(); scheduler.size.max()],
            quiet_turns: 0,
        }
    }

    /// The length of a turn after which one would be too late.
    fn turn_ns(&self, seen: Seen) -> u64 {
        let ns = |time: Option<Duration>| time.map_or(u64::MAX, |time| time.as_nanos() as u64);
        let (slice_ns, hand_off_ns) = (ns(self.scheduler.slice), ns(self.scheduler.hand_off_after));
        match seen {
            Seen::OpenRequest => (slice_ns / 10).min(hand_off_ns),
            Seen::SomebodyStands => (slice_ns / 5).min(hand_off_ns),
            Seen::EverybodyRuns if self.quiet_turns >= QUIET_TURNS => (slice_ns / 2).min(hand_off_ns.saturating_mul(5)),
            Seen::EverybodyRuns => (slice_ns / 5).min(hand_off_ns.saturating_mul(2)),
            Seen::SomebodyIsIdle | Seen::NobodyRuns => slice_ns.min(TURN_MAX_NS),
        }
    }

    /// Looks at each processor once.
    fn look(&mut self, now_ns: u64) -> Seen {
        let (seen, stands) = self.look_at_processors(now_ns);
        self.quiet_turns = if stands { 0 } else { self.quiet_turns.saturating_add(1) };
        seen
    }

    /// Returns also whether any processor stands still, which is not of interest where an idle worker looks after it.
    fn look_at_processors(&mut self, now_ns: u64) -> (Seen, bool) {
        let mut stands = false;
        let mut seen = match self.scheduler.idle.busy_and_sleeping() {
            (0, _) => return (Seen::NobodyRuns, false),
            (_, 0) => Seen::EverybodyRuns,
            _ => Seen::SomebodyIsIdle,
        };
        let started = self.scheduler.size.made_count();
        for (index, record) in self.records[..started].iter_mut().enumerate() {
            let tick = self.scheduler.workers[index].tick();
            let has_picked = tick != record.tick;
            let is_asleep = || self.scheduler.idle.is_asleep(index);
            if has_picked || is_asleep() {
                let sighting = &self.scheduler.size.processor(index).sighting;
                let blocked_since_ns = sighting
                    .blocked_since(tick, now_ns)
                    .filter(|_| has_picked && !is_asleep());
                *record = Record {
                    tick,
                    since_ns: blocked_since_ns.unwrap_or(now_ns),
                    ..Record::default()
                };
                if blocked_since_ns.is_none() {
                    continue;
                }
            }
            stands = true;
            if look_at_standing(self.scheduler, index, record, now_ns) {
                seen = Seen::OpenRequest;
            } else if seen == Seen::EverybodyRuns {
                seen = Seen::SomebodyStands;
            }
        }
        (seen, stands)
    }
}

/// Looks at a processor that stands still. Returns whether it was asked to give way.
fn look_at_standing(scheduler: &'static Scheduler, index: usize, record: &mut Record, now_ns: u64) -> bool {
    let Some(thread) = scheduler.workers[index].thread() else {
        return false;
    };
    let processor = scheduler.size.processor(index);
    if record.is_asked && !processor.is_preemption_asked() {
        // It gave way, and no other coroutine was ready. So it has a new slice.
        (record.since_ns, record.is_asked) = (now_ns, false);
    }
    let stood_ns = now_ns.saturating_sub(record.since_ns);
    let is_due = |limit: Option<Duration>| limit.is_some_and(|limit| u128::from(stood_ns) >= limit.as_nanos());
    let (may_preempt, may_hand_off) = (is_due(scheduler.slice), is_due(scheduler.hand_off_after));
    let cpu_ns = clock::thread_cpu_ns(thread);
    let before = record.last.replace((now_ns, cpu_ns));
    // The share of the time since the last look.
    let (passed_ns, used_ns) = before.map_or((0, 0), |(at_ns, before_ns)| {
        (now_ns.saturating_sub(at_ns), cpu_ns.saturating_sub(before_ns))
    });
    let computes = before.is_some() && used_ns >= passed_ns / COMPUTING_PART * COMPUTING_PARTS;
    if !may_preempt && (computes || !may_hand_off) {
        return false;
    }
    // Asked just before a signal, since a call that waits must not be interrupted. The thread may begin such a call
    // between the question and the signal; then SA_RESTART restarts it, but for the few calls that are never restarted
    // (poll, nanosleep), which silken answers itself. Where the kernel does not tell, the clock does, if there were two
    // looks.
    let is_blocked = blocked::is_blocked(thread).unwrap_or(before.is_some() && used_ns == 0);
    if is_blocked {
        if may_hand_off {
            hand_off(scheduler, index, thread, record.tick);
        }
        return false;
    }
    if !may_preempt || !preempt::own_signal() {
        return false;
    }
    processor.request_preemption(record.tick);
    record.is_asked = true;
    preempt::interrupt(thread);
    true
}

/// Gives the worker of this thread to a spare thread, if there is one.
fn hand_off(scheduler: &'static Scheduler, index: usize, thread: pid_t, tick: u32) {
    let Some(worker) = scheduler.workers[index].worker() else {
        return;
    };
    let Some(seat) = scheduler.spares.reserve(scheduler) else {
        return;
    };
    match late::seize(worker, tick) {
        Some(seized) => {
            seat.assign(worker);
            scheduler.count_hand_off();
            blocked_calls::note(seized.site, thread);
        }
        None => scheduler.spares.give_back(seat),
    }
}

static SLEEP: SleepWord = SleepWord::new();

struct AllWatched {
    is_running: bool,
    watched: Vec<Watched>,
}

static MONITOR: StaticLock<AllWatched> = StaticLock::new(AllWatched {
    is_running: false,
    watched: Vec::new(),
});

/// A worker has become busy, and has said so under the lock of the idle workers.
#[inline]
pub(in crate::sched) fn note_busy() {
    if SLEEP.must_wake() {
        futex::wake(&SLEEP.0, 1);
    }
}

/// Watches a scheduler from now on, until it is over. Starts the monitor's thread if there is none.
pub(in crate::sched) fn watch(scheduler: &'static Scheduler) -> io::Result<()> {
    let watched = Watched::new(scheduler);
    let starts = with_monitor(|state| {
        state.watched.push(watched);
        !std::mem::replace(&mut state.is_running, true)
    });
    if starts {
        let thread = std::thread::Builder::new()
            .name("silken-monitor".into())
            .stack_size(STACK_BYTES);
        let started = native(|| thread.spawn(run));
        if let Err(error) = started {
            with_monitor(|state| state.is_running = false);
            return Err(error);
        }
    }
    note_busy();
    Ok(())
}

/// Calls `f` under the lock. A runtime may be started by a coroutine.
fn with_monitor<R>(f: impl FnOnce(&mut AllWatched) -> R) -> R {
    let _critical = Critical::enter();
    f(&mut MONITOR.lock())
}

/// The stack of the thread: it calls nothing foreign.
const STACK_BYTES: usize = 128 * 1024;

fn run() {
    sys::exact_timers();
    // No handler of the program's runs here.
    sys::signal::set_blocked(!sys::signal::OF_C_LIBRARY);
    let mut idle_turns = 0;
    let mut machine = Machine::new();
    loop {
        machine.look();
        NUDGE.clear();
        let (seen, turn_ns) = look_at_all();
        idle_turns = if seen == Seen::NobodyRuns { idle_turns + 1 } else { 0 };
        if idle_turns >= IDLE_TURNS {
            sleep();
            idle_turns = 0;
            continue;
        }
        NUDGE.pause_until(clock::now_ns().saturating_add(turn_ns));
    }
}

/// The machine, as the monitor saw it last.
struct Machine {
    seen_ns: u64,
    heritage: Heritage,
}

impl Machine {
    fn new() -> Self {
        Self {
            seen_ns: clock::now_ns(),
            heritage: Heritage::of_caller(),
        }
    }

    /// Adapts the schedulers that follow the machine, once a second.
    fn look(&mut self) {
        let now_ns = clock::now_ns();
        if now_ns.saturating_sub(self.seen_ns) < MACHINE_EVERY_NS {
            return;
        }
        self.seen_ns = now_ns;
        let heritage = Heritage::of_caller();
        let has_moved = !heritage.has_same_cores(&self.heritage);
        self.heritage = heritage;
        // Without the lock, since threads may be made.
        let all: Vec<_> = with_monitor(|state| state.watched.iter().map(|watched| watched.scheduler).collect());
        if has_moved {
            all.iter().for_each(|scheduler| scheduler.note_move());
        }
        let mut following = all.iter().filter(|scheduler| scheduler.size.follows()).peekable();
        if following.peek().is_some() {
            let processors = size::available_workers();
            following.for_each(|scheduler| scheduler.resize(processors));
        }
    }
}

/// Looks at all runtimes. Returns the most urgent that was seen, and the length of the next turn.
fn look_at_all() -> (Seen, u64) {
    with_monitor(|state| {
        state.watched.retain(|watched| !watched.scheduler.is_over());
        look_at_each(&mut state.watched)
    })
}

fn look_at_each(all: &mut [Watched]) -> (Seen, u64) {
    let now_ns = clock::now_ns();
    let mut seen = Seen::NobodyRuns;
    let mut turn_ns = TURN_MAX_NS;
    for watched in all {
        let here = watched.look(now_ns);
        seen = seen.max(here);
        if here != Seen::NobodyRuns {
            turn_ns = turn_ns.min(watched.turn_ns(here));
        }
    }
    (seen, turn_ns)
}

/// Sleeps until a worker becomes busy.
fn sleep() {
    SLEEP.announce();
    let is_busy = |watched: &Watched| watched.scheduler.idle.busy_and_sleeping().0 > 0;
    if !with_monitor(|state| state.watched.iter().any(is_busy)) {
        let _ = futex::wait(&SLEEP.0, ASLEEP, None);
    }
    SLEEP.end();
}

static NUDGE: Nudge = Nudge::new();

/// A worker has seen that another one is blocked, and has noted it: the monitor looks at once.
pub(in crate::sched) fn nudge() {
    NUDGE.give();
    NUDGE.wake();
}
