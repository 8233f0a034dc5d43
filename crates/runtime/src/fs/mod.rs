//! Files and directories for coroutines: std's names and functions.
//!
//! `use silken::fs` instead of `use std::fs` is as a rule the only edit. (std's `Read` and `Write` for `Arc<File>` are
//! missing; those for `&File` are here.) What waits for a disk parks the coroutine, of either kind, and no hooks are
//! needed: it works without the feature `interpose`. On an OS thread the calls block the thread.
//!
//! # Who waits
//!
//! | call | on a coroutine |
//! |---|---|
//! | reads of a [`File`] | what is in the page cache is copied at once; else a thread reads; at an offset the kernel does (`io_uring(7)`), up to 128 KiB |
//! | [`File::sync_all`], [`File::sync_data`] | the kernel writes back (io_uring); a thread where there is no io_uring |
//! | writes of a [`File`] | copied into the page cache at once. What must reach the disk first (O_SYNC, O_DIRECT, a writer that the kernel slows down, FUSE) blocks the worker |
//! | opening; calls on names, directories and attributes | a thread of a pool calls, of at most 64 for the process. The next ones wait for one of them |
//! | a lock that another holds, a FIFO whose other end is not open | a thread of its own waits |
//! | `seek`, [`try_clone`](File::try_clone), the attempts to lock, `unlock`, the close of a file that is dropped | calls at once |
//!
//! A read blocks the worker where the kernel does not tell what is in the page cache: at the file's own position before
//! Linux 6.5, and of files that the process neither owns nor may write. [`FileExt`](std::os::unix::fs::FileExt)'s reads
//! at an offset do not need that.
//!
//! With the hooks, `std::fs` parks in reads and `sync_all` as well. It opens and renames on the worker, which is
//! quicker by some ten microseconds if nothing waits, and blocks the worker if the disk is needed; another thread then
//! continues the worker (see the guide, "What blocks"). So `silken::fs` is for programs that have no hooks, for light
//! coroutines, and where a slow disk must not delay others by milliseconds.
//!
//! # Cancellation
//! None of these waits is cancelled or ended by a [`timeout`](crate::timeout), since a disk answers by itself, and the
//! memory is lent to the kernel until then. A file that is no regular one (a FIFO, a terminal) waits as its kind does:
//! a cancelled read fails with ECANCELED, one whose time is over with ETIMEDOUT.
//!
//! # Errors
//! Those of std. The open of a FIFO, and a lock that another holds, fail with ENOMEM if no thread can be made.
//!
//! # Examples
//! ```
//! use silken::fs::{self, File};
//! use std::io::{Read, Write};
//!
//! let path = std::env::temp_dir().join(format!("silken-fs-{}", std::process::id()));
//! let writer = silken::spawn({
//!     let path = path.clone();
//!     move || {
//!         let mut file = File::create(&path).unwrap();
//!         file.write_all(b"kept").unwrap();
//!         file.sync_all().unwrap();
//!     }
//! });
//! writer.join().unwrap();
//! assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
//! fs::remove_file(&path).unwrap();
//! ```

#[forbid(unsafe_code)]
mod directory;
#[forbid(unsafe_code)]
mod file;
#[forbid(unsafe_code)]
mod open;
#[forbid(unsafe_code)]
mod options;

pub use directory::{DirBuilder, DirEntry, ReadDir};
pub use file::File;
pub use options::OpenOptions;

pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};

use crate::offload;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Makes a call on a path, on a thread of the pool.
fn on_path<R: Send + 'static>(path: &Path, call: impl FnOnce(&Path) -> R + Send + 'static) -> R {
    let path = path.to_owned();
    offload::run_on_disk(move || call(&path))
}

/// The same with two paths.
fn on_paths<R: Send + 'static>(one: &Path, other: &Path, call: impl FnOnce(&Path, &Path) -> R + Send + 'static) -> R {
    let (one, other) = (one.to_owned(), other.to_owned());
    offload::run_on_disk(move || call(&one, &other))
}

/// Functions of std with one path, made on a thread of the pool.
macro_rules! of_a_path {
    ($($(#[$meta:meta])* $name:ident($path:ident) -> $result:ty;)*) => {$(
        $(#[$meta])*
        ///
        /// # Blocking
        /// Parks the calling coroutine: a thread of the pool calls.
        ///
        /// # Errors
        #[doc = concat!("Those of [`std::fs::", stringify!($name), "`].")]
        pub fn $name<P: AsRef<Path>>($path: P) -> $result {
            on_path($path.as_ref(), |path| std::fs::$name(path))
        }
    )*};
}

of_a_path! {
    /// The path without links and without `.` and `..`.
    canonicalize(path) -> io::Result<PathBuf>;
    /// Makes a directory.
    create_dir(path) -> io::Result<()>;
    /// Makes a directory, and those above it that are missing.
    create_dir_all(path) -> io::Result<()>;
    /// Whether there is something at the path. A link that leads nowhere is nothing.
    exists(path) -> io::Result<bool>;
    /// The attributes of what the path leads to.
    metadata(path) -> io::Result<Metadata>;
    /// Where a symbolic link leads.
    read_link(path) -> io::Result<PathBuf>;
    /// Removes an empty directory.
    remove_dir(path) -> io::Result<()>;
    /// Removes a directory and all that is in it.
    remove_dir_all(path) -> io::Result<()>;
    /// Removes a name of a file.
    remove_file(path) -> io::Result<()>;
    /// The attributes of what is at the path, a link itself too.
    symlink_metadata(path) -> io::Result<Metadata>;
}

/// Functions of std with two paths, made on a thread of the pool.
macro_rules! of_two_paths {
    ($($(#[$meta:meta])* $module:path, $name:ident($one:ident, $other:ident) -> $result:ty;)*) => {$(
        $(#[$meta])*
        ///
        /// # Blocking
        /// Parks the calling coroutine: a thread of the pool calls.
        ///
        /// # Errors
        #[doc = concat!("Those of std's `", stringify!($name), "`.")]
        pub fn $name<P: AsRef<Path>, Q: AsRef<Path>>($one: P, $other: Q) -> $result {
            on_paths($one.as_ref(), $other.as_ref(), |one, other| {
                use $module as calls;
                calls::$name(one, other)
            })
        }
    )*};
}

of_two_paths! {
    /// Gives a file a second name.
    std::fs, hard_link(original, link) -> io::Result<()>;
    /// Renames, and replaces what has the new name.
    std::fs, rename(from, to) -> io::Result<()>;
    /// Makes a symbolic link: [`std::os::unix::fs::symlink`].
    std::os::unix::fs, symlink(original, link) -> io::Result<()>;
}

/// Gives what the path leads to another owner and group; `None` leaves one as it is.
///
/// # Blocking
/// Parks the calling coroutine: a thread of the pool calls.
///
/// # Errors
/// Those of [`std::os::unix::fs::chown`].
pub fn chown<P: AsRef<Path>>(path: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    on_path(path.as_ref(), move |path| std::os::unix::fs::chown(path, uid, gid))
}

/// Like [`chown`], of a symbolic link itself.
///
/// # Blocking
/// Parks the calling coroutine: a thread of the pool calls.
///
/// # Errors
/// Those of [`std::os::unix::fs::lchown`].
pub fn lchown<P: AsRef<Path>>(path: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    on_path(path.as_ref(), move |path| std::os::unix::fs::lchown(path, uid, gid))
}

/// Sets the permissions of what the path leads to.
///
/// # Blocking
/// Parks the calling coroutine: a thread of the pool calls.
///
/// # Errors
/// Those of [`std::fs::set_permissions`].
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    on_path(path.as_ref(), |path| std::fs::set_permissions(path, permissions))
}

/// Copies a file with its permissions; returns the number of bytes.
///
/// # Blocking
/// Parks the calling coroutine: a thread of the pool calls; a thread of its own, if one of the two is a FIFO.
///
/// # Errors
/// Those of [`std::fs::copy`].
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
    open::unless_fifo([from.clone(), to.clone()], move || std::fs::copy(&from, &to))
}

/// The entries of a directory.
///
/// # Blocking
/// Parks the calling coroutine: a thread of the pool calls. So does the iterator, once for many entries.
///
/// # Errors
/// Those of [`std::fs::read_dir`].
///
/// # Examples
/// ```
/// let mut names: Vec<_> = silken::fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect();
/// names.sort();
/// assert!(names.binary_search(&"tmp".into()).is_ok());
/// ```
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    on_path(path.as_ref(), |path| std::fs::read_dir(path)).map(ReadDir::new)
}

/// The whole content of a file.
///
/// # Blocking
/// Parks the calling coroutine while a disk is waited for.
///
/// # Errors
/// Those of [`std::fs::read`].
///
/// # Examples
/// ```
/// assert!(silken::fs::read("/proc/self/cmdline").unwrap().contains(&0));
/// ```
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// The whole content of a file that is text.
///
/// # Blocking
/// Parks the calling coroutine while a disk is waited for.
///
/// # Errors
/// Those of [`std::fs::read_to_string`]: `InvalidData` if it is no UTF-8.
///
/// # Examples
/// ```
/// assert!(silken::fs::read_to_string("/proc/self/status").unwrap().starts_with("Name:"));
/// ```
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let mut content = String::new();
    File::open(path)?.read_to_string(&mut content)?;
    Ok(content)
}

/// Makes a file with this content, or replaces the content of the one that is there.
///
/// # Blocking
/// Parks the calling coroutine while the file is opened; see [`File`] for the writing.
///
/// # Errors
/// Those of [`std::fs::write`].
///
/// # Examples
/// ```
/// let path = std::env::temp_dir().join(format!("silken-fs-write-{}", std::process::id()));
/// silken::fs::write(&path, "content").unwrap();
/// assert_eq!(silken::fs::metadata(&path).unwrap().len(), 7);
/// silken::fs::remove_file(&path).unwrap();
/// ```
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, content: C) -> io::Result<()> {
    File::create(path)?.write_all(content.as_ref())
}
