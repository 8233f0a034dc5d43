//! Why does a receive of a broadcast bring no value?

use std::fmt;

/// The reason why a receive returned no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// All senders are gone, and all that they sent was received.
    Closed,
    /// This number of values was overwritten before this receiver took them. The next receive returns the oldest value
    /// that is left.
    Lagged(u64),
}

/// The reason why a receive that does not wait returned no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no new value.
    Empty,
    /// All senders are gone: see [`RecvError::Closed`].
    Closed,
    /// Values were overwritten: see [`RecvError::Lagged`].
    Lagged(u64),
}

/// The reason why a receive with a deadline returned no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// The time is up.
    Timeout,
    /// All senders are gone: see [`RecvError::Closed`].
    Closed,
    /// Values were overwritten: see [`RecvError::Lagged`].
    Lagged(u64),
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Self::Closed,
            RecvError::Lagged(count) => Self::Lagged(count),
        }
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Self::Closed,
            RecvError::Lagged(count) => Self::Lagged(count),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("all senders of the channel are gone"),
            Self::Lagged(count) => write!(f, "the receiver was too slow and lost {count} values"),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is nothing to receive"),
            Self::Closed => RecvError::Closed.fmt(f),
            Self::Lagged(count) => RecvError::Lagged(*count).fmt(f),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("nothing was received in time"),
            Self::Closed => RecvError::Closed.fmt(f),
            Self::Lagged(count) => RecvError::Lagged(*count).fmt(f),
        }
    }
}

impl std::error::Error for RecvError {}
impl std::error::Error for TryRecvError {}
impl std::error::Error for RecvTimeoutError {}
