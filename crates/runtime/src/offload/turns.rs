//! How callers that wait for the same thing wait in turn: they queue here, and only the first needs a thread.
//!
//! # Protocol
//! The thing that is waited for has a key. [`take`] returns at once if no other caller has the key, and otherwise
//! queues the caller, first come first served. A caller that drops its [`Turn`] settles the cell of the next caller. An
//! empty line is taken off the list. The queue is fair, and no queued caller could be served before the first: equal
//! keys mean exactly that.
//!
//! A cancellation does not give up a turn, as the wait that the turn is for cannot be cancelled either.

use super::{critically, settle, wait_for};
use crate::coroutine::WaitCell;
use crate::sys::StaticLock;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a caller waits for: equal keys mean equal conditions.
pub(crate) type Key = [u64; 6];

struct WaitingLine {
    key: Key,
    waiting: VecDeque<Arc<WaitCell>>,
}

/// There are few lines at any time, so a search looks through all of them.
static LINES: StaticLock<Vec<WaitingLine>> = StaticLock::new(Vec::new());

/// The right to wait for the thing that the key names, until it is dropped.
#[must_use]
pub(crate) struct Turn(Key);

/// Waits for the caller's turn. To be called on a coroutine.
pub(crate) fn take(key: Key) -> Turn {
    let cell = Arc::new(WaitCell::new());
    let is_first = critically(|| {
        let mut lines = LINES.lock();
        match lines.iter_mut().find(|line| line.key == key) {
            Some(line) => {
                line.waiting.push_back(cell.clone());
                false
            }
            None => {
                let waiting = VecDeque::new();
                lines.push(WaitingLine { key, waiting });
                true
            }
        }
    });
    if !is_first {
        wait_for(&cell);
    }
    Turn(key)
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = critically(|| {
            let mut lines = LINES.lock();
            let index = lines.iter().position(|line| line.key == self.0)?;
            let next = lines[index].waiting.pop_front();
            if next.is_none() {
                lines.swap_remove(index);
            }
            next
        });
        if let Some(next) = next {
            settle(&next);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time_and_all_of_them() {
        static INSIDE: AtomicBool = AtomicBool::new(false);
        static SERVED: AtomicUsize = AtomicUsize::new(0);
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..50 {
                        let turn = take([1, 2, 3, 4, 5, 6]);
                        assert!(!INSIDE.swap(true, Ordering::SeqCst), "two had the turn");
                        SERVED.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        INSIDE.store(false, Ordering::SeqCst);
                        drop(turn);
                    }
                })
            })
            .collect();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(SERVED.load(Ordering::SeqCst), 400);
        assert!(!LINES.lock().iter().any(|line| line.key == [1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn other_keys_do_not_wait() {
        let _first = take([9; 6]);
        let _second = take([9, 9, 9, 9, 9, 8]);
    }
}
