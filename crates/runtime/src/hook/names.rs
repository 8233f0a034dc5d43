//! How does a coroutine look up a name (`getaddrinfo`, `getnameinfo`)? A thread of the offload pool makes the whole
//! call.
//!
//! The resolver makes its calls inside the C library, where no hook sees them, and loads whatever modules the system is
//! configured with. So the call as a whole is made on another thread. The memory that it allocates is freed by
//! `freeaddrinfo` from any thread. The look-up cannot be cancelled: the resolver's own timeouts end it.
//!
//! # Callers with the same question share one look-up
//! Many connections to one server ask for one name. A caller whose question is already being looked up waits for that
//! answer, and takes a copy of it. Nothing is kept beyond the answer: the next caller with the question starts a new
//! look-up. A copy has glibc's layout, which glibc's `freeaddrinfo` takes apart: a block for each entry with the
//! address behind it, and one for the canonical name.
//!
//! A call that needs no look-up passes: one without a host, or one whose flags promise that the host is a number.
//! Results are error numbers of their own kind. errno counts only with `EAI_SYSTEM`, and is then carried over from the
//! thread to the caller. `gethostbyname` and its relatives, which answer in static or thread-local memory, are left
//! alone and block the worker.

use super::call::errno;
use super::call::{caller, set_errno};
use crate::coroutine::{Critical, WaitCell};
use crate::io::memory::faults;
use crate::offload;
use crate::sys::{Lock, StaticLock};
use libc::{addrinfo, c_char, c_int, sockaddr, socklen_t};
use silken_interpose::next;
use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::{Arc, OnceLock};

/// The question of a look-up.
#[derive(Clone, PartialEq, Eq)]
struct Question {
    node: CString,
    service: Option<CString>,
    /// Flags, family, type and protocol.
    hints: Option<[c_int; 4]>,
}

/// The answer of a look-up. Owns the list.
struct Answer {
    result: c_int,
    errno: c_int,
    list: *mut addrinfo,
}

// SAFETY: S7: a list of malloc's blocks, which any thread may read and free.
unsafe impl Send for Answer {}
// SAFETY: S7: a list of malloc's blocks, to which no code writes.
unsafe impl Sync for Answer {}

/// A look-up in progress.
struct LookUp {
    question: Question,
    answer: OnceLock<Answer>,
    waiters: Lock<Vec<Arc<WaitCell>>>,
}

/// The look-ups in progress. They are few at any time, so a search goes through all.
static LOOK_UPS: StaticLock<Vec<Arc<LookUp>>> = StaticLock::new(Vec::new());

impl Question {
    /// # Safety
    /// S7: the arguments of `getaddrinfo`, which reads them as well.
    unsafe fn of(node: *const c_char, service: *const c_char, hints: *const addrinfo) -> Self {
        let text = |place: *const c_char| {
            // SAFETY: S7: the caller's text.
            let text = (!place.is_null()).then(|| unsafe { CStr::from_ptr(place) });
            text.map(CStr::to_owned)
        };
        // SAFETY: S7: null or the caller's, readable.
        let hints = unsafe { hints.as_ref() };
        Self {
            node: text(node).unwrap_or_default(),
            service: text(service),
            hints: hints.map(|hints| [hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol]),
        }
    }

    /// Asks the C library; blocks the thread.
    fn ask(&self) -> Answer {
        // SAFETY: S7: all zeros is an empty structure.
        let mut hints: addrinfo = unsafe { std::mem::zeroed() };
        if let Some(given) = self.hints {
            [hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol] = given;
        }
        let hints = self.hints.map_or(ptr::null(), |_| &raw const hints);
        let service = self.service.as_ref().map_or(ptr::null(), |service| service.as_ptr());
        let mut list = ptr::null_mut();
        // SAFETY: S7: live texts and places.
        let result = unsafe { next::getaddrinfo(self.node.as_ptr(), service, hints, &mut list) };
        Answer {
            result,
            errno: errno(),
            list: if result == 0 { list } else { ptr::null_mut() },
        }
    }
}

impl Answer {
    /// Copies the list for a caller. Fails with an error number if there is no memory for it.
    fn copy(&self) -> Result<*mut addrinfo, c_int> {
        let mut first = ptr::null_mut();
        let mut link: *mut *mut addrinfo = &mut first;
        let mut at = self.list.cast_const();
        // SAFETY: S7: entries of the list that this owns.
        while let Some(entry) = unsafe { at.as_ref() } {
            // SAFETY: S7: entries of the list that this owns.
            let Some(copy) = (unsafe { copy_entry(entry) }) else {
                // SAFETY: S7: a list of such entries, whole so far.
                unsafe { libc::freeaddrinfo(first) };
                return Err(libc::EAI_MEMORY);
            };
            // SAFETY: S7: a local, or the field of an entry that was just made.
            unsafe { link.write(copy) };
            // SAFETY: S7: a local, or the field of an entry that was just made.
            link = unsafe { &raw mut (*copy).ai_next };
            at = entry.ai_next;
        }
        Ok(first)
    }

    /// Passes the list on to the caller.
    fn into_list(mut self) -> *mut addrinfo {
        std::mem::replace(&mut self.list, ptr::null_mut())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.list.is_null() {
            // SAFETY: S7: the C library's list, which only this answer owns.
            unsafe { libc::freeaddrinfo(self.list) };
        }
    }
}

/// # Safety
/// S7: an entry of a list of `getaddrinfo`.
unsafe fn copy_entry(entry: &addrinfo) -> Option<*mut addrinfo> {
    let address_bytes = if entry.ai_addr.is_null() {
        0
    } else {
        entry.ai_addrlen as usize
    };
    // SAFETY: S7: malloc takes any size.
    let copy = unsafe { libc::malloc(size_of::<addrinfo>() + address_bytes) }.cast::<addrinfo>();
    if copy.is_null() {
        return None;
    }
    let mut new = *entry;
    new.ai_next = ptr::null_mut();
    if address_bytes > 0 {
        new.ai_addr = copy.wrapping_add(1).cast::<sockaddr>();
        // SAFETY: S7: the entry's address, and the room for it.
        unsafe { ptr::copy_nonoverlapping(entry.ai_addr.cast::<u8>(), new.ai_addr.cast::<u8>(), address_bytes) };
    }
    if !entry.ai_canonname.is_null() {
        // SAFETY: S7: the entry's text.
        new.ai_canonname = unsafe { libc::strdup(entry.ai_canonname) };
        if new.ai_canonname.is_null() {
            // SAFETY: S7: malloc's, and no other code has seen it.
            unsafe { libc::free(copy.cast()) };
            return None;
        }
    }
    // SAFETY: S7: room for it.
    unsafe { copy.write(new) };
    Some(copy)
}

/// The role of a caller: it asks, or it waits for the same answer.
enum Role {
    Asks(Arc<LookUp>),
    Waits(Arc<LookUp>, Arc<WaitCell>),
}

impl Role {
    fn of(question: Question) -> Self {
        let cell = Arc::new(WaitCell::new());
        let _critical = Critical::enter();
        let mut look_ups = LOOK_UPS.lock();
        if let Some(same) = look_ups.iter().find(|other| other.question == question) {
            same.waiters.lock().push(cell.clone());
            return Self::Waits(same.clone(), cell);
        }
        let look_up = Arc::new(LookUp {
            question,
            answer: OnceLock::new(),
            waiters: Lock::new(Vec::new()),
        });
        look_ups.push(look_up.clone());
        Self::Asks(look_up)
    }
}

/// Ends a look-up: from here on no caller joins it, and those that have joined it are woken.
fn publish(look_up: &Arc<LookUp>, answer: Answer) {
    let waiters = {
        let _critical = Critical::enter();
        let _ = look_up.answer.set(answer);
        LOOK_UPS.lock().retain(|other| !Arc::ptr_eq(other, look_up));
        std::mem::take(&mut *look_up.waiters.lock())
    };
    waiters.iter().for_each(|cell| offload::settle(cell));
}

/// The caller's part of the answer: the result, errno, and a list.
fn take_answer(look_up: Arc<LookUp>) -> (c_int, c_int, *mut addrinfo) {
    // The only caller, or the last one, gets the list itself.
    match Arc::try_unwrap(look_up) {
        Ok(look_up) => {
            let answer = look_up.answer.into_inner().expect("published before");
            (answer.result, answer.errno, answer.into_list())
        }
        Err(look_up) => {
            let answer = look_up.answer.get().expect("published before");
            match answer.copy() {
                Ok(list) => (answer.result, answer.errno, list),
                Err(error) => (error, 0, ptr::null_mut()),
            }
        }
    }
}

/// The hook of `getaddrinfo(3)`.
///
/// # Safety
/// The contract of the C function.
pub(super) unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    results: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: S7: on a coroutine the fault handler is in place.
    if caller().is_none() || node.is_null() || unsafe { faults(hints, 1) } {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::getaddrinfo(node, service, hints, results) };
    }
    // SAFETY: S7: null or the caller's, readable.
    let is_numeric = unsafe { hints.as_ref() }.is_some_and(|hints| hints.ai_flags & libc::AI_NUMERICHOST != 0);
    if is_numeric {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::getaddrinfo(node, service, hints, results) };
    }
    // SAFETY: S7: the caller's arguments.
    let look_up = match Role::of(unsafe { Question::of(node, service, hints) }) {
        Role::Asks(look_up) => {
            let question = look_up.question.clone();
            publish(&look_up, offload::run(move || question.ask()));
            look_up
        }
        Role::Waits(look_up, cell) => {
            offload::wait_for(&cell);
            look_up
        }
    };
    let (result, number, list) = take_answer(look_up);
    if result == 0 {
        // SAFETY: S7: the caller's place.
        unsafe { results.write(list) };
    } else if result == libc::EAI_SYSTEM {
        set_errno(number);
    }
    result
}

/// The hook of `getnameinfo(3)`.
///
/// # Safety
/// The contract of the C function.
pub(super) unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    address_bytes: socklen_t,
    host: *mut c_char,
    host_bytes: socklen_t,
    service: *mut c_char,
    service_bytes: socklen_t,
    flags: c_int,
) -> c_int {
    if caller().is_none() || host.is_null() || flags & libc::NI_NUMERICHOST != 0 {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::getnameinfo(address, address_bytes, host, host_bytes, service, service_bytes, flags) };
    }
    let address = address.expose_provenance();
    let texts = [host, service].map(<*mut c_char>::expose_provenance);
    let (result, number) = offload::run(move || {
        let address = ptr::with_exposed_provenance(address);
        let [host, service] = texts.map(ptr::with_exposed_provenance_mut);
        // SAFETY: S5: all are the caller's; the caller waits until this call has ended.
        let result =
            unsafe { next::getnameinfo(address, address_bytes, host, host_bytes, service, service_bytes, flags) };
        (result, errno())
    });
    if result == libc::EAI_SYSTEM {
        set_errno(number);
    }
    result
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn lengths(mut at: *const addrinfo) -> Vec<(c_int, socklen_t)> {
        let mut all = Vec::new();
        // SAFETY: S7: a list of the C library's, or a copy.
        while let Some(entry) = unsafe { at.as_ref() } {
            all.push((entry.ai_family, entry.ai_addrlen));
            at = entry.ai_next;
        }
        all
    }

    #[test]
    fn a_copy_is_a_list_of_its_own() {
        let question = Question {
            node: c"localhost".into(),
            service: Some(c"80".into()),
            hints: Some([libc::AI_CANONNAME, libc::AF_INET, libc::SOCK_STREAM, 0]),
        };
        let answer = question.ask();
        assert_eq!(answer.result, 0);
        let copy = answer.copy().unwrap();
        assert_eq!(lengths(copy), lengths(answer.list));
        // SAFETY: S7: the first of a list that is not empty.
        let [first, original] = [copy, answer.list].map(|list| unsafe { &*list });
        assert!(!ptr::eq(first, original) && !ptr::eq(first.ai_canonname, original.ai_canonname));
        // SAFETY: S7: a text each.
        let [name, original_name] = [first, original].map(|entry| unsafe { CStr::from_ptr(entry.ai_canonname) });
        assert_eq!(name, original_name);
        drop(answer);
        // SAFETY: S7: the copy does not depend on what it was made of; malloc's blocks are freed one by one.
        unsafe { libc::freeaddrinfo(copy) };
    }
}
