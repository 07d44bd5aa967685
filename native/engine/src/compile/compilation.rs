//! The handle to a compilation.

use std::sync::Arc;

use super::job::Job;
use super::{Request, supervisor};
use crate::failure::Failure;

/// A compilation that its caller waits for. Dropping it cancels it.
pub struct Compilation(Arc<Job>);

/// Queues a compilation. Fails immediately if the queue is full, if the same content recently exceeded these limits, or if
/// the supervisor cannot be started.
pub fn submit(request: Request) -> Result<Compilation, Failure> {
    supervisor::submit(request).map(Compilation)
}

impl Compilation {
    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Blocks this thread until it has ended.
    pub fn wait(&self) {
        self.0.wait();
    }

    /// Cancels it immediately: it leaves the queue, or its process is killed unless another compilation waits for its
    /// result.
    pub fn cancel(&self) {
        self.0.cancel();
        supervisor::cancelled();
    }

    /// Returns the image once, after the compilation has ended.
    pub fn take(&self) -> Result<Arc<Vec<u8>>, Failure> {
        self.0.take()
    }
}

impl Drop for Compilation {
    fn drop(&mut self) {
        if !self.ended() {
            self.cancel();
        }
    }
}
