//! Which waiters wait for which descriptor, and what does the runtime know of each descriptor's readiness?
//!
//! # Protocol
//! A descriptor is registered once in each runtime that waits for it: edge-triggered, for both directions. The
//! registration is in the epoll of the processor on which a coroutine of that runtime first has to wait. A hook *looks*
//! (reads the direction's word), tries the call, and after a would-block waits for the word to change. An event changes
//! the word and wakes all waiters of that direction. So the word is a version of the kernel's state, not the state
//! itself: the call is the only test of readiness, and a wake means "try again".
//!
//! | field | bits | meaning | changed by |
//! |---|---|---|---|
//! | `words[d]` | 0 `STICKY` | an error, a hang-up, the peer's end or urgent data was seen: always try | set by an event and by `remember_ends`, cleared by `reset` and `forget_ends` |
//! | | 1 `REGISTERED` | events will come, from one driver at least | set by the first wait, cleared by `reset` and the last `retire` |
//! | | 2.. tick | the version of the word (never reused) | bumped by an event, `stir`, `reset`, `forget_ends`, `remember_ends` and the last `retire` |
//! | `drained` | as a word | the word that a short read looked at before it emptied the socket | readers, no lock |
//! | `inner` | | generation, drivers, waiters | the holder of the lock |
//!
//! The words are written under the lock and read without the lock.
//!
//! # The race: an event between the call and the wait
//! `look` comes before the call, and `enlist` compares the word with the word that was seen, under the lock that
//! `event` takes. If the event came first, the word differs and the caller tries again. If the event comes later, it
//! finds the waiter in the list. An event that the kernel raised but nobody has fetched yet is of the second kind, also
//! on another processor. The first wait registers under the same lock, and the kernel reports the state at that moment
//! as an event.
//!
//! # The short-read rule
//! A TCP read that returns less than was asked for has emptied the socket. So the next read parks at once, without the
//! call that would only say EAGAIN. The reader stores the word that it saw *before* the call into `drained`, and the
//! next reader skips its try while `drained` equals the word. Proof: data that arrives after the call raises an event.
//! That event cannot be dispatched before the look, which came before the call. That event bumps the word, before or
//! after the store. No later store can bring the old word back into effect, since words do not repeat. No
//! read-modify-write is needed: two readers can only replace one old word by another, which costs a useless try. A word
//! with `STICKY` is never stored, because the state behind it raises no second event. A word without `REGISTERED` is
//! not stored either, because no event would come. The rule holds only for TCP: a record of SCTP, a Unix socket's
//! ancillary boundary and a TLS record in the kernel end a read early with more to come. Rejected: the mirror image for
//! short *writes*. A send that met a bad address is short as well and raises no event; the saved try would be one per
//! filled send buffer.
//!
//! # All waiters of a direction are woken
//! One edge may stand for many connections or datagrams. Waking one waiter is sound only if that waiter passes the duty
//! on when it leaves something behind, times out, is cancelled, or dies. Every such path is a possible lost wake-up.
//! Several coroutines in one direction of one descriptor are acceptors as a rule, and few.
//!
//! # Several runtimes
//! Entries belong to the process, drivers to runtimes. A waiter depends on the drivers of its own runtime alone. The
//! driver of another runtime may be polled late, since that runtime's coroutines compute, or no longer, since that
//! runtime has ended. So each runtime has a registration of its own. All registrations report the same state, and an
//! event wakes the waiters of all runtimes, whichever worker fetches it. The woken coroutines come back as `Ready`s,
//! and the fetching worker passes on those that belong to another scheduler (S10). A driver whose runtime has ended
//! [retires](Readiness::retire): it gives up its registrations. If one was the last of a descriptor, nobody waits for
//! that descriptor (a runtime ends with its last coroutine), and the next wait registers anew.
//!
//! Rejected: drivers that belong to the process and are polled by any worker that happens to be there. A runtime's end
//! would leave its descriptors to the others, and a process whose last runtime has ended would have drivers that nobody
//! polls. Also rejected: one registration that moves to the runtime that waits last. Two runtimes that share a listener
//! would move it at each wait, and the first would depend on the second.
//!
//! # Close
//! `reset` gives the entry a new generation, bumps the words and settles the waiters. A hook calls it before it closes,
//! so before the number can be reused. A wait may begin between the two. It marks its entry after its look
//! (`FdEntry::look`, or a question for the kind), so the number's next maker resets the entry once more. Where a signal
//! handler that interrupts the runtime closes, the next use of the entry resets it (`fd_table.rs`). Where no hook sees
//! the close, the number's next maker does. Waiters of a number that `dup2` has replaced are settled as woken and try
//! again; those of a closed one are settled as closed. A fetched event carries the generation in its data (31 bits, so
//! that `u64::MAX` stays the wake-up descriptor's), and is dropped if its generation is old.

#[forbid(unsafe_code)]
mod registrations;

use super::Driver;
use crate::collections::list::{Link, List, Node};
use crate::coroutine::{Critical, Outcome, Ready, Unparker, WaitCell, WaitReason, last_link};
use crate::loom::atomic::{AtomicU64, Ordering};
use crate::sys::Lock;
use crate::sys::raw::Errno;
use std::cell::Cell;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

pub(super) use registrations::Registrar;
use registrations::Registrations;

/// The direction in which data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Data, connections, ends of file arrive.
    Read = 0,
    /// There is room for data, or a connect has ended.
    Write = 1,
}

impl Direction {
    /// The event bit of `poll(2)` for this direction.
    pub(crate) fn poll_event(self) -> i16 {
        match self {
            Direction::Read => libc::POLLIN,
            Direction::Write => libc::POLLOUT,
        }
    }
}

const STICKY: u64 = 1;
const REGISTERED: u64 = 2;
const TICK: u64 = 4;
/// A value that no word has: a tick never reaches it.
const NEVER: u64 = u64::MAX;

const GENERATION_MASK: u32 = 0x7fff_ffff;

const HANG_UP_BITS: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
const READ_END_BITS: u32 = (libc::EPOLLRDHUP | libc::EPOLLPRI) as u32;
const INTEREST: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET) as u32;

/// A direction's word, as it was before a call was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadinessTick(u64);

impl ReadinessTick {
    /// Whether the state behind the word may be one that raises no further event.
    pub(crate) fn is_sticky(self) -> bool {
        self.0 & STICKY != 0
    }
}

/// The sticky bits that [`Readiness::forget_ends`] cleared, indexed by [`Direction`].
#[must_use]
pub(crate) struct Forgotten([u64; 2]);

/// A place in a direction's wait list, on the waiter's stack. A wait for several descriptors has several places and one
/// cell.
pub(crate) struct ReadinessWaiter {
    link: Link<ReadinessWaiter>,
    cell: Cell<*const WaitCell>,
}

// SAFETY: S8: the field is always the same one, and only lists write it.
unsafe impl Node for ReadinessWaiter {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: S8: the caller promises a live element, so the field's address lies in it.
        NonNull::from(unsafe { &(*this.as_ptr()).link })
    }
}

// SAFETY: S2: link and cell are used under the lock of the list that the waiter is in, or by its owner while it is in
// none.
unsafe impl Send for ReadinessWaiter {}

impl ReadinessWaiter {
    pub(crate) const fn new() -> Self {
        Self {
            link: Link::new(),
            cell: Cell::new(ptr::null()),
        }
    }

    /// Names the wait that the waiter stands for. To be called while the waiter is in no list.
    pub(super) fn attach(&self, cell: &WaitCell) {
        self.cell.set(cell);
    }
}

/// The result of an attempt to join a wait list.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Enlisted {
    /// The waiter is in the list.
    Yes,
    /// Something has happened since the look: the caller tries again.
    Changed,
    /// The descriptor cannot be registered.
    Refused(Errno),
}

/// The readiness of one descriptor; `D` names a driver in which it is registered.
pub(crate) struct Readiness<D = &'static Driver> {
    words: [AtomicU64; 2],
    drained: AtomicU64,
    inner: Lock<ReadinessInner<D>>,
}

struct ReadinessInner<D> {
    generation: u32,
    registrations: Registrations<D>,
    waiters: [List<ReadinessWaiter>; 2],
}

impl<D: Copy> Readiness<D> {
    pub(crate) fn new() -> Self {
        Self {
            words: [AtomicU64::new(0), AtomicU64::new(0)],
            drained: AtomicU64::new(NEVER),
            inner: Lock::new(ReadinessInner {
                generation: 0,
                registrations: Registrations::new(),
                waiters: [List::new(), List::new()],
            }),
        }
    }

    /// Reads the direction's word. To be called before the call that is tried.
    #[inline(always)]
    pub(crate) fn look(&self, direction: Direction) -> ReadinessTick {
        // Acquire: keeps the load before the system call that follows; it also pairs with the Release in `store_word`.
        ReadinessTick(self.words[direction as usize].load(Ordering::Acquire))
    }

    /// Whether a read would find nothing: see the short-read rule in the file's head.
    #[inline(always)]
    pub(crate) fn is_drained(&self, seen: ReadinessTick) -> bool {
        // Relaxed: words do not repeat, so a stale value here only costs a try.
        self.drained.load(Ordering::Relaxed) == seen.0
    }

    /// Notes that a read that looked at `seen` has emptied the socket.
    #[inline(always)]
    pub(crate) fn set_drained(&self, seen: ReadinessTick) {
        if seen.0 & (STICKY | REGISTERED) == REGISTERED {
            // Relaxed: as in `is_drained`.
            self.drained.store(seen.0, Ordering::Relaxed);
        }
    }

    fn word(&self, direction: Direction) -> u64 {
        // Relaxed: the caller holds the lock under which words are written.
        self.words[direction as usize].load(Ordering::Relaxed)
    }

    fn store_word(&self, direction: Direction, word: u64) {
        // Release: pairs with the Acquire in `look`.
        self.words[direction as usize].store(word, Ordering::Release);
    }

    /// Joins the wait list unless something has happened since the look. Registers the descriptor if this is the first
    /// wait of the waiter's runtime.
    ///
    /// # Safety
    /// The waiter and its cell stay where they are until the waiter has been unlisted or the cell is settled as woken
    /// or closed (S8).
    pub(super) unsafe fn enlist(
        &self,
        direction: Direction,
        seen: ReadinessTick,
        waiter: &ReadinessWaiter,
        registrar: impl Registrar<D>,
    ) -> Enlisted {
        let mut inner = self.inner.lock();
        if self.word(direction) != seen.0 {
            return Enlisted::Changed;
        }
        if !inner.registrations.has(|registration| registrar.is_own(registration)) {
            match registrar.register(inner.generation) {
                Ok(registration) => inner.registrations.add(registration),
                Err(errno) => return Enlisted::Refused(errno),
            }
            for direction in [Direction::Read, Direction::Write] {
                self.store_word(direction, self.word(direction) | REGISTERED);
            }
        }
        // SAFETY: S8: the caller's contract; the waiter is new or was unlisted.
        unsafe { inner.waiters[direction as usize].push_back(NonNull::from(waiter)) };
        Enlisted::Yes
    }

    /// Leaves the wait list, if the waiter is still in it. Afterwards this list no longer touches the waiter or its
    /// cell.
    pub(super) fn unlist(&self, direction: Direction, waiter: &ReadinessWaiter) {
        let mut inner = self.inner.lock();
        // SAFETY: S8: the caller's waiter is alive, and is in this list or in none.
        unsafe { inner.waiters[direction as usize].remove(NonNull::from(waiter)) };
    }

    /// Handles an event whose registration was made under `generation`.
    pub(super) fn event(&self, generation: u32, bits: u32, out: &mut Vec<Ready>) {
        let mut inner = self.inner.lock();
        if inner.generation != generation {
            return;
        }
        let mut wake = |unparker| match unparker {
            // SAFETY: S2: cores are type-stable.
            Unparker::Coroutine(core) => out.extend(unsafe { core.as_ref() }.make_ready()),
            Unparker::Thread(_) => unparker.unpark(),
        };
        if bits & (libc::EPOLLIN as u32 | READ_END_BITS | HANG_UP_BITS) != 0 {
            let sticky = bits & (READ_END_BITS | HANG_UP_BITS) != 0;
            self.tick(&mut inner, Direction::Read, sticky, &mut wake);
        }
        if bits & (libc::EPOLLOUT as u32 | HANG_UP_BITS) != 0 {
            let sticky = bits & HANG_UP_BITS != 0;
            self.tick(&mut inner, Direction::Write, sticky, &mut wake);
        }
    }

    #[inline]
    fn tick(&self, inner: &mut ReadinessInner<D>, direction: Direction, sticky: bool, wake: &mut impl FnMut(Unparker)) {
        let word = self.word(direction).wrapping_add(TICK);
        self.store_word(direction, word | if sticky { STICKY } else { 0 });
        settle_all(&mut inner.waiters[direction as usize], Outcome::Woken, wake);
    }

    /// Has the waiters of a direction try again: something has happened that the kernel reports by no event.
    #[cold]
    pub(crate) fn stir(&self, direction: Direction) {
        let mut unparkers = Vec::new();
        self.tick(&mut self.inner.lock(), direction, false, &mut |unparker| {
            unparkers.push(unparker)
        });
        unparkers.into_iter().for_each(Unparker::unpark);
    }

    /// Clears the sticky bits because the socket is about to be connected. What was seen so far (an unconnected socket
    /// reports a hang-up) is no end of the connection to come. To be called before the call: after the call the peer
    /// may already have come and gone, and the event that was seen may have been that end.
    pub(crate) fn forget_ends(&self) -> Forgotten {
        if [Direction::Read, Direction::Write]
            .iter()
            .any(|direction| self.look(*direction).is_sticky())
        {
            let _inner = self.inner.lock();
            Forgotten([Direction::Read, Direction::Write].map(|direction| {
                let word = self.word(direction);
                self.store_word(direction, (word & !STICKY).wrapping_add(TICK));
                word & STICKY
            }))
        } else {
            Forgotten([0; 2])
        }
    }

    /// Restores the sticky bits: the connect has failed, and the socket is what it was before.
    pub(crate) fn remember_ends(&self, forgotten: Forgotten) {
        if forgotten.0 != [0; 2] {
            let _inner = self.inner.lock();
            for direction in [Direction::Read, Direction::Write] {
                let word = self.word(direction).wrapping_add(TICK);
                self.store_word(direction, word | forgotten.0[direction as usize]);
            }
        }
    }

    /// Gives the number up: stale events are dropped from here on. Waiters learn that the descriptor is closed, or
    /// (`Woken`) that they have to try again. `deregister` runs under the lock, so that a wait that comes too late does
    /// not lose its registration.
    pub(super) fn reset(&self, outcome: Outcome, deregister: impl FnMut(D)) {
        let mut unparkers = Vec::new();
        {
            let mut inner = self.inner.lock();
            inner.generation = inner.generation.wrapping_add(1) & GENERATION_MASK;
            for direction in [Direction::Read, Direction::Write] {
                let word = (self.word(direction) & !(STICKY | REGISTERED)).wrapping_add(TICK);
                self.store_word(direction, word);
                settle_all(&mut inner.waiters[direction as usize], outcome, &mut |unparker| {
                    unparkers.push(unparker)
                });
            }
            inner.registrations.take_all().for_each(deregister);
        }
        unparkers.into_iter().for_each(Unparker::unpark);
    }

    /// Removes the registration of a driver that ends and reports nothing more. No remaining waiter depends on that
    /// driver, since a waiter keeps its runtime alive. `deregister` runs under the lock, as in [`reset`](Self::reset).
    pub(super) fn retire(&self, is_meant: impl Fn(&D) -> bool, deregister: impl FnOnce()) {
        // Without the bit there is no registration, and this driver gets no new one: its runtime has ended.
        if self.look(Direction::Read).0 & REGISTERED == 0 {
            return;
        }
        let mut inner = self.inner.lock();
        if !inner.registrations.remove(is_meant) {
            return;
        }
        deregister();
        if inner.registrations.is_empty() {
            debug_assert!(inner.waiters.iter().all(List::is_empty), "a waiter without a driver");
            for direction in [Direction::Read, Direction::Write] {
                // A new word: a read that noted "drained" under the old registration is tried again.
                self.store_word(direction, (self.word(direction) & !REGISTERED).wrapping_add(TICK));
            }
        }
    }
}

/// Empties a wait list; the caller holds the list's lock. Settling is the last touch of a waiter's memory.
#[inline]
fn settle_all(waiters: &mut List<ReadinessWaiter>, outcome: Outcome, wake: &mut impl FnMut(Unparker)) {
    while let Some(waiter) = waiters.pop_front() {
        // SAFETY: S8: it was listed until now, and its owner needs the lock, which the caller holds, or a settled cell
        // to go away.
        let cell = unsafe { waiter.as_ref() }.cell.get();
        // SAFETY: S8: the cell lives as long as its waiters.
        let cell = unsafe { &*cell };
        let unparker = cell.unparker();
        if cell.settle(outcome) {
            wake(unparker);
        }
    }
}

impl Readiness {
    /// Waits by calling `wait` until something has happened in a direction since the look. An error says why the
    /// descriptor cannot be waited for. The function is handed in, since the driver does not know how callers wait
    /// (`wait/mod.rs`).
    #[inline]
    pub(crate) fn wait_by(
        &self,
        fd: RawFd,
        direction: Direction,
        seen: ReadinessTick,
        deadline_ns: Option<u64>,
        wait: impl FnOnce(&WaitCell, WaitReason, Option<u64>) -> Outcome,
    ) -> Result<Outcome, Errno> {
        self.wait_with(direction, seen, deadline_ns, Here(fd), wait)
    }

    fn wait_with(
        &self,
        direction: Direction,
        seen: ReadinessTick,
        deadline_ns: Option<u64>,
        registrar: impl Registrar<&'static Driver>,
        wait: impl FnOnce(&WaitCell, WaitReason, Option<u64>) -> Outcome,
    ) -> Result<Outcome, Errno> {
        let cell = WaitCell::new();
        let waiter = ReadinessWaiter::new();
        waiter.attach(&cell);
        let enlisted = {
            let _critical = Critical::enter();
            // SAFETY: S8: both stay on this frame, which is left unlisted or settled by a waker.
            unsafe { self.enlist(direction, seen, &waiter, registrar) }
        };
        match enlisted {
            Enlisted::Yes => {}
            Enlisted::Changed => return Ok(Outcome::Woken),
            Enlisted::Refused(errno) => return Err(errno),
        }
        let reason = match direction {
            Direction::Read => WaitReason::Read,
            Direction::Write => WaitReason::Write,
        };
        let outcome = wait(&cell, reason, deadline_ns);
        if matches!(outcome, Outcome::TimedOut | Outcome::Cancelled) {
            let _critical = Critical::enter();
            self.unlist(direction, &waiter);
        }
        Ok(outcome)
    }
}

/// One of several descriptors and directions to wait for.
pub(crate) struct PollSlot {
    pub(crate) readiness: &'static Readiness,
    pub(crate) fd: RawFd,
    pub(crate) direction: Direction,
    pub(crate) seen: ReadinessTick,
    waiter: ReadinessWaiter,
}

impl PollSlot {
    /// Makes a slot, and looks at the direction's word.
    pub(crate) fn new(readiness: &'static Readiness, fd: RawFd, direction: Direction) -> Self {
        let seen = readiness.look(direction);
        Self {
            readiness,
            fd,
            direction,
            seen,
            waiter: ReadinessWaiter::new(),
        }
    }
}

impl PollSlot {
    /// Makes the slot a part of a wait for several things, unless something has happened since the slot looked.
    ///
    /// # Safety
    /// Slot and cell stay where they are until [`unlist`](Self::unlist) has returned (S8).
    pub(crate) unsafe fn enlist(&self, cell: &WaitCell) -> Enlisted {
        let _critical = Critical::enter();
        self.waiter.attach(cell);
        // SAFETY: S8: the caller promises: slot and cell stay where they are until `unlist` has
        // returned.
        unsafe {
            self.readiness
                .enlist(self.direction, self.seen, &self.waiter, Here(self.fd))
        }
    }

    /// Takes the slot out of the wait that [`enlist`](Self::enlist) made it a part of.
    pub(crate) fn unlist(&self) {
        let _critical = Critical::enter();
        self.readiness.unlist(self.direction, &self.waiter);
    }
}

/// Waits until something has happened in any of the slots since it looked. A file that cannot be polled never changes,
/// and the wait ignores it.
#[inline]
pub(crate) fn wait_any_by(
    slots: &[Option<PollSlot>],
    deadline_ns: Option<u64>,
    wait: impl FnOnce(&WaitCell, WaitReason, Option<u64>) -> Outcome,
) -> Result<Outcome, Errno> {
    wait_any_with(slots, deadline_ns, Here, wait)
}

/// Like [`wait_any_by`], with a registrar for each descriptor.
fn wait_any_with<R: Registrar<&'static Driver>>(
    slots: &[Option<PollSlot>],
    deadline_ns: Option<u64>,
    registrar: impl Fn(RawFd) -> R,
    wait: impl FnOnce(&WaitCell, WaitReason, Option<u64>) -> Outcome,
) -> Result<Outcome, Errno> {
    let cell = WaitCell::new();
    let joined = {
        let _critical = Critical::enter();
        join_all(slots, &cell, registrar)
    };
    let outcome = match joined {
        Enlisted::Yes => Ok(wait(&cell, WaitReason::Poll, deadline_ns)),
        Enlisted::Changed => Ok(Outcome::Woken),
        Enlisted::Refused(errno) => Err(errno),
    };
    let _critical = Critical::enter();
    for slot in slots.iter().flatten() {
        slot.readiness.unlist(slot.direction, &slot.waiter);
    }
    outcome
}

fn join_all<R: Registrar<&'static Driver>>(
    slots: &[Option<PollSlot>],
    cell: &WaitCell,
    registrar: impl Fn(RawFd) -> R,
) -> Enlisted {
    for slot in slots.iter().flatten() {
        slot.waiter.attach(cell);
        // SAFETY: S8: the only caller unlists every slot before the cell or the slots go away.
        let enlisted = unsafe {
            slot.readiness
                .enlist(slot.direction, slot.seen, &slot.waiter, registrar(slot.fd))
        };
        if !matches!(enlisted, Enlisted::Yes | Enlisted::Refused(Errno::PERM)) {
            return enlisted;
        }
    }
    Enlisted::Yes
}

/// Registers in the driver of the processor on which the caller runs, or ran last; the caller is in a critical section.
struct Here(RawFd);

impl Registrar<&'static Driver> for Here {
    #[inline(always)]
    fn is_own(&self, registration: &&'static Driver) -> bool {
        last_link().is_some_and(|link| registration.owner() == link.runtime)
    }

    fn register(self, generation: u32) -> Result<&'static Driver, Errno> {
        let driver = last_link().and_then(Driver::of).ok_or(Errno::NOSYS)?;
        register_in(driver, self.0, generation)
    }
}

fn register_in(driver: &'static Driver, fd: RawFd, generation: u32) -> Result<&'static Driver, Errno> {
    let data = u64::from(generation) << 32 | u64::from(fd as u32);
    match driver.epoll.add(fd, INTEREST, data) {
        // The registration was left behind by a number that was closed where no hook saw it, while its file stayed open
        // elsewhere.
        Err(Errno::EXIST) => driver.epoll.modify(fd, INTEREST, data)?,
        result => result?,
    }
    // Relaxed: a hint for the processor's worker, on which the caller runs or ran last.
    driver.registered.fetch_add(1, Ordering::Relaxed);
    Ok(driver)
}

/// Removes a registration, before the number is closed.
pub(super) fn deregister(driver: &'static Driver, fd: RawFd) {
    // ENOENT, EBADF: the number was closed where no hook saw it, and the kernel has dropped the registration itself.
    let _ = driver.epoll.delete(fd);
}

#[cfg(all(test, not(loom)))]
mod tests;
