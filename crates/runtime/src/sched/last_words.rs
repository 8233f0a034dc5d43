//! What does the process say of a coroutine whose fault ends it, or the process? One line on standard error.
//!
//! The lines are written in signal handlers: in memory of a fixed size, without a lock, by one system call.
//!
//! # A wild pointer
//! A fault that is no overflow goes to the handlers that the program has installed. If there is none, or the last one
//! gives it up, the kernel's default action ends the process ([`on_fatal_fault`] is called just before). A core and a
//! shell's "segmentation fault" do not tell which coroutine it was, so this line does. A fault that a handler of the
//! program deals with is not mentioned.

use crate::coroutine::{Core, current_core};
use libc::{c_int, siginfo_t};

/// Says which coroutine ends the process by a fault that nobody handles. On other threads it says nothing.
///
/// # Safety
/// The arguments are those of a SIGSEGV or SIGBUS handler (S6).
pub(super) unsafe extern "C" fn on_fatal_fault(signal: c_int, info: *mut siginfo_t) {
    let Some(core) = current_core() else { return };
    // SAFETY: S6: the kernel's record, valid while the handler runs.
    let info = unsafe { &*info };
    let mut line = Line::of_coroutine(core);
    let name = if signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" };
    // A record without a positive code was sent, and has no address. Nor has one for a non-canonical address.
    if info.si_code > 0 && info.si_code != SI_KERNEL {
        line.text(" has used memory that is not there, or not for that use, at ");
        // SAFETY: S6: the record of a fault has an address.
        line.address(unsafe { info.si_addr() }.addr());
        line.text(" (");
        line.text(name);
        line.text(")");
    } else if info.si_code == SI_KERNEL {
        line.text(" has used an address that no memory can have (");
        line.text(name);
        line.text(")");
    } else {
        line.text(" was running when ");
        line.text(name);
        line.text(" was sent");
    }
    line.text("; the process ends\n");
    line.write();
}

/// The code of a signal that the kernel forces, without an address (include/uapi/asm-generic/siginfo.h).
pub(super) const SI_KERNEL: c_int = 0x80;

/// A line of text in memory of a fixed size. What does not fit is cut off.
pub(super) struct Line {
    bytes: [u8; Line::BYTES_MAX],
    length: usize,
}

impl Line {
    /// Enough for a name and a path of usual length.
    const BYTES_MAX: usize = 512;

    pub(super) fn new() -> Self {
        Self {
            bytes: [0; Self::BYTES_MAX],
            length: 0,
        }
    }

    /// Begins with who the coroutine is.
    pub(super) fn of_coroutine(core: &Core) -> Self {
        let mut line = Self::new();
        line.text("silken: coroutine ");
        match core.name() {
            Some(name) => {
                line.text("'");
                line.text(name);
                line.text("' (id ");
                line.number(core.id());
                line.text(", ");
            }
            None => {
                line.number(core.id());
                line.text(" (");
            }
        }
        match core.site.get() {
            Some(site) => {
                line.text("spawned at ");
                line.text(site.file());
                line.text(":");
                line.number(site.line().into());
                line.text(":");
                line.number(site.column().into());
            }
            None if core.is_c_thread() => line.text("a thread of the program"),
            None => line.text("the main function"),
        }
        line.text(")");
        line
    }

    pub(super) fn address(&mut self, address: usize) {
        self.text("0x");
        let digits = (0..usize::BITS / 4).rev().map(|place| address >> (4 * place) & 15);
        for digit in digits.skip_while(|digit| *digit == 0) {
            self.text(&"0123456789abcdef"[digit..=digit]);
        }
        if address == 0 {
            self.text("0");
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        let room = text.len().min(Self::BYTES_MAX - self.length);
        let fits = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.bytes[self.length..self.length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
    }

    pub(super) fn number(&mut self, mut number: u64) {
        const DIGITS_MAX: usize = 20;
        let mut digits = [b'0'; DIGITS_MAX];
        let mut start = DIGITS_MAX;
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text(std::str::from_utf8(&digits[start..]).unwrap_or("?"));
    }

    pub(super) fn write(&self) {
        let line = std::str::from_utf8(&self.bytes[..self.length]).unwrap_or("silken: a coroutine has failed");
        crate::sys::report(&[line]);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn text(line: &Line) -> &str {
        std::str::from_utf8(&line.bytes[..line.length]).unwrap()
    }

    #[test]
    fn numbers_are_decimal() {
        let mut line = Line::new();
        for number in [0, 7, 1_024, u64::MAX] {
            line.number(number);
            line.text(" ");
        }
        assert_eq!(text(&line), "0 7 1024 18446744073709551615 ");
        let mut line = Line::new();
        for address in [0, 8, 0xdead_beef, usize::MAX] {
            line.address(address);
            line.text(" ");
        }
        assert_eq!(text(&line), "0x0 0x8 0xdeadbeef 0xffffffffffffffff ");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let mut line = Line::new();
        line.text(&"x".repeat(Line::BYTES_MAX - 1));
        line.text("ü");
        line.text("y");
        line.text("z");
        assert_eq!(line.length, Line::BYTES_MAX);
        assert!(text(&line).ends_with("xy"));
    }
}
