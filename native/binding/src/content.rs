//! The content of a module in one engine: what is looked up in a directory, compiled and loaded.

use std::sync::Arc;

use cc_lb_engine::compile::ImageName;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::failure::Failure;
use cc_lb_engine::inspect::InstanceNeeds;
use cc_lb_engine::module_bytes::ModuleBytes;
use cc_lb_engine::options::CodeSettings;
use napi::{Error, Result};
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
    needs: InstanceNeeds,
}

#[napi]
impl NativeContent {
    /// The content of `source`, which has this hash. Throws if `source` was not inspected, or does not parse.
    #[napi(constructor, catch_unwind)]
    pub fn new(engine: &NativeEngine, source: &NativeSource, hash: String) -> Result<NativeContent> {
        let needs = source.needs().ok_or_else(|| Error::from_reason("the module was not inspected"))?;
        Ok(NativeContent { engine: Arc::clone(&engine.inner), wasm: Arc::clone(&source.wasm), hash, needs })
    }
}

impl NativeContent {
    /// The settings with which its image is compiled.
    pub(crate) fn code_settings(&self) -> CodeSettings {
        self.engine.code_settings(&self.needs)
    }

    /// The name of its image in a directory.
    pub(crate) fn image_name(&self) -> std::result::Result<ImageName, Failure> {
        self.engine.image_name(&self.needs, &self.hash)
    }

    /// Loads its image, and keeps the module in the engine's cache.
    pub(crate) fn load(&self, image: &[u8]) -> std::result::Result<NativeModule, Failure> {
        let module = self.engine.load(image, self.needs)?;
        let module = self.engine.cache().keep(&self.hash, Arc::new(module));
        Ok(NativeModule::new(&self.engine, module))
    }
}
