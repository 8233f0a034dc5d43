//! How does a coroutine open a file? A thread of the pool calls.

use super::on_path;
use crate::offload;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Opens a file. A FIFO waits for another party, perhaps for one that waits for a thread of the pool for disks. So it
/// has a thread of its own.
pub(super) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let theirs = options.clone();
    let opened = on_path(path, move |path| {
        let is_fifo = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        (!is_fifo).then(|| theirs.open(path))
    });
    opened.unwrap_or_else(|| {
        let (options, path) = (options.clone(), path.to_owned());
        let refused = Err(io::Error::from_raw_os_error(libc::ENOMEM));
        offload::wait_or(refused, move || options.open(path))
    })
}
