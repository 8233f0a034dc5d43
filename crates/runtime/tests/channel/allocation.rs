//! To block allocates nothing: not for a send, not for a receive, not for a select of eight arms. (Peers make a
//! coroutine with a stack per arm.)

use super::{Cast, LONG};
use silken::channel::*;
use silken::select;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// Of this thread or isolated coroutine. (A light one shares it with its worker, whose polls allocate.)
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: S7: everything is the system's; the count is a cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: S7: the layout and the pointer are those of a caller of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: S7: the layout and the pointer are those of a caller of `GlobalAlloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocates_nothing<T>(work: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = work();
    assert_eq!(ALLOCATIONS.get() - before, 0);
    result
}

#[test]
fn waiting_allocates_nothing() {
    wait_as(Cast::Threads);
    let runtime = silken::Runtime::builder().workers(2).build().unwrap();
    runtime.run(|| wait_as(Cast::Coroutines)).unwrap();
}

fn wait_as(cast: Cast) {
    let (tx, rx) = bounded::<u64>(0);
    let (back, answers) = bounded::<u64>(1);
    let player = cast.spawn(move || {
        let idle = never::<u8>();
        // What a thread has from its first wait on.
        let _ = rx.recv_timeout(Duration::from_millis(1));
        allocates_nothing(|| {
            for _ in 0..10 {
                back.send(rx.recv().unwrap()).unwrap();
                let n = rx.recv_timeout(LONG).unwrap();
                back.send_timeout(n, LONG).unwrap();
                let n = select! {
                    recv(idle) -> _ => 0, recv(idle) -> _ => 0, recv(idle) -> _ => 0, recv(idle) -> _ => 0,
                    recv(rx) -> n => n.unwrap(), recv(rx) -> n => n.unwrap(), recv(idle) -> _ => 0,
                    default(LONG) => 0,
                };
                let mut select = Select::new();
                for _ in 0..7 {
                    select.recv(&rx);
                }
                let sends = select.send(&back, n);
                let operation = select.select();
                assert_eq!(operation.index(), sends);
                operation.send(&back).unwrap();
            }
        });
    });
    for n in 0..30 {
        // The other one waits.
        silken::sleep(Duration::from_micros(if n == 0 { 5000 } else { 200 }));
        tx.send(n).unwrap();
        assert_eq!(answers.recv(), Ok(n));
    }
    player.join();
}
