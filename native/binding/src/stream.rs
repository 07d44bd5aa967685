//! The handle to the instance of one stream.

use std::sync::Arc;

use cc_lb_engine::call::Target;
use cc_lb_engine::stream::Stream;
use napi::bindgen_prelude::{BufferSlice, Either, Either3, Uint8ArraySlice};
use napi::{Env, Result};
use napi_derive::napi;

use crate::call::call_here;
use crate::failure::NativeFailure;
use crate::staged::{NativeStagedCall, stage};

/// One stream: its events are calls of one hook on one instance.
#[napi]
pub struct NativeStream {
    target: Target,
    stream: Arc<Stream>,
}

impl NativeStream {
    /// Opens a stream of `principal` on the module of `target`.
    pub(crate) fn new(target: &Target, principal: String) -> NativeStream {
        let stream = Arc::new(Stream::new(&target.engine, principal));
        NativeStream { target: Target { stream: Some(Arc::clone(&stream)), ..target.clone() }, stream }
    }
}

#[napi]
impl NativeStream {
    /// Like `NativeModule.call`, on the stream's instance. Because the instance has state, a call must not have a slice,
    /// after which it would be repeated.
    #[napi(catch_unwind)]
    pub fn call<'env>(
        &self,
        env: &'env Env,
        mut scratch: Uint8ArraySlice<'env>,
        body: &[u8],
    ) -> Result<Either3<u32, BufferSlice<'env>, NativeFailure>> {
        call_here(env, &self.target, &mut scratch, body)
    }

    /// Like `NativeModule.stage`, for a call on the stream's instance.
    #[napi(catch_unwind)]
    pub fn stage(&self, scratch: &[u8], body: &[u8]) -> Result<Either<NativeStagedCall, NativeFailure>> {
        stage(&self.target, scratch, body)
    }

    /// Drops the instance, or lets a running event drop it when it finishes.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.stream.close();
    }
}
