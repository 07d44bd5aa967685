//! A range of address space that is the linear memory of one call after another.

use std::io::Error;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::LazyLock;

use super::Reusable;
use super::page_map::{PageMap, Region, page_bytes};
use super::working_set::WorkingSet;
use crate::charge::Charge;

/// Maximum bytes of a memory's initial size whose pages are reset individually where the page map has entries of single
/// pages. Reading those of a large memory of which little is used costs more than returning its pages without it.
const READ_BYTES: usize = 4 << 20;
/// Bytes at the end of a memory's initial size whose pages are reset individually too.
const END_BYTES: usize = 64 << 10;
/// Bytes of growth after which huge pages are used: a call that grows this far fills most of each, and one fault
/// replaces 512.
const HUGE_AFTER: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;

/// Mapped address space: an inaccessible region, the memory of which the first bytes are accessible, and inaccessible
/// space after it. While it is idle, the whole memory reads as zero, and no page outside the working set is resident.
pub struct Reservation {
    mapping: NonNull<u8>,
    /// Bytes before the memory.
    front: usize,
    /// Bytes of the memory and of the inaccessible space after it.
    length: usize,
    accessible: usize,
    /// Bytes that the guest can access.
    size: usize,
    /// The value of `size` when the instance was created.
    initial: usize,
    /// Bytes that may be resident while it is idle.
    resident_end: usize,
    /// Whether no page was resident at the start of the call.
    fresh: bool,
    working_set: WorkingSet,
    /// Where huge pages begin; `usize::MAX` without any.
    huge_from: usize,
    /// Its bytes in the budget of its engine.
    charge: Option<Charge>,
}

// SAFETY: the mapping belongs to this value alone, on any thread.
unsafe impl Send for Reservation {}
// SAFETY: as above; a shared reference only provides its numbers.
unsafe impl Sync for Reservation {}

/// Whether the system returns pages as documented; an emulator may not.
pub fn usable() -> bool {
    static USABLE: LazyLock<bool> = LazyLock::new(|| {
        let Ok(mut probe) = Reservation::map(0, page_bytes()) else { return false };
        if probe.resize(page_bytes()).is_err() {
            return false;
        }
        // SAFETY: the byte lies in the accessible part of the probe's own mapping.
        unsafe { probe.base().write_volatile(1) };
        // SAFETY: as above.
        probe.discard(0, page_bytes()) && unsafe { probe.base().read_volatile() } == 0
    });
    *USABLE
}

/// How the page map is read; none if it is not reliable. An emulator may provide that of another process, or none.
fn page_map() -> Option<PageMap> {
    static PAGE_MAP: LazyLock<Option<PageMap>> =
        LazyLock::new(|| [PageMap::Scan, PageMap::Entries].into_iter().find(|map| is_reliable(*map)));
    *PAGE_MAP
}

fn is_reliable(map: PageMap) -> bool {
    let shows = |probe: &Reservation, expected: &[Region]| {
        let mut regions = Vec::new();
        map.visit(probe.base() as usize, 0..1, |region| regions.push(region)) && regions == expected
    };
    let Ok(mut probe) = Reservation::map(0, page_bytes()) else { return false };
    if probe.resize(page_bytes()).is_err() || !shows(&probe, &[]) {
        return false;
    }
    // SAFETY: the byte lies in the accessible part of the probe's own mapping.
    unsafe { probe.base().write_volatile(1) };
    shows(&probe, &[Region { pages: 0..1, is_present: true }]) && probe.discard(0, page_bytes()) && shows(&probe, &[])
}

impl Reservation {
    /// Maps `length` bytes after an inaccessible region of `front` bytes, none of them accessible yet.
    pub fn map(front: usize, length: usize) -> Result<Reservation, Error> {
        let (front, length) = (front.next_multiple_of(page_bytes()), length.next_multiple_of(page_bytes()));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address that the kernel selects affects no other.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), front + length, libc::PROT_NONE, flags, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        let mapping = NonNull::new(mapping.cast::<u8>()).ok_or(Error::from_raw_os_error(libc::ENOMEM))?;
        let reservation = Reservation {
            mapping,
            front,
            length,
            accessible: 0,
            size: 0,
            initial: 0,
            resident_end: 0,
            fresh: true,
            working_set: WorkingSet::default(),
            huge_from: usize::MAX,
            charge: None,
        };
        // If huge pages are the default, the first byte of a small memory would make 2 MiB resident. The region in front is
        // advised alike, so that the kernel merges it with the space after another memory.
        // SAFETY: this is the mapping just created.
        unsafe { advise(mapping.as_ptr(), front + length, libc::MADV_NOHUGEPAGE) };
        Ok(reservation)
    }

    /// Returns the address of the first byte of the memory.
    pub fn base(&self) -> *mut u8 {
        // SAFETY: the memory is in the mapping, after the region in front.
        unsafe { self.mapping.add(self.front).as_ptr() }
    }

    /// Bytes that the guest can access.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes that the memory can have.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Makes `size` bytes accessible. Bytes that were not accessible since the last reset read as zero.
    pub fn resize(&mut self, size: usize) -> Result<(), Error> {
        if size > self.length {
            return Err(Error::from_raw_os_error(libc::ENOMEM));
        }
        if size > self.accessible {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: the range is in this mapping.
            if unsafe { libc::mprotect(self.base().cast(), size, access) } != 0 {
                return Err(Error::last_os_error());
            }
            self.accessible = size;
        }
        if self.size == 0 {
            self.initial = size;
            if self.huge_from < size {
                self.advise(0, libc::MADV_NOHUGEPAGE);
                self.huge_from = usize::MAX;
            }
        }
        if size > self.initial + HUGE_AFTER && self.huge_from == usize::MAX {
            let base = self.base() as usize;
            self.huge_from = (base + self.initial + HUGE_AFTER).next_multiple_of(HUGE_PAGE) - base;
            self.advise(self.huge_from, libc::MADV_HUGEPAGE);
        }
        self.size = size;
        Ok(())
    }

    /// Gives advice about the pages from byte `from` on.
    fn advise(&self, from: usize, advice: libc::c_int) {
        if from < self.length {
            // SAFETY: the rest of the memory is in this mapping.
            unsafe { advise(self.base().add(from), self.length - from, advice) };
        }
    }

    /// Resets the memory from byte `from` to byte `to`. Returns false if the kernel refused.
    fn reset_range(&mut self, from: usize, to: usize, fresh: bool) -> bool {
        let (base, working_set) = (self.base(), &mut self.working_set);
        let pages = from / page_bytes()..to.div_ceil(page_bytes());
        let mut reset = Reset { base, pages: 0..0, action: Action::Discard, refused: false };
        let mut seen = pages.start;
        let visit = |region: Region| {
            if fresh {
                working_set.unused(seen..region.pages.start);
                seen = region.pages.end;
            }
            for page in region.pages {
                let stays = working_set.used(page, fresh) && region.is_present;
                reset.add(page, if stays { Action::Zero } else { Action::Discard });
            }
        };
        if !page_map().is_some_and(|map| map.visit(base as usize, pages.clone(), visit)) {
            return self.discard(from, to);
        }
        if fresh {
            self.working_set.unused(seen..pages.end);
        }
        reset.finish()
    }

    /// Returns the pages from byte `from` to byte `to` to the kernel, so that they read as zero. Returns false if it
    /// refused.
    pub fn discard(&mut self, from: usize, to: usize) -> bool {
        discard(self.base(), from, to)
    }
}

impl Reusable for Reservation {
    fn reset(&mut self, max_resident: usize) -> bool {
        self.working_set.begin(max_resident / page_bytes());
        let size = std::mem::take(&mut self.size);
        let fresh = std::mem::replace(&mut self.fresh, false);
        // A guest probably uses all pages that it adds. Of a large initial size, it probably uses only the start, and
        // the end, where allocators mark the limit of their heap. A scan skips the rest.
        let reads_all = self.initial <= READ_BYTES || matches!(page_map(), Some(PageMap::Scan));
        let start = if reads_all { size } else { READ_BYTES };
        let end = self.initial.saturating_sub(END_BYTES).max(start);
        let reset = self.reset_range(0, start, fresh) && self.discard(start, end) && self.reset_range(end, size, fresh);
        if !reset {
            return false;
        }
        if fresh {
            self.working_set.unused(start.div_ceil(page_bytes())..end / page_bytes());
            self.working_set.unused(size / page_bytes()..usize::MAX);
        }
        self.resident_end = self.resident_end.max(size);
        if self.working_set.end_call() {
            self.fresh = true;
            let end = std::mem::take(&mut self.resident_end);
            return self.discard(0, end);
        }
        true
    }

    fn resident_bytes(&self) -> usize {
        self.working_set.len() * page_bytes()
    }

    fn used_bytes(&self) -> usize {
        self.working_set.used_pages() * page_bytes()
    }

    fn charge(&mut self) -> &mut Option<Charge> {
        &mut self.charge
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no instance uses it any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.front + self.length) };
    }
}

/// How a page is reset.
#[derive(Clone, Copy, PartialEq)]
enum Action {
    Zero,
    Discard,
}

/// The reset of a memory whose instance was dropped. Neighboring pages that are reset in the same way are reset together.
struct Reset {
    base: *mut u8,
    /// Pages to which `action` was not applied yet.
    pages: Range<usize>,
    action: Action,
    refused: bool,
}

impl Reset {
    /// Resets an accessible page. Pages come in the order of their addresses.
    fn add(&mut self, page: usize, action: Action) {
        if page != self.pages.end || action != self.action {
            self.apply();
            (self.pages.start, self.action) = (page, action);
        }
        self.pages.end = page + 1;
    }

    /// Returns false if the kernel refused to take back pages.
    fn finish(mut self) -> bool {
        self.apply();
        !self.refused
    }

    fn apply(&mut self) {
        let (from, to) = (self.pages.start * page_bytes(), self.pages.end * page_bytes());
        match self.action {
            // SAFETY: the pages are an accessible part of a mapping whose instance was dropped.
            Action::Zero => unsafe { self.base.add(from).write_bytes(0, to - from) },
            Action::Discard => self.refused |= !discard(self.base, from, to),
        }
    }
}

/// Advises the kernel on huge pages, which changes no contents. A kernel without huge pages refuses it.
///
/// # Safety
///
/// The pages must belong to a mapping of the caller.
unsafe fn advise(start: *mut u8, bytes: usize, advice: libc::c_int) {
    // SAFETY: guaranteed by the caller.
    unsafe { libc::madvise(start.cast(), bytes, advice) };
}

fn discard(base: *mut u8, from: usize, to: usize) -> bool {
    if from >= to {
        return true;
    }
    // A private anonymous mapping reads as zero after its pages were returned.
    // SAFETY: the callers pass a part of their own mapping, which no instance uses anymore.
    unsafe { libc::madvise(base.add(from).cast(), to - from, libc::MADV_DONTNEED) == 0 }
}

#[cfg(test)]
mod tests;
