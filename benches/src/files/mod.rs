//! Which figures are about files? Reads from memory and from a disk, and writes that are to be on the disk.
//!
//! All contestants read blocks of [`BLOCK_BYTES`] of one file, each at an offset, in an order that no read-ahead
//! guesses. The file lies in the folder for temporary files; where that is in memory (tmpfs), the figures about disks
//! say nothing.
//!
//! * *cached*: one unit, all blocks are in memory; per read;
//! * *uncached*: many units at once, no block is in memory at first (a fifth of the reads repeat one); per read. The
//!   value is the time to the end, the companion the processor's time of the process;
//! * *synced*: each unit appends to a file of its own, and waits until the disk has it; per write.

pub mod threads;
mod tokio;

use crate::figure::{Figure, Goal, Sample, figure, process};
use crate::machine::process_cpu_ns;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The bytes of one read or write.
pub const BLOCK_BYTES: usize = 4096;
/// Blocks of the file: more than a disk's own cache, less than a small machine's memory.
const BLOCKS: u64 = 1 << 15;
/// Reads of one measurement from memory.
pub const CACHED_READS: usize = 400_000;
/// Reads of one measurement from the disk.
pub const UNCACHED_READS: usize = 16_000;
/// Units that read at once.
pub const READERS: usize = 64;
/// Writes of one measurement.
pub const WRITES: usize = 2_000;
/// Units that write at once.
pub const WRITERS: usize = 16;

/// The figures in the order of printing.
pub fn figures() -> Vec<Figure> {
    vec![
        figure(
            "files/cached",
            "ns",
            true,
            Goal::TimesFloor(1.1),
            vec![
                process("floor pread", threads::cached),
                process("peer tokio", tokio::cached),
            ],
        ),
        figure(
            "files/uncached",
            "µs",
            false,
            Goal::Open,
            vec![
                process("threads", threads::uncached),
                process("peer tokio", tokio::uncached),
            ],
        ),
        figure(
            "files/synced",
            "µs",
            false,
            Goal::Open,
            vec![
                process("threads", threads::synced),
                process("peer tokio", tokio::synced),
            ],
        ),
    ]
}

/// The file that is read, made by the first process that needs it.
pub fn file() -> File {
    let path = std::env::temp_dir().join("silken-bench-files");
    let bytes = BLOCKS * BLOCK_BYTES as u64;
    if std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) != bytes {
        let mut file = File::create(&path).expect("a temporary file");
        let part = vec![7; 1 << 20];
        for _ in 0..bytes >> 20 {
            file.write_all(&part).expect("room for the file");
        }
        file.sync_all().expect("a disk");
    }
    let file = File::open(&path).expect("a temporary file");
    advise(&file, libc::POSIX_FADV_RANDOM);
    file
}

fn advise(file: &File, advice: i32) {
    // SAFETY: S7: numbers only.
    let status = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, advice) };
    assert_eq!(status, 0, "posix_fadvise");
}

/// Has the system forget the file.
pub fn evict(file: &File) {
    advise(file, libc::POSIX_FADV_DONTNEED);
}

/// Brings the file into memory.
pub fn bring_in(file: &File) {
    let mut copy = file.try_clone().expect("a descriptor");
    std::io::copy(&mut copy, &mut std::io::sink()).expect("a read");
}

/// The offsets at which a unit reads.
pub fn offsets(unit: usize, count: usize) -> impl Iterator<Item = u64> {
    let mut random = fastrand::Rng::with_seed(unit as u64);
    std::iter::repeat_with(move || random.u64(..BLOCKS) * BLOCK_BYTES as u64).take(count)
}

/// The file of one writer, which goes with it.
pub struct OwnFile(pub PathBuf);

impl OwnFile {
    pub fn new(unit: usize) -> Self {
        let name = format!("silken-bench-{}-{unit}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // What is left behind is a temporary file.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The time per operation of `work`, in µs, and the processor's time.
pub fn us_per_operation(count: usize, work: impl FnOnce()) -> Sample {
    let cpu_ns = || process_cpu_ns(0).expect("the own clock");
    let (begun, cpu_before) = (Instant::now(), cpu_ns());
    work();
    let (wall, cpu) = (begun.elapsed(), cpu_ns() - cpu_before);
    let per = |ns: f64| ns / 1_000.0 / count as f64;
    vec![
        ("value".to_owned(), per(wall.as_nanos() as f64)),
        ("cpu_us".to_owned(), per(cpu as f64)),
    ]
}
