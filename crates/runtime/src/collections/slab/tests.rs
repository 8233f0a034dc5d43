//! The depot against sets of addresses: nothing is given twice, nothing is lost, nothing is made without need.

use super::*;
use std::collections::HashSet;
use std::thread;

#[derive(Debug)]
#[repr(align(64))]
struct Object {
    uses: AtomicPtr<()>,
    _body: [u64; 12],
}

fn make() -> Object {
    Object {
        uses: AtomicPtr::new(ptr::null_mut()),
        _body: [7; 12],
    }
}

fn made(depot: &Depot<Object>) -> usize {
    let mut count = 0;
    depot.for_each(|_| count += 1);
    count
}

#[test]
fn objects_are_distinct_aligned_and_initialised() {
    let depot = Depot::new(make);
    let chunk = Depot::<Object>::CHUNK_OBJECTS;
    let mut objects = Vec::new();
    depot.take_batch(&mut objects, 2 * chunk + 3);
    assert_eq!(objects.len(), 2 * chunk + 3);
    assert_eq!(objects.iter().collect::<HashSet<_>>().len(), objects.len());
    for object in &objects {
        assert!(object.is_aligned());
        // SAFETY: taken from the depot, used here only.
        assert_eq!(unsafe { object.as_ref() }._body, [7; 12]);
    }
    assert_eq!(made(&depot), 3 * chunk);
}

#[test]
fn chunks_have_between_64_and_1024_objects() {
    assert_eq!(Depot::<u64>::CHUNK_OBJECTS, 1024);
    assert_eq!(Depot::<Object>::CHUNK_OBJECTS, 512);
    assert_eq!(Depot::<[u64; 1000]>::CHUNK_OBJECTS, 64);
}

#[test]
fn what_was_given_back_is_used_again_before_anything_is_made() {
    let depot = Depot::new(make);
    let mut objects = Vec::new();
    depot.take_batch(&mut objects, 3_000);
    let all: HashSet<_> = objects.iter().copied().collect();
    let existing = made(&depot);
    for round in 1..50 {
        let mut part = objects.split_off(objects.len() - 37 * round);
        // SAFETY: taken from this depot, unused.
        unsafe { depot.give_batch(&mut part, 20 * round) };
        assert_eq!(part.len(), 17 * round);
        objects.append(&mut part);
        depot.take_batch(&mut objects, 20 * round);
        assert_eq!(objects.len(), 3_000);
    }
    // SAFETY: taken from this depot, unused.
    unsafe { depot.give_batch(&mut objects, usize::MAX) };
    assert!(objects.is_empty());
    depot.take_batch(&mut objects, existing);
    assert_eq!(made(&depot), existing);
    let again: HashSet<_> = objects.iter().copied().collect();
    assert_eq!(again.len(), existing);
    assert!(all.is_subset(&again));
}

#[test]
fn a_cache_gives_the_last_object_first_and_keeps_few() {
    let depot = Depot::new(make);
    let mut cache = SlabCache::new();
    let objects: Vec<_> = (0..1_000).map(|_| cache.take(&depot)).collect();
    assert_eq!(objects.iter().collect::<HashSet<_>>().len(), 1_000);
    for &object in &objects {
        // SAFETY: taken from this depot, unused.
        unsafe { cache.give(&depot, object) };
    }
    assert!(cache.objects.len() <= 2 * BATCH);
    assert_eq!(cache.objects.capacity(), 2 * BATCH);
    assert_eq!(cache.take(&depot), objects[999]);
    // SAFETY: taken from this depot, unused.
    unsafe { cache.give(&depot, objects[999]) };
    // SAFETY: the depot of all calls above.
    unsafe { cache.flush(&depot) };
    let (mut all, existing) = (Vec::new(), made(&depot));
    depot.take_batch(&mut all, existing);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), existing);
    assert_eq!(made(&depot), existing);
}

#[test]
fn no_object_is_in_two_hands() {
    static DEPOT: Depot<Object> = Depot::new(make);
    thread::scope(|scope| {
        for worker in 1..=4_usize {
            scope.spawn(move || {
                let me = ptr::without_provenance_mut(worker);
                let mut cache = SlabCache::new();
                let mut held = Vec::new();
                for round in 0..2_000 {
                    for _ in 0..(round * 7 + worker) % 90 {
                        let object = cache.take(&DEPOT);
                        // SAFETY: objects of a depot live for ever.
                        let uses = &unsafe { object.as_ref() }.uses;
                        assert!(uses.swap(me, Relaxed).is_null());
                        held.push(object);
                    }
                    for object in held.drain(held.len() / 2..) {
                        // SAFETY: objects of a depot live for ever.
                        let uses = &unsafe { object.as_ref() }.uses;
                        assert_eq!(uses.swap(ptr::null_mut(), Relaxed), me);
                        // SAFETY: taken from this depot, used no more.
                        unsafe { cache.give(&DEPOT, object) };
                    }
                }
            });
        }
    });
}
