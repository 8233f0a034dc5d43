//! What do the calls do that wait for message queues, and for semaphores and queues of System V?
//!
//! # Queues of POSIX (`mq_send`, `mq_receive`, and the timed forms)
//! Such a queue is a descriptor that the kernel can tell about. No flag of the call says "do not wait", but each call
//! takes a time at which to give up. So a try gives up at the beginning of the real-time clock: where the caller would
//! have to wait, the kernel answers ETIMEDOUT at once, or EAGAIN if the queue has O_NONBLOCK. After ETIMEDOUT the
//! coroutine waits for the descriptor (`driver::readiness`), and tries again. The caller's own time is converted to the
//! monotonic clock when the wait begins, so a step of the real-time clock during the wait does not move it.
//!
//! An interrupted wait fails, as on sockets (`interruption.rs`), after one last try.
//!
//! # Queues and semaphores of System V (`msgsnd`, `msgrcv`, `semop`, `semtimedop`)
//! They are no descriptors, and nothing tells when one could go on. They have IPC_NOWAIT: the call is tried with it,
//! and if it would wait, a thread of the offload pool makes it as the caller has asked, while the coroutine parks. That
//! wait is not interrupted, since the operation may happen at any moment. A signal does not end it with EINTR.
//!
//! Undo (`SEM_UNDO`) belongs to the process, whose threads share it, so it does not matter which thread calls.
//!
//! Calls by number (`syscall(SYS_msgrcv, …)`) pass.

use super::call::{answer, caller};
use crate::coroutine::{Outcome, budget};
use crate::driver::fd_table;
use crate::driver::readiness::Direction;
use crate::io::interruption::refused;
use crate::io::memory::faults;
use crate::offload;
use crate::sys::clock;
use crate::sys::ipc::{self, Message};
use crate::sys::raw::Errno;
use libc::{c_char, c_int, c_long, c_short, c_uint, c_void, mqd_t, sembuf, size_t, ssize_t, timespec};
use silken_interpose::next;

/// The most operations of a `semop` that are looked at here (SEMOPM as it is by default). A call with more passes.
const OPERATIONS_MAX: usize = 500;

/// The time of a try: it is past.
const PAST: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// Repeats `call` until it has moved a message, or fails, or the time has come. `None`: there is no time.
fn move_message(
    fd: mqd_t,
    direction: Direction,
    until_ns: Option<u64>,
    call: impl Fn(Option<&timespec>) -> Result<usize, Errno> + Copy + Send + 'static,
) -> Result<usize, Errno> {
    let Some(entry) = fd_table::entry(fd) else {
        return offload::try_wait_out(move || call(until(until_ns).as_ref()));
    };
    let deadline_ns = until_ns.map(|until_ns| {
        let left_ns = until_ns.saturating_sub(clock::clock_now_ns(libc::CLOCK_REALTIME));
        clock::now_ns().saturating_add(left_ns)
    });
    let mut is_last_try = false;
    loop {
        let seen = entry.look(direction);
        match call(Some(&PAST)) {
            Err(Errno::TIMEDOUT) => {}
            Err(Errno::INTR) => continue,
            result => return result,
        }
        if deadline_ns.is_some_and(|deadline_ns| clock::now_ns() >= deadline_ns) {
            return Err(Errno::TIMEDOUT);
        }
        entry.reset_if_stale(fd);
        match entry.readiness.wait(fd, direction, seen, deadline_ns) {
            Ok(Outcome::Woken | Outcome::TimedOut) => {}
            Ok(Outcome::Cancelled) if !std::mem::replace(&mut is_last_try, true) => {}
            Ok(Outcome::Cancelled) => return Err(refused()),
            Ok(Outcome::Closed) | Err(Errno::BADF) => return Err(Errno::BADF),
            Err(_) => return offload::try_wait_out(move || call(until(until_ns).as_ref())),
        }
    }
}

fn until(until_ns: Option<u64>) -> Option<timespec> {
    until_ns.map(clock::ns_to_timespec)
}

/// The time of a timed call in ns; `None`: there is none. `Err`: the kernel is to refuse it, or has to read it itself.
///
/// # Safety
/// S7: on a coroutine the fault handler is in place.
unsafe fn time_of(time: *const timespec) -> Result<Option<u64>, ()> {
    // SAFETY: S7: as the caller promises.
    if unsafe { faults(time, 1) } {
        return Err(());
    }
    // SAFETY: S5: null or the caller's, readable.
    match unsafe { time.as_ref() } {
        None => Ok(None),
        Some(time) => clock::timespec_to_ns(time).map(Some).ok_or(()),
    }
}

/// `mq_timedsend(3)`, and `mq_send(3)` without a time.
///
/// # Safety
/// S5, S7: the contract of the C function.
unsafe fn send(
    queue: mqd_t,
    bytes_at: *const c_char,
    bytes: size_t,
    priority: c_uint,
    until_ns: Option<u64>,
) -> Result<usize, Errno> {
    let message = Message {
        bytes_at: bytes_at.expose_provenance(),
        bytes,
        priority: priority as usize,
    };
    move_message(queue, Direction::Write, until_ns, move |until| {
        // SAFETY: S5: the caller lends the message, and waits until the call has ended.
        unsafe { ipc::mq_send(queue, message, until) }
    })
}

/// `mq_timedreceive(3)`, and `mq_receive(3)` without a time.
///
/// # Safety
/// S5, S7: the contract of the C function.
unsafe fn receive(
    queue: mqd_t,
    bytes_at: *mut c_char,
    bytes: size_t,
    priority: *mut c_uint,
    until_ns: Option<u64>,
) -> Result<usize, Errno> {
    let message = Message {
        bytes_at: bytes_at.expose_provenance(),
        bytes,
        priority: priority.expose_provenance(),
    };
    move_message(queue, Direction::Read, until_ns, move |until| {
        // SAFETY: S5: the caller lends the places, and waits until the call has ended.
        unsafe { ipc::mq_receive(queue, message, until) }
    })
}

/// # Safety
/// S5, S7: the contract of msgsnd.
unsafe fn send_message(queue: c_int, message: *const c_void, bytes: size_t, flags: c_int) -> Result<usize, Errno> {
    let message = message.expose_provenance();
    // SAFETY: S5: the caller lends the message, and waits until the call has ended.
    let call = move |flags| unsafe { ipc::msgsnd(queue, message, bytes, flags) };
    match call(flags | libc::IPC_NOWAIT) {
        Err(Errno::AGAIN) if flags & libc::IPC_NOWAIT == 0 => offload::try_wait_out(move || call(flags)),
        result => result,
    }
}

/// # Safety
/// S5, S7: the contract of msgrcv.
unsafe fn receive_message(
    queue: c_int,
    message: *mut c_void,
    bytes: size_t,
    kind: c_long,
    flags: c_int,
) -> Result<usize, Errno> {
    let message = message.expose_provenance();
    // SAFETY: S5: the caller lends the message, and waits until the call has ended.
    let call = move |flags| unsafe { ipc::msgrcv(queue, message, bytes, kind, flags) };
    // A copy never waits, and is refused without IPC_NOWAIT.
    if flags & (libc::IPC_NOWAIT | libc::MSG_COPY) != 0 {
        return call(flags);
    }
    match call(libc::IPC_NOWAIT | flags) {
        Err(Errno(libc::ENOMSG)) => offload::try_wait_out(move || call(flags)),
        result => result,
    }
}

/// # Safety
/// S5, S7: the contract of semtimedop; the operations can be read.
unsafe fn operate(
    set: c_int,
    operations: *const sembuf,
    count: size_t,
    timeout_ns: Option<u64>,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends them, and they can be read.
    let mut tried = unsafe { std::slice::from_raw_parts(operations, count) }.to_vec();
    let never_waits = |operation: &sembuf| c_int::from(operation.sem_flg) & libc::IPC_NOWAIT != 0;
    let waits = !tried.iter().all(never_waits);
    for operation in &mut tried {
        operation.sem_flg |= libc::IPC_NOWAIT as c_short;
    }
    // SAFETY: S5: a copy that lives during the call.
    match unsafe { ipc::semtimedop(set, tried.as_ptr().addr(), count, None) } {
        Err(Errno::AGAIN) if waits && timeout_ns != Some(0) => {}
        result => return result,
    }
    let deadline_ns = timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns));
    let operations = operations.expose_provenance();
    offload::try_wait_out(move || {
        let left_ns = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(clock::now_ns()));
        // SAFETY: S5: the caller lends the operations, and waits until the call has ended.
        unsafe { ipc::semtimedop(set, operations, count, until(left_ns).as_ref()) }
    })
}

/// Whether a `semop` with these operations is left to the kernel, which refuses it or reads them itself.
///
/// # Safety
/// S7: on a coroutine the fault handler is in place.
unsafe fn is_for_kernel(operations: *const sembuf, count: size_t) -> bool {
    // SAFETY: S7: as the caller promises.
    operations.is_null() || !(1..=OPERATIONS_MAX).contains(&count) || unsafe { faults(operations, count) }
}

/// `mq_send(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn mq_send(
    queue: mqd_t,
    message: *const c_char,
    bytes: size_t,
    priority: c_uint,
) -> c_int {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::mq_send(queue, message, bytes, priority) };
    }
    budget::spend();
    // SAFETY: S5, S7: the caller's arguments under the caller's contract.
    answer(unsafe { send(queue, message, bytes, priority, None) }) as c_int
}

/// `mq_timedsend(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn mq_timedsend(
    queue: mqd_t,
    message: *const c_char,
    bytes: size_t,
    priority: c_uint,
    time: *const timespec,
) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    let until_ns = caller().ok_or(()).and_then(|_| unsafe { time_of(time) });
    let Ok(until_ns) = until_ns else {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::mq_timedsend(queue, message, bytes, priority, time) };
    };
    budget::spend();
    // SAFETY: S5, S7: the caller's arguments under the caller's contract.
    answer(unsafe { send(queue, message, bytes, priority, until_ns) }) as c_int
}

/// `mq_receive(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn mq_receive(
    queue: mqd_t,
    message: *mut c_char,
    bytes: size_t,
    priority: *mut c_uint,
) -> ssize_t {
    if caller().is_none() {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::mq_receive(queue, message, bytes, priority) };
    }
    budget::spend();
    // SAFETY: S5, S7: the caller's arguments under the caller's contract.
    answer(unsafe { receive(queue, message, bytes, priority, None) })
}

/// `mq_timedreceive(3)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn mq_timedreceive(
    queue: mqd_t,
    message: *mut c_char,
    bytes: size_t,
    priority: *mut c_uint,
    time: *const timespec,
) -> ssize_t {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    let until_ns = caller().ok_or(()).and_then(|_| unsafe { time_of(time) });
    let Ok(until_ns) = until_ns else {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::mq_timedreceive(queue, message, bytes, priority, time) };
    };
    budget::spend();
    // SAFETY: S5, S7: the caller's arguments under the caller's contract.
    answer(unsafe { receive(queue, message, bytes, priority, until_ns) })
}

super::call::hooks! {
    /// `msgsnd(2)`.
    fn msgsnd(queue: c_int, message: *const c_void, bytes: size_t, flags: c_int) -> c_int {
        send_message(queue, message, bytes, flags)
    }
    /// `msgrcv(2)`.
    fn msgrcv(queue: c_int, message: *mut c_void, bytes: size_t, kind: c_long, flags: c_int) -> ssize_t {
        receive_message(queue, message, bytes, kind, flags)
    }
}

/// `semop(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn semop(set: c_int, operations: *mut sembuf, count: size_t) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || unsafe { is_for_kernel(operations, count) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::semop(set, operations, count) };
    }
    budget::spend();
    // SAFETY: S5, S7: the caller's arguments, readable.
    answer(unsafe { operate(set, operations, count, None) }) as c_int
}

/// `semtimedop(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(super) unsafe extern "C" fn semtimedop(
    set: c_int,
    operations: *mut sembuf,
    count: size_t,
    timeout: *const timespec,
) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    let timeout_ns = caller().ok_or(()).and_then(|_| unsafe { time_of(timeout) });
    // SAFETY: S7: as above, where there is a caller.
    let timeout_ns = timeout_ns.and_then(|timeout_ns| match unsafe { is_for_kernel(operations, count) } {
        true => Err(()),
        false => Ok(timeout_ns),
    });
    let Ok(timeout_ns) = timeout_ns else {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::semtimedop(set, operations, count, timeout) };
    };
    budget::spend();
    // SAFETY: S5, S7: the caller's arguments, readable.
    answer(unsafe { operate(set, operations, count, timeout_ns) }) as c_int
}
