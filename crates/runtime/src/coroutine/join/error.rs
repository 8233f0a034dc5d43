//! Why has a coroutine no result? Its joiner gets the reason as an error.

use std::any::Any;

/// Why a coroutine has no result.
#[non_exhaustive]
pub enum JoinError {
    /// It panicked, with this payload.
    Panicked(PanicPayload),
    /// It was cancelled, before or after it began.
    Cancelled,
    /// It overflowed its stack. Its frames were not unwound and its stack is never used again.
    StackOverflow,
}

impl JoinError {
    /// Returns the panic payload, if a panic ended the coroutine.
    ///
    /// # Errors
    /// The error itself, if it is not a panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        match self {
            JoinError::Panicked(payload) => Ok(payload.into_inner()),
            other => Err(other),
        }
    }

    /// Whether the coroutine panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }

    /// Whether the coroutine was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JoinError::Cancelled)
    }

    /// The message of the panic, if the coroutine panicked and the message is a string.
    pub fn message(&self) -> Option<&str> {
        match self {
            JoinError::Panicked(payload) => payload.message(),
            _ => None,
        }
    }

    /// The panic payload, if there is one and it is a `T`: the value that was passed to
    /// [`panic_any`](std::panic::panic_any).
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        match self {
            JoinError::Panicked(payload) => payload.downcast_ref(),
            _ => None,
        }
    }
}

/// The payload of a panic. It is the payload that [`std::thread::Result`] has, in a form that may be shared. So a
/// [`JoinError`] can be put into error types that require [`Sync`] (`anyhow`, `eyre`, `Box<dyn Error + Send + Sync>`).
///
/// # Examples
/// ```
/// use silken::JoinError;
/// let error = silken::spawn(|| std::panic::panic_any(7_u32)).join().unwrap_err();
/// assert_eq!(error.downcast_ref::<u32>(), Some(&7));
/// if let JoinError::Panicked(payload) = error {
///     let again = std::panic::catch_unwind(|| payload.resume()).unwrap_err();
///     assert_eq!(*again.downcast::<u32>().unwrap(), 7);
/// }
/// ```
pub struct PanicPayload(Box<dyn Any + Send + 'static>);

// SAFETY: S2: a shared reference gives access to nothing but values that are themselves `Sync`.
unsafe impl Sync for PanicPayload {}

// It has gone through a panic already.
impl std::panic::UnwindSafe for PanicPayload {}
impl std::panic::RefUnwindSafe for PanicPayload {}

impl PanicPayload {
    pub(crate) fn new(payload: Box<dyn Any + Send + 'static>) -> Self {
        Self(payload)
    }

    /// The payload.
    pub fn into_inner(self) -> Box<dyn Any + Send + 'static> {
        self.0
    }

    /// Continues the panic, as [`std::panic::resume_unwind`] does.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.0)
    }

    /// The message, if it is a string, as it is after `panic!`.
    pub fn message(&self) -> Option<&str> {
        let text = self.downcast_ref::<&str>().copied();
        text.or_else(|| self.downcast_ref::<String>().map(String::as_str))
    }

    /// The payload, if it is a `T`.
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl std::fmt::Debug for PanicPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message().unwrap_or(".."))
    }
}

impl std::fmt::Debug for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JoinError::Panicked(_) => f
                .debug_tuple("Panicked")
                .field(&self.message().unwrap_or(".."))
                .finish(),
            JoinError::Cancelled => f.write_str("Cancelled"),
            JoinError::StackOverflow => f.write_str("StackOverflow"),
        }
    }
}

impl std::fmt::Display for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JoinError::Panicked(_) => match self.message() {
                Some(message) => write!(f, "the coroutine panicked: {message}"),
                None => f.write_str("the coroutine panicked"),
            },
            JoinError::Cancelled => f.write_str("the coroutine was cancelled"),
            JoinError::StackOverflow => f.write_str("the coroutine ran out of stack"),
        }
    }
}

impl std::error::Error for JoinError {}
