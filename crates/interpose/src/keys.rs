//! Which pthread keys does the process have, and what are their destructors?
//!
//! A coroutine with its own thread block has its own `pthread_getspecific` values, and their destructors must run when
//! it ends. glibc does not publish its list of keys. So this module records each creation and deletion from the first
//! constructor on: keys made before the runtime starts count too (OpenSSL's are).
//!
//! There is one word per key: 0 means free, 1 means in use without a destructor, and any other value is the
//! destructor's address. Since it is one word, a reader never sees the destructor of one key with the life of another.
//!
//! **The race.** `create` calls the C library first and records afterwards: until `create` returns, no other code knows
//! the number. `delete` clears the record first and calls the C library afterwards. Once the C library has the number
//! back it may hand it out again, and a late clear would erase the record of the new key. A destructor read just before
//! its key is deleted may still be called afterwards. The C library's own loop at thread exit has the same window, and
//! POSIX leaves that to the program.
//!
//! The C library has one table of keys and three names for making one: POSIX's, its own for libstdc++
//! (`__pthread_key_create`), and C11's `tss_create`. All three are recorded. A key that libc.so makes for itself is not
//! seen.

use core::sync::atomic::{AtomicUsize, Ordering};

use libc::{c_int, c_void, pthread_key_t};

use crate::next::{self, Destructor};

/// glibc's `PTHREAD_KEYS_MAX`, part of its ABI: every number that it hands out is smaller.
const KEY_COUNT_MAX: usize = 1024;

const FREE: usize = 0;
const WITHOUT_DESTRUCTOR: usize = 1;

static KEYS: [AtomicUsize; KEY_COUNT_MAX] = [const { AtomicUsize::new(FREE) }; KEY_COUNT_MAX];

/// One more than the highest key ever recorded. It bounds the walk, since programs use a few dozen keys at most.
static END: AtomicUsize = AtomicUsize::new(0);

/// Calls `visit` for each key in use, with the key's destructor, lowest number first.
pub fn for_each_key(mut visit: impl FnMut(pthread_key_t, Destructor)) {
    // Acquire: pairs with the Release in `record`, so that each key below the end is seen with its destructor.
    let end = END.load(Ordering::Acquire);
    for (key, word) in (0..).zip(&KEYS[..end]) {
        // Acquire: pairs with the Release in `record`: what the maker of the key prepared for its destructor is seen.
        match word.load(Ordering::Acquire) {
            FREE => {}
            WITHOUT_DESTRUCTOR => visit(key, None),
            address => visit(key, destructor_at(address)),
        }
    }
}

fn destructor_at(address: usize) -> Destructor {
    let address = core::ptr::with_exposed_provenance::<c_void>(address);
    // SAFETY: S7: only `record` stores such words, and it stores the address of a function of this type.
    Some(unsafe { core::mem::transmute::<*const c_void, unsafe extern "C" fn(*mut c_void)>(address) })
}

fn record(key: pthread_key_t, destructor: Destructor) {
    let Some(word) = KEYS.get(key as usize) else {
        return;
    };
    let value = destructor.map_or(WITHOUT_DESTRUCTOR, |destructor| {
        (destructor as *const c_void).expose_provenance()
    });
    // Release: pairs with the Acquire of the word in `for_each_key`.
    word.store(value, Ordering::Release);
    // Release: pairs with the Acquire of the end in `for_each_key`.
    END.fetch_max(key as usize + 1, Ordering::Release);
}

fn forget(key: pthread_key_t) {
    if let Some(word) = KEYS.get(key as usize) {
        // Relaxed: a reader that still sees the old word is in the window that the head of this file describes.
        word.store(FREE, Ordering::Relaxed);
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_key_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let error = unsafe { next::pthread_key_create(key, destructor) };
    if error == 0 {
        // SAFETY: S7: the C library has just written it.
        record(unsafe { key.read() }, destructor);
    }
    error
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_key_delete(key: pthread_key_t) -> c_int {
    forget(key);
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::pthread_key_delete(key) }
}

/// `pthread_key_create` under the name that libstdc++ uses.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __pthread_key_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int {
    // SAFETY: S7: the same function.
    unsafe { pthread_key_create(key, destructor) }
}

/// C11's form: a `tss_t` is a key, and the result 0 means success here too.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn tss_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let error = unsafe { next::tss_create(key, destructor) };
    if error == 0 {
        // SAFETY: S7: the C library has just written it.
        record(unsafe { key.read() }, destructor);
    }
    error
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn tss_delete(key: pthread_key_t) {
    forget(key);
    // SAFETY: S7: the caller's argument under the caller's contract.
    unsafe { next::tss_delete(key) }
}
