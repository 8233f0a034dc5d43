//! silken's files where nothing else helps: on one worker that is never handed over, with isolated and with light
//! coroutines, and (in CI) without the hooks. std's files are the oracle.

#[path = "../common/one_worker.rs"]
mod one_worker;

use silken::IoDriver;
use silken::fs::{self, DirBuilder, File, OpenOptions};
use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

/// Long enough for a coroutine to have parked; too short only makes a case easier.
const SOON: Duration = Duration::from_millis(20);

/// A directory of the case's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("silken-fs-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Gives the function a folder on an OS thread, and on one worker that keeps its thread as an isolated and as a light
/// coroutine, with io_uring (where there is one) and without.
macro_rules! everywhere {
    ($case:expr) => {{
        fn in_a_folder() {
            let case: fn(&Folder) = $case;
            case(&Folder::new());
        }
        in_a_folder();
        let settings = || silken::Runtime::builder();
        one_worker::on_one_worker(&[settings(), settings().driver(IoDriver::Epoll)], in_a_folder);
    }};
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Has the system forget what it has in memory of the file.
fn evict(file: &File) {
    file.sync_all().unwrap();
    // SAFETY: S7: numbers only.
    let evicted = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(evicted, 0);
}

#[test]
fn what_is_written_is_read() {
    everywhere!(|folder| {
        let path = folder.path("file");
        let content = content(300_000);
        let mut file = File::create(&path).unwrap();
        let (head, tail) = content.split_at(1000);
        let written = file.write_vectored(&[IoSlice::new(head), IoSlice::new(tail)]).unwrap();
        assert_eq!(written, content.len(), "a write of a file is whole");
        file.flush().unwrap();
        evict(&file);
        assert_eq!(file.read(&mut [0; 1]).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let mut file = File::open(&path).unwrap();
        let (mut one, mut two) = ([0; 777], [0; 100]);
        let parts = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(file.read_vectored(parts).unwrap(), 877);
        assert!(one == content[..777] && two == content[777..877]);
        let mut rest = Vec::new();
        assert_eq!(file.read_to_end(&mut rest).unwrap(), content.len() - 877);
        assert!(rest == content[877..]);
        assert_eq!(file.stream_position().unwrap(), content.len() as u64);
        assert_eq!(file.seek(SeekFrom::End(-5)).unwrap(), content.len() as u64 - 5);
        let mut last = [0; 9];
        assert_eq!(file.read(&mut last).unwrap(), 5);
        assert_eq!(file.read(&mut last).unwrap(), 0);
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert!(fs::read(&path).unwrap() == content);
    });
}

#[test]
fn offsets_leave_the_position_alone() {
    everywhere!(|folder| {
        let path = folder.path("file");
        let file = File::create_new(&path).unwrap();
        file.write_all_at(&content(50_000), 10).unwrap();
        evict(&file);
        let mut part = [1; 20];
        file.read_exact_at(&mut part, 0).unwrap();
        assert_eq!((&part[..10], &part[10..]), (&[0; 10][..], &content(10)[..]));
        assert_eq!(file.read_at(&mut part, 50_000).unwrap(), 10);
        assert_eq!(file.read_at(&mut part, 90_000).unwrap(), 0);
        let beyond = file.read_at(&mut part, u64::MAX).unwrap_err();
        assert_eq!(beyond.raw_os_error(), Some(libc::EINVAL));
        assert_eq!((&file).stream_position().unwrap(), 0);
        assert_eq!(File::create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
}

/// Many coroutines wait for the disk at once, and nobody blocks the worker: a ticker goes on.
#[test]
fn readers_wait_side_by_side() {
    everywhere!(|folder| {
        const READERS: usize = 50;
        const BYTES: usize = 1 << 20;
        let path = folder.path("file");
        let content = Arc::new(content(BYTES));
        fs::write(&path, &*content).unwrap();
        evict(&File::open(&path).unwrap());
        let file = Arc::new(File::open(&path).unwrap());
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let (file, content) = (file.clone(), content.clone());
                silken::spawn(move || {
                    let mut at = number * 4096 * 5;
                    for _ in 0..20 {
                        at = (at + 123_457) % (BYTES - 5000);
                        let mut part = [0; 5000];
                        file.read_exact_at(&mut part, at as u64).unwrap();
                        assert!(part == content[at..at + 5000]);
                        file.sync_data().unwrap();
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn handles_share_a_position() {
    everywhere!(|folder| {
        let path = folder.path("file");
        fs::write(&path, "0123456789").unwrap();
        let mut one = File::open(&path).unwrap();
        let mut other = one.try_clone().unwrap();
        let mut part = [0; 4];
        one.read_exact(&mut part).unwrap();
        drop(one);
        other.read_exact(&mut part).unwrap();
        assert_eq!(&part, b"4567");
        // To std's types and back, with the same number.
        let number = other.as_raw_fd();
        let std_file: std::fs::File = other.into();
        let mut back = File::from(OwnedFd::from(std_file));
        assert_eq!(back.as_raw_fd(), number);
        let mut rest = String::new();
        back.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "89");
        assert!(format!("{back:?}").contains("file"));
    });
}

#[test]
fn options_are_obeyed() {
    everywhere!(|folder| {
        let path = folder.path("file");
        let missing = OpenOptions::new().write(true).open(&path).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let nothing = OpenOptions::new().open(&path).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
        let mut options = File::options();
        options
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        for text in ["one ", "two"] {
            options.open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one two");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        file.write_all(b"three").unwrap();
        file.rewind().unwrap();
        let mut text = String::from("and ");
        assert_eq!(file.read_to_string(&mut text).unwrap(), 5);
        assert_eq!(text, "and three");
        fs::symlink(&path, folder.path("link")).unwrap();
        let refused = options.open(folder.path("link")).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
        file.write_all(&[0xff]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap_err().kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn attributes_are_set() {
    everywhere!(|folder| {
        let path = folder.path("file");
        let file = File::create(&path).unwrap();
        file.set_len(5000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5000);
        file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        file.set_modified(time).unwrap();
        let status = fs::metadata(&path).unwrap();
        assert_eq!((status.mode() & 0o777, status.modified().unwrap()), (0o640, time));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    });
}

#[test]
fn names_and_directories() {
    everywhere!(|folder| {
        let deep = folder.path("a/b/c");
        assert_eq!(fs::create_dir(&deep).unwrap_err().kind(), ErrorKind::NotFound);
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(&deep).unwrap();
        DirBuilder::new().mode(0o700).create(folder.path("private")).unwrap();
        assert_eq!(fs::metadata(folder.path("private")).unwrap().mode() & 0o777, 0o700);
        fs::write(deep.join("one"), "1").unwrap();
        assert_eq!(fs::copy(deep.join("one"), deep.join("two")).unwrap(), 1);
        fs::hard_link(deep.join("two"), deep.join("three")).unwrap();
        fs::rename(deep.join("three"), folder.path("four")).unwrap();
        fs::symlink("four", folder.path("link")).unwrap();
        assert_eq!(fs::read_link(folder.path("link")).unwrap(), PathBuf::from("four"));
        assert!(fs::symlink_metadata(folder.path("link")).unwrap().is_symlink());
        assert_eq!(fs::metadata(folder.path("link")).unwrap().nlink(), 2);
        assert_eq!(
            fs::canonicalize(folder.path("a/../link")).unwrap(),
            folder.path("four").canonicalize().unwrap()
        );
        fs::remove_file(folder.path("four")).unwrap();
        assert!(!fs::exists(folder.path("link")).unwrap());
        assert_eq!(
            fs::remove_dir(folder.path("a")).unwrap_err().kind(),
            ErrorKind::DirectoryNotEmpty
        );
        fs::remove_dir_all(folder.path("a")).unwrap();
        fs::remove_dir(folder.path("private")).unwrap();
        assert_eq!(fs::read_dir(folder.path("a")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(
            File::open(&folder.0).unwrap().read(&mut [0]).unwrap_err().kind(),
            ErrorKind::IsADirectory
        );
    });
}

#[test]
fn a_large_directory_is_listed_whole() {
    everywhere!(|folder| {
        let mut expected = BTreeMap::new();
        for number in 0..300 {
            let path = folder.path(&format!("{number:03}"));
            match number % 3 {
                0 => fs::create_dir(&path).unwrap(),
                1 => fs::symlink("nowhere", &path).unwrap(),
                _ => fs::write(&path, vec![0; number]).unwrap(),
            }
            expected.insert(path, number);
        }
        let mut entries = fs::read_dir(&folder.0).unwrap();
        for entry in entries.by_ref() {
            let entry = entry.unwrap();
            let number = expected.remove(&entry.path()).expect("each entry comes once");
            let (kind, status) = (entry.file_type().unwrap(), entry.metadata().unwrap());
            assert_eq!((kind.is_dir(), kind.is_symlink()), (number % 3 == 0, number % 3 == 1));
            assert_eq!(kind, status.file_type());
            assert_eq!(
                (status.ino(), entry.file_name()),
                (entry.ino(), format!("{number:03}").into())
            );
            assert!(number % 3 < 2 || status.len() == number as u64);
        }
        assert!(expected.is_empty());
        assert!(entries.next().is_none(), "the end stays");
    });
}

#[test]
fn a_fifo_waits_for_its_other_end() {
    everywhere!(|folder| {
        let path = folder.path("fifo");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: S7: a name with its end.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        // More of them than the pool for disks has threads.
        const PAIRS: usize = 80;
        let readers: Vec<_> = (0..PAIRS)
            .map(|_| {
                let path = path.clone();
                silken::spawn(move || {
                    let mut byte = [0];
                    File::open(&path).unwrap().read_exact(&mut byte).unwrap();
                    byte[0]
                })
            })
            .collect();
        silken::sleep(SOON);
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(&[7; PAIRS]).unwrap();
        let sum: usize = readers
            .into_iter()
            .map(|reader| usize::from(reader.join().unwrap()))
            .sum();
        assert_eq!(sum, 7 * PAIRS);
    });
}

#[test]
fn locks_exclude_and_are_waited_for() {
    everywhere!(|folder| {
        let path = folder.path("file");
        let one = File::create(&path).unwrap();
        one.lock().unwrap();
        let inside = Arc::new(AtomicBool::new(true));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (path, inside) = (path.clone(), inside.clone());
                silken::spawn(move || {
                    let other = File::open(&path).unwrap();
                    assert!(matches!(other.try_lock_shared(), Err(fs::TryLockError::WouldBlock)));
                    other.lock_shared().unwrap();
                    assert!(!inside.load(SeqCst));
                })
            })
            .collect();
        silken::sleep(SOON);
        inside.store(false, SeqCst);
        one.unlock().unwrap();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

/// A file that does not tell its size, one that has none, and one that grows while it is read.
#[test]
fn sizes_are_hints_only() {
    everywhere!(|folder| {
        assert!(fs::read_to_string("/proc/self/maps").unwrap().lines().count() > 3);
        assert!(fs::read("/dev/null").unwrap().is_empty());
        // A part of such a value, and then the end, is what a read with too little room gets.
        let number = "/proc/sys/kernel/pid_max";
        assert_eq!(
            fs::read_to_string(number).unwrap(),
            std::fs::read_to_string(number).unwrap()
        );
        let path = folder.path("file");
        fs::write(&path, content(100_000)).unwrap();
        let mut file = File::open(&path).unwrap();
        let mut read = vec![1, 2, 3];
        fs::write(&path, content(200_000)).unwrap();
        assert_eq!(file.read_to_end(&mut read).unwrap(), 200_000);
        assert!(read[..3] == [1, 2, 3] && read[3..] == content(200_000));
        assert_eq!(file.read_to_end(&mut read).unwrap(), 0);
        assert_eq!(read.len(), 200_003);
    });
}

/// Cancelled or out of time, a file's calls go on to their end.
#[test]
fn cancelled_calls_go_on() {
    everywhere!(|folder| {
        let path = folder.path("file");
        fs::write(&path, content(100_000)).unwrap();
        let file = File::open(&path).unwrap();
        evict(&file);
        let read = silken::spawn(move || {
            silken::current().cancel();
            let mut read = vec![0; 100_000];
            file.read_exact_at(&mut read, 0).unwrap();
            file.sync_all().unwrap();
            let again = fs::read(&path).unwrap();
            read == content(100_000) && again == read
        });
        assert!(read.join().unwrap());
    });
}

/// As many as the pool for disks has threads, and more: none of them keeps the others from the other end.
#[test]
fn copies_into_fifos_find_their_readers() {
    everywhere!(|folder| {
        const PAIRS: usize = 80;
        fs::write(folder.path("source"), "text").unwrap();
        let writers: Vec<_> = (0..PAIRS)
            .map(|number| {
                let (from, to) = (folder.path("source"), folder.path(&number.to_string()));
                let name = std::ffi::CString::new(to.to_str().unwrap()).unwrap();
                // SAFETY: S7: a name with its end.
                assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
                silken::spawn(move || fs::copy(from, to))
            })
            .collect();
        silken::sleep(SOON);
        let readers: Vec<_> = (0..PAIRS)
            .map(|number| {
                let path = folder.path(&number.to_string());
                silken::spawn(move || fs::read_to_string(path).unwrap())
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), "text");
        }
        for writer in writers {
            // The permissions of a FIFO are set after its reader may have gone.
            assert_eq!(writer.join().unwrap().unwrap(), 4);
        }
    });
}

/// What came before an error is not lost.
#[test]
fn text_before_an_error_is_kept() {
    everywhere!(|folder| {
        let path = folder.path("fifo");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: S7: a name with its end.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let mut reader = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        for (bytes, kept) in [(&b"kept"[..], "x:kept"), (&b"\xff"[..], "x:")] {
            let mut writer = reader.try_clone().unwrap();
            writer.write_all(bytes).unwrap();
            let mut text = String::from("x:");
            let error = reader.read_to_string(&mut text).unwrap_err();
            assert_eq!((error.kind(), text.as_str()), (ErrorKind::WouldBlock, kept));
        }
    });
}
