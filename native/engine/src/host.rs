//! The host's part of a store.

use wasmtime::ResourceLimiter;

/// Bytes of an element of a table.
const ELEMENT_BYTES: usize = size_of::<usize>();

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

/// The data of a store: the limits of its guest, which wasmtime asks before a memory or a table is created or grows.
pub struct HostState {
    limits: InstanceLimits,
    table_bytes: usize,
}

impl HostState {
    /// The state of an instance with these limits.
    pub fn new(limits: InstanceLimits) -> HostState {
        HostState { limits, table_bytes: 0 }
    }

    /// Bytes of its tables.
    pub fn table_bytes(&self) -> usize {
        self.table_bytes
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.limits.memory_bytes)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= maximum.unwrap_or(usize::MAX).min(self.limits.table_elements);
        if allowed {
            self.table_bytes += desired.saturating_sub(current) * ELEMENT_BYTES;
        }
        Ok(allowed)
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }
}
