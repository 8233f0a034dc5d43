//! Overflows with C on the stack: large frames without stack probes, and callbacks of libraries.
//!
//! The C code is compiled by the case itself, without stack-clash protection, as build scripts do.

use super::overflow::{ABORTS, recurse};
use super::signals::{handle, own_thread, signal_thread};
use super::{Case, End};
use silken::{Builder, Runtime};
use std::arch::global_asm;
use std::ffi::{CString, c_int, c_void};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const IN_A_LIBRARY: &[&str] = &[
    "silken: coroutine 'foreign' (id ",
    "has overflowed its stack",
    "the process ends with it: it was inside a shared library",
];
const NOT_RUST: &[&str] = &[
    "silken: coroutine 'foreign' (id ",
    "has overflowed its stack",
    "the process ends with it: it was inside a function that is not known to be Rust",
];

pub(super) fn cases() -> Vec<Case> {
    let ends = |name, run| Case::new(name, run, ABORTS).says(IN_A_LIBRARY);
    let works = |name, run| Case::new(name, run, End::Returns).says_not(&["overflowed"]);
    let mut cases = vec![
        ends("c_frame_of_100_kib_on_16", || frame("frame_100", Some(16))),
        ends("c_frame_of_300_kib_on_16", || frame("frame_300", Some(16))),
        ends("c_frame_of_700_kib_on_16", || frame("frame_700", Some(16))),
        ends("c_frame_of_100_kib_on_64", || frame("frame_100", Some(64))),
        ends("c_frame_of_300_kib_on_64", || frame("frame_300", Some(64))),
        ends("c_frame_of_700_kib_on_64", || frame("frame_700", Some(64))),
        works("c_frame_of_100_kib_on_the_default", || frame("frame_100", None)),
        works("c_frame_of_300_kib_on_the_default", || frame("frame_300", None)),
        ends("c_frame_of_300_kib_on_256", || frame("frame_300", Some(256))),
        ends("c_frame_of_700_kib_on_512", || frame("frame_700", Some(512))),
        ends("c_recursion_in_frames_of_100_kib", || frame("recurse_100", None)),
        ends("c_recursion_in_frames_of_300_kib", || frame("recurse_300", Some(512))),
        ends("c_frame_deep_on_a_stack", c_frame_below_rust),
        works("c_frame_of_1000_kib_on_a_stack_of_1024", || {
            frame("frame_1000", Some(1024))
        }),
        ends("c_frame_of_1000_kib_on_a_stack_of_512", || {
            frame("frame_1000", Some(512))
        }),
        ends("overflow_in_a_comparator_of_qsort", in_comparator),
        ends("overflow_in_a_callback_of_the_loader", in_loader_callback),
        ends("overflow_in_a_callback_of_a_plug_in", in_plug_in),
        ends("overflow_in_a_signal_handler", in_signal_handler),
        Case::new("overflow_in_linked_c", in_linked_c, ABORTS).says(NOT_RUST),
        Case::new("overflow_in_a_callback_of_linked_c", in_callback_of_linked_c, ABORTS).says(NOT_RUST),
        Case::new("overflow_in_a_panic_hook", in_panic_hook, ABORTS)
            .says(&["has overflowed", "the process ends with it: it was panicking"]),
    ];
    if cfg!(feature = "interpose") {
        cases.push(works("the_first_runtime_chooses_the_guard", first_chooses_guard));
        cases.push(
            works("the_environment_chooses_the_guard", || assert_guard(64))
                .environment(&[("SILKEN_GUARD_SIZE", "64k")]),
        );
        cases.push(works("guards_of_the_default", default_guards));
        cases.push(
            Case::new("no_room_for_the_frame_of_a_signal", no_room_for_a_signal, ABORTS).says(&[
                "silken: coroutine 'foreign' (id ",
                "has overflowed its stack",
                "the process ends with it: a signal's frame did not fit",
            ]),
        );
    }
    cases
}

const C_CODE: &str = r"
#include <string.h>
__attribute__((noinline)) static int use(char *p, int c) { memset(p, c, 256); return p[3]; }
#define FRAME(kib) int frame_##kib(int c) { char buffer[kib * 1024]; return use(buffer, c); }
#define RECURSE(kib) int recurse_##kib(int c) { char buffer[kib * 1024]; use(buffer, c); \
    return c == -1 ? 0 : recurse_##kib(c & 0x7f) + buffer[5]; }
FRAME(100) FRAME(300) FRAME(700) FRAME(1000) RECURSE(100) RECURSE(300)
int call(int (*back)(void *), void *argument) { return back(argument) + 1; }
";

/// A function of the C code above, compiled now.
fn c_function(name: &str) -> *mut c_void {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("abort-{}", std::process::id()));
    let (source, library) = (base.with_extension("c"), base.with_extension("so"));
    std::fs::write(&source, C_CODE).expect("a file for the code");
    let status = Command::new("cc")
        .args([
            "-O1",
            "-fPIC",
            "-shared",
            "-fno-stack-clash-protection",
            "-fno-stack-protector",
            "-o",
        ])
        .args([&library, &source])
        .status()
        .expect("a C compiler, as every Rust program needs to be linked");
    assert!(status.success());
    let path = CString::new(library.to_str().expect("a path in UTF-8")).expect("a path without a zero");
    // SAFETY: S7: a library of our own.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
    let _ = (std::fs::remove_file(source), std::fs::remove_file(library));
    let name = CString::new(name).expect("a name without a zero");
    // SAFETY: S7: a live handle and a name with its end.
    let function = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!function.is_null());
    function
}

fn c_frame(name: &str) -> extern "C" fn(c_int) -> c_int {
    // SAFETY: S7: its type in the C code.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(c_int) -> c_int>(c_function(name)) }
}

fn foreign(stack_kib: Option<usize>) -> Builder {
    let builder = Builder::new().name("foreign".to_string());
    match stack_kib {
        Some(kib) => builder.stack_size(kib * 1024),
        None => builder,
    }
}

/// Fills its frame and looks, when it is told to, whether somebody has written there.
fn neighbour(stack_kib: Option<usize>, stop: Arc<AtomicBool>) -> silken::JoinHandle<usize> {
    const MARK: u8 = 0x5a;
    foreign(stack_kib)
        .spawn(move || {
            let mut frame = [MARK; 1024];
            black_box(&mut frame);
            while !stop.load(Ordering::Relaxed) {
                silken::yield_now();
            }
            black_box(&frame).iter().filter(|byte| **byte != MARK).count()
        })
        .expect("there is a stack")
}

fn frame(name: &str, stack_kib: Option<usize>) {
    let function = c_frame(name);
    let runtime = Runtime::builder().workers(1).build().expect("the runtime starts");
    let check = runtime.spawn(move || {
        let stop = Arc::new(AtomicBool::new(false));
        let mut neighbours: Vec<_> = (0..4).map(|_| neighbour(stack_kib, stop.clone())).collect();
        silken::yield_now();
        let result = foreign(stack_kib)
            .spawn(move || function(0x77))
            .expect("a stack")
            .join();
        neighbours.extend((0..4).map(|_| neighbour(stack_kib, stop.clone())));
        stop.store(true, Ordering::Relaxed);
        let overwritten: usize = neighbours
            .into_iter()
            .map(|handle| handle.join().expect("a neighbour"))
            .sum();
        assert_eq!(overwritten, 0, "bytes overwritten in the frames of neighbours");
        assert_eq!(result.expect("the C function returned"), 0x77);
    });
    check.join().expect("nothing was overwritten");
}

/// The frame begins close to the end of the stack.
fn c_frame_below_rust() {
    let function = c_frame("frame_700");
    const DEEP_BYTES: usize = 200 * 1024;
    #[inline(never)]
    fn deeper(first: usize, then: &dyn Fn() -> c_int) -> c_int {
        let frame = black_box([1u8; 1024]);
        let here = (&raw const frame).expose_provenance();
        let below = if first.abs_diff(here) > DEEP_BYTES {
            then()
        } else {
            deeper(first, then)
        };
        below + c_int::from(black_box(frame)[7])
    }
    let body = move || {
        let first = 0u8;
        deeper((&raw const first).expose_provenance(), &|| function(1))
    };
    let _ = foreign(Some(256)).spawn(body).expect("a stack").join();
}

extern "C" fn compare(_left: *const c_void, _right: *const c_void) -> c_int {
    recurse(0) as c_int
}

fn in_comparator() {
    let body = || {
        let mut numbers = [3u32, 1, 2];
        // SAFETY: S7: an array with its length; the comparator looks at nothing.
        unsafe { libc::qsort(numbers.as_mut_ptr().cast(), numbers.len(), 4, Some(compare)) };
    };
    let _ = foreign(None).spawn(body).expect("a stack").join();
}

unsafe extern "C" fn each_module(_info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    recurse(0) as c_int
}

/// The loader's lock is held meanwhile: a walk that takes it would never end.
fn in_loader_callback() {
    // SAFETY: S7: the callback looks at nothing.
    let body = || unsafe { libc::dl_iterate_phdr(Some(each_module), std::ptr::null_mut()) };
    let _ = foreign(None).spawn(body).expect("a stack").join();
}

extern "C" fn back(_argument: *mut c_void) -> c_int {
    recurse(0) as c_int
}

type Call = unsafe extern "C" fn(extern "C" fn(*mut c_void) -> c_int, *mut c_void) -> c_int;

fn in_plug_in() {
    // SAFETY: S7: its type in the C code.
    let call = unsafe { std::mem::transmute::<*mut c_void, Call>(c_function("call")) };
    // SAFETY: S7: the callback does not unwind.
    let body = move || unsafe { call(back, std::ptr::null_mut()) };
    let _ = foreign(None).spawn(body).expect("a stack").join();
}

extern "C" fn handler(_signal: c_int) {
    black_box(recurse(0));
}

fn in_signal_handler() {
    handle(libc::SIGUSR1, handler, 0);
    let body = || signal_thread(own_thread(), libc::SIGUSR1);
    let _ = foreign(None).spawn(body).expect("a stack").join();
}

/// Sends the worker a signal when so little is left of the stack that the kernel cannot lay the handler's frame there.
fn no_room_for_a_signal() {
    const ROOM_BYTES: usize = 600;
    #[inline(never)]
    fn descend(bottom: usize, process: usize, worker: usize) -> usize {
        let frame = black_box([process; 4]);
        let here = (&raw const frame).expose_provenance();
        let mut result = libc::SYS_tgkill as usize;
        if here - bottom > ROOM_BYTES {
            return descend(bottom, process, worker) + black_box(frame)[1];
        }
        // SAFETY: S7: a signal to the calling thread, without a call.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") result,
                in("rdi") process,
                in("rsi") worker,
                in("rdx") libc::SIGUSR1 as usize,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        };
        result + black_box(frame)[2]
    }
    handle(libc::SIGUSR1, handler, 0);
    let body = || {
        let worker = own_thread();
        let (mut bottom, mut bytes) = (std::ptr::null_mut(), 0);
        // SAFETY: S7: attributes that are filled in, and places for the answer.
        let error = unsafe { libc::pthread_attr_getstack(&own_attributes(), &mut bottom, &mut bytes) };
        assert_eq!(error, 0);
        descend(bottom.expose_provenance(), std::process::id() as usize, worker as usize)
    };
    let _ = foreign(Some(64)).spawn(body).expect("a stack").join();
}

// What a C compiler makes of `int silken_test_linked(int n) { return silken_test_linked(n) + 1; }` and of a function
// that calls back.
global_asm!(
    ".pushsection .text.silken_test_linked,\"ax\",@progbits",
    ".globl silken_test_linked",
    ".type silken_test_linked,@function",
    "silken_test_linked:",
    ".cfi_startproc",
    "sub rsp, 24",
    ".cfi_adjust_cfa_offset 24",
    "call silken_test_linked",
    "add rsp, 24",
    ".cfi_adjust_cfa_offset -24",
    "ret",
    ".cfi_endproc",
    ".size silken_test_linked, . - silken_test_linked",
    ".globl silken_test_linked_call",
    ".type silken_test_linked_call,@function",
    "silken_test_linked_call:",
    ".cfi_startproc",
    "sub rsp, 24",
    ".cfi_adjust_cfa_offset 24",
    "mov rax, rdi",
    "mov rdi, rsi",
    "call rax",
    "add rsp, 24",
    ".cfi_adjust_cfa_offset -24",
    "ret",
    ".cfi_endproc",
    ".size silken_test_linked_call, . - silken_test_linked_call",
    ".popsection",
);

unsafe extern "C" {
    fn silken_test_linked(n: c_int) -> c_int;
    fn silken_test_linked_call(back: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> c_int;
}

fn in_linked_c() {
    // SAFETY: S7: it does nothing but recurse.
    let body = || unsafe { silken_test_linked(1) };
    let _ = foreign(None).spawn(body).expect("a stack").join();
}

fn in_callback_of_linked_c() {
    // SAFETY: S7: the callback does not unwind.
    let body = || unsafe { silken_test_linked_call(back, std::ptr::null_mut()) };
    let _ = foreign(None).spawn(body).expect("a stack").join();
}

fn in_panic_hook() {
    std::panic::set_hook(Box::new(|_| _ = black_box(recurse(0))));
    let _ = foreign(None)
        .spawn(|| panic!("the hook does not return"))
        .expect("a stack")
        .join();
}

fn own_attributes() -> libc::pthread_attr_t {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: S7: asks for a number.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: S7: the calling coroutine, and a place for attributes.
    let error = unsafe { libc::pthread_getattr_np(own, attributes.as_mut_ptr()) };
    assert_eq!(error, 0);
    // SAFETY: S7: filled in by the call that succeeded.
    unsafe { attributes.assume_init() }
}

/// The guard of the caller's stack, in KiB; rounded by the odd page.
fn guard_kib() -> usize {
    let mut bytes = 0;
    // SAFETY: S7: attributes that are filled in.
    let error = unsafe { libc::pthread_attr_getguardsize(&own_attributes(), &mut bytes) };
    assert_eq!(error, 0);
    bytes / 1024
}

fn assert_guard(kib: usize) {
    for stack_kib in [16, 256, 1024] {
        let guard = foreign(Some(stack_kib))
            .spawn(guard_kib)
            .expect("a stack")
            .join()
            .expect("a number");
        assert!((kib..=kib + 4).contains(&guard), "{guard} KiB below {stack_kib}");
    }
}

fn default_guards() {
    let guard_below = |kib| {
        foreign(Some(kib))
            .spawn(guard_kib)
            .expect("a stack")
            .join()
            .expect("a number")
    };
    for (stack_kib, kib) in [(16, 768), (256, 768), (512, 768), (1024, 1024), (4096, 1024)] {
        assert!(
            (kib..=kib + 4).contains(&guard_below(stack_kib)),
            "below {stack_kib} KiB"
        );
    }
    let late = Runtime::builder().guard_size(64 * 1024).build();
    let text = late.expect_err("the stacks are made already").to_string();
    assert!(text.contains("have the default already"), "{text}");
}

fn first_chooses_guard() {
    let build = |kib: usize| Runtime::builder().workers(1).guard_size(kib * 1024).build();
    assert!(build(2 << 20).is_err(), "2 GiB");
    let first = build(128).expect("it is the first");
    let guard = first.spawn(guard_kib).join().expect("a number");
    assert!((128..=132).contains(&guard), "{guard}");
    let text = build(256).expect_err("the first decided").to_string();
    assert!(text.contains("131072 bytes already"), "{text}");
    drop(build(128).expect("the same is no contradiction"));
    // The default runtime has not been told.
    assert_guard(128);
}
