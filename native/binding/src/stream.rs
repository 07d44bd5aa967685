//! The handle to the instance of one stream.

use std::sync::Arc;

use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::hook::Hook;
use cc_lb_engine::module::CompiledModule;
use cc_lb_engine::stream::Stream;
use napi::bindgen_prelude::{BufferSlice, Either, Either3, Uint8ArraySlice};
use napi::{Env, Result};
use napi_derive::napi;

use crate::call::{CallOf, Rules, call_here};
use crate::failure::NativeFailure;
use crate::staged::{NativeStagedCall, stage};

/// One stream: its events are calls of one hook on one instance.
#[napi]
pub struct NativeStream {
    engine: Arc<HotEngine>,
    module: Arc<CompiledModule>,
    hook: Hook,
    stream: Arc<Stream>,
}

impl NativeStream {
    pub(crate) fn new(
        engine: &Arc<HotEngine>,
        module: &Arc<CompiledModule>,
        hook: Hook,
        principal: String,
    ) -> NativeStream {
        let stream = Arc::new(Stream::new(engine, module, principal));
        NativeStream { engine: Arc::clone(engine), module: Arc::clone(module), hook, stream }
    }

    fn event(&self) -> CallOf<'_> {
        CallOf { engine: &self.engine, module: &self.module, hook: self.hook, stream: Some(&self.stream) }
    }
}

#[napi]
impl NativeStream {
    /// Like `NativeModule.call`, on the stream's instance. Because the instance has state, the call is never
    /// interrupted to be repeated.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "one flat call costs less than an object would")]
    pub fn call<'env>(
        &self,
        env: &'env Env,
        mut scratch: Uint8ArraySlice<'env>,
        start: u32,
        head: u32,
        tail: u32,
        body: &[u8],
        limit_ms: u32,
        max_answer: u32,
    ) -> Result<Either3<u32, BufferSlice<'env>, NativeFailure>> {
        let rules = Rules { limit_ms, slice_ms: 0, max_answer, probe: false };
        call_here(env, &self.event(), &mut scratch, (start, head, tail), body, &rules)
    }

    /// Like `NativeModule.stage`, for a call on the stream's instance.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "the same parameters as `call`")]
    pub fn stage(
        &self,
        scratch: &[u8],
        start: u32,
        head: u32,
        tail: u32,
        body: &[u8],
        limit_ms: u32,
        max_answer: u32,
    ) -> Either<NativeStagedCall, NativeFailure> {
        let rules = Rules { limit_ms, slice_ms: 0, max_answer, probe: false };
        stage(&self.event(), scratch, (start, head, tail), body, &rules)
    }

    /// Drops the instance, or lets a running event drop it when it finishes.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.stream.close();
    }
}
