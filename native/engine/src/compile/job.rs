//! A compilation, shared by its requester and the supervisor.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::queue::{Principal, Waiting};
use super::{CompileIn, Request, host_failure};
use crate::failure::Failure;

/// An image, shared by everything that waits for it, and the digest of the module that the compiler reports.
#[derive(Clone)]
pub struct Compiled {
    /// The result of `Engine::precompile_module`.
    pub image: Arc<Vec<u8>>,
    /// BLAKE3 of the module.
    pub digest: [u8; blake3::OUT_LEN],
}

/// How a compilation ended.
pub type Outcome = Result<Compiled, Failure>;

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    ended: bool,
    cancelled: bool,
}

/// A compilation. The supervisor ends it once; later results are dropped.
pub struct Job {
    /// The request.
    pub request: Request,
    /// The time of the request.
    pub submitted: Instant,
    state: Mutex<State>,
    ended: Condvar,
}

impl Job {
    /// A compilation that has not started.
    pub fn new(request: Request) -> Job {
        Job { request, submitted: Instant::now(), state: Mutex::default(), ended: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it unless it has ended, and wakes the waiting threads.
    pub fn end(&self, outcome: Outcome) {
        let mut state = self.state();
        if !state.ended {
            state.ended = true;
            // A canceled compilation drops its image.
            state.outcome = (!state.cancelled).then_some(outcome);
            self.ended.notify_all();
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Whether it was canceled.
    pub fn cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Blocks this thread until the compilation has ended.
    pub fn wait(&self) {
        let mut state = self.state();
        while !state.ended {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Marks it as cancelled; the supervisor acts on it.
    pub fn cancel(&self) {
        self.state().cancelled = true;
    }

    /// Returns the result once, after the compilation has ended.
    pub fn take(&self) -> Result<Arc<Vec<u8>>, Failure> {
        let outcome = self.state().outcome.take();
        let compiled = outcome.unwrap_or(Err(Failure::Cancelled))?;
        if compiled.digest != *blake3::hash(&self.request.wasm).as_bytes() {
            return Err(host_failure(false, "the compile process answered for another module"));
        }
        Ok(compiled.image)
    }

    /// Whether another one that starts now has the same result.
    pub fn equals(&self, other: &Job) -> bool {
        let (request, other) = (&self.request, &other.request);
        let same_place = match (&request.compile_in, &other.compile_in) {
            (CompileIn::Process { command, .. }, CompileIn::Process { command: other, .. }) => command == other,
            (CompileIn::Thread, CompileIn::Thread) => true,
            _ => false,
        };
        same_place && request.hash == other.hash && request.code == other.code && request.limits == other.limits
    }

    /// Bytes of memory that it may use. Threads are not limited, so theirs is 0.
    pub fn memory(&self) -> u64 {
        match self.request.compile_in {
            CompileIn::Process { .. } => self.request.limits.memory,
            CompileIn::Thread => 0,
        }
    }
}

impl Waiting for Arc<Job> {
    fn principal(&self) -> &Principal {
        &self.request.principal
    }

    fn bytes(&self) -> u64 {
        self.request.wasm.len() as u64
    }

    fn urgent(&self) -> bool {
        self.request.urgent
    }
}
