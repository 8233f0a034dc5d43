//! How does one value travel from one sender to one receiver, exactly once? The usual use is the answer to a request.
//! [`channel`] makes the two ends; sending takes the sender, receiving the receiver.
//!
//! ```
//! use silken::channel::{oneshot, unbounded};
//!
//! let (requests, jobs) = unbounded::<(u32, oneshot::Sender<u32>)>();
//! silken::spawn(move || jobs.iter().for_each(|(number, reply)| drop(reply.send(number * 2))));
//! let (reply, answer) = oneshot::channel();
//! requests.send((21, reply)).unwrap();
//! assert_eq!(answer.recv(), Ok(42));
//! ```
//!
//! The rest of this page is for those who change the code.
//!
//! # Protocol
//! The channel is one allocation with a word, a place for the value, and a wait cell for the receiver. Each side counts
//! as one owner of the allocation. The bits of the word:
//!
//! | bit | set by | means |
//! |---|---|---|
//! | `VALUE` | the sender, with `SENDER_DONE` | the value is in its place, and the receiver may take it |
//! | `SENDER_DONE` | the sender | the sender has sent or is gone, and will not look at the word again |
//! | `CLOSED` | the receiver | no value will be taken any more: the sender keeps its own |
//! | `WAITING` | the receiver, which also clears it | the wait cell is filled in |
//! | `SELECTING` | the receiver, which also clears it | a select waits: its wait cell's address is under the lock |
//!
//! The sender acts once: by one compare-and-swap when it sends, or by one `fetch_or` when it is dropped. If it finds
//! `WAITING`, it settles the wait cell and unparks the receiver.
//!
//! # The race: the sender's act against the receiver's wait
//! The receiver fills in its wait cell, sets `WAITING`, and looks at the bits that were set before. If `SENDER_DONE`
//! was set, the sender does not know of the wait cell, and the receiver does not park.
//!
//! When a deadline or a cancellation ends a wait, the receiver clears `WAITING`. If the sender is not done at that
//! moment, it will never look at this wait cell, so the receiver may fill it in anew for the next wait. If the sender
//! is done, it may be looking at the wait cell at that moment. Then there is no next wait, and the allocation lives as
//! long as the sender counts as an owner. For this reason the wait cell lies in the channel and not on the receiver's
//! stack.
//!
//! The wait cell of a select lies on the stack of the select and is shared with other arms. Its address is under a
//! lock. The sender takes this lock only if it finds `SELECTING`, and holds it until it has settled the wait cell. The
//! receiver takes the same lock to withdraw, and so does not leave while the sender looks at the wait cell (S8).
//!
//! # Rejected
//! The word could hold the address of a wait cell on the receiver's stack. Then a receiver that times out would have to
//! wait for a sender that is about to touch that wait cell.

use super::select::{Arm, Operation, Ticket};
pub use super::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use crate::coroutine::{Critical, Outcome, WaitCell, WaitReason, lost, raise_if_cancelled};
use crate::loom::atomic::{AtomicU32, Ordering};
use crate::loom::{Arc, UnsafeCell};
use crate::sys::Lock;
use crate::wait::{self, deadline_after, deadline_at};
use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

const VALUE: u32 = 1;
const SENDER_DONE: u32 = 2;
const CLOSED: u32 = 4;
const WAITING: u32 = 8;
const SELECTING: u32 = 16;

/// The wait cell of a select that waits.
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

/// The right to send the value. If it is dropped unused, the receiver learns that no value will come.
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
    /// # Errors
    /// [`SendError`] with the value when the receiver is gone or [closed](Receiver::close). `Ok` does not mean that the
    /// receiver will take the value.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let shared = &self.shared;
        // SAFETY: S2: until the word says VALUE the place is the sender's, and there is one sender.
        shared.value.with_mut(|place| unsafe { *place = Some(value) });
        // Relaxed: the compare-and-swap decides.
        let mut word = shared.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 {
            let done = word | VALUE | SENDER_DONE;
            // AcqRel: Release pairs with the Acquire in `try_take`: the value; Acquire pairs with the Release in
            // `wait`: the wait cell. Relaxed on failure: the loop tries again.
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

    /// Takes the value back that was not sent.
    #[cold]
    fn take_back(&self) -> T {
        // SAFETY: S2: VALUE was not set, so the place is still the sender's.
        let value = self.shared.value.with_mut(|place| unsafe { (*place).take() });
        value.expect("put there before")
    }

    /// Whether a [`send`](Self::send) would give the value back.
    pub fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`: what the receiver did before the close is visible.
        self.shared.word.load(Ordering::Acquire) & CLOSED != 0
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Relaxed: SENDER_DONE was set by this same thread of control, or is not set.
        if self.shared.word.load(Ordering::Relaxed) & SENDER_DONE == 0 {
            // AcqRel: Release pairs with the Acquire in `try_take`: what the sender did before the drop; Acquire pairs
            // with the Release in `wait`: the wait cell.
            let word = self.shared.word.fetch_or(SENDER_DONE, Ordering::AcqRel);
            self.shared.wake_if(word);
        }
    }
}

impl<T> Shared<T> {
    /// The sender is done, and `word` is the word as it was before: wakes the receiver if it waits.
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
    /// Returns an arm of a [`select!`](crate::select) that receives the value; the form `on(…)` takes it. Its result is
    /// that of [`recv`](Self::recv).
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

    /// Waits for the value and takes it.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Receive`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait and no value has come. The receiver is dropped by that, so a sender that sends later
    /// gets its value back.
    ///
    /// # Errors
    /// [`RecvError`] when the sender was dropped without sending.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::oneshot;
    ///
    /// let (tx, rx) = oneshot::channel();
    /// silken::spawn(move || tx.send("done"));
    /// assert_eq!(rx.recv(), Ok("done"));
    ///
    /// let (tx, rx) = oneshot::channel::<u32>();
    /// drop(tx);
    /// assert!(rx.recv().is_err());
    /// ```
    pub fn recv(self) -> Result<T, RecvError> {
        self.wait(None).map_err(|_| RecvError)
    }

    /// Does what [`recv`](Self::recv) does, but waits for at most `timeout`, and may be called again.
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

    /// Does what [`recv_timeout`](Self::recv_timeout) does, but waits until `deadline` at most.
    ///
    /// # Errors
    /// `Timeout` when the time is up; `Disconnected` when the sender was dropped without sending, or the value has been
    /// taken.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.wait(Some(deadline_at(deadline)))
    }

    /// Takes the value if it is there. Never waits.
    ///
    /// # Errors
    /// `Empty` when the value is not there yet; `Disconnected` when no value will come, or it has been taken.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.try_take()
    }

    /// Closes the channel: from now on a send gives the value back to the sender. A value that was sent before can
    /// still be received.
    pub fn close(&mut self) {
        // Release: pairs with the Acquire in `is_closed`.
        self.shared.word.fetch_or(CLOSED, Ordering::Release);
    }

    /// Whether nothing can be received any more: the value has been taken, or no value will come.
    pub fn is_terminated(&self) -> bool {
        // Relaxed: no other memory is read because of the result.
        let word = self.shared.word.load(Ordering::Relaxed);
        word & VALUE == 0 && word & (SENDER_DONE | CLOSED) != 0
    }

    /// Whether there is nothing to receive at this moment.
    pub fn is_empty(&self) -> bool {
        // Relaxed: no other memory is read because of the result.
        self.shared.word.load(Ordering::Relaxed) & VALUE == 0
    }

    /// Only the one thread of control that has the receiver gets here: through `&mut`, or through `recv`, which owns
    /// the receiver.
    fn try_take(&self) -> Result<T, TryRecvError> {
        // Acquire: pairs with the Release in `send` and in the sender's drop.
        let word = self.shared.word.load(Ordering::Acquire);
        if word & VALUE != 0 {
            // SAFETY: S2: VALUE gives the place to the receiver.
            let value = self.shared.value.with_mut(|place| unsafe { (*place).take() });
            // Relaxed: the sender will not look at the word again.
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
            // AcqRel: Release pairs with the Acquire in `send` and in the sender's drop: the wait cell; Acquire pairs
            // with their Release.
            if self.shared.word.fetch_or(WAITING, Ordering::AcqRel) & SENDER_DONE != 0 {
                continue;
            }
            let outcome = self.shared.cell.with(|cell| {
                // SAFETY: S8: filled in above, and nobody writes it as long as WAITING is set.
                let cell = unsafe { &*cell }.as_ref().expect("filled in above");
                wait::wait(cell, WaitReason::Receive, deadline_ns, !std::thread::panicking())
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

/// An arm that receives the value: see [`Receiver::recv_arm`].
pub struct RecvArm<'a, T> {
    receiver: &'a mut Receiver<T>,
    received: Cell<Option<T>>,
}

// SAFETY: S8: the select's cell is under the lock from `enlist` to `withdraw`. No waker claims the ticket: a woken
// select looks again.
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
        // AcqRel: pairs with the sender's AcqRel in the same way as for WAITING; the address of the wait cell is
        // ordered by the lock.
        let waits = shared.word.fetch_or(SELECTING, Ordering::AcqRel) & SENDER_DONE == 0;
        if !waits {
            self.withdraw();
        }
        waits
    }

    fn withdraw(&self) {
        let shared = &self.receiver.shared;
        // Relaxed: a sender that saw the bit and the receiver meet at the lock.
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
