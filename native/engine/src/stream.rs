//! The instance of one stream: it serves the events of one response, keeps its state between them, and is never shared.
//!
//! ```text
//!   new ──first event──▶ live ──event──▶ live ──close──▶ ended
//!                          └──an event fails, or the budget is exhausted──▶ ended
//! ```

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crate::engine::HotEngine;
use crate::failure::{Failure, Resource};
use crate::fair_budget::FairCharge;
use crate::instance::Instance;
use crate::module::CompiledModule;

/// One stream.
pub struct Stream {
    engine: Arc<HotEngine>,
    module: Arc<CompiledModule>,
    principal: String,
    state: Mutex<State>,
    /// Set by `close`, which cannot wait for a running event.
    closed: AtomicBool,
}

enum State {
    New,
    Live(Instance, FairCharge),
    Ended,
}

impl Stream {
    /// A stream of `principal`. Its instance is created by its first event.
    pub fn new(engine: &Arc<HotEngine>, module: &Arc<CompiledModule>, principal: String) -> Stream {
        let state = Mutex::new(State::New);
        Stream {
            engine: Arc::clone(engine),
            module: Arc::clone(module),
            principal,
            state,
            closed: AtomicBool::new(false),
        }
    }

    /// Runs `event` on the stream's instance, which `create` creates for the first one. A failure ends the stream.
    pub fn with<R>(
        &self,
        create: impl FnOnce() -> Result<Instance, Failure>,
        event: impl FnOnce(&mut Instance) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let result = self.run(create, event);
        // With the fence in `close`, either this thread sees that the stream was closed, or `close` sees that the lock was
        // released.
        fence(SeqCst);
        if self.closed.load(Relaxed) {
            self.close();
        }
        result
    }

    /// Acquires the state unless an event runs. A poisoned one is valid: a panic leaves the stream ended.
    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn run<R>(
        &self,
        create: impl FnOnce() -> Result<Instance, Failure>,
        event: impl FnOnce(&mut Instance) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut state = self.try_lock().ok_or(Failure::Busy)?;
        // A panic in between leaves the stream ended, and unwinding drops the instance and its charge.
        let (mut instance, mut charge) = match std::mem::replace(&mut *state, State::Ended) {
            State::New => {
                let mut charge = FairCharge::new(&self.engine.streams, &self.principal);
                let instance = create()?;
                if !charge.set(self.bytes_of(&instance)) {
                    self.release(instance);
                    return Err(Failure::Saturated(Resource::Streams));
                }
                (instance, charge)
            }
            State::Live(mut instance, charge) => {
                instance.bind_deadline();
                (instance, charge)
            }
            State::Ended => return Err(Failure::Ended),
        };
        let result = event(&mut instance);
        if result.is_err() {
            self.release(instance);
        } else if charge.set(self.bytes_of(&instance)) {
            *state = State::Live(instance, charge);
        } else {
            self.release(instance);
            return Err(Failure::Saturated(Resource::Streams));
        }
        result
    }

    /// Ends the stream. A running event ends it when it finishes.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
        fence(SeqCst);
        let Some(mut state) = self.try_lock() else { return };
        if let State::Live(instance, charge) = std::mem::replace(&mut *state, State::Ended) {
            self.release(instance);
            drop(charge);
        }
    }

    /// Bytes that an instance holds.
    fn bytes_of(&self, instance: &Instance) -> u64 {
        (instance.bytes() + self.module.needs.host_bytes) as u64
    }

    /// Drops the instance, and resets and keeps its memory for other calls.
    fn release(&self, instance: Instance) {
        let _lease = self.engine.pool.collect(&self.module);
        drop(instance);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Request, Target, call};
    use crate::hook::Hook;
    use crate::testing;

    /// Makes one event on a stream of a module with these additional definitions; returns the bytes that are charged.
    fn charged(group: &str, definitions: &str) -> Result<u64, Failure> {
        let wasm = wat::parse_str(format!(
            r#"(module {definitions}
            (memory (export "memory") 1)
            (func (export "cc_lb_alloc") (param i32 i32) (result i32) i32.const 1024)
            (func (export "cc_lb_free") (param i32 i32 i32))
            (func (export "cc_lb_transform_sse_event") (param i32 i32) (result i64) i64.const 0x0000_0400_0000_0001))"#
        ));
        let Target { engine, module, .. } = testing::load(testing::options(group), &wasm.expect("valid text"));
        let stream = Some(Arc::new(Stream::new(&engine, &module, "one".to_owned())));
        let target = Target { engine: Arc::clone(&engine), module, stream };
        let request = Request { head: b"a", body: b"", tail: b"" };
        call(&testing::call_of(&target, Hook::TransformSseEvent), request, |_| ()).result?;
        Ok(engine.streams.held())
    }

    #[test]
    fn memory_tables_globals_elements_and_functions_are_charged() {
        let memory = charged("charged memory", "").expect("it fits");
        assert!(memory >= 1 << 16);
        for (kind, definitions, bytes) in [
            ("table", "(table 1000 funcref)".to_owned(), 8_000),
            ("globals", "(global i32 (i32.const 0))".repeat(100), 1_600),
            ("elements", format!("(func $f) (elem func {})", "$f ".repeat(100)), 1_600),
            ("functions", (0..100).map(|index| format!(r#"(func (export "f{index}"))"#)).collect(), 3_200),
        ] {
            let more = charged(&format!("charged {kind}"), &definitions).expect("it fits") - memory;
            assert!((bytes..=4 * bytes).contains(&more), "{kind}: {more}");
        }
    }

    #[test]
    fn tables_alone_can_exhaust_the_budget() {
        let result = charged("charged tables", "(table 200000 funcref)");
        assert!(matches!(result, Err(Failure::Saturated(Resource::Streams))));
    }
}
