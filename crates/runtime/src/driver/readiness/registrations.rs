//! In which drivers a descriptor is registered: in one driver of each runtime that has waited for it (`readiness.rs`,
//! "Several runtimes").

use crate::sys::raw::Errno;

/// The drivers that report a descriptor's events, one of each runtime. Nearly always there is only one, and then
/// nothing is allocated.
pub(super) struct Registrations<D> {
    first: Option<D>,
    others: Vec<D>,
}

impl<D: Copy> Registrations<D> {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            others: Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline(always)]
    pub(super) fn has(&self, is_meant: impl Fn(&D) -> bool) -> bool {
        self.first.iter().chain(&self.others).any(is_meant)
    }

    pub(super) fn add(&mut self, registration: D) {
        match self.first {
            None => self.first = Some(registration),
            Some(_) => self.others.push(registration),
        }
    }

    /// Removes the registrations for which `is_meant` holds; returns whether there was one.
    pub(super) fn remove(&mut self, is_meant: impl Fn(&D) -> bool) -> bool {
        let before = self.others.len();
        self.others.retain(|registration| !is_meant(registration));
        let removed = self.others.len() < before;
        if self.first.as_ref().is_some_and(is_meant) {
            self.first = self.others.pop();
            return true;
        }
        removed
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = D> + use<D> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.others))
    }
}

/// A place where descriptors can be registered, as seen by a waiter.
pub(in crate::driver) trait Registrar<D> {
    /// Whether this registration reports to the waiter's runtime.
    fn is_own(&self, registration: &D) -> bool;

    /// Registers in a driver of the waiter's runtime, under the generation.
    fn register(self, generation: u32) -> Result<D, Errno>;
}

/// A registrar of a single runtime, for tests.
#[cfg(test)]
impl<D, F: FnOnce(u32) -> Result<D, Errno>> Registrar<D> for F {
    fn is_own(&self, _: &D) -> bool {
        true
    }

    fn register(self, generation: u32) -> Result<D, Errno> {
        self(generation)
    }
}
