//! The memory that the instances of streams may hold, shared fairly by principals.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that the live instances of all streams of an engine may hold. A principal may hold as much as is unused: alone
/// half of all, with a second one a third each, so that another one can always acquire memory.
pub struct StreamBudget {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    total: u64,
    /// Bytes by principal; a principal without any has no entry.
    held: HashMap<String, u64>,
}

/// The bytes of one instance, returned when it is dropped.
pub struct StreamCharge {
    budget: Arc<StreamBudget>,
    principal: String,
    bytes: u64,
}

impl StreamBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> StreamBudget {
        StreamBudget { limit, state: Mutex::default() }
    }

    /// Returns the bytes that instances hold.
    pub fn held(&self) -> u64 {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before the lock is released, so the state is valid after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the bytes of one instance of `principal`. Returns false without a change if the principal may not hold
    /// them.
    fn change(&self, principal: &str, from: u64, to: u64) -> bool {
        let mut state = self.lock();
        let held = state.held.get(principal).copied().unwrap_or(0) - from + to;
        let total = state.total - from + to;
        if to > from && (total > self.limit || held > self.limit - total + to - from) {
            return false;
        }
        state.total = total;
        if held == 0 {
            state.held.remove(principal);
        } else {
            state.held.insert(principal.to_owned(), held);
        }
        true
    }
}

impl StreamCharge {
    /// Creates a charge of 0 bytes.
    pub fn new(budget: &Arc<StreamBudget>, principal: &str) -> StreamCharge {
        StreamCharge { budget: Arc::clone(budget), principal: principal.to_owned(), bytes: 0 }
    }

    /// Charges `bytes` in total. Returns false if the principal may not hold them.
    pub fn set(&mut self, bytes: u64) -> bool {
        let changed = bytes == self.bytes || self.budget.change(&self.principal, self.bytes, bytes);
        if changed {
            self.bytes = bytes;
        }
        changed
    }
}

impl Drop for StreamCharge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_leaves_memory_for_another() {
        let budget = Arc::new(StreamBudget::new(100));
        let charges = |principal: &str, count: usize| -> Vec<StreamCharge> {
            let charge = |_| {
                let mut charge = StreamCharge::new(&budget, principal);
                charge.set(10).then_some(charge)
            };
            (0..count).map_while(charge).collect()
        };
        let first = charges("a", 100);
        assert_eq!(first.len(), 5, "half of the budget");
        let second = charges("b", 100);
        assert_eq!(second.len(), 3);
        assert_eq!(budget.held(), 80);
        drop((first, second));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn an_instance_that_grows_is_charged_for_it() {
        let budget = Arc::new(StreamBudget::new(100));
        let mut charge = StreamCharge::new(&budget, "a");
        assert!(charge.set(20) && charge.set(50));
        assert!(!charge.set(90));
        assert_eq!(budget.held(), 50);
        drop(charge);
        assert_eq!(budget.held(), 0);
    }
}
