//! The bytes of a module, and their inspection.

use std::sync::{Arc, OnceLock};

use cc_lb_engine::failure::{Failure, catching};
use cc_lb_engine::inspect::{InstanceNeeds, inspect};
use cc_lb_engine::module_bytes::ModuleBytes;
use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Error, Result, Task};
use napi_derive::napi;

use crate::inspection::NativeModuleFacts;

/// BLAKE3 over the policy version and the memory cap, both as little-endian u32, and the bytes, in lowercase hex.
#[napi(catch_unwind)]
pub fn content_hash(policy_version: u32, memory_max_pages: u32, wasm: &[u8]) -> String {
    cc_lb_engine::module::content_hash(policy_version, memory_max_pages, wasm)
}

/// The bytes of a module, copied once, so that later changes to the caller's buffer have no effect.
#[napi]
pub struct NativeSource {
    pub(crate) wasm: Arc<ModuleBytes>,
    /// What an inspection found.
    needs: Arc<OnceLock<InstanceNeeds>>,
}

/// The content hash and the facts of a module.
#[napi(object, object_from_js = false)]
pub struct NativeInspection {
    /// See `contentHash`.
    pub hash: String,
    /// See `NativeModuleFacts`.
    pub facts: NativeModuleFacts,
}

#[napi]
impl NativeSource {
    /// Copies the bytes. Throws without memory for them.
    #[napi(constructor, catch_unwind)]
    pub fn new(wasm: &[u8]) -> Result<NativeSource> {
        let copy = ModuleBytes::copy(wasm)
            .map_err(|error| Error::from_reason(format!("no memory for the module: {error}")))?;
        Ok(NativeSource { wasm: Arc::new(copy), needs: Arc::default() })
    }

    /// Hashes and inspects, without running anything.
    #[napi(catch_unwind)]
    pub fn inspect(&self, policy_version: u32, memory_max_pages: u32, max_entries: u32) -> NativeInspection {
        self.task(policy_version, memory_max_pages, max_entries).run()
    }

    /// Hashes and inspects off the JavaScript thread.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeInspection>")]
    pub fn inspect_async(
        &self,
        policy_version: u32,
        memory_max_pages: u32,
        max_entries: u32,
    ) -> AsyncTask<InspectTask> {
        AsyncTask::new(self.task(policy_version, memory_max_pages, max_entries))
    }

    fn task(&self, policy_version: u32, memory_max_pages: u32, max_entries: u32) -> InspectTask {
        let (wasm, needs) = (Arc::clone(&self.wasm), Arc::clone(&self.needs));
        InspectTask { wasm, needs, policy_version, memory_max_pages, max_entries }
    }
}

impl NativeSource {
    /// What its instances need, if it was inspected and parses.
    pub(crate) fn needs(&self) -> Option<InstanceNeeds> {
        self.needs.get().copied()
    }
}

/// The task of an inspection.
pub struct InspectTask {
    wasm: Arc<ModuleBytes>,
    needs: Arc<OnceLock<InstanceNeeds>>,
    policy_version: u32,
    memory_max_pages: u32,
    max_entries: u32,
}

impl InspectTask {
    fn run(&self) -> NativeInspection {
        let hash = content_hash(self.policy_version, self.memory_max_pages, &self.wasm);
        let facts = inspect(&self.wasm, self.max_entries as usize);
        if facts.parse_error.is_none() {
            self.needs.get_or_init(|| facts.needs);
        }
        NativeInspection { hash, facts: facts.into() }
    }
}

impl Task for InspectTask {
    type Output = NativeInspection;
    type JsValue = NativeInspection;

    fn compute(&mut self) -> Result<NativeInspection> {
        let caught = catching(Failure::Rejected, || Ok(self.run()));
        caught.map_err(|failure| Error::from_reason(failure.to_string()))
    }

    fn resolve(&mut self, _env: Env, inspection: NativeInspection) -> Result<NativeInspection> {
        Ok(inspection)
    }
}
