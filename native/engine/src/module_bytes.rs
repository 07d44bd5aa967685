//! A copy of a module. On Unix, a large one is in pages of its own: they return to the system when the copy is dropped,
//! whereas the C library keeps freed blocks of up to 32 MiB for later allocations. The heap of Windows maps large blocks
//! itself.

use std::io;
use std::ops::Deref;

#[cfg(unix)]
use mapped::Pages;

/// Bytes from which a module has pages of its own. Smaller ones would leave holes between the images of modules, which
/// the system counts as mappings.
#[cfg(unix)]
const MAPPED_BYTES: usize = 128 << 10;

/// The bytes of a module.
pub enum ModuleBytes {
    /// In the heap.
    Heap(Box<[u8]>),
    /// In pages of its own.
    #[cfg(unix)]
    Mapped(Pages),
}

impl ModuleBytes {
    /// Copies the bytes. Fails without memory for them.
    pub fn copy(bytes: &[u8]) -> io::Result<ModuleBytes> {
        #[cfg(unix)]
        if bytes.len() >= MAPPED_BYTES {
            return Pages::copy(bytes).map(ModuleBytes::Mapped);
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len())?;
        copy.extend_from_slice(bytes);
        Ok(ModuleBytes::Heap(copy.into_boxed_slice()))
    }
}

impl Deref for ModuleBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            ModuleBytes::Heap(bytes) => bytes,
            #[cfg(unix)]
            ModuleBytes::Mapped(pages) => pages,
        }
    }
}

#[cfg(unix)]
mod mapped {
    use std::io::Error;
    use std::ops::Deref;
    use std::ptr::{self, NonNull};
    use std::slice;

    /// Initialized bytes at the start of an anonymous mapping.
    pub struct Pages {
        start: NonNull<u8>,
        length: usize,
    }

    // SAFETY: the mapping belongs to this value alone, and its bytes do not change after it is created.
    unsafe impl Send for Pages {}
    // SAFETY: as above.
    unsafe impl Sync for Pages {}

    impl Pages {
        /// Copies at least one byte, because the system maps no empty range.
        pub fn copy(bytes: &[u8]) -> Result<Pages, Error> {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address that the kernel selects affects no existing one.
            let start = unsafe { libc::mmap(ptr::null_mut(), bytes.len(), access, kind, -1, 0) };
            if start == libc::MAP_FAILED {
                return Err(Error::last_os_error());
            }
            let start = NonNull::new(start.cast::<u8>()).ok_or_else(|| Error::other("mapped at address 0"))?;
            // SAFETY: the new mapping is at least as long as the source and does not overlap it.
            unsafe { start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
            Ok(Pages { start, length: bytes.len() })
        }
    }

    impl Deref for Pages {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            // SAFETY: `copy` initialized these bytes, which stay mapped and unchanged until `self` is dropped.
            unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // SAFETY: the mapping belongs to `self`, and references to its bytes do not outlive it.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_bytes_of_its_source_also_if_there_are_none() {
        for bytes in [&b""[..], b"\0asm", &[7; 1 << 20]] {
            let copy = ModuleBytes::copy(bytes).expect("memory is available");
            assert_eq!(&*copy, bytes);
        }
    }
}
