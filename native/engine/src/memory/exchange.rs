//! Passes a memory from a call to its instance and back. wasmtime's `MemoryCreator` has no context parameter, and its
//! memories are dropped with their store, so both go through one thread-local, which a guard sets and clears.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::Reservation;

/// The state that the running call of this thread and wasmtime exchange.
#[derive(Default)]
struct State {
    /// A call runs, so that the memory of its dropped store is returned to it.
    active: bool,
    /// The memory for the next instance of this thread.
    supplied: Option<Box<Reservation>>,
    /// The memory of this thread's dropped store.
    returned: Option<Box<Reservation>>,
    /// Whether the system had no address space for a memory.
    refused: bool,
}

thread_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State { active: false, supplied: None, returned: None, refused: false })
    };
}

/// The exchange of one call, active on this thread until it is dropped. A thread runs one guest at a time, because
/// guests import nothing and cannot call back.
pub struct Exchange {
    // Not `Send`: it belongs to the thread whose state it set.
    _not_send: PhantomData<*const ()>,
}

impl Exchange {
    /// Activates an exchange. The next instance of this thread uses `memory`, or a new one.
    pub fn begin(memory: Option<Box<Reservation>>) -> Exchange {
        STATE.set(State { active: true, supplied: memory, ..State::default() });
        Exchange { _not_send: PhantomData }
    }

    /// Returns the memory of the dropped store, or the supplied one if no instance used it.
    pub fn take(&self) -> Option<Box<Reservation>> {
        STATE.with_borrow_mut(|state| state.returned.take().or_else(|| state.supplied.take()))
    }

    /// Returns whether the system had no address space for a memory since the last call, and resets the flag.
    pub fn take_refusal(&self) -> bool {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.refused))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        STATE.take();
    }
}

/// Returns the memory that the running call supplies, if any.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "memories are wasmtime's own"))]
pub(super) fn supplied() -> Option<Box<Reservation>> {
    STATE.with_borrow_mut(|state| state.supplied.take())
}

/// Records that there was no address space.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "memories are wasmtime's own"))]
pub(super) fn refused() {
    STATE.with_borrow_mut(|state| state.refused = true);
}

/// Returns the memory of a dropped store to the running call. Without one it is unmapped.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "memories are wasmtime's own"))]
pub(super) fn return_memory(memory: Box<Reservation>) {
    // The state of an ending thread may already be destroyed.
    let _ = STATE.try_with(|state| {
        let mut state = state.borrow_mut();
        if state.active {
            state.returned = Some(memory);
        }
    });
}
