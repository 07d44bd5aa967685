//! The handle to the instance of one stream.

use std::sync::Arc;

use cc_lb_engine::call::Target;
use cc_lb_engine::stream::Stream;
use napi::Result;
use napi::bindgen_prelude::Either;
use napi_derive::napi;

use crate::failure::NativeFailure;
use crate::staged::{NativeStagedCall, stage};
use crate::targets::Registration;

/// One stream: its events are calls of one hook on one instance.
#[napi]
pub struct NativeStream {
    target: Target,
    registration: Registration,
    stream: Arc<Stream>,
}

impl NativeStream {
    /// Opens a stream of `principal` on the module of `target`.
    pub(crate) fn new(target: &Target, principal: String) -> NativeStream {
        let stream = Arc::new(Stream::new(&target.engine, &target.module, principal));
        let target = Target { stream: Some(Arc::clone(&stream)), ..target.clone() };
        NativeStream { registration: Registration::new(&target), target, stream }
    }
}

#[napi]
impl NativeStream {
    /// Like `NativeModule.target`, for calls on the stream's instance.
    #[napi(catch_unwind)]
    pub fn target(&self) -> u32 {
        self.registration.number()
    }

    /// Like `NativeModule.stage`, for a call on the stream's instance.
    #[napi(catch_unwind)]
    pub fn stage(
        &self,
        scratch: &[u8],
        body: &[u8],
        principal: String,
    ) -> Result<Either<NativeStagedCall, NativeFailure>> {
        stage(&self.target, scratch, body, &principal)
    }

    /// Drops the instance, or lets a running event drop it when it finishes.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.stream.close();
    }
}
