//! The descriptor table: what is known of each number, process-wide, found without a lock.
//!
//! A static array of chunks, each of [`CHUNK_ENTRIES`] entries, made on first use and never given back: an entry's
//! address is good for ever. Numbers beyond the array (`nr_open` was raised) have no entry, and calls on them block the
//! worker honestly.
//!
//! An entry is *virgin* while it knows nothing (`facts` is zero). What it learns it learns lazily: a call that does not
//! have to wait asks nothing. [`reset`] makes it virgin again: before a close, around dup2, and when a creator (accept,
//! socket, …) hands out a number that was closed out of our sight.
//!
//! | fact | meaning |
//! |---|---|
//! | `KIND_MASK` | a [`FdKind`] |
//! | `NONBLOCK`, `NONBLOCK_KNOWN` | the user's O_NONBLOCK, as last set through a hook or asked of the kernel |
//! | `SHARED` | another descriptor refers to the same open file description, where O_NONBLOCK and the socket timeouts live |
//! | `NO_NOWAIT` | the file does not know RWF_NOWAIT |
//! | `TOUCHED` | not virgin for another reason: it may be registered |
//! | `FOREIGN` | the description was passed to others, or came from them (SCM_RIGHTS): mode and timeouts are asked for each time |
//! | `LOW_MARK` | SO_RCVLOWAT was set on the description: a blocking receive waits for so many bytes |
//! | `SLOW_CLOSE` | the kernel takes milliseconds to close it (inotify) |
//! | `RECORDS` | TLS in the kernel: a read ends with its record, so a short one does not mean empty |
//! | `MAY_LINGER` | SO_LINGER was set, or may have been: the close may wait |
//! | `INTERRUPTION_FAILS`, `_STAYS` | what the user wants of waits that are interrupted |
//! | from `STALE` on | how often the number changed its meaning in a place where the entry could not be reset |
//!
//! # Shared descriptions
//! `try_clone` halves are common in servers, so asking F_GETFL before each wait would cost them a call per request. A
//! change through one number of a shared description moves [`SHARED_EPOCH`] instead, and shared entries that find it
//! moved ask again. Descriptors 0 to 2 are shared with strangers (the shell), whose changes nobody tells us: these are
//! asked each time.
//!
//! # A failure that is owed
//! A call that has moved a part and then meets an error returns the part, and the kernel keeps a socket's error for the
//! next call. Where a hook makes several calls of one, the error of a later one is taken out of the socket. So it is
//! kept in the entry, and the next call that moves data through this number returns it: a send at once, a receive when
//! nothing more is there. Not so on OS threads, which ask the kernel alone, and for `splice` and its kin.
//!
//! # Replaced numbers
//! `dup2` over a number that others wait for ends no call: they try again with what the number is now. A thread would
//! go on with the file that was there, which nobody can name any more. `close` settles waiters as closed.
//!
//! # Signal handlers
//! A handler may call `close` and `dup2`, and may have interrupted the runtime with the very lock in hand that
//! resetting takes. A critical section tells of that. There [`reset_later`] only counts in the facts, and who next asks
//! for the entry, or is about to wait, resets it. Who waits already is not woken: no lock, no list. The count is
//! compared when the reset is done, so that a change in between is not lost.
//!
//! # Children of this process
//! A child has a copy of the table (`fork`) or the table itself (`vfork`), and shares the epolls in which its entries
//! are registered: to forget a number there would take the parent's registration away, and the entry's lock may have
//! been held by a thread that the child does not have. So in another process than the runtime's an entry that knows
//! something is left as it is, and nothing is noted of shared descriptions (`sys::process`). The question is a system
//! call for whoever is no fork's child, so it is asked after the entry was found not to be virgin.
//!
//! All fields are Relaxed: they describe a number, and whoever hands the number on orders what was stored before.

mod kind;
mod on_interruption;
mod pairs;

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
/// What belongs to a description, whatever its number is; an accepted socket has it from its listener.
const OF_DESCRIPTION: u32 = LOW_MARK | MAY_LINGER | SLOW_CLOSE | RECORDS | ON_INTERRUPTION;
const ON_INTERRUPTION: u32 = INTERRUPTION_FAILS | INTERRUPTION_STAYS;
const FOREIGN: u32 = 1 << 10;
const SLOW_CLOSE: u32 = 1 << 11;
const RECORDS: u32 = 1 << 12;
/// What may be true of a description of which nothing is known.
const OF_UNKNOWN: u32 = SHARED | LOW_MARK | MAY_LINGER | RECORDS;
const INTERRUPTION_FAILS: u32 = 1 << 13;
const INTERRUPTION_STAYS: u32 = 1 << 14;
/// The unit of a count.
const STALE: u32 = 1 << 15;

/// Who else has a description, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharers {
    Nobody,
    /// Another number of this process, and perhaps a child that has one.
    ThisProcess,
    /// It was passed to others, or came from them.
    Others,
}

/// What changes how calls on a description wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Trait {
    /// SO_RCVLOWAT.
    LowMark = LOW_MARK,
    /// SO_LINGER.
    MayLinger = MAY_LINGER,
    /// See the head of the file.
    SlowClose = SLOW_CLOSE,
    /// TCP_ULP: TLS in the kernel.
    Records = RECORDS,
}

/// A timeout that has not been asked for; 0 is none, as for the kernel.
const UNKNOWN_NS: u64 = u64::MAX;

/// Moves when mode or timeouts of a shared description change.
static SHARED_EPOCH: AtomicU32 = AtomicU32::new(0);

/// See the head of the file.
#[repr(align(64))]
pub(crate) struct FdEntry {
    pub(crate) readiness: Readiness,
    facts: AtomicU32,
    epoch: AtomicU32,
    /// By [`Direction`]: SO_RCVTIMEO, SO_SNDTIMEO.
    timeouts_ns: [AtomicU64; 2],
    /// The error of a later round of a call that has moved a part; 0: none.
    owed: AtomicU32,
    /// The number of the other end of a pair of sockets, plus one; 0: not known (`pairs.rs`).
    other_end: AtomicU32,
    /// Held from asking whether a listener has a connection until taking it: accept knows no MSG_DONTWAIT.
    pub(crate) accepting: Lock<()>,
}

type Chunk = [FdEntry; CHUNK_ENTRIES];

static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// The entry of a number whose chunk exists.
#[inline(always)]
pub(crate) fn existing(fd: RawFd) -> Option<&'static FdEntry> {
    // A negative number becomes one beyond the table.
    let index = fd as u32 as usize;
    // Acquire: pairs with the Release in `make_chunk`.
    let chunk = TABLE.get(index / CHUNK_ENTRIES)?.load(Ordering::Acquire);
    // SAFETY: S2: null or a chunk that lives for ever.
    let chunk = unsafe { chunk.as_ref() }?;
    Some(&chunk[index % CHUNK_ENTRIES])
}

/// The entry of a number; `None` beyond the table, or without memory for its chunk: such a descriptor blocks the
/// worker. Async-signal-safe.
#[inline(always)]
pub(crate) fn entry(fd: RawFd) -> Option<&'static FdEntry> {
    let entry = existing_or_new(fd)?;
    entry.settle(fd);
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
    // Not from malloc: a signal handler may write to a pipe while the code that it interrupted holds malloc's lock
    // (S6), and an allocator of the program's may read a file.
    let memory = sys::memory::map(size_of::<Chunk>()).ok()?;
    let entries = memory.as_ptr().cast::<FdEntry>();
    for index in 0..CHUNK_ENTRIES {
        // SAFETY: S2: the mapping is a chunk long, page-aligned, and nobody has seen it.
        unsafe { entries.wrapping_add(index).write(FdEntry::new()) };
    }
    // Release: pairs with the Acquire in `existing`. Relaxed on failure: the loser reads it again there.
    if slot
        .compare_exchange(ptr::null_mut(), entries.cast(), Ordering::Release, Ordering::Relaxed)
        .is_err()
    {
        // SAFETY: S2: mapped just above with this length, and nobody has seen it. An entry owns nothing.
        unsafe { sys::memory::unmap(memory, size_of::<Chunk>()) };
    }
    existing(fd)
}

/// Calls `visit` with every entry that has ever been asked for, and those beside it.
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

/// Forgets what is known of a number, because it is about to be closed or has just been handed out.
#[inline]
pub(crate) fn reset(fd: RawFd) {
    if let Some(entry) = known(fd) {
        entry.reset(fd);
    }
}

/// As [`reset`], because the number becomes another file: who waits for it tries again.
pub(crate) fn replace(fd: RawFd) {
    if let Some(entry) = known(fd) {
        entry.reset_as(fd, Outcome::Woken);
    }
}

/// As [`reset`], for who may have interrupted the runtime: takes no lock. See the head of the file.
#[cold]
pub(crate) fn reset_later(fd: RawFd) {
    if let Some(entry) = known(fd) {
        entry.facts.fetch_add(STALE, Ordering::Relaxed);
    }
}

/// As [`reset`], for all numbers of a range.
pub(crate) fn reset_range(numbers: RangeInclusive<u32>, reset: fn(RawFd)) {
    let (first, last) = (*numbers.start() as usize, *numbers.end() as usize);
    let last = last.min(CHUNKS * CHUNK_ENTRIES - 1);
    for (index, slot) in TABLE.iter().enumerate() {
        // Relaxed: `existing` asks again.
        if slot.load(Ordering::Relaxed).is_null() {
            continue;
        }
        let start = index * CHUNK_ENTRIES;
        for number in first.max(start)..(last + 1).min(start + CHUNK_ENTRIES) {
            reset(number as RawFd);
        }
    }
}

/// The entry of a number, if it knows something that the caller may change: not in a child of the runtime's process.
#[inline]
pub(crate) fn known(fd: RawFd) -> Option<&'static FdEntry> {
    existing(fd).filter(|entry| !entry.is_virgin() && !process::is_foreign())
}

/// Two numbers refer to one description.
pub(crate) fn share(original: RawFd, copy: RawFd) {
    if process::is_foreign() {
        return;
    }
    let traits = existing(original).map_or(0, FdEntry::traits);
    for fd in [original, copy] {
        if let Some(entry) = existing_or_new(fd) {
            if fd == copy {
                entry.other_end.store(0, Ordering::Relaxed);
            }
            // The epoch is behind, so that the next wait asks.
            entry.epoch.store(current_epoch().wrapping_sub(1), Ordering::Relaxed);
            entry.facts.fetch_or(SHARED | traits, Ordering::Relaxed);
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
            owed: AtomicU32::new(0),
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

    /// It may become registered.
    pub(crate) fn touch(&self) {
        if self.is_virgin() {
            self.facts.fetch_or(TOUCHED, Ordering::Relaxed);
        }
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

    /// Makes the entry good again, if [`reset_later`] has said that it is not: before each wait, since a handler may
    /// have run after the call that had to wait.
    #[inline(always)]
    pub(crate) fn settle(&self, fd: RawFd) {
        if self.facts() >= STALE {
            self.reset_stale(fd);
        }
    }

    /// Does what [`reset_later`] was asked for. Whoever comes while another does it waits, or the reset would take a
    /// new wait for an old one.
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
            // Who waits tries again: a number that is closed says so itself.
            self.readiness
                .reset(Outcome::Woken, |driver| readiness::deregister(driver, fd));
            // It may have been a copy: shared until the next close. Only another mark asks for another reset, which
            // would take new waits for old ones.
            let forget = |facts| (facts / STALE == seen / STALE).then_some(OF_UNKNOWN);
            let _ = self.facts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forget);
        }
    }

    /// A descriptor that has just been made, with a description of its own.
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

    /// A connection that was accepted has a listener's traits.
    pub(crate) fn inherit(&self, listener: &FdEntry) {
        let traits = listener.facts() & OF_DESCRIPTION & !ON_INTERRUPTION;
        if traits != 0 {
            self.facts.fetch_or(traits, Ordering::Relaxed);
        }
    }

    pub(crate) fn sharers(&self) -> Sharers {
        match self.facts() {
            facts if facts & FOREIGN != 0 => Sharers::Others,
            facts if facts & SHARED != 0 => Sharers::ThisProcess,
            _ => Sharers::Nobody,
        }
    }

    /// Others, whose changes nobody tells us, have the description too.
    pub(crate) fn set_foreign(&self) {
        self.facts.fetch_or(SHARED | FOREIGN, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn has(&self, what: Trait) -> bool {
        self.facts() & what as u32 != 0
    }

    /// The user has set such an option, or may have. It is never taken back: the kernel knows the value. Which other
    /// numbers refer to the description is not known, so all that share one may.
    pub(crate) fn set_trait(&self, what: Trait) {
        self.facts.fetch_or(what as u32, Ordering::Relaxed);
        if self.facts() & SHARED != 0 {
            for_each(|_, other| {
                if other.facts() & SHARED != 0 {
                    other.facts.fetch_or(what as u32, Ordering::Relaxed);
                }
            });
        }
    }

    /// What is known of the description, whatever its number is.
    pub(crate) fn traits(&self) -> u32 {
        self.facts() & (OF_DESCRIPTION | FOREIGN)
    }

    pub(crate) fn restore_traits(&self, traits: u32) {
        if traits != 0 {
            self.facts.fetch_or(traits, Ordering::Relaxed);
        }
    }

    /// Keeps an error for the next call that moves data.
    #[cold]
    pub(crate) fn owe(&self, errno: Errno) {
        self.facts.fetch_or(TOUCHED, Ordering::Relaxed);
        self.owed.store(errno.0 as u32, Ordering::Relaxed);
    }

    /// The error that the last call has left, once.
    #[inline(always)]
    pub(crate) fn pay(&self) -> Result<(), Errno> {
        if self.owed.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.owed.swap(0, Ordering::Relaxed) {
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

    /// The kind, asked of the kernel once. `Unknown` for what is not open.
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
        // Another may have learnt it, or the number may be another file by now.
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

    /// Whether the file is thought to know RWF_NOWAIT.
    #[inline]
    pub(crate) fn knows_nowait(&self) -> bool {
        self.facts() & NO_NOWAIT == 0
    }

    pub(crate) fn set_no_nowait(&self) {
        self.facts.fetch_or(NO_NOWAIT, Ordering::Relaxed);
    }

    /// Whether the user expects calls on it to block: O_NONBLOCK is clear.
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
        let is_foreign = fd <= libc::STDERR_FILENO || facts & FOREIGN != 0;
        let is_stale = is_foreign || facts & SHARED != 0 && self.epoch.load(Ordering::Relaxed) != epoch;
        if is_stale {
            self.forget_timeouts();
        }
        if is_foreign {
            self.facts.fetch_or(SHARED, Ordering::Relaxed);
        }
        if facts & NONBLOCK_KNOWN != 0 && !is_stale {
            return facts & NONBLOCK == 0;
        }
        // On a failure the call itself reports what is wrong.
        let nonblocking = socket::fcntl_getfl(fd).is_ok_and(|flags| flags & libc::O_NONBLOCK != 0);
        self.store_nonblocking(nonblocking);
        // Behind the answer, or another would take the old one for new; and as it was before the question, so that a
        // change in between is asked for again.
        self.epoch.store(epoch, Ordering::Relaxed);
        !nonblocking
    }

    /// Whether the user has set O_NONBLOCK, as far as it is known.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.facts() & NONBLOCK != 0
    }

    fn store_nonblocking(&self, nonblocking: bool) {
        let mode = NONBLOCK_KNOWN | if nonblocking { NONBLOCK } else { 0 };
        let set = |facts| Some(facts & !NONBLOCK | mode);
        let _ = self.facts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set);
    }

    /// The user has set or cleared O_NONBLOCK.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        if !self.is_virgin() {
            self.store_nonblocking(nonblocking);
            self.tell_sharers();
        }
    }

    /// The runtime has set O_NONBLOCK for a moment.
    pub(crate) fn mode_was_touched(&self) {
        self.tell_sharers();
    }

    /// The user has set SO_RCVTIMEO or SO_SNDTIMEO.
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
        self.owed.store(0, Ordering::Relaxed);
    }

    fn forget_timeouts(&self) {
        for timeout_ns in &self.timeouts_ns {
            timeout_ns.store(UNKNOWN_NS, Ordering::Relaxed);
        }
    }

    /// How long the user lets a call wait. After `blocks`, which sees to it that what is known of a shared description
    /// is fresh.
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
