//! The stack arena as its users see it: order, geometry, limits, and what the kernel makes of it.
//!
//! A test about the process (its memory, its maps, its limits, its death) runs in a child: the test binary starts
//! itself again with one test selected, so that nothing else is measured, limited or killed.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::{Barrier, Mutex};

use silken_context::stack::{Arena, ArenaConfig, GuardChoice, GuardKind, Stack, locate};

const CHILD: &str = "SILKEN_STACK_TEST_CHILD";
const PAGE_BYTES: usize = 4096;

/// Runs `body` in a child process; `None` in the child (after `body`), the child's output in the parent.
fn in_child(test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return None;
    }
    let executable = std::env::current_exe().expect("the test binary has a path");
    let output = Command::new(executable)
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(CHILD, test)
        .output()
        .expect("the test binary can be started again");
    Some(output)
}

/// As `in_child`, where `body` must succeed and reach its end.
fn passes_in_child(test: &str, body: impl FnOnce()) {
    let output = in_child(test, || {
        body();
        println!("child reached the end");
    });
    if let Some(output) = output {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("child reached the end"),
            "{}\n{text}\n{errors}",
            output.status
        );
    }
}

fn arena(config: ArenaConfig) -> &'static Arena {
    Box::leak(Box::new(Arena::new(config).expect("an arena")))
}

fn with_guard(guard: GuardChoice) -> &'static Arena {
    arena(ArenaConfig {
        guard,
        ..ArenaConfig::default()
    })
}

fn write_byte(address: usize) {
    // SAFETY: S1: the caller holds the stack that the address is in, or means to die of it (S9).
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) };
}

fn map_count() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .expect("/proc")
        .lines()
        .count()
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: usize = text
        .split(' ')
        .nth(1)
        .expect("a second field")
        .parse()
        .expect("a number");
    pages * PAGE_BYTES
}

#[test]
fn default_geometry_has_an_odd_stride_and_a_guard_of_768_kib() {
    let arena = arena(ArenaConfig::default());
    assert_eq!(arena.stack_bytes(), 256 * 1024);
    assert!(arena.guard_bytes() >= 768 * 1024);
    assert_eq!(arena.stride_bytes(), arena.stack_bytes() + arena.guard_bytes());
    assert_eq!(arena.stride_bytes() / PAGE_BYTES % 2, 1);
    let first = arena.take().unwrap();
    let second = arena.take().unwrap();
    assert_eq!(second.top() as usize - first.top() as usize, arena.stride_bytes());
    assert_eq!(first.top() as usize % PAGE_BYTES, 0);
    assert_eq!(first.top() as usize - first.bottom() as usize, first.size());
    assert_eq!(first.guard_range().end, first.bottom() as usize);
    assert!(first.contains(first.bottom() as usize) && first.contains(first.top() as usize - 1));
    assert!(!first.contains(first.bottom() as usize - 1) && !first.contains(first.top() as usize));
    assert_eq!((first.index(), second.index()), (0, 1));
    arena.give(first);
    arena.give(second);
}

#[test]
fn sizes_are_rounded_to_pages_and_nonsense_is_refused() {
    let small = arena(ArenaConfig {
        stack_bytes: 5000,
        guard_bytes: 1,
        ..ArenaConfig::default()
    });
    assert_eq!((small.stack_bytes(), small.guard_bytes()), (2 * PAGE_BYTES, PAGE_BYTES));
    for config in [
        ArenaConfig {
            stack_bytes: 0,
            ..ArenaConfig::default()
        },
        ArenaConfig {
            slots_max: 0,
            ..ArenaConfig::default()
        },
        ArenaConfig {
            stack_bytes: usize::MAX,
            ..ArenaConfig::default()
        },
        ArenaConfig {
            guard_bytes: usize::MAX,
            ..ArenaConfig::default()
        },
    ] {
        assert_eq!(Arena::new(config).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn the_last_stack_given_is_the_first_one_taken() {
    let arena = arena(ArenaConfig::default());
    let stacks: Vec<Stack> = (0..3).map(|_| arena.take().unwrap()).collect();
    let order: Vec<usize> = stacks.iter().map(Stack::index).collect();
    stacks.into_iter().for_each(|stack| arena.give(stack));
    let again: Vec<Stack> = (0..3).map(|_| arena.take().unwrap()).collect();
    assert!(again.iter().map(Stack::index).eq(order.into_iter().rev()));
    assert_eq!(arena.stats().slots_carved, 3);
    again.into_iter().for_each(|stack| arena.give(stack));
    assert_eq!(arena.stats().slots_free, 3);
}

#[test]
#[should_panic(expected = "not its own")]
fn a_stack_of_another_arena_is_refused() {
    let stack = arena(ArenaConfig::default()).take().unwrap();
    arena(ArenaConfig::default()).give(stack);
}

#[test]
fn locate_knows_bottom_top_guard_and_outside_in_every_arena() {
    for stack_bytes in [16 * 1024, 240 * 1024, 1 << 20] {
        let arena = arena(ArenaConfig {
            stack_bytes,
            ..ArenaConfig::default()
        });
        let skipped = arena.take().unwrap();
        let stack = arena.take().unwrap();
        let (bottom, top) = (stack.bottom() as usize, stack.top() as usize);
        for (address, in_guard) in [
            (bottom, false),
            (top - 1, false),
            (bottom - 1, true),
            (stack.guard_range().start, true),
        ] {
            let found = locate(address).expect("inside the slot");
            assert_eq!(
                (found.slot_bottom, found.slot_top, found.in_guard),
                (bottom, top, in_guard)
            );
        }
        let below = locate(stack.guard_range().start - 1).expect("the neighbour");
        assert_eq!(below.slot_top, skipped.top() as usize);
        assert!(locate(top).expect("the next slot").in_guard);
        arena.give(stack);
        arena.give(skipped);
    }
    let local = 0_u8;
    assert_eq!(locate(&raw const local as usize), None);
    assert_eq!(locate(0), None);
    assert_eq!(locate(usize::MAX), None);
}

fn overflow_kills(test: &str, guard: GuardChoice, kind: GuardKind) {
    let output = in_child(test, || {
        let arena = with_guard(guard);
        assert_eq!(arena.guard_kind(), kind);
        let _below = arena.take().unwrap();
        let stack = arena.take().unwrap();
        let bottom = stack.bottom() as usize;
        write_byte(bottom);
        println!("alive at the bottom");
        write_byte(bottom - 1);
        println!("alive in the guard");
    });
    if let Some(output) = output {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("alive at the bottom"), "{text}");
        assert!(!text.contains("alive in the guard"), "{text}");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{}", output.status);
    }
}

#[test]
fn overflow_hits_a_guard_marker() {
    match Arena::new(ArenaConfig {
        guard: GuardChoice::Madvise,
        ..ArenaConfig::default()
    }) {
        Ok(_) => overflow_kills("overflow_hits_a_guard_marker", GuardChoice::Madvise, GuardKind::Madvise),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("6.13"), "{error}");
        }
    }
}

#[test]
fn overflow_hits_an_mprotect_guard() {
    overflow_kills(
        "overflow_hits_an_mprotect_guard",
        GuardChoice::Mprotect,
        GuardKind::Mprotect,
    );
}

#[test]
fn the_whole_guard_of_fresh_and_recycled_stacks_faults() {
    for guard in [GuardChoice::Probe, GuardChoice::Mprotect] {
        let arena = with_guard(guard);
        let mut stacks: Vec<Stack> = (0..4).map(|_| arena.take().unwrap()).collect();
        arena.give(stacks.pop().unwrap());
        stacks.push(arena.take().unwrap());
        for stack in &stacks {
            // SAFETY: S1: nobody runs on this stack.
            unsafe { stack.trim(0) }.unwrap();
            for page in stack.guard_range().step_by(PAGE_BYTES) {
                // Populating a page for reading fails where reading would fault.
                let populate = 22;
                // SAFETY: S9: a page of the arena; reading changes nothing.
                let result = unsafe { libc::madvise(page as *mut libc::c_void, PAGE_BYTES, populate) };
                assert_eq!(result, -1, "{guard:?}: a guard page can be read");
            }
        }
        stacks.into_iter().for_each(|stack| arena.give(stack));
    }
}

#[test]
fn deep_use_is_seen_and_trim_lowers_the_resident_set() {
    passes_in_child("deep_use_is_seen_and_trim_lowers_the_resident_set", || {
        const STACKS: usize = 64;
        const KEEP: usize = 16 * 1024;
        let arena = arena(ArenaConfig::default());
        let stacks: Vec<Stack> = (0..STACKS).map(|_| arena.take().unwrap()).collect();
        let touch_from = |depth_bytes: usize| {
            for stack in &stacks {
                (stack.top() as usize - depth_bytes..stack.top() as usize)
                    .step_by(64)
                    .for_each(write_byte);
            }
        };
        // SAFETY: S1: nobody runs on these stacks.
        let deep = |stack: &Stack| unsafe { stack.deep_use(KEEP) };
        touch_from(KEEP);
        assert!(!stacks.iter().any(deep), "what is to be kept is not deep");
        touch_from(arena.stack_bytes());
        assert!(stacks.iter().all(deep));
        let before = resident_bytes();
        for stack in &stacks {
            // SAFETY: S1: nobody runs on this stack.
            unsafe { stack.trim(KEEP) }.unwrap();
        }
        let fallen = before.saturating_sub(resident_bytes());
        let dropped = STACKS * (arena.stack_bytes() - KEEP);
        assert!(
            fallen > dropped * 9 / 10,
            "resident set fell by {fallen} of {dropped} bytes"
        );
        assert!(!stacks.iter().any(deep), "trimming resets the mark");
        let kept = stacks[0].top().wrapping_sub(64);
        // SAFETY: S1: as above; the kept part still holds what was written.
        let kept = unsafe { kept.read_volatile() };
        assert_eq!(kept, 1);
        stacks.into_iter().for_each(|stack| arena.give(stack));
    });
}

fn guarded_stacks_in_few_maps(count: usize) {
    let arena = with_guard(GuardChoice::Probe);
    if arena.guard_kind() != GuardKind::Madvise {
        println!("skipped: this kernel has no guard markers");
        return;
    }
    let before = map_count();
    arena.reserve(count).unwrap();
    let stacks: Vec<Stack> = (0..count).map(|_| arena.take().unwrap()).collect();
    let maps = map_count();
    println!("{count} guarded stacks: {maps} maps, {before} before");
    assert!(maps < 100, "{maps} maps");
    assert_eq!(arena.stats().slots_carved, count);
    for stack in [&stacks[0], &stacks[count - 1]] {
        write_byte(stack.top() as usize - 1);
        assert!(locate(stack.guard_range().start).is_some_and(|found| found.in_guard));
    }
    stacks.into_iter().for_each(Stack::leak);
}

#[test]
fn twenty_thousand_guarded_stacks_fit_in_a_hundred_maps() {
    passes_in_child("twenty_thousand_guarded_stacks_fit_in_a_hundred_maps", || {
        guarded_stacks_in_few_maps(20_000)
    });
}

#[test]
#[ignore = "seconds of system calls and two gigabytes of page tables"]
fn a_million_guarded_stacks_fit_in_a_hundred_maps() {
    passes_in_child("a_million_guarded_stacks_fit_in_a_hundred_maps", || {
        guarded_stacks_in_few_maps(1_000_000)
    });
}

#[test]
fn a_small_address_space_shrinks_the_arena_and_then_says_so() {
    passes_in_child("a_small_address_space_shrinks_the_arena_and_then_says_so", || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').next().unwrap().parse().unwrap();
        let limit = (pages * PAGE_BYTES + (600 << 20)) as u64;
        let limits = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: S7: a plain system call with a valid struct, in a child of our own.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limits) }, 0);
        let arena = arena(ArenaConfig::default());
        arena.reserve(100).unwrap();
        let stats = arena.stats();
        assert!(
            (100..4000).contains(&stats.slots_mapped),
            "a chunk below 1 GiB: {stats:?}"
        );
        let error = arena.reserve(1_000_000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        assert_eq!(
            arena.stats().slots_reserved,
            100,
            "a refused reservation leaves nothing behind"
        );
        let stacks: Vec<Stack> = (0..100).map(|_| arena.take().unwrap()).collect();
        stacks.into_iter().for_each(|stack| arena.give(stack));
        arena.unreserve(100);
        assert_eq!(arena.stats().slots_reserved, 0);
    });
}

#[test]
fn slots_max_and_leaks_bound_the_reservations() {
    let arena = arena(ArenaConfig {
        slots_max: 4,
        ..ArenaConfig::default()
    });
    arena.reserve(4).unwrap();
    let error = arena.reserve(1).unwrap_err();
    assert!(
        error.kind() == ErrorKind::OutOfMemory && error.to_string().contains("slots_max"),
        "{error}"
    );
    let mut stacks: Vec<Stack> = (0..4).map(|_| arena.take().unwrap()).collect();
    assert_eq!(arena.take().unwrap_err().kind(), ErrorKind::OutOfMemory);
    stacks.pop().unwrap().leak();
    arena.unreserve(1);
    assert!(arena.reserve(1).is_err(), "the leaked slot is gone for good");
    stacks.into_iter().for_each(|stack| arena.give(stack));
    let stats = arena.stats();
    assert_eq!(
        (
            stats.slots_carved,
            stats.slots_free,
            stats.slots_leaked,
            stats.slots_reserved
        ),
        (4, 3, 1, 3)
    );
    assert_eq!(stats.bytes_mapped, 4 * arena.stride_bytes());
}

#[test]
fn the_process_wide_map_budget_leaves_maps_for_the_program() {
    passes_in_child("the_process_wide_map_budget_leaves_maps_for_the_program", || {
        let max: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if max > 200_000 {
            println!("skipped: {max} maps would take too long to use up");
            return;
        }
        // Two arenas, made before either has a guard: they share one budget.
        let arenas = [with_guard(GuardChoice::Mprotect), with_guard(GuardChoice::Mprotect)];
        let mut taken = 0;
        let error = loop {
            match arenas[taken % 2].take() {
                Ok(stack) => stack.leak(),
                Err(error) => break error,
            }
            taken += 1;
        };
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let text = error.to_string();
        assert!(text.contains("max_map_count") && text.contains("6.13"), "{text}");
        let maps = map_count();
        println!("{taken} mprotect guards, {maps} of {max} maps");
        assert!(maps > max * 2 / 3 && maps < max * 4 / 5, "{maps} of {max}");
        // The slot whose guard failed is kept, and a second attempt fails alike.
        let carved: usize = arenas.iter().map(|arena| arena.stats().slots_carved).sum();
        assert_eq!(carved, taken);
        assert!(arenas[taken % 2].take().is_err());
    });
}

#[test]
fn four_threads_never_hold_the_same_stack() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 3_000;
    let arena = arena(ArenaConfig::default());
    let held = Mutex::new(HashSet::new());
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (held, barrier) = (&held, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let mut cache = Vec::new();
                for round in 0..ROUNDS {
                    let wanted = 1 + (round * 7 + thread) % 13;
                    arena.reserve(wanted).unwrap();
                    cache.extend((0..wanted).map(|_| arena.take().unwrap()));
                    for stack in &cache {
                        assert!(held.lock().unwrap().insert(stack.bottom() as usize), "handed out twice");
                        write_byte(stack.bottom() as usize);
                    }
                    for stack in &cache {
                        assert!(held.lock().unwrap().remove(&(stack.bottom() as usize)));
                    }
                    cache.drain(..).for_each(|stack| arena.give(stack));
                    arena.unreserve(wanted);
                }
            });
        }
    });
    let stats = arena.stats();
    assert_eq!(stats.slots_free, stats.slots_carved, "every stack came back");
    assert_eq!(stats.slots_reserved, 0);
    assert!(stats.slots_carved <= THREADS * 13);
}

#[test]
fn growth_races_keep_every_chunk_accounted_for() {
    // Stacks of 512 MiB: a chunk holds few, so that threads meet in `grow`.
    let config = ArenaConfig {
        stack_bytes: 512 << 20,
        slots_max: 512,
        ..ArenaConfig::default()
    };
    let arena = arena(config);
    let barrier = Barrier::new(4);
    let taken: Mutex<Vec<Stack>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..50 {
                    arena.reserve(1).unwrap();
                    let stack = arena.take().unwrap();
                    taken.lock().unwrap().push(stack);
                }
            });
        }
    });
    let taken = taken.into_inner().unwrap();
    let distinct: HashSet<usize> = taken.iter().map(|stack| stack.top() as usize).collect();
    assert_eq!(distinct.len(), 200);
    for stack in &taken {
        assert_eq!(
            locate(stack.bottom() as usize).expect("entered").slot_top,
            stack.top() as usize
        );
    }
    let stats = arena.stats();
    assert!(stats.slots_mapped >= 200 && stats.slots_mapped <= 512, "{stats:?}");
    taken.into_iter().for_each(|stack| arena.give(stack));
}
