//! Which deadline is due next, for a million of them, in O(1): a hierarchical timer wheel. Pure: no clock, no lock, no
//! allocation.
//!
//! # Vocabulary
//! Time is counted in *ticks* of 2^14 ns (16.4 µs). That is below what a sleeping worker can keep anyway (waking costs
//! 25 µs and more), and one level of the wheel then spans about a millisecond. An entry's *due tick* is its deadline
//! rounded **up**, the present's tick is rounded **down**; so an entry never comes out early, and at most one tick
//! late. A tick number is read as nine digits to the base 64 (54 bits; u64 nanoseconds need 51), one *level* for each
//! digit, one *slot* for each value of the digit. `elapsed` is the tick up to which everything has come out.
//!
//! # Protocol
//! An entry is at the level of the highest digit in which its due tick differs from `elapsed`, in the slot of that
//! digit (level 0 and the present slot if the entry is due already). Hence three invariants, on which everything rests:
//! 1. at level L all digits above L are those of `elapsed`;
//! 2. a slot in use at level L > 0 lies beyond the present digit of its level, and at level 0 not before it: no slot is
//!    ever wrapped around, and the lowest bit of the level's occupancy map is its earliest slot;
//! 3. so everything at a lower level is due before everything at a higher one: the earliest slot in use at the lowest
//!    level in use is the next thing to happen.
//!
//! `expire` moves `elapsed` straight to the start of that slot, if the present has reached it. At level 0 the slot's
//! entries are due. At a higher level the slot is *cascaded*: each entry goes to a lower level, for it now agrees with
//! `elapsed` in one more digit. `elapsed` never passes a slot in use, which keeps the invariants. Empty stretches are
//! jumped over, even if they last days. An entry moves at most eight times in its life, always to a lower level.
//!
//! # When to wake
//! The start of the next slot is a safe answer, but may be a mere cascade. A slot with few entries is looked through
//! and gives its earliest due tick instead, so that a process with a handful of long sleeps wakes for those sleeps
//! only.
//!
//! # Rejected
//! * A heap: O(log n) per operation, with a cache miss for each level, and no O(1) removal without back pointers.
//! * Wheels that wrap around (Varghese and Lauck's original, Linux's): a slot then mixes laps, or rounding grows with
//!   the distance. Their gain is that entries never cascade, which here would break the promise of one tick.
//!
//! Related: Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987), scheme 7; tokio's wheel for the digit
//! trick.

use std::cell::Cell;
use std::mem::{self, offset_of};
use std::ptr::NonNull;

use super::list::{Link, List, Node};

const TICK_SHIFT: u32 = 14;
/// The length of a tick in ns: how late an entry may come out.
pub(crate) const TICK_NS: u64 = 1 << TICK_SHIFT;

const DIGIT_SHIFT: u32 = 6;
const SLOTS: usize = 1 << DIGIT_SHIFT;
const LEVELS: usize = 9;
/// How many entries of a slot `next_wake_ns` looks at for an exact answer. A guess: the cache misses of so many entries
/// cost far less than a needless wake-up.
const EXACT_MAX: usize = 8;

/// A deadline in a wheel, pinned in the waiter's frame.
pub(crate) struct WheelEntry {
    link: Link<WheelEntry>,
    deadline_ns: Cell<u64>,
    position: Cell<Position>,
}

impl WheelEntry {
    /// An entry that is in no wheel.
    pub(crate) const fn new() -> Self {
        Self {
            link: Link::new(),
            deadline_ns: Cell::new(0),
            position: Cell::new(Position { level: 0, slot: 0 }),
        }
    }

    /// Whether the entry is in a wheel. To be called only by the holder of that wheel, or by a caller that knows that
    /// the entry is in no wheel.
    #[inline]
    pub(crate) fn is_linked(&self) -> bool {
        self.link.is_linked()
    }
}

impl Default for WheelEntry {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: S8: `link` is a field of the entry, private to this file, which leaves it to the lists.
unsafe impl Node for WheelEntry {
    #[inline(always)]
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: S8: within the entry, which lives by the caller's promise.
        unsafe { this.byte_add(offset_of!(WheelEntry, link)) }.cast()
    }
}

#[derive(Clone, Copy)]
struct Position {
    level: u8,
    slot: u8,
}

/// The wheel. It takes about 9 KiB; dropping it forgets the entries in it.
pub(crate) struct Wheel {
    elapsed: u64,
    /// Bit L: level L has entries.
    levels_used: u16,
    /// Bit S of map L: slot S of level L has entries.
    slots_used: [u64; LEVELS],
    len: usize,
    slots: [[List<WheelEntry>; SLOTS]; LEVELS],
}

// SAFETY: S2: by the contract of `insert` the entries in a wheel are touched by nobody but its holder, whichever thread
// that is.
unsafe impl Send for Wheel {}

impl Wheel {
    /// An empty wheel, for deadlines from `now_ns` on.
    pub(crate) const fn new(now_ns: u64) -> Self {
        Self {
            elapsed: now_ns >> TICK_SHIFT,
            levels_used: 0,
            slots_used: [0; LEVELS],
            len: 0,
            slots: [const { [const { List::new() }; SLOTS] }; LEVELS],
        }
    }

    /// Adds an entry; an entry with a deadline in the past comes out at the next [`expire`](Self::expire).
    ///
    /// # Safety
    /// The entry is in no wheel. Until it has left this wheel it lives, stays in place, and is touched only by the
    /// holder of the wheel; no `&mut` to it exists.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, entry: NonNull<WheelEntry>, deadline_ns: u64) {
        // SAFETY: S8: the caller promises that the entry lives.
        unsafe { entry.as_ref() }.deadline_ns.set(deadline_ns);
        // SAFETY: S8: the caller's promise is handed on.
        unsafe { self.place(entry) };
        self.len += 1;
    }

    /// Takes an entry out. `false`: the entry was not in the wheel, so it has expired or was never inserted.
    ///
    /// # Safety
    /// The entry lives, and is in this wheel or in none.
    #[inline]
    pub(crate) unsafe fn remove(&mut self, entry: NonNull<WheelEntry>) -> bool {
        // SAFETY: S8: the caller promises that the entry lives.
        let position = unsafe { entry.as_ref() }.position.get();
        // SAFETY: S8: it is in the list of its position, or in none.
        let linked = unsafe { self.slot(position).remove(entry) };
        if linked {
            self.len -= 1;
            self.forget_if_empty(position);
        }
        linked
    }

    /// When to call [`expire`](Self::expire) next, in ns: never later than one tick after the earliest deadline. The
    /// time may be earlier, but each such call leads to a later answer or gives an entry. The time is in the past if
    /// something is due; `None`: there is nothing to wait for.
    #[inline]
    pub(crate) fn next_wake_ns(&self) -> Option<u64> {
        let (position, start) = self.earliest()?;
        let tick = match position.level {
            0 => start,
            _ => self.earliest_due_in(position).unwrap_or(start),
        };
        Some(ns_at(tick))
    }

    /// Takes out one entry whose deadline has come, earlier ticks first. To be called until it returns `None`; in
    /// between the caller may do anything, also insert and remove. A `now_ns` below an earlier one counts as the
    /// earlier one.
    #[inline]
    pub(crate) fn expire(&mut self, now_ns: u64) -> Option<NonNull<WheelEntry>> {
        let now = present_tick(now_ns).max(self.elapsed);
        while let Some((position, start)) = self.earliest() {
            if start > now {
                break;
            }
            self.elapsed = start;
            if position.level == 0 {
                return self.pop(position);
            }
            self.cascade(position);
        }
        self.elapsed = now;
        None
    }

    /// The number of entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The next slot to be reached, and its first tick (invariant 3).
    #[inline]
    fn earliest(&self) -> Option<(Position, u64)> {
        if self.levels_used == 0 {
            return None;
        }
        let level = self.levels_used.trailing_zeros();
        let slot = self.slots_used[level as usize].trailing_zeros();
        let shift = level * DIGIT_SHIFT;
        let above = shift + DIGIT_SHIFT;
        // Invariant 1: the digits above are those of `elapsed`.
        let start = (self.elapsed >> above << above) | u64::from(slot) << shift;
        debug_assert!(start >= self.elapsed, "a slot in use was passed");
        let position = Position {
            level: level as u8,
            slot: slot as u8,
        };
        Some((position, start))
    }

    /// The earliest due tick in a slot, if it has few entries.
    #[cold]
    fn earliest_due_in(&self, position: Position) -> Option<u64> {
        let list = &self.slots[position.level as usize][position.slot as usize];
        let mut earliest = None;
        for (count, entry) in list.iter().enumerate() {
            if count == EXACT_MAX {
                return None;
            }
            // SAFETY: S8: an entry in the wheel lives.
            let due = due_tick(unsafe { entry.as_ref() }.deadline_ns.get());
            earliest = Some(earliest.map_or(due, |other: u64| other.min(due)));
        }
        earliest
    }

    /// # Safety
    /// As for [`insert`](Self::insert); the deadline is set.
    #[inline]
    unsafe fn place(&mut self, entry: NonNull<WheelEntry>) {
        // SAFETY: S8: the caller promises that the entry lives.
        let fields = unsafe { entry.as_ref() };
        let due = due_tick(fields.deadline_ns.get()).max(self.elapsed);
        // The lowest bit is set, so that no difference counts as a difference in the lowest digit.
        let highest_bit = ((due ^ self.elapsed) | 1).ilog2();
        let level = highest_bit / DIGIT_SHIFT;
        let slot = (due >> (level * DIGIT_SHIFT)) as usize % SLOTS;
        let position = Position {
            level: level as u8,
            slot: slot as u8,
        };
        fields.position.set(position);
        self.levels_used |= 1 << level;
        self.slots_used[level as usize] |= 1 << slot;
        // SAFETY: S8: the caller's promise is handed on.
        unsafe { self.slot(position).push_back(entry) };
    }

    #[inline]
    fn pop(&mut self, position: Position) -> Option<NonNull<WheelEntry>> {
        let entry = self.slot(position).pop_front();
        debug_assert!(entry.is_some(), "the map shows an empty slot");
        self.len -= 1;
        self.forget_if_empty(position);
        entry
    }

    /// Moves the entries of a slot that `elapsed` has reached to lower levels.
    #[cold]
    fn cascade(&mut self, position: Position) {
        let mut entries = mem::take(self.slot(position));
        self.forget_if_empty(position);
        while let Some(entry) = entries.pop_front() {
            // SAFETY: S8: it was in the wheel until now and stays under the same promise; it is in no list.
            unsafe { self.place(entry) };
        }
    }

    #[inline]
    fn forget_if_empty(&mut self, position: Position) {
        if !self.slot(position).is_empty() {
            return;
        }
        let used = &mut self.slots_used[position.level as usize];
        *used &= !(1 << position.slot);
        if *used == 0 {
            self.levels_used &= !(1 << position.level);
        }
    }

    #[inline(always)]
    fn slot(&mut self, position: Position) -> &mut List<WheelEntry> {
        &mut self.slots[position.level as usize][position.slot as usize]
    }
}

/// The first tick that begins at the deadline or later.
#[inline(always)]
fn due_tick(deadline_ns: u64) -> u64 {
    deadline_ns.div_ceil(TICK_NS)
}

/// The last tick that has begun. The end of time counts as the tick after the last, so that even a deadline at the end
/// of time is kept.
#[inline(always)]
fn present_tick(now_ns: u64) -> u64 {
    match now_ns {
        u64::MAX => due_tick(u64::MAX),
        _ => now_ns >> TICK_SHIFT,
    }
}

/// When a tick begins.
#[inline(always)]
fn ns_at(tick: u64) -> u64 {
    tick.saturating_mul(TICK_NS)
}

#[cfg(all(test, not(loom)))]
mod tests;
