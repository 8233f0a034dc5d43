//! Whose code an address of the executable is: Rust's, or other code that was linked in.
//!
//! The linker puts C (a `cc` build script, a static jemalloc or SQLite) between the Rust code of the executable. The
//! *name* of the function tells them apart. Names are in the executable's own symbol table (`.symtab`, which is not
//! loaded with the program). rustc mangles the names of functions:
//!
//! | name | owner |
//! |---|---|
//! | `_RNv…`, `_RI…` | Rust, mangling v0 |
//! | `_ZN…17h` 16 hexadecimal digits `E`, perhaps with a suffix like `.llvm.12` | Rust, the legacy mangling |
//! | `__rust_…`, `__rdl_…`, `__rg_…` | made by rustc: `__rust_try` is in the chain of every caught panic |
//! | anything else, also a `#[no_mangle]` function of Rust | not known to be Rust |
//!
//! A signal handler asks this question, so nothing here locks, allocates or panics. The file is mapped when the runtime
//! starts, and read when the question is asked: a linear pass over the symbols for a batch of addresses, some
//! milliseconds in a large program, after a stack overflow. An address must lie in a Rust function, and in no function
//! that is not Rust (a linker may fold equal functions into one).
//!
//! It does not recognise C that was inlined into Rust functions by link-time optimisation across languages. Without
//! `.symtab` (`strip = true`) the answer is "unknown".

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// The number of addresses that one pass looks for.
pub(crate) const BATCH: usize = 256;

/// The symbol table in the mapped file, and the place of the file's addresses in memory.
struct Table {
    symbols: &'static [u8],
    names: &'static [u8],
    load_base: usize,
    /// Whether the allocator is std's. Asked when the first runtime starts, since it takes a pass over the symbols.
    has_allocator_of_std: OnceLock<bool>,
}

/// `None` inside: there is no symbol table, or it cannot be read.
static TABLE: OnceLock<Option<Table>> = OnceLock::new();

/// Maps the executable's file. `load_base` is what the loader added to the addresses in the file. Not for signal
/// handlers.
pub(crate) fn prepare(load_base: usize) {
    TABLE.get_or_init(|| {
        let (symbols, names) = tables(map_executable()?)?;
        Some(Table {
            symbols,
            names,
            load_base,
            has_allocator_of_std: OnceLock::new(),
        })
    });
}

/// The owner of the code at some addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Rust,
    /// At least one address belongs to other code, or to code without a name.
    Other,
    /// There is no symbol table.
    Unknown,
}

/// The owner of the code at `addresses`, at most [`BATCH`] of them. Async-signal-safe after [`prepare`].
pub(crate) fn owner(addresses: &[usize]) -> Owner {
    let Some(Some(table)) = TABLE.get() else {
        return Owner::Unknown;
    };
    owner_in(table, addresses)
}

/// Who has written a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// Rust's own library, or what rustc makes.
    Std,
    /// This runtime.
    Runtime,
    /// Anybody else, or nobody knows.
    Other,
}

/// Who has written the function at `address`, by the crate in its name. Async-signal-safe after [`prepare`].
pub(crate) fn author(address: usize) -> Author {
    let Some(Some(table)) = TABLE.get() else {
        return Author::Other;
    };
    author_in(table, address)
}

fn author_in(table: &Table, address: usize) -> Author {
    let mut found = None;
    for symbol in table.symbols.chunks_exact(SYMBOL_BYTES).filter_map(Symbol::of_code) {
        let start = table.load_base.wrapping_add(symbol.start);
        if address.wrapping_sub(start) < symbol.bytes {
            let author = author_of_name(name_at(table.names, symbol.name));
            // Equal functions may be folded into one: the runtime's counts.
            if author == Author::Runtime {
                return author;
            }
            found = found.filter(|found| *found == Author::Other).or(Some(author));
        }
    }
    found.unwrap_or(Author::Other)
}

fn author_of_name(name: &[u8]) -> Author {
    const STD: &[&[u8]] = &[
        b"core",
        b"alloc",
        b"std",
        b"compiler_builtins",
        b"hashbrown",
        b"panic_unwind",
        b"__rustc",
    ];
    match crate_of(name) {
        _ if is_of_rustc(name) => Author::Std,
        Some(name) if STD.contains(&name) => Author::Std,
        Some(b"silken" | b"silken_context" | b"silken_interpose") => Author::Runtime,
        _ => Author::Other,
    }
}

/// The crate that a mangled name begins with: the crate of the function, of the `impl` that it is in, or (legacy
/// mangling) of the type that the `impl` is for, unless that is a reference.
fn crate_of(name: &[u8]) -> Option<&[u8]> {
    if let Some(path) = name.strip_prefix(b"_ZN") {
        let first = sized(path, false)?;
        let first = first.strip_prefix(b"_$LT$").unwrap_or(first);
        let end = first
            .iter()
            .position(|byte| !is_of_identifier(*byte))
            .unwrap_or(first.len());
        return first.get(..end).filter(|name| !name.is_empty());
    }
    // `C`, perhaps a disambiguator `s…_`, and the sized name.
    let path = name.strip_prefix(b"_R")?;
    (0..path.len()).filter(|at| path[*at] == b'C').find_map(|at| {
        let root = &path[at + 1..];
        let sized_name = match root.strip_prefix(b"s") {
            Some(rest) => &rest[rest.iter().position(|byte| *byte == b'_')? + 1..],
            None => root,
        };
        sized(sized_name, true).filter(|name| name.iter().all(|byte| is_of_identifier(*byte)))
    })
}

fn is_of_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The bytes whose number stands before them. Mangling v0 puts a `_` between the two if the bytes begin with a digit or
/// with `_`; the legacy mangling does not.
fn sized(text: &[u8], is_v0: bool) -> Option<&[u8]> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let add = |sum: usize, digit: &u8| sum.checked_mul(10)?.checked_add(usize::from(digit - b'0'));
    let bytes = text[..digits].iter().try_fold(0, add).filter(|bytes| *bytes > 0)?;
    let rest = &text[digits..];
    let rest = if is_v0 {
        rest.strip_prefix(b"_").unwrap_or(rest)
    } else {
        rest
    };
    rest.get(..bytes)
}

/// Whether the program's global allocator is known to be std's own, which calls the C library and keeps no state in the
/// executable. `false` if the executable has a `malloc` of its own, or if it cannot be known: without a symbol table,
/// or where link-time optimisation has changed the function. Not for signal handlers.
pub(crate) fn has_allocator_of_std() -> bool {
    let Some(Some(table)) = TABLE.get() else {
        return false;
    };
    let look = || look_for_allocator_of_std(table);
    *table.has_allocator_of_std.get_or_init(look)
}

fn look_for_allocator_of_std(table: &Table) -> bool {
    let (mut of_program, mut is_of_std, mut has_malloc) = (None, false, false);
    for symbol in table.symbols.chunks_exact(SYMBOL_BYTES).filter_map(Symbol::of_code) {
        let name = name_at(table.names, symbol.name);
        // std's calls `malloc`, which is not the C library's if the executable has one of its own.
        has_malloc |= name == b"malloc";
        // Linked in only where no other allocator was declared.
        is_of_std |= name.ends_with(b"__rdl_alloc");
        if name.ends_with(b"__rust_alloc") {
            of_program = Some(symbol);
        }
    }
    !has_malloc && (is_of_std || of_program.is_some_and(|symbol| is_tail_call_of_malloc(table, &symbol)))
}

/// Whether the function is what std's allocator is after link-time optimisation: it ends by a jump to the C library's
/// `malloc`, calls nothing of the executable, and uses neither thread-locals nor atomic instructions.
fn is_tail_call_of_malloc(table: &Table, symbol: &Symbol) -> bool {
    const BYTES_MAX: usize = 96;
    const JUMP: [u8; 2] = [0xFF, 0x25];
    /// Direct calls and jumps, the FS segment, `lock`, `xchg`.
    const OTHERS: [u8; 6] = [0xE8, 0xE9, 0x64, 0xF0, 0x86, 0x87];
    if symbol.bytes > BYTES_MAX {
        return false;
    }
    let start = table.load_base.wrapping_add(symbol.start);
    // SAFETY: S7: a function of the executable's text, which is mapped for ever.
    let code = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(start), symbol.bytes) };
    let malloc = libc::malloc as *const () as usize;
    let jumps_to_malloc = |at: usize| {
        let Some(distance) = code.get(at + 2..at + 6).and_then(|bytes| bytes.try_into().ok()) else {
            return false;
        };
        let place = (start + at + 6).wrapping_add_signed(i32::from_le_bytes(distance) as isize);
        // SAFETY: S7: an instruction of the executable jumps through this word.
        unsafe { std::ptr::with_exposed_provenance::<usize>(place).read_unaligned() == malloc }
    };
    let mut jumps = code
        .windows(JUMP.len())
        .enumerate()
        .filter(|(_, bytes)| **bytes == JUMP);
    let is_plain = || !code.iter().any(|byte| OTHERS.contains(byte));
    jumps.any(|(at, _)| jumps_to_malloc(at)) && is_plain()
}

fn owner_in(table: &Table, addresses: &[usize]) -> Owner {
    let mut is_rust = [false; BATCH];
    let (Some(lowest), Some(highest)) = (addresses.iter().min(), addresses.iter().max()) else {
        return Owner::Rust;
    };
    for symbol in table.symbols.chunks_exact(SYMBOL_BYTES).filter_map(Symbol::of_code) {
        let start = table.load_base.wrapping_add(symbol.start);
        let code = start..start.wrapping_add(symbol.bytes);
        if code.start > *highest || code.end <= *lowest {
            continue;
        }
        for (address, is_rust) in addresses.iter().zip(&mut is_rust) {
            if code.contains(address) {
                if !is_name_of_rust(name_at(table.names, symbol.name)) {
                    return Owner::Other;
                }
                *is_rust = true;
            }
        }
    }
    if addresses.len() <= BATCH && is_rust[..addresses.len()].iter().all(|is_rust| *is_rust) {
        Owner::Rust
    } else {
        Owner::Other
    }
}

/// The parts of an ELF symbol (`Elf64_Sym`) that matter.
struct Symbol {
    name: usize,
    start: usize,
    bytes: usize,
}

const SYMBOL_BYTES: usize = 24;

impl Symbol {
    /// Parses the symbol; `Some` if it is defined and may be a function.
    fn of_code(entry: &[u8]) -> Option<Self> {
        const NO_TYPE: u8 = 0;
        const FUNCTION: u8 = 2;
        const INDIRECT_FUNCTION: u8 = 10;
        let kind = entry.get(4)? & 15;
        let is_defined = number(entry, 6, 2)? != 0;
        let symbol = Self {
            name: number(entry, 0, 4)?,
            start: number(entry, 8, 8)?,
            bytes: number(entry, 16, 8)?,
        };
        let is_code = matches!(kind, NO_TYPE | FUNCTION | INDIRECT_FUNCTION) && symbol.bytes > 0;
        (is_defined && is_code).then_some(symbol)
    }
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let mut word = [0; 8];
    word.get_mut(..length)?
        .copy_from_slice(bytes.get(at..at.checked_add(length)?)?);
    Some(u64::from_le_bytes(word) as usize)
}

fn name_at(names: &[u8], at: usize) -> &[u8] {
    let rest = names.get(at..).unwrap_or_default();
    rest.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether rustc made the name: see the table in the file's head.
fn is_name_of_rust(name: &[u8]) -> bool {
    is_of_rustc(name) || is_mangled_v0(name) || is_mangled_legacy(name)
}

/// Whether rustc has made the function itself.
fn is_of_rustc(name: &[u8]) -> bool {
    [&b"__rust_"[..], b"__rdl_", b"__rg_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn is_mangled_v0(name: &[u8]) -> bool {
    // `N`: an item in a path; `I`: an item with type arguments. No function's name begins otherwise.
    matches!(name, [b'_', b'R', b'N' | b'I', next, ..] if next.is_ascii_alphabetic())
}

fn is_mangled_legacy(name: &[u8]) -> bool {
    const HASH: &[u8] = b"17h";
    const DIGITS: usize = 16;
    let is_hash = |part: &[u8]| {
        part.strip_prefix(HASH)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // The hash, the `E`, and then nothing or a suffix.
    name.starts_with(b"_ZN")
        && name.windows(HASH.len() + DIGITS + 1).enumerate().any(|(at, window)| {
            let (hash, end) = window.split_at(HASH.len() + DIGITS);
            let after = name.get(at + window.len());
            is_hash(hash) && end == b"E" && after.is_none_or(|byte| *byte == b'.')
        })
}

/// The executable's file in memory, for the life of the process.
fn map_executable() -> Option<&'static [u8]> {
    let file = File::open("/proc/self/exe").ok()?;
    let bytes = usize::try_from(file.metadata().ok()?.len())
        .ok()
        .filter(|bytes| *bytes > 0)?;
    // SAFETY: S8: a fresh mapping at an address of the kernel's choice replaces nothing.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: S8: the mapping is never undone; the kernel refuses to write to a file that is being executed.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), bytes) })
}

/// Finds `.symtab` and its names in a 64-bit ELF file.
fn tables(file: &'static [u8]) -> Option<(&'static [u8], &'static [u8])> {
    const SYMBOL_TABLE: usize = 2;
    const LINK: usize = 40;
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (headers, header_bytes, count) = (number(file, 40, 8)?, number(file, 58, 2)?, number(file, 60, 2)?);
    let header = |index: usize| {
        let start = headers.checked_add(index.checked_mul(header_bytes)?)?;
        file.get(start..start.checked_add(header_bytes)?)
    };
    let content = |header: &[u8]| {
        let (start, bytes) = (number(header, 24, 8)?, number(header, 32, 8)?);
        file.get(Range {
            start,
            end: start.checked_add(bytes)?,
        })
    };
    let symbols = (0..count)
        .filter_map(header)
        .find(|header| number(header, 4, 4) == Some(SYMBOL_TABLE))?;
    let names = header(number(symbols, LINK, 4)?)?;
    Some((content(symbols)?, content(names)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for name in [
            "_ZN3std2io5stdio6_print17h0123456789abcdefE",
            "_ZN63_$LT$alloc..vec..Vec$u20$as$u20$core..ops..Drop$GT$4drop17hfedcba9876543210E",
            "_ZN4core3fmt5write17h0123456789abcdefE.llvm.1234567890",
            "_RNvCs1234_7mycrate3foo",
            "_RINvNtC4core3mem7swappedyE",
            "_RNvNtCs5678_4core9panicking5panic.llvm.77",
            "__rust_try",
            "__rdl_alloc",
        ] {
            assert!(is_name_of_rust(name.as_bytes()), "{name}");
        }
        for name in [
            "qsort",
            "main",
            "",
            "_ZN3foo3barEv",
            "_ZNSt6vectorIiE4growEv",
            "_ZN3foo17h0123456789abcdefEv",
            "_ZN3foo17h0123456789abcdeE",
            "_RC4_set_key",
            "_R",
            "_RN",
            "__rustic",
            "je_malloc",
        ] {
            assert!(!is_name_of_rust(name.as_bytes()), "{name}");
        }
    }

    fn table_of(entries: &[(&str, usize, usize)]) -> Table {
        let (mut symbols, mut names) = (Vec::new(), vec![0]);
        for (name, start, bytes) in entries {
            symbols.extend((names.len() as u32).to_le_bytes());
            symbols.extend([0x12, 0, 1, 0]);
            symbols.extend(start.to_le_bytes());
            symbols.extend(bytes.to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
        }
        Table {
            symbols: symbols.leak(),
            names: names.leak(),
            load_base: 0x1000,
            has_allocator_of_std: OnceLock::new(),
        }
    }

    #[test]
    fn an_address_is_rust_when_all_that_cover_it_are() {
        let table = table_of(&[
            ("_RNvC1a1f", 0x100, 0x10),
            ("plain", 0x110, 0x10),
            ("_RNvC1a1g", 0x120, 0x10),
            ("folded", 0x128, 0x8),
        ]);
        let is = |addresses: &[usize]| owner_in(&table, addresses);
        assert_eq!(is(&[]), Owner::Rust);
        assert_eq!(is(&[0x1100, 0x110f, 0x1120]), Owner::Rust);
        assert_eq!(is(&[0x1100, 0x1110]), Owner::Other, "C");
        assert_eq!(is(&[0x1128]), Owner::Other, "folded with C");
        assert_eq!(is(&[0x1100, 0x2000]), Owner::Other, "no name");
    }

    extern "C" fn is_mangled(value: usize) -> usize {
        value
    }

    #[unsafe(no_mangle)]
    extern "C" fn silken_test_not_mangled(value: usize) -> usize {
        value + 1
    }

    #[test]
    fn authors_are_told_apart() {
        for (name, author) in [
            ("_RNvNtNtCs1C_6silken7channel4core4send", Author::Runtime),
            ("_RINvMsC_NtCsb_6silken4waitNtB5_4Cell6settleEB7_", Author::Runtime),
            (
                "_RNvXsC_NtCsb_14silken_context5stackNtB5_5StackNtNtCsd_4core3ops4Drop4drop",
                Author::Runtime,
            ),
            ("_RNvCs_7___rustc11___rdl_alloc", Author::Std),
            (
                "_RINvNtCs9_4core3ptr13drop_in_placeNtCsb_6silken5ReadyEB4_",
                Author::Std,
            ),
            ("_RNvCs7_7silkens4main", Author::Other),
            ("_RNCNvCs7_3app4main0B3_", Author::Other),
            ("_ZN6silken7channel4core4send17h0123456789abcdefE", Author::Runtime),
            (
                "_ZN67_$LT$silken..sync..Guard$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
                Author::Runtime,
            ),
            (
                "_ZN62_$LT$$RF$silken..channel..Receiver$u20$as$u20$core..Iter$GT$4next17h0123456789abcdefE",
                Author::Other,
            ),
            ("_ZN4core3ptr13drop_in_place17h0123456789abcdefE", Author::Std),
            ("_ZN3app4main17h0123456789abcdefE", Author::Other),
            ("__rust_try", Author::Std),
            ("memcpy", Author::Other),
            ("_ZN", Author::Other),
            ("_R", Author::Other),
            ("_RNvC", Author::Other),
            ("_RNvCs", Author::Other),
            ("_RNvC999999999999999999999_6silken", Author::Other),
        ] {
            assert_eq!(author_of_name(name.as_bytes()), author, "{name}");
        }
        let table = table_of(&[
            ("_RNvNtCsb_6silken4wait4wait", 0x100, 0x10),
            ("_RNvCs7_3app4main", 0x108, 0x10),
            ("_RNvNtCs9_4core3ptr4drop", 0x200, 0x10),
        ]);
        assert_eq!(author_in(&table, 0x1104), Author::Runtime);
        assert_eq!(author_in(&table, 0x110c), Author::Runtime, "folded");
        assert_eq!(author_in(&table, 0x1114), Author::Other);
        assert_eq!(author_in(&table, 0x1204), Author::Std);
        assert_eq!(author_in(&table, 0x1300), Author::Other);
    }

    #[test]
    fn an_allocator_in_the_executable_is_seen() {
        let of_std = ("_RNvCs_7___rustc11___rdl_alloc", 0x100, 0x10);
        assert!(look_for_allocator_of_std(&table_of(&[of_std])));
        assert!(look_for_allocator_of_std(&table_of(&[
            of_std,
            ("my_malloc", 0x200, 0x10)
        ])));
        assert!(!look_for_allocator_of_std(&table_of(&[
            ("malloc", 0x200, 0x10),
            of_std
        ])));
        assert!(!look_for_allocator_of_std(&table_of(&[
            of_std,
            ("malloc", 0x200, 0x10)
        ])));
    }

    #[test]
    fn this_executable_is_read() {
        crate::trap::in_executable(0);
        assert_eq!(owner(&[is_mangled as *const () as usize]), Owner::Rust);
        assert_eq!(owner(&[silken_test_not_mangled as *const () as usize]), Owner::Other);
        assert_eq!(owner(&[crate::switch::entry_code().start]), Owner::Other);
    }

    #[test]
    fn a_file_without_the_table_has_none() {
        assert!(tables(b"#!/bin/sh\n").is_none());
        assert!(tables(b"\x7fELF\x02\x01 and no more").is_none());
    }
}
