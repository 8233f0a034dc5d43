//! The one place that names loom or std's atomics.
//!
//! A file whose correctness a loom model proves takes its atomics from [`atomic`]: under `--cfg loom` they are loom's,
//! else std's. Data that lives in a `static` takes them from [`static_atomic`], which is always std's, since loom's
//! atomics have no const constructor; what such a static does is modelled through the type that the static wraps.

/// Atomics that loom can explore.
pub(crate) mod atomic {
    #[cfg(loom)]
    #[allow(unused_imports)]
    pub(crate) use loom::sync::atomic::*;
    #[cfg(not(loom))]
    #[allow(unused_imports)]
    pub(crate) use std::sync::atomic::*;
}

/// Atomics for statics: never loom's.
pub(crate) mod static_atomic {
    #[allow(unused_imports)]
    pub(crate) use std::sync::atomic::*;
}

/// A counted pointer whose count loom can see.
#[cfg(loom)]
#[allow(unused_imports)]
pub(crate) use loom::sync::Arc;
/// A counted pointer whose count loom can see.
#[cfg(not(loom))]
#[allow(unused_imports)]
pub(crate) use std::sync::Arc;

/// A cell whose accesses loom can check; [`with`](UnsafeCell::with) and [`with_mut`](UnsafeCell::with_mut) as loom has
/// them.
#[cfg(loom)]
#[allow(unused_imports)]
pub(crate) use loom::cell::UnsafeCell;

/// A cell with loom's surface and std's content.
#[cfg(not(loom))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
#[allow(dead_code)]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

/// One turn of a spin loop; a scheduling point under loom.
#[inline(always)]
#[allow(dead_code)]
pub(crate) fn spin_loop() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}

/// Declares a constructor that is `const`, except under loom, whose atomics cannot be made at compile time.
macro_rules! const_unless_loom {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        $visibility const fn $name($($argument: $type),*) -> $result $body
        #[cfg(loom)]
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) -> $result $body
    };
}
pub(crate) use const_unless_loom;
