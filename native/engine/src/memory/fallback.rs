//! Systems other than Linux have no call that reliably returns pages: memories are wasmtime's own, and none is reused.

use wasmtime::Config;

use super::Reusable;
use crate::charge::Charge;

/// Reservations do not exist here.
pub enum Reservation {}

impl Reusable for Reservation {
    fn reset(&mut self, _max_resident: usize) -> bool {
        match *self {}
    }

    fn resident_bytes(&self) -> usize {
        match *self {}
    }

    fn used_bytes(&self) -> usize {
        match *self {}
    }

    fn charge(&mut self) -> &mut Option<Charge> {
        match *self {}
    }
}

/// Does not change the config.
pub fn serve(_config: &mut Config, _front: usize, _length: usize) {}

/// Always false.
pub fn usable() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_memory_is_reused() {
        serve(&mut Config::new(), 0, 0);
        assert!(!usable());
        assert!(std::iter::empty::<Reservation>().all(|mut memory| memory.reset(0)));
    }
}
