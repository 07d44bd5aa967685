//! What a memory counts for in the budget of its engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The charge of a memory in bytes, until it is dropped.
pub struct Charge {
    charged: Arc<AtomicUsize>,
    bytes: usize,
}

impl Charge {
    /// A charge of no bytes, which is part of the sum `charged`.
    pub fn new(charged: Arc<AtomicUsize>) -> Charge {
        Charge { charged, bytes: 0 }
    }

    /// The charge in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the charge.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.charged.fetch_add(bytes - self.bytes, Relaxed);
        } else {
            self.charged.fetch_sub(self.bytes - bytes, Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}
