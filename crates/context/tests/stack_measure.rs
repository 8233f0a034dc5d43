//! What the stack arena costs, and what its choices (guard size, odd stride, the look for deep use) buy. Measures, and
//! judges nothing: `cargo test --release -p silken-context --test stack_measure -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use silken_context::stack::{Arena, ArenaConfig, GuardChoice, Stack};

const PAGE_BYTES: usize = 4096;

fn arena(config: ArenaConfig) -> &'static Arena {
    Box::leak(Box::new(Arena::new(config).expect("an arena")))
}

fn report(what: &str, count: usize, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    println!(
        "{what:<64} {:>9.1} ns",
        start.elapsed().as_nanos() as f64 / count as f64
    );
}

fn write_byte(address: usize) {
    // SAFETY: S1: every caller holds the memory and nobody runs on it.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) };
}

fn deep(stack: &Stack) -> bool {
    // SAFETY: S1: nobody runs on this stack.
    unsafe { stack.deep_use(16 * 1024) }
}

fn trim(stack: &Stack) {
    // SAFETY: S1: nobody runs on this stack.
    unsafe { stack.trim(16 * 1024) }.expect("trim");
}

fn take_all(arena: &'static Arena, count: usize) -> Vec<Stack> {
    arena.reserve(count).unwrap();
    (0..count).map(|_| arena.take().unwrap()).collect()
}

#[test]
#[ignore = "a measurement"]
fn guards_and_hand_out() {
    let mprotect = arena(ArenaConfig {
        guard: GuardChoice::Mprotect,
        ..ArenaConfig::default()
    });
    report("fresh stack, mprotect guard", 10_000, || {
        take_all(mprotect, 10_000).into_iter().for_each(Stack::leak)
    });
    let arena = arena(ArenaConfig::default());
    arena.give(arena.take().unwrap());
    report("take + give, recycled", 1_000_000, || {
        for _ in 0..1_000_000 {
            arena.give(black_box(arena.take().unwrap()));
        }
    });
}

/// A line of `/proc/self/status`, in KiB.
fn status_kib(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let found = status.lines().find(|text| text.starts_with(line)).expect("the line");
    found
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

/// The guard's price by its size: once when the slot is fresh, and in page tables for as long as the process lives. The
/// least of many small batches, for the larger part of a mean is the kernel's luck with free pages.
#[test]
#[ignore = "a measurement"]
fn guard_sizes() {
    for (stack_kib, guard_kib) in [16, 64, 256]
        .into_iter()
        .flat_map(|stack| [4, 16, 64, 128, 256, 384, 512, 768, 1024, 2048, 4096].map(|guard| (stack, guard)))
    {
        measure_geometry(stack_kib, guard_kib);
    }
}

/// What the address space of a stack costs of which one page is used.
#[test]
#[ignore = "a measurement"]
fn stack_sizes() {
    for stack_kib in [16, 32, 64, 128, 256, 512, 1024, 2048, 8192] {
        measure_geometry(stack_kib, 768);
    }
}

fn measure_geometry(stack_kib: usize, guard_kib: usize) {
    const BATCH: usize = 200;
    const BATCHES: usize = 40;
    let ns_each = |start: Instant| start.elapsed().as_nanos() as f64 / BATCH as f64;
    let arena = arena(ArenaConfig {
        stack_bytes: stack_kib * 1024,
        guard_bytes: guard_kib * 1024,
        ..ArenaConfig::default()
    });
    let (tables_before, resident_before) = (status_kib("VmPTE"), status_kib("VmRSS"));
    let (mut fresh_ns, mut touch_ns) = (f64::MAX, f64::MAX);
    for _ in 0..BATCHES {
        let start = Instant::now();
        let stacks = take_all(arena, BATCH);
        fresh_ns = fresh_ns.min(ns_each(start));
        let start = Instant::now();
        stacks.iter().for_each(|s| write_byte(s.top() as usize - 1));
        touch_ns = touch_ns.min(ns_each(start));
        stacks.into_iter().for_each(Stack::leak);
    }
    let each = |line: &str, before: usize| (status_kib(line) - before) * 1024 / (BATCH * BATCHES);
    println!(
        "stack {stack_kib:>4} KiB, guard {:>4} KiB, spacing {:>4} KiB: fresh {fresh_ns:>7.0} ns, first touch {touch_ns:>6.0} ns, \
         page tables {:>5} bytes, resident {:>5} bytes",
        arena.guard_bytes() / 1024,
        arena.stride_bytes() / 1024,
        each("VmPTE", tables_before),
        each("VmRSS", resident_before),
    );
}

#[test]
#[ignore = "a measurement"]
fn deep_use_and_trim() {
    const COUNT: usize = 20_000;
    let arena = arena(ArenaConfig::default());
    let stacks = take_all(arena, COUNT);
    report("first touch of a stack's top page", COUNT, || {
        stacks.iter().for_each(|s| write_byte(s.top() as usize - 1))
    });
    report("deep_use, first look at a stack", COUNT, || {
        assert!(!stacks.iter().any(deep))
    });
    report("deep_use, later look, 20,000 stacks", COUNT, || {
        assert!(!stacks.iter().any(deep))
    });
    let hot = &stacks[..32];
    report("deep_use, later look, 32 stacks", 32_000, || {
        (0..1000).for_each(|_| assert!(!hot.iter().any(deep)));
    });
    report("trim of a stack that only saw a look", COUNT, || {
        stacks.iter().for_each(trim)
    });
    report("trim with nothing to give back", COUNT, || stacks.iter().for_each(trim));
    for stack in &stacks[..1000] {
        (stack.bottom() as usize..stack.top() as usize)
            .step_by(PAGE_BYTES)
            .for_each(write_byte);
    }
    report("trim of a whole stack (56 pages given back)", 1000, || {
        stacks[..1000].iter().for_each(trim)
    });
    stacks.into_iter().for_each(|stack| arena.give(stack));
}

#[test]
#[ignore = "a measurement"]
fn odd_stride() {
    for count in [64, 256, 1024, 4096] {
        for stride_pages in [64, 65, 257] {
            let stride_bytes = stride_pages * PAGE_BYTES;
            // SAFETY: S8: a fresh mapping, never undone.
            let base = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    count * stride_bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            } as usize;
            // A different cache line in each page: this is about pages, not about lines.
            let tops: Vec<usize> = (0..count)
                .map(|slot| base + slot * stride_bytes + slot * 64 % PAGE_BYTES)
                .collect();
            tops.iter().copied().for_each(write_byte);
            let rounds = 4_000_000 / count;
            report(
                &format!("write to {count} tops in turn, {stride_pages} pages apart"),
                rounds * count,
                || {
                    for _ in 0..rounds {
                        tops.iter().copied().for_each(write_byte);
                    }
                },
            );
        }
    }
}
