//! Identity blocks and the switch, on real hardware: what a thread owns follows the context.

use silken_context::identity::{self, Identity};
use silken_context::switch::{self, Context, Handoff, Resumed};
use std::cell::{Cell, RefCell};
use std::mem::offset_of;

struct Mapped(*mut u8, usize);

fn map(bytes: usize) -> Mapped {
    // SAFETY: S1: a fresh mapping.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    Mapped(memory.cast(), bytes)
}

impl Mapped {
    fn top(&self) -> *mut u8 {
        self.0.wrapping_add(self.1)
    }
}

thread_local! {
    static VALUE: Cell<u32> = const { Cell::new(7) };
    static DROPS: RefCell<Option<Noisy>> = const { RefCell::new(None) };
}

static DROPPED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

struct Noisy;
impl Drop for Noisy {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

struct Pair {
    main: Context,
    side: Context,
    log: RefCell<Vec<String>>,
}

const LEFT: usize = 11;

fn hop(from: &Context, to: &Context) {
    let by = std::ptr::from_ref(from) as usize;
    // SAFETY: S1: the other context is suspended.
    let arrival = unsafe { switch::switch(from, to, Handoff { left: LEFT, by }) };
    assert_eq!(arrival.own, std::ptr::from_ref(from));
    assert_eq!(arrival.message.by, std::ptr::from_ref(to) as usize);
    arrive(&arrival);
}

/// The words of malloc follow whoever runs.
fn arrive(arrival: &Resumed) {
    let facts = identity::facts().unwrap();
    // SAFETY: S3: the two blocks of this test; one OS thread.
    unsafe { facts.carry_allocator(arrival.predecessor_identity, switch::identity_base()) };
    assert_eq!(arrival.message.left, LEFT);
}

unsafe extern "C" fn body(own: *const Context, left: usize, by: usize, predecessor_identity: usize) -> ! {
    arrive(&Resumed {
        own,
        message: Handoff { left, by },
        predecessor_identity,
    });
    let pair = own.wrapping_byte_sub(offset_of!(Pair, side)).cast::<Pair>();
    // SAFETY: S1: the context is part of a Pair that outlives the coroutine.
    let pair = unsafe { &*pair };
    assert_eq!(by, &raw const pair.main as usize);
    let facts = identity::facts().unwrap();
    VALUE.with(|value| {
        assert_eq!(value.get(), 7);
        value.set(8);
    });
    DROPS.with(|slot| *slot.borrow_mut() = Some(Noisy));
    std::fs::File::open("/nonexistent").unwrap_err();
    let id = std::thread::current().id();
    hop(&pair.side, &pair.main);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT));
    assert_eq!(VALUE.get(), 8);
    assert_eq!(std::thread::current().id(), id);
    pair.log.borrow_mut().push(format!("{id:?}"));
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    pair.log.borrow_mut().push(trace);
    let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new("inside"))).unwrap_err();
    assert_eq!(*caught.downcast::<&str>().unwrap(), "inside");
    facts.run_destructors();
    let by = std::ptr::from_ref(&pair.side) as usize;
    // SAFETY: S1: main is suspended.
    unsafe { switch::switch_final(&pair.main, Handoff { left: LEFT, by }) }
}

#[test]
fn what_a_thread_owns_follows_the_context() {
    let facts = identity::facts().expect("this platform has identities");
    let memory = map(256 * 1024);
    // SAFETY: S3: fresh memory.
    let (block, stack_top) = unsafe { Identity::build(facts, memory.0, memory.top()) }.unwrap();
    for round in 0..3 {
        let pair = Pair {
            main: Context::new(),
            side: Context::new(),
            log: RefCell::default(),
        };
        pair.main.set_identity(switch::identity_base());
        pair.side.set_identity(block.base());
        // SAFETY: S1: fresh or recycled memory that nobody uses.
        unsafe { switch::prepare(&pair.side, stack_top, body) };
        VALUE.set(100 + round);
        hop(&pair.main, &pair.side);
        assert_eq!(VALUE.get(), 100 + round);
        assert_eq!(DROPPED.load(std::sync::atomic::Ordering::Relaxed), round);
        hop(&pair.main, &pair.side);
        assert_eq!(VALUE.get(), 100 + round);
        assert_eq!(DROPPED.load(std::sync::atomic::Ordering::Relaxed), round + 1);
        let log = pair.log.borrow();
        assert_ne!(log[0], format!("{:?}", std::thread::current().id()));
        assert!(log[1].contains("body"), "{}", log[1]);
        assert!(
            !log[1].contains("what_a_thread_owns"),
            "the trace must end at the entry: {}",
            log[1]
        );
        // SAFETY: S3: the coroutine has ended.
        assert!(unsafe { block.reset(facts) });
    }
}

#[test]
fn a_block_is_rebuilt_after_use() {
    let facts = identity::facts().expect("this platform has identities");
    let memory = map(64 * 1024);
    // SAFETY: S3: fresh memory.
    let (block, _) = unsafe { Identity::build(facts, memory.0, memory.top()) }.unwrap();
    unsafe extern "C" fn touch(_: *mut u8) {
        assert_eq!(VALUE.get(), 7);
        VALUE.set(9);
    }
    for _ in 0..2 {
        // SAFETY: S3: the block is complete; `touch` neither unwinds nor suspends.
        unsafe { switch::with_identity(block.base(), touch, std::ptr::null_mut()) };
        // SAFETY: S3: nobody runs there.
        unsafe { block.rebuild(facts) }.unwrap();
    }
}

#[test]
fn two_words_of_malloc_are_found() {
    assert_eq!(identity::facts().unwrap().allocator_words(), 2);
}

#[test]
fn the_panic_count_is_found_and_is_the_threads() {
    struct Reads(&'static std::thread::LocalKey<Cell<usize>>, isize);
    impl Drop for Reads {
        fn drop(&mut self) {
            self.0.set(count_at(self.1));
        }
    }
    fn count_at(offset: isize) -> usize {
        let word = switch::identity_base().wrapping_add_signed(offset) as *const usize;
        // SAFETY: S12: the observed word of the calling thread.
        unsafe { word.read_volatile() }
    }
    thread_local! {
        static DURING: Cell<usize> = const { Cell::new(99) };
    }
    identity::learn_panic_count();
    let offset = identity::panic_count_offset().expect("std counts somewhere");
    let look = move || {
        assert_eq!(count_at(offset), 0);
        let unwound = std::panic::catch_unwind(|| {
            let _outer = Reads(&DURING, offset);
            std::panic::resume_unwind(Box::new(()))
        });
        assert!(unwound.map(|(): ()| ()).is_err());
        (DURING.get(), count_at(offset))
    };
    assert_eq!(look(), (1, 0));
    assert_eq!(std::thread::spawn(look).join().unwrap(), (1, 0));
}

/// Runs `body` under the block.
fn under(block: Identity, body: unsafe extern "C" fn(*mut u8)) {
    // SAFETY: S3: the block is complete, nobody runs there, and the bodies of this file do not unwind unless the test
    // fails.
    unsafe { switch::with_identity(block.base(), body, std::ptr::null_mut()) };
}

fn block() -> (Identity, Mapped) {
    let memory = map(64 * 1024);
    // SAFETY: S3: fresh memory.
    let (block, _) = unsafe { Identity::build(identity::facts().unwrap(), memory.0, memory.top()) }.unwrap();
    (block, memory)
}

unsafe extern "C" {
    fn __cxa_thread_atexit_impl(
        run: unsafe extern "C" fn(*mut libc::c_void),
        object: *mut libc::c_void,
        library: *const libc::c_void,
    ) -> libc::c_int;
    fn __h_errno_location() -> *mut libc::c_int;
    fn __ctype_b_loc() -> *const usize;
    fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
}

#[test]
fn a_list_of_destructors_does_not_survive() {
    static RAN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    unsafe extern "C" fn count(_: *mut libc::c_void) {
        RAN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    unsafe extern "C" fn register(_: *mut u8) {
        let library = count as *const libc::c_void;
        assert_eq!(
            // SAFETY: S7: a destructor that asks for nothing.
            unsafe { __cxa_thread_atexit_impl(count, std::ptr::null_mut(), library) },
            0
        );
    }
    unsafe extern "C" fn run(_: *mut u8) {
        assert!(identity::facts().unwrap().run_destructors());
        assert!(!identity::facts().unwrap().run_destructors());
    }
    unsafe extern "C" fn run_none(_: *mut u8) {
        assert!(!identity::facts().unwrap().run_destructors());
    }
    let (block, _memory) = block();
    under(block, register);
    under(block, run);
    assert_eq!(RAN.load(std::sync::atomic::Ordering::Relaxed), 1);
    under(block, register);
    // SAFETY: S3: nobody runs there.
    assert!(unsafe { block.reset(identity::facts().unwrap()) });
    under(block, run_none);
    assert_eq!(RAN.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn what_the_c_library_keeps_is_as_in_a_new_thread() {
    unsafe extern "C" fn soil(_: *mut u8) {
        // SAFETY: S7: a locale that every glibc knows.
        let locale = unsafe { libc::newlocale(libc::LC_ALL_MASK, c"C.UTF-8".as_ptr(), std::ptr::null_mut()) };
        // SAFETY: S7: made above.
        assert_eq!(unsafe { libc::uselocale(locale) } as isize, -1);
        // SAFETY: S7: takes nothing.
        let place = unsafe { __h_errno_location() };
        // SAFETY: S3: the block's own.
        unsafe { place.write(7) };
        // SAFETY: S7: a name with its end.
        unsafe { libc::dlopen(c"/nonexistent.so".as_ptr(), libc::RTLD_NOW) };
        let mut old = -1;
        // SAFETY: S7: "disable", and a place for the old state.
        assert_eq!(unsafe { pthread_setcancelstate(1, &mut old) }, 0);
        assert_eq!(old, 0);
        identity::facts().unwrap().end_life();
    }
    unsafe extern "C" fn look(_: *mut u8) {
        // SAFETY: S7: asks only.
        assert_eq!(unsafe { libc::uselocale(std::ptr::null_mut()) } as isize, -1);
        // SAFETY: S7: takes nothing.
        let place = unsafe { __h_errno_location() };
        // SAFETY: S3: the block's own.
        assert_eq!(unsafe { place.read() }, 0);
        // SAFETY: S7: takes nothing.
        assert!(unsafe { libc::dlerror() }.is_null());
        let mut old = -1;
        // SAFETY: S7: "enable", and a place for the old state.
        assert_eq!(unsafe { pthread_setcancelstate(0, &mut old) }, 0);
        assert_eq!(old, 0);
    }
    let (block, _memory) = block();
    for _ in 0..3 {
        under(block, soil);
        // SAFETY: S3: nobody runs there.
        assert!(unsafe { block.reset(identity::facts().unwrap()) });
        under(block, look);
    }
}

/// A new thread's tables are those of the locale that the process has set meanwhile.
#[test]
fn ctype_tables_follow_the_process() {
    static TABLE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    unsafe extern "C" fn note(_: *mut u8) {
        // SAFETY: S7: takes nothing.
        let table = unsafe { __ctype_b_loc() };
        // SAFETY: S3: a word of the running identity.
        TABLE.store(unsafe { table.read() }, std::sync::atomic::Ordering::Relaxed);
    }
    fn of_a_new_thread() -> usize {
        // SAFETY: S3: the thread's own word.
        std::thread::spawn(|| unsafe { note(std::ptr::null_mut()) })
            .join()
            .unwrap();
        TABLE.load(std::sync::atomic::Ordering::Relaxed)
    }
    let (block, _memory) = block();
    let before = of_a_new_thread();
    // SAFETY: S7: a locale that every glibc knows; the other tests of this process do not care.
    assert!(!unsafe { libc::setlocale(libc::LC_CTYPE, c"C.UTF-8".as_ptr()) }.is_null());
    let after = of_a_new_thread();
    assert_ne!(before, after);
    // SAFETY: S3: nobody runs there.
    assert!(unsafe { block.reset(identity::facts().unwrap()) });
    under(block, note);
    assert_eq!(TABLE.load(std::sync::atomic::Ordering::Relaxed), after);
}

#[test]
fn a_block_tells_its_stack_and_a_thread_is_no_block() {
    let (block, memory) = block();
    // SAFETY: S7: a live block.
    let stack = unsafe { identity::stack_of(block.base()) }.expect("the C library notes it");
    assert_eq!(stack.bottom, memory.0 as usize);
    assert!(stack.bytes <= memory.1 && stack.bottom + stack.bytes > block.base());
    // SAFETY: S7: the running thread, whose block's address is its handle.
    assert_eq!(unsafe { identity::stack_of(switch::identity_base()) }, None);
}
