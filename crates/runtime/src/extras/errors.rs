//! Errors as Go's `errors` package has them: a message, perhaps around another error, and questions about the whole
//! chain.
//!
//! An [`Error`] is a counted node: a message, and what it wraps, which is another node or a foreign error. Cloning
//! counts, so one made once, kept in a static and returned from many places is *the same* error everywhere, and
//! [`Error::is`] finds it under any number of wrappings, as Go's sentinel errors.
//!
//! `Error` does not implement [`std::error::Error`]: then `?` could not turn every error into one (the conversion from
//! itself would be defined twice). It converts into a `Box<dyn std::error::Error + Send + Sync>` instead.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What [`Error`]-giving functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with a message, which may wrap another. Made by [`new`], [`err!`](crate::err), or by `?` from any std
/// error.
///
/// # Examples
/// ```
/// use silken::err;
/// use silken::errors::{Result, Wrap};
///
/// fn port(text: &str) -> Result<u16> {
///     let port: u16 = text.parse()?;
///     if port < 1024 {
///         return Err(err!("port {port} is reserved"));
///     }
///     Ok(port)
/// }
/// assert_eq!(port("80").unwrap_err().to_string(), "port 80 is reserved");
/// let error = port("x").wrap("reading the configuration").unwrap_err();
/// assert_eq!(error.to_string(), "reading the configuration: invalid digit found in string");
/// assert!(error.as_::<std::num::ParseIntError>().is_some());
/// ```
#[derive(Clone)]
pub struct Error(Arc<ErrorNode>);

enum ErrorNode {
    Message(String),
    Wrapped(String, Error),
    Foreign(Box<dyn StdError + Send + Sync>),
}

/// An error with this message, equal to nothing but its clones: Go's `errors.New`.
///
/// # Examples
/// ```
/// use std::sync::LazyLock;
/// use silken::errors::{self, Error};
/// static CLOSED: LazyLock<Error> = LazyLock::new(|| errors::new("closed"));
///
/// let error = CLOSED.clone().wrap("reading");
/// assert!(error.is(&*CLOSED));
/// assert!(!error.is(&errors::new("closed")));
/// ```
pub fn new(message: impl Into<String>) -> Error {
    Error(Arc::new(ErrorNode::Message(message.into())))
}

impl Error {
    /// An error with this message; see [`new`].
    pub fn new(message: impl Into<String>) -> Self {
        new(message)
    }

    /// From an error that has been boxed already, which `?` does not convert.
    pub fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self(Arc::new(ErrorNode::Foreign(error)))
    }

    /// This error with a message before it, as Go's `fmt.Errorf("message: %w", error)`.
    #[must_use]
    pub fn wrap(self, message: impl Into<String>) -> Self {
        Self(Arc::new(ErrorNode::Wrapped(message.into(), self)))
    }

    /// What this error directly wraps: Go's `errors.Unwrap`.
    pub fn unwrap(&self) -> Option<&Error> {
        match &*self.0 {
            ErrorNode::Wrapped(_, cause) => Some(cause),
            _ => None,
        }
    }

    /// Whether this error, or one that it wraps however deeply, is the target: Go's `errors.Is`. An [`Error`] is itself
    /// and its clones; a foreign error is what its `==` says.
    pub fn is<T: Target>(&self, target: &T) -> bool {
        target.is_in(self)
    }

    /// The first foreign error of this type in the chain: Go's `errors.As`.
    pub fn as_<T: StdError + 'static>(&self) -> Option<&T> {
        self.foreign().find_map(|error| error.downcast_ref())
    }

    /// The name that `dyn std::error::Error` has for [`as_`](Self::as_).
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.as_()
    }

    /// Our nodes of the chain, outermost first.
    fn nodes(&self) -> impl Iterator<Item = &Error> {
        std::iter::successors(Some(self), |error| error.unwrap())
    }

    /// The foreign end of the chain, outermost first.
    fn foreign(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let innermost = self.nodes().last().unwrap_or(self);
        let mut next = match &*innermost.0 {
            ErrorNode::Foreign(error) => Some(&**error as &(dyn StdError + 'static)),
            _ => None,
        };
        std::iter::from_fn(move || {
            let error = next?;
            next = error.source();
            Some(error)
        })
    }
}

/// What [`Error::is`] can look for: an [`Error`], or a foreign error with `==`.
pub trait Target {
    /// Whether it is in the chain.
    fn is_in(&self, error: &Error) -> bool;
}

impl Target for Error {
    fn is_in(&self, error: &Error) -> bool {
        error.nodes().any(|node| Arc::ptr_eq(&node.0, &self.0))
    }
}

impl<T: StdError + PartialEq + 'static> Target for T {
    fn is_in(&self, error: &Error) -> bool {
        error.foreign().any(|foreign| foreign.downcast_ref() == Some(self))
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Arc::new(ErrorNode::Foreign(Box::new(error))))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            ErrorNode::Message(message) => f.write_str(message),
            ErrorNode::Wrapped(message, cause) => write!(f, "{message}: {cause}"),
            ErrorNode::Foreign(error) => error.fmt(f),
        }
    }
}

/// As it is displayed, since that is what a `main` that returns it shows.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An [`Error`] where a std error is asked for.
struct AsStd(Error);

impl fmt::Debug for AsStd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for AsStd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for AsStd {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The text has the whole chain already; the source is what a program may want to look at.
        self.0.foreign().next()
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(AsStd(error))
    }
}

impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        Box::new(AsStd(error))
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(AsStd(error))
    }
}

/// [`Error::wrap`] for a `Result` and an `Option`.
pub trait Wrap<T> {
    /// Puts a message before the error, if there is one.
    ///
    /// # Errors
    /// The error of `self`, wrapped; for `None` the message alone.
    fn wrap(self, message: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Wrap<T> for std::result::Result<T, E> {
    fn wrap(self, message: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.into().wrap(message))
    }
}

impl<T> Wrap<T> for Option<T> {
    fn wrap(self, message: impl Into<String>) -> Result<T> {
        self.ok_or_else(|| new(message))
    }
}

/// An [`Error`] with a formatted message: `err!("no such user: {name}")`.
///
/// # Examples
/// ```
/// let error = silken::err!("{} of {}", 3, 4);
/// assert_eq!(error.to_string(), "3 of 4");
/// ```
#[macro_export]
macro_rules! err {
    ($($format:tt)+) => {
        $crate::errors::new(::std::format!($($format)+))
    };
}
