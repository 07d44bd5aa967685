//! Which pages of its memory a module's calls write to, so that they can be faulted in before the next call.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::instance::Instance;
use crate::memory;

/// Bytes at the start of a memory that are looked at.
const WINDOW: usize = 4 << 20;
/// Samples until the picture is used.
const SETTLED: u16 = 4;
/// One fault in place of 512, for a memory that is large enough to hold such a page.
const HUGE_PAGE: usize = 2 << 20;
/// Once it is used, every how many instances one stays as it is: what was faulted in ahead says nothing of what a call
/// would have touched.
const SAMPLE_EVERY: u32 = 256;
/// Calls more with a memory of another size than the known one, until the traffic is taken for changed.
const CHANGED: u8 = 8;
/// Calls that a picture lasts for at least: traffic of several sizes has none that is right.
const LASTS: u32 = 128;
/// Pages from which on it pays to fault them in although somebody waits.
const MANY: usize = 8;
/// Linux 5.10; the same number on every architecture.
const SYS_PROCESS_MADVISE: libc::c_long = 440;
const PRESENT: u64 = 1 << 63;
const FILE_OR_SHARED: u64 = 1 << 61;
/// Ranges in one call.
const MOST_RANGES: usize = libc::UIO_MAXIOV as usize;
const FORGET_AT: u16 = 16;

/// Pages that most calls of a module wrote to.
#[derive(Default)]
pub struct Touched {
    /// In how many samples each page was written to; halved now and then, so that the picture follows the traffic.
    counts: Vec<u16>,
    samples: u16,
    /// The pages to fault in, as (first, count).
    runs: Vec<(usize, usize)>,
    page: usize,
    made: u32,
    /// Bytes of the memory that was looked at last.
    size: usize,
    /// How many more calls lately left another size behind than this one.
    strange: u8,
    /// Calls since the picture was begun.
    seen: u32,
}

/// The ways in which the preparer's thread asks the kernel about pages of this process; each may be refused.
pub struct Pages {
    /// The page table.
    table: Option<File>,
    /// The process itself, to give advice about several ranges at once.
    process: Option<OwnedFd>,
}

impl Pages {
    /// Opens them once for a thread.
    pub fn open() -> Pages {
        // SAFETY: a system call without memory of ours.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
        let process = RawFd::try_from(process).ok().filter(|&descriptor| descriptor >= 0);
        Pages {
            table: File::open("/proc/self/pagemap").ok(),
            // SAFETY: the descriptor was opened just now and nobody else has it.
            process: process.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }),
        }
    }

    /// Gives back the pages of used memories behind their first `kept` bytes, all at once: giving back each by
    /// itself interrupts every processor that runs a thread of this process. The engine still resets every
    /// memory, whatever became of this; it only finds nothing left to give back.
    pub fn discard<'a>(&mut self, used: impl Iterator<Item = &'a mut Instance>, kept: usize) {
        let Some(process) = &self.process else { return };
        let (mut ranges, mut instances) = (Vec::new(), Vec::new());
        for instance in used {
            let size = instance.memory.data_size(&instance.store).max(instance.reached);
            if size > kept {
                let base = instance.memory.data_ptr(&instance.store).wrapping_add(kept);
                ranges.push(libc::iovec { iov_base: base.cast(), iov_len: size - kept });
                instances.push(instance);
            }
        }
        let batches = ranges.chunks(MOST_RANGES).zip(instances.chunks_mut(MOST_RANGES));
        for (some, theirs) in batches {
            // SAFETY: the ranges lie in the reservations of live memories whose instances are over, so nobody
            // reads them again before the engine has reset them.
            let done = unsafe {
                let (process, none) = (process.as_raw_fd(), 0);
                libc::syscall(SYS_PROCESS_MADVISE, process, some.as_ptr(), some.len(), libc::MADV_DONTNEED, none)
            };
            if done < 0 {
                // Before Linux 6.13 a process may not do this to itself.
                self.process = None;
                return;
            }
            let asked: usize = some.iter().map(|range| range.iov_len).sum();
            // One call stops at 2 GiB.
            if usize::try_from(done) == Ok(asked) {
                theirs.iter_mut().filter(|one| kept <= one.initial_bytes).for_each(|one| one.reached = 0);
            }
        }
    }
}

impl Touched {
    /// The pages that most calls write to, as (from, to) in bytes.
    pub fn ranges(&self) -> Vec<(usize, usize)> {
        self.runs.iter().map(|(first, count)| (first * self.page, (first + count) * self.page)).collect()
    }

    /// Bytes that [`Touched::populate`] makes resident.
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|(_, count)| count * self.page).sum()
    }

    /// Looks at the pages that the call of this used instance wrote to, behind the first `kept` bytes, which are
    /// always resident. True if the traffic has changed: then the picture is begun anew, and instances that were
    /// made by the old one are of no use.
    pub fn sample(&mut self, used: &Instance, kept: usize, pages: &Pages) -> bool {
        let size = used.memory.data_size(&used.store);
        let usual = size <= self.size + self.size / 4 && size > self.size / 2;
        self.strange = if usual { self.strange.saturating_sub(1) } else { self.strange.saturating_add(1) };
        self.seen = self.seen.saturating_add(1);
        if self.strange >= CHANGED && self.seen >= LASTS && self.samples >= SETTLED {
            *self = Touched { page: self.page, ..Touched::default() };
            return true;
        }
        // One of another size is no part of this picture, however many there are.
        if !used.populated && (usual || self.samples < SETTLED) {
            self.size = size;
            self.look(used, size, kept, pages);
        }
        false
    }

    fn look(&mut self, used: &Instance, size: usize, kept: usize, pages: &Pages) {
        let Some(table) = &pages.table else { return };
        // SAFETY: asks for a constant of the system.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let start = used.memory.data_ptr(&used.store) as usize;
        let count = size.min(WINDOW) / page;
        let mut entries = vec![0u8; count * 8];
        if table.read_exact_at(&mut entries, (start / page * 8) as u64).is_err() {
            return;
        }
        self.page = page;
        self.counts.resize(self.counts.len().max(count), 0);
        for (count, entry) in self.counts.iter_mut().zip(entries.chunks_exact(8)).skip(kept / page) {
            let entry = u64::from_ne_bytes(entry.try_into().expect("eight bytes"));
            // A page of the image that was only read still belongs to the file.
            *count += u16::from(entry & PRESENT != 0 && entry & FILE_OR_SHARED == 0);
        }
        self.samples += 1;
        if self.samples == FORGET_AT {
            self.samples /= 2;
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
        self.find_runs();
    }

    fn find_runs(&mut self) {
        self.runs.clear();
        if self.samples < SETTLED {
            return;
        }
        for (index, &count) in self.counts.iter().enumerate() {
            if count * 2 <= self.samples {
                continue;
            }
            match self.runs.last_mut() {
                Some((first, length)) if *first + *length == index => *length += 1,
                _ => self.runs.push((index, 1)),
            }
        }
    }

    /// Whether the next instance is to show which pages its call writes to.
    pub fn is_sample(&mut self) -> bool {
        self.made = self.made.wrapping_add(1);
        self.samples < SETTLED || self.made.is_multiple_of(SAMPLE_EVERY)
    }

    /// Bytes that calls grow their memory to, at most `reach`; at least to the last page to fault in.
    pub fn open(&self, reach: usize) -> usize {
        self.size.max(self.furthest()).min(reach)
    }

    fn furthest(&self) -> usize {
        self.runs.last().map_or(0, |(first, count)| (first + count) * self.page)
    }

    /// Faults the pages in; their contents stay as they are. Those that the guest will first have to grow its
    /// memory for are made accessible too, if the first `open` bytes are not, up to `reach` bytes of the memory's
    /// reservation: that is for guests that cannot reach behind their memory's size whatever the pages there allow.
    /// In a hurry a few of them are left to the guest. Where calls reach far, the kernel may use huge pages.
    pub fn populate(&self, fresh: &mut Instance, reach: usize, open: usize, hurry: bool) {
        fresh.populated = true;
        let base = fresh.memory.data_ptr(&fresh.store);
        let size = fresh.initial_bytes.max(open);
        let furthest = self.furthest().min(reach);
        // A huge page of which little is used costs more to fill with zeroes than it saves in faults.
        if furthest > HUGE_PAGE && self.bytes() * 2 > furthest.next_multiple_of(HUGE_PAGE) {
            fresh.huge_pages = true;
            // SAFETY: advice about the memory's own reservation, which changes no contents.
            unsafe { libc::madvise(base.cast(), reach, libc::MADV_HUGEPAGE) };
        }
        let ranges = self.ranges();
        for &(from, to) in &ranges {
            touch(base, from, to.min(size), self.page);
        }
        let beyond = ranges.into_iter().map(|(from, to)| (from.max(size), to.min(reach)));
        let beyond: Vec<_> = beyond.filter(|(from, to)| from < to).collect();
        let many = beyond.iter().map(|(from, to)| to - from).sum::<usize>() >= MANY * self.page;
        let Some(&(_, end)) = beyond.last().filter(|_| many || !hurry) else { return };
        // To where calls grow it, so that the engine finds nothing to change.
        let length = self.open(reach) - size;
        // SAFETY: the range is the part of the memory's own reservation behind its present size: mapped, and read
        // as zeroes once the guest grows into it. Nobody else knows the instance yet.
        if unsafe { libc::mprotect(base.add(size).cast(), length, libc::PROT_READ | libc::PROT_WRITE) } == 0 {
            fresh.reached = end;
            beyond.iter().for_each(|&(from, to)| touch(base, from, to, self.page));
        }
    }
}

impl Drop for Instance {
    /// The engine resets what the guest could reach; what was faulted in behind that is given back here.
    fn drop(&mut self) {
        if self.huge_pages {
            memory::do_not_use_again();
        }
        if self.reached > self.initial_bytes {
            let base = self.memory.data_ptr(&self.store);
            let length = self.reached - self.initial_bytes;
            // SAFETY: the range is the part of the memory's reservation that `populate` reached into, or what the
            // guest has grown into since; the instance is over and nobody reads either again.
            unsafe { libc::madvise(base.add(self.initial_bytes).cast(), length, libc::MADV_DONTNEED) };
        }
    }
}

/// Faults in the accessible pages from offset `from` to `to`, both at the edge of a page, by exchanging a zero for
/// a zero: one fault for writing, after which the page holds what it held. A fault takes the lock of one mapping;
/// MADV_POPULATE_WRITE takes that of the address space, which calls wait for.
fn touch(base: *mut u8, from: usize, to: usize, page: usize) {
    for at in (from..to).step_by(page) {
        // SAFETY: the caller gives a range of a live memory that is accessible and that only this thread knows.
        let byte = unsafe { AtomicU8::from_ptr(base.add(at)) };
        // Whether it was a zero does not matter.
        let _ = byte.compare_exchange(0, 0, Relaxed, Relaxed);
    }
}
