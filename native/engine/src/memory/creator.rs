//! The linear memory of one instance: a reservation as wasmtime uses it.

use std::ptr;
use std::sync::Arc;

use wasmtime::{Config, Error, LinearMemory, MemoryCreator, MemoryType};

use super::exchange;
use super::reservation::Reservation;

/// Makes `config` get its linear memories from the running calls, each a reservation of `length` bytes after an
/// inaccessible region of `front` bytes. `config` must make the compiler reserve nothing and rely on no guard, so that
/// every access is compared with the current size of its memory. Initial data is copied into each memory.
pub fn serve(config: &mut Config, front: usize, length: usize) {
    config.with_host_memory(Arc::new(Creator { front, length }));
}

struct Creator {
    front: usize,
    length: usize,
}

// SAFETY: every memory is zeroed, has its own mapping, which is at least as long as the engine asks, and keeps it
// until its instance is dropped.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        // Linear memories reserve nothing, see `serve`. A heap for references does, and is never reused.
        let reserved = reserved.unwrap_or(0);
        let linear = reserved == 0;
        let (front, length) = if linear { (self.front, self.length) } else { (0, reserved + guard) };
        let supplied = if linear { exchange::supplied() } else { None };
        let mut reservation =
            supplied.map_or_else(|| Reservation::map(front, length).map(Box::new), Ok).map_err(|error| {
                exchange::refused();
                format!(
                    "no {length} bytes of address space (lower memoryReservationBytes or memoryGuardBytes): {error}"
                )
            })?;
        reservation.resize(minimum).map_err(|error| {
            exchange::refused();
            format!("a memory of {minimum} bytes: {error}")
        })?;
        Ok(Box::new(Memory { reservation: Some(reservation), linear }))
    }
}

/// The memory of one instance.
struct Memory {
    /// `Some` until it is dropped.
    reservation: Option<Box<Reservation>>,
    linear: bool,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take().filter(|_| self.linear) {
            exchange::return_memory(reservation);
        }
    }
}

// SAFETY: the bytes up to the size are accessible, and the pointer never moves, because growth stays in the mapping.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.reservation.as_ref().map_or(0, |reservation| reservation.size())
    }

    fn byte_capacity(&self) -> usize {
        self.reservation.as_ref().map_or(0, |reservation| reservation.length())
    }

    fn grow_to(&mut self, size: usize) -> Result<(), Error> {
        if let Some(reservation) = &mut self.reservation {
            reservation.resize(size)?;
        }
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.reservation.as_ref().map_or(ptr::null_mut(), |reservation| reservation.base())
    }
}
