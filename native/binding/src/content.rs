//! The content of a module in one engine: what is looked up in a directory, compiled and loaded.

use std::sync::Arc;

use cc_lb_engine::compile::ImageName;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::failure::Failure;
use cc_lb_engine::module_bytes::ModuleBytes;
use napi_derive::napi;

use crate::engine::NativeEngine;
use crate::module::NativeModule;
use crate::source::NativeSource;

/// The content of a module in one engine.
#[napi]
#[derive(Clone)]
pub struct NativeContent {
    pub(crate) engine: Arc<HotEngine>,
    pub(crate) wasm: Arc<ModuleBytes>,
    pub(crate) hash: String,
    has_start: bool,
}

#[napi]
impl NativeContent {
    /// The content of `source`, which has this hash. `has_start` is whether it has a start function.
    #[napi(constructor, catch_unwind)]
    pub fn new(engine: &NativeEngine, source: &NativeSource, hash: String, has_start: bool) -> NativeContent {
        NativeContent { engine: Arc::clone(&engine.inner), wasm: Arc::clone(&source.wasm), hash, has_start }
    }
}

impl NativeContent {
    /// The name of its image in a directory.
    pub(crate) fn image_name(&self) -> Result<ImageName, Failure> {
        self.engine.image_name(&self.wasm, &self.hash)
    }

    /// Loads its image, and keeps the module in the engine's cache.
    pub(crate) fn load(&self, image: &[u8]) -> Result<NativeModule, Failure> {
        let module = self.engine.load(&self.wasm, image, self.has_start)?;
        let module = self.engine.cache().keep(&self.hash, Arc::new(module));
        Ok(NativeModule::new(&self.engine, module))
    }
}
