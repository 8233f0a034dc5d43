//! One value, once: what an answer comes back in.
//!
//! # Protocol
//! One allocation with a word, a place for the value, and a wait cell for the receiver; each side counts as one owner
//! of it. The word's bits:
//!
//! | bit | set by | means |
//! |---|---|---|
//! | `VALUE` | the sender, with `SENDER_DONE` | the value is in its place; the receiver's to take |
//! | `SENDER_DONE` | the sender | it has sent or is gone, and will not look at the word again |
//! | `CLOSED` | the receiver | no value will be taken any more: the sender keeps its own |
//! | `WAITING` | the receiver, and cleared by it | the cell is filled in |
//! | `SELECTING` | the receiver, and cleared by it | a select waits: its cell's address is under the lock |
//!
//! The sender acts once, by one compare-and-swap, or one `fetch_or` when it is dropped; if it finds `WAITING` it
//! settles the cell and unparks.
//!
//! # The race
//! The receiver fills in its cell, sets `WAITING`, and looks at what was there: if the sender was done already it does
//! not know of the cell, and the receiver does not sleep. When a deadline or a cancellation ends a wait, the receiver
//! takes `WAITING` back. If the sender is not done by then it will never look at this cell, so it may be filled in anew
//! for the next wait. If it is done it may be looking at the cell at that moment: then there is no next wait, and the
//! allocation lives as long as the sender counts as an owner. That is why the cell lies in the channel and not on the
//! receiver's stack.
//!
//! A select's cell lies on its stack, and is shared with other arms. Its address is under a lock, which the sender
//! takes only if it finds `SELECTING`, and holds until it has settled the cell; the receiver takes it to withdraw, and
//! so does not leave while the sender looks at the cell (S8).
//!
//! # Rejected
//! The address of a cell on the stack in the word: a receiver that times out would have to wait for a sender that is
//! about to touch it.

use super::select::{Arm, Operation, Ticket};
pub use super::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use crate::coroutine::{Critical, Outcome, WaitCell, WaitReason, lost, raise_if_cancelled};
use crate::driver::timers::{self, deadline_after, deadline_at};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::{Arc, UnsafeCell};
use crate::sys::Lock;
use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

const VALUE: u32 = 1;
const SENDER_DONE: u32 = 2;
const CLOSED: u32 = 4;
const WAITING: u32 = 8;
const SELECTING: u32 = 16;

/// The cell of a select that waits.
struct Selecting(Option<NonNull<WaitCell>>);

// SAFETY: S2: the cell is atomic and names type-stable memory; its address is used under the lock only.
unsafe impl Send for Selecting {}

struct Shared<T> {
    word: AtomicU32,
    value: UnsafeCell<Option<T>>,
    cell: UnsafeCell<Option<WaitCell>>,
    selecting: Lock<Selecting>,
}

// SAFETY: S2: the word hands the value from the sender to the receiver, and says who may use the cell; so it needs of T
// what a move needs.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: S2: the word hands the value from the sender to the receiver, and says who may use the cell.
unsafe impl<T: Send> Send for Shared<T> {}

/// Makes a channel for one value.
///
/// # Examples
/// ```
/// use silken::channel::oneshot;
/// let (answer, question) = oneshot::channel();
/// silken::spawn(move || answer.send(42));
/// assert_eq!(question.recv(), Ok(42));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        word: AtomicU32::new(0),
        value: UnsafeCell::new(None),
        cell: UnsafeCell::new(None),
        selecting: Lock::new(Selecting(None)),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// The right to send the value. Dropping it unused tells the receiver that none will come.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The right to receive the value.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends the value. Never waits.
    ///
    /// # Errors
    /// Gives the value back when the receiver is gone or [closed](Receiver::close). `Ok` does not mean that the value
    /// will be looked at.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let shared = &self.shared;
        // SAFETY: S2: until the word says VALUE the place is the sender's, and there is one sender.
        shared.value.with_mut(|place| unsafe { *place = Some(value) });
        // Relaxed: the exchange decides.
        let mut word = shared.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 {
            let done = word | VALUE | SENDER_DONE;
            // AcqRel: Release pairs with the Acquire in `try_take`: the value; Acquire pairs with the Release in
            // `wait`: the cell. Relaxed on failure: it is tried again.
            match shared
                .word
                .compare_exchange(word, done, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    shared.wake_if(word);
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
        Err(SendError(self.take_back()))
    }

    /// The value that was not sent.
    #[cold]
    fn take_back(&self) -> T {
        // SAFETY: S2: VALUE was not set, so the place is still the sender's.
        let value = self.shared.value.with_mut(|place| unsafe { (*place).take() });
        value.expect("put there before")
    }

    /// Whether a [`send`](Self::send) would give the value back.
    pub fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`: what the receiver did before is seen.
        self.shared.word.load(Ordering::Acquire) & CLOSED != 0
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Relaxed: SENDER_DONE was set by this very thread of control, or is not.
        if self.shared.word.load(Ordering::Relaxed) & SENDER_DONE == 0 {
            // AcqRel: Release pairs with the Acquire in `try_take`: what the sender did before it went; Acquire pairs
            // with the Release in `wait`: the cell.
            let word = self.shared.word.fetch_or(SENDER_DONE, Ordering::AcqRel);
            self.shared.wake_if(word);
        }
    }
}

impl<T> Shared<T> {
    /// The sender is done, and this was the word before: wakes the receiver if it waits.
    fn wake_if(&self, word: u32) {
        if word & SELECTING != 0 {
            self.wake_select();
        }
        if word & WAITING == 0 {
            return;
        }
        let unparker = self.cell.with(|cell| {
            // SAFETY: S8: WAITING says that the cell is filled in, and a receiver that sees SENDER_DONE does not fill
            // it in again.
            let cell = unsafe { &*cell }.as_ref().expect("filled in before WAITING");
            let unparker = cell.unparker();
            cell.settle(Outcome::Woken).then_some(unparker)
        });
        if let Some(unparker) = unparker {
            unparker.unpark();
        }
    }
}

impl<T> Shared<T> {
    #[cold]
    fn wake_select(&self) {
        let woken = {
            let _critical = Critical::enter();
            let selecting = self.selecting.lock();
            selecting.0.and_then(|cell| {
                // SAFETY: S8: the select takes the address back under the lock before its frame goes.
                let cell = unsafe { cell.as_ref() };
                let unparker = cell.unparker();
                cell.settle(Outcome::Woken).then_some(unparker)
            })
        };
        if let Some(unparker) = woken {
            unparker.unpark();
        }
    }

    fn set_selecting(&self, cell: Option<NonNull<WaitCell>>) {
        let _critical = Critical::enter();
        self.selecting.lock().0 = cell;
    }
}

impl<T> Receiver<T> {
    /// The receiving as an arm of a [`select!`](crate::select), by `on(…)`. Its result is that of [`recv`](Self::recv).
    ///
    /// # Examples
    /// ```
    /// use silken::channel::{never, oneshot};
    /// let (sender, mut receiver) = oneshot::channel();
    /// silken::spawn(move || sender.send(7));
    /// let got = silken::select! {
    ///     on(receiver.recv_arm()) -> value => value,
    ///     recv(never::<u8>()) -> _ => unreachable!(),
    /// };
    /// assert_eq!(got, Ok(7));
    /// ```
    pub fn recv_arm(&mut self) -> RecvArm<'_, T> {
        RecvArm {
            receiver: self,
            received: Cell::new(None),
        }
    }

    /// Waits for the value.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds; the sender gets a value that it sends later back.
    ///
    /// # Errors
    /// When the sender was dropped without sending.
    pub fn recv(self) -> Result<T, RecvError> {
        self.wait(None).map_err(|_| RecvError)
    }

    /// As [`recv`](Self::recv), for at most `timeout`; may be called again.
    ///
    /// # Errors
    /// `Timeout` when the time is up; `Disconnected` when the sender was dropped without sending, or the value has been
    /// taken.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::oneshot::{self, RecvTimeoutError};
    /// use std::time::Duration;
    /// let (sender, mut receiver) = oneshot::channel::<u8>();
    /// assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    /// drop(sender);
    /// assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Disconnected));
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.wait(Some(deadline_after(timeout)))
    }

    /// As [`recv_timeout`](Self::recv_timeout), until `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.wait(Some(deadline_at(deadline)))
    }

    /// Takes the value if it is there. Never waits.
    ///
    /// # Errors
    /// `Empty` when it is not there yet; `Disconnected` when it will not come, or has been taken.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.try_take()
    }

    /// Lets the sender keep its value from now on. A value that was sent before can still be received.
    pub fn close(&mut self) {
        // Release: pairs with the Acquire in `is_closed`.
        self.shared.word.fetch_or(CLOSED, Ordering::Release);
    }

    /// Whether nothing can be received any more: the value was taken, or none will come.
    pub fn is_terminated(&self) -> bool {
        // Relaxed: nothing is read on the strength of it.
        let word = self.shared.word.load(Ordering::Relaxed);
        word & VALUE == 0 && word & (SENDER_DONE | CLOSED) != 0
    }

    /// Whether there is nothing to receive at this moment.
    pub fn is_empty(&self) -> bool {
        // Relaxed: as above.
        self.shared.word.load(Ordering::Relaxed) & VALUE == 0
    }

    /// Only the receiver's one thread of control gets here: through `&mut`, or through `recv`, which owns the receiver.
    fn try_take(&self) -> Result<T, TryRecvError> {
        // Acquire: pairs with the Release in `send` and in the sender's drop.
        let word = self.shared.word.load(Ordering::Acquire);
        if word & VALUE != 0 {
            // SAFETY: S2: VALUE gives the place to the receiver.
            let value = self.shared.value.with_mut(|place| unsafe { (*place).take() });
            // Relaxed: the sender is done with the word.
            self.shared.word.store(SENDER_DONE | CLOSED, Ordering::Relaxed);
            return value.ok_or(TryRecvError::Disconnected);
        }
        Err(if word & (SENDER_DONE | CLOSED) == 0 {
            TryRecvError::Empty
        } else {
            TryRecvError::Disconnected
        })
    }

    fn wait(&self, deadline_ns: Option<u64>) -> Result<T, RecvTimeoutError> {
        loop {
            match self.try_take() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(lost(RecvTimeoutError::Disconnected)),
                Err(TryRecvError::Empty) => {}
            }
            let cell = WaitCell::new();
            // SAFETY: S8: the sender does not know of a cell: WAITING is not set, and was taken back before SENDER_DONE
            // if it ever was.
            self.shared.cell.with_mut(|place| unsafe { *place = Some(cell) });
            // AcqRel: Release pairs with the Acquire in `send` and in the sender's drop: the cell; Acquire pairs with
            // their Release.
            if self.shared.word.fetch_or(WAITING, Ordering::AcqRel) & SENDER_DONE != 0 {
                continue;
            }
            let outcome = self.shared.cell.with(|cell| {
                // SAFETY: S8: filled in above, and nobody writes it as long as WAITING is set.
                let cell = unsafe { &*cell }.as_ref().expect("filled in above");
                timers::wait(cell, WaitReason::Receive, deadline_ns, !std::thread::panicking())
            });
            // Acquire: pairs with the Release in `send` and in the sender's drop.
            let word = self.shared.word.fetch_and(!WAITING, Ordering::Acquire);
            match outcome {
                _ if word & SENDER_DONE != 0 => {}
                Outcome::TimedOut => return Err(RecvTimeoutError::Timeout),
                _ => raise_if_cancelled(),
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The receiving as an arm: see [`Receiver::recv_arm`].
pub struct RecvArm<'a, T> {
    receiver: &'a mut Receiver<T>,
    received: Cell<Option<T>>,
}

// SAFETY: S8: the select's cell is under the lock from `enlist` to `withdraw`. Nobody claims the ticket: who wakes lets
// the select look again.
unsafe impl<T> Arm for RecvArm<'_, T> {
    fn try_now(&self) -> bool {
        match self.receiver.try_take() {
            Ok(value) => {
                self.received.set(Some(value));
                true
            }
            Err(TryRecvError::Disconnected) => true,
            Err(TryRecvError::Empty) => false,
        }
    }

    unsafe fn enlist(&self, ticket: &Ticket, _: u32) -> bool {
        let shared = &self.receiver.shared;
        shared.set_selecting(Some(NonNull::from(ticket.cell())));
        // AcqRel: pairs with the sender's, as for WAITING; the cell's address itself is ordered by the lock.
        let waits = shared.word.fetch_or(SELECTING, Ordering::AcqRel) & SENDER_DONE == 0;
        if !waits {
            self.withdraw();
        }
        waits
    }

    fn withdraw(&self) {
        let shared = &self.receiver.shared;
        // Relaxed: whoever saw the bit is met at the lock.
        shared.word.fetch_and(!SELECTING, Ordering::Relaxed);
        shared.set_selecting(None);
    }

    fn discard(&self) {
        drop(self.received.take());
    }
}

impl<T> Operation for RecvArm<'_, T> {
    type Output = Result<T, RecvError>;

    fn finish(self) -> Self::Output {
        self.received.take().ok_or_else(|| lost(RecvError))
    }
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecvArm { .. }")
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
