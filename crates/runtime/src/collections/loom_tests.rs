//! Loom models of the ring and the inbox: every interleaving (within the preemption bound) of the races that their
//! essays name.
//!
//! `RUSTFLAGS="--cfg loom -C debug-assertions" LOOM_MAX_PREEMPTIONS=2 cargo test -p silken --release --lib loom`
//!
//! The main thread keeps a handle of each ring until it has joined the others: std's Arc frees the ring, and loom does
//! not see the ordering of that Arc.

use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread;

use super::inbox::{Inbox, Linked};
use super::ring::{CAPACITY, Owner, Stealer, Word, ring};
use crate::loom::UnsafeCell;
use crate::loom::atomic::AtomicPtr;

/// A boxed number: loom checks that the taker sees what the pusher wrote into it.
struct Payload(Box<UnsafeCell<usize>>);

impl Payload {
    fn new(number: usize) -> Self {
        let payload = Self(Box::new(UnsafeCell::new(0)));
        // SAFETY: S2: not shared yet.
        payload.0.with_mut(|value| unsafe { *value = number });
        payload
    }

    fn open(self) -> usize {
        // SAFETY: S2: taken out of the ring, so no longer shared.
        self.0.with(|value| unsafe { *value })
    }
}

impl Word for Payload {
    fn into_word(self) -> NonZeroUsize {
        NonZeroUsize::new(Box::into_raw(self.0).expose_provenance()).unwrap()
    }
    unsafe fn from_word(word: NonZeroUsize) -> Self {
        // SAFETY: S2: from Box::into_raw, once.
        Payload(unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut(word.get())) })
    }
}

fn push_all(owner: &Owner<Payload>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert!(owner.push(Payload::new(number)).is_ok());
    }
}

fn drain(owner: &Owner<Payload>) -> Vec<usize> {
    std::iter::from_fn(|| owner.pop()).map(Payload::open).collect()
}

/// A thread that steals once into a ring of its own, and reports what it got.
fn thief(stealer: Stealer<Payload>) -> thread::JoinHandle<Vec<usize>> {
    thread::spawn(move || {
        let (own, _keep) = ring();
        let mut got: Vec<_> = stealer.steal_into(&own).map(Payload::open).into_iter().collect();
        got.extend(drain(&own));
        assert!(got.is_sorted(), "stolen out of order");
        got
    })
}

fn assert_each_once(mut got: Vec<usize>, count: usize) {
    got.sort_unstable();
    assert!(got.into_iter().eq(0..count), "lost or doubled");
}

#[test]
fn loom_push_pop_and_steal() {
    loom::model(|| {
        let (owner, stealer) = ring();
        push_all(&owner, 0..2);
        let thief = thief(stealer);
        let mut got: Vec<_> = owner.pop().map(Payload::open).into_iter().collect();
        push_all(&owner, 2..4);
        got.extend(drain(&owner));
        assert!(got.is_sorted(), "popped out of order");
        got.extend(thief.join().unwrap());
        assert_each_once(got, 4);
    });
}

#[test]
fn loom_two_stealers() {
    loom::model(|| {
        let (owner, stealer) = ring();
        push_all(&owner, 0..3);
        let thieves = [thief(stealer.clone()), thief(stealer)];
        push_all(&owner, 3..4);
        let mut got: Vec<_> = owner.pop().map(Payload::open).into_iter().collect();
        for thief in thieves {
            got.extend(thief.join().unwrap());
        }
        got.extend(drain(&owner));
        assert_each_once(got, 4);
    });
}

/// The stealers have no earlier knowledge of the words: when one stealer has taken a word, the other must not look for
/// it.
#[test]
fn loom_two_stealers_of_fresh_words() {
    loom::model(|| {
        let (owner, stealer) = ring();
        let thieves = [thief(stealer.clone()), thief(stealer)];
        push_all(&owner, 0..2);
        let mut got = Vec::new();
        for thief in thieves {
            got.extend(thief.join().unwrap());
        }
        got.extend(drain(&owner));
        assert_each_once(got, 2);
    });
}

/// The thief may read slots that the owner writes again.
#[test]
fn loom_wrap_around() {
    loom::model(|| {
        let (owner, stealer) = ring();
        push_all(&owner, 0..CAPACITY);
        let thief = thief(stealer);
        let mut got = Vec::new();
        for number in CAPACITY..CAPACITY + 2 {
            got.extend(owner.pop().map(Payload::open));
            push_all(&owner, number..number + 1);
        }
        got.extend(thief.join().unwrap());
        got.extend(drain(&owner));
        assert_each_once(got, CAPACITY + 2);
    });
}

#[test]
fn loom_overflow_while_a_thief_reads() {
    loom::model(|| {
        let (owner, stealer) = ring();
        push_all(&owner, 0..CAPACITY);
        let thief = thief(stealer);
        let mut overflow = Vec::new();
        if let Err(back) = owner.push(Payload::new(CAPACITY)) {
            owner.take_half(&mut overflow);
            overflow.push(back);
        }
        let mut got: Vec<_> = overflow.into_iter().map(Payload::open).collect();
        push_all(&owner, CAPACITY + 1..CAPACITY + 2);
        got.extend(thief.join().unwrap());
        got.extend(drain(&owner));
        assert_each_once(got, CAPACITY + 2);
    });
}

/// A chain of thefts: elements that land in the second ring are stolen from there at once.
#[test]
fn loom_steal_from_the_thief() {
    loom::model(|| {
        let (owner, stealer) = ring();
        let (second, second_stealer) = ring();
        push_all(&owner, 0..4);
        let last = thief(second_stealer.clone());
        let middle = thread::spawn(move || {
            let mut got: Vec<_> = stealer.steal_into(&second).map(Payload::open).into_iter().collect();
            got.extend(drain(&second));
            got
        });
        let mut got: Vec<_> = owner.pop().map(Payload::open).into_iter().collect();
        got.extend(middle.join().unwrap());
        got.extend(last.join().unwrap());
        got.extend(drain(&owner));
        assert!(second_stealer.is_empty());
        assert_each_once(got, 4);
    });
}

struct Letter {
    link: AtomicPtr<Letter>,
    number: UnsafeCell<usize>,
}

// SAFETY: S8: `link` is a field that only the inbox uses.
unsafe impl Linked for Letter {
    unsafe fn link(this: NonNull<Self>) -> NonNull<AtomicPtr<Self>> {
        // SAFETY: S8: within the live element.
        unsafe { this.byte_add(offset_of!(Letter, link)) }.cast()
    }
}

fn letter(number: usize) -> NonNull<Letter> {
    let letter = Box::new(Letter {
        link: AtomicPtr::default(),
        number: UnsafeCell::new(0),
    });
    // SAFETY: S2: not shared yet.
    letter.number.with_mut(|value| unsafe { *value = number });
    NonNull::from(Box::leak(letter))
}

fn open(letter: NonNull<Letter>) -> usize {
    // SAFETY: S2: made by `letter`, taken out of the inbox once.
    let letter = unsafe { Box::from_raw(letter.as_ptr()) };
    // SAFETY: S2: no longer shared.
    letter.number.with(|value| unsafe { *value })
}

/// Two producers against a consumer that takes twice: each letter arrives once, each producer's letters in order, and
/// there is one wake for each take that found something.
#[test]
fn loom_inbox() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::<Letter>::new());
        let single = {
            let inbox = inbox.clone();
            // SAFETY: S8: a fresh letter.
            thread::spawn(move || usize::from(unsafe { inbox.push(letter(0)) }))
        };
        let pair = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                // SAFETY: S8: a fresh letter.
                let push = |number| usize::from(unsafe { inbox.push(letter(number)) });
                push(1) + push(2)
            })
        };
        let mut got: Vec<_> = inbox.take_all().map(open).collect();
        let mut takes = usize::from(!got.is_empty());
        let wakes = single.join().unwrap() + pair.join().unwrap();
        let before = got.len();
        got.extend(inbox.take_all().map(open));
        takes += usize::from(got.len() > before);
        assert_eq!(wakes, takes);
        let place = |number| got.iter().position(|&other| other == number);
        assert!(place(1) < place(2));
        assert_each_once(got, 3);
    });
}

/// ABA: the consumer takes a letter and sends the same letter again, while a producer is between its load and its
/// exchange.
#[test]
fn loom_inbox_same_node_again() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::<Letter>::new());
        // SAFETY: S8: a fresh letter.
        unsafe { inbox.push(letter(0)) };
        let producer = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                // SAFETY: S8: a fresh letter.
                unsafe { inbox.push(letter(1)) };
            })
        };
        for taken in inbox.take_all() {
            // SAFETY: S8: it has just come out of the chain.
            unsafe { inbox.push(taken) };
        }
        producer.join().unwrap();
        assert_each_once(inbox.take_all().map(open).collect(), 2);
    });
}
