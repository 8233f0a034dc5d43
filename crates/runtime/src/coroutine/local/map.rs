//! What does a coroutine keep for keys that are coroutine-local, scoped, or of the runtime? This is the record;
//! `local.rs` and `inherited.rs` say who may use it when.

use crate::coroutine::std_thread::StdThread;
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;

/// The values of one coroutine or thread.
#[derive(Default)]
pub(crate) struct LocalMap {
    /// The values in the order in which they were made; `None`: destroyed.
    values: Vec<(usize, Option<Box<dyn Any>>)>,
    /// The innermost scoped value (`inherited.rs`). It is here, since one pointer in the core is enough for both.
    pub(in crate::coroutine) bindings: Option<Arc<Binding>>,
    pub(in crate::coroutine) on_lost: Option<OnLost>,
    /// The thread that std has made for the coroutine, until it starts.
    pub(in crate::coroutine) std_thread: Option<StdThread>,
    /// How many hooked calls were refused (`io/interruption.rs`) since the coroutine was cancelled, or in its present
    /// `timeout`.
    pub(in crate::coroutine) refusals: Cell<u32>,
}

/// The function to call when a coroutine is lost.
pub(crate) type OnLost = Box<dyn FnOnce() + Send>;

/// What is to be destroyed next. It is dropped where no map is borrowed.
#[expect(dead_code, reason = "it is there to be dropped")]
pub(in crate::coroutine) enum Taken {
    Value(Box<dyn Any>),
    Bindings(Arc<Binding>),
    OnLost(OnLost),
}

/// What a map knows of a key.
pub(in crate::coroutine) enum Found {
    Value(*const dyn Any),
    Destroyed,
    Nothing,
}

impl LocalMap {
    /// A map that inherits scoped values, and has nothing else.
    pub(in crate::coroutine) fn with_bindings(bindings: Arc<Binding>) -> Self {
        Self {
            bindings: Some(bindings),
            ..Self::default()
        }
    }

    pub(in crate::coroutine) fn find(&self, key: usize) -> Found {
        match self.values.iter().find(|(known, _)| *known == key) {
            Some((_, Some(value))) => Found::Value(&raw const **value),
            Some((_, None)) => Found::Destroyed,
            None => Found::Nothing,
        }
    }

    /// Adds a value, the newest; `None`: one that is destroyed already.
    pub(in crate::coroutine) fn push(&mut self, key: usize, value: Option<Box<dyn Any>>) {
        self.values.push((key, value));
    }

    /// Takes the newest value out and leaves a mark that it existed. After all values, takes the scoped ones; last, the
    /// function for a loss.
    pub(in crate::coroutine) fn take_newest(&mut self) -> Option<Taken> {
        let newest = self.values.iter_mut().rev().find_map(|(_, value)| value.take());
        newest
            .map(Taken::Value)
            .or_else(|| self.bindings.take().map(Taken::Bindings))
            .or_else(|| self.on_lost.take().map(Taken::OnLost))
    }
}

/// A scoped value that is in force, and the ones around it (`inherited.rs`).
pub(in crate::coroutine) struct Binding {
    pub(in crate::coroutine) key: usize,
    pub(in crate::coroutine) value: Arc<dyn Any + Send + Sync>,
    pub(in crate::coroutine) outer: Option<Arc<Binding>>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        let mut next = self.outer.take();
        while let Some(mut binding) = next.and_then(Arc::into_inner) {
            next = binding.outer.take();
        }
    }
}
