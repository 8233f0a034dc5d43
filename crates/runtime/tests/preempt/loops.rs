//! Are loops of every kind interrupted: those that call nothing, that compute with vectors, that allocate, that format?

use super::{SLICE, Stop, runtime};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

/// Runs the loop on the only worker until another coroutine has had twenty turns.
fn gives_way(name: &str, computes: impl Fn() + Send + 'static) {
    let stop = Stop::new();
    runtime(1, SLICE)
        .run(|| {
            let ends: Arc<Stop> = stop.clone();
            let looping = silken::spawn(move || {
                while ends.goes_on() {
                    computes();
                }
            });
            (0..20).for_each(|_| silken::sleep(SLICE));
            println!("{name}: twenty turns");
            stop.end();
            looping.join().unwrap();
        })
        .unwrap();
}

#[test]
fn a_loop_that_only_loads() {
    gives_way("load", || {});
}

#[test]
fn a_loop_of_floats() {
    gives_way("floats", || {
        let sum: f64 = (1..1000).map(|k| black_box(f64::from(k)).sqrt().recip()).sum();
        assert!((61.0..62.5).contains(&sum), "{sum}");
    });
}

#[test]
fn a_loop_of_vectors() {
    let numbers: Vec<u32> = (0..4096).collect();
    gives_way("vectors", move || {
        let sum = black_box(&numbers)
            .iter()
            .fold(0_u32, |sum, k| sum.wrapping_add(k.wrapping_mul(3)));
        assert_eq!(sum, (0..4096_u32).map(|k| 3 * k).sum());
    });
}

#[test]
fn a_loop_that_allocates() {
    gives_way("allocation", || {
        let boxes: Vec<Box<[u8]>> = (1..100).map(|k| vec![k as u8; k * 17].into_boxed_slice()).collect();
        assert!(
            black_box(&boxes)
                .iter()
                .enumerate()
                .all(|(k, each)| each.iter().all(|b| *b == k as u8 + 1))
        );
    });
}

#[test]
fn a_loop_that_formats() {
    gives_way("formatting", || {
        let mut text = String::new();
        (0..50).for_each(|k| write!(text, "{k:05}:{:.3};", f64::from(k) / 7.0).unwrap());
        assert!(text.ends_with("00049:7.000;"));
    });
}

#[test]
fn a_loop_that_sorts() {
    gives_way("sort", || {
        let mut numbers: Vec<u64> = (0..2000_u64).map(|k| k.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        numbers.sort_unstable();
        assert!(numbers.is_sorted());
    });
}

#[test]
fn a_loop_that_copies() {
    let from: Vec<u8> = (0..32 << 20).map(|k: u32| k as u8).collect();
    let to = std::sync::Mutex::new(vec![0; from.len()]);
    gives_way("copies", move || {
        let mut to = to.lock().unwrap();
        to.copy_from_slice(black_box(&from));
        assert!([0, 1, 77, 255].iter().all(|k| to[(31 << 20) + usize::from(*k)] == *k));
    });
}

#[test]
fn a_loop_that_fills() {
    let bytes = std::sync::Mutex::new(vec![0; 32 << 20]);
    gives_way("fills", move || {
        let mut bytes = bytes.lock().unwrap();
        bytes.fill(7);
        assert_eq!(black_box(&bytes)[31 << 20], 7);
    });
}

#[test]
fn a_loop_of_mathematics() {
    gives_way("mathematics", || {
        let sum: f64 = (1..1000).map(|k| black_box(f64::from(k)).sin().exp().cbrt()).sum();
        assert!((900.0..1100.0).contains(&sum), "{sum}");
    });
}
