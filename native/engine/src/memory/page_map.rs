//! The kernel's page map of this process: which pages have contents.
//!
//! A page of a private anonymous mapping has contents if it is present, or if its entry is not empty for another reason:
//! swapped out, migrating because memory is compacted, poisoned, or a marker. The kernel builds the entries under the
//! lock of their page table. A page without contents reads as zero.
//!
//! Linux 6.7 and later reports regions of pages (`PAGEMAP_SCAN`). It skips pages without contents several times as fast
//! as older kernels, which report a number for each page, do.

use std::cell::RefCell;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

thread_local! {
    /// Opened once per thread, because threads that share a file contend for its reference count.
    static FILE: Option<File> = File::open("/proc/self/pagemap").ok();
    static ENTRIES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Neighboring pages with contents.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The numbers of the pages, from the start of the memory.
    pub pages: Range<usize>,
    /// Whether the pages are in memory and can be written to without waiting for the kernel.
    pub is_present: bool,
}

/// How the page map is read.
#[derive(Clone, Copy, Debug)]
pub enum PageMap {
    /// By scans for regions.
    Scan,
    /// By entries of single pages.
    Entries,
}

impl PageMap {
    /// Calls `visit` for each region of the memory at address `start` that has contents, in the order of addresses, within
    /// these pages. Returns false if the kernel does not report them all.
    pub fn visit(self, start: usize, pages: Range<usize>, mut visit: impl FnMut(Region)) -> bool {
        FILE.with(|file| {
            let Some(file) = file else { return false };
            match self {
                PageMap::Scan => scan(file, start, pages, &mut visit),
                PageMap::Entries => read(file, start, pages, &mut visit),
            }
        })
    }
}

/// The size of a page in bytes.
pub fn page_bytes() -> usize {
    static BYTES: LazyLock<usize> = LazyLock::new(|| {
        // SAFETY: reads a constant of the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    });
    *BYTES
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const PAGEMAP_SCAN: libc::Ioctl = libc::_IOWR::<ScanArguments>(b'f' as u32, 16);
const PAGE_IS_PRESENT: u64 = 1 << 3;
/// Not present, but not empty.
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// Regions of one scan.
const REGIONS: usize = 32;

fn scan(file: &File, start: usize, pages: Range<usize>, visit: &mut impl FnMut(Region)) -> bool {
    let bytes = page_bytes();
    let page_of = |address: u64| (address as usize - start) / bytes;
    let end = (start + pages.end * bytes) as u64;
    let mut at = (start + pages.start * bytes) as u64;
    let mut regions = [PageRegion::default(); REGIONS];
    while at < end {
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            start: at,
            end,
            vec: regions.as_mut_ptr() as u64,
            vec_len: REGIONS as u64,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            ..ScanArguments::default()
        };
        // SAFETY: the kernel writes at most `vec_len` regions to `vec` and the end of the walk to the arguments, which are
        // live. A kernel without this request writes nothing.
        let count = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
        let Some(found) = usize::try_from(count).ok().and_then(|count| regions.get(..count)) else { return false };
        if arguments.walk_end <= at {
            return false;
        }
        at = arguments.walk_end;
        for region in found {
            let pages = page_of(region.start)..page_of(region.end);
            visit(Region { pages, is_present: region.categories & PAGE_IS_PRESENT != 0 });
        }
    }
    true
}

const PRESENT: u64 = 1 << 63;
const NOT_EMPTY: u64 = 1 << 62;
/// The number of entries of one read.
const BLOCK: usize = 2048;
/// Entries that are compared at once.
const CHUNK: usize = 16;

fn read(file: &File, start: usize, pages: Range<usize>, visit: &mut impl FnMut(Region)) -> bool {
    ENTRIES.with_borrow_mut(|buffer| {
        buffer.resize(BLOCK, 0);
        for first in pages.clone().step_by(BLOCK) {
            let entries = &mut buffer[..BLOCK.min(pages.end - first)];
            let offset = (start / page_bytes() + first) * size_of::<u64>();
            // SAFETY: all bytes are valid for numbers.
            let bytes = unsafe { std::slice::from_raw_parts_mut(entries.as_mut_ptr().cast(), size_of_val(entries)) };
            if file.read_exact_at(bytes, offset as u64).is_err() {
                return false;
            }
            visit_entries(first, entries, visit);
        }
        true
    })
}

/// Visits the regions of entries, of which the first one is of the page `first`.
fn visit_entries(first: usize, entries: &[u64], visit: &mut impl FnMut(Region)) {
    let mut region = Region { pages: first..first, is_present: false };
    for (first, entries) in (first..).step_by(CHUNK).zip(entries.chunks(CHUNK)) {
        // Most pages have no contents.
        if entries.iter().fold(0, |all, entry| all | entry) & (PRESENT | NOT_EMPTY) == 0 {
            continue;
        }
        for (page, entry) in (first..).zip(entries).filter(|(_, entry)| *entry & (PRESENT | NOT_EMPTY) != 0) {
            let is_present = entry & PRESENT != 0;
            if page == region.pages.end && is_present == region.is_present {
                region.pages.end = page + 1;
                continue;
            }
            let next = Region { pages: page..page + 1, is_present };
            let complete = std::mem::replace(&mut region, next);
            if !complete.pages.is_empty() {
                visit(complete);
            }
        }
    }
    if !region.pages.is_empty() {
        visit(region);
    }
}
