//! How the set-id family (`setuid`, `setresgid`, `setgroups`, …) works although workers run under coroutines'
//! identities.
//!
//! # The difficulty
//! User and group ids belong to a thread in the kernel and to the process in POSIX. So in such a call glibc marks every
//! thread in its list and sends each a signal (SIGSETXID, 33). Its handler makes the system call on that thread and
//! clears the mark **in the control block that the thread pointer designates**. Then the caller counts the answers, and
//! signals every thread that is still marked again. A worker that runs an isolated coroutine has the coroutine's thread
//! pointer. So glibc's handler alone would clear the mark in the coroutine's block, not in the worker's, and the caller
//! would signal for ever.
//!
//! # Protocol
//! The runtime installs a handler of its own for the signal. This handler loads the thread pointer of the interrupted
//! worker, calls glibc's handler, and loads the coroutine's thread pointer again. glibc's function touches that control
//! block, a futex word in it and the record of the call, nothing else: no errno, no thread-local, no allocation. All
//! signals are blocked meanwhile, so no other code sees the coroutine's code under the worker's identity. The handler
//! runs on the worker's alternate stack.
//!
//! Workers are found by their thread numbers in a list that only grows. A row belongs to a worker while the worker's
//! thread number is in it. Threads without a row always run under their own identity.
//!
//! *The caller.* On a coroutine, glibc's "all but myself" does not recognise the worker's thread, and signals it like
//! the others. The handler makes the system call there once, and the caller makes it once more at the end. Nothing else
//! is different.
//!
//! *Races.* The interrupted code may be anywhere: in a critical section, between two instructions of a switch, in the
//! runtime under a block that is being built. The handler restores the thread pointer to its former value, whatever
//! that was. A worker that starts or ends meanwhile runs under its own identity outside its [`Registration`]. If a mark
//! was not cleared, for whatever reason, glibc signals again.
//!
//! # Rejected
//! *Hooking the family and asking each worker by a signal of the runtime's own to run under its own identity until the
//! call is over*: two signals, a lock, waits with time limits and an error that programs do not know, for the same
//! effect; and calls inside libc (`initgroups`) and by libraries bound otherwise would bypass it. *Making the caller's
//! system call on each worker in the runtime*: glibc's own threads would have to be served as well.

use super::raw::{self, Errno};
use super::signal;
use crate::loom::static_atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use libc::{c_int, c_ulong, c_void, pid_t, siginfo_t};
use silken_context::switch;
use std::ptr;

/// glibc's signal for the family; the C library's `sigaction` does not accept it.
const SIGSETXID: c_int = 33;

/// The kernel's `struct sigaction`, which differs from the C library's.
#[repr(C)]
#[derive(Clone, Copy)]
struct Action {
    handler: usize,
    flags: c_ulong,
    restorer: usize,
    mask: u64,
}

/// Not a thread number: the row is free.
const FREE: pid_t = 0;
/// Not a thread number: a worker is filling the row in.
const CLAIMED: pid_t = -1;

struct Row {
    tid: AtomicI32,
    /// The thread pointer of the worker's own identity.
    base: AtomicUsize,
    next: *const Row,
}

static ROWS: AtomicPtr<Row> = AtomicPtr::new(ptr::null_mut());

/// glibc's handler; 0 until it has been replaced.
static NEXT_HANDLER: AtomicUsize = AtomicUsize::new(0);

fn rows() -> impl Iterator<Item = &'static Row> {
    // Acquire: pairs with the Release in `new_row`.
    let first = ROWS.load(Ordering::Acquire);
    // SAFETY: S6: null or a row that lives for ever.
    let first = unsafe { first.cast_const().as_ref() };
    // SAFETY: S6: as above; the field is written before the row is published, and never after.
    std::iter::successors(first, |row| unsafe { row.next.as_ref() })
}

fn new_row() -> &'static Row {
    // Relaxed: the exchange below decides.
    let mut first = ROWS.load(Ordering::Relaxed);
    let row = Box::into_raw(Box::new(Row {
        tid: AtomicI32::new(CLAIMED),
        base: AtomicUsize::new(0),
        next: ptr::null(),
    }));
    loop {
        // SAFETY: S6: not published yet.
        unsafe { (*row).next = first };
        // Release: pairs with the Acquire in `rows`: the row is whole.
        match ROWS.compare_exchange(first, row, Ordering::Release, Ordering::Relaxed) {
            // SAFETY: S6: it lives for ever, and only its atomics change.
            Ok(_) => return unsafe { &*row },
            Err(current) => first = current,
        }
    }
}

/// Marks the calling thread as a worker's: it may run under other identities while this lives.
pub(crate) struct Registration(&'static Row);

/// Registers a worker's thread. The thread calls it under its own identity, before it runs a coroutine, and drops the
/// result after the last coroutine.
pub(crate) fn register_worker_thread() -> Registration {
    // Acquire: pairs with the Release in `drop`, so that its stores come before ours. Relaxed on failure: another row
    // is tried.
    let free = |row: &&Row| {
        row.tid
            .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    };
    let row = rows().find(free).unwrap_or_else(new_row);
    // Relaxed: read by this thread's own handler, and by `is_worker`, which asks for no more than a number.
    row.base.store(switch::identity_base(), Ordering::Relaxed);
    // Release: pairs with the handler on this very thread, which must see the base before the number, and with the
    // Acquire in `is_worker`, on any thread.
    row.tid.store(signal::gettid(), Ordering::Release);
    take_the_signal();
    Registration(row)
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `register_worker_thread`.
        self.0.tid.store(FREE, Ordering::Release);
    }
}

/// Whether `thread` is the `pthread_t` of a worker.
pub(crate) fn is_worker(thread: usize) -> bool {
    // Acquire: pairs with the Release in `register_worker_thread`.
    rows().any(|row| row.tid.load(Ordering::Acquire) > 0 && row.base.load(Ordering::Relaxed) == thread)
}

/// The thread pointer of the worker on whose thread the caller runs; `None` if the thread is not a worker's.
pub(crate) fn own_base() -> Option<usize> {
    if super::process::is_forked() {
        // The rows name threads of the parent.
        return None;
    }
    let tid = signal::gettid();
    // Acquire: pairs with the Release in `register_worker_thread`.
    let row = rows().find(|row| row.tid.load(Ordering::Acquire) == tid)?;
    // Relaxed: written by this thread.
    Some(row.base.load(Ordering::Relaxed))
}

/// Exchanges the kernel's action for the signal.
///
/// # Safety
/// S6: a new handler keeps the rules of handlers.
unsafe fn exchange(new: Option<&Action>) -> Result<Action, Errno> {
    let mut old = Action {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let new = new.map_or(0, |new| ptr::from_ref(new) as usize);
    let arguments = (SIGSETXID as usize, (&raw mut old) as usize, size_of::<u64>());
    // SAFETY: S5: both are live for the call, and as the kernel lays them out; S6: the caller answers for the handler.
    unsafe { raw::syscall4(libc::SYS_rt_sigaction, arguments.0, new, arguments.1, arguments.2) }?;
    Ok(old)
}

/// Puts the runtime's handler before glibc's, which exists as soon as the process has made a thread. Each worker calls
/// this: a later caller finds the runtime's handler. Two simultaneous callers store the same address.
fn take_the_signal() {
    let ours = on_set_id as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
    // SAFETY: S6: only asks.
    let Ok(theirs) = (unsafe { exchange(None) }) else {
        return;
    };
    let has_handler = theirs.handler != libc::SIG_DFL && theirs.handler != libc::SIG_IGN;
    if theirs.handler == ours || !has_handler || theirs.flags & libc::SA_SIGINFO as c_ulong == 0 {
        return;
    }
    // Release: pairs with the Acquire in `deliver`.
    NEXT_HANDLER.store(theirs.handler, Ordering::Release);
    let action = Action {
        handler: ours,
        flags: theirs.flags | libc::SA_ONSTACK as c_ulong,
        mask: u64::MAX,
        ..theirs
    };
    // SAFETY: S6: `on_set_id` makes raw system calls, reads atomics, and calls glibc's handler, which is made for this.
    let _ = unsafe { exchange(Some(&action)) };
}

/// The arguments of a handler.
struct Delivery {
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
}

unsafe extern "C" fn deliver(delivery: *mut u8) {
    // SAFETY: S6: `on_set_id` lends its own for the length of the call.
    let delivery = unsafe { &*delivery.cast::<Delivery>() };
    // Acquire: pairs with the Release in `take_the_signal`.
    let next = NEXT_HANDLER.load(Ordering::Acquire);
    // SAFETY: S6: stored before our handler was set, and a handler of three arguments, as its flag said.
    let next = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(next) };
    next(delivery.signal, delivery.info, delivery.context);
}

extern "C" fn on_set_id(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let mut delivery = Delivery { signal, info, context };
    let argument = (&raw mut delivery).cast();
    match own_base() {
        Some(base) if base != switch::identity_base() => {
            // SAFETY: S3: the worker's own block, complete, and its thread is this one; it differs from the one that is
            // loaded, so the CPU can write the thread pointer. S4: glibc's handler does not unwind, and it does not
            // suspend.
            unsafe { switch::with_identity(base, deliver, argument) }
        }
        // SAFETY: S6: lends its own.
        _ => unsafe { deliver(argument) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_while_its_thread_is_registered() {
        std::thread::spawn(|| {
            let own = switch::identity_base();
            assert!(!is_worker(own) && own_base().is_none());
            let registration = register_worker_thread();
            assert_eq!(own_base(), Some(own));
            assert!(is_worker(own));
            assert!(std::thread::spawn(|| own_base().is_none()).join().unwrap());
            drop(registration);
            assert!(!is_worker(own) && own_base().is_none());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_signal_is_taken_once_and_passed_on() {
        std::thread::spawn(|| {
            let _registration = register_worker_thread();
            // SAFETY: S6: only asks.
            let first = unsafe { exchange(None) }.unwrap();
            take_the_signal();
            // SAFETY: S6: only asks.
            let second = unsafe { exchange(None) }.unwrap();
            let ours = on_set_id as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
            assert_eq!((first.handler, second.handler), (ours, ours));
            // Relaxed: this thread stored it, or another before it registered.
            assert!(![0, ours].contains(&NEXT_HANDLER.load(Ordering::Relaxed)));
            // glibc's handler is reached: the call returns, on all threads, with the ids that it had.
            // SAFETY: S7: "unchanged" three times.
            assert_eq!(unsafe { libc::setresuid(u32::MAX, u32::MAX, u32::MAX) }, 0);
        })
        .join()
        .unwrap();
    }
}
