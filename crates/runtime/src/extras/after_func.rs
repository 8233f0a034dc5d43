//! How do very many functions run later, each on a coroutine of its own, without a parked coroutine for each?
//!
//! # Protocol
//! Each runtime in use has a *keeper*: a timer wheel behind a short lock, and one coroutine. The coroutine sleeps until
//! the wheel's next deadline, and spawns a coroutine for each function that is due. A pending function is a node in the
//! wheel. It takes some hundred bytes and its closure, no stack and no coroutine, so a million of them take a hundred
//! megabytes. To arm and to stop one is O(1). The first function starts the keeper, which ends with its runtime.
//!
//! Rejected: a parked coroutine per function (at least a page each), and functions that the driver runs when it polls
//! (user code on a worker's stack).
//!
//! # What a timer is
//! | phase | the wheel | `call` |
//! |---|---|---|
//! | idle | no | there, unless it panicked |
//! | pending | yes, and owns one count of the timer | there |
//! | running | maybe: it may be reset while it runs | taken by the coroutine that runs it |
//!
//! Phases change under the keeper's lock. A function that comes due while it runs does not run twice at a time: it is
//! marked, and runs again afterwards on the same coroutine. So `FnMut` is enough.
//!
//! # Node lifetime (S8)
//! The count that the wheel owns keeps a node in the wheel alive. `Arc::into_raw` takes that count when the node is
//! armed; the code that takes the node out gives the count back.

use crate::api::park::yield_now;
use crate::api::spawn::spawn_on;
use crate::collections::wheel::{Wheel, WheelEntry};
use crate::coroutine::{WaitReason, contained};
use crate::runtime::default::current_or_default;
use crate::sched::{Scheduler, SpawnRequest};
use crate::sys::{StaticLock, clock};
use crate::wait::deadline_after;
use crate::wait::monitor::{Look, Monitor, MonitorWake};
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// Number of functions that the keeper starts before other coroutines get a turn; a guess.
const BATCH: usize = 256;

type Call = Box<dyn FnMut() + Send>;

/// The keepers that run, by their schedulers, which live for ever.
static KEEPERS: StaticLock<Vec<Arc<TimerService>>> = StaticLock::new(Vec::new());

/// See the head of the file.
struct TimerService {
    scheduler: &'static Scheduler,
    wheel: Monitor<Pending>,
}

struct Pending {
    wheel: Box<Wheel>,
    /// When the keeper's coroutine wakes by itself.
    wakes_ns: u64,
    /// The coroutine has ended: no function will run any more.
    ended: bool,
}

/// A function and its node. The entry comes first, so that its address is the timer's.
#[repr(C)]
struct Timer {
    entry: WheelEntry,
    keeper: Arc<TimerService>,
    site: &'static Location<'static>,
    state: Monitor<TimerState>,
}

struct TimerState {
    call: Option<Call>,
    running: bool,
    /// It came due while it ran.
    again: bool,
}

// SAFETY: S2: the entry is touched under the keeper's lock only; the rest is Send and Sync by itself.
unsafe impl Send for Timer {}
// SAFETY: S2: the entry is touched under the keeper's lock only.
unsafe impl Sync for Timer {}
// SAFETY: S2: the timers in the wheel are counted and Send.
unsafe impl Send for Pending {}

/// A function that runs later: [`after_func`] returns one. Dropping it changes nothing: the function still runs.
pub struct AfterFunc {
    timer: Arc<Timer>,
}

/// Runs `call` on a coroutine of its own, when `delay` is over: Go's `time.AfterFunc`. On a coroutine it runs in the
/// caller's runtime; on an OS thread, in that of the running `#[silken::main]`, otherwise in the default one. It runs
/// once, unless it is [reset](AfterFunc::reset). Does not block.
///
/// # Panics
/// If the runtime cannot start, or is shut down. A panic of `call` ends its coroutine and nothing else; then `call`
/// does not run again.
///
/// # Examples
/// ```
/// use silken::channel::oneshot;
/// use silken::time::after_func;
/// use std::time::Duration;
/// let (sender, receiver) = oneshot::channel();
/// let mut sender = Some(sender);
/// after_func(Duration::from_millis(1), move || drop(sender.take().map(|sender| sender.send("late"))));
/// assert_eq!(receiver.recv(), Ok("late"));
///
/// let never = after_func(Duration::from_secs(3600), || unreachable!());
/// assert!(never.stop());
/// ```
#[track_caller]
pub fn after_func(delay: Duration, call: impl FnMut() + Send + 'static) -> AfterFunc {
    let keeper = keeper().unwrap_or_else(|error| panic!("failed to start a timer: {error}"));
    let timer = Arc::new(Timer {
        entry: WheelEntry::new(),
        keeper,
        site: Location::caller(),
        state: Monitor::new(TimerState {
            call: Some(Box::new(call)),
            running: false,
            again: false,
        }),
    });
    timer.arm(deadline_after(delay));
    AfterFunc { timer }
}

impl AfterFunc {
    /// Stops the function, if it is pending; returns whether it was. `false`: the time was up already, or the function
    /// was stopped before. Does not block, and does not wait for a function that runs.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let timer = silken::time::after_func(Duration::from_secs(3600), || unreachable!());
    /// assert!(timer.stop());
    /// assert!(!timer.stop()); // stopped before
    /// ```
    pub fn stop(&self) -> bool {
        self.timer.disarm()
    }

    /// Makes the function run `delay` from now, whether it is pending, stopped or over. Returns whether it was pending.
    /// A function that still runs at that time runs again afterwards. Does not block.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let (sender, receiver) = silken::channel::unbounded();
    /// let timer = silken::time::after_func(Duration::from_secs(3600), move || sender.send("called").unwrap());
    /// assert!(timer.reset(Duration::from_millis(1)));
    /// assert_eq!(receiver.recv(), Ok("called"));
    /// ```
    pub fn reset(&self, delay: Duration) -> bool {
        let was_pending = self.timer.disarm();
        self.timer.arm(deadline_after(delay));
        was_pending
    }
}

impl fmt::Debug for AfterFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterFunc")
            .field("made_at", &self.timer.site)
            .finish_non_exhaustive()
    }
}

impl Timer {
    /// Puts the timer, which is in no wheel, into the wheel of its keeper. If the runtime is gone, nothing happens:
    /// nothing could run.
    fn arm(self: &Arc<Self>, deadline_ns: u64) {
        let counted = Arc::into_raw(self.clone());
        // The entry is the first field; the pointer is that of the count, which the wheel gives back by it.
        let entry = NonNull::new(counted.cast_mut().cast::<WheelEntry>()).expect("a counted timer is somewhere");
        let refused = self.keeper.wheel.update(|pending| {
            if pending.ended || self.entry.is_linked() {
                return (true, MonitorWake::None);
            }
            // SAFETY: S8: in no wheel, and kept by the count until it is taken out.
            unsafe { pending.wheel.insert(entry, deadline_ns) };
            let wake = if deadline_ns < pending.wakes_ns {
                MonitorWake::All
            } else {
                MonitorWake::None
            };
            (false, wake)
        });
        if refused {
            // SAFETY: S8: the count taken above, which the wheel did not keep.
            drop(unsafe { Arc::from_raw(counted) });
        }
    }

    /// Takes the timer out of the wheel; `false` if it was not there.
    fn disarm(self: &Arc<Self>) -> bool {
        let removed = self.keeper.wheel.with(|pending| {
            // SAFETY: S8: alive, and in this wheel or in none.
            unsafe { pending.wheel.remove(self.entry_pointer()) }
        });
        if removed {
            // SAFETY: S8: the wheel's count, which is ours now. `self` keeps the timer, so no user's drop runs here.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(self)) });
        }
        removed
    }

    fn entry_pointer(&self) -> NonNull<WheelEntry> {
        NonNull::from(self).cast()
    }

    /// The time is up: runs the function on a coroutine, unless it runs already.
    fn fire(self: Arc<Self>) {
        let call = self.state.with(|state| {
            state.again = state.running;
            let call = if state.running { None } else { state.call.take() };
            state.running |= call.is_some();
            call
        });
        let Some(call) = call else { return };
        let (scheduler, request) = (self.keeper.scheduler, SpawnRequest::at(self.site));
        // Without memory for a stack, or in a runtime that ends, no caller can be told: the function is dropped, and
        // the keeper lives on.
        quietly(|| drop(spawn_on(scheduler, request, move || self.run(call))));
    }

    fn run(&self, mut call: Call) {
        loop {
            call();
            let rest = self.state.with(|state| {
                if std::mem::take(&mut state.again) {
                    return Some(call);
                }
                state.running = false;
                state.call = Some(call);
                None
            });
            match rest {
                Some(again) => call = again,
                None => return,
            }
        }
    }
}

/// Calls code that may run a function's destructor, on the keeper's coroutine. The hook has reported a panic in it, and
/// the panic ends here. A panic of its payload's destructor is avoided by leaking the payload.
fn quietly(f: impl FnOnce()) {
    if let Err(payload) = contained(f) {
        std::mem::forget(payload);
    }
}

/// Returns the keeper of the caller's runtime.
fn keeper() -> std::io::Result<Arc<TimerService>> {
    let scheduler = current_or_default()?;
    let made = Arc::new(TimerService {
        scheduler,
        wheel: Monitor::new(Pending {
            wheel: Box::new(Wheel::new(clock::now_ns())),
            wakes_ns: 0,
            ended: false,
        }),
    });
    let (keeper, is_new) =
        with_keepers(
            |keepers| match keepers.iter().find(|keeper| std::ptr::eq(keeper.scheduler, scheduler)) {
                Some(keeper) => (keeper.clone(), false),
                None => {
                    keepers.push(made.clone());
                    (made, true)
                }
            },
        );
    if is_new {
        let end = TimerEnd(keeper.clone());
        spawn_on(scheduler, SpawnRequest::default(), move || {
            let end = end;
            end.0.keep();
        })?;
    }
    Ok(keeper)
}

fn with_keepers<R>(look: impl FnOnce(&mut Vec<Arc<TimerService>>) -> R) -> R {
    let _critical = crate::coroutine::Critical::enter();
    look(&mut KEEPERS.lock())
}

/// The end of a keeper, in every case: drops the pending functions, and forgets the keeper.
struct TimerEnd(Arc<TimerService>);

impl Drop for TimerEnd {
    fn drop(&mut self) {
        let keeper = with_keepers(|keepers| {
            let index = keepers.iter().position(|keeper| Arc::ptr_eq(keeper, &self.0));
            index.map(|index| keepers.swap_remove(index))
        });
        drop(keeper);
        self.0.wheel.with(|pending| pending.ended = true);
        // The caller may be unwinding. Panics of the functions' destructors are contained, so all functions are
        // dropped.
        while let Some(timer) = self.0.take_due(u64::MAX) {
            quietly(|| drop(timer));
        }
    }
}

impl TimerService {
    fn keep(&self) {
        loop {
            let now_ns = self.wheel.wait(WaitReason::Sleep, |pending, _| {
                let now_ns = clock::now_ns();
                pending.wakes_ns = pending.wheel.next_wake_ns().unwrap_or(u64::MAX);
                match pending.wakes_ns {
                    u64::MAX => Look::Wait(None),
                    wakes_ns if wakes_ns > now_ns => Look::Wait(Some(wakes_ns)),
                    _ => Look::Done(now_ns),
                }
            });
            let mut fired_count = 0_usize;
            while let Some(timer) = self.take_due(now_ns) {
                timer.fire();
                fired_count += 1;
                if fired_count.is_multiple_of(BATCH) {
                    yield_now();
                }
            }
        }
    }

    /// Takes one timer that is due out of the wheel.
    fn take_due(&self, now_ns: u64) -> Option<Arc<Timer>> {
        let entry = self.wheel.with(|pending| pending.wheel.expire(now_ns))?;
        // SAFETY: S8: the entry is its timer's first field, and this is the count that the wheel owned.
        Some(unsafe { Arc::from_raw(entry.as_ptr().cast::<Timer>()) })
    }
}
