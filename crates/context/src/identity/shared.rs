//! Platforms without identity blocks: a coroutine can only be light, and share its worker's thread-locals.

use super::Unsupported;

/// Never constructed.
#[derive(Debug)]
pub struct TlsLayout(std::convert::Infallible);

/// Never constructed.
#[derive(Debug)]
pub struct Identity(std::convert::Infallible);

/// No words to carry.
#[derive(Clone, Copy, Debug)]
pub struct AllocatorPair(());

impl AllocatorPair {
    /// There are no identities.
    pub const fn unusual() -> Self {
        Self(())
    }

    /// Never has anything to do.
    ///
    /// # Safety
    /// None (S3).
    pub unsafe fn carry(&self, _from: usize, _to: usize) -> bool {
        false
    }
}

/// Always an error here.
pub fn facts() -> Result<&'static TlsLayout, &'static Unsupported> {
    static WHY: std::sync::OnceLock<Unsupported> = std::sync::OnceLock::new();
    Err(WHY.get_or_init(|| Unsupported("not Linux with glibc on x86_64".to_string())))
}

/// Nothing is observed here.
pub fn learn_panic_count() {}

/// Never known here.
pub fn panic_count_offset() -> Option<isize> {
    None
}
