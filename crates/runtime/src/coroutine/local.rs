//! Where do the values of `coroutine_local!` lie, and when are they destroyed? They belong to a coroutine of either
//! kind; on an OS thread they belong to the thread.
//!
//! An isolated coroutine does not need them, since it has its own `thread_local!` values. They serve light coroutines,
//! and code that works on both kinds. A coroutine's values are boxed, in a short list behind its core, and found by the
//! key's address. Most coroutines have none.
//!
//! # Destruction
//! The values are destroyed at the end of the coroutine, after its result is stored and before joiners continue; newest
//! first, as std destroys its own. Meanwhile a destructor may use values that are older, and may make values that never
//! existed; those are destroyed next. A value whose destructor has begun cannot be accessed again ([`AccessError`]). So
//! each key's value is destroyed once, and the round ends. Destructors of thread-locals and of pthread keys may make
//! values too. So rounds go on until no values of any kind are left (`sched/life.rs`). Until then the marks stay.
//!
//! # Loss
//! A coroutine that overflows its stack runs no destructors. Some code promises something to others and keeps the
//! promise in a destructor. It leaves a function here by [`on_lost`], and the runtime calls it on a new coroutine
//! (`sched/loss.rs`). If the coroutine ends in any other way, the function is dropped without a call, after the values.

#[forbid(unsafe_code)]
pub(super) mod map;

use super::Core;
use super::current;
use super::std_thread::StdThread;
use map::{Binding, Found, LocalMap, OnLost};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// The error of [`LocalKey::try_with`]: the owner of the values is being destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl std::fmt::Display for AccessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("coroutine-local values are already destroyed")
    }
}

impl std::error::Error for AccessError {}

/// A key made by [`coroutine_local!`](crate::coroutine_local): each coroutine has its own value.
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
    /// Gives each key an address of its own: functions may be merged, statics of non-zero size are not.
    _place: u8,
}

impl<T: 'static> std::fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init, _place: 0 }
    }

    /// Calls `f` with the caller's value. The first access makes the value.
    ///
    /// # Panics
    /// If the values of this coroutine or thread are already destroyed.
    ///
    /// # Examples
    /// ```
    /// use std::cell::Cell;
    /// silken::coroutine_local!(static COUNT: Cell<u32> = Cell::new(0));
    ///
    /// COUNT.with(|count| count.set(5));
    /// let elsewhere = silken::spawn(|| COUNT.with(Cell::get)).join().unwrap();
    /// assert_eq!((COUNT.with(Cell::get), elsewhere), (5, 0));
    /// ```
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).expect(GONE)
    }

    /// Calls `f` with the caller's value, as [`with`](Self::with) does, but returns an error instead of panicking.
    ///
    /// # Errors
    /// [`AccessError`] if the value of this coroutine or thread is already destroyed.
    ///
    /// # Examples
    /// ```
    /// silken::coroutine_local!(static DEPTH: u32 = 3);
    ///
    /// assert_eq!(DEPTH.try_with(|depth| *depth), Ok(3));
    /// ```
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        self.try_with_initial(&mut None, f)
    }

    /// Calls `f` with the caller's value. If the value has to be made it is `initial`, which is then taken, or
    /// otherwise what the declaration says.
    fn try_with_initial<R>(&'static self, initial: &mut Option<T>, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self).addr();
        let value = match access(|map| map.find(key)) {
            Found::Value(value) => value,
            Found::Destroyed => return Err(AccessError),
            Found::Nothing => {
                // This is user code. It may use other keys, or this one, so no borrow of the map is held.
                let made: Box<dyn Any> = Box::new(initial.take().unwrap_or_else(self.init));
                let value = &raw const *made;
                let mut made = Some(made);
                access(|map| match map.find(key) {
                    Found::Value(value) => value,
                    // A value that is not needed after all is dropped outside.
                    _ => {
                        map.push(key, made.take());
                        value
                    }
                })
            }
        };
        // SAFETY: S3: the box stays in the map until the coroutine (or thread) that runs here ends, and `f` ends
        // before.
        let value = unsafe { &*value };
        Ok(f(value.downcast_ref().expect("a key has one type")))
    }

    /// Calls `put` with the present value and `value`. If there is none yet, `value` becomes the present value instead.
    fn put(&'static self, value: T, put: impl FnOnce(&T, T)) {
        let mut value = Some(value);
        self.try_with_initial(&mut value, |_| ()).expect(GONE);
        // It is still here, so there was a present value.
        if let Some(value) = value {
            self.with(|held| put(held, value));
        }
    }
}

const GONE: &str = "the coroutine-local value is already destroyed";

impl<T: 'static> LocalKey<Cell<T>> {
    /// Returns a copy of the caller's value.
    ///
    /// # Panics
    /// If the value is already destroyed.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Sets the caller's value. The initial value of the declaration is not made first.
    ///
    /// # Panics
    /// If the value is already destroyed.
    pub fn set(&'static self, value: T) {
        self.put(Cell::new(value), |held, value| held.set(value.into_inner()));
    }

    /// Takes the caller's value and leaves the default value of its type.
    ///
    /// # Panics
    /// If the value is already destroyed.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Replaces the caller's value and returns the old one.
    ///
    /// # Panics
    /// If the value is already destroyed.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|held| held.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Borrows the caller's value.
    ///
    /// # Panics
    /// If the value is currently mutably borrowed, or already destroyed.
    ///
    /// # Examples
    /// ```
    /// use std::cell::RefCell;
    /// silken::coroutine_local!(static NAMES: RefCell<Vec<String>> = RefCell::new(Vec::new()));
    ///
    /// NAMES.with_borrow_mut(|names| names.push("main".into()));
    /// let elsewhere = silken::spawn(|| NAMES.with_borrow(Vec::len)).join().unwrap();
    /// assert_eq!((NAMES.with_borrow(Vec::len), elsewhere), (1, 0));
    /// ```
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Borrows the caller's value mutably.
    ///
    /// # Panics
    /// If the value is currently borrowed, or already destroyed.
    ///
    /// # Examples
    /// ```
    /// use std::cell::RefCell;
    /// silken::coroutine_local!(static COUNTS: RefCell<[u32; 2]> = RefCell::new([0; 2]));
    ///
    /// COUNTS.with_borrow_mut(|counts| counts[1] += 1);
    /// assert_eq!(COUNTS.take(), [0, 1]);
    /// ```
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the caller's value. The initial value of the declaration is not made first.
    ///
    /// # Panics
    /// If the value is currently borrowed, or already destroyed.
    pub fn set(&'static self, value: T) {
        self.put(RefCell::new(value), |held, value| {
            drop(held.replace(value.into_inner()))
        });
    }

    /// Takes the caller's value and leaves the default value of its type.
    ///
    /// # Panics
    /// If the value is currently borrowed, or already destroyed.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Replaces the caller's value and returns the old one.
    ///
    /// # Panics
    /// If the value is currently borrowed, or already destroyed.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|held| held.replace(value))
    }
}

/// Destroys a thread's values when the thread ends.
struct EndOfThread;

impl Drop for EndOfThread {
    fn drop(&mut self) {
        while let Some(value) = OF_THREAD.with(|map| map.borrow_mut().take_newest()) {
            drop(value);
        }
    }
}

thread_local! {
    /// Has no destructor, so that the values' destructors can use it; `END_OF_THREAD` destroys the values.
    static OF_THREAD: ManuallyDrop<RefCell<LocalMap>> = ManuallyDrop::new(RefCell::default());
    static END_OF_THREAD: EndOfThread = const { EndOfThread };
}

/// Calls `f`, which runs no user code, with the caller's map, if there is one.
#[inline(always)]
pub(super) fn peek<R>(f: impl FnOnce(&LocalMap) -> R) -> Option<R> {
    match current::current_core() {
        // SAFETY: S1: as in `access`.
        Some(core) => unsafe { &*core.locals.get() }.as_deref().map(f),
        None => OF_THREAD.with(|map| Some(f(&map.borrow()))),
    }
}

/// Calls `f`, which runs no user code, with the caller's map. Makes the map if there is none.
pub(super) fn access<R>(f: impl FnOnce(&mut LocalMap) -> R) -> R {
    match current::current_core() {
        Some(core) => {
            // SAFETY: S1: the running coroutine owns the field; `f` runs no user code, so this is the one borrow.
            let slot = unsafe { &mut *core.locals.get() };
            f(slot.get_or_insert_default())
        }
        None => {
            // The first access registers the destruction at the end of the thread. A value that is made after that is
            // never destroyed: it is leaked.
            let _ = END_OF_THREAD.try_with(|_| ());
            OF_THREAD.with(|map| f(&mut map.borrow_mut()))
        }
    }
}

/// Counts a hooked call of the caller that is refused. Returns how many were refused before.
#[cold]
pub(crate) fn count_refusal() -> u32 {
    access(|map| map.refusals.replace(map.refusals.get().saturating_add(1)))
}

/// How many refused calls were counted.
#[inline]
pub(crate) fn refusals() -> u32 {
    peek(|map| map.refusals.get()).unwrap_or(0)
}

/// A `timeout` is over: the refusals within it no longer count.
#[inline]
pub(super) fn forget_refusals() {
    peek(|map| map.refusals.set(0));
}

/// Registers `f`, which is called on another coroutine if the running one is lost. A new one replaces the old one. On
/// an OS thread, which is never lost, `f` is dropped.
pub(crate) fn on_lost(f: impl FnOnce() + Send + 'static) {
    if current::current_core().is_some() {
        let f: OnLost = Box::new(f);
        drop(access(|map| map.on_lost.replace(f)));
    }
}

/// Destroys the running coroutine's values. Returns whether there were any.
fn destroy(core: &Core) -> bool {
    let mut any = false;
    loop {
        // SAFETY: S1: the running coroutine owns the field; the borrow ends before the destructor runs.
        let map = unsafe { &mut *core.locals.get() };
        match map.as_mut().and_then(|map| map.take_newest()) {
            Some(value) => drop(value),
            None => return any,
        }
        any = true;
    }
}

impl Core {
    /// Destroys the coroutine-local values of the running coroutine, which ends. Returns whether there were any.
    #[inline]
    pub(crate) fn destroy_locals(&self) -> bool {
        // SAFETY: S1: the running coroutine owns the field.
        let has_map = unsafe { &*self.locals.get() }.is_some();
        has_map && destroy(self)
    }

    /// Makes the map of a coroutine that is being made, with the values that it inherits.
    pub(super) fn start_with(&self, bindings: Arc<Binding>) {
        let map = LocalMap::with_bindings(bindings);
        // SAFETY: S1: the caller owns the core, and the last life left none.
        *unsafe { &mut *self.locals.get() } = Some(Box::new(map));
    }

    /// Gives the coroutine, which is being made, the thread that it is to be for std.
    #[cold]
    pub(crate) fn will_be(&self, thread: StdThread) {
        // SAFETY: S1: the caller owns the core.
        let map = unsafe { &mut *self.locals.get() }.get_or_insert_default();
        map.std_thread = Some(thread);
    }

    /// Whether there is a map. For a coroutine that starts: whether it has inherited something.
    #[inline(always)]
    pub(crate) fn has_values(&self) -> bool {
        // SAFETY: S1: the running coroutine owns the field.
        unsafe { &*self.locals.get() }.is_some()
    }

    /// Takes the thread that the starting coroutine is to be for std.
    pub(crate) fn take_std_thread(&self) -> Option<StdThread> {
        // SAFETY: S1: the running coroutine owns the field.
        unsafe { &mut *self.locals.get() }.as_mut()?.std_thread.take()
    }

    /// The coroutine is lost. Its values stay as they are, unreachable. Returns the function that is to be called for
    /// the loss.
    ///
    /// # Safety
    /// Nobody runs as this coroutine, and nobody will (S1).
    pub(crate) unsafe fn lose_locals(&self) -> Option<OnLost> {
        // SAFETY: S1: the caller promises: nobody runs as this coroutine, and nobody will.
        let locals = unsafe { &mut *self.locals.get() }.take();
        let mut map = ManuallyDrop::new(locals?);
        map.on_lost.take()
    }

    /// Forgets which values there were. This is the last act of the coroutine's end, when all are destroyed.
    #[inline]
    pub(crate) fn forget_locals(&self) {
        // SAFETY: S1: the running coroutine owns the field, and no user code runs any more.
        let locals = unsafe { &mut *self.locals.get() };
        if locals.is_some() {
            *locals = None;
        }
    }
}
