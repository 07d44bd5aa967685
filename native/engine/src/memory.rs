//! Memories of instances that are allocated on demand: reservations of address space that outlive their instance and
//! are used again. Mapping and unmapping one changes the address space of the process, for which its other threads wait
//! and are interrupted; with that, preparing instances beside their calls costs more than it saves.
//!
//! What an instance wrote is given back to the kernel before the next one gets its reservation: it then reads zeroes.
//! Pages that the next one is known to need are overwritten with zeroes instead, and stay resident.

use std::cell::{Cell, RefCell};

/// What a thread asks of the memories that it makes.
#[derive(Clone, Copy, Default)]
pub struct Wish {
    /// Bytes that are accessible from the start, however small the memory begins.
    pub open: usize,
    /// No page is resident yet.
    pub clean: bool,
}

thread_local! {
    static WISH: Cell<Wish> = const { Cell::new(Wish { open: 0, clean: false }) };
    static KEEP: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
    static UNMAP: Cell<bool> = const { Cell::new(false) };
    static RESIDENT: Cell<usize> = const { Cell::new(0) };
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// Takes a wish back, also after a panic.
struct Until<F: Fn()>(F);

impl<F: Fn()> Drop for Until<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `make`, whose new memories are as `wish` says.
pub fn wishing<R>(wish: Wish, make: impl FnOnce() -> R) -> R {
    let _until = Until(|| WISH.set(Wish::default()));
    WISH.set(wish);
    make()
}

/// Runs `drop`; the first memory that it throws away keeps the pages of these ranges resident, as (from, to) in bytes,
/// in order and apart from one another.
pub fn keeping<R>(ranges: Vec<(usize, usize)>, drop: impl FnOnce() -> R) -> R {
    let _until = Until(|| KEEP.set(Vec::new()));
    KEEP.set(ranges);
    drop()
}

/// The next memory that this thread throws away may have huge pages, which the next one must ask for itself.
pub fn do_not_use_again() {
    UNMAP.set(true);
}

/// Bytes of resident pages that the memory came with that this thread made last.
pub fn came_resident() -> usize {
    RESIDENT.get()
}

/// Whether there was no address space for a memory that this thread wanted since it asked last.
pub fn was_refused() -> bool {
    REFUSED.take()
}

#[cfg(target_os = "linux")]
mod imp {
    use std::cell::RefCell;
    use std::io::Error as IoError;
    use std::ptr::{self, NonNull};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    use wasmtime::{Config, Error, LinearMemory, MemoryCreator, MemoryType};

    use super::{KEEP, REFUSED, RESIDENT, UNMAP, WISH};

    /// A memory that grew beyond this is not used again: its page tables would outlive it.
    const WORTH_KEEPING: usize = 16 << 20;

    /// The reservations of one engine, all of one size.
    pub struct Reservations {
        /// Each with the moment since when it waits, oldest first.
        idle: Mutex<Vec<(Reservation, Instant)>>,
        /// How many wait at most.
        most: usize,
        /// Bytes that ready instances hold, which are counted elsewhere.
        resident: Arc<AtomicUsize>,
        /// What they and the reservations that wait may hold together.
        budget: usize,
    }

    impl Reservations {
        /// None yet; at most `most` will wait, and keep pages of `budget` bytes less those that are `resident` anyway.
        pub fn new(most: usize, resident: Arc<AtomicUsize>, budget: usize) -> Arc<Reservations> {
            Arc::new(Reservations { idle: Mutex::default(), most, resident, budget })
        }

        /// Makes `config` take its memories from here. A module's initial data is then copied into each of them.
        pub fn serve(self: &Arc<Self>, config: &mut Config) {
            config.memory_init_cow(false).with_host_memory(Arc::new(Creator(Arc::clone(self))));
        }

        /// How many wait.
        pub fn waiting(&self) -> usize {
            self.lock().len()
        }

        /// Lets go of what has waited for `age`.
        pub fn release(&self, age: Duration) {
            let mut idle = self.lock();
            let now = Instant::now();
            // The last to come are the first to be used again, so those that wait for long are at the front.
            let old = idle.partition_point(|(_, since)| now.duration_since(*since) >= age);
            let released: Vec<_> = idle.drain(..old).collect();
            drop(idle);
            drop(released);
        }

        /// Bytes of pages that waiting reservations keep.
        pub fn kept(&self) -> usize {
            self.lock().iter().map(|(reservation, _)| reservation.kept).sum()
        }

        /// Bytes of pages that the next memory will come with.
        pub fn next_kept(&self) -> usize {
            self.lock().last().map_or(0, |(reservation, _)| reservation.kept)
        }

        /// Bytes of pages that may become resident now.
        pub fn room(&self) -> usize {
            self.budget.saturating_sub(self.kept()).saturating_sub(self.resident.load(SeqCst))
        }

        /// One that waits; if `clean`, without resident pages.
        fn take(&self, clean: bool) -> Option<Reservation> {
            let (mut reservation, _) = self.lock().pop()?;
            let usable = !clean || reservation.kept == 0 || reservation.clear(&[]);
            usable.then_some(reservation)
        }

        fn lock(&self) -> MutexGuard<'_, Vec<(Reservation, Instant)>> {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Whether this system gives pages back as promised; an emulator may not.
    pub fn usable() -> bool {
        static USABLE: LazyLock<bool> = LazyLock::new(|| {
            let Ok(mut probe) = Reservation::map(1 << 16) else { return false };
            if probe.open(1 << 16).is_err() {
                return false;
            }
            // SAFETY: the byte lies in the accessible part of the probe's own mapping.
            unsafe { probe.base.write_volatile(1) };
            // SAFETY: as above.
            probe.clear(&[]) && unsafe { probe.base.read_volatile() } == 0
        });
        *USABLE
    }

    /// Mapped address space of which the first bytes are accessible. All of it reads as zeroes while it waits.
    struct Reservation {
        base: NonNull<u8>,
        length: usize,
        accessible: usize,
        /// Bytes of its pages that are resident.
        kept: usize,
    }

    // SAFETY: the mapping belongs to this value alone, whatever thread holds it.
    unsafe impl Send for Reservation {}
    // SAFETY: as above; a shared reference gives access to nothing but its numbers.
    unsafe impl Sync for Reservation {}

    impl Reservation {
        fn map(length: usize) -> Result<Reservation, IoError> {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a new mapping at an address of the kernel's choice touches no other.
            let base = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
            if base == libc::MAP_FAILED {
                return Err(IoError::last_os_error());
            }
            let base = NonNull::new(base.cast()).ok_or(IoError::from_raw_os_error(libc::ENOMEM))?;
            Ok(Reservation { base, length, accessible: 0, kept: 0 })
        }

        /// Makes the first `size` bytes accessible; they hold what they held, zeroes if nobody wrote to them.
        fn open(&mut self, size: usize) -> Result<(), IoError> {
            if size <= self.accessible {
                return Ok(());
            }
            if size > self.length {
                return Err(IoError::from_raw_os_error(libc::ENOMEM));
            }
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: the range lies in this mapping.
            if unsafe { libc::mprotect(self.base.as_ptr().cast(), size, access) } != 0 {
                return Err(IoError::last_os_error());
            }
            self.accessible = size;
            Ok(())
        }

        /// Makes it as new, but for what is accessible, and for the pages between (from, to), which hold zeroes and stay
        /// resident. False if the kernel did not.
        fn clear(&mut self, keep: &[(usize, usize)]) -> bool {
            // SAFETY: the range lies in this mapping, whose memory is over, so nobody reads what is given back.
            let give_back = |from: usize, to: usize| unsafe {
                from == to || libc::madvise(self.base.add(from).as_ptr().cast(), to - from, libc::MADV_DONTNEED) == 0
            };
            let (mut at, mut kept) = (0, 0);
            for &(from, to) in keep {
                let (from, to) = (from.min(self.accessible), to.min(self.accessible));
                // A private mapping without a file reads as zeroes where its pages were given back.
                if !give_back(at, from) {
                    return false;
                }
                // SAFETY: the range is an accessible part of this mapping, whose memory is over.
                unsafe { self.base.add(from).write_bytes(0, to - from) };
                at = to;
                kept += to - from;
            }
            self.kept = kept;
            give_back(at, self.accessible)
        }
    }

    impl Drop for Reservation {
        fn drop(&mut self) {
            // SAFETY: the mapping is this value's own, and its memory is over.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
        }
    }

    /// The memory of one instance.
    struct Memory {
        /// Taken out when it is over.
        reservation: Option<Reservation>,
        size: usize,
        /// Where the reservation goes afterwards; nowhere if the pages behind `size` had to be inaccessible.
        home: Option<Arc<Reservations>>,
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            let (Some(home), Some(mut reservation)) = (self.home.take(), self.reservation.take()) else { return };
            // A thread that ends may have lost its list already.
            let keep = KEEP.try_with(RefCell::take).unwrap_or_default();
            let bytes: usize = keep.iter().map(|(from, to)| to - from).sum();
            let keep = if bytes <= home.room() { &keep[..] } else { &[] };
            if UNMAP.replace(false) || reservation.accessible > WORTH_KEEPING || !reservation.clear(keep) {
                return;
            }
            let mut idle = home.lock();
            if idle.len() < home.most {
                idle.push((reservation, Instant::now()));
            }
        }
    }

    // SAFETY: the bytes up to `size` are accessible and the pointer never moves, because growth stays inside the mapping.
    unsafe impl LinearMemory for Memory {
        fn byte_size(&self) -> usize {
            self.size
        }

        fn byte_capacity(&self) -> usize {
            self.reservation.as_ref().map_or(0, |reservation| reservation.length)
        }

        fn grow_to(&mut self, size: usize) -> Result<(), Error> {
            if let Some(reservation) = &mut self.reservation {
                reservation.open(size)?;
            }
            self.size = size;
            Ok(())
        }

        fn as_ptr(&self) -> *mut u8 {
            self.reservation.as_ref().map_or(ptr::null_mut(), |reservation| reservation.base.as_ptr())
        }
    }

    /// Hands reservations out as memories. For engines whose guests check their memory's size at every access, unless it
    /// names a maximum: the compiler may then make checks coarser, and pages behind the size must be inaccessible.
    struct Creator(Arc<Reservations>);

    // SAFETY: every memory is zeroed, has a mapping of its own that is as long as the engine asks, and keeps it until its
    // instance is over. No guard is asked for, see `EngineOptions::layout`.
    unsafe impl MemoryCreator for Creator {
        fn new_memory(
            &self,
            ty: MemoryType,
            minimum: usize,
            _maximum: Option<usize>,
            reserved: Option<usize>,
            guard: usize,
        ) -> Result<Box<dyn LinearMemory>, String> {
            let length = reserved.unwrap_or(minimum) + guard;
            let again = ty.maximum().is_none();
            let wish = WISH.get();
            let found = if again { self.0.take(wish.clean) } else { None };
            let mapped = found.map_or_else(|| Reservation::map(length), Ok);
            REFUSED.set(mapped.is_err());
            let mut reservation = mapped.map_err(|error| {
                format!(
                    "no {length} bytes of address space (lower memoryReservationBytes or memoryGuardBytes): {error}"
                )
            })?;
            RESIDENT.set(std::mem::take(&mut reservation.kept));
            let open = if again { wish.open.clamp(minimum, length.max(minimum)) } else { minimum };
            reservation.open(open).map_err(|error| format!("a memory of {minimum} bytes: {error}"))?;
            let home = again.then(|| Arc::clone(&self.0));
            Ok(Box::new(Memory { reservation: Some(reservation), size: minimum, home }))
        }
    }
}

/// Elsewhere no call gives pages back for sure: the engine maps memories itself.
#[cfg(not(target_os = "linux"))]
mod imp {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use wasmtime::Config;

    /// No reservations, but the budget of resident memory.
    pub struct Reservations {
        resident: Arc<AtomicUsize>,
        budget: usize,
    }

    impl Reservations {
        /// What is `resident` may have `budget` bytes.
        pub fn new(_most: usize, resident: Arc<AtomicUsize>, budget: usize) -> Arc<Reservations> {
            Arc::new(Reservations { resident, budget })
        }

        /// Leaves the engine as it is.
        pub fn serve(self: &Arc<Self>, _config: &mut Config) {}

        /// None wait.
        pub fn waiting(&self) -> usize {
            0
        }

        /// Nothing to let go of.
        pub fn release(&self, _age: Duration) {}

        /// None are kept.
        pub fn kept(&self) -> usize {
            0
        }

        /// None come.
        pub fn next_kept(&self) -> usize {
            0
        }

        /// Bytes of pages that may become resident now.
        pub fn room(&self) -> usize {
            self.budget.saturating_sub(self.resident.load(SeqCst))
        }
    }

    /// Never.
    pub fn usable() -> bool {
        false
    }
}

pub use imp::{Reservations, usable};

#[cfg(all(test, target_os = "linux"))]
#[path = "memory_tests.rs"]
mod tests;
