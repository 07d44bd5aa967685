//! The handle to an engine.

use std::sync::Arc;

use cc_lb_engine::compile;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::options::EngineOptions;
use napi::bindgen_prelude::{Either, retain_current_module_for_unload_safety};
use napi_derive::napi;

use crate::bytes::byte_count;
use crate::failure::NativeFailure;
use crate::module::NativeModule;

/// The options of an engine. TypeScript sets every field.
#[napi(object, use_nullable = true, object_to_js = false)]
pub struct NativeEngineOptions {
    /// Pooling or, if false, on-demand allocation.
    pub pooling: bool,
    /// Pages of 64 KiB that a memory may have.
    pub memory_max_pages: u32,
    /// Bytes of native stack that a guest may use.
    pub max_wasm_stack: u32,
    /// Tables that a guest may have.
    pub max_tables: u32,
    /// Elements of one table.
    pub max_table_elements: u32,
    /// Elements of one table in the pool, which reserves them.
    pub pool_table_elements: u32,
    /// Compiled modules that are cached while no slot uses them.
    pub max_cached_modules: u32,
    /// Bytes of these modules.
    pub max_cached_module_bytes: i64,
    /// Memories in the pool.
    pub pool_total_memories: u32,
    /// Core instances in the pool; also the maximum number of concurrent calls under either strategy.
    pub pool_total_core_instances: u32,
    /// Bytes of address space reserved for a memory.
    pub memory_reservation_bytes: i64,
    /// Bytes of guard region after a memory.
    pub memory_guard_bytes: i64,
    /// Bytes at the start of a pooled memory that stay resident and are reset by copying.
    pub keep_resident_bytes: i64,
    /// Bytes of resident memory that the memories of finished calls may hold.
    pub resident_budget_bytes: i64,
    /// Bytes of staged requests of off-thread calls, each counted until its call ends.
    pub max_staging_bytes: i64,
    /// Bytes of memory that the live instances of streams may hold.
    pub max_stream_bytes: i64,
    /// Whether failures of guests have the stack of wasm functions.
    pub explain: bool,
    /// Engines of different groups are different engines.
    pub group: Option<String>,
}

impl From<NativeEngineOptions> for EngineOptions {
    fn from(options: NativeEngineOptions) -> Self {
        EngineOptions {
            pooling: options.pooling,
            memory_max_pages: options.memory_max_pages,
            max_wasm_stack: options.max_wasm_stack,
            max_tables: options.max_tables,
            max_table_elements: options.max_table_elements,
            pool_table_elements: options.pool_table_elements,
            max_cached_modules: options.max_cached_modules,
            max_cached_module_bytes: byte_count(options.max_cached_module_bytes),
            pool_total_memories: options.pool_total_memories,
            pool_total_core_instances: options.pool_total_core_instances,
            memory_reservation_bytes: byte_count(options.memory_reservation_bytes),
            memory_guard_bytes: byte_count(options.memory_guard_bytes),
            keep_resident_bytes: byte_count(options.keep_resident_bytes),
            resident_budget_bytes: byte_count(options.resident_budget_bytes),
            max_staging_bytes: byte_count(options.max_staging_bytes),
            max_stream_bytes: byte_count(options.max_stream_bytes),
            explain: options.explain,
            group: options.group,
        }
    }
}

/// Counts of an engine.
#[napi(object, object_from_js = false)]
pub struct NativeEngineStats {
    /// Guests running now.
    pub running: u32,
    /// Memories of the pool that are in use; 0 on demand.
    pub pool_memories: u32,
    /// Core instances of the pool that are in use; 0 on demand.
    pub pool_core_instances: u32,
    /// Memories of finished calls that wait for the next one.
    pub idle_memories: u32,
    /// Bytes of memories that count toward `residentBudgetBytes`, including those of running calls.
    pub resident_bytes: f64,
    /// Bytes staged for off-thread calls.
    pub staged_bytes: f64,
    /// Bytes that the live instances of streams hold.
    pub stream_bytes: f64,
    /// Running compilations in the whole process.
    pub running_compiles: u32,
    /// Waiting compilations in the whole process.
    pub queued_compiles: u32,
    /// Compile processes of the whole process, including idle ones.
    pub compile_processes: u32,
    /// Lookups in the cache of compiled modules that found one.
    pub cache_hits: f64,
    /// Lookups that found none.
    pub cache_misses: f64,
    /// Modules that the cache's limits evicted.
    pub cache_evictions: f64,
    /// Modules in the cache.
    pub cache_entries: u32,
    /// Their bytes.
    pub cache_bytes: f64,
}

/// An engine; every handle to equal options is a handle to the same engine.
#[napi]
pub struct NativeEngine {
    pub(crate) inner: Arc<HotEngine>,
}

/// Returns the engine of these options, and creates it if it does not exist.
#[napi(catch_unwind)]
pub fn open_engine(options: NativeEngineOptions) -> Either<NativeEngine, NativeFailure> {
    // wasmtime installs process-wide signal handlers that point into this image: it must never be unmapped.
    retain_current_module_for_unload_safety();
    match HotEngine::open(options.into()) {
        Ok(inner) => {
            HotEngine::prepare_thread();
            Either::A(NativeEngine { inner })
        }
        Err(failure) => Either::B(failure.into()),
    }
}

#[napi]
impl NativeEngine {
    /// Returns the compiled module of this content, if the engine has it.
    #[napi(catch_unwind)]
    pub fn find(&self, hash: String) -> Option<NativeModule> {
        let found = self.inner.cache().find(&hash);
        found.map(|module| NativeModule::new(&self.inner, module))
    }

    /// Returns the current counts.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativeEngineStats {
        let pool = self.inner.engine.pooling_allocator_metrics();
        let (idle_memories, resident_bytes) = self.inner.pool.idle();
        let compiles = compile::counts();
        let cache = self.inner.cache();
        let (entries, bytes) = cache.kept();
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        NativeEngineStats {
            running: self.inner.budget.running(),
            pool_memories: pool.as_ref().map_or(0, |pool| small(pool.memories())),
            pool_core_instances: pool.as_ref().map_or(0, |pool| u32::try_from(pool.core_instances()).unwrap_or(0)),
            idle_memories: small(idle_memories),
            resident_bytes: resident_bytes as f64,
            staged_bytes: self.inner.staged.held() as f64,
            stream_bytes: self.inner.streams.held() as f64,
            running_compiles: small(compiles.running as usize),
            queued_compiles: small(compiles.waiting as usize),
            compile_processes: small(compiles.processes as usize),
            cache_hits: cache.hits as f64,
            cache_misses: cache.misses as f64,
            cache_evictions: cache.evictions as f64,
            cache_entries: small(entries),
            cache_bytes: bytes as f64,
        }
    }
}
