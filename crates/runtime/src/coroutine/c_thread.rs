//! Which coroutines are threads to C, and who may wait for such a one and take its value?
//!
//! # Vocabulary
//! A coroutine that `pthread_create` has made (`hook/adopt.rs`) is a *thread of C*. Its *number* is its `pthread_t`:
//! the address of its identity, which lies at the top of its stack. POSIX lets the number stand for the thread until it
//! was joined, or has ended after it was detached. So the stack, and with it the number, is kept until then.
//!
//! # Protocol
//! The table has a record of each number. It is made before the coroutine is queued.
//!
//! | claim | becomes | by |
//! |---|---|---|
//! | `Open` | `Taken` | a join begins: there is one joiner at most |
//! | `Open` | `Over` | a detach |
//! | `Taken` | `Open` | a join gives up, since its time is over |
//! | `Taken` | `Over` | the join has seen the end, and takes the value |
//!
//! Two things must have happened before the stack may serve another coroutine: the claim is `Over`, and the successor
//! of the ended coroutine has left the stack here (`sched/arrive.rs`). Whichever comes second gives the stack to the
//! pool and removes the record. Both happen under the table's lock, so exactly one comes second.
//!
//! # The race
//! A joiner may go on as soon as the coroutine has completed, which is before its successor has taken the stack. It
//! then finds no stack in the record, leaves `Over` behind, and the successor gives the stack away. If the successor is
//! first, the joiner does.
//!
//! # Rejected
//! *A number that is no address of a stack*: `pthread_self` of the C library reads the identity, and would return
//! another one. *Keeping the coroutine alive until it is joined*: its destructors must run before a join returns.

use super::current::Critical;
use super::pool::pools;
use super::pool::stack::PooledStack;
use super::refs::CoreRef;
use crate::sys::StaticLock;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::c_void;

/// The longest name of a thread, with its NUL.
pub(crate) const NAME_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Open,
    Taken,
    Over,
}

struct ThreadRecord {
    /// `None` once nobody may wait for it any more.
    coroutine: Option<CoreRef>,
    value: usize,
    claim: Claim,
    /// What is left of a coroutine that has ended.
    end: Option<EndedStack>,
    name: Option<[u8; NAME_BYTES]>,
    /// Where the start routine's frames begin.
    bottom: usize,
}

/// The stack of a thread that has ended.
enum EndedStack {
    /// Its class, and the stack.
    Kept(u8, PooledStack),
    /// It cannot serve again, and was leaked.
    Lost,
}

static THREADS: StaticLock<BTreeMap<usize, ThreadRecord>> = StaticLock::new(BTreeMap::new());

fn with_threads<R>(f: impl FnOnce(&mut BTreeMap<usize, ThreadRecord>) -> R) -> R {
    let _critical = Critical::enter();
    f(&mut THREADS.lock())
}

/// Calls `f` with the record of a number, if it has one.
fn with_record<R>(number: usize, f: impl FnOnce(&mut ThreadRecord) -> R) -> Option<R> {
    with_threads(|threads| threads.get_mut(&number).map(f))
}

/// Notes a thread that is about to be queued.
pub(crate) fn insert(number: usize, coroutine: CoreRef) {
    let record = ThreadRecord {
        coroutine: Some(coroutine),
        value: 0,
        claim: Claim::Open,
        end: None,
        name: None,
        bottom: 0,
    };
    let old = with_threads(|threads| threads.insert(number, record));
    debug_assert!(
        old.is_none(),
        "a number is not handed out again while it stands for a thread"
    );
}

/// Stores the value of a thread that ends.
pub(crate) fn set_value(number: usize, value: *mut c_void) {
    with_record(number, |record| record.value = value.expose_provenance());
}

/// Notes where the start routine's frames begin.
pub(crate) fn set_bottom(number: usize, bottom: usize) {
    with_record(number, |record| record.bottom = bottom);
}

/// Where the start routine's frames begin.
pub(crate) fn bottom(number: usize) -> usize {
    with_record(number, |record| record.bottom).unwrap_or(0)
}

/// Begins a join. The caller waits for the coroutine, and then calls [`finish_join`] or [`give_up_join`]. `None`: it
/// cannot be joined, since the number is none of such a thread, or no longer, or it is detached, or another join waits.
pub(crate) fn begin_join(number: usize) -> Option<CoreRef> {
    with_record(number, |record| {
        let coroutine = record.coroutine.clone().filter(|_| record.claim == Claim::Open)?;
        record.claim = Claim::Taken;
        Some(coroutine)
    })?
}

/// The join's time is over.
pub(crate) fn give_up_join(number: usize) {
    with_record(number, |record| {
        debug_assert_eq!(record.claim, Claim::Taken);
        record.claim = Claim::Open;
    });
}

/// The coroutine has completed: takes its value.
pub(crate) fn finish_join(number: usize) -> *mut c_void {
    let value = end_claim(number, Claim::Taken).unwrap_or(0);
    std::ptr::with_exposed_provenance_mut(value)
}

/// Nobody will join the thread. `false`: it cannot be detached, as in [`begin_join`].
pub(crate) fn detach(number: usize) -> bool {
    end_claim(number, Claim::Open).is_some()
}

/// The claim, which was `from`, is over: one of the two steps after which the number is free. Returns the value.
fn end_claim(number: usize, from: Claim) -> Option<usize> {
    let (value, coroutine, ended) = with_threads(|threads| {
        let record = threads.get_mut(&number).filter(|record| record.claim == from)?;
        record.claim = Claim::Over;
        let (value, coroutine, end) = (record.value, record.coroutine.take(), record.end.take());
        if end.is_some() {
            threads.remove(&number);
        }
        Some((value, coroutine, end))
    })?;
    // Outside of the lock, since both go to pools that have their own.
    drop(coroutine);
    if let Some(end) = ended {
        give_away(end);
    }
    Some(value)
}

/// The coroutine of this number has ended: the other step. `pooled` is its stack, unless that is lost. The caller is
/// its successor.
#[cold]
pub(crate) fn ended(number: usize, class: u8, pooled: Option<PooledStack>) {
    let end = pooled.map_or(EndedStack::Lost, |pooled| EndedStack::Kept(class, pooled));
    let free = with_threads(|threads| match threads.get_mut(&number) {
        Some(record) if record.claim != Claim::Over => {
            record.end = Some(end);
            None
        }
        _ => {
            threads.remove(&number);
            Some(end)
        }
    });
    if let Some(end) = free {
        give_away(end);
    }
}

fn give_away(end: EndedStack) {
    if let EndedStack::Kept(class, pooled) = end {
        let _critical = Critical::enter();
        pools().give_stack(class, pooled);
    }
}

/// Names a thread of C. `false`: there is none of this number.
pub(crate) fn set_name(number: usize, name: [u8; NAME_BYTES]) -> bool {
    with_record(number, |record| record.name = Some(name)).is_some()
}

/// The name of a thread of C that has one.
pub(crate) fn name(number: usize) -> Option<[u8; NAME_BYTES]> {
    with_record(number, |record| record.name)?
}

/// Whether the number is that of a thread of C that has not ended.
pub(crate) fn is_alive(number: usize) -> bool {
    with_record(number, |record| record.end.is_none()).unwrap_or(false)
}

thread_local! {
    /// How many closures of [`native`] the caller is in.
    static NATIVE: Cell<u32> = const { Cell::new(0) };
}

/// Runs a closure whose `pthread_create` makes threads of the system in any case.
pub(crate) fn native<R>(f: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            NATIVE.set(NATIVE.get() - 1);
        }
    }
    NATIVE.set(NATIVE.get() + 1);
    let _leave = Leave;
    f()
}

/// Whether the caller is inside of [`native`].
pub(crate) fn is_native() -> bool {
    NATIVE.get() > 0
}
