//! A compilation on its way through libuv's pool.

use std::sync::Arc;
use std::time::Duration;

use cc_lb_engine::deadline::Cancel;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::failure::{Failure, Kind, catching};
use cc_lb_engine::module::Bounds;
use napi::bindgen_prelude::Either;
use napi::{Env, Result, Task};

use crate::failure::NativeFailure;
use crate::module::NativeModule;

/// A compilation and all that it needs.
pub struct CompileTask {
    pub(crate) engine: Arc<HotEngine>,
    pub(crate) wasm: Arc<Vec<u8>>,
    pub(crate) hash: String,
    pub(crate) has_start: bool,
    pub(crate) time: Duration,
    pub(crate) memory: usize,
    pub(crate) cancel: Option<Arc<Cancel>>,
}

/// A compiled module or the failure, on its way to JavaScript.
pub struct Compiled(std::result::Result<NativeModule, Failure>);

impl From<Compiled> for Either<NativeModule, NativeFailure> {
    fn from(compiled: Compiled) -> Self {
        match compiled.0 {
            Ok(module) => Either::A(module),
            Err(failure) => Either::B(failure.into()),
        }
    }
}

impl CompileTask {
    pub(crate) fn run(&mut self) -> Compiled {
        let wasm = Arc::clone(&self.wasm);
        let bounds = Bounds { time: self.time, memory: self.memory, cancel: self.cancel.as_deref() };
        let compiled = self.engine.compile(wasm, self.has_start, &bounds);
        Compiled(compiled.map(|module| {
            let module = self.engine.cache().keep(&self.hash, Arc::new(module));
            NativeModule::new(&self.engine, module)
        }))
    }
}

impl Task for CompileTask {
    type Output = Compiled;
    type JsValue = Either<NativeModule, NativeFailure>;

    fn compute(&mut self) -> Result<Compiled> {
        Ok(Compiled(catching(Kind::Compile, || self.run().0)))
    }

    fn resolve(&mut self, _env: Env, compiled: Compiled) -> Result<Self::JsValue> {
        Ok(compiled.into())
    }
}
