//! Waits for what others do: conditions, notifications, meetings, ends.

use super::{Part, Wait};
use crate::plan::Rng;
use silken::sync::{Barrier, Condvar, Mutex, Notify, WaitGroup};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Units that are made one by one, each with one notification, and taken by those who wait.
#[derive(Default)]
pub(super) struct Condvars {
    stock: Mutex<Stock>,
    more: Condvar,
    made: AtomicUsize,
    taken: AtomicUsize,
}

#[derive(Debug, Default)]
struct Stock {
    units: usize,
    released: bool,
}

impl Condvars {
    fn take(&self, stock: &mut Stock) {
        if stock.units > 0 {
            stock.units -= 1;
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Wait for Condvars {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            let stock = self.stock.lock().expect("nobody panicked");
            let is_none = |stock: &mut Stock| stock.units == 0 && !stock.released;
            let mut stock = if part.rng.chance(30) {
                let timeout = part.moment();
                self.more
                    .wait_timeout_while(stock, timeout, is_none)
                    .expect("nobody panicked")
                    .0
            } else {
                self.more.wait_while(stock, is_none).expect("nobody panicked")
            };
            self.take(&mut stock);
        }
    }

    fn stir(&self, rng: &mut Rng) {
        // It may be called on a coroutine that must not wait.
        if let Ok(mut stock) = self.stock.try_lock() {
            stock.units += 1;
            self.made.fetch_add(1, Ordering::Relaxed);
            if rng.chance(50) {
                drop(stock);
            }
            self.more.notify_one();
        }
    }

    fn release(&self) {
        self.stock.lock().expect("nobody panicked").released = true;
        self.more.notify_all();
    }

    fn check(&self) -> Result<(), String> {
        let mut stock = self.stock.try_lock().map_err(|error| format!("left locked: {error}"))?;
        let (made, taken) = (self.made.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        if made != taken + stock.units {
            return Err(format!("made {made}, taken {taken}, {stock:?}"));
        }
        *stock = Stock::default();
        drop(stock);
        silken::scope(|s| {
            let waiter = s.spawn(|| {
                let stock = self.stock.lock().expect("nobody panicked");
                drop(self.more.wait_while(stock, |stock| stock.units == 0));
            });
            silken::yield_now();
            self.stock.lock().expect("nobody panicked").units = 1;
            self.more.notify_one();
            waiter.join().map_err(|error| format!("the next waiter: {error}"))
        })
    }
}

#[derive(Default)]
pub(super) struct Notifies {
    notify: Notify,
    released: AtomicBool,
    given: AtomicUsize,
    heard: AtomicUsize,
}

impl Wait for Notifies {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            let heard = match part.rng.below(4) {
                0 => self.notify.notified_timeout(part.moment()),
                _ => {
                    self.notify.notified();
                    true
                }
            };
            if self.released.load(Ordering::Relaxed) {
                // One that was given for the release goes from hand to hand.
                self.notify.notify_one();
                break;
            }
            if heard {
                self.heard.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn stir(&self, _rng: &mut Rng) {
        self.given.fetch_add(1, Ordering::Relaxed);
        self.notify.notify_one();
    }

    fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
        // Those who wait, and the first of those who come, who tells the next.
        self.notify.notify_waiters();
        self.notify.notify_one();
    }

    fn ends_by_cancel(&self) -> bool {
        // One that is cancelled, or late, between its notification and its telling the next ends the chain.
        true
    }

    fn check(&self) -> Result<(), String> {
        let (given, heard) = (self.given.load(Ordering::Relaxed), self.heard.load(Ordering::Relaxed));
        if heard > given {
            return Err(format!("{given} notifications, {heard} were heard"));
        }
        while self.notify.notified_timeout(Duration::ZERO) {}
        silken::scope(|s| {
            let waiter = s.spawn(|| self.notify.notified());
            silken::yield_now();
            self.notify.notify_one();
            waiter.join().map_err(|error| format!("the next waiter: {error}"))
        })?;
        if self.notify.notified_timeout(Duration::ZERO) {
            return Err("a notification was taken and kept".to_string());
        }
        Ok(())
    }
}

pub(super) struct Barriers {
    barrier: Barrier,
    size: usize,
    came: AtomicUsize,
    led: AtomicUsize,
}

impl Barriers {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let size = 2 + rng.below(4);
        Self {
            barrier: Barrier::new(size),
            size,
            came: AtomicUsize::new(0),
            led: AtomicUsize::new(0),
        }
    }

    fn note(&self, leads: bool) {
        self.came.fetch_add(1, Ordering::Relaxed);
        if leads {
            self.led.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Wait for Barriers {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(2) {
            let result = match part.rng.below(4) {
                0 => self.barrier.wait_timeout(part.moment()),
                _ => Some(self.barrier.wait()),
            };
            if let Some(result) = result {
                self.note(result.is_leader());
            }
            if part.rng.chance(30) {
                part.pause();
            }
        }
    }

    fn ends_by_cancel(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        let (came, led) = (self.came.load(Ordering::Relaxed), self.led.load(Ordering::Relaxed));
        if came != led * self.size {
            return Err(format!("{came} came through, {led} led, for {} each", self.size));
        }
        silken::scope(|s| {
            // One too few would wait for ever, one too many left behind would let the last one wait.
            let others: Vec<_> = (1..self.size).map(|_| s.spawn(|| self.barrier.wait())).collect();
            silken::yield_now();
            let last = self.barrier.wait_timeout(Duration::from_secs(20));
            if last.is_none() {
                s.cancel();
            }
            let passed = others.into_iter().filter_map(|other| other.join().ok()).count();
            match last {
                Some(_) if passed == self.size - 1 => Ok(()),
                last => Err(format!("the next meeting: {passed} passed, the last {last:?}")),
            }
        })
    }
}

/// Members that leave whatever ends them, and some who wait for that.
#[derive(Default)]
pub(super) struct WaitGroups {
    group: WaitGroup,
}

impl Wait for WaitGroups {
    fn part(&self, part: &mut Part) {
        if part.index.is_multiple_of(2) {
            let _member = self.group.clone();
            part.pause();
            if part.rng.chance(50) {
                silken::sleep(part.moment());
            }
            return;
        }
        match part.rng.below(3) {
            0 => drop(self.group.wait_others_timeout(part.moment())),
            _ => self.group.wait_others(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.group.members() != 1 {
            return Err(format!("{} members are left", self.group.members()));
        }
        let member = self.group.clone();
        silken::scope(|s| {
            let waiter = s.spawn(|| self.group.wait_others_timeout(Duration::from_secs(20)));
            silken::yield_now();
            drop(member);
            match waiter.join() {
                Ok(true) => Ok(()),
                outcome => Err(format!("the next waiter: {outcome:?}")),
            }
        })
    }
}
