//! The limit of concurrent guest calls.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::failure::{Failure, Resource};

/// Limits the number of guests that run concurrently.
// The counter has a cache line of its own: every call writes it, and other fields of the engine are read by every call.
#[repr(align(128))]
pub struct Budget {
    limit: u32,
    running: AtomicU32,
}

/// The permit of a running guest. Returns the permit on drop.
pub struct Permit<'a>(&'a Budget);

impl Budget {
    /// A budget of `limit` concurrent calls.
    pub fn new(limit: u32) -> Self {
        Budget { limit, running: AtomicU32::new(0) }
    }

    /// Acquires a permit, or fails with saturation of [`Resource::Stores`].
    pub fn take(&self) -> Result<Permit<'_>, Failure> {
        self.running
            .fetch_update(Relaxed, Relaxed, |running| (running < self.limit).then_some(running + 1))
            .map(|_| Permit(self))
            .map_err(|_| Failure::Saturated(Resource::Stores))
    }

    /// Returns the number of running guests.
    pub fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_refuses_one_more_and_takes_it_after_a_return() {
        let budget = Budget::new(1);
        let first = budget.take().expect("one fits");
        assert!(matches!(budget.take(), Err(Failure::Saturated(Resource::Stores))));
        drop(first);
        assert!(budget.take().is_ok());
    }
}
