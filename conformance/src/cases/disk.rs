//! Reads of regular files, whether their data is in memory or not, and calls that write back.

use crate::help::{TempPath, code};
use crate::raw::copy::preadv2;
use crate::raw::files::{evict, open, pread, preadv, sync_range, sync_system_of};
use crate::{Executor, join_all, raw};
use libc::{EBADF, EINVAL, EISDIR, ESPIPE, O_RDONLY, O_WRONLY, RWF_HIPRI};
use std::fs::File;
use std::io::{IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

const BYTES: usize = 1 << 20;

fn content(seed: usize) -> Vec<u8> {
    (0..BYTES).map(|at| (at * 7 + at / 251 + seed) as u8).collect()
}

/// A file that is on the disk, and as a rule not in memory.
fn on_disk(content: &[u8]) -> TempPath {
    let path = TempPath::with(content);
    let file = File::open(&*path).unwrap();
    file.sync_all().unwrap();
    evict(file.as_raw_fd(), 0, 0).unwrap();
    path
}

/// Many units read files that are not in memory, in pieces of all sizes.
pub fn reads_of_what_is_not_in_memory(ex: &dyn Executor) {
    let readers = ex.start_each(8, |number| {
        let content = content(number);
        let path = on_disk(&content);
        let mut file = File::open(&*path).unwrap();
        let mut read = Vec::new();
        for size in [1, 4096, 5000, 100_000, BYTES] {
            let mut part = vec![0; size];
            let count = file.read(&mut part).unwrap();
            assert_eq!(
                count,
                size.min(BYTES - read.len()),
                "a read of a file is short at its end only"
            );
            read.extend_from_slice(&part[..count]);
        }
        assert!(read == content);
        assert_eq!(file.read(&mut [0; 10]).unwrap(), 0);
    });
    join_all(readers);
}

/// Only some pages are in memory: one call brings all the same.
pub fn a_read_over_pages_that_are_there_and_that_are_not(ex: &dyn Executor) {
    let readers = ex.start_each(4, |number| {
        let content = content(number);
        let path = on_disk(&content);
        let mut file = File::open(&*path).unwrap();
        for (from, length) in [(0, 8192), (BYTES / 2, 4096), (BYTES - 4096, 4096)] {
            file.read_exact_at(&mut vec![0; length], from as u64).unwrap();
            evict(file.as_raw_fd(), (from + length) as i64, 64 << 10).unwrap();
        }
        let mut whole = vec![0; BYTES + 1];
        assert_eq!(file.read(&mut whole).unwrap(), BYTES);
        assert!(whole[..BYTES] == content);
        assert_eq!(file.stream_position().unwrap(), BYTES as u64);
    });
    join_all(readers);
}

/// At an offset, and into several buffers; the file's own position stays.
pub fn reads_at_an_offset(ex: &dyn Executor) {
    let readers = ex.start_each(4, |number| {
        let content = content(number);
        let path = on_disk(&content);
        let mut file = File::open(&*path).unwrap();
        file.seek(SeekFrom::Start(77)).unwrap();
        for at in [0, 1, 4095, BYTES / 3, BYTES - 100] {
            let mut buffer = [0; 300];
            let wanted = 300.min(BYTES - at);
            assert_eq!(pread(file.as_fd(), &mut buffer, at as i64).unwrap(), wanted);
            assert!(buffer[..wanted] == content[at..at + wanted]);
            let (mut first, mut second) = ([0; 100], [0; 200]);
            let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            assert_eq!(preadv(file.as_fd(), &mut parts, at as i64).unwrap(), wanted);
            assert!([&first[..], &second[..]].concat()[..wanted] == content[at..at + wanted]);
        }
        assert_eq!(pread(file.as_fd(), &mut [0; 10], BYTES as i64).unwrap(), 0);
        assert_eq!(file.stream_position().unwrap(), 77);
        let mut next = [0];
        file.read_exact(&mut next).unwrap();
        assert_eq!(next[0], content[77]);
    });
    join_all(readers);
}

/// With `preadv2`, which may read at an offset too: with flags and without, of what is in memory and what is not.
pub fn reads_at_an_offset_with_flags(ex: &dyn Executor) {
    let readers = ex.start_each(4, |number| {
        let content = content(number);
        let path = on_disk(&content);
        let mut file = File::open(&*path).unwrap();
        file.seek(SeekFrom::Start(77)).unwrap();
        let fd = file.as_raw_fd();
        for at in [0, 4095, BYTES / 3, BYTES - 100, 1] {
            // Zero, or a flag that asks for nothing of a file in memory.
            for flags in [0, RWF_HIPRI, 0] {
                let wanted = 300.min(BYTES - at);
                let (mut first, mut second) = ([0; 100], [0; 200]);
                let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
                assert_eq!(preadv2(fd, &mut parts, at as i64, flags).unwrap(), wanted);
                assert!([&first[..], &second[..]].concat()[..wanted] == content[at..at + wanted]);
            }
        }
        let mut buffer = [0; 10];
        let mut whole = vec![0; BYTES];
        assert_eq!(preadv2(fd, &mut [IoSliceMut::new(&mut whole)], 0, 0).unwrap(), BYTES);
        assert!(whole == content);
        assert_eq!(
            preadv2(fd, &mut [IoSliceMut::new(&mut buffer)], BYTES as i64, 0).unwrap(),
            0
        );
        assert_eq!(code(preadv2(fd, &mut [IoSliceMut::new(&mut buffer)], -2, 0)), EINVAL);
        assert_eq!(preadv2(fd, &mut [], 0, 0).unwrap(), 0);
        assert_eq!(file.stream_position().unwrap(), 77);
        assert_eq!(preadv2(fd, &mut [IoSliceMut::new(&mut buffer)], -1, 0).unwrap(), 10);
        assert!(buffer[..] == content[77..87]);
        assert_eq!(file.stream_position().unwrap(), 87);
    });
    join_all(readers);
}

/// Several units read through one open file: each byte comes to one of them.
pub fn readers_share_a_position(ex: &dyn Executor) {
    let content = content(3);
    let path = on_disk(&content);
    let file = Arc::new(File::open(&*path).unwrap());
    let seen = Arc::new(Mutex::new(vec![0_u32; 256]));
    let readers = ex.start_each(4, {
        let seen = seen.clone();
        move |_| {
            let mut part = [0; 3000];
            loop {
                let count = (&*file).read(&mut part).unwrap();
                if count == 0 {
                    return;
                }
                let mut seen = seen.lock().unwrap();
                part[..count].iter().for_each(|byte| seen[usize::from(*byte)] += 1);
            }
        }
    });
    join_all(readers);
    let mut expected = vec![0_u32; 256];
    content.iter().for_each(|byte| expected[usize::from(*byte)] += 1);
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// Several units read through one open file, of which every other part is in memory: no read has a gap in it.
pub fn shared_reads_are_not_torn(ex: &dyn Executor) {
    const PART: usize = 64 << 10;
    let content: Vec<u8> = (0..BYTES as u64 / 8).flat_map(u64::to_le_bytes).collect();
    let path = on_disk(&content);
    let file = Arc::new(File::open(&*path).unwrap());
    for round in 0..10 {
        for at in (0..BYTES).step_by(2 * PART) {
            file.read_exact_at(&mut vec![0; PART], at as u64).unwrap();
            evict(file.as_raw_fd(), (at + PART) as i64, PART as i64).unwrap();
        }
        (&*file).rewind().unwrap();
        let file = file.clone();
        let readers = ex.start_each(4, move |_| {
            let mut part = vec![0; 4 * PART];
            loop {
                let count = (&*file).read(&mut part).unwrap();
                let (words, _) = part[..count].as_chunks::<8>();
                let numbers: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
                let is_whole = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
                assert!(is_whole, "torn in round {round}");
                if count == 0 {
                    return;
                }
            }
        });
        join_all(readers);
    }
}

fn read_of(fd: BorrowedFd<'_>) -> i32 {
    code(File::from(fd.try_clone_to_owned().unwrap()).read(&mut [0; 10]))
}

/// What the kernel refuses is refused.
pub fn refused_reads(ex: &dyn Executor) {
    ex.start(|| {
        let path = TempPath::with(b"text");
        let write_only = open(&path, O_WRONLY).unwrap();
        assert_eq!(read_of(write_only.as_fd()), EBADF);
        assert_eq!(code(pread(write_only.as_fd(), &mut [0; 4], 0)), EBADF);
        let folder = open(std::path::Path::new("/"), O_RDONLY).unwrap();
        assert_eq!(read_of(folder.as_fd()), EISDIR);
        assert_eq!(code(pread(folder.as_fd(), &mut [0; 4], 0)), EISDIR);
        let file = open(&path, O_RDONLY).unwrap();
        assert_eq!(code(pread(file.as_fd(), &mut [0; 4], -1)), EINVAL);
        assert_eq!(code(pread(file.as_fd(), &mut [0; 4], i64::MIN)), EINVAL);
        assert_eq!(pread(file.as_fd(), &mut [], 0).unwrap(), 0);
        assert_eq!(code(pread(folder.as_fd(), &mut [], 0)), EISDIR);
        assert_eq!(code(File::from(folder.try_clone().unwrap()).read(&mut [])), EISDIR);
        let (receiver, _sender) = std::io::pipe().unwrap();
        assert_eq!(code(pread(receiver.as_fd(), &mut [0; 4], 0)), ESPIPE);
        assert_eq!(
            raw::files::pread_into(file.as_fd(), std::ptr::without_provenance_mut(8), 4),
            libc::EFAULT
        );
    })
    .join();
}

/// Files of the system that know no reads without waiting.
pub fn reads_of_the_system(ex: &dyn Executor) {
    let readers = ex.start_each(4, |_| {
        for _ in 0..20 {
            let text = std::fs::read_to_string("/proc/self/status").unwrap();
            assert!(text.contains("Threads:"));
        }
        let mut zeros = [1; 100];
        File::open("/dev/zero").unwrap().read_exact(&mut zeros).unwrap();
        assert_eq!(zeros, [0; 100]);
    });
    join_all(readers);
}

/// Calls that write back work, and are refused where the kernel refuses them.
pub fn write_backs(ex: &dyn Executor) {
    let writers = ex.start_each(4, |number| {
        let path = TempPath::with(b"");
        let mut file = File::options().read(true).write(true).open(&*path).unwrap();
        for round in 0..3 {
            file.write_all(&[number as u8, round]).unwrap();
            file.sync_data().unwrap();
            file.sync_all().unwrap();
            sync_range(file.as_raw_fd()).unwrap();
        }
        sync_system_of(file.as_raw_fd()).unwrap();
        assert_eq!(raw::files::msync_of(file.as_raw_fd()).unwrap(), number as u8);
        let (receiver, _sender) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(receiver));
        assert_eq!(code(pipe.sync_all()), EINVAL);
    });
    join_all(writers);
    assert_eq!(code(sync_range(-1)), EBADF);
}
