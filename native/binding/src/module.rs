//! The handle to a compiled module, and the calls of its hooks.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};

use cc_lb_engine::call::Target;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::module::CompiledModule;
use napi::Result;
use napi::bindgen_prelude::Either;
use napi_derive::napi;

use crate::failure::NativeFailure;
use crate::staged::{NativeStagedCall, stage};
use crate::stream::NativeStream;
use crate::targets::Registration;

/// A compiled module in its engine.
#[napi]
pub struct NativeModule {
    pub(crate) target: Target,
    /// Its registration on this thread, from the first call of `target` on.
    registration: OnceCell<Registration>,
    /// Versions that use the module through this handle.
    serving: AtomicU32,
}

impl NativeModule {
    pub(crate) fn new(engine: &Arc<HotEngine>, module: Arc<CompiledModule>) -> NativeModule {
        let target = Target { engine: Arc::clone(engine), module, stream: None };
        NativeModule { target, registration: OnceCell::new(), serving: AtomicU32::new(0) }
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

    /// Returns the number by which this thread calls the module while this handle exists.
    #[napi(catch_unwind)]
    pub fn target(&self) -> u32 {
        self.registration.get_or_init(|| Registration::new(&self.target)).number()
    }

    /// Copies the request of a call, described like that of `callHook`, to call the hook off the JavaScript thread. The
    /// slice and the target are ignored. The copy counts toward the share of `principal`.
    #[napi(catch_unwind)]
    pub fn stage(
        &self,
        scratch: &[u8],
        body: &[u8],
        principal: String,
    ) -> Result<Either<NativeStagedCall, NativeFailure>> {
        stage(&self.target, scratch, body, &principal)
    }

    /// Opens a stream of `principal`, whose events call one hook on one instance.
    #[napi(catch_unwind)]
    pub fn open_stream(&self, principal: String) -> NativeStream {
        NativeStream::new(&self.target, principal)
    }
}
