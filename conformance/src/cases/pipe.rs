//! std::io::pipe: transfer, end, back pressure. A pipe has no MSG_DONTWAIT, so it takes another path than sockets.

use crate::{Executor, join_all, raw};
use std::io::{ErrorKind, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

/// A reader waits for what is written later.
pub fn read_waits(ex: &dyn Executor) {
    let (mut reader, mut writer) = pipe().unwrap();
    let unit = ex.start(move || {
        let mut bytes = [0; 8];
        let length = reader.read(&mut bytes).unwrap();
        bytes[..length].to_vec()
    });
    sleep(Duration::from_millis(20));
    writer.write_all(b"later").unwrap();
    assert_eq!(unit.join(), b"later");
}

/// The last writer's end is the end of the stream for a parked reader.
pub fn writers_end_is_eof(ex: &dyn Executor) {
    let (mut reader, writer) = pipe().unwrap();
    let clone = writer.try_clone().unwrap();
    let unit = ex.start(move || reader.read(&mut [0; 8]).unwrap());
    sleep(Duration::from_millis(10));
    drop(writer);
    sleep(Duration::from_millis(10));
    drop(clone);
    assert_eq!(unit.join(), 0);
}

/// A write without a reader fails with BrokenPipe; a parked writer wakes up to it.
pub fn broken_pipe(ex: &dyn Executor) {
    let (reader, mut writer) = pipe().unwrap();
    let unit = ex.start(move || writer.write_all(&vec![0; 1 << 20]).unwrap_err().kind());
    sleep(Duration::from_millis(20));
    drop(reader);
    assert_eq!(unit.join(), ErrorKind::BrokenPipe);
}

/// Megabytes go through a 64 KiB pipe in order.
pub fn back_pressure(ex: &dyn Executor) {
    let (mut reader, mut writer) = pipe().unwrap();
    let unit = ex.start(move || {
        let bytes: Vec<u8> = (0..2u32 << 20).map(|index| (index % 253) as u8).collect();
        writer.write_all(&bytes).unwrap();
    });
    sleep(Duration::from_millis(10));
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 2 << 20);
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(index, byte)| *byte == (index % 253) as u8)
    );
    unit.join();
}

/// Small writes of many units stay whole, as PIPE_BUF promises.
pub fn small_writes_are_atomic(ex: &dyn Executor) {
    let (mut reader, writer) = pipe().unwrap();
    let units: Vec<_> = (0..16u8)
        .map(|unit| {
            let mut writer = writer.try_clone().unwrap();
            ex.start(move || (0..200).for_each(|_| writer.write_all(&[unit; 64]).unwrap()))
        })
        .collect();
    drop(writer);
    let mut counts = [0; 16];
    let mut record = [0; 64];
    while reader.read_exact(&mut record).is_ok() {
        assert!(record.iter().all(|byte| *byte == record[0]));
        counts[record[0] as usize] += 1;
    }
    assert_eq!(counts, [200; 16]);
    join_all(units);
}

/// O_NONBLOCK set by foreign code is honoured: read fails with EAGAIN.
pub fn nonblocking_by_fcntl(ex: &dyn Executor) {
    let (mut reader, mut writer) = pipe().unwrap();
    raw::set_nonblocking_by_fcntl(reader.as_raw_fd()).unwrap();
    ex.start(move || {
        assert_eq!(reader.read(&mut [0; 1]).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        writer.write_all(b"x").unwrap();
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 1);
    })
    .join();
}
