//! How do two coroutines share a stream, one for each direction? Each owns a half.
//!
//! A stream's reference reads and writes already, so both halves hold the stream in an `Arc`. What they add is the end:
//! when the writing half goes, the direction is shut down, and the peer sees the end although the reading half lives.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::sync::Arc;

/// Streams that have two directions: [`TcpStream`](super::TcpStream) and [`UnixStream`](super::UnixStream). No other
/// crate implements the trait.
pub trait SplitStream: sealed::Sealed + fmt::Debug {}

impl<S: sealed::Sealed + fmt::Debug> SplitStream for S {}

pub(super) mod sealed {
    use super::{IoSlice, IoSliceMut, io};

    /// The calls of a stream's reference.
    pub trait Sealed {
        fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
        fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
        fn write(&self, buffer: &[u8]) -> io::Result<usize>;
        fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
        fn end_writing(&self) -> io::Result<()>;
    }
}

/// Lets a stream be split.
macro_rules! has_two_directions {
    ($name:ident) => {
        impl super::split::sealed::Sealed for $name {
            fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                std::io::Read::read(&mut &*self, buffer)
            }

            fn read_vectored(&self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                std::io::Read::read_vectored(&mut &*self, buffers)
            }

            fn write(&self, buffer: &[u8]) -> std::io::Result<usize> {
                std::io::Write::write(&mut &*self, buffer)
            }

            fn write_vectored(&self, buffers: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                std::io::Write::write_vectored(&mut &*self, buffers)
            }

            fn end_writing(&self) -> std::io::Result<()> {
                self.shutdown(super::Shutdown::Write)
            }
        }
    };
}
pub(super) use has_two_directions;

pub(super) fn split<S: SplitStream>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    let writer = OwnedWriteHalf {
        stream: stream.clone(),
        ends_on_drop: true,
    };
    (OwnedReadHalf { stream }, writer)
}

/// The half of a stream that reads: see [`TcpStream::into_split`](super::TcpStream::into_split).
#[derive(Debug)]
pub struct OwnedReadHalf<S: SplitStream> {
    stream: Arc<S>,
}

/// The half of a stream that writes: see [`TcpStream::into_split`](super::TcpStream::into_split). When it is dropped,
/// the peer sees the end.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: SplitStream> {
    stream: Arc<S>,
    ends_on_drop: bool,
}

impl<S: SplitStream> OwnedReadHalf<S> {
    /// Puts the halves of one stream together again.
    ///
    /// # Errors
    /// Gives both back if they are halves of different streams.
    ///
    /// # Examples
    /// ```
    /// let (one, other) = silken::net::UnixStream::pair().unwrap();
    /// let ((reader, writer), (foreign, _)) = (one.into_split(), other.into_split());
    /// let error = foreign.reunite(writer).unwrap_err();
    /// let (_foreign, writer) = error.into_halves();
    /// let _whole = reader.reunite(writer).unwrap();
    /// ```
    pub fn reunite(self, mut writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.stream, &writer.stream) {
            return Err(ReuniteError { reader: self, writer });
        }
        writer.ends_on_drop = false;
        drop(writer);
        Ok(Arc::into_inner(self.stream).expect("there are two halves, and both were here"))
    }

    /// The stream, for its settings.
    ///
    /// # Examples
    /// ```
    /// let (one, _other) = silken::net::UnixStream::pair().unwrap();
    /// let (reader, _writer) = one.into_split();
    /// reader.stream().set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    /// ```
    pub fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: SplitStream> OwnedWriteHalf<S> {
    /// The stream, for its settings: see [`OwnedReadHalf::stream`].
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Drops the half without telling the peer that this direction has ended.
    ///
    /// # Examples
    /// ```
    /// use std::io::{Read, Write};
    /// let (one, mut other) = silken::net::UnixStream::pair().unwrap();
    /// let (mut reader, writer) = one.into_split();
    /// writer.forget();
    /// other.write_all(b"!").unwrap();
    /// assert_eq!(reader.read(&mut [0]).unwrap(), 1);
    /// ```
    pub fn forget(mut self) {
        self.ends_on_drop = false;
    }
}

impl<S: SplitStream> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.ends_on_drop {
            // A stream that has ended already needs no end.
            let _ = self.stream.end_writing();
        }
    }
}

impl<S: SplitStream> Read for OwnedReadHalf<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.stream.read_vectored(buffers)
    }
}

impl<S: SplitStream> Write for OwnedWriteHalf<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The halves that [`OwnedReadHalf::reunite`] could not put together.
pub struct ReuniteError<S: SplitStream> {
    reader: OwnedReadHalf<S>,
    writer: OwnedWriteHalf<S>,
}

impl<S: SplitStream> ReuniteError<S> {
    /// Gives the halves back.
    pub fn into_halves(self) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
        (self.reader, self.writer)
    }
}

impl<S: SplitStream> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<S: SplitStream> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these are halves of different streams")
    }
}

impl<S: SplitStream> std::error::Error for ReuniteError<S> {}
