//! When does a wait end because the caller was cancelled or a deadline has passed, and which code catches the
//! unwinding?
//!
//! # Vocabulary
//! A *cancel scope* ([`CancelScope`]) holds what is in force inside a closure of [`mask`] or [`until`]: whether
//! cancellation is seen there, and the earliest deadline that counts there. Cancel scopes lie on the stack of the code
//! that entered them. They form a chain behind `Core::cancel_scope` (or a thread-local of the OS thread). Each one
//! holds the *effective* values, so a wait reads the innermost only. A wait outside of all cancel scopes pays a load
//! and a branch. A wait that is cut short by cancellation or a deadline is *interrupted*: its outcome is `Cancelled`,
//! and [`raise_if_cancelled`] finds out which of the two it was. An [`InterruptUnwind`] is the payload of the unwinding
//! that follows.
//!
//! # Which `until` catches
//! The effective deadline is the earliest of those outside that no mask hides. Its *owner* is the [`until`] that set
//! it. The payload of an unwinding names the owner of the deadline that caused it. Each [`until`] on the way passes the
//! unwinding on, unless the owner is itself. So of two nested [`until`]s, the one whose deadline came first returns
//! `None`, even if both deadlines have passed by then. A scope's child starts in a cancel scope that lies in the
//! parent's `Group` (`group.rs`) and holds the parent's deadline. That deadline has no owner on the child's stack, so
//! the child cancels itself.
//!
//! # Swallowed unwindings
//! Neither a cancellation nor a passed deadline goes away. So a `catch_unwind` of user code only lets the coroutine run
//! to its next blocking point. But after that catch a panic is an ordinary panic again, and must poison what it should.
//! There is no event for "the payload was caught". There is one for "the payload was dropped": the unwinding owns it,
//! and then the code that caught it. So the core holds the payload's number while the unwinding lasts. The payload's
//! destructor clears the number there, if it is still its own. An older payload that lies on the stack of a newer
//! unwinding changes nothing. Code that catches a payload and resumes it keeps it alive, which is right. If a caught
//! payload is stored or sent elsewhere, panics do not poison silken's locks until this coroutine unwinds again for a
//! cancellation or a deadline. The one catch of silken's own that runs user code before it resumes (`api/scope.rs`)
//! uses [`caught`] and [`resume`].
//!
//! While the caller unwinds, no interruption begins: a second panic in a destructor would end the process.
//!
//! # Callbacks of C
//! An unwinding that a wait begins must not pass a C function that has called back (`qsort` and its comparator), nor a
//! Rust function with C's calling convention. It would skip what C has to do, or end the process. So a wait there is
//! not interrupted: it continues as if it were masked, and the next one outside is interrupted.
//! `silken_context::unwind` walks the stack to see whether an unwinding *gets to its target*. Each reason has its own
//! target. An [`until`] inside the callback catches there, so it takes effect. The coroutine's cancellation targets the
//! coroutine's entry, so it waits.
//!
//! The walk takes microseconds, so it is done only when there is a reason to interrupt. It is done *before the wait is
//! settled* as interrupted. So a caller whose wait returns `Cancelled` can unwind, and [`raise_if_cancelled`] unwinds
//! it. *Rejected*: to settle first and then not to unwind. Each blocker would have to resume a wait that its waker
//! believes to be over. Waits of hooks (`wait::wait_or_fail`) end with an error number and unwind nothing, so they
//! are interrupted everywhere.
//!
//! # A partner that is gone
//! One request may end many coroutines: a scope's children one after the other, all coroutines of a runtime, all that
//! share one deadline. A coroutine that waits for another of them may learn of that one's end (a cancelled join, an
//! abandoned promise, a closed channel) before the request has reached itself. Example: a parent calls `join` on a
//! child whose inherited deadline has just ended it. The parent's own timer fires a microsecond later, and meanwhile
//! `unwrap` has panicked. So code that is about to report such a loss first asks whether the same request ends the
//! caller too ([`lost`]), and then unwinds the caller instead.
//!
//! The answer is always there in time, because code that has seen the effect of a request can also see that it concerns
//! the caller. A deadline that has passed has passed for all. The mark of a group, or of a runtime, is written before
//! the first of its coroutines is cancelled; and what ends a coroutine happens before its end is seen. *Rejected*: to
//! wake the parent first. A parent that computes does not notice the wake, and then joins.
//!
//! # The end
//! Some destructors run after the body has ended: those of thread-locals, coroutine-locals, a result that is not taken,
//! a closure that was not called. No frame above them could catch an unwinding, and the runtime must wake the joiners
//! afterwards. So a coroutine ends in a cancel scope of its own that masks everything ([`Core::mask_end`]).

#[forbid(unsafe_code)]
pub(super) mod scope;

use super::core::Core;
use super::current::{self, Critical};
use super::local;
use crate::loom::static_atomic::{AtomicU32, Ordering};
use crate::sys::clock;
use scope::{CancelScope, END, ITSELF, NEVER};
#[cfg(not(loom))]
use silken_context::unwind::{self, Target};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
#[cfg(not(loom))]
use std::sync::Once;
use std::thread::panicking;

/// Whether panics unwind. A program with `panic = "abort"` in its profile compiles this crate with it too. Then no wait
/// is interrupted by an unwinding, as if C were in the way everywhere, and the end of a runtime cancels no coroutine.
pub(crate) const UNWINDS: bool = cfg!(panic = "unwind");

/// The payload of the unwinding of an interrupted wait. It does not go through the panic hook.
#[derive(Debug)]
pub(crate) struct InterruptUnwind {
    owner: usize,
    /// Distinct among the payloads that are alive, and not 0.
    number: u32,
}

impl InterruptUnwind {
    fn new(owner: usize) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only distinctness matters.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        Self { owner, number }
    }
}

impl Drop for InterruptUnwind {
    fn drop(&mut self) {
        unwinding(current::current_core(), |own| {
            if own.get() == self.number {
                own.set(0);
            }
        });
    }
}

/// The fields that a coroutine has in its core, for an OS thread.
struct OfThread {
    cancel_scope: Cell<*const CancelScope>,
    interrupt: Cell<u32>,
}

thread_local! {
    static OF_THREAD: OfThread = const {
        OfThread {
            cancel_scope: Cell::new(ptr::null()),
            interrupt: Cell::new(0),
        }
    };
}

fn unwinding<R>(core: Option<&Core>, f: impl FnOnce(&Cell<u32>) -> R) -> R {
    match core {
        Some(core) => f(&core.interrupt),
        None => OF_THREAD.with(|own| f(&own.interrupt)),
    }
}

#[inline]
fn slot<R>(core: Option<&Core>, f: impl FnOnce(&Cell<*const CancelScope>) -> R) -> R {
    match core {
        Some(core) => f(&core.cancel_scope),
        None => OF_THREAD.with(|own| f(&own.cancel_scope)),
    }
}

/// The innermost cancel scope of the caller.
#[inline]
fn innermost<'a>(core: Option<&Core>) -> Option<&'a CancelScope> {
    // SAFETY: S8: a cancel scope stays in its frame until it is left; a child's outermost one lies in the scope, which
    // waits for the child. The caller does not keep the reference beyond a call of runtime code.
    unsafe { slot(core, Cell::get).as_ref() }
}

/// Whether the caller masks its cancellation.
pub(super) fn is_masked() -> bool {
    innermost(current::current_core()).is_some_and(|cancel_scope| cancel_scope.masked)
}

/// Calls `f` in this cancel scope.
fn enter<R>(cancel_scope: &CancelScope, f: impl FnOnce() -> R) -> R {
    struct Leave(*const CancelScope);

    impl Drop for Leave {
        fn drop(&mut self) {
            slot(current::current_core(), |slot| slot.set(self.0));
        }
    }

    let _leave = Leave(slot(current::current_core(), |slot| slot.replace(cancel_scope)));
    f()
}

/// Calls `f`. Inside, no cancellation and no deadline from outside is seen.
pub(crate) fn mask<R>(f: impl FnOnce() -> R) -> R {
    let cancel_scope = CancelScope {
        deadline_ns: NEVER,
        owner: ITSELF,
        masked: true,
    };
    enter(&cancel_scope, f)
}

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls `f`, which may run a user's destructors, at a place where no unwinding may pass. A panic is returned as an
/// error, and no wait inside is interrupted.
pub(crate) fn contained<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(|| mask(f)))
}

/// Drops a panic's payload that no code asks for. If its destructor panics, that second payload is leaked.
pub(crate) fn discard(payload: Payload) {
    if let Err(second) = contained(|| drop(payload)) {
        std::mem::forget(second);
    }
}

/// Calls `f`. Inside, waits are interrupted at the deadline. `None`: that has unwound `f`.
pub(crate) fn until<R>(deadline_ns: u64, f: impl FnOnce() -> R) -> Option<R> {
    // Its address is the owner's name. No other `until` that is running has the same address.
    let place = Cell::new(0u8);
    let owner = ptr::from_ref(&place).addr();
    let cancel_scope = match innermost(current::current_core()) {
        Some(outer) if outer.deadline_ns <= deadline_ns => CancelScope { ..*outer },
        outer => CancelScope {
            deadline_ns,
            owner,
            masked: outer.is_some_and(|outer| outer.masked),
        },
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| enter(&cancel_scope, f)));
    if local::refusals() > 0 && !is_to_end_now(current::current_core()) {
        local::forget_refusals();
    }
    match outcome {
        Ok(value) => Some(value),
        Err(payload) => match payload.downcast_ref::<InterruptUnwind>() {
            Some(interrupt) if interrupt.owner == owner => None,
            _ => resume_unwind(payload),
        },
    }
}

/// The caller's effective deadline.
pub(crate) fn effective_deadline_ns() -> Option<u64> {
    innermost(current::current_core())
        .map(|cancel_scope| cancel_scope.deadline_ns)
        .filter(|deadline_ns| *deadline_ns != NEVER)
}

impl CancelScope {
    /// The cancel scope for the caller's children: they inherit its deadline, and no mask.
    pub(super) fn of_children() -> Self {
        Self {
            deadline_ns: effective_deadline_ns().unwrap_or(NEVER),
            owner: ITSELF,
            masked: false,
        }
    }
}

/// Whether the caller was cancelled, and no mask hides it.
fn is_to_end(core: Option<&Core>) -> bool {
    core.is_some_and(|core| core.lifecycle.is_cancelled())
        && !innermost(core).is_some_and(|cancel_scope| cancel_scope.masked)
}

/// Whether the caller's waits are refused: it was cancelled, or its deadline has passed.
fn is_to_end_now(core: Option<&Core>) -> bool {
    is_to_end(core) || owner_out_of_time(core).is_some()
}

/// The owner of the caller's deadline, if that deadline has passed.
fn owner_out_of_time(core: Option<&Core>) -> Option<usize> {
    innermost(core)
        .filter(|cancel_scope| cancel_scope.has_deadline() && cancel_scope.deadline_ns <= clock::now_ns())
        .map(|cancel_scope| cancel_scope.owner)
}

/// Whether an unwinding that begins here gets to the owner's target: see "Callbacks of C".
#[cfg(not(loom))]
fn gets_to(owner: usize) -> bool {
    if !UNWINDS {
        say_that_nothing_unwinds();
        return false;
    }
    let target = match owner {
        ITSELF => Target::Entry,
        place => Target::Frame(place),
    };
    // In a critical section, so a wait inside the walk blocks the OS thread.
    let _critical = Critical::enter();
    unwind::reaches(target)
}

#[cfg(not(loom))]
#[cold]
fn say_that_nothing_unwinds() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        crate::sys::report(&[
            "silken: a coroutine was cancelled, or its time is up, in a program that is built with panic = \"abort\": its wait goes on\n",
        ]);
    });
}

/// Models have no C frames, and use threads for coroutines.
#[cfg(loom)]
fn gets_to(_: usize) -> bool {
    true
}

/// Why the caller must not wait, if there is a reason and the caller can unwind for it: the owner of the deadline that
/// has passed, or [`ITSELF`] when it is cancelled.
fn interruption(core: Option<&Core>) -> Option<usize> {
    if is_to_end(core) && gets_to(ITSELF) {
        return Some(ITSELF);
    }
    owner_out_of_time(core).filter(|owner| gets_to(*owner))
}

/// Whether an unwinding would interrupt a wait of the caller now.
#[cold]
pub(crate) fn is_interrupted() -> bool {
    !panicking() && interruption(current::current_core()).is_some()
}

/// Unwinds the caller if it was cancelled, or if a deadline that it inherited has passed. Does nothing while the caller
/// unwinds already, since a destructor's waits run to their end; nor where a [`mask`] hides the reason, or C is in the
/// way.
#[inline]
pub(crate) fn raise_if_cancelled() {
    let core = current::current_core();
    let cancelled = core.is_some_and(|core| core.lifecycle.is_cancelled());
    if cancelled || !slot(core, Cell::get).is_null() {
        raise_if_interrupted(core);
    }
}

/// Does what [`raise_if_cancelled`] does, for the running coroutine.
#[inline]
pub(crate) fn raise_if_core_cancelled(core: &Core) {
    if core.lifecycle.is_cancelled() || core.is_in_cancel_scope() {
        raise_if_interrupted(Some(core));
    }
}

#[cold]
#[inline(never)]
fn raise_if_interrupted(core: Option<&Core>) {
    if panicking() {
        return;
    }
    let Some(owner) = interruption(core) else { return };
    if let (ITSELF, Some(core)) = (owner, core) {
        core.cancel_itself();
    }
    let payload = InterruptUnwind::new(owner);
    unwinding(core, |own| own.set(payload.number));
    resume_unwind(Box::new(payload))
}

/// The caller's partner is gone without a result, and `error` is to report that. Returns `error`, unless the same
/// request ends the caller too: then unwinds the caller. See "A partner that is gone".
#[cold]
pub(crate) fn lost<E>(error: E) -> E {
    let core = current::current_core();
    if let Some(core) = core
        && core.is_ending_with_others()
    {
        // It runs, so it need not be queued.
        let _ = core.lifecycle.cancel();
    }
    raise_if_cancelled();
    error
}

impl Core {
    /// Whether a mask or a deadline holds for the running coroutine.
    #[inline]
    pub(crate) fn is_in_cancel_scope(&self) -> bool {
        !self.cancel_scope.get().is_null()
    }

    /// The running coroutine's body has ended. From now on until [`unmask_end`](Self::unmask_end), its waits are not
    /// interrupted (see "The end").
    #[inline]
    pub(crate) fn mask_end(&self) {
        self.cancel_scope.set(&raw const END);
    }

    /// Ends the scope of [`mask_end`](Self::mask_end): none of the coroutine's code is left to run.
    #[inline]
    pub(crate) fn unmask_end(&self) {
        self.cancel_scope.set(ptr::null());
    }

    /// The running coroutine was cancelled and is about to wait: cancels the children of its open scopes too. Does
    /// nothing if the coroutine masks its cancellation. Does nothing if it unwinds: the open scopes are then those in
    /// its destructors, which run to their end.
    #[cold]
    #[inline(never)]
    pub(crate) fn pass_cancellation_on(&self) {
        if !self.scopes.get().is_null() && !panicking() && is_to_end(Some(self)) {
            self.cancel_children();
        }
    }
}

/// Whether it is a deadline, and not cancellation, that interrupts the caller.
pub(crate) fn is_deadline_due() -> bool {
    let core = current::current_core();
    let masked = innermost(core).is_some_and(|cancel_scope| cancel_scope.masked);
    masked || !core.is_some_and(|core| core.lifecycle.is_cancelled())
}

/// Whether the caller unwinds because of a panic. The unwinding of a cancellation, or to a deadline's owner, is not one
/// and poisons nothing.
#[inline]
pub(crate) fn is_panicking() -> bool {
    panicking() && unwinding(current::current_core(), Cell::get) == 0
}

/// The runtime itself has caught a payload and will [`resume`] it. Until then the payload unwinds no code.
pub(crate) fn caught() {
    // Otherwise this is a destructor inside an outer unwinding, and the number may be that unwinding's.
    if !panicking() {
        unwinding(current::current_core(), |own| own.set(0));
    }
}

/// Continues an unwinding that was [`caught`].
pub(crate) fn resume(payload: Box<dyn Any + Send>) -> ! {
    if let Some(interrupt) = payload.downcast_ref::<InterruptUnwind>() {
        unwinding(current::current_core(), |own| own.set(interrupt.number));
    }
    resume_unwind(payload)
}

/// What an interrupted wait does to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// The caller unwinds, if it can.
    Unwinds,
    /// The caller returns an error number to C.
    Fails,
    /// The caller was interrupted before, and waits to the end.
    Stays,
}

/// The deadlines and the cancellation of one wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The wait's own deadline.
    own_ns: Option<u64>,
    /// The inherited deadline, if it comes before the wait's own.
    inherited_ns: Option<u64>,
    /// The owner of the inherited deadline.
    owner: usize,
    /// Whether the caller's cancellation interrupts the wait.
    cancellable: bool,
    /// Whether C was found to be in the way of the cancellation.
    held: bool,
    interrupted: OnInterrupt,
}

impl Limits {
    /// The limits of a wait with these parameters. A wait that is not cancellable inherits nothing.
    #[inline]
    pub(crate) fn of_wait(
        core: Option<&Core>,
        deadline_ns: Option<u64>,
        cancellable: bool,
        interrupted: OnInterrupt,
    ) -> Self {
        let own = Self {
            own_ns: deadline_ns,
            inherited_ns: None,
            owner: ITSELF,
            cancellable,
            held: false,
            interrupted,
        };
        match innermost(core) {
            Some(cancel_scope) if cancellable => own.within(cancel_scope),
            _ => own,
        }
    }

    #[inline(never)]
    fn within(self, cancel_scope: &CancelScope) -> Self {
        let is_first = cancel_scope.has_deadline() && self.own_ns.is_none_or(|own| cancel_scope.deadline_ns < own);
        Self {
            inherited_ns: is_first.then_some(cancel_scope.deadline_ns),
            owner: cancel_scope.owner,
            cancellable: !cancel_scope.masked,
            ..self
        }
    }

    /// The wait's own deadline.
    #[inline]
    pub(crate) fn own_ns(self) -> Option<u64> {
        self.own_ns
    }

    /// Whether the caller was interrupted before, and waits on.
    #[inline]
    pub(crate) fn stays(self) -> bool {
        self.interrupted == OnInterrupt::Stays
    }

    /// The inherited deadline that may interrupt the wait.
    #[inline]
    pub(crate) fn inherited_ns(self) -> Option<u64> {
        self.inherited_ns
    }

    /// The inherited deadline has passed. Returns whether that interrupts the wait. If not, the deadline no longer
    /// counts for this wait.
    #[cold]
    pub(crate) fn deadline_ends_wait(&mut self) -> bool {
        let ends = self.interrupted == OnInterrupt::Fails || gets_to(self.owner);
        if !ends {
            self.inherited_ns = None;
        }
        ends
    }

    /// The caller was cancelled. Returns whether that interrupts the wait. A wait that the request does not interrupt
    /// passes it on to the children of open scopes all the same, since these may have to provide what it waits for. If
    /// C is in the way, it does not: then it is as if the caller masked its cancellation.
    #[cold]
    pub(crate) fn is_given_up(&mut self, core: &Core) -> bool {
        self.held = self.held || self.cancellable && self.interrupted == OnInterrupt::Unwinds && !gets_to(ITSELF);
        if self.held {
            return false;
        }
        core.pass_cancellation_on();
        self.cancellable
    }
}
