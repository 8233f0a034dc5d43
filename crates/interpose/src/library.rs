//! How does the dependent learn that `dlopen` or `dlmopen` may have loaded a library, without a change to the calls
//! themselves?
//!
//! glibc uses the return address of `dlopen` to learn which object calls. That object's RUNPATH tells where a bare name
//! is searched, and it decides what `$ORIGIN` and the namespace are. If a wrapper of ours called the next definition,
//! glibc would take our object for the caller. So the entry is a naked function. It saves the caller's registers and
//! decides first:
//!
//! - A call from *our own object* (usually the executable), or a call for a path with a `/` and without `$`, goes to
//!   the wrapper. To the C library the caller is then our object. That is either true, or makes no difference to where
//!   the file is found.
//! - Any other call, and one that loads nothing (no name, or `RTLD_NOLOAD`), jumps to the next definition, as if this
//!   crate were not there. The listener is not told, and has to look again at a time of its own choice.
//!
//! One small difference remains. A library's DT_RPATH (the old form, without RUNPATH) may be meant to serve the
//! dependencies of a path that the library opens. These dependencies are searched as our object's would be.
//!
//! The listener is called on the caller's stack after the load, before the handle is returned. It is called whether or
//! not the load succeeded, since a failed load may have loaded a part. The listener must not load anything itself,
//! except with `RTLD_NOLOAD`.

use core::arch::naked_asm;
use core::ffi::CStr;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use libc::{c_char, c_int, c_long, c_void, size_t};

use crate::next;

static LISTENER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Makes `told` the listener: it is called after each `dlopen` or `dlmopen` that may have loaded a library. Calls that
/// have to go straight to the next definition are not reported (see the head of this file).
pub fn set_library_hook(told: fn()) {
    // Release: pairs with the Acquire in `tell`.
    LISTENER.store(told as *mut (), Ordering::Release);
}

fn tell() {
    // Acquire: pairs with the Release in `set_library_hook`.
    let told = LISTENER.load(Ordering::Acquire);
    if !told.is_null() {
        // SAFETY: S7: only `set_library_hook` writes the word.
        let told = unsafe { mem::transmute::<*mut (), fn()>(told) };
        told();
    }
}

/// The address range of our own object. The end is zero until the range is known.
static OWN_START: AtomicUsize = AtomicUsize::new(0);
static OWN_END: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn find_own_object(info: *mut libc::dl_phdr_info, _bytes: size_t, _data: *mut c_void) -> c_int {
    // SAFETY: S7: dl_iterate_phdr hands a valid record.
    let info = unsafe { &*info };
    let header_count = usize::from(info.dlpi_phnum);
    // SAFETY: S7: the loader keeps that many headers there for the life of the object.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, header_count) };
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let (start, end) = loaded.fold((usize::MAX, 0), |(start, end), header| {
        let low = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        (start.min(low), end.max(low + header.p_memsz as usize))
    });
    if !(start..end).contains(&(find_own_object as *const () as usize)) {
        return 0;
    }
    // Relaxed: ordered by the Release of the end.
    OWN_START.store(start, Ordering::Relaxed);
    // Release: pairs with the Acquire in `is_own`.
    OWN_END.store(end, Ordering::Release);
    1
}

fn is_own(address: usize) -> bool {
    // Acquire: pairs with the Release in `find_own_object`.
    if OWN_END.load(Ordering::Acquire) == 0 {
        // SAFETY: S7: the visitor keeps to the callback's contract.
        unsafe { libc::dl_iterate_phdr(Some(find_own_object), ptr::null_mut()) };
    }
    // Relaxed: stored before the end that was just seen, or by this thread.
    (OWN_START.load(Ordering::Relaxed)..OWN_END.load(Ordering::Relaxed)).contains(&address)
}

/// # Safety
/// `name` is null or a C string (S7).
unsafe fn may_wrap(name: *const c_char, flags: c_int, return_address: usize) -> bool {
    if name.is_null() || flags & libc::RTLD_NOLOAD != 0 {
        return false;
    }
    if is_own(return_address) {
        return true;
    }
    // SAFETY: S7: the caller promises: `name` is null or a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    name.contains(&b'/') && !name.contains(&b'$')
}

/// Returns null if the wrapper is to be called, else the address to jump to.
///
/// # Safety
/// The contract of dlopen (S7).
unsafe extern "C" fn way_of_dlopen(name: *const c_char, flags: c_int, return_address: usize) -> *mut c_void {
    // SAFETY: S7: the caller's arguments.
    if unsafe { may_wrap(name, flags, return_address) } {
        return ptr::null_mut();
    }
    next::dlopen_address()
}

/// The decision of [`way_of_dlopen`], for `dlmopen`.
///
/// # Safety
/// The contract of dlmopen (S7).
unsafe extern "C" fn way_of_dlmopen(
    _namespace: c_long,
    name: *const c_char,
    flags: c_int,
    return_address: usize,
) -> *mut c_void {
    // SAFETY: S7: the caller's arguments.
    if unsafe { may_wrap(name, flags, return_address) } {
        return ptr::null_mut();
    }
    next::dlmopen_address()
}

unsafe extern "C" fn wrap_dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let handle = unsafe { next::dlopen(name, flags) };
    tell();
    handle
}

unsafe extern "C" fn wrap_dlmopen(namespace: c_long, name: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let handle = unsafe { next::dlmopen(namespace, name, flags) };
    tell();
    handle
}

/// `dlopen(3)`. On entry rsp is 8 below a multiple of 16; two pushes and 8 bytes align it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "push rdi",
        ".cfi_adjust_cfa_offset 8",
        "push rsi",
        ".cfi_adjust_cfa_offset 8",
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "mov rdx, [rsp + 24]",
        "call {way}",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "pop rsi",
        ".cfi_adjust_cfa_offset -8",
        "pop rdi",
        ".cfi_adjust_cfa_offset -8",
        "test rax, rax",
        "jz {wrapper}",
        "jmp rax",
        ".cfi_endproc",
        way = sym way_of_dlopen,
        wrapper = sym wrap_dlopen,
    )
}

/// `dlmopen(3)`. On entry rsp is 8 below a multiple of 16; three pushes align it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn dlmopen(namespace: c_long, name: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "push rdi",
        ".cfi_adjust_cfa_offset 8",
        "push rsi",
        ".cfi_adjust_cfa_offset 8",
        "push rdx",
        ".cfi_adjust_cfa_offset 8",
        "mov rcx, [rsp + 24]",
        "call {way}",
        "pop rdx",
        ".cfi_adjust_cfa_offset -8",
        "pop rsi",
        ".cfi_adjust_cfa_offset -8",
        "pop rdi",
        ".cfi_adjust_cfa_offset -8",
        "test rax, rax",
        "jz {wrapper}",
        "jmp rax",
        ".cfi_endproc",
        way = sym way_of_dlmopen,
        wrapper = sym wrap_dlmopen,
    )
}
