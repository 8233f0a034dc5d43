//! How a file is opened.

use super::File;
use super::open::open;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How a file is opened: [`std::fs::OpenOptions`] for coroutines. See the [module](crate::fs).
///
/// [`std::os::unix::fs::OpenOptionsExt`] has the mode and the flags of the system.
///
/// # Examples
/// ```
/// use silken::fs::{File, OpenOptions};
/// use std::io::{Read, Write};
///
/// let path = std::env::temp_dir().join(format!("silken-options-{}", std::process::id()));
/// for line in ["one\n", "two\n"] {
///     let mut log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
///     log.write_all(line.as_bytes()).unwrap();
/// }
/// assert_eq!(silken::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
/// silken::fs::remove_file(&path).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(std::fs::OpenOptions);

/// The setters, which are std's.
macro_rules! setters {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        pub fn $name(&mut self, $name: bool) -> &mut Self {
            self.0.$name($name);
            self
        }
    )*};
}

impl OpenOptions {
    /// Nothing is allowed yet.
    #[expect(clippy::new_without_default, reason = "std's has no default either")]
    pub fn new() -> Self {
        Self(std::fs::OpenOptions::new())
    }

    setters! {
        /// The file is to be read.
        read;
        /// The file is to be written.
        write;
        /// Each write goes to the end.
        append;
        /// What is there is thrown away.
        truncate;
        /// The file is made if there is none.
        create;
        /// The file is made, and the call fails if there is one.
        create_new;
    }

    /// Opens the file.
    ///
    /// # Blocking
    /// Parks the calling coroutine: a thread of the pool calls. For a FIFO it waits for the other end, which may last.
    ///
    /// # Errors
    /// Those of [`std::fs::OpenOptions::open`].
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        open(&self.0, path.as_ref()).map(File::from)
    }
}

impl File {
    /// How a file is opened: [`OpenOptions::new`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.0.custom_flags(flags);
        self
    }
}
