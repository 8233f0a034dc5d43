//! How does the runtime read a file of the kernel's again and again, without a descriptor's number for each time?
//!
//! A thread that opens a file gets the lowest free number, and programs rely on it: `close(0)` and `open` make a new
//! standard input; a process at its limit closes two files to open two. If the runtime's threads opened files of
//! `/proc` for a moment now and then, such numbers would be taken at times of nobody's choosing. So a file that is read
//! repeatedly is opened once and stays open. The kernel writes the text of `/proc` and of cgroups anew for each read
//! at offset 0, and `pread` leaves no position behind, so several threads may read one file.
//!
//! An open that fails takes a number for a moment too. So whoever looks for a file that may be missing asks
//! [`exists`] first.

use super::file::{self, Descriptor};
use super::raw::{self, Errno};
use std::ffi::CStr;
use std::os::fd::RawFd;

/// A file of the kernel's that stays open.
#[derive(Debug)]
pub(crate) struct HeldFile(Descriptor);

impl HeldFile {
    /// Opens a file for reading.
    pub(crate) fn open(path: &CStr) -> Result<Self, Errno> {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        let place = libc::AT_FDCWD as usize;
        // SAFETY: S5: a path that ends, alive for the call.
        let fd = unsafe { raw::syscall4(libc::SYS_openat, place, path.as_ptr() as usize, flags, 0) }?;
        Ok(Self(Descriptor::new(fd as RawFd)))
    }

    /// Reads the beginning of the file's present text.
    pub(crate) fn read(&self, text: &mut [u8]) -> Result<usize, Errno> {
        self.read_at(text, 0)
    }

    fn read_at(&self, text: &mut [u8], offset: usize) -> Result<usize, Errno> {
        // SAFETY: S5: memory of the caller's, alive for the call.
        unsafe { file::pread(self.0.fd(), text.as_mut_ptr().cast(), text.len(), offset as i64) }
    }

    /// Reads the whole of the file's present text.
    pub(crate) fn read_all(&self) -> Result<Vec<u8>, Errno> {
        let mut text = vec![0; 1024];
        let mut length = 0;
        loop {
            match self.read_at(&mut text[length..], length)? {
                0 => break,
                bytes => length += bytes,
            }
            if length == text.len() {
                text.resize(2 * length, 0);
            }
        }
        text.truncate(length);
        Ok(text)
    }
}

/// Whether there is a file of this name.
pub(crate) fn exists(path: &CStr) -> bool {
    let place = libc::AT_FDCWD as usize;
    // SAFETY: S5: a path that ends, alive for the call.
    unsafe {
        raw::syscall4(
            libc::SYS_faccessat,
            place,
            path.as_ptr() as usize,
            libc::F_OK as usize,
            0,
        )
    }
    .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_file_tells_what_is_so_now() {
        let file = HeldFile::open(c"/proc/thread-self/comm").unwrap();
        let name = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        let mut text = [0; 32];
        for new in ["one", "another"] {
            let terminated = std::ffi::CString::new(new).unwrap();
            // SAFETY: S7: a text that ends; names this thread only.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_NAME, terminated.as_ptr()) }, 0);
            let length = file.read(&mut text).unwrap();
            assert_eq!(name(&text[..length]), format!("{new}\n"));
            assert_eq!(name(&file.read_all().unwrap()), format!("{new}\n"));
        }
    }

    #[test]
    fn a_long_text_is_read_whole() {
        let whole = HeldFile::open(c"/proc/self/maps").unwrap().read_all().unwrap();
        assert!(whole.len() > 1024 && whole.ends_with(b"\n"), "{}", whole.len());
        // Only the process's own name and libraries tell that nothing is missing from the middle.
        let lines = String::from_utf8(whole).unwrap();
        assert!(lines.lines().all(|line| line.contains('-')), "{lines}");
        assert!(lines.contains("[stack]") && lines.contains("libc.so"), "{lines}");
    }

    #[test]
    fn a_missing_file_is_an_error_and_does_not_exist() {
        assert_eq!(HeldFile::open(c"/proc/self/no-such-file").unwrap_err(), Errno::NOENT);
        assert!(!exists(c"/proc/self/no-such-file"));
        assert!(exists(c"/proc/self/maps"));
    }
}
