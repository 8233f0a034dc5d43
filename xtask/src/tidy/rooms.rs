//! Which files may say `unsafe`, and what for?

use super::Excused;

/// Files that may say `unsafe`.
pub(super) const UNSAFE_ROOMS: &[Excused] = &[
    (
        "crates/context/**",
        "assembly, identity blocks and stacks are raw memory",
    ),
    (
        "crates/interpose/**",
        "exports C symbols and calls the ones they shadow",
    ),
    (
        "crates/macros/src/function.rs",
        "the word itself, as a part of a signature",
    ),
    (
        "crates/macros/src/options.rs",
        "the word itself, as the value of an attribute's option",
    ),
    (
        "crates/macros/src/tests.rs",
        "the word itself, in expansions that are compared",
    ),
    ("crates/runtime/src/sys/linux/**", "system calls"),
    (
        "crates/runtime/src/sys/mod.rs",
        "last words and scheduling hints: single system calls",
    ),
    ("crates/runtime/src/sys/lock.rs", "the thread-level lock owns a cell"),
    (
        "crates/runtime/src/sys/lock/word.rs",
        "loom's stand-in for a lock's word shares its witness",
    ),
    (
        "crates/runtime/src/collections/list.rs",
        "intrusive: links live in nodes that others own",
    ),
    (
        "crates/runtime/src/collections/ring.rs",
        "slots written by one thread and read by thieves",
    ),
    (
        "crates/runtime/src/collections/inbox.rs",
        "intrusive list handed between threads",
    ),
    (
        "crates/runtime/src/collections/wheel.rs",
        "intrusive: timer nodes live on their coroutine's stack",
    ),
    (
        "crates/runtime/src/extras/collections/guards.rs",
        "a lock's guard and the address of a part of what it locks",
    ),
    (
        "crates/runtime/src/driver/ring.rs",
        "calls that the kernel makes, which lie on their callers' stacks",
    ),
    ("crates/runtime/src/driver/ring/tests.rs", "lends buffers to the kernel"),
    (
        "crates/runtime/src/wait/ring.rs",
        "lends the caller's memory to the kernel",
    ),
    ("crates/runtime/src/coroutine/park.rs", "calls the switch"),
    (
        "crates/runtime/src/coroutine/cancel.rs",
        "cancel scopes: frames of the coroutine that wait outside a call",
    ),
    ("crates/runtime/src/coroutine/local.rs", "values erased to one type"),
    (
        "crates/runtime/src/coroutine/std_thread.rs",
        "std's thread on its way to a coroutine: frames that wait outside a call",
    ),
    (
        "crates/runtime/src/coroutine/current.rs",
        "the thread-local pointer to the coroutine that runs",
    ),
    (
        "crates/runtime/src/coroutine/join.rs",
        "the result cell, written by one side and read by the other",
    ),
    (
        "crates/runtime/src/coroutine/segment/record.rs",
        "looks at the stack in a record that nobody changes meanwhile",
    ),
    (
        "crates/runtime/src/coroutine/segment.rs",
        "runs a call on another stack, and links records that lie in frames",
    ),
    (
        "crates/runtime/src/coroutine/stack_report.rs",
        "reads and trims stacks that nobody runs on",
    ),
    (
        "crates/runtime/src/coroutine/body.rs",
        "the closure and its result, erased and placed in the core or on the stack",
    ),
    (
        "crates/runtime/src/coroutine/core.rs",
        "the type-stable control block and its owned fields",
    ),
    (
        "crates/runtime/src/coroutine/core/**",
        "the duty to queue a core, and what a worker and its coroutines know of each other",
    ),
    (
        "crates/runtime/src/coroutine/refs.rs",
        "counted references to type-stable cores",
    ),
    (
        "crates/runtime/src/coroutine/body/typed.rs",
        "closures and results, erased",
    ),
    (
        "crates/runtime/src/coroutine/pool/stack.rs",
        "the right to a stack's memory moves between threads",
    ),
    (
        "crates/runtime/src/coroutine/join/error.rs",
        "a payload that gives shared access to shared values only",
    ),
    (
        "crates/runtime/src/coroutine/group.rs",
        "a scope's waiter lies on the parent's stack",
    ),
    (
        "crates/runtime/src/coroutine/pool.rs",
        "hands out mapped memory and type-stable cores",
    ),
    (
        "crates/runtime/src/driver/readiness.rs",
        "the waiter cell of a descriptor",
    ),
    (
        "crates/runtime/src/driver/mod.rs",
        "a worker's driver, reached through an opaque address",
    ),
    ("crates/runtime/src/driver/timers.rs", "nodes on sleeping stacks"),
    ("crates/runtime/src/wait/monitor.rs", "waiters on blocked stacks"),
    (
        "crates/runtime/src/api/allocator.rs",
        "an allocator's contract, handed on",
    ),
    (
        "crates/runtime/src/api/sync_arms.rs",
        "arms that lock queues hold between listing and unlisting",
    ),
    (
        "crates/runtime/src/api/select.rs",
        "arms of a select: nodes that others' lists hold while it waits",
    ),
    (
        "crates/runtime/src/time/ticker.rs",
        "hands a select's node to the monitor",
    ),
    (
        "crates/runtime/src/extras/after_func.rs",
        "timers in a wheel, each kept by a count that the wheel owns",
    ),
    (
        "examples/plugin/src/lib.rs",
        "a function for C, and light coroutines, which are vouched for",
    ),
    (
        "crates/runtime/src/driver/fd_table/tests.rs",
        "changes descriptors behind the hooks",
    ),
    (
        "crates/runtime/src/driver/fd_table.rs",
        "cells reached by descriptor number",
    ),
    (
        "crates/runtime/src/wait/mod.rs",
        "a deadline on the waiter's frame, and the worker that it blocks on",
    ),
    (
        "crates/runtime/src/wait/list.rs",
        "nodes that lie on their waiters' frames",
    ),
    (
        "crates/runtime/src/sync/**",
        "cells behind guards, waiters on blocked stacks",
    ),
    (
        "crates/runtime/src/channel/**",
        "slots, and values moved between stacks",
    ),
    ("crates/runtime/src/io/**", "memory that callers lend to the kernel"),
    (
        "crates/preload/src/lib.rs",
        "the linker's entry, and the environment before the program begins",
    ),
    (
        "crates/runtime/src/hook/**",
        "pointers that foreign code passed to libc",
    ),
    (
        "crates/runtime/src/sched/light.rs",
        "declares the call by which a program vouches for light coroutines",
    ),
    (
        "crates/runtime/src/sched/panics.rs",
        "std's word in the identity that light coroutines share",
    ),
    ("crates/runtime/src/sched/worker.rs", "resumes coroutines"),
    ("crates/runtime/src/sched/switch.rs", "jumps from stack to stack"),
    ("crates/runtime/src/sched/handoff.rs", "addresses as words of a switch"),
    (
        "crates/runtime/src/sched/arrive.rs",
        "what the outgoing coroutine leaves",
    ),
    (
        "crates/runtime/src/sched/start.rs",
        "fields and identity before the first run",
    ),
    ("crates/runtime/src/sched/late.rs", "takes a worker from its thread"),
    ("crates/runtime/src/sched/lost.rs", "a context on its way to its thread"),
    ("crates/runtime/src/sched/spare.rs", "workers on their way to a thread"),
    (
        "crates/runtime/src/sched/queues.rs",
        "inboxes of started light coroutines",
    ),
    (
        "crates/runtime/src/sched/preempt.rs",
        "a signal handler: the kernel's records, and a call in the name of the interrupted code",
    ),
    (
        "crates/runtime/src/sched/life.rs",
        "the running coroutine's group, and a function kept as an address",
    ),
    (
        "crates/runtime/src/sched/loss.rs",
        "takes over the fields of a coroutine that is lost",
    ),
    (
        "crates/runtime/src/sched/overflow.rs",
        "a signal handler: the kernel's records, and the way out of a lost stack",
    ),
    (
        "crates/runtime/src/sched/spawn.rs",
        "starts a coroutine on fresh memory",
    ),
    (
        "crates/runtime/src/sched/mod.rs",
        "the scheduler's side of `suspend`, and the inboxes of started coroutines",
    ),
    (
        "crates/runtime/src/sched/shutdown.rs",
        "tells libc what to do in a forked child",
    ),
    (
        "crates/runtime/src/sched/last_words.rs",
        "reads the kernel's record of a fault, in a signal handler",
    ),
    (
        "crates/runtime/src/sched/lane.rs",
        "a list that is linked through the cores in it",
    ),
    (
        "crates/runtime/src/sched/pinned.rs",
        "a list through the cores that it owns",
    ),
    (
        "crates/runtime/src/sched/processor.rs",
        "ready coroutines travel through the ring and the LIFO slot as words",
    ),
    (
        "crates/runtime/src/api/handle.rs",
        "a join handle vouches for the type of the result that it takes",
    ),
    (
        "crates/runtime/src/runtime/builder.rs",
        "declares the unsafe choice of light coroutines",
    ),
    (
        "crates/runtime/src/runtime/mod.rs",
        "vouches that the main closure's borrows outlive its coroutine",
    ),
    (
        "crates/runtime/src/api/scope.rs",
        "vouches that what children borrow outlives them",
    ),
    (
        "crates/runtime/src/api/spawn.rs",
        "vouches for the bounds of `sched::spawn`",
    ),
    ("crates/runtime/tests/**", "calls libc as foreign code does"),
    ("conformance/src/raw.rs", "calls libc as foreign code does"),
    ("conformance/src/raw/**", "calls libc as foreign code does"),
    ("conformance/src/probe.rs", "vouches for light coroutines"),
    ("stress/src/light.rs", "vouches for light coroutines"),
    (
        "stress/src/preempt/vectors.rs",
        "calls functions that need features of the processor",
    ),
    ("benches/src/silken_side/mod.rs", "vouches for light coroutines"),
    ("benches/benches/micro.rs", "vouches for light coroutines"),
    ("benches/src/loops.rs", "a system call that no hook sees"),
    ("benches/src/files/mod.rs", "has the system forget a file"),
    ("benches/src/epoll.rs", "the floor is a loop over bare system calls"),
    (
        "benches/src/floors/**",
        "floors are what the machine does without a runtime",
    ),
    (
        "benches/src/machine.rs",
        "asks the kernel for limits, clocks and counters",
    ),
];
