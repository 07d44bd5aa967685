//! Elsewhere than on Linux no call is known to return pages for sure: memories are wasmtime's own, and none is reused.

use wasmtime::Config;

use crate::pool::Charge;

/// There is none.
pub enum Reservation {}

impl Reservation {
    /// Nothing to reset.
    pub fn reset(&mut self) -> bool {
        match *self {}
    }

    /// Nothing is resident.
    pub fn resident_bytes(&self) -> usize {
        match *self {}
    }

    /// Counts for nothing.
    pub fn charge(&mut self) -> &mut Option<Charge> {
        match *self {}
    }
}

/// Leaves the engine as it is.
pub fn serve(_config: &mut Config, _front: usize, _length: usize) {}

/// Never.
pub fn usable() -> bool {
    false
}
