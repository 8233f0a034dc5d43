//! Which loaded modules have thread-locals, and where a fresh block has their segments.
//!
//! A module of the *static block* has its segment at the same distance from the FS base in every block. Static are all
//! modules that were there when the program started, and later modules whose code was compiled for that
//! (`initial-exec`), for which the C library keeps some room free. A fresh block's table tells which modules are
//! static: there a static module has its place, and any other module has none yet.

use super::dtv::Dtv;
use crate::switch;
use std::ffi::{CStr, CString, c_int, c_void};

/// One module's thread-local segment within a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Offset of the first byte from the FS base (negative).
    pub(super) offset: isize,
    pub(super) image: *const u8,
    pub(super) image_bytes: usize,
    pub(super) total_bytes: usize,
}

/// A module of the caller's namespace that has thread-locals.
#[derive(Clone, Debug)]
pub(super) struct Module {
    /// The module's index in the tables of modules; the loader gives it to another module once this one is unloaded.
    pub(super) id: usize,
    /// The module's name; empty for the executable.
    pub(super) name: CString,
    image: *const u8,
    image_bytes: usize,
    pub(super) total_bytes: usize,
    /// The address of the calling thread's segment; 0: the thread has none yet.
    in_caller: usize,
}

impl Module {
    /// The module's segment, if the module has a place in `base`, a fresh block.
    pub(super) fn segment_in(&self, dtv: Dtv, base: usize, static_bytes: usize) -> Option<Segment> {
        let offset = static_offset(dtv, base, static_bytes, self.id)?;
        Some(Segment {
            offset,
            image: self.image,
            image_bytes: self.image_bytes,
            total_bytes: self.total_bytes,
        })
    }

    fn file_name(&self) -> String {
        let name = self.name.to_string_lossy();
        name.rsplit('/').next().unwrap_or(&name).to_owned()
    }

    pub(super) fn is_c_library(&self) -> bool {
        let file = self.file_name();
        file.starts_with("libc.so") || file.starts_with("libc-")
    }

    pub(super) fn is_loader(&self) -> bool {
        let file = self.file_name();
        file.starts_with("ld-linux") || file.starts_with("ld-") || file.starts_with("ld.so")
    }
}

/// Offset of a static module's segment from the FS base. `below`: the bytes of the static block below the FS base.
pub(super) fn static_offset(dtv: Dtv, base: usize, below: usize, id: usize) -> Option<isize> {
    let address = dtv.segment(id)?;
    (base.checked_sub(below)?..base)
        .contains(&address)
        .then(|| (address as isize).wrapping_sub(base as isize))
}

/// All modules with thread-locals.
pub(super) fn all() -> Vec<Module> {
    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
        // SAFETY: S7: dl_iterate_phdr hands a valid record.
        let info = unsafe { &*info };
        // SAFETY: S7: `data` is the vector that `all` passed.
        let found = unsafe { &mut *data.cast::<Vec<Module>>() };
        if info.dlpi_tls_modid == 0 {
            return 0;
        }
        // SAFETY: S7: the loader keeps `dlpi_phnum` headers there for the life of the module.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        for header in headers.iter().filter(|header| header.p_type == libc::PT_TLS) {
            // SAFETY: S7: a module's name is a C string.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) }.to_owned();
            found.push(Module {
                id: info.dlpi_tls_modid,
                name,
                image: (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize) as *const u8,
                image_bytes: header.p_filesz as usize,
                total_bytes: header.p_memsz as usize,
                in_caller: info.dlpi_tls_data as usize,
            });
        }
        0
    }
    let mut found: Vec<Module> = Vec::new();
    // SAFETY: S7: the visitor keeps to the callback's contract and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
    found
}

/// The segments that the calling thread has of all modules but the C library and the loader: the offset from the FS
/// base, and the length in bytes.
pub(in super::super) fn segments_of_caller() -> impl Iterator<Item = (isize, usize)> {
    let is_foreign = |module: &Module| !module.is_c_library() && !module.is_loader() && module.in_caller != 0;
    let base = switch::identity_base() as isize;
    all()
        .into_iter()
        .filter(is_foreign)
        .map(move |module| ((module.in_caller as isize).wrapping_sub(base), module.total_bytes))
}

/// Keeps a loaded library for the life of the process. Takes the loader's lock, which a library's constructor may hold
/// while it waits: to be called only where a `dlopen` may be called.
pub(super) fn pin(name: &CStr) {
    // SAFETY: S7: a name with its end; nothing is loaded, and no code runs. The handle is kept for ever.
    unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
}
