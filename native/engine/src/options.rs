//! What makes two engines different, and how memories are laid out because of it.

use crate::memory;

/// Everything that makes two engines different. Every field is filled in by TypeScript.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EngineOptions {
    /// Pooling or, if false, on-demand allocation.
    pub pooling: bool,
    /// Pages of 64 KiB that a memory may have.
    pub memory_max_pages: u32,
    /// Bytes of native stack that a guest may use.
    pub max_wasm_stack: u32,
    /// Memories in the pool.
    pub pool_total_memories: u32,
    /// Core instances in the pool; also how many calls may run at once under either strategy.
    pub pool_total_core_instances: u32,
    /// Bytes of address space reserved for a memory.
    pub memory_reservation_bytes: u64,
    /// Bytes of guard behind a memory.
    pub memory_guard_bytes: u64,
    /// Bytes at the start of a pooled memory that stay resident and are reset by copying.
    pub keep_resident_bytes: u64,
    /// Whether instances are prepared ahead of calls.
    pub prepare: bool,
    /// Whether the pages that calls are known to touch are faulted in ahead of calls.
    pub prefault: bool,
    /// Bytes of resident memory that idle instances may hold.
    pub resident_budget_bytes: u64,
    /// Bytes of requests that off-thread calls may hold, each until its call ends.
    pub max_staging_bytes: u64,
    /// Engines of different groups are different engines.
    pub group: Option<String>,
}

/// What a guest's 32-bit address can reach. A reservation and guard of this size take bounds checks away altogether.
const ADDRESSABLE_BYTES: u64 = 4 << 30;

/// How wasmtime is told to lay a memory out, and with it how guests check their bounds.
pub struct Layout {
    /// Bytes of address space for a memory.
    pub reservation: u64,
    /// Bytes of inaccessible address space after the reservation.
    pub guard: u64,
    /// Whether a memory may move when it grows.
    pub may_move: bool,
}

impl EngineOptions {
    /// Whether every access of a guest is compared with its memory's present size, to the byte, if the memory names no
    /// maximum. Then pages behind that size can be accessible before the guest grows into them, and growing changes no
    /// protection: that is a change of the address space, and by far the slowest thing that a small call does.
    pub fn checks_size(&self) -> bool {
        let cap = u64::from(self.memory_max_pages) << 16;
        cap <= self.memory_reservation_bytes
            && self.memory_reservation_bytes.saturating_add(self.memory_guard_bytes) < ADDRESSABLE_BYTES
    }

    /// Whether memories on demand are taken from those of instances that are over, see [`crate::memory`].
    pub fn reuses_memories(&self) -> bool {
        !self.pooling && self.prepare && self.checks_size() && memory::usable()
    }

    /// Instances that may be ready or wait to be thrown away: at most half of the pool, so that calls find a place.
    pub fn most_prepared(&self) -> usize {
        let places = match self.pooling {
            true => self.pool_total_core_instances.min(self.pool_total_memories),
            false => self.pool_total_core_instances,
        };
        places as usize / 2
    }

    /// wasmtime lets the checks be coarse, up to the reservation or the guard behind it, and leaves the rest to
    /// inaccessible pages, if a memory cannot move or has a guard. So the guard is made a part of the reservation: the
    /// address space behind a memory is as inaccessible, but checks are exact. No memory moves for that: its cap fits. A
    /// memory that names a maximum is compared with the reservation all the same.
    pub fn layout(&self) -> Layout {
        let (reservation, guard) = (self.memory_reservation_bytes, self.memory_guard_bytes);
        if self.checks_size() {
            return Layout { reservation: reservation + guard, guard: 0, may_move: true };
        }
        let may_move = u64::from(self.memory_max_pages) << 16 > self.memory_reservation_bytes;
        Layout { reservation, guard, may_move }
    }
}
