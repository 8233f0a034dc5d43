//! `Select`: arms that are known only when the program runs.
//!
//! The arms live in the `Select`, eight of them without an allocation as long as a message is of five words or less: an
//! entry has room for the arm, and a pair of functions that know its type. A larger arm is boxed. Entries move with the
//! `Select`; that is sound, for an arm is listed only while `select` borrows it.
//!
//! crossbeam's interface, but for one thing: the message to send is given with the arm (see the head of `select`), and
//! comes back by [`Select::take`] when it was not sent.

use super::super::{Receiver, RecvError, SendError, Sender, deadline_after, deadline_at};
use super::{Arm, Limit, Order, RecvArm, SendArm, run_with};
use crate::coroutine::lost;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::{Duration, Instant};

/// Arms without an allocation.
const INLINE_ARMS: usize = 8;

/// Words of an arm without an allocation.
const INLINE_WORDS: usize = 15;

type Room = MaybeUninit<[usize; INLINE_WORDS]>;

/// What an arm is, to the user.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Receiver(*const ()),
    Sender(*const ()),
}

/// An arm whose type is known to the functions only.
struct SelectEntry<'a> {
    room: Room,
    /// Where in the room, or beyond it, the arm is.
    view: unsafe fn(*const Room) -> *const (dyn Arm + 'a),
    drop: unsafe fn(*mut Room),
    source: Source,
    /// The arm may have borrows of `'a`, and is used from the thread that made it only.
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
/// As for `view_inline`; the room holds nothing afterwards.
unsafe fn drop_inline<A>(room: *mut Room) {
    // SAFETY: S8: the caller promises what `view_inline` asks.
    unsafe { ptr::drop_in_place(room.cast::<A>()) };
}

/// # Safety
/// As for `view_boxed`; the room holds nothing afterwards.
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
        // SAFETY: S8: made from a receiver at this very address, which is borrowed for 'a.
        Some(unsafe { &*self.address().cast::<SendArm<'a, T>>() })
    }
}

impl Drop for SelectEntry<'_> {
    fn drop(&mut self) {
        // SAFETY: S8: the room holds what `new` put there, for the last time.
        unsafe { (self.drop)(&raw mut self.room) };
    }
}

/// A select whose arms are known only when the program runs: the dynamic form of [`select!`](crate::select), with the
/// names of crossbeam's.
///
/// Each arm has an index, from 0 up, in the order in which they were added. Receiving arms stay for the next selection;
/// a sending arm is gone when its message is.
///
/// Unlike crossbeam's, a sending arm gets its message beforehand: the selected operation is complete when
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
    /// The arm of the last operation, until that is dropped.
    selected: Option<usize>,
}

impl<'a> Select<'a> {
    /// A select without arms.
    pub fn new() -> Self {
        Self::with_order(Order::Fair)
    }

    /// A select that prefers arms that were added earlier.
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

    /// Adds the receiving of a message; returns the arm's index.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        let source = Source::Receiver(ptr::from_ref(receiver).cast());
        self.add(SelectEntry::new(RecvArm::new(receiver), source))
    }

    /// Adds the sending of a message; returns the arm's index.
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

    /// Takes an arm away, and drops the message of one that sends. The other arms keep their indices.
    ///
    /// # Panics
    /// If there is no such arm.
    #[track_caller]
    pub fn remove(&mut self, index: usize) {
        let entry = self.place(index).and_then(Option::take);
        assert!(entry.is_some(), "index {index}: there is no such arm");
    }

    /// Takes a sending arm away that was not selected, and gives its message back; `None` if there is no such arm of
    /// this sender.
    pub fn take<T>(&mut self, index: usize, sender: &Sender<T>) -> Option<T> {
        let message = self.entry(index)?.send_arm(sender)?.take();
        self.remove(index);
        message
    }

    /// Carries one of the operations out, if one can be at once.
    ///
    /// # Errors
    /// [`TrySelectError`] when none can be.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'_, 'a>, TrySelectError> {
        self.run(Limit::Try).ok_or(TrySelectError)
    }

    /// Waits until one of the operations can be carried out, and carries it out.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Select`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// Unwinds if it has to wait, and no operation has happened.
    ///
    /// # Panics
    /// If there are no arms.
    #[track_caller]
    pub fn select(&mut self) -> SelectedOperation<'_, 'a> {
        self.finish_selected();
        assert!(
            (0..self.count).any(|index| self.entry(index).is_some()),
            "a select without arms waits for ever"
        );
        self.run(Limit::Until(None)).expect("it waits for ever")
    }

    /// As [`select`](Self::select), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`SelectTimeoutError`] when the time is up.
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<SelectedOperation<'_, 'a>, SelectTimeoutError> {
        self.run(Limit::Until(deadline_after(timeout)))
            .ok_or(SelectTimeoutError)
    }

    /// As [`select`](Self::select), waiting until `deadline` at most.
    ///
    /// # Errors
    /// [`SelectTimeoutError`] when the time is up.
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'_, 'a>, SelectTimeoutError> {
        self.run(Limit::Until(deadline_at(deadline))).ok_or(SelectTimeoutError)
    }

    /// Ends the last operation, if it has not ended: forgets what came of it, and the arm with it if that was to send.
    fn finish_selected(&mut self) {
        let Some(index) = self.selected.take() else { return };
        let Some(entry) = self.entry(index) else { return };
        match entry.source {
            Source::Sender(_) => self.remove(index),
            Source::Receiver(_) => entry.arm().discard(),
        }
    }

    fn run(&mut self, limit: Limit) -> Option<SelectedOperation<'_, 'a>> {
        // It was leaked.
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

/// An operation that a [`Select`] has carried out; [`recv`](Self::recv) or [`send`](Self::send) says what came of it.
/// Dropped instead, it drops the message that was received, or that nobody will receive. Leaked ([`std::mem::forget`]),
/// it does so when the next selection begins. (crossbeam's panics when it is dropped, for there the operation is still
/// to be carried out.)
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

    /// What was received.
    ///
    /// # Errors
    /// [`RecvError`] when the channel is empty, and nobody will ever send.
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

    /// Whether the message was sent. The arm is gone.
    ///
    /// # Errors
    /// [`SendError`] with the message when nobody will ever receive it.
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
