//! Platforms without identity blocks: every coroutine is light and shares its worker's thread-locals.

use super::Unsupported;

/// Never constructed.
#[derive(Debug)]
pub struct Facts(std::convert::Infallible);

/// Never constructed.
#[derive(Debug)]
pub struct Identity(std::convert::Infallible);

/// Always an error here.
pub fn facts() -> Result<&'static Facts, &'static Unsupported> {
    static WHY: std::sync::OnceLock<Unsupported> = std::sync::OnceLock::new();
    Err(WHY.get_or_init(|| Unsupported("not Linux with glibc on x86_64".to_string())))
}
