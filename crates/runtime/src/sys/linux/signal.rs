//! How the runtime handles signals: handlers, the stacks that they run on, and signals to one thread.
//!
//! `sigaction` is libc's: nobody interposes it, and it supplies the restorer through which a handler returns. Signal
//! handlers may not install handlers; they may call [`gettid`], [`thread_name`] and [`tgkill`] (S6).
//!
//! A handler for an overflow cannot run on the stack that overflowed, so each worker has an [`AltStack`]. The alternate
//! stack has a guard page of its own (S9): a handler that overflows it faults instead of writing over adjacent memory.
//! `sigaltstack` is per thread, so the value stays on its thread (`!Send`). Dropping it restores what was there before,
//! which on std's threads is std's alternate stack.

use std::io;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_void, pid_t, siginfo_t, sigset_t, stack_t};

use super::raw::{self, Errno};

/// A handler in the three-argument form.
pub(crate) type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Sets the process's handler of `signal`, with an empty mask, and returns the action that was there, for chaining or
/// for [`restore`]. `SA_SIGINFO` is added to `flags`.
///
/// # Safety
/// S6: `handler` does only what a signal handler may do, on any thread that can receive `signal`, at any instruction.
pub(crate) unsafe fn install(signal: c_int, handler: Handler, flags: c_int) -> io::Result<libc::sigaction> {
    // SAFETY: S6: all zeros is the default action with an empty mask.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = handler as usize;
    new.sa_flags = flags | libc::SA_SIGINFO;
    // SAFETY: S6: the caller answers for the handler.
    unsafe { replace(signal, &new) }
}

#[cfg(any(test, not(feature = "interpose")))]
/// Restores an action that [`install`] returned.
///
/// # Safety
/// S6: as [`install`]; the action's handler is still there.
pub(crate) unsafe fn restore(signal: c_int, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: S6: the caller answers for the action.
    unsafe { replace(signal, action) }.map(drop)
}

/// # Safety
/// S6: as [`install`].
unsafe fn replace(signal: c_int, new: &libc::sigaction) -> io::Result<libc::sigaction> {
    // SAFETY: S6: all zeros is a valid action, about to be overwritten.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: S6: both are live for the call; the caller answers for the handler.
    match unsafe { libc::sigaction(signal, new, &mut old) } {
        0 => Ok(old),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The process's action for `signal`. `None`: there is no such signal.
pub(crate) fn action_of(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: S6: all zeros is a valid action, about to be overwritten.
    let mut present: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: S6: asks only; the place is live for the call.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &mut present) };
    (result == 0).then_some(present)
}

/// The handler of an action, unless that is the default, or to ignore the signal. Pass it the kernel's arguments; a
/// handler of one argument ignores the others.
///
/// # Safety
/// S6: the action is one that [`install`] or [`action_of`] returned.
pub(crate) unsafe fn handler_of(action: &libc::sigaction) -> Option<Handler> {
    match action.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => None,
        // SAFETY: S6: what is neither is the address of a handler, by the caller's promise.
        handler => Some(unsafe { std::mem::transmute::<usize, Handler>(handler) }),
    }
}

/// Where handlers of `signal` return to: the C library's function that ends a handler, the same for all signals.
/// `None`: the signal has no handler.
pub(crate) fn restorer_of(signal: c_int) -> Option<usize> {
    /// The kernel's `struct sigaction`, whose order of fields is another than the C library's.
    #[repr(C)]
    #[derive(Default)]
    struct Action {
        handler: usize,
        flags: usize,
        restorer: usize,
        mask: u64,
    }
    let mut present = Action::default();
    // SAFETY: S6: asks only; a live place of the kernel's size.
    let asked = unsafe {
        raw::syscall4(
            libc::SYS_rt_sigaction,
            signal as usize,
            0,
            (&raw mut present) as usize,
            KERNEL_SET_BYTES,
        )
    };
    asked
        .is_ok()
        .then_some(present.restorer)
        .filter(|restorer| *restorer != 0)
}

/// Opens `signal` for the calling thread. Returns the set of signals that are blocked afterwards: bit n - 1 is signal
/// n.
pub(crate) fn unblock(signal: c_int) -> u64 {
    let open: u64 = 1 << (signal - 1);
    let mut before: u64 = 0;
    // SAFETY: S5: two live words of the kernel's size. It cannot fail.
    let _ = unsafe {
        raw::syscall4(
            libc::SYS_rt_sigprocmask,
            libc::SIG_UNBLOCK as usize,
            (&raw const open) as usize,
            (&raw mut before) as usize,
            KERNEL_SET_BYTES,
        )
    };
    before & !open
}

/// This thread's number in the kernel.
pub(crate) fn gettid() -> pid_t {
    // SAFETY: S5: names no memory. It cannot fail, so 0 is never seen.
    unsafe { raw::syscall0(libc::SYS_gettid) }.unwrap_or(0) as pid_t
}

/// The size of a thread's name in the kernel, with its NUL.
pub(crate) const THREAD_NAME_BYTES: usize = 16;

/// This thread's name in the kernel. For signal handlers too (S6).
pub(crate) fn thread_name(place: &mut [u8; THREAD_NAME_BYTES]) -> &str {
    // SAFETY: S5: the kernel writes at most 16 bytes.
    let asked = unsafe { raw::syscall2(libc::SYS_prctl, libc::PR_GET_NAME as usize, place.as_mut_ptr() as usize) };
    let length = place.iter().position(|byte| *byte == 0).unwrap_or(place.len());
    match asked {
        Ok(_) => std::str::from_utf8(&place[..length]).unwrap_or("?"),
        Err(_) => "?",
    }
}

/// Sends `signal` to the thread `tid` of this process. If a thread of another process has taken over the number, it
/// gets nothing and the result is ESRCH.
pub(crate) fn tgkill(tid: pid_t, signal: c_int) -> Result<(), Errno> {
    // SAFETY: S5: names no memory. It cannot fail. Asked each time, since a fork changes it.
    let process = unsafe { raw::syscall0(libc::SYS_getpid) }?;
    // SAFETY: S6: names no memory; what runs is a handler that its installer answered for.
    unsafe { raw::syscall3(libc::SYS_tgkill, process, tid as usize, signal as usize) }.map(drop)
}

/// Queues `signal` with a value for the thread `tid` of this process, as `pthread_sigqueue(3)` does.
pub(crate) fn queue(tid: pid_t, signal: c_int, value: usize) -> Result<(), Errno> {
    /// A `siginfo_t` as the kernel reads it of a queued signal.
    #[repr(C)]
    struct Queued {
        signal: c_int,
        error: c_int,
        code: c_int,
        padding: c_int,
        pid: pid_t,
        uid: c_int,
        value: usize,
        rest: [usize; 12],
    }
    const _: () = assert!(size_of::<Queued>() == size_of::<siginfo_t>());
    // SAFETY: S5: names no memory. It cannot fail. Asked each time, since a fork changes it.
    let process = unsafe { raw::syscall0(libc::SYS_getpid) }?;
    // SAFETY: S5: names no memory. It cannot fail.
    let user = unsafe { raw::syscall0(libc::SYS_getuid) }?;
    let record = Queued {
        signal,
        error: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        pid: process as pid_t,
        uid: user as c_int,
        value,
        rest: [0; 12],
    };
    let record = (&raw const record) as usize;
    // SAFETY: S5: a live record; S6: what runs is a handler that its installer answered for.
    unsafe {
        raw::syscall4(
            libc::SYS_rt_tgsigqueueinfo,
            process,
            tid as usize,
            signal as usize,
            record,
        )
    }
    .map(drop)
}

/// The value that came with a signal that was queued (`SI_QUEUE`).
///
/// # Safety
/// S6: `info` is what the kernel passed to the running handler.
pub(crate) unsafe fn mark_of(info: *const siginfo_t) -> Option<usize> {
    // SAFETY: S6: the kernel's record, valid while the handler runs, by the caller's promise.
    let info = unsafe { &*info };
    // SAFETY: S6: a queued signal has a value.
    (info.si_code == libc::SI_QUEUE).then(|| unsafe { info.si_value() }.sival_ptr.addr())
}

/// Whether the kernel had no room for what came with the signal: the limit of queued signals (`ulimit -i`) is reached.
/// Then a signal that was queued looks as if nobody had sent it.
///
/// # Safety
/// S6: `info` is what the kernel passed to the running handler.
pub(crate) unsafe fn has_lost_its_sender(info: *const siginfo_t) -> bool {
    // SAFETY: S6: the kernel's record, valid while the handler runs, by the caller's promise.
    let info = unsafe { &*info };
    // SAFETY: S6: a signal of this code has this number.
    let pid = unsafe { info.si_pid() };
    // SAFETY: S6: a signal of this code has this number.
    let uid = unsafe { info.si_uid() };
    info.si_code == libc::SI_USER && pid == 0 && uid == 0
}

/// The signals by which the C library changes ids, and cancels, on each thread of the process.
pub(crate) const OF_C_LIBRARY: u64 = 1 << (32 - 1) | 1 << (33 - 1);

/// Sets the signals that are blocked for the calling thread: bit n - 1 is signal n.
pub(crate) fn set_blocked(blocked: u64) {
    // SAFETY: S5: a live word of the kernel's size. It cannot fail.
    let _ = unsafe {
        raw::syscall4(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            (&raw const blocked) as usize,
            0,
            KERNEL_SET_BYTES,
        )
    };
}

/// What a thread inherits from the one that makes it: the blocked signals, and the CPUs on which it may run.
#[derive(Debug)]
pub(crate) struct Heritage {
    blocked: u64,
    cores: [u64; Heritage::WORDS],
    /// How many bytes of `cores` the kernel has filled; 0: it would not tell.
    bytes: usize,
}

impl Heritage {
    /// Room for 8,192 cores, the most that the kernel can be built for.
    const WORDS: usize = 128;

    /// What threads inherit that the caller makes.
    pub(crate) fn of_caller() -> Self {
        let mut heritage = Self {
            blocked: 0,
            cores: [0; Self::WORDS],
            bytes: 0,
        };
        let blocked = (&raw mut heritage.blocked) as usize;
        // SAFETY: S5: a live word of the kernel's size. It cannot fail.
        let _ = unsafe { raw::syscall4(libc::SYS_rt_sigprocmask, 0, 0, blocked, KERNEL_SET_BYTES) };
        let (cores, room) = ((&raw mut heritage.cores) as usize, size_of_val(&heritage.cores));
        // SAFETY: S5: a live place of that size. 0 is the calling thread.
        let filled = unsafe { raw::syscall3(libc::SYS_sched_getaffinity, 0, room, cores) };
        heritage.bytes = filled.unwrap_or(0);
        heritage
    }

    /// Makes the calling thread as if it had inherited from that one; the cores only if `with_cores`.
    pub(crate) fn take_on(&self, with_cores: bool) {
        if with_cores {
            self.stay_on(&self.cores);
        }
        set_blocked(self.blocked);
    }

    /// Whether both may run on the same cores.
    pub(crate) fn has_same_cores(&self, other: &Self) -> bool {
        self.cores == other.cores
    }

    /// Lets the calling thread run on one core only: the one of this number, among those of the heritage, in turn.
    pub(crate) fn pin_to(&self, number: usize) {
        let all = (0..8 * self.bytes).filter(|core| self.cores[core / 64] >> (core % 64) & 1 != 0);
        let count = all.clone().count();
        if let Some(core) = number.checked_rem(count).and_then(|number| all.clone().nth(number)) {
            let mut one = [0; Self::WORDS];
            one[core / 64] = 1 << (core % 64);
            self.stay_on(&one);
        }
    }

    fn stay_on(&self, cores: &[u64; Self::WORDS]) {
        if self.bytes != 0 {
            let cores = ptr::from_ref(cores) as usize;
            // SAFETY: S5: a live set. An error leaves the thread where it may run now.
            let _ = unsafe { raw::syscall3(libc::SYS_sched_setaffinity, 0, self.bytes, cores) };
        }
    }
}

/// The size of the kernel's signal set in bytes, which is smaller than the C library's.
pub(crate) const KERNEL_SET_BYTES: usize = 8;

/// `rt_sigtimedwait(2)`: takes a signal of the set that is pending for this thread or the process. Waits up to
/// `timeout_ns` (`None`: for ever).
///
/// # Safety
/// S5: `set` may be read, `info` is null or may be written, until the call returns.
pub(crate) unsafe fn take_pending(
    set: *const sigset_t,
    info: *mut siginfo_t,
    timeout_ns: Option<u64>,
) -> Result<usize, Errno> {
    let timeout = timeout_ns.map(super::clock::ns_to_timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: S5: the caller lends both; the timeout is a live local.
    let taken = unsafe {
        raw::syscall4(
            libc::SYS_rt_sigtimedwait,
            set as usize,
            info as usize,
            timeout as usize,
            KERNEL_SET_BYTES,
        )
    }?;
    // SAFETY: S5: the caller's contract; the kernel has just written it.
    if let Some(info) = unsafe { info.as_mut() } {
        // As the C library does it: it does not show how a signal was sent to a thread.
        if info.si_code == libc::SI_TKILL {
            info.si_code = libc::SI_USER;
        }
    }
    Ok(taken)
}

/// `signalfd4(2)`: makes a new descriptor, non-blocking.
///
/// # Safety
/// S5: `set` may be read until the call returns.
pub(crate) unsafe fn descriptor(set: *const sigset_t) -> Result<RawFd, Errno> {
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: S5: the caller lends the set.
    unsafe {
        raw::syscall4(
            libc::SYS_signalfd4,
            usize::MAX,
            set as usize,
            KERNEL_SET_BYTES,
            flags as usize,
        )
    }
    .map(|fd| fd as RawFd)
}

/// Waits until a handler has run on this thread; under another mask if one is given (`rt_sigsuspend(2)`, `pause(2)`).
pub(crate) fn suspend(mask: Option<&sigset_t>) -> Result<usize, Errno> {
    match mask {
        // SAFETY: S6: a live set; what runs are handlers that their installers answered for.
        Some(mask) => unsafe { raw::syscall2(libc::SYS_rt_sigsuspend, ptr::from_ref(mask) as usize, KERNEL_SET_BYTES) },
        // SAFETY: S6: a live set.
        None => unsafe { raw::syscall0(libc::SYS_pause) },
    }
}

/// An alternate signal stack of this thread, with a guard page below it.
#[derive(Debug)]
pub(crate) struct AltStack {
    mapping: Mapping,
    previous: stack_t,
    not_send: PhantomData<*mut ()>,
}

impl AltStack {
    /// Maps at least `stack_bytes_min`, plus the space that the CPU's register state needs (`AT_MINSIGSTKSZ`: AVX-512
    /// and AMX outgrow the constant `MINSIGSTKSZ`), and makes it this thread's alternate stack. Fails if the caller
    /// runs on an alternate stack.
    pub(crate) fn new(stack_bytes_min: usize) -> io::Result<Self> {
        // SAFETY: S6: reads the auxiliary vector, which is constant.
        let frame_bytes = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        let mapping = Mapping::new(stack_bytes_min + frame_bytes.max(libc::MINSIGSTKSZ))?;
        let stack = stack_t {
            ss_sp: mapping.usable_start(),
            ss_flags: 0,
            ss_size: mapping.usable_bytes(),
        };
        // SAFETY: S6: the mapping lives until `drop`, which takes the stack away from the kernel first.
        let previous = unsafe { exchange(&stack) }?;
        Ok(Self {
            mapping,
            previous,
            not_send: PhantomData,
        })
    }

    #[cfg(test)]
    /// The addresses that a handler may use: the lowest, and the length in bytes.
    pub(crate) fn range(&self) -> (usize, usize) {
        (self.mapping.usable_start() as usize, self.mapping.usable_bytes())
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: S6: what was the thread's stack before is its again; whoever set it answers for it.
        if unsafe { exchange(&self.previous) }.is_err() {
            // The kernel still uses this stack (a drop inside a handler: EPERM). Leaking is safe, unmapping is not.
            self.mapping.leak();
        }
    }
}

/// Sets this thread's alternate stack and returns the previous one.
///
/// # Safety
/// S6: the memory that `new` names is writable, used by nothing else, and stays so until it is exchanged again.
unsafe fn exchange(new: &stack_t) -> Result<stack_t, Errno> {
    let mut old = stack_t {
        ss_sp: ptr::null_mut(),
        ss_flags: 0,
        ss_size: 0,
    };
    // SAFETY: S5: both structures are live for the call; the caller answers for the memory.
    unsafe {
        raw::syscall2(
            libc::SYS_sigaltstack,
            ptr::from_ref(new) as usize,
            ptr::from_mut(&mut old) as usize,
        )
    }?;
    Ok(old)
}

/// Anonymous memory whose lowest page faults.
#[derive(Debug)]
struct Mapping {
    start: *mut c_void,
    guard_bytes: usize,
    total_bytes: usize,
}

impl Mapping {
    fn new(usable_bytes_min: usize) -> io::Result<Self> {
        // SAFETY: S6: reads a constant of the process.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let total_bytes = usable_bytes_min.next_multiple_of(page_bytes) + page_bytes;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: S9: a fresh mapping, placed by the kernel, aliases nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), total_bytes, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = Self {
            start,
            guard_bytes: page_bytes,
            total_bytes,
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: S9: the range is all of the fresh mapping but its guard.
        match unsafe { libc::mprotect(mapping.usable_start(), mapping.usable_bytes(), access) } {
            0 => Ok(mapping),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn usable_start(&self) -> *mut c_void {
        self.start.wrapping_byte_add(self.guard_bytes)
    }

    fn usable_bytes(&self) -> usize {
        self.total_bytes - self.guard_bytes
    }

    /// Makes the drop do nothing: an empty mapping has nothing to unmap.
    fn leak(&mut self) {
        self.total_bytes = 0;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.total_bytes != 0 {
            // SAFETY: S9: the mapping is ours, and its user is gone.
            unsafe { libc::munmap(self.start, self.total_bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loom::static_atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

    fn current() -> stack_t {
        let mut stack = stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: 0,
            ss_size: 0,
        };
        // SAFETY: S6: only asks.
        unsafe { raw::syscall2(libc::SYS_sigaltstack, 0, ptr::from_mut(&mut stack) as usize) }.unwrap();
        stack
    }

    #[test]
    fn a_handler_runs_on_the_alternate_stack_of_the_thread_signalled() {
        static SEEN_TID: AtomicI32 = AtomicI32::new(0);
        static SEEN_STACK: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn note(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
            let local = 0u8;
            SEEN_STACK.store(ptr::from_ref(&local) as usize, SeqCst);
            SEEN_TID.store(gettid(), SeqCst);
        }
        let before = current();
        let stack = AltStack::new(32 * 1024).unwrap();
        let (start, bytes) = stack.range();
        assert!(bytes >= 32 * 1024);
        // SAFETY: S6: the handler stores to atomics and asks for a number.
        let old = unsafe { install(libc::SIGUSR1, note, libc::SA_ONSTACK | libc::SA_RESTART) }.unwrap();
        tgkill(gettid(), libc::SIGUSR1).unwrap();
        // A signal to the own thread is delivered before the call returns.
        assert_eq!(SEEN_TID.load(SeqCst), gettid());
        assert!((start..start + bytes).contains(&SEEN_STACK.load(SeqCst)));
        // SAFETY: S6: the action before the test's.
        unsafe { restore(libc::SIGUSR1, &old) }.unwrap();
        drop(stack);
        let after = current();
        assert_eq!((after.ss_sp, after.ss_size), (before.ss_sp, before.ss_size));
    }

    #[test]
    fn nested_stacks_unwind_in_order() {
        let outer = AltStack::new(16 * 1024).unwrap();
        let inner = AltStack::new(16 * 1024).unwrap();
        assert_eq!(current().ss_sp as usize, inner.range().0);
        drop(inner);
        assert_eq!(current().ss_sp as usize, outer.range().0);
    }

    #[test]
    fn the_page_below_is_a_guard() {
        let stack = AltStack::new(16 * 1024).unwrap();
        let guard = stack.range().0 - 1;
        // The kernel refuses to read from the guard, where a plain load would kill the process.
        let (_reader, writer) = std::io::pipe().unwrap();
        let writer = std::os::fd::AsRawFd::as_raw_fd(&writer);
        // SAFETY: S5: the address faults, which the kernel answers with EFAULT.
        let below = unsafe { crate::sys::file::write(writer, guard as *const c_void, 1) };
        assert_eq!(below, Err(Errno::FAULT));
        // SAFETY: S5: the first usable byte.
        let first = unsafe { crate::sys::file::write(writer, (guard + 1) as *const c_void, 1) };
        assert_eq!(first, Ok(1));
    }

    #[test]
    fn a_thread_that_is_gone_is_not_signalled() {
        let tid = std::thread::spawn(gettid).join().unwrap();
        assert_ne!(tid, gettid());
        // join returns once the kernel has cleared the thread's number, a moment before the kernel forgets the number.
        let gone = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            tgkill(tid, 0) == Err(Errno(libc::ESRCH))
        });
        assert!(gone);
    }
}
