//! Tests of the ring against a deque, and under threads that steal from each other.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A number as an element.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Number(usize);

impl Word for Number {
    fn into_word(self) -> NonZeroUsize {
        NonZeroUsize::new(self.0 + 1).unwrap()
    }
    unsafe fn from_word(word: NonZeroUsize) -> Self {
        Number(word.get() - 1)
    }
}

/// An element that counts its owners.
struct Counted(Arc<()>);

impl Word for Counted {
    fn into_word(self) -> NonZeroUsize {
        NonZeroUsize::new(Arc::into_raw(self.0).expose_provenance()).unwrap()
    }
    unsafe fn from_word(word: NonZeroUsize) -> Self {
        // SAFETY: S2: from Arc::into_raw, once.
        Counted(unsafe { Arc::from_raw(ptr(word)) })
    }
}

fn ptr<T>(word: NonZeroUsize) -> *const T {
    std::ptr::with_exposed_provenance(word.get())
}

fn drain(owner: &Owner<Number>) -> Vec<usize> {
    std::iter::from_fn(|| owner.pop()).map(|number| number.0).collect()
}

fn push_all(owner: &Owner<Number>, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| owner.push(Number(number)).unwrap());
}

#[test]
fn first_in_first_out_and_a_full_ring_gives_back() {
    let (owner, stealer) = ring::<Number>();
    assert!(owner.len() == 0 && stealer.is_empty() && owner.pop().is_none());
    push_all(&owner, 0..CAPACITY);
    assert_eq!(owner.push(Number(999)), Err(Number(999)));
    assert_eq!((owner.len(), stealer.len()), (CAPACITY, CAPACITY));
    assert_eq!(drain(&owner), (0..CAPACITY).collect::<Vec<_>>());
    assert!(owner.len() == 0 && stealer.is_empty());
}

#[test]
fn a_steal_takes_the_older_half_in_order() {
    let (from, stealer) = ring();
    let (into, _) = ring();
    push_all(&from, 0..9);
    assert_eq!(stealer.steal_into(&into), Some(Number(0)));
    assert_eq!(drain(&into), [1, 2, 3, 4]);
    assert_eq!(drain(&from), [5, 6, 7, 8]);
    assert_eq!(stealer.steal_into(&into), None);
    push_all(&from, 0..1);
    assert_eq!(stealer.steal_into(&into), Some(Number(0)));
    assert!(into.len() == 0);
}

#[test]
fn a_steal_takes_no_more_than_there_is_room_for() {
    let (from, stealer) = ring();
    let (into, _) = ring();
    push_all(&from, 0..100);
    push_all(&into, 1000..1000 + CAPACITY - 3);
    assert_eq!(stealer.steal_into(&into), Some(Number(0)));
    assert_eq!((from.len(), into.len()), (96, CAPACITY));
    assert_eq!(stealer.steal_into(&into), Some(Number(4)));
    assert_eq!((from.len(), into.len()), (95, CAPACITY));
    assert_eq!(drain(&into)[CAPACITY - 3..], [1, 2, 3]);
}

#[test]
fn half_goes_to_the_injector() {
    let (owner, _) = ring();
    let mut overflow = vec![Number(7777)];
    owner.take_half(&mut overflow);
    assert_eq!(overflow.len(), 1);
    push_all(&owner, 0..CAPACITY);
    owner.take_half(&mut overflow);
    assert_eq!(overflow.len(), 1 + CAPACITY / 2);
    assert!(overflow[1..].iter().map(|number| number.0).eq(0..CAPACITY / 2));
    assert_eq!(owner.pop(), Some(Number(CAPACITY / 2)));
}

#[test]
fn elements_die_with_the_last_handle() {
    let element = Arc::new(());
    let (owner, stealer) = ring();
    for _ in 0..5 {
        assert!(owner.push(Counted(element.clone())).is_ok());
    }
    drop(owner.pop().map(|counted| counted.0));
    drop(owner);
    assert_eq!(Arc::strong_count(&element), 5);
    let (other, _) = ring();
    drop(stealer.steal_into(&other).map(|counted| counted.0));
    drop(other);
    drop(stealer);
    assert_eq!(Arc::strong_count(&element), 1);
}

proptest! {
    #[test]
    fn behaves_as_a_deque(operations in prop::collection::vec((0..8u8, 0..40usize), 0..300)) {
        let (owner, stealer) = ring();
        let (other, _) = ring();
        let (mut oracle, mut oracle_other) = (VecDeque::new(), VecDeque::new());
        let mut next = 0;
        for (operation, count) in operations {
            match operation {
                0..=3 => for _ in 0..count {
                    let expected = if oracle.len() < CAPACITY { Ok(()) } else { Err(Number(next)) };
                    prop_assert_eq!(owner.push(Number(next)), expected);
                    if expected.is_ok() {
                        oracle.push_back(next);
                    }
                    next += 1;
                },
                4 | 5 => for _ in 0..count {
                    prop_assert_eq!(owner.pop(), oracle.pop_front().map(Number));
                },
                6 => {
                    let half = oracle.len().div_ceil(2).min(CAPACITY - oracle_other.len() + 1);
                    let mut taken = oracle.drain(..half);
                    let first = taken.next();
                    oracle_other.extend(taken);
                    prop_assert_eq!(stealer.steal_into(&other), first.map(Number));
                    if count > 20 {
                        prop_assert_eq!(drain(&other), Vec::from(std::mem::take(&mut oracle_other)));
                    }
                }
                _ => {
                    let mut overflow = Vec::new();
                    owner.take_half(&mut overflow);
                    let half = oracle.len().div_ceil(2);
                    prop_assert!(overflow.into_iter().map(|number| number.0).eq(oracle.drain(..half)));
                }
            }
            prop_assert_eq!((owner.len(), stealer.len(), other.len()), (oracle.len(), oracle.len(), oracle_other.len()));
        }
        prop_assert_eq!(drain(&owner), Vec::from(oracle));
    }
}

/// The seed to use: the environment's, else the clock's. It is printed, so that it is seen when the test fails.
fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let given = std::env::var("RING_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(clock);
    println!("replay with RING_SEED={seed}");
    seed
}

/// One owner that pushes, pops and overflows, and also steals from its neighbour. Returns what it consumed.
fn stress_worker(
    owner: Owner<Number>,
    victim: Stealer<Number>,
    numbers: std::ops::Range<usize>,
    mut random: fastrand::Rng,
    all_pushed: &[AtomicBool],
    me: usize,
) -> Vec<usize> {
    let mut consumed = Vec::new();
    let mut overflow = Vec::new();
    let mut numbers = numbers.peekable();
    loop {
        for _ in 0..random.u32(..64) {
            let Some(number) = numbers.next() else { break };
            if let Err(back) = owner.push(Number(number)) {
                owner.take_half(&mut overflow);
                overflow.push(back);
            }
        }
        for _ in 0..random.u32(..48) {
            consumed.extend(owner.pop().map(|number| number.0));
        }
        if random.u32(..3) < 2 {
            consumed.extend(victim.steal_into(&owner).map(|number| number.0));
        }
        consumed.extend(overflow.drain(..).map(|number| number.0));
        if numbers.peek().is_none() {
            all_pushed[me].store(true, Ordering::Release);
        }
        let done = all_pushed.iter().all(|flag| flag.load(Ordering::Acquire));
        if done && owner.len() == 0 && victim.is_empty() {
            return consumed;
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_among_threads() {
    const WORKERS: usize = 4;
    const EACH: usize = if cfg!(miri) { 300 } else { 100_000 };
    let seed = seed();
    let all_pushed: [AtomicBool; WORKERS] = Default::default();
    let (owners, stealers): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| ring::<Number>()).unzip();
    let mut consumed = thread::scope(|scope| {
        let threads: Vec<_> = owners
            .into_iter()
            .enumerate()
            .map(|(me, owner)| {
                let victim = stealers[(me + 1) % WORKERS].clone();
                let random = fastrand::Rng::with_seed(seed.rotate_left(16 * me as u32));
                let all_pushed = &all_pushed;
                scope.spawn(move || stress_worker(owner, victim, me * EACH..(me + 1) * EACH, random, all_pushed, me))
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    consumed.sort_unstable();
    assert!(consumed.into_iter().eq(0..WORKERS * EACH));
}

/// `cargo test -p silken --release --lib ring -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn cost_of_push_and_pop() {
    let (owner, _stealer) = ring();
    push_all(&owner, 0..2);
    const ROUNDS: u32 = 20_000_000;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let number = std::hint::black_box(owner.pop()).unwrap();
            owner.push(number).unwrap();
        }
        best = best.min(start.elapsed());
    }
    println!("pop and push: {:.2} ns", best.as_nanos() as f64 / f64::from(ROUNDS));
}
