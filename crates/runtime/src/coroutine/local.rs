//! Values that belong to a coroutine, of either kind; on an OS thread they belong to the thread.
//!
//! An isolated coroutine has no need of them: `thread_local!` is its own. They serve light coroutines, and code that is
//! to work on both. A coroutine's values lie boxed in a short list behind its core, found by the key's address; most
//! coroutines have none.
//!
//! # Destruction
//! At the end of the coroutine, after its result is stored and before joiners go on, newest first, as std destroys its
//! own. Meanwhile a destructor may use values that are older, and make values that were never made; those go next. A
//! value whose destructor has begun is gone for good ([`AccessError`]). So each key's value is destroyed once, and the
//! round ends. Destructors of thread-locals and of pthread keys may make values too, so rounds go on until nothing of
//! either kind is left (`sched/switch.rs`); until then the marks stay.
//!
//! # Loss
//! A coroutine that overflows its stack runs no destructors. Who promised something to others and would keep the
//! promise in a destructor leaves a function here by [`on_lost`]; the runtime calls it on a fresh coroutine
//! (`sched/loss.rs`). In every other end it is dropped, uncalled, after the values.

use super::Core;
use super::current;
use super::inherited::Binding;
use super::std_thread::StdThread;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// The values of one coroutine or thread.
#[derive(Default)]
pub(crate) struct LocalMap {
    /// In the order in which they were made; `None`: destroyed.
    values: Vec<(usize, Option<Box<dyn Any>>)>,
    /// The innermost scoped value (`inherited.rs`). Here, since one pointer in the core is enough for both.
    pub(super) bindings: Option<Arc<Binding>>,
    on_lost: Option<OnLost>,
    /// What std has made for the coroutine to be, until it starts.
    std_thread: Option<StdThread>,
    /// How many hooked calls were refused (`hook/interruption.rs`) since the coroutine was cancelled, or in its present
    /// `timeout`.
    refusals: Cell<u32>,
}

/// What is to be done when a coroutine is lost.
pub(crate) type OnLost = Box<dyn FnOnce() + Send>;

/// What is to be destroyed next; dropped where no map is borrowed.
#[expect(dead_code, reason = "it is there to be dropped")]
enum Taken {
    Value(Box<dyn Any>),
    Bindings(Arc<Binding>),
    OnLost(OnLost),
}

/// What a map knows of a key.
enum Found {
    Value(*const dyn Any),
    Destroyed,
    Nothing,
}

impl LocalMap {
    fn find(&self, key: usize) -> Found {
        match self.values.iter().find(|(known, _)| *known == key) {
            Some((_, Some(value))) => Found::Value(&raw const **value),
            Some((_, None)) => Found::Destroyed,
            None => Found::Nothing,
        }
    }

    /// Takes the newest value out and leaves a mark that it was there; after all values, the scoped ones; last, what a
    /// loss would have called.
    fn take_newest(&mut self) -> Option<Taken> {
        let newest = self.values.iter_mut().rev().find_map(|(_, value)| value.take());
        newest
            .map(Taken::Value)
            .or_else(|| self.bindings.take().map(Taken::Bindings))
            .or_else(|| self.on_lost.take().map(Taken::OnLost))
    }
}

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

    /// Calls `f` with the caller's value, made at the first access.
    ///
    /// # Panics
    /// When the values of this coroutine or thread are already destroyed.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).expect(GONE)
    }

    /// As [`with`](Self::with), with an error instead of a panic.
    ///
    /// # Errors
    /// [`AccessError`] when the value of this coroutine or thread is already destroyed.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        self.try_with_initial(&mut None, f)
    }

    /// Calls `f` with the caller's value; if that has to be made it is `initial`, which is then taken, or else what the
    /// declaration says.
    fn try_with_initial<R>(&'static self, initial: &mut Option<T>, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self).addr();
        let value = match access(|map| map.find(key)) {
            Found::Value(value) => value,
            Found::Destroyed => return Err(AccessError),
            Found::Nothing => {
                // User code: it may use other keys, or this one, so no borrow of the map is held.
                let made: Box<dyn Any> = Box::new(initial.take().unwrap_or_else(self.init));
                let value = &raw const *made;
                let mut made = Some(made);
                access(|map| match map.find(key) {
                    Found::Value(value) => value,
                    // What was made in vain is dropped outside.
                    _ => {
                        map.values.push((key, made.take()));
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

    /// Calls `put` with the value that is there and `value`; there is none yet: `value` becomes it.
    fn put(&'static self, value: T, put: impl FnOnce(&T, T)) {
        let mut value = Some(value);
        self.try_with_initial(&mut value, |_| ()).expect(GONE);
        // Still here: it was not needed to make one.
        if let Some(value) = value {
            self.with(|held| put(held, value));
        }
    }
}

const GONE: &str = "the coroutine-local value is already destroyed";

impl<T: 'static> LocalKey<Cell<T>> {
    /// The caller's value.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Changes the caller's value. What the declaration says is not made first.
    pub fn set(&'static self, value: T) {
        self.put(Cell::new(value), |held, value| held.set(value.into_inner()));
    }

    /// Takes the caller's value, leaving the default.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Changes the caller's value and gives the one that was there.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|held| held.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Borrows the caller's value.
    ///
    /// # Panics
    /// When it is borrowed mutably.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Borrows the caller's value mutably.
    ///
    /// # Panics
    /// When it is borrowed.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Changes the caller's value. What the declaration says is not made first.
    ///
    /// # Panics
    /// When it is borrowed.
    pub fn set(&'static self, value: T) {
        self.put(RefCell::new(value), |held, value| {
            drop(held.replace(value.into_inner()))
        });
    }

    /// Takes the caller's value, leaving the default.
    ///
    /// # Panics
    /// When it is borrowed.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Changes the caller's value and gives the one that was there.
    ///
    /// # Panics
    /// When it is borrowed.
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
    /// Has no destructor, so that the values' destructors can use it; that is the other's part.
    static OF_THREAD: ManuallyDrop<RefCell<LocalMap>> = ManuallyDrop::new(RefCell::default());
    static END_OF_THREAD: EndOfThread = const { EndOfThread };
}

/// As [`access`], if there is a map.
#[inline(always)]
pub(super) fn peek<R>(f: impl FnOnce(&LocalMap) -> R) -> Option<R> {
    match current::current_core() {
        // SAFETY: S1: as in `access`.
        Some(core) => unsafe { &*core.locals.get() }.as_deref().map(f),
        None => OF_THREAD.with(|map| Some(f(&map.borrow()))),
    }
}

/// Calls `f`, which runs no code of the user, with the caller's map.
pub(super) fn access<R>(f: impl FnOnce(&mut LocalMap) -> R) -> R {
    match current::current_core() {
        Some(core) => {
            // SAFETY: S1: the running coroutine owns the field; `f` runs no user code, so this is the one borrow.
            let slot = unsafe { &mut *core.locals.get() };
            f(slot.get_or_insert_default())
        }
        None => {
            // The first access registers the end. Afterwards nobody destroys what is made: it is leaked.
            let _ = END_OF_THREAD.try_with(|_| ());
            OF_THREAD.with(|map| f(&mut map.borrow_mut()))
        }
    }
}

/// Counts a hooked call of the caller's that is refused; tells how many were before.
#[cold]
pub(crate) fn count_refusal() -> u32 {
    access(|map| map.refusals.replace(map.refusals.get().saturating_add(1)))
}

/// How many were counted.
#[inline]
pub(crate) fn refusals() -> u32 {
    peek(|map| map.refusals.get()).unwrap_or(0)
}

/// A `timeout` is over: those within it count no longer.
#[inline]
pub(super) fn forget_refusals() {
    peek(|map| map.refusals.set(0));
}

/// Has `f` called, on another coroutine, if the running one is lost. One at a time; on an OS thread, which is never
/// lost, it is dropped.
pub(crate) fn on_lost(f: impl FnOnce() + Send + 'static) {
    if current::current_core().is_some() {
        let f: OnLost = Box::new(f);
        drop(access(|map| map.on_lost.replace(f)));
    }
}

/// Destroys the running coroutine's values; tells whether there were any.
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
    /// Destroys the coroutine-local values of the coroutine that runs and ends; tells whether there were any.
    #[inline]
    pub(crate) fn destroy_locals(&self) -> bool {
        // SAFETY: S1: the running coroutine owns the field.
        let has_map = unsafe { &*self.locals.get() }.is_some();
        has_map && destroy(self)
    }

    /// The map of a coroutine that is being made, with what it inherits.
    pub(super) fn start_with(&self, bindings: Arc<Binding>) {
        let map = LocalMap {
            bindings: Some(bindings),
            ..LocalMap::default()
        };
        // SAFETY: S1: the caller owns the core, and the last life left none.
        *unsafe { &mut *self.locals.get() } = Some(Box::new(map));
    }

    /// The coroutine, which is being made, will be this thread for std.
    #[cold]
    pub(crate) fn will_be(&self, thread: StdThread) {
        // SAFETY: S1: the caller owns the core.
        let map = unsafe { &mut *self.locals.get() }.get_or_insert_default();
        map.std_thread = Some(thread);
    }

    /// Whether there is a map: of a coroutine that starts, whether it has inherited something.
    #[inline(always)]
    pub(crate) fn has_values(&self) -> bool {
        // SAFETY: S1: the running coroutine owns the field.
        unsafe { &*self.locals.get() }.is_some()
    }

    /// What the starting coroutine is to be for std.
    pub(crate) fn take_std_thread(&self) -> Option<StdThread> {
        // SAFETY: S1: the running coroutine owns the field.
        unsafe { &mut *self.locals.get() }.as_mut()?.std_thread.take()
    }

    /// The coroutine is lost: its values stay as they are, unreachable. Returns what is to be done about it.
    ///
    /// # Safety
    /// Nobody runs as this coroutine, and nobody will (S1).
    pub(crate) unsafe fn lose_locals(&self) -> Option<OnLost> {
        // SAFETY: S1: the caller promises: nobody runs as this coroutine, and nobody will.
        let locals = unsafe { &mut *self.locals.get() }.take();
        let mut map = ManuallyDrop::new(locals?);
        map.on_lost.take()
    }

    /// Forgets which values there were; the last act of the coroutine's end, when all are destroyed.
    #[inline]
    pub(crate) fn forget_locals(&self) {
        // SAFETY: S1: the running coroutine owns the field, and no user code runs any more.
        let locals = unsafe { &mut *self.locals.get() };
        if locals.is_some() {
            *locals = None;
        }
    }
}
