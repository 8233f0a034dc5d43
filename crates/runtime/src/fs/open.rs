//! How does a coroutine open a file? A thread of the pool calls. A FIFO waits for another party, perhaps for one that
//! waits for a thread of the pool for disks. So it has a thread of its own.

use crate::offload;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Opens a file.
pub(super) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let (options, path) = (options.clone(), path.to_owned());
    unless_fifo([path.clone()], move || options.open(&path))
}

/// Makes a call that opens these files, on a thread of the pool for disks; on one of its own, if one of them is a FIFO.
/// A path that becomes one in between holds a thread of the pool.
pub(super) fn unless_fifo<R, const N: usize>(
    paths: [PathBuf; N],
    call: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R>
where
    R: Send + 'static,
{
    let is_fifo = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let made = offload::run_on_disk(move || match paths.iter().any(is_fifo) {
        true => Err(call),
        false => Ok(call()),
    });
    made.unwrap_or_else(|call| {
        let refused = Err(io::Error::from_raw_os_error(libc::ENOMEM));
        offload::wait_or(refused, call)
    })
}
