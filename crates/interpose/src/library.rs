//! `dlopen` and `dlmopen`: the same calls, and somebody is told that a library may have come.
//!
//! glibc uses the return address of `dlopen` to learn which object calls. That object's RUNPATH tells where a bare name
//! is searched, and it decides what `$ORIGIN` and the namespace are. If a wrapper of ours calls the next definition,
//! glibc takes our object for the caller. So the entry is a naked function that looks first, with the caller's
//! registers put aside:
//!
//! - A call from *our own object* (the executable, as a rule), or for a path with a `/` and without `$`: the wrapper.
//!   To the C library the caller is our object, which it is, or which makes no difference to where the file is found.
//! - Any other, and one that loads nothing (no name, `RTLD_NOLOAD`): a jump to the next definition, as if we were not
//!   here. Nobody is told; whoever listens has to look again at a time of its own.
//!
//! Small difference: where a library's DT_RPATH (the old form, without RUNPATH) is to serve the dependencies of a
//! path that it opens, they are searched as our object's would be.
//!
//! The listener is called on the caller's stack after the load, before the handle is returned, whether or not it
//! succeeded: a failed load may have loaded a part. It must not load anything itself but with `RTLD_NOLOAD`.

use core::arch::naked_asm;
use core::ffi::CStr;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use libc::{c_char, c_int, c_long, c_void, size_t};

use crate::next;

static LISTENER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Lets `told` know of each library that may have been loaded.
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

/// Where our own object lies; the end is zero until that is known.
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

/// Null: the wrapper is to be called; else where to jump.
///
/// # Safety
/// That of dlopen (S7).
unsafe extern "C" fn way_of_dlopen(name: *const c_char, flags: c_int, return_address: usize) -> *mut c_void {
    // SAFETY: S7: the caller's arguments.
    if unsafe { may_wrap(name, flags, return_address) } {
        return ptr::null_mut();
    }
    next::dlopen_address()
}

/// As [`way_of_dlopen`].
///
/// # Safety
/// That of dlmopen (S7).
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

/// `dlopen(3)`. On entry the stack is 8 off a multiple of 16; two pushes and 8 bytes make it even.
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

/// `dlmopen(3)`. Three pushes make the stack even.
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
