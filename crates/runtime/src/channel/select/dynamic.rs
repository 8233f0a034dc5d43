//! How does a `Select` hold arms that are known only when the program runs?
//!
//! The arms live in the `Select`. Up to eight of them need no allocation if a message has eight words or less: an entry
//! has room for the arm, and holds two functions that know the arm's type. A larger arm is boxed. The entries move when
//! the `Select` moves; that is sound, because an arm is in a wait list only while `select` borrows it.
//!
//! The interface is that of crossbeam with one difference: the message to send is given together with the arm (see the
//! head of `select`). [`Select::take`] gives it back if it was not sent.

use super::super::{Receiver, RecvError, SendError, Sender, deadline_after, deadline_at};
use super::{Arm, Limit, Order, RecvArm, SendArm, run_with};
use crate::coroutine::lost;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::{Duration, Instant};

/// Number of arms that need no allocation.
const INLINE_ARMS: usize = 8;

/// Number of words of an arm that needs no allocation.
const INLINE_WORDS: usize = 15;

type Room = MaybeUninit<[usize; INLINE_WORDS]>;

// As the head of the file says. (Loom's atomics are larger.)
#[cfg(not(loom))]
const _: () = assert!(size_of::<SendArm<'_, [usize; 8]>>() <= size_of::<Room>());

/// The sender or the receiver that the user gave for an arm.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Receiver(*const ()),
    Sender(*const ()),
}

/// An arm whose type only the two functions know.
struct SelectEntry<'a> {
    room: Room,
    /// Returns the address of the arm, which is in the room or in a box.
    view: unsafe fn(*const Room) -> *const (dyn Arm + 'a),
    drop: unsafe fn(*mut Room),
    source: Source,
    /// The arm may hold borrows of `'a`, and only the thread that made it uses it.
    _arm: PhantomData<*const &'a ()>,
}

/// # Safety
/// The room holds an `A`.
unsafe fn view_inline<'a, A: Arm + 'a>(room: *const Room) -> *const (dyn Arm + 'a) {
    room.cast::<A>()
}

/// # Safety
/// The room holds the address of an `A`.
unsafe fn view_boxed<'a, A: Arm + 'a>(room: *const Room) -> *const (dyn Arm + 'a) {
    // SAFETY: S8: the caller promises: the room holds the address of an `A`.
    unsafe { room.cast::<*const A>().read() }
}

/// # Safety
/// The room holds an `A`; it holds nothing afterwards.
unsafe fn drop_inline<A>(room: *mut Room) {
    // SAFETY: S8: the caller promises what `view_inline` asks.
    unsafe { ptr::drop_in_place(room.cast::<A>()) };
}

/// # Safety
/// The room holds the address of an `A`; it holds nothing afterwards.
unsafe fn drop_boxed<A>(room: *mut Room) {
    // SAFETY: S8: the caller promises what `view_boxed` asks.
    let arm = unsafe { room.cast::<*mut A>().read() };
    // SAFETY: S8: from a box, in `SelectEntry::new`.
    drop(unsafe { Box::from_raw(arm) });
}

impl<'a> SelectEntry<'a> {
    fn new<A: Arm + 'a>(arm: A, source: Source) -> Self {
        let mut room = Room::uninit();
        let place = room.as_mut_ptr();
        if size_of::<A>() <= size_of::<Room>() && align_of::<A>() <= align_of::<Room>() {
            // SAFETY: S8: there is room, aligned.
            unsafe { place.cast::<A>().write(arm) };
            Self {
                room,
                view: view_inline::<A>,
                drop: drop_inline::<A>,
                source,
                _arm: PhantomData,
            }
        } else {
            let arm = Box::into_raw(Box::new(arm));
            // SAFETY: S8: there is room, aligned.
            unsafe { place.cast::<*mut A>().write(arm) };
            Self {
                room,
                view: view_boxed::<A>,
                drop: drop_boxed::<A>,
                source,
                _arm: PhantomData,
            }
        }
    }

    fn address(&self) -> *const (dyn Arm + 'a) {
        // SAFETY: S8: the room holds what `new` put there.
        unsafe { (self.view)(&raw const self.room) }
    }

    fn arm(&self) -> &(dyn Arm + 'a) {
        // SAFETY: S8: the arm lives as long as the entry, and is only shared.
        unsafe { &*self.address() }
    }

    fn receive_arm<T>(&self, receiver: &Receiver<T>) -> Option<&RecvArm<'a, T>> {
        if self.source != Source::Receiver(ptr::from_ref(receiver).cast()) {
            return None;
        }
        // SAFETY: S8: made from a receiver at this very address, which is borrowed for 'a: its type is that of this
        // one.
        Some(unsafe { &*self.address().cast::<RecvArm<'a, T>>() })
    }

    fn send_arm<T>(&self, sender: &Sender<T>) -> Option<&SendArm<'a, T>> {
        if self.source != Source::Sender(ptr::from_ref(sender).cast()) {
            return None;
        }
        // SAFETY: S8: made from a sender at this very address, which is borrowed for 'a.
        Some(unsafe { &*self.address().cast::<SendArm<'a, T>>() })
    }
}

impl Drop for SelectEntry<'_> {
    fn drop(&mut self) {
        // SAFETY: S8: the room holds what `new` put there, for the last time.
        unsafe { (self.drop)(&raw mut self.room) };
    }
}

/// A select whose arms are known only when the program runs: the dynamic form of [`select!`](crate::select). The names
/// are those of crossbeam's `Select`.
///
/// Each arm has an index; indices count from 0 in the order in which the arms were added. Receiving arms stay for the
/// next selection. A sending arm is removed once it has been selected, since its message is gone then.
///
/// Unlike in crossbeam, a sending arm gets its message when it is added: the selected operation is complete when
/// [`select`](Self::select) returns.
///
/// # Examples
/// ```
/// use silken::channel::{Select, unbounded};
/// let channels: Vec<_> = (0..5).map(|_| unbounded()).collect();
/// channels[3].0.send("hello").unwrap();
/// let mut select = Select::new();
/// for (_, rx) in &channels {
///     select.recv(rx);
/// }
/// let operation = select.select();
/// let index = operation.index();
/// assert_eq!(index, 3);
/// assert_eq!(operation.recv(&channels[index].1), Ok("hello"));
/// ```
pub struct Select<'a> {
    first: [Option<SelectEntry<'a>>; INLINE_ARMS],
    more: Vec<Option<SelectEntry<'a>>>,
    count: usize,
    order: Order,
    /// The arm of the last operation, until that operation is dropped.
    selected: Option<usize>,
}

impl<'a> Select<'a> {
    /// Makes a select without arms. It tries arms in a random order.
    pub fn new() -> Self {
        Self::with_order(Order::Fair)
    }

    /// Makes a select without arms that prefers arms that were added earlier.
    pub fn new_biased() -> Self {
        Self::with_order(Order::Biased)
    }

    fn with_order(order: Order) -> Self {
        Self {
            first: [const { None }; INLINE_ARMS],
            more: Vec::new(),
            count: 0,
            order,
            selected: None,
        }
    }

    /// Adds an arm that receives a message; returns the arm's index.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        let source = Source::Receiver(ptr::from_ref(receiver).cast());
        self.add(SelectEntry::new(RecvArm::new(receiver), source))
    }

    /// Adds an arm that sends a message; returns the arm's index.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::{Select, bounded};
    /// let (tx, rx) = bounded(1);
    /// let mut select = Select::new();
    /// let sends = select.send(&tx, "message");
    /// let operation = select.try_select().unwrap();
    /// assert_eq!(operation.index(), sends);
    /// assert_eq!(operation.send(&tx), Ok(()));
    /// assert_eq!(rx.recv(), Ok("message"));
    /// ```
    pub fn send<T>(&mut self, sender: &'a Sender<T>, message: T) -> usize
    where
        T: 'a,
    {
        let source = Source::Sender(ptr::from_ref(sender).cast());
        self.add(SelectEntry::new(SendArm::new(sender, message), source))
    }

    fn add(&mut self, entry: SelectEntry<'a>) -> usize {
        let index = self.count;
        match self.first.get_mut(index) {
            Some(place) => *place = Some(entry),
            None => self.more.push(Some(entry)),
        }
        self.count += 1;
        index
    }

    fn place(&mut self, index: usize) -> Option<&mut Option<SelectEntry<'a>>> {
        match index.checked_sub(INLINE_ARMS) {
            None => self.first.get_mut(index),
            Some(index) => self.more.get_mut(index),
        }
    }

    fn entry(&self, index: usize) -> Option<&SelectEntry<'a>> {
        match index.checked_sub(INLINE_ARMS) {
            None => self.first.get(index)?.as_ref(),
            Some(index) => self.more.get(index)?.as_ref(),
        }
    }

    /// Removes an arm. If it is a sending arm, its message is dropped. The other arms keep their indices.
    ///
    /// # Panics
    /// If there is no such arm.
    #[track_caller]
    pub fn remove(&mut self, index: usize) {
        let entry = self.place(index).and_then(Option::take);
        assert!(entry.is_some(), "index {index}: there is no such arm");
    }

    /// Removes a sending arm that was not selected, and returns its message. Returns `None` if the index is not that of
    /// an arm of this sender.
    pub fn take<T>(&mut self, index: usize, sender: &Sender<T>) -> Option<T> {
        let message = self.entry(index)?.send_arm(sender)?.take();
        self.remove(index);
        message
    }

    /// Carries out one of the operations, if one of them can be carried out at once.
    ///
    /// # Errors
    /// [`TrySelectError`] when no operation can be carried out at once.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'_, 'a>, TrySelectError> {
        self.run(Limit::Try).ok_or(TrySelectError)
    }

    /// Waits until one of the operations can be carried out, and carries it out.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Select`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait and no operation has happened.
    ///
    /// # Panics
    /// If there are no arms.
    ///
    /// # Examples
    /// ```
    /// use silken::channel::{Select, unbounded};
    ///
    /// let (tx, rx) = unbounded();
    /// let (_idle, other) = unbounded::<u32>();
    /// silken::spawn(move || tx.send(5).unwrap());
    /// let mut select = Select::new();
    /// let (ours, _) = (select.recv(&rx), select.recv(&other));
    /// let selected = select.select();
    /// assert_eq!(selected.index(), ours);
    /// assert_eq!(selected.recv(&rx), Ok(5));
    /// ```
    #[track_caller]
    pub fn select(&mut self) -> SelectedOperation<'_, 'a> {
        self.finish_selected();
        assert!(
            (0..self.count).any(|index| self.entry(index).is_some()),
            "a select without arms waits for ever"
        );
        self.run(Limit::Until(None)).expect("it waits for ever")
    }

    /// Does what [`select`](Self::select) does, but waits for at most `timeout`. Without arms it does not panic; it
    /// waits until the time is up.
    ///
    /// # Errors
    /// [`SelectTimeoutError`] when the time is up.
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<SelectedOperation<'_, 'a>, SelectTimeoutError> {
        self.run(Limit::Until(deadline_after(timeout)))
            .ok_or(SelectTimeoutError)
    }

    /// Does what [`select`](Self::select) does, but waits until `deadline` at most. Without arms it does not panic; it
    /// waits until the time is up.
    ///
    /// # Errors
    /// [`SelectTimeoutError`] when the time is up.
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'_, 'a>, SelectTimeoutError> {
        self.run(Limit::Until(deadline_at(deadline))).ok_or(SelectTimeoutError)
    }

    /// Ends the last operation, if it has not ended: drops its result and, if it was a send, removes its arm.
    fn finish_selected(&mut self) {
        let Some(index) = self.selected.take() else { return };
        let Some(entry) = self.entry(index) else { return };
        match entry.source {
            Source::Sender(_) => self.remove(index),
            Source::Receiver(_) => entry.arm().discard(),
        }
    }

    fn run(&mut self, limit: Limit) -> Option<SelectedOperation<'_, 'a>> {
        // The last operation has not ended if it was leaked.
        self.finish_selected();
        let this = &*self;
        let index = run_with(
            this.count,
            |index| this.entry(index).map(|entry| -> &dyn Arm { entry.arm() }),
            self.order,
            limit,
        )?;
        self.selected = Some(index);
        Some(SelectedOperation { select: self, index })
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// An operation that a [`Select`] has carried out; [`recv`](Self::recv) or [`send`](Self::send) returns its result.
///
/// If it is dropped instead, it drops the message that was received, or the message that no receiver will receive. If
/// it is leaked ([`std::mem::forget`]), that message is dropped when the next selection begins. (The
/// `SelectedOperation` of crossbeam panics when it is dropped, because there the operation is still to be carried out.)
#[must_use]
pub struct SelectedOperation<'s, 'a> {
    select: &'s mut Select<'a>,
    index: usize,
}

impl<'a> SelectedOperation<'_, 'a> {
    /// The index of the arm.
    pub fn index(&self) -> usize {
        self.index
    }

    fn entry(&self) -> &SelectEntry<'a> {
        self.select.entry(self.index).expect("the selected arm is there")
    }

    /// Returns the message that was received.
    ///
    /// # Errors
    /// [`RecvError`] when the channel is empty and no message will ever be sent.
    ///
    /// # Panics
    /// If the operation is not a receive from this very receiver.
    #[track_caller]
    pub fn recv<T>(self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        let arm = self.entry().receive_arm(receiver);
        arm.expect("the selected operation receives from another receiver")
            .take()
            .map_err(lost)
    }

    /// Returns whether the message was sent. The arm is removed.
    ///
    /// # Errors
    /// [`SendError`] with the message when no receiver will ever receive it.
    ///
    /// # Panics
    /// If the operation is not a send to this very sender.
    #[track_caller]
    pub fn send<T>(self, sender: &Sender<T>) -> Result<(), SendError<T>> {
        let arm = self.entry().send_arm(sender);
        match arm.expect("the selected operation sends to another sender").take() {
            None => Ok(()),
            Some(message) => Err(lost(SendError(message))),
        }
    }
}

impl Drop for SelectedOperation<'_, '_> {
    fn drop(&mut self) {
        self.select.finish_selected();
    }
}

impl fmt::Debug for SelectedOperation<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedOperation")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// No operation could be carried out at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrySelectError;

/// No operation could be carried out in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectTimeoutError;

impl fmt::Display for TrySelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no operation of the select was ready")
    }
}

impl fmt::Display for SelectTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out waiting on a select")
    }
}

impl std::error::Error for TrySelectError {}
impl std::error::Error for SelectTimeoutError {}
