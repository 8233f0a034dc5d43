//! An open file: std's type, whose calls wait by `io::regular`.

use super::open::open;
use super::{FileTimes, Metadata, Permissions, TryLockError};
use crate::io::{regular, sockets};
use crate::offload;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The least room for a read. Some files of the kernel's give a whole value or an end, and would give a part of it.
const ROOM_MIN: usize = 64;

/// How much is asked for at a time behind the end that a file's size has told. The room is zeroed first, so it is not
/// much more than what may come.
const ROUND_BYTES: usize = 8 * 1024;

/// The same after rounds that were full.
const ROUND_BYTES_MAX: usize = 1 << 20;

/// An open file: [`std::fs::File`] for coroutines of both kinds. See the [module](crate::fs).
///
/// It dereferences to std's type, so a function that takes `&std::fs::File` takes `&file`. [`FileExt`] has the reads
/// and writes at an offset, which leave the file's own position alone.
///
/// # Blocking
/// Reads park while a disk is waited for. Writes copy into memory as a rule: see the [module](crate::fs).
///
/// # Examples
/// ```
/// use silken::fs::File;
/// use std::io::{Read, Seek, Write};
/// use std::os::unix::fs::FileExt;
///
/// let path = std::env::temp_dir().join(format!("silken-file-{}", std::process::id()));
/// let mut file = silken::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
/// file.write_all(b"0123456789").unwrap();
/// file.write_all_at(b"AB", 4).unwrap();
/// file.rewind().unwrap();
/// let mut text = String::new();
/// file.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "0123AB6789");
/// silken::fs::remove_file(&path).unwrap();
/// ```
pub struct File {
    /// `None` only on the way out. Shared with calls that a thread of the pool makes, which end before their callers
    /// go on: so whoever has the file by value has it alone.
    shared: Option<Arc<std::fs::File>>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Blocking
    /// Parks the calling coroutine: see [`OpenOptions::open`](super::OpenOptions::open).
    ///
    /// # Errors
    /// Those of [`std::fs::File::open`].
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        open(std::fs::OpenOptions::new().read(true), path.as_ref()).map(Self::from)
    }

    /// Opens a file for writing, without its content. Makes it if there is none.
    ///
    /// # Blocking
    /// Parks the calling coroutine: see [`OpenOptions::open`](super::OpenOptions::open).
    ///
    /// # Errors
    /// Those of [`std::fs::File::create`].
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        open(options.write(true).create(true).truncate(true), path.as_ref()).map(Self::from)
    }

    /// Makes a file, for reading and writing. Fails if there is one.
    ///
    /// # Blocking
    /// Parks the calling coroutine: see [`OpenOptions::open`](super::OpenOptions::open).
    ///
    /// # Errors
    /// Those of [`std::fs::File::create_new`].
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        open(options.read(true).write(true).create_new(true), path.as_ref()).map(Self::from)
    }

    /// Writes the file to its disk, and waits for that.
    ///
    /// # Blocking
    /// Parks the calling coroutine.
    ///
    /// # Errors
    /// Those of [`std::fs::File::sync_all`]. An error of the disk is reported once, to whom asks first.
    pub fn sync_all(&self) -> io::Result<()> {
        regular::sync(self.as_fd(), false)
    }

    /// Like [`sync_all`](Self::sync_all), without the attributes that nobody needs to read the data.
    ///
    /// # Blocking
    /// Parks the calling coroutine.
    ///
    /// # Errors
    /// Those of [`std::fs::File::sync_data`].
    pub fn sync_data(&self) -> io::Result<()> {
        regular::sync(self.as_fd(), true)
    }

    /// Cuts the file, or makes it longer by zeros.
    ///
    /// # Blocking
    /// Parks the calling coroutine: a thread of the pool calls.
    ///
    /// # Errors
    /// Those of [`std::fs::File::set_len`].
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.on_thread(move |file| file.set_len(size))
    }

    /// The attributes.
    ///
    /// # Blocking
    /// Parks the calling coroutine: a thread of the pool calls.
    ///
    /// # Errors
    /// Those of [`std::fs::File::metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.on_thread(std::fs::File::metadata)
    }

    /// Sets the permissions.
    ///
    /// # Blocking
    /// Parks the calling coroutine: a thread of the pool calls.
    ///
    /// # Errors
    /// Those of [`std::fs::File::set_permissions`].
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.on_thread(move |file| file.set_permissions(permissions))
    }

    /// Sets the times of the last access and the last change.
    ///
    /// # Blocking
    /// Parks the calling coroutine: a thread of the pool calls.
    ///
    /// # Errors
    /// Those of [`std::fs::File::set_times`].
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.on_thread(move |file| file.set_times(times))
    }

    /// Sets the time of the last change: [`set_times`](Self::set_times).
    ///
    /// # Errors
    /// Those of [`std::fs::File::set_modified`].
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// A second handle of the same open file: both have one position. Does not wait.
    ///
    /// # Errors
    /// Those of [`std::fs::File::try_clone`].
    pub fn try_clone(&self) -> io::Result<Self> {
        let copy = self.shared().try_clone()?;
        sockets::copied(self.as_raw_fd(), copy.as_raw_fd());
        Ok(Self::known(copy))
    }

    /// Locks the file for this handle alone: [`std::fs::File::lock`].
    ///
    /// # Blocking
    /// Parks the calling coroutine, which has a thread of the pool for itself while another holds the lock.
    ///
    /// # Errors
    /// Those of [`std::fs::File::lock`]; ENOMEM if no thread can be made.
    ///
    /// # Examples
    /// ```
    /// let path = std::env::temp_dir().join(format!("silken-lock-{}", std::process::id()));
    /// let file = silken::fs::File::create(&path).unwrap();
    /// file.lock().unwrap();
    /// let other = silken::fs::File::open(&path).unwrap();
    /// assert!(other.try_lock().is_err());
    /// file.unlock().unwrap();
    /// other.lock_shared().unwrap();
    /// silken::fs::remove_file(&path).unwrap();
    /// ```
    pub fn lock(&self) -> io::Result<()> {
        self.lock_by(std::fs::File::try_lock, std::fs::File::lock)
    }

    /// Locks the file together with others that share the lock: [`std::fs::File::lock_shared`].
    ///
    /// # Blocking
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_shared(&self) -> io::Result<()> {
        self.lock_by(std::fs::File::try_lock_shared, std::fs::File::lock_shared)
    }

    fn lock_by(
        &self,
        attempt: fn(&std::fs::File) -> Result<(), TryLockError>,
        lock: fn(&std::fs::File) -> io::Result<()>,
    ) -> io::Result<()> {
        match attempt(self.shared()) {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                let file = self.shared().clone();
                let waits = move || {
                    loop {
                        match lock(&file) {
                            // A signal has come to the pool's thread, and has nothing to do with the caller.
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            result => return result,
                        }
                    }
                };
                offload::wait_or(Err(io::Error::from_raw_os_error(libc::ENOMEM)), waits)
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Makes a call on a thread of the pool.
    fn on_thread<R: Send + 'static>(&self, call: impl FnOnce(&std::fs::File) -> R + Send + 'static) -> R {
        let file = self.shared().clone();
        offload::run_on_disk(move || call(&file))
    }

    /// Wraps a file whose number the descriptor table knows.
    fn known(file: std::fs::File) -> Self {
        Self {
            shared: Some(Arc::new(file)),
        }
    }

    fn shared(&self) -> &Arc<std::fs::File> {
        self.shared.as_ref().expect("taken only on the way out")
    }

    /// How many bytes a read to the end will bring, as far as the file's size tells.
    fn rest_hint(&self) -> usize {
        let mut file: &std::fs::File = self.shared();
        let (Ok(size), Ok(position)) = (file.metadata().map(|metadata| metadata.len()), file.stream_position()) else {
            return 0;
        };
        usize::try_from(size.saturating_sub(position)).unwrap_or(0)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(file) = &self.shared {
            sockets::pass(file.as_raw_fd());
        }
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        regular::read_into(self.as_fd(), buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        regular::read_into_all(self.as_fd(), buffers)
    }

    fn read_to_end(&mut self, content: &mut Vec<u8>) -> io::Result<usize> {
        let before = content.len();
        let hint = self.rest_hint();
        // Room for more, which the read needs that finds the end.
        content.try_reserve_exact(hint.saturating_add(ROOM_MIN))?;
        let mut round = hint.max(ROUND_BYTES);
        loop {
            let filled = content.len();
            if content.capacity() - filled < ROOM_MIN {
                content.try_reserve(round)?;
            }
            let room = round.min(content.capacity() - filled);
            content.resize(filled + room, 0);
            let read = self.read(&mut content[filled..]);
            content.truncate(filled + read.as_ref().copied().unwrap_or(0));
            round = match read {
                Ok(0) => return Ok(filled - before),
                // It grows, or did not tell its size.
                Ok(count) if count == round => round.saturating_mul(2).clamp(ROUND_BYTES, ROUND_BYTES_MAX),
                Ok(_) => ROUND_BYTES,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => round,
                Err(error) => return Err(error),
            };
        }
    }

    fn read_to_string(&mut self, content: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        let read = self.read_to_end(&mut bytes);
        match String::from_utf8(bytes) {
            Ok(text) => {
                // What came before an error is the caller's, as in std.
                content.push_str(&text);
                read
            }
            Err(_) => read.and(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "stream did not contain valid UTF-8",
            ))),
        }
    }
}

impl Write for &File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        regular::write_from(self.as_fd(), buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        regular::write_from_all(self.as_fd(), buffers)
    }

    /// Does nothing: what was written is with the system already. [`File::sync_all`] brings it to the disk.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let mut file: &std::fs::File = self.shared();
        file.seek(position)
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }

    fn read_to_end(&mut self, content: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(content)
    }

    fn read_to_string(&mut self, content: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(content)
    }
}

impl Write for File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        (&*self).seek(position)
    }
}

impl FileExt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        regular::read_at(self.as_fd(), buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        regular::write_at(self.as_fd(), buffer, offset)
    }
}

impl Deref for File {
    type Target = std::fs::File;

    fn deref(&self) -> &std::fs::File {
        self.shared()
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        sockets::pass(file.as_raw_fd());
        Self::known(file)
    }
}

impl From<File> for std::fs::File {
    fn from(mut file: File) -> Self {
        let shared = file.shared.take().expect("taken only here");
        sockets::pass(shared.as_raw_fd());
        Arc::into_inner(shared).expect("calls of the pool have ended, see the field")
    }
}

impl From<File> for std::process::Stdio {
    fn from(file: File) -> Self {
        std::fs::File::from(file).into()
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        std::fs::File::from(fd).into()
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> Self {
        std::fs::File::from(file).into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared().as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.shared().as_raw_fd()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        std::fs::File::from(self).into_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared().fmt(f)
    }
}
