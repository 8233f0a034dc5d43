//! Cancellation and deadlines, as code that waits sees them.
//!
//! # Vocabulary
//! A *regime* is what holds inside a closure of [`mask`] or [`until`]: whether cancellation is seen there, and the
//! earliest deadline that counts there. Regimes lie on the stack of who entered them and form a chain behind
//! `Core::cancel_scope` (or a thread-local of the OS thread); each holds the *effective* values, so a wait looks at the
//! innermost only, and one that is in no regime pays a load and a branch. A wait that is cut short by either is
//! *interrupted*: its outcome is `Cancelled`, and [`raise_if_cancelled`] finds out why.
//!
//! # Whose deadline
//! The effective deadline is the earliest of those outside that no mask hides, and its *owner* the [`until`] that
//! brought it. An unwinding that it causes names the owner in its payload; every [`until`] on the way passes it on
//! unless it is its own. So of two nested deadlines the one that came first gets its answer, also when both have passed
//! by then. A scope's child starts in a regime of the scope (`group.rs`), which lies in the parent's frame and holds
//! the parent's deadline; its owner is nobody on the child's stack, so the child cancels itself.
//!
//! # Swallowed unwindings
//! Neither a cancellation nor a deadline that has passed goes away, so somebody's `catch_unwind` only carries the
//! coroutine to its next blocking point. But from there on a panic is a panic again, and must poison what it should.
//! There is no event for "caught". There is one for "the payload is gone": it is owned by the unwinding, then by who
//! caught it. So the core holds the payload's number while the unwinding goes on, and the payload's destructor clears
//! it there, if it is still its own: an older payload that lies on the stack of a newer unwinding changes nothing. Code
//! that catches a payload and resumes it keeps it alive, which is right. If code stores a caught payload, or sends it
//! to another thread, later panics of the coroutine poison none of silken's locks until its next cancellation unwinds.
//! silken's own catches (`api/scope.rs`) use [`caught`] and [`resume`].
//!
//! While the caller unwinds nothing is raised, for a destructor's second panic would end the process.
//!
//! # Callbacks of C
//! An unwinding that a wait begins must not pass a C function that has called back (`qsort` and its comparator), nor a
//! Rust function with C's convention: it would skip what C has to do, or end the process. So a wait there is not
//! interrupted: it goes on as if it were masked, and the next one outside is. `silken_context::unwind` walks the stack
//! to see whether an unwinding *gets to its target*. Each reason has its own target: an [`until`] inside the callback
//! catches there, so it fires; the coroutine's cancellation targets the coroutine's entry, so it waits.
//!
//! It is asked when the reason is there and not before, for a walk costs microseconds; and *before the wait is settled*
//! as interrupted. So whoever is told `Cancelled` by such a wait can unwind, and [`raise_if_cancelled`] does. Rejected:
//! to settle first and then not to unwind. Each blocker would have to resume a wait that its waker believes to be over.
//! Waits of hooks (`wait::wait_or_fail`) end in an error number, unwind nothing, and are interrupted everywhere.
//!
//! # A partner that is gone
//! One request ends many: a scope's children one after the other, all coroutines of a runtime, all who keep to one
//! deadline. Who waits for another of them may hear of its end (a cancelled join, an abandoned promise, a closed
//! channel) before the request has reached itself. Example: `join` of a child whose inherited deadline has just ended
//! it; the parent's own timer fires a microsecond later, and meanwhile `unwrap` has panicked. So whoever is about to
//! report such a loss asks first whether the caller is to end by the same request ([`lost`]), and then unwinds it. That
//! the request concerns the caller can be seen wherever its effect has been seen: a deadline that has passed has passed
//! for all; the mark of a group, or of a runtime, is written before the first of its coroutines is cancelled, and what
//! ends a coroutine happens before its end is seen. Rejected: to wake the parent first. A parent that computes hears of
//! nothing, and then joins.
//!
//! # The end
//! Destructors that run when the body is over (thread-locals, coroutine-locals, a result that nobody takes, a closure
//! that was not called) have no frame above them that could catch, and what follows them is the runtime's duty to
//! joiners. A coroutine ends in a regime of its own that masks everything ([`Core::mask_end`]).

use super::core::Core;
use super::current::{self, Critical};
use super::local;
use crate::loom::static_atomic::{AtomicU32, Ordering};
use crate::sys::clock;
#[cfg(not(loom))]
use silken_context::unwind::{self, Target};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
#[cfg(not(loom))]
use std::sync::Once;
use std::thread::panicking;

/// Whether anything unwinds. A program with `panic = "abort"` in its profile compiles this crate so as well. Then no
/// wait is interrupted by an unwinding, as if C were in the way everywhere; the end of a runtime cancels nobody.
pub(crate) const UNWINDS: bool = cfg!(panic = "unwind");

/// No deadline.
const NEVER: u64 = u64::MAX;

/// The owner of a deadline that is no [`until`]'s on this stack, and of a cancellation.
const ITSELF: usize = 0;

/// In which a coroutine ends; see the head of the file.
static END: CancelScope = CancelScope {
    deadline_ns: NEVER,
    owner: ITSELF,
    masked: true,
};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct CancelScope {
    deadline_ns: u64,
    owner: usize,
    masked: bool,
}

/// The payload by which an interrupted wait unwinds; it passes no panic hook.
#[derive(Debug)]
pub(crate) struct ScopeUnwind {
    owner: usize,
    /// Distinct among those that live, and not 0.
    number: u32,
}

impl ScopeUnwind {
    fn new(owner: usize) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only distinctness matters.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        Self { owner, number }
    }
}

impl Drop for ScopeUnwind {
    fn drop(&mut self) {
        unwinding(current::current_core(), |own| {
            if own.get() == self.number {
                own.set(0);
            }
        });
    }
}

/// What a coroutine has in its core, for an OS thread.
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

/// The innermost regime of the caller.
#[inline]
fn innermost<'a>(core: Option<&Core>) -> Option<&'a CancelScope> {
    // SAFETY: S8: a regime stays in its frame until it is left; a child's outermost one lies in the scope, which waits
    // for the child. The caller does not keep the reference beyond a call of runtime code.
    unsafe { slot(core, Cell::get).as_ref() }
}

/// Whether the caller masks its cancellation.
pub(super) fn is_masked() -> bool {
    innermost(current::current_core()).is_some_and(|cancel_scope| cancel_scope.masked)
}

/// Calls `f` in a regime.
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

/// Calls `f`; inside, no cancellation and no deadline from outside is seen.
pub(crate) fn mask<R>(f: impl FnOnce() -> R) -> R {
    let cancel_scope = CancelScope {
        deadline_ns: NEVER,
        owner: ITSELF,
        masked: true,
    };
    enter(&cancel_scope, f)
}

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls what may run a user's destructors where nothing may unwind: a panic comes back, and no wait inside is cut
/// short.
pub(crate) fn contained<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(|| mask(f)))
}

/// Drops a panic's payload that nobody asks for. What its destructor panics with is leaked.
pub(crate) fn discard(payload: Payload) {
    if let Err(second) = contained(|| drop(payload)) {
        std::mem::forget(second);
    }
}

/// Calls `f`; inside, waits end at the deadline. `None` when that unwound `f`.
pub(crate) fn until<R>(deadline_ns: u64, f: impl FnOnce() -> R) -> Option<R> {
    // Its address is the owner's name: no other live one has it.
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
        Err(payload) => match payload.downcast_ref::<ScopeUnwind>() {
            Some(interrupt) if interrupt.owner == owner => None,
            _ => resume_unwind(payload),
        },
    }
}

/// The deadline that counts for the caller.
pub(crate) fn effective_deadline_ns() -> Option<u64> {
    innermost(current::current_core())
        .map(|cancel_scope| cancel_scope.deadline_ns)
        .filter(|deadline_ns| *deadline_ns != NEVER)
}

impl CancelScope {
    /// For those who will depend on the caller: they inherit its deadline, and no mask.
    pub(super) fn of_children() -> Self {
        Self {
            deadline_ns: effective_deadline_ns().unwrap_or(NEVER),
            owner: ITSELF,
            masked: false,
        }
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.deadline_ns != NEVER
    }
}

/// Whether the caller's cancellation was asked for, and no mask hides it.
fn is_to_end(core: Option<&Core>) -> bool {
    core.is_some_and(|core| core.lifecycle.is_cancelled())
        && !innermost(core).is_some_and(|cancel_scope| cancel_scope.masked)
}

/// Whether the caller is refused what it waits for: it was cancelled, or its time is up.
fn is_to_end_now(core: Option<&Core>) -> bool {
    is_to_end(core) || owner_out_of_time(core).is_some()
}

/// The owner of the caller's deadline, if that has passed.
fn owner_out_of_time(core: Option<&Core>) -> Option<usize> {
    innermost(core)
        .filter(|cancel_scope| cancel_scope.has_deadline() && cancel_scope.deadline_ns <= clock::now_ns())
        .map(|cancel_scope| cancel_scope.owner)
}

/// Whether an unwinding that begins here gets to the owner: see "Callbacks of C".
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
    // What the walk waits for, blocks the thread.
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

/// Models have no C between, and threads for coroutines.
#[cfg(loom)]
fn gets_to(_: usize) -> bool {
    true
}

/// Why the caller must not wait, if so, and can unwind for it: the owner of the deadline that has passed, or [`ITSELF`]
/// when it is cancelled.
fn interruption(core: Option<&Core>) -> Option<usize> {
    if is_to_end(core) && gets_to(ITSELF) {
        return Some(ITSELF);
    }
    owner_out_of_time(core).filter(|owner| gets_to(*owner))
}

/// Whether a wait of the caller's would be cut short now by an unwinding.
#[cold]
pub(crate) fn is_interrupted() -> bool {
    !panicking() && interruption(current::current_core()).is_some()
}

/// Unwinds the caller if it was cancelled, or if a deadline that it inherited has passed. Not while it unwinds already:
/// a destructor's waits run to their end; nor where a [`mask`] hides it, or C is in the way.
#[inline]
pub(crate) fn raise_if_cancelled() {
    let core = current::current_core();
    let cancelled = core.is_some_and(|core| core.lifecycle.is_cancelled());
    if cancelled || !slot(core, Cell::get).is_null() {
        raise_if_interrupted(core);
    }
}

/// As [`raise_if_cancelled`], for the running coroutine.
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
    let payload = ScopeUnwind::new(owner);
    unwinding(core, |own| own.set(payload.number));
    resume_unwind(Box::new(payload))
}

/// The caller's partner is gone without a result, as `error` is to say. Gives it back, unless the caller is to end by
/// the same request: then it unwinds. See "A partner that is gone".
#[cold]
pub(crate) fn lost<E>(error: E) -> E {
    let core = current::current_core();
    if let Some(core) = core
        && core.is_ending_with_others()
    {
        // It runs, so nobody has to queue it.
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

    /// The running coroutine's body is over: what still runs of it is not interrupted (see "The end"). Until
    /// [`unmask_end`](Self::unmask_end).
    #[inline]
    pub(crate) fn mask_end(&self) {
        self.cancel_scope.set(&raw const END);
    }

    /// Nothing of the coroutine is left to run.
    #[inline]
    pub(crate) fn unmask_end(&self) {
        self.cancel_scope.set(ptr::null());
    }

    /// The running coroutine was cancelled and is about to wait: the children of its open scopes are cancelled too,
    /// unless it masks that, or unwinds: then it is the scopes in its destructors that are open, and they run to their
    /// end.
    #[cold]
    #[inline(never)]
    pub(crate) fn pass_cancellation_on(&self) {
        if !self.scopes.get().is_null() && !panicking() && is_to_end(Some(self)) {
            self.cancel_children();
        }
    }
}

/// Whether it is a deadline, and not cancellation, that interrupts the caller.
pub(crate) fn is_out_of_time() -> bool {
    let core = current::current_core();
    let masked = innermost(core).is_some_and(|cancel_scope| cancel_scope.masked);
    masked || !core.is_some_and(|core| core.lifecycle.is_cancelled())
}

/// Whether the caller unwinds because of a panic. The unwinding of a cancellation, or to a deadline's owner, is none:
/// it poisons nothing.
#[inline]
pub(crate) fn is_panicking() -> bool {
    panicking() && unwinding(current::current_core(), Cell::get) == 0
}

/// A payload was caught by the runtime itself and will be [`resume`]d: until then it unwinds nobody.
pub(crate) fn caught() {
    // Else this is a destructor, and there is an outer unwinding, which the number may be about.
    if !panicking() {
        unwinding(current::current_core(), |own| own.set(0));
    }
}

/// Goes on with an unwinding that was [`caught`].
pub(crate) fn resume(payload: Box<dyn Any + Send>) -> ! {
    if let Some(interrupt) = payload.downcast_ref::<ScopeUnwind>() {
        unwinding(current::current_core(), |own| own.set(interrupt.number));
    }
    resume_unwind(payload)
}

/// What becomes of a caller whose wait is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// It unwinds, if it can.
    Unwinds,
    /// It says so to C.
    Fails,
    /// It was, and waits to the end.
    Stays,
}

/// What holds for one wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The wait's own deadline.
    own_ns: Option<u64>,
    /// The inherited one, if it comes first.
    inherited_ns: Option<u64>,
    /// Who the inherited one is of.
    owner: usize,
    /// Whether the caller's cancellation interrupts it.
    cancellable: bool,
    /// C has turned out to be in the way of the cancellation.
    held: bool,
    interrupted: Interrupted,
}

impl Limits {
    /// The limits of a wait that asks for these; what is not cancellable inherits nothing.
    #[inline]
    pub(crate) fn of_wait(
        core: Option<&Core>,
        deadline_ns: Option<u64>,
        cancellable: bool,
        interrupted: Interrupted,
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
        self.interrupted == Interrupted::Stays
    }

    /// The inherited deadline that may interrupt the wait.
    #[inline]
    pub(crate) fn inherited_ns(self) -> Option<u64> {
        self.inherited_ns
    }

    /// The inherited deadline has passed. Whether that interrupts the wait; if not, it counts no longer.
    #[cold]
    pub(crate) fn is_out_of_time(&mut self) -> bool {
        let ends = self.interrupted == Interrupted::Fails || gets_to(self.owner);
        if !ends {
            self.inherited_ns = None;
        }
        ends
    }

    /// The caller was cancelled. Whether that interrupts the wait. The request is passed on to the children of open
    /// scopes even by a wait that it does not interrupt, for what it waits for may be theirs to give; unless C is in
    /// the way: then it is as if it were masked.
    #[cold]
    pub(crate) fn is_given_up(&mut self, core: &Core) -> bool {
        self.held = self.held || self.cancellable && self.interrupted == Interrupted::Unwinds && !gets_to(ITSELF);
        if self.held {
            return false;
        }
        core.pass_cancellation_on();
        self.cancellable
    }
}
