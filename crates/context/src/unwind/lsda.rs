//! What an unwinding does at an address: the part of the language-specific data area that says so. See the head of
//! `mod.rs`.

/// What an unwinding does when it reaches a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The unwinding passes the frame.
    Pass,
    /// The frame runs destructors, and the unwinding passes if these continue it.
    Cleanup,
    /// The unwinding ends here, caught.
    Catch,
    /// The frame ends the process.
    End,
}

/// The encoding that means "no value".
const OMIT: u8 = 0xff;

/// Reads one value after the other from a table.
struct Reader(*const u8);

impl Reader {
    /// # Safety
    /// A table goes on here.
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: S4: the caller promises: a table goes on here.
        let byte = unsafe { self.0.read() };
        self.0 = self.0.wrapping_add(1);
        byte
    }

    /// # Safety
    /// A number of this size is next.
    unsafe fn bytes<const N: usize>(&mut self) -> [u8; N] {
        // SAFETY: S4: the caller promises: a number of this size is next.
        let bytes = unsafe { self.0.cast::<[u8; N]>().read() };
        self.0 = self.0.wrapping_add(N);
        bytes
    }

    /// Reads a number of seven bits a byte, the lowest first. Returns the number, how many bits it has, and its sign
    /// bit.
    ///
    /// # Safety
    /// Such a number is next.
    unsafe fn leb128(&mut self) -> (u64, u32, bool) {
        let (mut value, mut shift) = (0, 0);
        loop {
            // SAFETY: S4: the caller promises: such a number is next.
            let byte = unsafe { self.byte() };
            if shift < u64::BITS {
                value |= u64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return (value, shift, byte & 0x40 != 0);
            }
        }
    }

    /// # Safety
    /// As for `leb128`.
    unsafe fn unsigned(&mut self) -> usize {
        // SAFETY: S4: the caller promises what `leb128` asks.
        unsafe { self.leb128() }.0 as usize
    }

    /// # Safety
    /// As for `leb128`.
    unsafe fn signed(&mut self) -> i64 {
        // SAFETY: S4: the caller promises what `leb128` asks.
        let (value, bits, negative) = unsafe { self.leb128() };
        let sign = if negative && bits < u64::BITS {
            u64::MAX << bits
        } else {
            0
        };
        (value | sign) as i64
    }

    /// Reads a number in one of the encodings that offsets have; `None` for other encodings.
    ///
    /// # Safety
    /// Such a number is next.
    unsafe fn encoded(&mut self, encoding: u8) -> Option<usize> {
        match encoding {
            // SAFETY: S4: the caller's contract, here and below.
            0x01 => Some(unsafe { self.unsigned() }),
            // SAFETY: S4: the caller's contract, here and below.
            0x02 => Some(usize::from(u16::from_ne_bytes(unsafe { self.bytes() }))),
            // SAFETY: S4: the caller's contract, here and below.
            0x03 => Some(u32::from_ne_bytes(unsafe { self.bytes() }) as usize),
            // SAFETY: S4: the caller's contract, here and below.
            0x00 | 0x04 => Some(u64::from_ne_bytes(unsafe { self.bytes() }) as usize),
            _ => None,
        }
    }
}

/// What an unwinding does at an address of the function that begins at `start`. A table that cannot be read counts as a
/// table that ends the process.
///
/// # Safety
/// `table` is null or the function's table.
pub(super) unsafe fn action(table: *const u8, start: usize, pc: usize) -> Action {
    if table.is_null() {
        return Action::Pass;
    }
    // SAFETY: S4: the caller promises: `table` is null or the function's table.
    unsafe { read(Reader(table), pc.wrapping_sub(start)) }.unwrap_or(Action::End)
}

/// # Safety
/// The reader is at the head of a table.
unsafe fn read(mut at: Reader, offset: usize) -> Option<Action> {
    // The base of the landing pads. This code jumps to no landing pad; only whether there is one matters.
    // SAFETY: S4: the head of the table, here and in the next three.
    if unsafe { at.byte() } != OMIT {
        return None;
    }
    // SAFETY: S4: the head of the table, here and in the next three.
    if unsafe { at.byte() } != OMIT {
        // The distance to the table of types.
        // SAFETY: S4: the head of the table, here and in the next three.
        unsafe { at.unsigned() };
    }
    // SAFETY: S4: the head of the table, here and in the next three.
    let encoding = unsafe { at.byte() };
    // SAFETY: S4: the head of the table, here and in the next three.
    let length = unsafe { at.unsigned() };
    let actions = at.0.wrapping_add(length);
    while at.0 < actions {
        // SAFETY: S4: a record of the call sites, four numbers.
        let first = unsafe { at.encoded(encoding) }?;
        // SAFETY: S4: a record of the call sites, four numbers.
        let length = unsafe { at.encoded(encoding) }?;
        // SAFETY: S4: a record of the call sites, four numbers.
        let landing_pad = unsafe { at.encoded(encoding) }?;
        // SAFETY: S4: a record of the call sites, four numbers.
        let action = unsafe { at.unsigned() };
        // The records are sorted.
        if offset < first {
            break;
        }
        if offset - first < length {
            return Some(match (landing_pad, action) {
                (0, _) => Action::Pass,
                (_, 0) => Action::Cleanup,
                // SAFETY: S4: the record that the call site names, behind the call sites.
                _ => match unsafe { Reader(actions.wrapping_add(action - 1)).signed() } {
                    0 => Action::Cleanup,
                    1.. => Action::Catch,
                    _ => Action::End,
                },
            });
        }
    }
    // The offset is in no range: the call cannot unwind.
    Some(Action::End)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(table: &[u8], offset: usize) -> Action {
        // SAFETY: S4: a whole table.
        unsafe { action(table.as_ptr(), 1000, 1000 + offset) }
    }

    /// A head, four call sites in the usual encoding, four actions.
    fn table() -> Vec<u8> {
        let mut table = vec![OMIT, 0x9b, 40, 0x01, 18];
        table.extend([0, 10, 0, 0]); // no landing pad
        table.extend([10, 5, 50, 0]); // a cleanup
        table.extend([0x80, 0x01, 4, 60, 1]); // from 128 on: a catch
        table.extend([0x84, 0x01, 4, 70, 3]); // from 132 on: a filter
        table.extend([1, 0, 0x7f, 0]);
        table
    }

    #[test]
    fn each_kind_of_action_is_told() {
        let table = table();
        assert_eq!(at(&table, 0), Action::Pass);
        assert_eq!(at(&table, 9), Action::Pass);
        assert_eq!(at(&table, 14), Action::Cleanup);
        assert_eq!(at(&table, 128), Action::Catch);
        assert_eq!(at(&table, 131), Action::Catch);
        assert_eq!(at(&table, 132), Action::End);
        assert_eq!(at(&table, 135), Action::End);
    }

    #[test]
    fn a_call_in_no_range_ends_the_process() {
        let table = table();
        assert_eq!(at(&table, 15), Action::End);
        assert_eq!(at(&table, 127), Action::End);
        assert_eq!(at(&table, 136), Action::End);
        // SAFETY: S4: null is allowed.
        assert_eq!(unsafe { action(std::ptr::null(), 0, 5) }, Action::Pass);
    }

    #[test]
    fn fixed_sizes_and_unknown_encodings() {
        let mut table = vec![OMIT, OMIT, 0x03, 13];
        table.extend(4u32.to_ne_bytes());
        table.extend(8u32.to_ne_bytes());
        table.extend(1u32.to_ne_bytes());
        table.extend([1, 0x7f, 0]);
        assert_eq!(at(&table, 11), Action::End);
        assert_eq!(at(&table, 3), Action::End);
        table[16] = 0;
        assert_eq!(at(&table, 11), Action::Cleanup);
        table[2] = 0x0c;
        assert_eq!(at(&table, 11), Action::End);
    }

    #[test]
    fn numbers_of_seven_bits_a_byte() {
        let reader = |bytes: &[u8]| Reader(bytes.as_ptr());
        // SAFETY: S4: whole numbers.
        assert_eq!(unsafe { reader(&[0xe5, 0x8e, 0x26]).unsigned() }, 624_485);
        // SAFETY: S4: whole numbers.
        assert_eq!(unsafe { reader(&[0xc0, 0xbb, 0x78]).signed() }, -123_456);
        // SAFETY: S4: whole numbers.
        assert_eq!(unsafe { reader(&[0x7e]).signed() }, -2);
    }
}
