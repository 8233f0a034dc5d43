//! Waits of which one at a time is enough: callers who want the same thing queue here, and only the first needs a
//! thread.
//!
//! # Protocol
//! What is wanted has a key. [`take`] returns at once to whoever finds nobody else with the key, and queues the others,
//! first come first served. Who drops its [`Turn`] settles the cell of the next one. A line without anybody is taken
//! off the list. The queue is fair, and nobody in it can be served before the first: that is what makes keys equal.
//!
//! A turn is not given up by a cancellation, as the wait that it is for cannot be cancelled either.

use super::{critically, settle, wait_for};
use crate::coroutine::WaitCell;
use crate::sys::StaticLock;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is waited for: equal keys, equal conditions.
pub(crate) type Key = [u64; 6];

struct WaitingLine {
    key: Key,
    waiting: VecDeque<Arc<WaitCell>>,
}

/// Few at any time: looked through.
static LINES: StaticLock<Vec<WaitingLine>> = StaticLock::new(Vec::new());

/// The right to wait for what the key names, until it is dropped.
#[must_use]
pub(crate) struct Turn(Key);

/// Waits for the caller's turn; on a coroutine.
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
