//! The guest side of the ABI by hand, for plugins that answer what the PDK would not let them answer.
//! The PDK still brings the allocator and the panic handler, which traps.

use core::alloc::Layout;

/// Reserves `size` bytes for the host to write a request to.
#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_alloc(size: u32, align: u32) -> *mut u8 {
    match Layout::from_size_align(size as usize, align as usize) {
        // SAFETY: the size is not zero.
        Ok(layout) if size > 0 => unsafe { alloc::alloc::alloc(layout) },
        _ => core::ptr::null_mut(),
    }
}

/// Part of the ABI. The host throws the instance away after one call, so nothing needs freeing.
#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_free(_ptr: u32, _size: u32, _align: u32) {}

/// The request that the host wrote.
///
/// # Safety
/// `ptr` and `len` are what the host passed to the hook.
pub unsafe fn input<'a>(ptr: u32, len: u32) -> &'a [u8] {
    // SAFETY: the host wrote `len` bytes at `ptr`, and nobody frees them.
    unsafe { core::slice::from_raw_parts(ptr as *const u8, len as usize) }
}

/// A hook's return value that points to any place at all.
pub const fn pointer(ptr: u32, len: u32) -> u64 {
    (ptr as u64) << 32 | len as u64
}

/// A hook's return value for bytes that nobody will free.
pub fn answer(bytes: impl AsRef<[u8]>) -> u64 {
    let bytes = bytes.as_ref();
    let layout = Layout::from_size_align(bytes.len().max(1), 16).unwrap();
    // SAFETY: the size is not zero, and the copy fits into what was reserved.
    unsafe {
        let copy = alloc::alloc::alloc(layout);
        assert!(!copy.is_null());
        copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        pointer(copy as u32, bytes.len() as u32)
    }
}

/// Embeds bytes as a custom section.
macro_rules! custom_section {
    ($name:ident, $section:literal, $bytes:expr) => {
        #[used]
        #[unsafe(link_section = $section)]
        static $name: [u8; $bytes.len()] = *$bytes.first_chunk().unwrap();
    };
}
pub(crate) use custom_section;
