//! Memories of instances that are allocated on demand: reservations of address space that outlive their instance and
//! are used again. Mapping and unmapping one changes the address space of the process, for which its other threads wait
//! and are interrupted; with that, preparing instances beside their calls costs more than it saves.
//!
//! What an instance wrote is given back to the kernel before the next one gets its reservation: it then reads zeroes.

#[cfg(target_os = "linux")]
mod imp {
    use std::io::Error as IoError;
    use std::ptr::{self, NonNull};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use wasmtime::{Config, Error, LinearMemory, MemoryCreator, MemoryType};

    /// A memory that grew beyond this is not used again: its page tables would outlive it.
    const WORTH_KEEPING: usize = 16 << 20;
    /// One that grew beyond this may have got huge pages, which the next one must ask for itself.
    const HUGE_PAGE: usize = 2 << 20;

    /// The reservations of one engine, all of one size.
    pub struct Reservations {
        idle: Mutex<Vec<Reservation>>,
        /// How many wait at most.
        most: usize,
    }

    impl Reservations {
        /// None yet; at most `most` will be kept.
        pub fn new(most: usize) -> Arc<Reservations> {
            Arc::new(Reservations { idle: Mutex::default(), most })
        }

        /// Makes `config` take its memories from here. A module's initial data is then copied into each of them.
        pub fn serve(self: &Arc<Self>, config: &mut Config) {
            config.memory_init_cow(false).with_host_memory(Arc::new(Creator(Arc::clone(self))));
        }

        /// Whether any wait.
        pub fn any(&self) -> bool {
            !self.lock().is_empty()
        }

        /// Lets go of what waits.
        pub fn release(&self) {
            let released = std::mem::take(&mut *self.lock());
            drop(released);
        }

        fn lock(&self) -> MutexGuard<'_, Vec<Reservation>> {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Mapped address space of which the first bytes are accessible. All of it reads as zeroes while it waits.
    struct Reservation {
        base: NonNull<u8>,
        length: usize,
        accessible: usize,
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
            Ok(Reservation { base, length, accessible: 0 })
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

        /// Makes it as new, but for what is accessible. False if the kernel did not.
        fn clear(&self) -> bool {
            // SAFETY: the range lies in this mapping, whose memory is over, so nobody reads what is given back.
            let advise = |length, advice| unsafe { libc::madvise(self.base.as_ptr().cast(), length, advice) } == 0;
            let plain = self.accessible <= HUGE_PAGE || advise(self.length, libc::MADV_NOHUGEPAGE);
            // A private mapping without a file reads as zeroes afterwards.
            plain && advise(self.accessible, libc::MADV_DONTNEED)
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
            let (Some(home), Some(reservation)) = (self.home.take(), self.reservation.take()) else { return };
            if reservation.accessible > WORTH_KEEPING || !reservation.clear() {
                return;
            }
            let mut idle = home.lock();
            if idle.len() < home.most {
                idle.push(reservation);
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
            let found = if again { self.0.lock().pop() } else { None };
            let mapped = found.map_or_else(|| Reservation::map(length), Ok);
            let mut reservation = mapped.map_err(|error| format!("mmap of {length} bytes: {error}"))?;
            reservation.open(minimum).map_err(|error| format!("a memory of {minimum} bytes: {error}"))?;
            let home = again.then(|| Arc::clone(&self.0));
            Ok(Box::new(Memory { reservation: Some(reservation), size: minimum, home }))
        }
    }
}

/// Elsewhere no call gives pages back for sure: the engine maps memories itself.
#[cfg(not(target_os = "linux"))]
mod imp {
    use std::sync::Arc;

    use wasmtime::Config;

    /// Nothing.
    pub struct Reservations;

    impl Reservations {
        /// Nothing.
        pub fn new(_most: usize) -> Arc<Reservations> {
            Arc::new(Reservations)
        }

        /// Leaves the engine as it is.
        pub fn serve(self: &Arc<Self>, _config: &mut Config) {}

        /// None wait.
        pub fn any(&self) -> bool {
            false
        }

        /// Nothing to let go of.
        pub fn release(&self) {}
    }
}

pub use imp::Reservations;
