//! What many coroutines and deep ones leave behind.
//!
//! The numbers are of the whole process, and other tests of this binary run beside these: the case runs in a child
//! process of its own.

use silken::{Builder, Runtime};
use std::hint::black_box;
use std::process::Command;

const VARIABLE: &str = "SILKEN_MEMORY_CASE";

/// Runs `case` in a child: this binary again, with only the calling test.
fn alone(test: &str, case: fn()) {
    if std::env::var_os(VARIABLE).is_some() {
        return case();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child
        .args(["--exact", test, "--nocapture"])
        .env(VARIABLE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn map_count() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Guard markers need Linux 6.13; older kernels pay two maps for each stack.
fn has_guard_markers() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(13))
}

fn park_many(count: usize, light: bool) {
    let handles: Vec<_> = (0..count)
        .map(|_| {
            let builder = Builder::new();
            // SAFETY: S12: it waits in silken's park, and uses no thread-local.
            let builder = if light { unsafe { builder.light() } } else { builder };
            builder.spawn(silken::park).unwrap()
        })
        .collect();
    // Everyone gets its turn, and parks, before the first is woken.
    for _ in 0..count {
        silken::yield_now();
    }
    if has_guard_markers() {
        assert!(map_count() < 100, "{} maps for {count} coroutines", map_count());
    }
    for handle in &handles {
        handle.coroutine().unpark();
    }
    for handle in handles {
        handle.join().unwrap();
    }
}

#[test]
fn many_parked_coroutines_cost_few_maps_and_leak_nothing() {
    alone("memory::many_parked_coroutines_cost_few_maps_and_leak_nothing", || {
        const COUNT: usize = 20_000;
        for light in [false, true] {
            let runtime = Runtime::builder().workers(2).build().unwrap();
            runtime
                .run(move || {
                    park_many(COUNT, light);
                    let after_first = resident_bytes();
                    for _ in 0..3 {
                        park_many(COUNT, light);
                    }
                    // Pooled stacks stay resident, so the first round sets the mark; later ones reuse what it left.
                    let growth = resident_bytes().saturating_sub(after_first);
                    assert!(growth < COUNT * 256, "{growth} bytes more after three more rounds");
                })
                .unwrap();
        }
    });
}

fn address_of_frame() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

/// Touches the stack down to `lowest`; frames differ in size between builds.
#[inline(never)]
fn use_down_to(lowest: usize) -> usize {
    let frame = black_box([lowest; 128]);
    if address_of_frame() < lowest {
        return 1;
    }
    use_down_to(lowest) + black_box(frame)[7]
}

#[test]
fn deep_use_is_returned_in_the_end() {
    alone("memory::deep_use_is_returned_in_the_end", || {
        const COUNT: usize = 200;
        const DEPTH_BYTES: usize = 180 * 1024;
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime
            .run(|| {
                let start = resident_bytes();
                let deep: Vec<_> = (0..COUNT)
                    .map(|_| {
                        silken::spawn(|| {
                            let depth = use_down_to(address_of_frame() - DEPTH_BYTES);
                            silken::park();
                            depth
                        })
                    })
                    .collect();
                for _ in 0..COUNT {
                    silken::yield_now();
                }
                let peak = resident_bytes() - start;
                assert!(peak > COUNT * DEPTH_BYTES / 2, "the depth was not used: {peak}");
                for handle in deep {
                    handle.coroutine().unpark();
                    assert!(handle.join().unwrap() > 0);
                }
                // One release in eight looks; ordinary use comes past every slot sooner or later.
                for _ in 0..100 {
                    park_many(COUNT, false);
                }
                let end = resident_bytes().saturating_sub(start);
                assert!(end < peak / 4, "{end} of {peak} bytes are still there");
            })
            .unwrap();
    });
}

/// Enough for a leak of a page, or of a word per cycle, to show.
const CYCLES: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

fn grow_and_shrink(cycles: usize) {
    for cycle in 0..cycles {
        assert_eq!(silken::grow(0, || black_box([cycle; 64])[7]).unwrap(), cycle);
    }
}

/// Goes a hundred stacks deep and comes back.
fn go_deep(segments: usize) -> usize {
    let frame = black_box([segments as u8; 200 << 10]);
    match segments {
        0 => 0,
        _ => silken::grow(0, || go_deep(segments - 1)).unwrap() + usize::from(frame[99] == segments as u8),
    }
}

#[test]
fn growing_and_shrinking_leaves_nothing_behind() {
    alone("memory::growing_and_shrinking_leaves_nothing_behind", || {
        const ALLOWED_BYTES: usize = 2 << 20;
        let work = || {
            let before_deep = resident_bytes();
            assert_eq!(go_deep(100), 100);
            // Some warm ones are kept, and 16 KiB of each other one.
            let kept = resident_bytes().saturating_sub(before_deep);
            assert!(kept < 8 << 20, "{kept} bytes of a depth of 20 MB are kept");
            grow_and_shrink(1_000);
            let before = resident_bytes();
            grow_and_shrink(CYCLES);
            for _ in 0..20 {
                assert_eq!(go_deep(100), 100);
            }
            let growth = resident_bytes().saturating_sub(before);
            assert!(growth < ALLOWED_BYTES, "{growth} bytes more after {CYCLES} cycles");
        };
        // On the calling OS thread, then on coroutines.
        work();
        for light in [false, true] {
            let builder = Builder::new();
            // SAFETY: S12: it does not wait, and uses no thread-local.
            let builder = if light { unsafe { builder.light() } } else { builder };
            builder.spawn(work).unwrap().join().unwrap();
        }
    });
}
