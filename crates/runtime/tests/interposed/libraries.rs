//! Libraries that are loaded late, and their thread-locals: each coroutine has its own, fresh from its start,
//! wherever the C library put them.
//!
//! Each test is a process of its own, since what a process has loaded is part of the question. The libraries are C,
//! built by `cc`.

use super::recycling::in_a_process_of_its_own;
use silken::Runtime;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};

/// Counts up from 42 in a thread-local; `bss` is one that starts at zero.
const COUNTER: &str = "
    __thread int counter = 42; __thread long bss; __thread char text[24] = \"as it was\";
    int count(void) { bss += 3; text[0] = 'X'; return ++counter; }
    int untouched(void) { return counter == 42 && bss == 0 && text[0] == 'a'; }
";

/// The same with a destructor, as C++ has it.
const OBJECT: &str = "
    extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
    extern void *__dso_handle;
    static int ended;
    static void end(void *object) { __atomic_fetch_add(&ended, *(int *)object, 5); }
    __thread int counter = 42; __thread char filler[5000];
    int count(void) {
        if (counter == 42) __cxa_thread_atexit_impl(end, &counter, &__dso_handle);
        filler[4999]++;
        return ++counter;
    }
    int ends(void) { return __atomic_load_n(&ended, 5); }
";

const STATIC: &str = "-ftls-model=initial-exec";
const LAZY: &str = "-ftls-model=global-dynamic";

/// Builds a library in this process's directory; returns its path.
fn build(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("silken-libraries-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (file, library) = (
        directory.join(format!("{name}.c")),
        directory.join(format!("lib{name}.so")),
    );
    std::fs::write(&file, source).unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&file)
        .args(flags);
    assert!(compiler.status().expect("a C compiler").success());
    library
}

struct Library(*mut c_void);

// SAFETY: S7: a handle may be used by every thread.
unsafe impl Send for Library {}
// SAFETY: S7: as for Send.
unsafe impl Sync for Library {}

type Function = extern "C" fn() -> c_int;

impl Library {
    fn open(path: &std::path::Path) -> Self {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: S7: a path with its end; the library is ours.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null());
        Self(handle)
    }

    fn function(&self, name: &str) -> Function {
        let name = CString::new(name).unwrap();
        // SAFETY: S7: an open library and a name with its end.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!address.is_null());
        // SAFETY: S7: the libraries' functions that are asked for have this type.
        unsafe { std::mem::transmute::<*mut c_void, Function>(address) }
    }

    fn close(self) {
        // SAFETY: S7: nobody runs the library's code any more.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// What coroutines count, three times each: one after the other, and in a batch, whose stack goes from hand to hand.
fn counts(runtime: &Runtime, count: Function) {
    let start = || runtime.spawn(move || [count(), count(), count()]);
    for _ in 0..4 {
        assert_eq!(start().join().unwrap(), [43, 44, 45]);
    }
    let batch: Vec<_> = (0..4).map(|_| start()).collect();
    for unit in batch {
        assert_eq!(unit.join().unwrap(), [43, 44, 45]);
    }
}

#[test]
fn a_late_library_is_fresh_in_each_coroutine() {
    in_a_process_of_its_own("libraries::a_late_library_is_fresh_in_each_coroutine", || {
        let runtime = runtime(1);
        runtime.spawn(|| ()).join().unwrap();
        let library = Library::open(&build("lazy", OBJECT, &[LAZY]));
        counts(&runtime, library.function("count"));
        assert_eq!(library.function("ends")(), 8 * 45);
        let second = Library::open(&build("second", OBJECT, &[LAZY]));
        counts(&runtime, second.function("count"));
        counts(&runtime, library.function("count"));
        assert_eq!(
            (library.function("ends")(), second.function("ends")()),
            (16 * 45, 8 * 45)
        );
    });
}

#[test]
fn an_early_library_is_fresh_in_each_coroutine() {
    in_a_process_of_its_own("libraries::an_early_library_is_fresh_in_each_coroutine", || {
        let lazy = Library::open(&build("lazy", OBJECT, &[LAZY]));
        let fixed = Library::open(&build("fixed", COUNTER, &[STATIC]));
        let runtime = runtime(1);
        counts(&runtime, lazy.function("count"));
        counts(&runtime, fixed.function("count"));
        assert_eq!(lazy.function("ends")(), 8 * 45);
    });
}

#[test]
fn a_library_may_be_closed_and_another_take_its_number() {
    in_a_process_of_its_own("libraries::a_library_may_be_closed_and_another_take_its_number", || {
        let runtime = runtime(1);
        let small = build("small", COUNTER, &[LAZY]);
        let large = build("large", OBJECT, &[LAZY]);
        for _ in 0..10 {
            for path in [&small, &large] {
                let library = Library::open(path);
                counts(&runtime, library.function("count"));
                library.close();
            }
        }
    });
}

/// A thousand coroutines live while a library with a place in the static block is loaded by `open`, on two workers.
fn static_library(open: impl FnOnce(PathBuf) -> Library) {
    const LIVE: usize = 1000;
    let runtime = runtime(2);
    let barrier = Arc::new(Barrier::new(LIVE + 1));
    let (go, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let live: Vec<_> = (0..LIVE)
        .map(|_| {
            let (barrier, go, count) = (Arc::clone(&barrier), Arc::clone(&go), Arc::clone(&count));
            runtime.spawn(move || {
                barrier.wait();
                while !go.load(SeqCst) {
                    silken::yield_now();
                }
                // SAFETY: S7: stored below, before `go`: the address of a function of this type.
                let count = unsafe { std::mem::transmute::<usize, Function>(count.load(SeqCst)) };
                let first = count();
                silken::yield_now();
                [first, count(), count()]
            })
        })
        .collect();
    barrier.wait();
    let library = open(build("fixed", COUNTER, &[STATIC]));
    count.store(library.function("count") as usize, SeqCst);
    go.store(true, SeqCst);
    for live in live {
        assert_eq!(live.join().unwrap(), [43, 44, 45]);
    }
    counts(&runtime, library.function("count"));
    let untouched = library.function("untouched");
    for _ in 0..8 {
        assert_eq!(runtime.spawn(move || untouched()).join().unwrap(), 1);
    }
    let second = Library::open(&build("second", COUNTER, &[STATIC]));
    counts(&runtime, second.function("count"));
    counts(&runtime, library.function("count"));
}

#[test]
fn main_loads_a_library_with_static_thread_locals() {
    in_a_process_of_its_own("libraries::main_loads_a_library_with_static_thread_locals", || {
        static_library(|path| Library::open(&path));
    });
}

#[test]
fn a_thread_loads_a_library_with_static_thread_locals() {
    in_a_process_of_its_own("libraries::a_thread_loads_a_library_with_static_thread_locals", || {
        static_library(|path| std::thread::spawn(move || Library::open(&path)).join().unwrap());
    });
}

#[test]
fn a_coroutine_loads_a_library_with_static_thread_locals() {
    in_a_process_of_its_own(
        "libraries::a_coroutine_loads_a_library_with_static_thread_locals",
        || {
            static_library(|path| {
                silken::spawn(move || {
                    let library = Library::open(&path);
                    assert_eq!(library.function("untouched")(), 1);
                    library
                })
                .join()
                .unwrap()
            });
        },
    );
}

/// Many coroutines load the same library at once; whoever returns may use it.
#[test]
fn a_library_is_ready_when_its_loader_returns() {
    in_a_process_of_its_own("libraries::a_library_is_ready_when_its_loader_returns", || {
        let path = build("fixed", COUNTER, &[STATIC]);
        let runtime = runtime(4);
        let loaders: Vec<_> = (0..64)
            .map(|_| {
                let path = path.clone();
                runtime.spawn(move || Library::open(&path).function("count")())
            })
            .collect();
        for loader in loaders {
            assert_eq!(loader.join().unwrap(), 43);
        }
    });
}

/// The name is bare, and only the library that asks knows where it is: the C library must see who asks.
#[test]
fn a_library_finds_its_own_plug_in() {
    const HOST: &str = "
        #include <dlfcn.h>
        int (*plug(void))(void) {
            void *handle = dlopen(\"libplugged.so\", RTLD_NOW);
            return handle ? (int (*)(void))dlsym(handle, \"count\") : 0;
        }
    ";
    in_a_process_of_its_own("libraries::a_library_finds_its_own_plug_in", || {
        let runtime = runtime(1);
        runtime.spawn(|| ()).join().unwrap();
        build("plugged", COUNTER, &[STATIC]);
        let host = Library::open(&build("host", HOST, &["-Wl,-rpath,$ORIGIN"]));
        // SAFETY: S7: the host's function has this type.
        let plug =
            unsafe { std::mem::transmute::<Function, extern "C" fn() -> Option<Function>>(host.function("plug")) };
        let count = plug().expect("libplugged.so lies beside the host");
        // Nobody told us of this load. The next that we hear of makes it good.
        Library::open(&build("any", "int nothing(void) { return 0; }", &[]));
        counts(&runtime, count);
    });
}

#[test]
fn a_missing_library_is_reported_as_by_dlopen() {
    in_a_process_of_its_own("libraries::a_missing_library_is_reported_as_by_dlopen", || {
        let message = runtime(1)
            .spawn(|| {
                // SAFETY: S7: a name with its end.
                assert!(unsafe { libc::dlopen(c"/nonexistent.so".as_ptr(), libc::RTLD_NOW) }.is_null());
                // SAFETY: S7: takes nothing; there was an error just now.
                let message: *const c_char = unsafe { libc::dlerror() };
                assert!(!message.is_null());
                // SAFETY: S7: a C string that lives until the next call.
                unsafe { std::ffi::CStr::from_ptr(message) }
                    .to_string_lossy()
                    .into_owned()
            })
            .join()
            .unwrap();
        assert!(message.contains("/nonexistent.so"), "{message}");
    });
}
