//! What stands in for identities on platforms without identity blocks: a coroutine can only be light, and shares its
//! worker's thread-locals.

use super::Unsupported;

/// Never constructed.
#[derive(Debug)]
pub struct TlsLayout(std::convert::Infallible);

/// Never constructed.
#[derive(Debug)]
pub struct Identity(std::convert::Infallible);

/// There are no words to carry.
#[derive(Clone, Copy, Debug)]
pub struct AllocatorPair(());

impl AllocatorPair {
    /// The only value: there are no identities.
    pub const fn unusual() -> Self {
        Self(())
    }

    /// Does nothing, and returns `false`.
    ///
    /// # Safety
    /// None (S3).
    pub unsafe fn carry(&self, _from: usize, _to: usize) -> bool {
        false
    }
}

/// Always an error on these platforms.
pub fn facts() -> Result<&'static TlsLayout, &'static Unsupported> {
    static WHY: std::sync::OnceLock<Unsupported> = std::sync::OnceLock::new();
    Err(WHY.get_or_init(|| Unsupported("not Linux with glibc on x86_64".to_string())))
}

/// Does nothing: nothing is observed on these platforms.
pub fn learn_panic_count() {}

/// Always `None`: the place is never known on these platforms.
pub fn panic_count_offset() -> Option<isize> {
    None
}
