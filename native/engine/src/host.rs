//! The host's part of a store.

use wasmtime::{StoreLimits, StoreLimitsBuilder};

/// The data of a store: the limits of its guest.
pub struct HostState {
    /// What wasmtime asks before a memory or a table is created or grows.
    pub limits: StoreLimits,
}

impl HostState {
    /// Limits a guest to memories of `memory_cap` bytes and to `max_tables` tables of `max_table_elements` elements each.
    pub fn new(memory_cap: usize, max_tables: usize, max_table_elements: usize) -> HostState {
        let limits =
            StoreLimitsBuilder::new().memory_size(memory_cap).tables(max_tables).table_elements(max_table_elements);
        HostState { limits: limits.build() }
    }
}
