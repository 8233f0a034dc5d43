//! Calls that continue on a segment when the stack runs out (`silken::maybe_grow!`): all that a unit does may be done
//! there.

use crate::probe::{SHORT, Tally, coroutine};
use crate::{Executor, join_all};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// Goes down in frames of 64 KiB; waits at the bottom.
fn descend(depth: usize, wait: &dyn Fn()) -> usize {
    let frame = black_box([depth as u8; 64 << 10]);
    let below = if depth == 0 {
        wait();
        0
    } else {
        silken::maybe_grow!(256 << 10, 1 << 20, || descend(depth - 1, wait)).expect("a segment")
    };
    below + usize::from(frame[depth] == depth as u8)
}

/// Units recurse many times the size of their stacks, and wait at the bottom.
pub fn deep_recursions(ex: &dyn Executor) {
    let waits: [fn(); 4] = [|| (), yield_now, || sleep(SHORT), || silken::sleep(SHORT)];
    let units = ex.start_each(8, move |number| descend(150, &waits[number % waits.len()]));
    assert_eq!(join_all(units), [151; 8]);
}

fn on_segments<R>(depth: usize, f: &mut dyn FnMut() -> R) -> R {
    match depth {
        0 => f(),
        _ => silken::grow(0, || on_segments(depth - 1, f)).expect("a segment"),
    }
}

/// Locks, sockets and channels of std wait on segments as on stacks.
pub fn waits_of_std(ex: &dyn Executor) {
    let total = Arc::new(Mutex::new(0));
    let units = ex.start_each(12, {
        let total = Arc::clone(&total);
        move |number| {
            on_segments(number % 3, &mut || {
                let (mut near, mut far) = UnixStream::pair().expect("sockets");
                for _ in 0..20 {
                    near.write_all(&[1]).expect("room");
                    let mut byte = [0];
                    far.read_exact(&mut byte).expect("a byte");
                    let mut total = total.lock().expect("sane");
                    yield_now();
                    *total += usize::from(byte[0]);
                }
            });
        }
    });
    join_all(units);
    assert_eq!(*total.lock().expect("sane"), 12 * 20);
}

/// One unit waits on its segment for another that is on a segment too.
pub fn ping_pong(ex: &dyn Executor) {
    let (to_far, from_near) = mpsc::sync_channel::<usize>(0);
    let (to_near, from_far) = mpsc::sync_channel::<usize>(0);
    let far = ex.start(move || {
        on_segments(2, &mut || {
            while let Ok(number) = from_near.recv() {
                to_near.send(number + 1).expect("it waits");
            }
        });
    });
    on_segments(1, &mut || {
        for round in 0..200 {
            to_far.send(round).expect("it waits");
            assert_eq!(from_far.recv(), Ok(round + 1));
        }
    });
    drop(to_far);
    far.join();
}

/// A panic passes segments; destructors run once, and may wait.
pub fn panics_pass(ex: &dyn Executor) {
    struct Waits(#[expect(dead_code, reason = "counted when dropped")] crate::probe::Counted);
    impl Drop for Waits {
        fn drop(&mut self) {
            sleep(Duration::from_micros(10));
        }
    }
    let tally = Tally::default();
    let units = ex.start_each(10, {
        let tally = tally.clone();
        move |number| {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _outside = Waits(tally.value());
                on_segments(number % 4, &mut || {
                    let _inside = Waits(tally.value());
                    yield_now();
                    resume_unwind(Box::new(number))
                })
            }));
            assert_eq!(caught.expect_err("it panics").downcast_ref(), Some(&number));
            on_segments(1, &mut yield_now);
        }
    });
    join_all(units);
    assert_eq!((tally.made(), tally.dropped()), (20, 20));
}

/// A coroutine that waits on a segment is cancelled, and its destructors run on each stack.
pub fn cancelled_on_a_segment(ex: &dyn Executor) {
    let tally = Tally::default();
    let waiters: Vec<_> = (0..8)
        .map(|depth| {
            let tally = tally.clone();
            coroutine(ex, move || {
                let _outside = tally.value();
                on_segments(depth % 4, &mut || {
                    let _inside = tally.value();
                    silken::sleep(crate::probe::FAR);
                });
            })
        })
        .collect();
    sleep(SHORT);
    for waiter in waiters {
        waiter.cancel();
        assert!(waiter.join().expect_err("it waits for ever").is_cancelled());
    }
    assert_eq!(tally.made(), tally.dropped());
}
