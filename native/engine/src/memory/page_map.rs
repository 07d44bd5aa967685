//! The kernel's page map of this process: which pages have contents.
//!
//! The kernel builds an entry under the lock of its page table. It shows that a page is present (bit 63), or that the
//! entry is not empty for another reason (bit 62): swapped out, migrating because memory is compacted, poisoned, or a
//! marker. A page of a private anonymous mapping with neither bit set has no contents: it reads as zero. The other bits
//! do not matter here.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

const PRESENT: u64 = 1 << 63;
const NOT_EMPTY: u64 = 1 << 62;
/// The number of pages of one read.
pub const BLOCK: usize = 2048;

thread_local! {
    /// Opened once per thread, because threads that share a file contend for its reference count.
    static FILE: Option<File> = open();
    static BUFFER: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Returns whether the page at `address` has contents; none where the kernel does not report it.
pub fn has_contents(address: usize) -> Option<bool> {
    let mut entry = [Entry(0)];
    FILE.with(|file| read(file.as_ref()?, address, &mut entry).then_some(entry[0].has_contents()))
}

/// The kernel's entry of a page.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Entry(u64);

impl Entry {
    /// Whether the page may have contents other than zero.
    pub fn has_contents(&self) -> bool {
        self.0 & (PRESENT | NOT_EMPTY) != 0
    }

    /// Whether the page is in memory and can be written to without waiting for the kernel.
    pub fn is_present(&self) -> bool {
        self.0 & PRESENT != 0
    }
}

/// Whether none of the pages has contents.
pub fn none_has_contents(entries: &[Entry]) -> bool {
    !Entry(entries.iter().fold(0, |all, entry| all | entry.0)).has_contents()
}

/// Calls `use_entries` with the entries of the `count` pages from address `start`, at most [`BLOCK`]. Returns false without
/// calling it if the kernel provides no entries.
pub fn with_entries(start: usize, count: usize, use_entries: impl FnOnce(&[Entry])) -> bool {
    FILE.with(|file| {
        let Some(file) = file else { return false };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(BLOCK, Entry(0));
            let entries = &mut buffer[..count];
            let known = read(file, start, entries);
            if known {
                use_entries(entries);
            }
            known
        })
    })
}

/// The size of a page in bytes.
pub fn page_bytes() -> usize {
    static BYTES: LazyLock<usize> = LazyLock::new(|| {
        // SAFETY: reads a constant of the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    });
    *BYTES
}

fn open() -> Option<File> {
    File::open("/proc/self/pagemap").ok()
}

fn read(file: &File, start: usize, entries: &mut [Entry]) -> bool {
    let offset = start / page_bytes() * size_of::<Entry>();
    // SAFETY: an entry is a `u64`, for which all bytes are valid.
    let bytes = unsafe { std::slice::from_raw_parts_mut(entries.as_mut_ptr().cast(), size_of_val(entries)) };
    file.read_exact_at(bytes, offset as u64).is_ok()
}
