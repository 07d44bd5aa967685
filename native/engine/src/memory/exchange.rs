//! How a call supplies the memory of its instance and gets it back. wasmtime's `MemoryCreator` gets no context and its
//! memories are dropped with their store, so both go through one thread-local, which a guard sets and clears.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::Reservation;

/// What the call that this thread runs and wasmtime hand each other.
#[derive(Default)]
struct State {
    /// A call runs: what its store drops is wanted back.
    active: bool,
    /// The memory for the next instance of this thread.
    supplied: Option<Box<Reservation>>,
    /// The memory that this thread's store dropped.
    returned: Option<Box<Reservation>>,
    /// Whether the system had no address space for a memory.
    refused: bool,
}

thread_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State { active: false, supplied: None, returned: None, refused: false })
    };
}

/// The exchange of one call, in force on this thread until it is dropped. A thread runs one guest at a time: guests
/// import nothing, so they cannot call back.
pub struct Exchange {
    // Belongs to the thread whose state it set.
    _not_send: PhantomData<*const ()>,
}

impl Exchange {
    /// Puts an exchange in force. The next instance of this thread gets `memory`, or a new one.
    pub fn begin(memory: Option<Box<Reservation>>) -> Exchange {
        STATE.set(State { active: true, supplied: memory, ..State::default() });
        Exchange { _not_send: PhantomData }
    }

    /// The memory that came back from the dropped store, or that no instance took.
    pub fn take(&self) -> Option<Box<Reservation>> {
        STATE.with_borrow_mut(|state| state.returned.take().or_else(|| state.supplied.take()))
    }

    /// Whether the system had no address space for a memory since this was last asked.
    pub fn take_refusal(&self) -> bool {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.refused))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        STATE.take();
    }
}

/// The memory that the running call supplies, if any.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "memories are wasmtime's own"))]
pub(super) fn supplied() -> Option<Box<Reservation>> {
    STATE.with_borrow_mut(|state| state.supplied.take())
}

/// Notes that there was no address space.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "memories are wasmtime's own"))]
pub(super) fn refused() {
    STATE.with_borrow_mut(|state| state.refused = true);
}

/// Returns the memory of a dropped store to the running call. Without one it is unmapped.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "memories are wasmtime's own"))]
pub(super) fn give_back(memory: Box<Reservation>) {
    // A thread that ends may have lost its state already.
    let _ = STATE.try_with(|state| {
        let mut state = state.borrow_mut();
        if state.active {
            state.returned = Some(memory);
        }
    });
}
