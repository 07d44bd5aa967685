//! The host's part of a store.

use wasmtime::{StoreLimits, StoreLimitsBuilder};

/// What an instance of a module may have.
#[derive(Clone, Copy)]
pub struct InstanceLimits {
    /// Bytes of a memory.
    pub memory_bytes: usize,
    /// Tables.
    pub tables: usize,
    /// Elements of one table.
    pub table_elements: usize,
}

/// The data of a store: the limits of its guest.
pub struct HostState {
    /// What wasmtime asks before a memory or a table is created or grows.
    pub limits: StoreLimits,
}

impl HostState {
    /// The state of an instance with these limits.
    pub fn new(limits: InstanceLimits) -> HostState {
        let InstanceLimits { memory_bytes, tables, table_elements } = limits;
        let limits = StoreLimitsBuilder::new().memory_size(memory_bytes).tables(tables).table_elements(table_elements);
        HostState { limits: limits.build() }
    }
}
