//! The handle to a compiled module, and the calls of its hooks.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};

use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::module::CompiledModule;
use napi::bindgen_prelude::{BufferSlice, Either, Either3, Uint8ArraySlice};
use napi::{Env, Result};
use napi_derive::napi;

use crate::call::{CallOf, Rules, call_here};
use crate::failure::NativeFailure;
use crate::hook::hook_at;
use crate::staged::{NativeStagedCall, stage};
use crate::stream::NativeStream;

/// A compiled module in its engine.
#[napi]
pub struct NativeModule {
    pub(crate) engine: Arc<HotEngine>,
    pub(crate) module: Arc<CompiledModule>,
    /// Versions that use the module through this handle.
    serving: AtomicU32,
}

impl NativeModule {
    pub(crate) fn new(engine: &Arc<HotEngine>, module: Arc<CompiledModule>) -> NativeModule {
        NativeModule { engine: Arc::clone(engine), module, serving: AtomicU32::new(0) }
    }

    fn release(&self, versions: u32) {
        if versions > 0 && self.module.versions.fetch_sub(versions, SeqCst) == versions {
            self.engine.pool.release(&self.module);
        }
    }
}

impl Drop for NativeModule {
    /// A thread may end, or a runtime may be garbage-collected, with slots that were never evicted.
    fn drop(&mut self) {
        self.release(self.serving.load(SeqCst));
    }
}

#[napi]
impl NativeModule {
    /// Returns the note of the module's admission, or null before it was admitted.
    #[napi(catch_unwind)]
    pub fn admission(&self) -> Option<String> {
        self.module.admission.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores the note of the admission for other threads that register the same content.
    #[napi(catch_unwind)]
    pub fn admit(&self, note: String) {
        *self.module.admission.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// Counts a slot version that uses this module.
    #[napi(catch_unwind)]
    pub fn serve(&self) {
        self.serving.fetch_add(1, SeqCst);
        self.module.versions.fetch_add(1, SeqCst);
    }

    /// Ends the use by one slot version. The last one releases the module's idle memory.
    #[napi(catch_unwind)]
    pub fn retire(&self) {
        self.serving.fetch_sub(1, SeqCst);
        self.release(1);
    }

    /// Bytes of the largest memory at the end of a call of the module.
    #[napi(catch_unwind)]
    pub fn highest_memory_bytes(&self) -> f64 {
        self.module.highest_memory() as f64
    }

    /// Calls a hook on this thread. The request is `scratch[start..start + head]`, the body, and then the `tail` bytes
    /// after the head. The answer goes after those if it fits there (its length is returned), else into a new buffer.
    /// `scratch[0..8]` receives the seconds that the call took, as an f64. With a `slice_ms` other than 0, a call that
    /// uses this much CPU time fails with kind `sliced`.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "one flat call costs less than an object would")]
    pub fn call<'env>(
        &self,
        env: &'env Env,
        hook: u32,
        mut scratch: Uint8ArraySlice<'env>,
        start: u32,
        head: u32,
        tail: u32,
        body: &[u8],
        limit_ms: u32,
        slice_ms: u32,
        max_answer: u32,
        probe: bool,
    ) -> Result<Either3<u32, BufferSlice<'env>, NativeFailure>> {
        let call = CallOf { engine: &self.engine, module: &self.module, hook: hook_at(hook)?, stream: None };
        let rules = Rules { limit_ms, slice_ms, max_answer, probe };
        call_here(env, &call, &mut scratch, (start, head, tail), body, &rules)
    }

    /// Copies a request, laid out like that of `call`, for a call off the JavaScript thread.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "the same parameters as `call`")]
    pub fn stage(
        &self,
        hook: u32,
        scratch: &[u8],
        start: u32,
        head: u32,
        tail: u32,
        body: &[u8],
        limit_ms: u32,
        max_answer: u32,
        probe: bool,
    ) -> Result<Either<NativeStagedCall, NativeFailure>> {
        let call = CallOf { engine: &self.engine, module: &self.module, hook: hook_at(hook)?, stream: None };
        let rules = Rules { limit_ms, slice_ms: 0, max_answer, probe };
        Ok(stage(&call, scratch, (start, head, tail), body, &rules))
    }

    /// Opens a stream of `principal`, whose events call this hook on one instance.
    #[napi(catch_unwind)]
    pub fn open_stream(&self, hook: u32, principal: String) -> Result<NativeStream> {
        Ok(NativeStream::new(&self.engine, &self.module, hook_at(hook)?, principal))
    }
}
