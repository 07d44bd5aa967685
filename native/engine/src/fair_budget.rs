//! Bytes that principals share fairly: the instances of streams, and the requests of off-thread calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that all principals may hold. One that holds some may hold as much as then remains unused: alone half of all,
/// with a second one a third each, so that another one can acquire memory. One that holds none may acquire all that is
/// unused, so that the limit is also that of one large charge.
pub struct FairBudget {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    total: u64,
    /// Bytes by principal; a principal without any has no entry.
    held: HashMap<String, u64>,
}

/// Bytes of one principal, returned when they are dropped.
pub struct FairCharge {
    budget: Arc<FairBudget>,
    principal: String,
    bytes: u64,
}

impl FairBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> FairBudget {
        FairBudget { limit, state: Mutex::default() }
    }

    /// Returns the bytes that are held.
    pub fn held(&self) -> u64 {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before the lock is released, so the state is valid after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a charge of `principal` from `from` to `to` bytes. Returns false without a change if the principal may not
    /// hold them.
    fn change(&self, principal: &str, from: u64, to: u64) -> bool {
        let mut state = self.lock();
        let before = state.held.get(principal).copied().unwrap_or(0);
        let held = before - from + to;
        let total = (state.total - from).saturating_add(to);
        if to > from && (total > self.limit || (before > 0 && held > self.limit - total + to - from)) {
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

impl FairCharge {
    /// Creates a charge of 0 bytes.
    pub fn new(budget: &Arc<FairBudget>, principal: &str) -> FairCharge {
        FairCharge { budget: Arc::clone(budget), principal: principal.to_owned(), bytes: 0 }
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

impl Drop for FairCharge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_leaves_memory_for_another() {
        let budget = Arc::new(FairBudget::new(100));
        let charges = |principal: &str, count: usize| -> Vec<FairCharge> {
            let charge = |_| {
                let mut charge = FairCharge::new(&budget, principal);
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
    fn the_first_charge_of_a_principal_may_be_as_large_as_the_limit() {
        let budget = Arc::new(FairBudget::new(100));
        let (mut first, mut second) = (FairCharge::new(&budget, "a"), FairCharge::new(&budget, "b"));
        assert!(!first.set(101) && first.set(80));
        assert!(!second.set(21) && second.set(20));
        assert!(!FairCharge::new(&budget, "c").set(1));
    }

    #[test]
    fn a_charge_that_grows_is_counted() {
        let budget = Arc::new(FairBudget::new(100));
        let mut charge = FairCharge::new(&budget, "a");
        assert!(charge.set(20) && charge.set(50));
        assert!(!charge.set(90));
        assert_eq!(budget.held(), 50);
        drop(charge);
        assert_eq!(budget.held(), 0);
    }
}
