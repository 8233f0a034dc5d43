//! Without a table every symbol is the C library's, and keys are recorded all the same.
//!
//! One test function: nothing in this process may install a table, and the number of keys must hold still.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use libc::{c_int, c_void, pthread_key_t};
use silken_interpose::{Destructor, for_each_key, installed, link};

fn keys() -> BTreeMap<pthread_key_t, Destructor> {
    let mut keys = BTreeMap::new();
    for_each_key(|key, destructor| assert!(keys.insert(key, destructor).is_none()));
    keys
}

unsafe extern "C" fn destructor(_: *mut c_void) {}

fn make_key(destructor: Destructor) -> pthread_key_t {
    let mut key = 0;
    // SAFETY: S7: a valid place for the key.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, destructor) }, 0);
    key
}

fn sockets_and_channels_work() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    near.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(near.read(&mut [0]).is_err());
    far.write_all(b"x").unwrap();
    assert_eq!(near.read(&mut [0; 4]).unwrap(), 1);
    let (mut left, mut right) = UnixStream::pair().unwrap();
    left.write_all(b"yz").unwrap();
    drop(left);
    let mut text = String::new();
    assert_eq!(right.read_to_string(&mut text).unwrap(), 2);
    let (sender, receiver) = mpsc::sync_channel(0);
    let other = thread::spawn(move || sender.send(5).unwrap());
    assert_eq!(receiver.recv(), Ok(5));
    other.join().unwrap();
}

fn sleeps_sleep() {
    for sleep in [
        || thread::sleep(Duration::from_millis(5)),
        // SAFETY: S7: no pointer.
        || assert_eq!(unsafe { libc::usleep(5_000) }, 0),
    ] {
        let start = Instant::now();
        sleep();
        assert!(start.elapsed() >= Duration::from_millis(5));
    }
    // SAFETY: S7: no pointer.
    assert_eq!(unsafe { libc::sched_yield() } as c_int, 0);
}

fn keys_are_recorded() {
    thread_local!(static DROPPED: String = const { String::new() });
    DROPPED.with(|_| ());
    // std keeps one key, with or without destructor, to learn of a thread's end.
    let before = keys();
    assert!(!before.is_empty(), "std's own key is missing");
    let plain = make_key(None);
    let with = make_key(Some(destructor));
    let during = keys();
    assert_eq!(during.len(), before.len() + 2);
    assert!(during[&plain].is_none());
    assert_eq!(
        during[&with].map(|found| found as usize),
        Some(destructor as *const () as usize)
    );
    for key in [plain, with] {
        // SAFETY: S7: a key of ours.
        assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
    }
    keys_of_other_names_are_recorded();
    assert_eq!(keys().len(), before.len());
    // SAFETY: S7: an unused key is an error, not a fault.
    assert_eq!(unsafe { libc::pthread_key_delete(1_000_000) }, libc::EINVAL);
}

/// `pthread_exit` unwinds through its caller, and `vfork` returns twice: neither may meet a frame of ours.
fn frameless_symbols_pass() {
    extern "C-unwind" fn body(_: *mut c_void) -> *mut c_void {
        // SAFETY: S7: a raw thread, with nothing to drop.
        unsafe { pthread_exit(std::ptr::without_provenance_mut(9)) }
    }
    unsafe extern "C-unwind" {
        fn pthread_exit(value: *mut c_void) -> !;
        fn pthread_create(
            thread: *mut libc::pthread_t,
            attributes: *const c_void,
            body: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
            argument: *mut c_void,
        ) -> c_int;
    }
    let mut thread = 0;
    // SAFETY: S7: a place for the thread, default attributes, a body that ends.
    let error = unsafe { pthread_create(&mut thread, std::ptr::null(), body, std::ptr::null_mut()) };
    assert_eq!(error, 0);
    let mut value = std::ptr::null_mut();
    // SAFETY: S7: made above, joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, &mut value) }, 0);
    assert_eq!(value.addr(), 9);

    unsafe extern "C" {
        fn silken_test_vfork() -> libc::pid_t;
    }
    // SAFETY: S7: the child exits with 5 in the same piece of assembly.
    let child = unsafe { silken_test_vfork() };
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: S7: our child, a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 5);
}

std::arch::global_asm!(
    ".globl silken_test_vfork",
    "silken_test_vfork:",
    "sub rsp, 8",
    "call vfork@PLT",
    "test eax, eax",
    "jne 2f",
    "mov edi, 5",
    "call _exit@PLT",
    "2: add rsp, 8",
    "ret",
);

unsafe extern "C" {
    fn __pthread_key_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int;
    fn tss_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int;
    fn tss_delete(key: pthread_key_t);
}

fn keys_of_other_names_are_recorded() {
    let before = keys().len();
    let (mut first, mut second) = (0, 0);
    // SAFETY: S7: a valid place for the key.
    assert_eq!(unsafe { __pthread_key_create(&mut first, Some(destructor)) }, 0);
    // SAFETY: S7: a valid place for the key.
    assert_eq!(unsafe { tss_create(&mut second, Some(destructor)) }, 0);
    let during = keys();
    assert_ne!(first, second);
    assert!(during[&first].is_some() && during[&second].is_some());
    // SAFETY: S7: a key of ours.
    assert_eq!(unsafe { libc::pthread_key_delete(first) }, 0);
    // SAFETY: S7: a key of ours.
    unsafe { tss_delete(second) };
    assert_eq!(keys().len(), before);
}

#[test]
fn everything_passes_without_a_table() {
    link();
    assert!(!installed());
    sockets_and_channels_work();
    sleeps_sleep();
    keys_are_recorded();
    frameless_symbols_pass();
    assert!(!installed());
}
