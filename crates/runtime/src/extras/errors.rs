//! Errors in the manner of Go's `errors` package: a message, perhaps around another error, and questions about the
//! whole chain.
//!
//! An [`Error`] is a counted node: a message, and the error that it wraps, which is another node or a foreign error. A
//! clone counts the same node. So an error that is made once, kept in a static and returned from many places is *the
//! same* error everywhere. [`Error::is`] finds it under any number of wrappings, like Go's sentinel errors.
//!
//! `Error` does not implement [`std::error::Error`]. If it did, `?` could not turn every error into one, for the
//! conversion from itself would be defined twice. It converts into a `Box<dyn std::error::Error + Send + Sync>`
//! instead.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The return type of functions whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with a message, which may wrap another error. [`new`], [`err!`](crate::err), or `?` on any std error makes
/// one.
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

/// Makes an error with this message, equal to nothing but its clones: Go's `errors.New`.
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
    /// Makes an error with this message; see [`new`].
    pub fn new(message: impl Into<String>) -> Self {
        new(message)
    }

    /// Makes an error from a boxed error, which `?` does not convert.
    ///
    /// # Examples
    /// ```
    /// let boxed: Box<dyn std::error::Error + Send + Sync> = "not found".into();
    /// assert_eq!(silken::Error::from_boxed(boxed).to_string(), "not found");
    /// ```
    pub fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self(Arc::new(ErrorNode::Foreign(error)))
    }

    /// Returns this error with a message before it, like Go's `fmt.Errorf("message: %w", error)`.
    #[must_use]
    pub fn wrap(self, message: impl Into<String>) -> Self {
        Self(Arc::new(ErrorNode::Wrapped(message.into(), self)))
    }

    /// Returns the [`Error`] that this error directly wraps: Go's `errors.Unwrap`. `None` if it wraps none, or is a
    /// foreign error.
    pub fn unwrap(&self) -> Option<&Error> {
        match &*self.0 {
            ErrorNode::Wrapped(_, cause) => Some(cause),
            _ => None,
        }
    }

    /// Whether this error is the target, or wraps it at any depth: Go's `errors.Is`. An [`Error`] equals itself and its
    /// clones; a foreign error equals what its `==` says.
    pub fn is<T: Target>(&self, target: &T) -> bool {
        target.is_in(self)
    }

    /// Returns the first foreign error of this type in the chain: Go's `errors.As`.
    pub fn as_<T: StdError + 'static>(&self) -> Option<&T> {
        self.foreign().find_map(|error| error.downcast_ref())
    }

    /// Does what [`as_`](Self::as_) does; the name is that of `dyn std::error::Error`.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.as_()
    }

    /// The nodes of the chain that are [`Error`]s, outermost first.
    fn nodes(&self) -> impl Iterator<Item = &Error> {
        std::iter::successors(Some(self), |error| error.unwrap())
    }

    /// The foreign errors at the end of the chain, outermost first.
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

/// A target of [`Error::is`]: an [`Error`], or a foreign error with `==`.
pub trait Target {
    /// Whether the target is in the chain of `error`.
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

/// Shows what `Display` shows, since a `main` that returns the error prints this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An [`Error`] in the form of a std error.
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
        // The text has the whole chain already; the source is for a program that inspects it.
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
///
/// # Examples
/// ```
/// use silken::errors::Wrap;
/// let error = None::<u32>.wrap("no such user").unwrap_err();
/// assert_eq!(error.to_string(), "no such user");
/// assert!("x".parse::<u32>().wrap("the port").is_err());
/// ```
pub trait Wrap<T> {
    /// Puts a message before the error, if there is one.
    ///
    /// # Errors
    /// The error of `self`, wrapped; for `None` an error with the message alone.
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

/// Makes an [`Error`](crate::Error) with a formatted message: `err!("no such user: {name}")`.
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
