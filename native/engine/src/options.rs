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
    /// Tables that a guest may have.
    pub max_tables: u32,
    /// Elements of one table.
    pub max_table_elements: u32,
    /// Elements of one table in the pool, which reserves them.
    pub pool_table_elements: u32,
    /// Compiled modules that no slot serves and that are kept.
    pub max_cached_modules: u32,
    /// Bytes of those.
    pub max_cached_module_bytes: u64,
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
    /// Bytes of resident memory that the memories of finished calls may hold.
    pub resident_budget_bytes: u64,
    /// Bytes of requests that off-thread calls may hold, each until its call ends.
    pub max_staging_bytes: u64,
    /// Bytes of memory that the live instances of streams may hold.
    pub max_stream_bytes: u64,
    /// Whether failures of guests have the stack of wasm functions; see [`crate::failure::Frame`].
    pub explain: bool,
    /// Engines of different groups are different engines.
    pub group: Option<String>,
}

/// What a guest's 32-bit address can reach. A reservation and guard of this size take bounds checks away altogether.
const ADDRESSABLE_BYTES: u64 = 4 << 30;

/// How wasmtime is told to lay a memory out, and with it how guests check their bounds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Bytes of address space for a memory.
    pub reservation: u64,
    /// Bytes of inaccessible address space after the reservation.
    pub guard: u64,
    /// Whether a memory may move when it grows.
    pub may_move: bool,
}

/// What decides which code the compiler generates. An image runs in engines of the same settings alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CodeSettings {
    /// The layout of memories.
    pub memory: Layout,
    /// The layout of heaps for references, which guests do not have.
    pub gc_heap: Layout,
    /// Whether initial data is mapped copy-on-write.
    pub copy_on_write: bool,
}

impl EngineOptions {
    /// The settings of modules whose memories are reused, or are not.
    pub fn code_settings(&self, reuses_memories: bool) -> CodeSettings {
        let mapped = self.mapped_layout();
        let memory = if reuses_memories { EngineOptions::reused_layout() } else { mapped.clone() };
        // A pool with reference types requires both kinds of heap to be laid out alike.
        CodeSettings { memory, gc_heap: mapped, copy_on_write: !reuses_memories }
    }

    /// Whether the memories of finished calls are reused, see [`crate::memory`].
    pub fn reuses_memories(&self) -> bool {
        let cap = u64::from(self.memory_max_pages) << 16;
        !self.pooling
            && cap <= self.memory_reservation_bytes
            && self.memory_reservation_bytes.saturating_add(self.memory_guard_bytes) < ADDRESSABLE_BYTES
            && memory::usable()
    }

    /// The layout of memories that wasmtime maps itself. Where the reservation and the guard allow it, the compiler makes
    /// checks coarser than the memory's size and leaves the rest to inaccessible pages.
    pub fn mapped_layout(&self) -> Layout {
        Layout {
            reservation: self.memory_reservation_bytes,
            guard: self.memory_guard_bytes,
            may_move: u64::from(self.memory_max_pages) << 16 > self.memory_reservation_bytes,
        }
    }

    /// The layout of memories that are reused. Without a reservation and a guard to rely on, the compiler compares every
    /// access with the memory's present size, to the byte, whether or not the module names a maximum. So pages after that
    /// size may be accessible before the guest grows into them, and growing changes no protection: that is a change of the
    /// address space, and by far the slowest thing that a small call does. The address space is reserved all the same.
    pub fn reused_layout() -> Layout {
        Layout { reservation: 0, guard: 0, may_move: true }
    }
}
