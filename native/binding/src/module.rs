//! The handle to a compiled module, and the calls of its hooks.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};

use cc_lb_engine::call::Target;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::module::CompiledModule;
use napi::bindgen_prelude::{BufferSlice, Either, Either3, Uint8ArraySlice};
use napi::{Env, Result};
use napi_derive::napi;

use crate::call::call_here;
use crate::failure::NativeFailure;
use crate::staged::{NativeStagedCall, stage};
use crate::stream::NativeStream;

/// A compiled module in its engine.
#[napi]
pub struct NativeModule {
    pub(crate) target: Target,
    /// Versions that use the module through this handle.
    serving: AtomicU32,
}

impl NativeModule {
    pub(crate) fn new(engine: &Arc<HotEngine>, module: Arc<CompiledModule>) -> NativeModule {
        let target = Target { engine: Arc::clone(engine), module, stream: None };
        NativeModule { target, serving: AtomicU32::new(0) }
    }

    fn release(&self, versions: u32) {
        let Target { engine, module, .. } = &self.target;
        if versions > 0 && module.versions.fetch_sub(versions, SeqCst) == versions {
            engine.pool.release_all();
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
        self.target.module.admission.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores the note of the admission for other threads that register the same content.
    #[napi(catch_unwind)]
    pub fn admit(&self, note: String) {
        *self.target.module.admission.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// Counts a slot version that uses this module.
    #[napi(catch_unwind)]
    pub fn serve(&self) {
        self.serving.fetch_add(1, SeqCst);
        self.target.module.versions.fetch_add(1, SeqCst);
    }

    /// Ends the use by one slot version. The last one of a module releases the idle memories of the engine: those that
    /// only this module needed are among them.
    #[napi(catch_unwind)]
    pub fn retire(&self) {
        self.serving.fetch_sub(1, SeqCst);
        self.release(1);
    }

    /// Bytes of the largest memory at the end of a call of the module.
    #[napi(catch_unwind)]
    pub fn highest_memory_bytes(&self) -> f64 {
        self.target.module.highest_memory() as f64
    }

    /// Calls a hook on this thread. `scratch` is memory that JavaScript leases to the call: it contains the parameters of
    /// the call and the request except `body`, see `native/binding/src/call.rs`. The answer is written after the request
    /// if it fits there (its length is returned), else to a new buffer. A call that uses its slice of CPU time fails with
    /// kind `sliced`.
    #[napi(catch_unwind)]
    pub fn call<'env>(
        &self,
        env: &'env Env,
        mut scratch: Uint8ArraySlice<'env>,
        body: &[u8],
    ) -> Result<Either3<u32, BufferSlice<'env>, NativeFailure>> {
        call_here(env, &self.target, &mut scratch, body)
    }

    /// Copies the request of a call, described like that of `call`, to call the hook off the JavaScript thread. The slice
    /// is ignored.
    #[napi(catch_unwind)]
    pub fn stage(&self, scratch: &[u8], body: &[u8]) -> Result<Either<NativeStagedCall, NativeFailure>> {
        stage(&self.target, scratch, body)
    }

    /// Opens a stream of `principal`, whose events call one hook on one instance.
    #[napi(catch_unwind)]
    pub fn open_stream(&self, principal: String) -> NativeStream {
        NativeStream::new(&self.target, principal)
    }
}
