//! Tests of the wheel against a sorted map, and with a million entries.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

fn boxed() -> NonNull<WheelEntry> {
    NonNull::from(Box::leak(Box::new(WheelEntry::new())))
}

/// Entries that are freed after the wheel of the test.
struct Entries(Vec<NonNull<WheelEntry>>);

impl Drop for Entries {
    fn drop(&mut self) {
        for entry in self.0.drain(..) {
            // SAFETY: S8: made by `boxed`, freed once, after the last use of the wheel.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
        }
    }
}

fn deadline_of(entry: NonNull<WheelEntry>) -> u64 {
    // SAFETY: S8: the entries outlive the test's use of the wheel.
    unsafe { entry.as_ref() }.deadline_ns.get()
}

fn is_linked(entry: NonNull<WheelEntry>) -> bool {
    // SAFETY: S8: the entries outlive the test's use of the wheel.
    unsafe { entry.as_ref() }.is_linked()
}

/// The wheel, and a naive account of what must be in it.
struct Checked {
    wheel: Box<Wheel>,
    now_ns: u64,
    /// By due tick, then address.
    pending: BTreeSet<(u64, NonNull<WheelEntry>)>,
    deadlines: BTreeMap<NonNull<WheelEntry>, u64>,
}

impl Checked {
    fn new(now_ns: u64) -> Self {
        Self {
            wheel: Box::new(Wheel::new(now_ns)),
            now_ns,
            pending: BTreeSet::new(),
            deadlines: BTreeMap::new(),
        }
    }

    fn insert(&mut self, entry: NonNull<WheelEntry>, deadline_ns: u64) {
        // SAFETY: S8: not linked; it lives until the wheel is used no more.
        unsafe { self.wheel.insert(entry, deadline_ns) };
        assert!(is_linked(entry));
        self.pending.insert((deadline_ns.div_ceil(TICK_NS), entry));
        self.deadlines.insert(entry, deadline_ns);
    }

    fn remove(&mut self, entry: NonNull<WheelEntry>) {
        let expected = self.deadlines.remove(&entry);
        // SAFETY: S8: it lives, and is in this wheel or in none.
        assert_eq!(unsafe { self.wheel.remove(entry) }, expected.is_some());
        assert!(!is_linked(entry));
        if let Some(deadline_ns) = expected {
            self.pending.remove(&(deadline_ns.div_ceil(TICK_NS), entry));
        }
    }

    /// Moves to a time and takes out all entries that are due; returns how many there were.
    fn advance(&mut self, now_ns: u64) -> usize {
        self.now_ns = self.now_ns.max(now_ns);
        let mut count = 0;
        let mut last_due = 0;
        while let Some(entry) = self.wheel.expire(now_ns) {
            let deadline_ns = self.deadlines.remove(&entry).expect("it was pending");
            assert_eq!(deadline_ns, deadline_of(entry));
            assert!(deadline_ns <= self.now_ns, "early");
            assert!(!is_linked(entry));
            let due = deadline_ns.div_ceil(TICK_NS);
            assert!(self.pending.remove(&(due, entry)));
            // Entries that were late when they were inserted count as due at once, so they sort by their time of
            // insertion.
            let due = due.max(self.wheel.elapsed);
            assert!(last_due <= due, "out of order");
            last_due = due;
            count += 1;
        }
        if let Some(&(due, _)) = self.pending.first() {
            assert!(
                u128::from(due) * u128::from(TICK_NS) > u128::from(self.now_ns),
                "left behind"
            );
        }
        self.check();
        count
    }

    fn earliest_deadline(&self) -> Option<u64> {
        let &(due, _) = self.pending.first()?;
        let same_tick = self.pending.iter().take_while(|pending| pending.0 == due);
        same_tick.map(|(_, entry)| self.deadlines[entry]).min()
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.pending.len());
        let Some(earliest) = self.earliest_deadline() else {
            assert_eq!(self.wheel.next_wake_ns(), None);
            return;
        };
        let wake = self.wheel.next_wake_ns().expect("entries are pending");
        let bound = u128::from(earliest) + u128::from(TICK_NS);
        assert!(u128::from(wake) < bound, "late");
    }

    /// Moves from wake to wake until all entries are out.
    fn run_out(&mut self) {
        let mut idle_wakes = 0;
        while let Some(wake) = self.wheel.next_wake_ns() {
            let wake = wake.max(self.now_ns);
            match self.advance(wake) {
                0 => {
                    idle_wakes += 1;
                    let next = self.wheel.next_wake_ns().expect("nothing came out");
                    assert!(next > wake, "no progress");
                }
                _ => idle_wakes = 0,
            }
            assert!(idle_wakes < LEVELS, "too many wakes for nothing");
        }
        assert!(self.pending.is_empty());
        assert_eq!(self.wheel.levels_used, 0);
        assert_eq!(self.wheel.slots_used, [0; LEVELS]);
    }
}

#[test]
fn a_tick_is_a_power_of_two_and_the_levels_cover_all_of_time() {
    assert!(due_tick(u64::MAX) < 1 << (LEVELS as u32 * DIGIT_SHIFT));
    assert_eq!(present_tick(u64::MAX - 1) + 1, present_tick(u64::MAX));
}

#[test]
fn never_early_and_less_than_a_tick_late() {
    for deadline_ns in [1, TICK_NS - 1, TICK_NS, TICK_NS + 1, 1_000_000_007, 86_400_000_000_000] {
        let entries = Entries(vec![boxed()]);
        let mut wheel = Box::new(Wheel::new(0));
        // SAFETY: S8: not linked; it outlives the wheel's use.
        unsafe { wheel.insert(entries.0[0], deadline_ns) };
        assert_eq!(wheel.expire(deadline_ns - 1), None);
        let wake = wheel.next_wake_ns().unwrap();
        assert!(
            (deadline_ns..deadline_ns + TICK_NS).contains(&wake),
            "a single entry gives the exact tick"
        );
        assert_eq!(wheel.expire(wake), Some(entries.0[0]));
        assert_eq!((wheel.expire(wake), wheel.next_wake_ns(), wheel.len()), (None, None, 0));
    }
}

#[test]
fn the_past_is_due_at_once_and_time_does_not_go_back() {
    let entries = Entries(vec![boxed(), boxed()]);
    let mut checked = Checked::new(5_000_000_000);
    checked.insert(entries.0[0], 3);
    assert!(checked.wheel.next_wake_ns().unwrap() <= 5_000_000_000);
    assert_eq!(checked.advance(0), 1);
    checked.advance(9_000_000_000);
    checked.insert(entries.0[1], 8_000_000_000);
    assert_eq!(checked.advance(1_000), 1);
}

#[test]
fn the_end_of_time_is_a_deadline_like_any_other() {
    let entries = Entries((0..3).map(|_| boxed()).collect());
    let mut checked = Checked::new(1_000);
    checked.insert(entries.0[0], u64::MAX);
    checked.insert(entries.0[1], u64::MAX - 1);
    checked.insert(entries.0[2], u64::MAX - TICK_NS);
    assert_eq!(checked.advance(u64::MAX / 2), 0);
    assert_eq!(checked.advance(u64::MAX - TICK_NS), 0);
    assert_eq!(checked.advance(u64::MAX - TICK_NS + 1), 1);
    assert_eq!(checked.wheel.next_wake_ns(), Some(u64::MAX));
    assert_eq!(checked.advance(u64::MAX), 2);
}

#[test]
fn the_caller_may_insert_and_remove_between_two_that_are_due() {
    let entries = Entries((0..4).map(|_| boxed()).collect());
    let mut checked = Checked::new(0);
    for &entry in &entries.0[..3] {
        checked.insert(entry, TICK_NS * 100);
    }
    let now_ns = TICK_NS * 200;
    assert_eq!(checked.wheel.expire(now_ns), Some(entries.0[0]));
    // SAFETY: S8: alive, in this wheel.
    assert!(unsafe { checked.wheel.remove(entries.0[1]) });
    // SAFETY: S8: not linked; it outlives the wheel's use.
    unsafe { checked.wheel.insert(entries.0[3], TICK_NS * 150) };
    assert_eq!(checked.wheel.expire(now_ns), Some(entries.0[2]));
    assert_eq!(checked.wheel.expire(now_ns), Some(entries.0[3]));
    assert_eq!(checked.wheel.expire(now_ns), None);
}

#[test]
fn years_with_nothing_to_do_are_no_loop() {
    let entries = Entries(vec![boxed()]);
    let mut checked = Checked::new(0);
    let start = Instant::now();
    let year_ns = 365 * 86_400 * 1_000_000_000;
    for year in 0..400 {
        checked.insert(entries.0[0], (year + 1) * year_ns);
        assert_eq!(checked.advance((year + 1) * year_ns + TICK_NS), 1);
    }
    assert!(start.elapsed().as_secs() < 1);
}

/// Times of all magnitudes: a uniform number of bits, then a uniform value below.
fn any_time_ns() -> impl Strategy<Value = u64> {
    (0..64u32, any::<u64>()).prop_map(|(bits, value)| value >> bits)
}

#[derive(Debug, Clone)]
enum Operation {
    Insert { which: usize, after_ns: u64 },
    Remove { which: usize },
    Advance { by_ns: u64 },
    AdvanceToWake,
    Backwards,
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let which = 0..40usize;
    prop_oneof![
        6 => (which.clone(), any_time_ns()).prop_map(|(which, after_ns)| Operation::Insert { which, after_ns }),
        2 => which.prop_map(|which| Operation::Remove { which }),
        2 => (8..48u32, any::<u64>()).prop_map(|(bits, value)| Operation::Advance { by_ns: value >> (64 - bits) }),
        3 => Just(Operation::AdvanceToWake),
        1 => Just(Operation::Backwards),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 512 }))]
    #[test]
    fn behaves_as_a_sorted_map(
        start_ns in any_time_ns(),
        operations in prop::collection::vec(any_operation(), 0..200),
    ) {
        let entries = Entries((0..40).map(|_| boxed()).collect());
        let mut checked = Checked::new(start_ns);
        for operation in operations {
            match operation {
                Operation::Insert { which, after_ns } => {
                    let entry = entries.0[which];
                    if is_linked(entry) {
                        checked.remove(entry);
                    }
                    checked.insert(entry, checked.now_ns.saturating_add(after_ns));
                }
                Operation::Remove { which } => checked.remove(entries.0[which]),
                Operation::Advance { by_ns } => {
                    checked.advance(checked.now_ns.saturating_add(by_ns));
                }
                Operation::AdvanceToWake => {
                    if let Some(wake) = checked.wheel.next_wake_ns() {
                        checked.advance(wake);
                    }
                }
                Operation::Backwards => {
                    checked.advance(checked.now_ns / 2);
                }
            }
            checked.check();
        }
        checked.run_out();
    }
}

#[test]
fn a_million_entries() {
    const COUNT: usize = if cfg!(miri) { 1_000 } else { 1_000_000 };
    let mut storage: Vec<WheelEntry> = (0..COUNT).map(|_| WheelEntry::new()).collect();
    let base = NonNull::new(storage.as_mut_ptr()).unwrap();
    let mut wheel = Box::new(Wheel::new(0));
    let mut random = fastrand::Rng::with_seed(1);
    let start = Instant::now();
    for index in 0..COUNT {
        // SAFETY: S8: within the vector.
        let entry = unsafe { base.add(index) };
        // SAFETY: S8: not linked; the vector outlives the wheel's use and is not touched.
        unsafe { wheel.insert(entry, random.u64(1_000_000..1_001_000_000)) };
    }
    let inserted = start.elapsed();
    assert_eq!(wheel.len(), COUNT);
    let (mut out, mut wakes, mut last_due) = (0, 0, 0);
    while let Some(wake) = wheel.next_wake_ns() {
        wakes += 1;
        while let Some(entry) = wheel.expire(wake) {
            let deadline_ns = deadline_of(entry);
            assert!(deadline_ns <= wake && wake - deadline_ns < TICK_NS);
            assert!(last_due <= deadline_ns.div_ceil(TICK_NS));
            last_due = deadline_ns.div_ceil(TICK_NS);
            out += 1;
        }
    }
    let total = start.elapsed();
    println!("{COUNT} entries: inserted in {inserted:?}, out after {total:?}, {wakes} wakes");
    assert_eq!(out, COUNT);
    drop(storage);
}
