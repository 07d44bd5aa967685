//! Which pages of its memory a module's calls write to, so that they can be faulted in before the next call.

use crate::instance::Instance;

/// Bytes at the start of a memory that are looked at.
const WINDOW: usize = 4 << 20;
/// Samples until the picture is used.
const SETTLED: u16 = 4;
/// Once it is used, every how many calls it is looked at again.
const SAMPLE_EVERY: u32 = 64;

/// Pages that most calls of a module wrote to.
#[derive(Default)]
pub struct Touched {
    /// In how many samples each page was written to; halved now and then, so that the picture follows the traffic.
    counts: Vec<u16>,
    samples: u16,
    /// The pages to fault in, as (first, count).
    runs: Vec<(usize, usize)>,
    page: usize,
    calls: u32,
}

impl Touched {
    /// Bytes that [`Touched::populate`] makes resident.
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|(_, count)| count * self.page).sum()
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::{Instance, SAMPLE_EVERY, SETTLED, Touched, WINDOW};

    /// Linux 5.14.
    const MADV_POPULATE_WRITE: libc::c_int = 23;
    const PRESENT: u64 = 1 << 63;
    const FILE_OR_SHARED: u64 = 1 << 61;
    const FORGET_AT: u16 = 64;

    static UNSUPPORTED: AtomicBool = AtomicBool::new(false);

    /// The kernel's page table of this process, or nothing where it may not be read.
    pub struct PageMap(Option<File>);

    impl PageMap {
        /// Opens it once for a thread.
        pub fn open() -> PageMap {
            PageMap(File::open("/proc/self/pagemap").ok())
        }
    }

    impl Touched {
        /// Looks at the pages that the call of this used instance wrote to.
        pub fn sample(&mut self, used: &Instance, map: &mut PageMap) {
            let Some(file) = &map.0 else { return };
            self.calls = self.calls.wrapping_add(1);
            if self.samples >= SETTLED && !self.calls.is_multiple_of(SAMPLE_EVERY) {
                return;
            }
            // SAFETY: asks for a constant of the system.
            let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
            let start = used.memory.data_ptr(&used.store) as usize;
            let pages = used.initial_bytes.min(WINDOW) / page;
            let mut entries = vec![0u8; pages * 8];
            if file.read_exact_at(&mut entries, (start / page * 8) as u64).is_err() {
                return;
            }
            self.page = page;
            self.counts.resize(pages, 0);
            for (count, entry) in self.counts.iter_mut().zip(entries.chunks_exact(8)) {
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

        /// Faults the pages in. Their contents stay as they are.
        pub fn populate(&self, fresh: &Instance) {
            if UNSUPPORTED.load(Relaxed) {
                return;
            }
            let base = fresh.memory.data_ptr(&fresh.store);
            let size = fresh.memory.data_size(&fresh.store);
            for &(first, count) in &self.runs {
                let (offset, length) = (first * self.page, count * self.page);
                if offset + length > size {
                    break;
                }
                // SAFETY: the range lies within the memory of a live instance that only this thread knows, and
                // populating changes no contents.
                let done = unsafe { libc::madvise(base.add(offset).cast(), length, MADV_POPULATE_WRITE) };
                if done != 0 {
                    UNSUPPORTED.store(true, Relaxed);
                    return;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Instance, Touched};

    /// Only Linux tells which pages were written to.
    pub struct PageMap;

    impl PageMap {
        /// Nothing to open.
        pub fn open() -> PageMap {
            PageMap
        }
    }

    impl Touched {
        /// Learns nothing.
        pub fn sample(&mut self, _used: &Instance, _map: &mut PageMap) {}

        /// Faults nothing in.
        pub fn populate(&self, _fresh: &Instance) {}
    }
}

pub use imp::PageMap;
