//! Memory faults: who sees them, and how a process dies that nobody saves. The fortified overflow is here too, since it
//! also ends its process.
//!
//! Each case runs in a child, which is this program again with the case's name as its only argument, on the main
//! thread. The parent checks the signal and what the child printed.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};
use silken_interpose::{link, rearm_fault_handler, set_fault_handler};

const PAGE_BYTES: usize = 4096;

/// The page that `open_page` makes writable.
static CLOSED_PAGE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static SEEN: AtomicUsize = AtomicUsize::new(0);

fn say(text: &str) {
    // SAFETY: S6: a write to standard error, also from handlers.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

fn close_page() -> *mut u8 {
    // SAFETY: S7: a fresh mapping.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE_BYTES,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    CLOSED_PAGE.store(page, Ordering::Relaxed);
    page.cast()
}

fn touch(page: *mut u8) {
    // SAFETY: S9: faults, which is the point; the handler opens the page or the process dies.
    unsafe { page.write_volatile(1) };
}

/// Opens the closed page: the fault is repaired and the write goes on.
fn open_page() -> bool {
    SEEN.fetch_add(1, Ordering::Relaxed);
    let page = CLOSED_PAGE.load(Ordering::Relaxed);
    // SAFETY: S6: our page.
    unsafe { libc::mprotect(page, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

unsafe extern "C" fn repair(_: c_int, info: *mut siginfo_t, _: *mut c_void) -> bool {
    // SAFETY: S6: the kernel's siginfo.
    let info = unsafe { &*info };
    // SAFETY: S6: a fault carries an address.
    let address = unsafe { info.si_addr() };
    address == CLOSED_PAGE.load(Ordering::Relaxed) && open_page()
}

unsafe extern "C" fn decline(_: c_int, _: *mut siginfo_t, _: *mut c_void) -> bool {
    say("declined ");
    false
}

extern "C" fn foreign_plain(signal: c_int) {
    assert_eq!(signal, libc::SIGSEGV);
    open_page();
}

extern "C" fn foreign_full(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
    assert!(!info.is_null() && !context.is_null());
    open_page();
}

/// What the handlers below replaced, to be restored or called by them.
static REPLACED: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

extern "C" fn foreign_restores(_: c_int) {
    say("restored ");
    // SAFETY: S6: the action that `handle_with` saved.
    unsafe { libc::sigaction(libc::SIGSEGV, REPLACED.load(Ordering::Relaxed), ptr::null_mut()) };
}

extern "C" fn foreign_calls(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    say("called ");
    // SAFETY: S6: the action that `handle_with` saved.
    let replaced = unsafe { &*REPLACED.load(Ordering::Relaxed) };
    // SAFETY: S6: it was ours, which takes three arguments.
    let handler = unsafe {
        std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(replaced.sa_sigaction)
    };
    handler(signal, info, context);
}

fn handle_with(handler: usize, flags: c_int) {
    // SAFETY: S6: all zero is a valid action.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    let replaced = Box::into_raw(Box::new(action));
    assert_eq!(
        // SAFETY: S6: valid actions; the handlers are the functions above.
        unsafe { libc::sigaction(libc::SIGSEGV, &action, replaced) },
        0
    );
    REPLACED.store(replaced, Ordering::Relaxed);
}

#[inline(never)]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    if black_box(true) {
        recurse(depth + 1) + frame[depth % 64]
    } else {
        depth
    }
}

/// Asks the fortified `read` for more than the buffer holds.
fn read_too_much() {
    unsafe extern "C" {
        fn __read_chk(fd: c_int, buffer: *mut c_void, bytes: usize, buffer_bytes: usize) -> isize;
    }
    let mut byte = 0_u8;
    // SAFETY: S7: it ends the process before it reads.
    unsafe { __read_chk(0, (&raw mut byte).cast(), 2, 1) };
}

fn run_case(case: &str) {
    link();
    match case {
        "overflow" => {
            black_box(recurse(0));
        }
        "wild" => touch(ptr::without_provenance_mut(8)),
        "fortified" => read_too_much(),
        // SAFETY: S6: a signal to ourselves.
        "sent" => assert_eq!(unsafe { libc::raise(libc::SIGSEGV) }, 0),
        "repaired" => {
            set_fault_handler(Some(repair));
            touch(close_page());
            touch(close_page());
        }
        "declined" => {
            set_fault_handler(Some(decline));
            touch(close_page());
        }
        "chained" => {
            set_fault_handler(Some(decline));
            handle_with(foreign_plain as *const () as usize, 0);
            assert!(rearm_fault_handler() && rearm_fault_handler());
            touch(close_page());
            handle_with(foreign_full as *const () as usize, libc::SA_SIGINFO);
            assert!(rearm_fault_handler());
            touch(close_page());
        }
        "ignored" => {
            handle_with(libc::SIG_IGN, 0);
            assert!(rearm_fault_handler());
            // SAFETY: S6: a signal to ourselves, ignored.
            assert_eq!(unsafe { libc::raise(libc::SIGSEGV) }, 0);
            say("alive ");
            touch(close_page());
        }
        "restores" | "calls" => {
            if case == "restores" {
                handle_with(foreign_restores as *const () as usize, 0);
            } else {
                handle_with(foreign_calls as *const () as usize, libc::SA_SIGINFO);
            }
            assert!(rearm_fault_handler());
            touch(close_page());
        }
        other => panic!("no case {other}"),
    }
    say(&format!("seen {}", SEEN.load(Ordering::Relaxed)));
}

fn child(case: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .env("FAULT_CASE", case)
        .output()
        .unwrap()
}

fn main() {
    if let Ok(case) = std::env::var("FAULT_CASE") {
        return run_case(&case);
    }
    let dead = Some(libc::SIGSEGV);
    let cases = [
        ("overflow", dead, "\nthread 'main' has overflowed its stack\n"),
        ("wild", dead, ""),
        ("sent", dead, ""),
        (
            "fortified",
            Some(libc::SIGABRT),
            "*** buffer overflow detected ***: terminated\n",
        ),
        ("repaired", None, "seen 2"),
        ("declined", dead, "declined "),
        ("chained", None, "declined declined seen 2"),
        ("ignored", dead, "alive "),
        ("restores", dead, "restored "),
        ("calls", dead, "called "),
    ];
    for (case, signal, printed) in cases {
        let output = child(case);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.signal(), &*text), (signal, printed), "case {case}");
        println!("case {case} ... ok");
    }
}
