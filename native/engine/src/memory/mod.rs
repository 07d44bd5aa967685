//! Linear memories that outlive the instances that use them.
//!
//! Mapping and unmapping a memory changes the address space of the process: every thread waits for that, and every CPU
//! that runs one is interrupted. So the memory of a finished call is reset on the calling thread and kept for the next
//! call. In the steady state a call makes one system call for its memory: it reads the page map.
//!
//! ```text
//!   no idle memory: mmap                     idle for long, or the longest when others need space: munmap
//!            │                                                  ▲
//!            ▼                                                  │
//!   ┌─ Reservation ◄────────────── lease ────────────── IdleMemories
//!   │  supplied by                                      idle: accessible, all zero,
//!   │  the Exchange of                                  resident as far as the working set
//!   │  this thread                                              ▲
//!   ▼                                                           │ keep
//! LinearMemory of one store                             reset: pages that the page map
//!   the guest grows and writes it                       shows resident are zeroed if they
//!   │                                                   are in the working set, and
//!   │ the store is dropped                              returned to the kernel if not
//!   └─────────────────────────► Exchange ───────────────────────┘
//!                                                               │ the kernel refuses, or
//!                                                               ▼ the budget is exhausted
//!                                                             munmap
//! ```
//!
//! Isolation does not depend on the working set. A reset memory reads as zero because each of its pages is either
//! overwritten, or returned, or known from the page map to have no contents; pages that the guest could not access are
//! unchanged since the previous reset. Guests compare every access with the current size of their memory, to the byte
//! (see [`crate::options`]), so pages after that size may be accessible and resident.

#[cfg(target_os = "linux")]
mod creator;
mod exchange;
#[cfg(target_os = "linux")]
mod page_map;
#[cfg(target_os = "linux")]
mod reservation;
#[cfg(target_os = "linux")]
mod working_set;

// Tests on Linux compile it too, because a build for another system is rare.
#[cfg(any(test, not(target_os = "linux")))]
mod fallback;
#[cfg(not(target_os = "linux"))]
use fallback::{self as creator, self as reservation};

pub use creator::serve;
pub use exchange::Exchange;
pub use reservation::{Reservation, usable};

use crate::charge::Charge;

/// What the pool does with the memory of a finished call, on every system.
pub trait Reusable {
    /// Makes the whole memory read as zero after its instance was dropped, and keeps at most `max_resident` bytes
    /// resident. Returns false if the kernel refused: the contents are then undefined, and the memory must be dropped.
    fn reset(&mut self, max_resident: usize) -> bool;

    /// Bytes that may be resident while it is idle.
    fn resident_bytes(&self) -> usize;

    /// Bytes that the call before the last reset used for certain: of a call that found resident pages, those that it
    /// added.
    fn used_bytes(&self) -> usize;

    /// Its bytes in the budget of its engine.
    fn charge(&mut self) -> &mut Option<Charge>;
}
