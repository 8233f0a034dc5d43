//! A coroutine's identity is used again for the next one, which finds what a new thread finds.
//!
//! What threads do as well is tested in the conformance suite (`ends`); here is what only coroutines have, and what
//! must not pile up.

use silken::Runtime;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, LazyLock, mpsc};

/// Runs `body` in a process of its own, which is this test alone; `name` is the test's, as libtest has it.
pub fn in_a_process_of_its_own(name: &str, body: impl FnOnce()) {
    const VARIABLE: &str = "SILKEN_OWN_PROCESS";
    if std::env::var_os(VARIABLE).is_some() {
        return body();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(VARIABLE, "1")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(text.contains("1 passed"), "the name is wrong: {text}");
}

fn runtime() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

thread_local! {
    static TEXTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static MAKER: Maker = const { Maker };
    static SPAWNER: Spawner = const { Spawner };
}

silken::coroutine_local! {
    static TOUCHER: Cell<Option<Toucher>> = Cell::new(None);
}

static TOUCHED: AtomicUsize = AtomicUsize::new(0);

/// Nothing, where the list was destroyed already.
fn push(number: usize) {
    let _ = TEXTS.try_with(|texts| texts.borrow_mut().push(number.to_string()));
}

/// Likewise.
fn make_toucher() {
    let _ = TOUCHER.try_with(|toucher| toucher.set(Some(Toucher)));
}

fn assert_fresh() {
    TEXTS.with_borrow_mut(|texts| {
        assert!(texts.is_empty(), "values of a coroutine that has ended");
        texts.extend((0..4).map(|number| number.to_string()));
    });
}

/// Makes a thread-local when all of them were destroyed.
struct Toucher;
impl Drop for Toucher {
    fn drop(&mut self) {
        TOUCHED.fetch_add(1, SeqCst);
        push(1);
    }
}

/// Makes a coroutine-local when all of them were destroyed.
struct Maker;
impl Drop for Maker {
    fn drop(&mut self) {
        make_toucher();
    }
}

/// Runs whole coroutines from its destructor, in the middle of the end of this one.
struct Spawner;
impl Drop for Spawner {
    fn drop(&mut self) {
        for _ in 0..3 {
            silken::spawn(assert_fresh).join().unwrap();
            silken::spawn(|| MAKER.with(|_| ())).join().unwrap();
        }
        push(2);
    }
}

extern "C" fn end_of_key(_: *mut c_void) {
    make_toucher();
    let _ = MAKER.try_with(|_| ());
    push(3);
}

/// Sets the value again, so that all rounds are used and a value is left.
extern "C" fn stubborn(value: *mut c_void) {
    set(*STUBBORN, value.addr());
    end_of_key(value);
}

fn make_key(destructor: extern "C" fn(*mut c_void)) -> libc::pthread_key_t {
    // SAFETY: S7: a safe function may be called unsafely.
    let destructor =
        unsafe { std::mem::transmute::<extern "C" fn(*mut c_void), unsafe extern "C" fn(*mut c_void)>(destructor) };
    let mut key = 0;
    // SAFETY: S7: a place for the key.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(destructor)) }, 0);
    key
}

static KEY: LazyLock<libc::pthread_key_t> = LazyLock::new(|| make_key(end_of_key));
static STUBBORN: LazyLock<libc::pthread_key_t> = LazyLock::new(|| make_key(stubborn));

fn set(key: libc::pthread_key_t, value: usize) {
    assert_eq!(
        // SAFETY: S7: nobody follows the value.
        unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(value)) },
        0
    );
}

fn get(key: libc::pthread_key_t) -> usize {
    // SAFETY: S7: a key that exists.
    unsafe { libc::pthread_getspecific(key) }.addr()
}

/// Each kind of destructor makes values of the others: all are destroyed, once, and the next coroutine finds none.
#[test]
fn destructors_make_values_of_every_kind() {
    in_a_process_of_its_own("recycling::destructors_make_values_of_every_kind", || {
        let runtime = runtime();
        let bodies: [fn(); 5] = [
            || MAKER.with(|_| ()),
            || set(*KEY, 1),
            || set(*STUBBORN, 1),
            || SPAWNER.with(|_| ()),
            || {
                set(*STUBBORN, 1);
                set(*KEY, 1);
                SPAWNER.with(|_| ());
                TOUCHER.set(Some(Toucher));
            },
        ];
        for _ in 0..20 {
            for body in bodies {
                let before = TOUCHED.load(SeqCst);
                runtime.spawn(body).join().unwrap();
                assert!(TOUCHED.load(SeqCst) > before);
                runtime.spawn(assert_fresh).join().unwrap();
                let left = runtime.spawn(|| (get(*KEY), get(*STUBBORN))).join().unwrap();
                assert_eq!(left, (0, 0));
            }
        }
    });
}

/// Bytes on the C library's heap.
fn heap_bytes() -> usize {
    // SAFETY: S7: takes nothing.
    unsafe { libc::mallinfo2() }.uordblks
}

unsafe extern "C" {
    fn __res_state() -> *mut c_void;
    fn __res_init() -> c_int;
}

/// Things that the C library keeps for a thread on the heap: none of them piles up, one per coroutine.
#[test]
#[expect(clippy::disallowed_methods, reason = "its buffer is the question")]
fn what_the_c_library_keeps_does_not_pile_up() {
    in_a_process_of_its_own("recycling::what_the_c_library_keeps_does_not_pile_up", || {
        const COROUTINES: usize = 20_000;
        let runtime = runtime();
        let bodies: [fn(); 4] = [
            // SAFETY: S7: any number may be asked for.
            || assert!(!unsafe { libc::strerror(0x7fff_1234) }.is_null()),
            // SAFETY: S7: a name with its end.
            || assert!(unsafe { libc::dlopen(c"/nonexistent.so".as_ptr(), libc::RTLD_NOW) }.is_null()),
            // SAFETY: S7: takes nothing.
            || assert_eq!(unsafe { __res_init() }, 0),
            || push(4),
        ];
        for body in bodies {
            let many = move || (0..COROUTINES).for_each(|_| silken::spawn(body).join().unwrap());
            runtime
                .spawn(move || silken::spawn(body).join().unwrap())
                .join()
                .unwrap();
            let before = heap_bytes();
            runtime.spawn(many).join().unwrap();
            let grown = heap_bytes().saturating_sub(before);
            assert!(grown < 16 * COROUTINES, "{grown} bytes for {COROUTINES} coroutines");
        }
    });
}

/// The resolver's state is a coroutine's own, and fresh.
#[test]
fn the_resolver_is_a_coroutines_own() {
    const OPTIONS: usize = 1;
    fn state() -> *const usize {
        // SAFETY: S7: takes nothing.
        unsafe { __res_state() }.cast()
    }
    fn options() -> usize {
        // SAFETY: S3: the coroutine's own state, whose second word are the options.
        unsafe { state().wrapping_add(OPTIONS).read() }
    }
    let runtime = runtime();
    let mains = state() as usize;
    for _ in 0..3 {
        runtime
            .spawn(move || {
                assert_ne!(state() as usize, mains);
                assert_eq!(options(), 0);
                // SAFETY: S7: takes nothing.
                assert_eq!(unsafe { __res_init() }, 0);
                assert_ne!(options(), 0);
                let other = silken::spawn(|| (state() as usize, options())).join().unwrap();
                assert_ne!(other.0, state() as usize);
                assert_eq!(other.1, 0);
            })
            .join()
            .unwrap();
    }
}

/// The owner that a recursive mutex notes.
fn own_tid() -> u32 {
    let mutex = std::cell::UnsafeCell::new(libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP);
    // SAFETY: S7: a mutex of our own.
    assert_eq!(unsafe { libc::pthread_mutex_lock(mutex.get()) }, 0);
    // SAFETY: S7: `__owner` follows the lock word and the count, in the ABI since there are recursive mutexes.
    let owner = unsafe { mutex.get().cast::<u32>().wrapping_add(2).read() };
    // SAFETY: S7: locked above.
    assert_eq!(unsafe { libc::pthread_mutex_unlock(mutex.get()) }, 0);
    owner
}

/// Neither like the kernel's nor with a flag of the lock word, and no two alike.
#[test]
fn tids_of_live_coroutines_are_unique() {
    const LIVE: usize = 300;
    let runtime = Runtime::builder().workers(2).build().unwrap();
    for _ in 0..3 {
        let barrier = Arc::new(Barrier::new(LIVE));
        let live: Vec<_> = (0..LIVE)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                runtime.spawn(move || {
                    barrier.wait();
                    let tid = own_tid();
                    barrier.wait();
                    tid
                })
            })
            .collect();
        let tids: HashSet<u32> = live.into_iter().map(|unit| unit.join().unwrap()).collect();
        assert_eq!(tids.len(), LIVE);
        assert!(tids.iter().all(|tid| (1 << 22..1 << 30).contains(tid)));
    }
}

/// A mutex of this kind would name its owner to the kernel, which knows no coroutines.
#[test]
fn protocols_that_need_the_kernels_tid_are_refused() {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: S7: a place for attributes.
    assert_eq!(unsafe { libc::pthread_mutexattr_init(attributes) }, 0);
    for (protocol, answer) in [
        (libc::PTHREAD_PRIO_INHERIT, libc::ENOTSUP),
        (libc::PTHREAD_PRIO_PROTECT, libc::ENOTSUP),
        (libc::PTHREAD_PRIO_NONE, 0),
        (77, libc::EINVAL),
    ] {
        assert_eq!(
            // SAFETY: S7: initialised above.
            unsafe { libc::pthread_mutexattr_setprotocol(attributes, protocol) },
            answer
        );
    }
}

fn stack_of(thread: libc::pthread_t) -> (usize, usize) {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let (mut low, mut bytes) = (std::ptr::null_mut(), 0);
    // SAFETY: S7: a thread, or coroutine, that has not ended.
    assert_eq!(unsafe { libc::pthread_getattr_np(thread, attributes) }, 0);
    assert_eq!(
        // SAFETY: S7: filled in by the call that succeeded.
        unsafe { libc::pthread_attr_getstack(attributes, &mut low, &mut bytes) },
        0
    );
    // SAFETY: S7: filled in as above, and not used again.
    assert_eq!(unsafe { libc::pthread_attr_destroy(attributes) }, 0);
    (low.addr(), bytes)
}

/// Whoever asks about a coroutine that waits is told its stack.
#[test]
fn the_stack_of_another_coroutine_is_known() {
    let runtime = runtime();
    let (sender, receiver) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let waiting = runtime.spawn(move || {
        // SAFETY: S3: asks only.
        let own = unsafe { libc::pthread_self() };
        let local = 0_u8;
        sender.send((own, (&raw const local).addr())).unwrap();
        released.recv().unwrap();
    });
    let (thread, local) = receiver.recv().unwrap();
    let ask = move || {
        let (low, bytes) = stack_of(thread);
        assert!((low..low + bytes).contains(&local));
        assert!(bytes < 1 << 30);
    };
    ask();
    runtime.spawn(ask).join().unwrap();
    release.send(()).unwrap();
    waiting.join().unwrap();
}

/// The C library decides by the size of the stack whether a buffer may lie there.
#[test]
fn the_c_library_knows_how_small_a_stack_is() {
    in_a_process_of_its_own("recycling::the_c_library_knows_how_small_a_stack_is", || {
        let format = || {
            let mut text = vec![0_u8; 20_000];
            // SAFETY: S7: a buffer with its length; one int and one double for the format.
            let length = unsafe {
                libc::snprintf(
                    text.as_mut_ptr().cast(),
                    text.len(),
                    c"%.*f".as_ptr(),
                    9_000 as c_int,
                    0.1_f64,
                )
            };
            assert_eq!(length, 9_002);
        };
        runtime()
            .run(move || {
                for _ in 0..4 {
                    let small = silken::Builder::new().stack_size(16 * 1024);
                    small.spawn(format).unwrap().join().unwrap();
                }
            })
            .unwrap();
    });
}
