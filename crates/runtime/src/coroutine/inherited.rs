//! Scoped values: what holds for a call, and for all that is spawned in it.
//!
//! A coroutine's (or an OS thread's) values are a chain of shared, immutable *bindings*, the innermost first. To bind
//! is to put one in front for the time of a call; to inherit is to count a reference to the front. The front lies
//! beside the coroutine-local values (`local.rs`), so a spawner that has neither pays for the look at one null pointer.
//! A look-up walks the chain, whose length is the nesting of bindings, as a rule one or two.
//!
//! A coroutine that binds and then spawns its successor in the same call makes a chain that grows with the generations.
//! So a binding that shadows the front's key does not keep it, and a chain is freed in a loop and not by recursion.

use super::core::Core;
use super::local::{self, LocalMap};
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

pub(super) struct Binding {
    key: usize,
    value: Arc<dyn Any + Send + Sync>,
    outer: Option<Arc<Binding>>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        let mut next = self.outer.take();
        while let Some(mut binding) = next.and_then(Arc::into_inner) {
            next = binding.outer.take();
        }
    }
}

/// Gives a coroutine that is being made the caller's values.
#[inline(always)]
pub(crate) fn pass_values_on(child: &Core) {
    if let Some(front) = front() {
        child.start_with(front);
    }
}

/// The caller's innermost binding.
#[inline(always)]
fn front() -> Option<Arc<Binding>> {
    local::peek(|map| map.bindings.clone()).flatten()
}

fn replace_front(front: Option<Arc<Binding>>) -> Option<Arc<Binding>> {
    local::access(|map| std::mem::replace(&mut map.bindings, front))
}

fn find(key: usize) -> Option<Arc<dyn Any + Send + Sync>> {
    let look = |map: &LocalMap| {
        let mut at = map.bindings.as_ref();
        while let Some(binding) = at {
            if binding.key == key {
                return Some(binding.value.clone());
            }
            at = binding.outer.as_ref();
        }
        None
    };
    local::peek(look).flatten()
}

/// A key made by [`scoped_value!`](crate::scoped_value): its value holds during a call, for the caller and for every
/// coroutine that is spawned in it. It cannot be changed, only bound anew for an inner call.
///
/// Children hold the value together ([`Arc`]); it is dropped when the call and all who inherited it have ended.
///
/// # Examples
/// ```
/// silken::scoped_value! {
///     static REQUEST: u64;
/// }
/// assert!(!REQUEST.is_set());
/// let seen = REQUEST.set_in(7, || {
///     let child = silken::spawn(|| REQUEST.with(|request| *request)).join().unwrap();
///     let shadowed = REQUEST.set_in(8, || REQUEST.with(|request| *request));
///     (child, shadowed, REQUEST.with(|request| *request))
/// });
/// assert_eq!(seen, (7, 8, 7));
/// ```
pub struct ScopedKey<T: 'static> {
    /// Gives each key an address of its own.
    _place: u8,
    _value: PhantomData<fn(T)>,
}

impl<T> std::fmt::Debug for ScopedKey<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopedKey").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> ScopedKey<T> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self {
            _place: 0,
            _value: PhantomData,
        }
    }

    fn id(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Calls `f`, in which the key has this value.
    pub fn set_in<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        struct Restore(Option<Arc<Binding>>);

        impl Drop for Restore {
            fn drop(&mut self) {
                let outer = self.0.take();
                // Dropped outside: a destructor of the user's may use the chain.
                drop(replace_front(outer));
            }
        }

        let outer = front();
        let kept = match &outer {
            Some(front) if front.key == self.id() => front.outer.clone(),
            front => front.clone(),
        };
        let binding = Arc::new(Binding {
            key: self.id(),
            value: Arc::new(value),
            outer: kept,
        });
        let _restore = Restore(outer);
        drop(replace_front(Some(binding)));
        f()
    }

    /// Calls `f` with the value.
    ///
    /// # Panics
    /// When no caller, and no caller of an ancestor's spawn, has set it.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.get().expect("the scoped value is not set here"))
    }

    /// As [`with`](Self::with); `None` where it is not set.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.get().map(|value| f(&value))
    }

    /// A share of the value.
    pub fn get(&'static self) -> Option<Arc<T>> {
        let value = find(self.id())?;
        Some(value.downcast().unwrap_or_else(|_| unreachable!("a key has one type")))
    }

    /// Whether it is set here.
    pub fn is_set(&'static self) -> bool {
        self.get().is_some()
    }
}
