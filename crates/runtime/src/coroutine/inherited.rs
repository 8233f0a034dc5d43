//! How does a value hold for a call, and for every coroutine that is spawned in it? Such values are scoped values.
//!
//! A coroutine's (or an OS thread's) values are a chain of shared, immutable *bindings*, the innermost first. Binding a
//! value puts a binding in front for the duration of a call. Inheriting counts a reference to the front. The front lies
//! beside the coroutine-local values (`local.rs`), so a spawner that has neither pays only for a test of a null
//! pointer. A look-up walks the chain. Its length is the nesting of bindings, as a rule one or two.
//!
//! If a coroutine binds a value, spawns the next coroutine in the same call, and that one does the same, the chain
//! grows with the generations. So a binding that shadows the front's key does not keep the shadowed one, and a chain is
//! freed in a loop and not by recursion.

use super::core::Core;
use super::local;
use super::local::map::{Binding, LocalMap};
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

/// Gives the caller's values to a coroutine that is being made.
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

/// A key made by [`scoped_value!`](crate::scoped_value). Its value is in force during a call, for the caller and for
/// every coroutine that is spawned in it. The value cannot be changed; an inner call can bind a new one.
///
/// Children share the value ([`Arc`]). It is dropped when the call and all coroutines that inherited it have ended.
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

    /// Calls `f`. Inside, the key has this value.
    pub fn set_in<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        struct Restore(Option<Arc<Binding>>);

        impl Drop for Restore {
            fn drop(&mut self) {
                let outer = self.0.take();
                // Dropped outside of the map's borrow, since a user's destructor may use the chain.
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
    /// If neither a caller, nor a caller of an ancestor's spawn, has set it.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.get().expect("the scoped value is not set here"))
    }

    /// Calls `f` with the value. Returns `None` if it is not set.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.get().map(|value| f(&value))
    }

    /// Returns a share of the value, or `None` if it is not set.
    pub fn get(&'static self) -> Option<Arc<T>> {
        let value = find(self.id())?;
        Some(value.downcast().unwrap_or_else(|_| unreachable!("a key has one type")))
    }

    /// Whether it is set here.
    pub fn is_set(&'static self) -> bool {
        self.get().is_some()
    }
}
