//! The options that distinguish engines, and the layout of their memories.

use crate::memory;

/// The options that distinguish engines. TypeScript sets every field.
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
    /// Compiled modules that are cached while no slot uses them.
    pub max_cached_modules: u32,
    /// Bytes of these modules.
    pub max_cached_module_bytes: u64,
    /// Memories in the pool.
    pub pool_total_memories: u32,
    /// Core instances in the pool; also the maximum number of concurrent calls under either strategy.
    pub pool_total_core_instances: u32,
    /// Bytes of address space reserved for a memory.
    pub memory_reservation_bytes: u64,
    /// Bytes of guard region after a memory.
    pub memory_guard_bytes: u64,
    /// Bytes at the start of a pooled memory that stay resident and are reset by copying.
    pub keep_resident_bytes: u64,
    /// Bytes of resident memory that the memories of finished calls may hold.
    pub resident_budget_bytes: u64,
    /// Bytes of staged requests of off-thread calls, each counted until its call ends.
    pub max_staging_bytes: u64,
    /// Bytes of memory that the live instances of streams may hold.
    pub max_stream_bytes: u64,
    /// Whether failures of guests have the stack of wasm functions; see [`crate::failure::Frame`].
    pub explain: bool,
    /// Separates engines with otherwise equal options.
    pub group: Option<String>,
}

/// The range of a guest's 32-bit address. With a reservation and guard of this size, no bounds checks are compiled.
const ADDRESSABLE_BYTES: u64 = 4 << 30;

/// The layout of a memory, which determines how guests check bounds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Bytes of address space for a memory.
    pub reservation: u64,
    /// Bytes of inaccessible address space after the reservation.
    pub guard: u64,
    /// Whether a memory may move when it grows.
    pub may_move: bool,
}

/// The settings that determine the code that the compiler generates. An image runs only in engines with the same
/// settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CodeSettings {
    /// The layout of memories.
    pub memory: Layout,
    /// The layout of heaps for references, which guests do not have.
    pub gc_heap: Layout,
    /// Whether initial data is mapped copy-on-write.
    pub copy_on_write: bool,
    /// Whether the image has the offset in the module of each instruction, for explained failures. It is a tenth of an image.
    pub address_map: bool,
}

impl EngineOptions {
    /// The settings of modules whose memories are reused or not reused.
    pub fn code_settings(&self, reuses_memories: bool) -> CodeSettings {
        let mapped = self.mapped_layout();
        let memory = if reuses_memories { EngineOptions::reused_layout() } else { mapped.clone() };
        // A pool with reference types requires both kinds of heap to be laid out alike.
        CodeSettings { memory, gc_heap: mapped, copy_on_write: !reuses_memories, address_map: self.explain }
    }

    /// Whether the memories of finished calls are reused, see [`crate::memory`].
    pub fn reuses_memories(&self) -> bool {
        let cap = u64::from(self.memory_max_pages) << 16;
        !self.pooling
            && cap <= self.memory_reservation_bytes
            && self.memory_reservation_bytes.saturating_add(self.memory_guard_bytes) < ADDRESSABLE_BYTES
            && memory::usable()
    }

    /// The layout of memories that wasmtime maps itself. If the reservation and the guard allow it, the compiler makes
    /// checks less precise than the memory's size, and inaccessible pages catch the remaining accesses.
    pub fn mapped_layout(&self) -> Layout {
        Layout {
            reservation: self.memory_reservation_bytes,
            guard: self.memory_guard_bytes,
            may_move: u64::from(self.memory_max_pages) << 16 > self.memory_reservation_bytes,
        }
    }

    /// The layout of memories that are reused. Without a reservation and a guard to rely on, the compiler compares
    /// every access with the exact current size of the memory, whether or not the module declares a maximum. Pages
    /// after that size may be accessible before the guest grows into them, so that growing changes no protection, which
    /// would be a change of the address space and by far the slowest step of a small call. The address space is
    /// reserved nevertheless.
    pub fn reused_layout() -> Layout {
        Layout { reservation: 0, guard: 0, may_move: true }
    }
}
