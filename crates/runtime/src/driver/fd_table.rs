//! The descriptor table: what the process knows of each descriptor number, found without a lock.
//!
//! The table is a static array of chunks of [`CHUNK_ENTRIES`] entries each. A chunk is made on first use and never
//! given back, so an entry's address stays valid for ever. Numbers beyond the array (`nr_open` was raised) have no
//! entry, and calls on them block the worker's thread.
//!
//! An entry is *virgin* while it knows nothing (`facts` is zero). It learns facts lazily: a call that does not have to
//! wait asks nothing. [`reset`] makes an entry virgin again: before a close, around dup2, and when a creator (accept,
//! socket, …) returns a number that was closed where no hook saw it.
//!
//! | fact | meaning |
//! |---|---|
//! | `KIND_MASK` | a [`FdKind`] |
//! | `NONBLOCK`, `NONBLOCK_KNOWN` | the user's O_NONBLOCK, as last set through a hook or asked of the kernel |
//! | `SHARED` | another descriptor refers to the same open file description, which holds O_NONBLOCK and the socket timeouts |
//! | `NO_NOWAIT` | the file does not know RWF_NOWAIT |
//! | `UNTOLD` | the kernel does not tell what of the file is in the page cache |
//! | `TOUCHED` | not virgin, for another reason: the number may be registered |
//! | `PASSED_ON` | the description was passed to others, or came from them (SCM_RIGHTS): mode and timeouts are asked for each time |
//! | `LOW_MARK` | SO_RCVLOWAT was set on the description: a blocking receive waits for so many bytes |
//! | `SLOW_CLOSE` | the kernel takes milliseconds to close the file (inotify) |
//! | `RECORDS` | TLS in the kernel: a read ends with its record, so a short read does not mean an empty socket |
//! | `MAY_LINGER` | SO_LINGER was set, or may have been: the close may wait |
//! | `INTERRUPTION_FAILS`, `_STAYS` | what an interrupted wait does, as set by the user |
//! | from `STALE` on | how often the number changed its meaning where the entry could not be reset |
//!
//! # Shared descriptions
//! `try_clone` halves are common in servers, so asking F_GETFL before each wait would cost them a call per request.
//! Instead, a change through one number of a shared description increments [`SHARED_EPOCH`], and a shared entry that
//! finds another epoch asks again. Descriptors 0 to 2 are shared with unknown processes (the shell), whose changes the
//! runtime does not see: these descriptors are asked each time.
//!
//! # Pending errors
//! A call that has moved a part of its data and then meets an error returns the part, and the kernel keeps a socket's
//! error for the next call. Where a hook makes several kernel calls for one call of the user, it takes the error of a
//! later one out of the socket. So the entry keeps that error, and the next call that moves data through this number
//! returns it: a send at once, a receive when no more data is there. This does not apply to OS threads, which only ask
//! the kernel, nor to `splice` and related calls.
//!
//! # Replaced numbers
//! A `dup2` over a number that others wait for ends no call: the waiters try again with the file that the number now
//! names. (A blocked OS thread would continue with the old file, which no number names any more.) `close` settles
//! waiters as closed.
//!
//! # Signal handlers
//! A signal handler may call `close` and `dup2`, and may have interrupted the runtime while it holds the very lock that
//! a reset takes. The critical section shows this. In that case [`reset_later`] only counts in the facts, and the next
//! caller that asks for the entry, or is about to wait, resets it. Existing waiters are not woken: that would need the
//! lock and the list. The count is compared when the reset is done, so that a change in between is not lost.
//!
//! # Children of this process
//! A child has a copy of the table (`fork`) or the table itself (`vfork`), and shares the epolls in which the entries
//! are registered. If the child forgot a number, it would remove the parent's registration, and the entry's lock may
//! have been held by a thread that the child does not have. So in a process other than the runtime's, an entry that
//! knows something is left as it is, and nothing is noted of shared descriptions (`sys::process`). For a process that
//! is no fork's child this question is a system call, so it is asked only after the entry was found not to be virgin.
//!
//! All accesses to the fields are Relaxed: the fields describe a number, and the code that hands the number to another
//! thread orders the earlier stores.

#[forbid(unsafe_code)]
mod kind;
#[forbid(unsafe_code)]
mod look;
mod on_interruption;
#[forbid(unsafe_code)]
mod pairs;
#[forbid(unsafe_code)]
mod reads;

use super::readiness::{self, Direction, Readiness};
use crate::coroutine::{Critical, Outcome};
use crate::loom::static_atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::sys::raw::Errno;
use crate::sys::{self, Lock, StaticLock, process, socket};
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::ptr;

const CHUNK_ENTRIES: usize = 1024;
const CHUNKS: usize = 1024;

pub(crate) use kind::FdKind;
use kind::KIND_MASK;
pub(crate) use on_interruption::OnInterruption;
pub(crate) use pairs::{other_end, pair, unpair, was_pair};

const NONBLOCK: u32 = 1 << 3;
const NONBLOCK_KNOWN: u32 = 1 << 4;
const SHARED: u32 = 1 << 5;
const NO_NOWAIT: u32 = 1 << 6;
const TOUCHED: u32 = 1 << 7;
const LOW_MARK: u32 = 1 << 8;
const MAY_LINGER: u32 = 1 << 9;
/// Facts that belong to a description, whatever its number is. An accepted socket inherits them from its listener.
const OF_DESCRIPTION: u32 = LOW_MARK | MAY_LINGER | SLOW_CLOSE | RECORDS | ON_INTERRUPTION;
const ON_INTERRUPTION: u32 = INTERRUPTION_FAILS | INTERRUPTION_STAYS;
const PASSED_ON: u32 = 1 << 10;
const SLOW_CLOSE: u32 = 1 << 11;
const RECORDS: u32 = 1 << 12;
/// Facts that may hold for a description of which nothing is known.
const OF_UNKNOWN: u32 = SHARED | LOW_MARK | MAY_LINGER | RECORDS;
const INTERRUPTION_FAILS: u32 = 1 << 13;
const INTERRUPTION_STAYS: u32 = 1 << 14;
const UNTOLD: u32 = 1 << 15;
/// The unit of the count of changes that could not reset the entry.
const STALE: u32 = 1 << 16;

/// The other holders of a description, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharers {
    Nobody,
    /// Another number of this process refers to it, and perhaps a child has one.
    ThisProcess,
    /// The description was passed to other processes, or came from them.
    Others,
}

/// A fact about a description that changes how calls on it wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum DescriptionFact {
    /// SO_RCVLOWAT.
    LowMark = LOW_MARK,
    /// SO_LINGER.
    MayLinger = MAY_LINGER,
    /// inotify: see the table in the file's head.
    SlowClose = SLOW_CLOSE,
    /// TCP_ULP: TLS in the kernel.
    Records = RECORDS,
}

/// A timeout that has not been asked for. 0 means no timeout, as for the kernel.
const UNKNOWN_NS: u64 = u64::MAX;

/// Incremented when the mode or the timeouts of a shared description change.
static SHARED_EPOCH: AtomicU32 = AtomicU32::new(0);

/// What is known of one descriptor number: see the file's head.
#[repr(align(64))]
pub(crate) struct FdEntry {
    pub(crate) readiness: Readiness,
    facts: AtomicU32,
    epoch: AtomicU32,
    /// By [`Direction`]: SO_RCVTIMEO, SO_SNDTIMEO.
    timeouts_ns: [AtomicU64; 2],
    /// The error of a later kernel call of a call that has moved a part of its data; 0: none.
    pending_error: AtomicU32,
    /// The number of the other end of a pair of sockets, plus one; 0: not known (`pairs.rs`).
    other_end: AtomicU32,
    /// Held from the question whether a listener has a connection until it is taken: accept has no MSG_DONTWAIT.
    pub(crate) accepting: Lock<()>,
}

type Chunk = [FdEntry; CHUNK_ENTRIES];

static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// The entry of a number whose chunk exists.
#[inline(always)]
pub(crate) fn existing(fd: RawFd) -> Option<&'static FdEntry> {
    // A negative number becomes an index beyond the table.
    let index = fd as u32 as usize;
    // Acquire: pairs with the Release in `make_chunk`.
    let chunk = TABLE.get(index / CHUNK_ENTRIES)?.load(Ordering::Acquire);
    // SAFETY: S2: null or a chunk that lives for ever.
    let chunk = unsafe { chunk.as_ref() }?;
    Some(&chunk[index % CHUNK_ENTRIES])
}

/// The entry of a number. `None` beyond the table, or without memory for the number's chunk: calls on such a descriptor
/// block the worker. Async-signal-safe.
#[inline(always)]
pub(crate) fn entry(fd: RawFd) -> Option<&'static FdEntry> {
    let entry = existing_or_new(fd)?;
    entry.reset_if_stale(fd);
    Some(entry)
}

#[inline(always)]
fn existing_or_new(fd: RawFd) -> Option<&'static FdEntry> {
    match existing(fd) {
        Some(entry) => Some(entry),
        None => make_chunk(fd),
    }
}

#[cold]
fn make_chunk(fd: RawFd) -> Option<&'static FdEntry> {
    let slot = TABLE.get(fd as u32 as usize / CHUNK_ENTRIES)?;
    // Not from malloc: a signal handler may write to a pipe while the interrupted code holds malloc's lock (S6), and
    // the program's own allocator may read a file.
    let memory = sys::memory::map(size_of::<Chunk>()).ok()?;
    let entries = memory.as_ptr().cast::<FdEntry>();
    for index in 0..CHUNK_ENTRIES {
        // SAFETY: S2: the mapping is a chunk long, page-aligned, and nobody has seen it.
        unsafe { entries.wrapping_add(index).write(FdEntry::new()) };
    }
    // Release: pairs with the Acquire in `existing` and `for_each`. Relaxed on failure: the loser reads it again in
    // `existing`.
    if slot
        .compare_exchange(ptr::null_mut(), entries.cast(), Ordering::Release, Ordering::Relaxed)
        .is_err()
    {
        // SAFETY: S2: mapped just above with this length, and nobody has seen it. An entry owns nothing.
        unsafe { sys::memory::unmap(memory, size_of::<Chunk>()) };
    }
    existing(fd)
}

/// Calls `visit` with every entry that was ever asked for, and with the other entries of its chunk.
pub(super) fn for_each(mut visit: impl FnMut(RawFd, &'static FdEntry)) {
    for (chunk_index, slot) in TABLE.iter().enumerate() {
        // Acquire: pairs with the Release in `make_chunk`.
        // SAFETY: S2: null or a chunk that lives for ever.
        let Some(chunk) = (unsafe { slot.load(Ordering::Acquire).as_ref() }) else {
            continue;
        };
        for (index, entry) in chunk.iter().enumerate() {
            visit((chunk_index * CHUNK_ENTRIES + index) as RawFd, entry);
        }
    }
}

/// Forgets what is known of a number, because the number is about to be closed or has just been handed out.
#[inline]
pub(crate) fn reset(fd: RawFd) {
    if let Some(entry) = known(fd) {
        entry.reset(fd);
    }
}

/// Like [`reset`], because the number becomes another file: its waiters try again.
pub(crate) fn replace(fd: RawFd) {
    if let Some(entry) = known(fd) {
        entry.reset_as(fd, Outcome::Woken);
    }
}

/// Like [`reset`], for a caller that may have interrupted the runtime: takes no lock. See the file's head.
#[cold]
pub(crate) fn reset_later(fd: RawFd) {
    if let Some(entry) = known(fd) {
        entry.facts.fetch_add(STALE, Ordering::Relaxed);
    }
}

/// Like [`reset`], for all numbers of a range.
pub(crate) fn reset_range(numbers: RangeInclusive<u32>, reset: fn(RawFd)) {
    let (first, last) = (*numbers.start() as usize, *numbers.end() as usize);
    let last = last.min(CHUNKS * CHUNK_ENTRIES - 1);
    for (index, slot) in TABLE.iter().enumerate() {
        // Relaxed: `existing` loads it again.
        if slot.load(Ordering::Relaxed).is_null() {
            continue;
        }
        let start = index * CHUNK_ENTRIES;
        for number in first.max(start)..(last + 1).min(start + CHUNK_ENTRIES) {
            reset(number as RawFd);
        }
    }
}

/// The entry of a number, if the entry knows something that the caller may change; `None` in a child of the runtime's
/// process.
#[inline]
pub(crate) fn known(fd: RawFd) -> Option<&'static FdEntry> {
    existing(fd).filter(|entry| !entry.is_virgin() && !process::is_foreign())
}

/// Notes that two numbers refer to one description.
pub(crate) fn share(original: RawFd, copy: RawFd) {
    if process::is_foreign() {
        return;
    }
    let facts_of_description = existing(original).map_or(0, FdEntry::facts_of_description);
    for fd in [original, copy] {
        if let Some(entry) = existing_or_new(fd) {
            if fd == copy {
                entry.other_end.store(0, Ordering::Relaxed);
            }
            // The stored epoch is behind the current one, so that the next wait asks.
            entry.epoch.store(current_epoch().wrapping_sub(1), Ordering::Relaxed);
            entry.facts.fetch_or(SHARED | facts_of_description, Ordering::Relaxed);
        }
    }
}

fn current_epoch() -> u32 {
    SHARED_EPOCH.load(Ordering::Relaxed)
}

impl FdEntry {
    fn new() -> Self {
        Self {
            readiness: Readiness::new(),
            facts: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            timeouts_ns: [AtomicU64::new(UNKNOWN_NS), AtomicU64::new(UNKNOWN_NS)],
            pending_error: AtomicU32::new(0),
            other_end: AtomicU32::new(0),
            accepting: Lock::new(()),
        }
    }

    #[inline(always)]
    fn facts(&self) -> u32 {
        self.facts.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_virgin(&self) -> bool {
        self.facts() == 0
    }

    fn reset(&self, fd: RawFd) {
        self.reset_as(fd, Outcome::Closed);
    }

    #[cold]
    fn reset_as(&self, fd: RawFd, outcome: Outcome) {
        let _critical = Critical::enter();
        self.facts.store(0, Ordering::Relaxed);
        self.forget_description();
        self.readiness
            .reset(outcome, |driver| readiness::deregister(driver, fd));
    }

    /// Resets the entry, if [`reset_later`] has marked it as stale. To be called before each wait, since a handler may
    /// have run after the call that had to wait.
    #[inline(always)]
    pub(crate) fn reset_if_stale(&self, fd: RawFd) {
        if self.facts() >= STALE {
            self.reset_stale(fd);
        }
    }

    /// Does the reset that [`reset_later`] asked for. A caller that arrives while another caller resets waits for it;
    /// otherwise its reset would treat a new wait as an old one.
    #[cold]
    fn reset_stale(&self, fd: RawFd) {
        static RESETTING: StaticLock<()> = StaticLock::new(());
        if process::is_foreign() {
            return;
        }
        let _critical = Critical::enter();
        let _alone = RESETTING.lock();
        loop {
            let seen = self.facts();
            if seen < STALE {
                return;
            }
            self.forget_description();
            self.epoch.store(current_epoch().wrapping_sub(1), Ordering::Relaxed);
            // The waiters try again: a call on a closed number reports that itself.
            self.readiness
                .reset(Outcome::Woken, |driver| readiness::deregister(driver, fd));
            // The number may have been a copy, so it counts as shared until the next close. Only a further mark causes
            // another reset, which would treat new waits as old ones.
            let forget = |facts| (facts / STALE == seen / STALE).then_some(OF_UNKNOWN);
            let _ = self.facts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forget);
        }
    }

    /// Notes a descriptor that has just been made, with a description of its own.
    pub(crate) fn begin(&self, fd: RawFd, kind: FdKind, nonblocking: bool) {
        if !self.is_virgin() {
            if process::is_foreign() {
                return;
            }
            self.reset(fd);
        }
        self.other_end.store(0, Ordering::Relaxed);
        let mode = if nonblocking { NONBLOCK } else { 0 };
        self.facts.store(kind as u32 | NONBLOCK_KNOWN | mode, Ordering::Relaxed);
    }

    /// Gives an accepted connection the facts of its listener's description.
    pub(crate) fn inherit(&self, listener: &FdEntry) {
        let facts_of_description = listener.facts() & OF_DESCRIPTION & !ON_INTERRUPTION;
        if facts_of_description != 0 {
            self.facts.fetch_or(facts_of_description, Ordering::Relaxed);
        }
    }

    pub(crate) fn sharers(&self) -> Sharers {
        match self.facts() {
            facts if facts & PASSED_ON != 0 => Sharers::Others,
            facts if facts & SHARED != 0 => Sharers::ThisProcess,
            _ => Sharers::Nobody,
        }
    }

    /// Notes that others, whose changes the runtime does not see, have the description too.
    pub(crate) fn set_passed_on(&self) {
        self.facts.fetch_or(SHARED | PASSED_ON, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn has(&self, what: DescriptionFact) -> bool {
        self.facts() & what as u32 != 0
    }

    /// Notes that the user has set such an option, or may have. The fact is never removed: the kernel knows the value.
    /// The other numbers of the description are not known, so all numbers that share some description may have the
    /// fact.
    pub(crate) fn set_description_fact(&self, what: DescriptionFact) {
        self.facts.fetch_or(what as u32, Ordering::Relaxed);
        if self.facts() & SHARED != 0 {
            for_each(|_, other| {
                if other.facts() & SHARED != 0 {
                    other.facts.fetch_or(what as u32, Ordering::Relaxed);
                }
            });
        }
    }

    /// The known facts of the description, whatever its number is.
    pub(crate) fn facts_of_description(&self) -> u32 {
        self.facts() & (OF_DESCRIPTION | PASSED_ON)
    }

    pub(crate) fn restore_description_facts(&self, facts_of_description: u32) {
        if facts_of_description != 0 {
            self.facts.fetch_or(facts_of_description, Ordering::Relaxed);
        }
    }

    /// Keeps an error for the next call that moves data through this number.
    #[cold]
    pub(crate) fn set_pending_error(&self, errno: Errno) {
        self.facts.fetch_or(TOUCHED, Ordering::Relaxed);
        self.pending_error.store(errno.0 as u32, Ordering::Relaxed);
    }

    /// Returns the error that an earlier call has left, once.
    #[inline(always)]
    pub(crate) fn take_pending_error(&self) -> Result<(), Errno> {
        if self.pending_error.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.pending_error.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            errno => Err(Errno(errno as i32)),
        }
    }

    /// The kind, if it is known.
    #[inline(always)]
    pub(crate) fn known_kind(&self) -> FdKind {
        FdKind::of_facts(self.facts())
    }

    #[inline(always)]
    pub(crate) fn is_inet_stream(&self) -> bool {
        self.facts() & (KIND_MASK | RECORDS) == FdKind::InetStream as u32
    }

    /// The kind; the kernel is asked once. `Unknown` for a number that is not open.
    #[inline]
    pub(crate) fn kind(&self, fd: RawFd) -> FdKind {
        match self.known_kind() {
            FdKind::Unknown => self.classify(fd),
            kind => kind,
        }
    }

    #[cold]
    fn classify(&self, fd: RawFd) -> FdKind {
        let Ok(kind) = FdKind::ask(fd) else {
            return FdKind::Unknown;
        };
        // Another thread may have stored the kind meanwhile, or the number may be another file by now.
        let learn = |facts| (facts & KIND_MASK == 0).then_some(facts | kind as u32);
        match self.facts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn) {
            Ok(_) => kind,
            Err(facts) => FdKind::of_facts(facts),
        }
    }

    /// Corrects the kind.
    pub(crate) fn set_kind(&self, kind: FdKind) {
        let set = |facts| Some(facts & !KIND_MASK | kind as u32 | TOUCHED);
        let _ = self.facts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set);
    }

    /// Whether the user expects calls on the descriptor to block: O_NONBLOCK is clear.
    #[inline(always)]
    pub(crate) fn blocks(&self, fd: RawFd) -> bool {
        let facts = self.facts();
        if facts & (NONBLOCK_KNOWN | NONBLOCK | SHARED) == NONBLOCK_KNOWN {
            return true;
        }
        self.blocks_or_ask(fd, facts)
    }

    #[inline(never)]
    fn blocks_or_ask(&self, fd: RawFd, facts: u32) -> bool {
        let epoch = current_epoch();
        let is_unknown = fd <= libc::STDERR_FILENO || facts & PASSED_ON != 0;
        let is_stale = is_unknown || facts & SHARED != 0 && self.epoch.load(Ordering::Relaxed) != epoch;
        if is_stale {
            self.forget_timeouts();
        }
        if is_unknown {
            self.facts.fetch_or(SHARED, Ordering::Relaxed);
        }
        if facts & NONBLOCK_KNOWN != 0 && !is_stale {
            return facts & NONBLOCK == 0;
        }
        // If this fails, the call itself reports what is wrong.
        let nonblocking = socket::fcntl_getfl(fd).is_ok_and(|flags| flags & libc::O_NONBLOCK != 0);
        self.store_nonblocking(nonblocking);
        // Stored after the answer, or another thread would take the old answer for a new one. The value is the epoch
        // from before the question, so that a change in between causes a new question.
        self.epoch.store(epoch, Ordering::Relaxed);
        !nonblocking
    }

    /// Whether the user has set O_NONBLOCK, as far as is known.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.facts() & NONBLOCK != 0
    }

    fn store_nonblocking(&self, nonblocking: bool) {
        let mode = NONBLOCK_KNOWN | if nonblocking { NONBLOCK } else { 0 };
        let set = |facts| Some(facts & !NONBLOCK | mode);
        let _ = self.facts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set);
    }

    /// Notes that the user has set or cleared O_NONBLOCK.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        if !self.is_virgin() {
            self.store_nonblocking(nonblocking);
            self.tell_sharers();
        }
    }

    /// Notes that the runtime has set O_NONBLOCK for a moment.
    pub(crate) fn mode_was_touched(&self) {
        self.tell_sharers();
    }

    /// Notes that the user has set SO_RCVTIMEO or SO_SNDTIMEO.
    pub(crate) fn timeouts_changed(&self) {
        self.forget_timeouts();
        self.tell_sharers();
    }

    fn tell_sharers(&self) {
        if self.facts() & SHARED != 0 {
            SHARED_EPOCH.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn forget_description(&self) {
        self.forget_timeouts();
        self.pending_error.store(0, Ordering::Relaxed);
    }

    fn forget_timeouts(&self) {
        for timeout_ns in &self.timeouts_ns {
            timeout_ns.store(UNKNOWN_NS, Ordering::Relaxed);
        }
    }

    /// How long the user lets a call wait, in ns. To be called after `blocks`, which makes sure that the facts of a
    /// shared description are fresh.
    #[inline]
    pub(crate) fn timeout_ns(&self, fd: RawFd, direction: Direction) -> Option<u64> {
        match self.timeouts_ns[direction as usize].load(Ordering::Relaxed) {
            0 => None,
            UNKNOWN_NS => self.ask_timeout_ns(fd, direction),
            timeout_ns => Some(timeout_ns),
        }
    }

    #[cold]
    fn ask_timeout_ns(&self, fd: RawFd, direction: Direction) -> Option<u64> {
        let timeout_ns = match direction {
            Direction::Read => socket::so_rcvtimeo(fd),
            Direction::Write => socket::so_sndtimeo(fd),
        };
        self.timeouts_ns[direction as usize].store(timeout_ns.unwrap_or(0), Ordering::Relaxed);
        timeout_ns
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
