//! Shared collections: no change is lost, what is lent stays, and locks end with their guards.

use super::on_all;
use silken::collections::{SyncBtreeMap, SyncHashMap, SyncVec};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const WORKERS: usize = 8;
const ROUNDS: usize = 200;

/// Counts how many of it are alive.
#[derive(Clone)]
struct Counted(Arc<AtomicUsize>, usize);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>, number: usize) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(alive.clone(), number)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_hash_map_loses_no_change() {
    on_all(|| {
        let map = SyncHashMap::new();
        silken::scope(|s| {
            for _ in 0..WORKERS {
                let map = &map;
                s.spawn(move || {
                    for round in 0..ROUNDS {
                        let mut count = map.get_or_insert_with(round % 10, || 0);
                        let seen = *count;
                        // The guard is held while others run and want it.
                        silken::yield_now();
                        *count = seen + 1;
                    }
                });
            }
        });
        assert_eq!(map.len(), 10);
        assert_eq!(map.iter().map(|entry| *entry).sum::<usize>(), WORKERS * ROUNDS);
    });
}

#[test]
fn a_hash_map_has_the_methods_of_std() {
    let map: SyncHashMap<String, usize> = SyncHashMap::from(HashMap::from([("a".to_string(), 1)]));
    assert_eq!(map.insert("b".into(), 2), None);
    assert_eq!(map.insert("b".into(), 3), Some(2));
    assert!(map.contains_key("b") && !map.contains_key("c"));
    assert_eq!(
        map.get("a").map(|guard| (guard.key().clone(), *guard)),
        Some(("a".to_string(), 1))
    );
    *map.get_mut("a").unwrap() += 10;
    for mut entry in map.iter_mut() {
        *entry += 100;
    }
    let mut all: Vec<_> = map.iter().map(|entry| (entry.key().clone(), *entry.value())).collect();
    all.sort();
    assert_eq!(all, [("a".to_string(), 111), ("b".to_string(), 103)]);
    map.shrink_to_fit();
    map.retain(|_, value| *value > 103);
    assert_eq!((map.remove("a"), map.remove("a"), map.len()), (Some(111), None, 0));
    map.insert("d".into(), 4);
    assert_eq!(format!("{map:?}"), r#"{"d": 4}"#);
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [("d".to_string(), 4)]);
}

#[test]
fn a_hash_map_grows_and_finds_everything() {
    let map: SyncHashMap<usize, usize> = (0..10_000).map(|i| (i, i * i)).collect();
    assert_eq!(map.len(), 10_000);
    assert!((0..10_000).all(|i| *map.get(&i).unwrap() == i * i));
    assert_eq!(map.iter().count(), 10_000);
    map.clear();
    assert!(map.is_empty() && map.get(&1).is_none());
}

#[test]
fn every_value_is_dropped_once() {
    let alive = Arc::new(AtomicUsize::new(0));
    let map = SyncHashMap::new();
    let vector = SyncVec::new();
    let tree = SyncBtreeMap::new();
    for i in 0..100 {
        // Each key twice: the second insert gives the first value back.
        drop(map.insert(i % 50, Counted::new(&alive, i)));
        drop(tree.insert(i % 50, Counted::new(&alive, i)));
        vector.push(Counted::new(&alive, i));
    }
    assert_eq!(alive.load(Ordering::SeqCst), 200);
    drop(map.remove(&0));
    drop(tree.remove(&0));
    drop(vector.remove(0));
    drop(vector.pop());
    assert_eq!(alive.load(Ordering::SeqCst), 196);
    let mut left = map.into_iter();
    assert!(left.next().unwrap().1.1 >= 50);
    drop(left);
    tree.clear();
    drop(vector);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn an_item_keeps_the_lock_when_its_iterator_is_gone() {
    let vector = SyncVec::from(vec![1, 2, 3]);
    let first = vector.iter().next().unwrap();
    std::thread::scope(|s| {
        let writer = s.spawn(|| vector.push(4));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!writer.is_finished());
        assert_eq!(*first, 1);
        drop(first);
    });
    assert_eq!(vector.len(), 4);
}

#[test]
fn readers_stand_side_by_side() {
    on_all(|| {
        let tree = SyncBtreeMap::from(BTreeMap::from([(1, 1)]));
        let mine = tree.get(&1).unwrap();
        silken::scope(|s| {
            assert_eq!(s.spawn(|| *tree.get(&1).unwrap()).join().unwrap(), 1);
        });
        assert_eq!(*mine, 1);
    });
}

#[test]
fn a_tree_is_in_order_whoever_fills_it() {
    on_all(|| {
        let tree = SyncBtreeMap::new();
        silken::scope(|s| {
            for worker in 0..WORKERS {
                let tree = &tree;
                s.spawn(move || {
                    for round in 0..ROUNDS {
                        tree.insert(round * WORKERS + worker, worker);
                        silken::yield_now();
                    }
                });
            }
        });
        let keys: Vec<_> = tree.iter().map(|entry| *entry.key()).collect();
        assert_eq!(keys, (0..WORKERS * ROUNDS).collect::<Vec<_>>());
        for mut entry in tree.iter_mut() {
            *entry.value_mut() += *entry.key();
        }
        *tree.get_mut(&0).unwrap() = 77;
        assert_eq!((*tree.get(&0).unwrap(), *tree.get(&8).unwrap()), (77, 8));
        assert_eq!((tree.remove(&0), tree.contains_key(&0)), (Some(77), false));
    });
}

#[test]
fn a_vector_loses_no_push() {
    on_all(|| {
        let vector = SyncVec::with_capacity(4);
        silken::scope(|s| {
            for worker in 0..WORKERS {
                let vector = &vector;
                s.spawn(move || {
                    for round in 0..ROUNDS {
                        let index = vector.push(worker * ROUNDS + round);
                        silken::yield_now();
                        *vector.get_mut(index).unwrap() += 1;
                    }
                });
            }
        });
        let mut all = vector.into_inner();
        all.sort_unstable();
        assert_eq!(all, (1..=WORKERS * ROUNDS).collect::<Vec<_>>());
    });
}

#[test]
fn a_vector_has_the_methods_of_std() {
    let vector: SyncVec<i32> = [1, 2, 3].into_iter().collect();
    vector.insert(0, 0);
    assert_eq!(
        (vector.remove(1), vector.remove(9), vector.replace(0, 5)),
        (Some(1), None, Some(0))
    );
    assert!(vector.get(3).is_none() && vector.get_mut(3).is_none());
    for mut element in vector.iter_mut() {
        *element *= 2;
    }
    assert_eq!(format!("{vector:?}"), "[10, 4, 6]");
    vector.shrink_to_fit();
    vector.clear();
    assert!(vector.is_empty() && vector.pop().is_none());
}

#[test]
fn a_panic_under_a_lock_poisons_nothing() {
    let vector = SyncVec::from(vec![1]);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = vector.get_mut(0).unwrap();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(outcome.is_err());
    assert_eq!(vector.push(2), 1);
}
