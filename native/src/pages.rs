//! Which pages of its memory a module's calls write to, so that they can be faulted in before the next call.

use crate::instance::Instance;

/// Bytes at the start of a memory that are looked at.
const WINDOW: usize = 4 << 20;
/// Samples until the picture is used.
const SETTLED: u16 = 4;
/// Pages behind a memory's present size that are worth two changes of its protection.
const WORTH_REACHING: usize = 8;
/// Once it is used, every how many instances one stays as it is: what was faulted in ahead says nothing of what a call
/// would have touched.
const SAMPLE_EVERY: u32 = 256;

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
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::fs::FileExt;

    use super::{Instance, SAMPLE_EVERY, SETTLED, Touched, WINDOW, WORTH_REACHING};

    /// Linux 5.10; the same number on every architecture.
    const SYS_PROCESS_MADVISE: libc::c_long = 440;
    const PRESENT: u64 = 1 << 63;
    const FILE_OR_SHARED: u64 = 1 << 61;
    const FORGET_AT: u16 = 64;

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
            if used.populated {
                return;
            }
            // SAFETY: asks for a constant of the system.
            let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
            let start = used.memory.data_ptr(&used.store) as usize;
            let pages = used.memory.data_size(&used.store).min(WINDOW) / page;
            let mut entries = vec![0u8; pages * 8];
            if file.read_exact_at(&mut entries, (start / page * 8) as u64).is_err() {
                return;
            }
            self.page = page;
            self.counts.resize(self.counts.len().max(pages), 0);
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

        /// Faults the pages in; their contents stay as they are. Those that the guest will first have to grow its
        /// memory for lie in the memory's reservation, `reach` bytes of it, and are made accessible for this alone.
        /// False if they could not be made inaccessible again: then the instance must not be used.
        pub fn populate(&mut self, fresh: &mut Instance, reach: usize) -> bool {
            self.made = self.made.wrapping_add(1);
            if self.runs.is_empty() || self.made.is_multiple_of(SAMPLE_EVERY) {
                return true;
            }
            fresh.populated = true;
            let base = fresh.memory.data_ptr(&fresh.store);
            let size = fresh.initial_bytes;
            let end = self.runs.last().map_or(0, |(first, count)| (first + count) * self.page).min(reach);
            for &(first, count) in &self.runs {
                fault_in(base, first * self.page, ((first + count) * self.page).min(size), self.page);
            }
            let beyond =
                self.runs.iter().map(|(first, count)| (first + count).saturating_sub((*first).max(size / self.page)));
            if end <= size || beyond.sum::<usize>() < WORTH_REACHING {
                return true;
            }
            // SAFETY: the range is the part of the memory's own reservation behind its present size: mapped, without
            // access, and read as zeroes once the guest grows into it. Nobody else knows the instance yet.
            let protect = |access| unsafe { libc::mprotect(base.add(size).cast(), end - size, access) } == 0;
            fresh.reached = end;
            if protect(libc::PROT_READ | libc::PROT_WRITE) {
                for &(first, count) in &self.runs {
                    fault_in(base, (first * self.page).max(size), ((first + count) * self.page).min(end), self.page);
                }
            }
            protect(libc::PROT_NONE)
        }
    }

    /// Throws away what used instances hold, all of them at once. Each would otherwise interrupt every processor that
    /// runs a thread of this process, to have it forget the pages; together they do so once.
    pub struct Discarder(Option<OwnedFd>);

    impl Discarder {
        /// Opens it once for a thread.
        pub fn open() -> Discarder {
            // SAFETY: a system call without memory of ours; what it returns is a descriptor that nobody else has.
            let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
            let descriptor = RawFd::try_from(descriptor).ok().filter(|&descriptor| descriptor >= 0);
            // SAFETY: it was opened just now.
            Discarder(descriptor.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }))
        }

        /// Gives back the pages of these memories behind their first `kept` bytes. The engine still resets every
        /// one, whatever became of this; it only finds nothing left to give back.
        pub fn discard<'a>(&mut self, used: impl Iterator<Item = &'a Instance>, kept: usize) {
            let Some(process) = &self.0 else { return };
            let ranges: Vec<libc::iovec> = used
                .filter_map(|instance| {
                    let size = instance.memory.data_size(&instance.store).max(instance.reached);
                    let base = instance.memory.data_ptr(&instance.store);
                    (size > kept).then(|| libc::iovec { iov_base: base.wrapping_add(kept).cast(), iov_len: size - kept })
                })
                .collect();
            for some in ranges.chunks(libc::UIO_MAXIOV as usize) {
                // SAFETY: the ranges lie in the reservations of live memories whose instances are over, so nobody
                // reads them again before the engine has reset them.
                let done = unsafe {
                    let (process, none) = (process.as_raw_fd(), 0);
                    libc::syscall(SYS_PROCESS_MADVISE, process, some.as_ptr(), some.len(), libc::MADV_DONTNEED, none)
                };
                if done < 0 {
                    // Before Linux 6.13 a process may not do this to itself.
                    self.0 = None;
                    return;
                }
            }
        }
    }

    impl Drop for Instance {
        /// The engine resets what the guest could reach; what was faulted in behind that is given back here.
        fn drop(&mut self) {
            if self.reached > self.initial_bytes {
                let base = self.memory.data_ptr(&self.store);
                let length = self.reached - self.initial_bytes;
                // SAFETY: the range is the part of the memory's reservation that `populate` reached into, or what the
                // guest has grown into since; the instance is over and nobody reads either again.
                unsafe { libc::madvise(base.add(self.initial_bytes).cast(), length, libc::MADV_DONTNEED) };
            }
        }
    }

    /// Faults in the pages from offset `from` to `to`, both at the edge of a page, by exchanging a zero for a zero: one
    /// fault for writing, after which the page holds what it held. A fault takes the lock of one mapping;
    /// MADV_POPULATE_WRITE takes that of the address space, which calls wait for.
    fn fault_in(base: *mut u8, from: usize, to: usize, page: usize) {
        for at in (from..to).step_by(page) {
            // SAFETY: the caller gives a range of a live memory that is accessible and that only this thread knows.
            let byte = unsafe { AtomicU8::from_ptr(base.add(at)) };
            // Whether it was a zero does not matter.
            let _ = byte.compare_exchange(0, 0, Relaxed, Relaxed);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Instance, Touched};

    /// Only Linux discards the pages of several memories at once.
    pub struct Discarder;

    impl Discarder {
        /// Nothing to open.
        pub fn open() -> Discarder {
            Discarder
        }

        /// Leaves everything to the engine.
        pub fn discard<'a>(&mut self, _used: impl Iterator<Item = &'a Instance>, _kept: usize) {}
    }

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
        pub fn populate(&mut self, _fresh: &mut Instance, _reach: usize) -> bool {
            true
        }
    }
}

pub use imp::{Discarder, PageMap};
