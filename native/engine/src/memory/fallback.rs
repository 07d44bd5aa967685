//! Systems other than Linux have no call that reliably returns pages: memories are wasmtime's own, and none is reused.

use wasmtime::Config;

use crate::charge::Charge;

/// Reservations do not exist here.
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

    /// Counts as 0 bytes.
    pub fn charge(&mut self) -> &mut Option<Charge> {
        match *self {}
    }
}

/// Does not change the config.
pub fn serve(_config: &mut Config, _front: usize, _length: usize) {}

/// Always false.
pub fn usable() -> bool {
    false
}
