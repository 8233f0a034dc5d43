//! Directories: how they are made, and what is in them.

use super::on_path;
use crate::offload;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

/// How many entries one visit of the pool brings.
const BATCH: usize = 128;

/// The entries of a directory: [`std::fs::ReadDir`] for coroutines, made by [`read_dir`](super::read_dir).
///
/// A thread of the pool reads many entries at once, while the coroutine is parked.
pub struct ReadDir {
    /// What is not read yet; `None` after the last entry.
    rest: Option<fs::ReadDir>,
    batch: VecDeque<io::Result<DirEntry>>,
}

impl ReadDir {
    pub(super) fn new(entries: fs::ReadDir) -> Self {
        Self {
            rest: Some(entries),
            batch: VecDeque::new(),
        }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.is_empty() {
            let mut rest = self.rest.take()?;
            let read = move || {
                let batch: VecDeque<_> = rest
                    .by_ref()
                    .take(BATCH)
                    .map(|entry| entry.map(DirEntry::new))
                    .collect();
                let rest = (batch.len() == BATCH).then_some(rest);
                (rest, batch)
            };
            (self.rest, self.batch) = offload::run_on_disk(read);
        }
        self.batch.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").finish_non_exhaustive()
    }
}

/// An entry of a directory: [`std::fs::DirEntry`] for coroutines.
pub struct DirEntry {
    entry: Arc<fs::DirEntry>,
    /// Most file systems tell it with the name; others are asked by the thread that reads the entries.
    file_type: io::Result<FileType>,
}

impl DirEntry {
    fn new(entry: fs::DirEntry) -> Self {
        Self {
            file_type: entry.file_type(),
            entry: Arc::new(entry),
        }
    }

    /// The path: that of the directory, and the name.
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// The name without the directory.
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// What kind of file it is, as it was when the entry was read. Does not wait.
    ///
    /// # Errors
    /// Those of [`std::fs::DirEntry::file_type`].
    pub fn file_type(&self) -> io::Result<FileType> {
        match &self.file_type {
            Ok(file_type) => Ok(*file_type),
            Err(error) => Err(match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => error.kind().into(),
            }),
        }
    }

    /// The attributes; of a link those of the link.
    ///
    /// # Blocking
    /// Parks the calling coroutine: a thread of the pool calls.
    ///
    /// # Errors
    /// Those of [`std::fs::DirEntry::metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        let entry = self.entry.clone();
        offload::run_on_disk(move || entry.metadata())
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.entry.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}

/// How a directory is made: [`std::fs::DirBuilder`] for coroutines.
///
/// # Examples
/// ```
/// let path = std::env::temp_dir().join(format!("silken-dirs-{}", std::process::id()));
/// silken::fs::DirBuilder::new().recursive(true).create(path.join("a/b")).unwrap();
/// silken::fs::remove_dir_all(&path).unwrap();
/// ```
#[derive(Debug)]
pub struct DirBuilder {
    is_recursive: bool,
    mode: u32,
}

impl DirBuilder {
    /// Makes one directory, for everybody whom the process's mask does not exclude.
    #[expect(clippy::new_without_default, reason = "std's has no default either")]
    pub fn new() -> Self {
        Self {
            is_recursive: false,
            mode: 0o777,
        }
    }

    /// Whether the directories above it are made too. Then it is no error if it is there.
    pub fn recursive(&mut self, recursive: bool) -> &mut Self {
        self.is_recursive = recursive;
        self
    }

    /// Makes the directory.
    ///
    /// # Blocking
    /// Parks the calling coroutine: a thread of the pool calls.
    ///
    /// # Errors
    /// Those of [`std::fs::DirBuilder::create`].
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let Self { is_recursive, mode } = *self;
        on_path(path.as_ref(), move |path| {
            fs::DirBuilder::new().recursive(is_recursive).mode(mode).create(path)
        })
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }
}
