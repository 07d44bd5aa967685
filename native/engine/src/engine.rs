//! Creates wasmtime engines from options. Equal options share one engine in the process, for every runtime and thread.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::budget::Budget;
use crate::cache::Cache;
use crate::code::code_config;
use crate::compile::ImageName;
use crate::deadline;
use crate::failure::{Failure, chain};
use crate::fair_budget::FairBudget;
use crate::heap;
use crate::host::InstanceLimits;
use crate::inspect::InstanceNeeds;
use crate::memory;
use crate::module::CompiledModule;
use crate::options::{CodeSettings, EngineOptions};
use crate::pool::Pool;
use crate::signals;

/// Maximum bytes of initial data that are copied into every instance's memory. More is mapped and loaded by page
/// faults. A module with more also works, so this is not a setting: it is the size at which mapping begins to cost
/// less.
const COPIED_DATA_BYTES: usize = 512 << 10;
/// Maximum number of frames of an explained failure, innermost first.
const EXPLAINED_FRAMES: usize = 64;
/// Bytes of a pooled table that stay resident. It rejects nothing: a larger table costs page faults.
const TABLE_RESIDENT_BYTES: usize = 16 << 10;

/// A wasmtime engine with its budget of concurrent calls, its compiled modules, and the memories of finished calls.
pub struct HotEngine {
    /// The engine itself.
    pub engine: Engine,
    /// An engine with wasmtime's own memories, for modules with much initial data; built for the first such module.
    mapping: OnceLock<Engine>,
    /// The options.
    pub options: EngineOptions,
    /// The budget of concurrent calls.
    pub budget: Budget,
    /// Bytes that are staged for off-thread calls.
    pub staged: Arc<FairBudget>,
    /// Compiled modules by content.
    cache: Mutex<Cache>,
    /// The memories of finished calls.
    pub pool: Pool,
    /// Memory of the instances of streams.
    pub streams: Arc<FairBudget>,
}

static ENGINES: LazyLock<Mutex<HashMap<EngineOptions, Weak<HotEngine>>>> = LazyLock::new(Mutex::default);

impl HotEngine {
    /// Returns the engine of these options, and creates it if it does not exist.
    ///
    /// wasmtime installs process-wide signal handlers that point into this image: the caller must keep it mapped for
    /// the life of the process.
    pub fn open(options: EngineOptions) -> Result<Arc<HotEngine>, Failure> {
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&options).and_then(Weak::upgrade) {
            return Ok(engine);
        }
        heap::keep_freed_memory();
        let engine = build(&options, options.reuses_memories())?;
        let engine = Arc::new(HotEngine {
            budget: Budget::new(options.pool_total_core_instances),
            staged: Arc::new(FairBudget::new(options.max_staging_bytes)),
            cache: Mutex::new(Cache::new(options.max_cached_modules, options.max_cached_module_bytes)),
            streams: Arc::new(FairBudget::new(options.max_stream_bytes)),
            pool: Pool::new(usize::try_from(options.resident_budget_bytes).unwrap_or(usize::MAX)),
            engine,
            mapping: OnceLock::new(),
            options: options.clone(),
        });
        engines.retain(|_, engine| engine.strong_count() > 0);
        engines.insert(options, Arc::downgrade(&engine));
        Ok(engine)
    }

    /// Initializes wasmtime's state of the calling thread, so that a trap's signal handler allocates nothing.
    pub fn prepare_thread() {
        Engine::tls_eager_initialize();
    }

    /// The compiled modules.
    pub fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the settings with which this engine's image of a module is compiled.
    pub fn code_settings(&self, needs: &InstanceNeeds) -> CodeSettings {
        self.options.code_settings(self.reuses_memories_of(needs))
    }

    /// Loads the image that [`crate::code::compile_code`] returned for this module and its [`HotEngine::code_settings`].
    ///
    /// The image is native code that runs without a sandbox, so it must come from a trusted compiler.
    pub fn load(&self, image: &[u8], needs: InstanceNeeds) -> Result<CompiledModule, Failure> {
        let limits = InstanceLimits {
            memory_bytes: (self.options.memory_max_pages as usize) << 16,
            tables: self.options.max_tables as usize,
            table_elements: self.options.max_table_elements as usize,
        };
        let reuses_memories = self.reuses_memories_of(&needs);
        CompiledModule::load(self.engine_for(reuses_memories)?, image, needs, limits, reuses_memories)
    }

    /// Returns the name of the image of a module with this content hash in a cache directory.
    pub fn image_name(&self, needs: &InstanceNeeds, content_hash: &str) -> Result<ImageName, Failure> {
        let engine = self.engine_for(self.reuses_memories_of(needs))?;
        Ok(ImageName::new(content_hash, engine.precompile_compatibility_hash()))
    }

    fn reuses_memories_of(&self, needs: &InstanceNeeds) -> bool {
        self.options.reuses_memories() && needs.data_bytes <= COPIED_DATA_BYTES
    }

    /// The engine of modules whose memories are reused or not reused.
    fn engine_for(&self, reuses_memories: bool) -> Result<&Engine, Failure> {
        if reuses_memories == self.options.reuses_memories() {
            return Ok(&self.engine);
        }
        if let Some(engine) = self.mapping.get() {
            return Ok(engine);
        }
        let engine = build(&self.options, false)?;
        Ok(self.mapping.get_or_init(|| engine))
    }
}

/// Builds an engine whose epoch the watchdog increments from now on.
fn build(options: &EngineOptions, reuses_memories: bool) -> Result<Engine, Failure> {
    let engine = Engine::new(&config(options, reuses_memories)).map_err(|error| Failure::EngineInit(chain(&error)))?;
    signals::record_handlers();
    deadline::watch(&engine)
        .map_err(|error| Failure::EngineInit(format!("the watchdog thread of deadlines cannot be started: {error}")))?;
    Ok(engine)
}

/// The configuration of wasmtime.
fn config(options: &EngineOptions, reuses_memories: bool) -> Config {
    let mut config = code_config(&options.code_settings(reuses_memories));
    config
        // Collecting frames makes failures slow, so only explained failures have them. Core dumps are excluded from the
        // build.
        .wasm_backtrace_max_frames(NonZeroUsize::new(if options.explain { EXPLAINED_FRAMES } else { 0 }))
        .max_wasm_stack(options.max_wasm_stack as usize);
    if options.pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    } else {
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    }
    if reuses_memories {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (reservation, guard) = (bytes(options.memory_reservation_bytes), bytes(options.memory_guard_bytes));
        memory::serve(&mut config, guard, reservation.saturating_add(guard));
    }
    config
}

fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let keep_resident = usize::try_from(options.keep_resident_bytes).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(options.pool_total_memories)
        .total_core_instances(options.pool_total_core_instances)
        .total_tables(options.pool_total_core_instances)
        .table_elements(options.pool_table_elements as usize)
        // Tables of plugins are small: clearing one costs less than the page faults after releasing it.
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        // Guests have no references to host objects, so no heap for them is reserved.
        .total_gc_heaps(0)
        .max_memory_size((options.memory_max_pages as usize) << 16)
        .linear_memory_keep_resident(keep_resident);
    let budget = usize::try_from(options.resident_budget_bytes).unwrap_or(usize::MAX);
    if let Some(slots) = budget.checked_div(keep_resident) {
        pool.max_unused_warm_slots(u32::try_from(slots).unwrap_or(u32::MAX));
    }
    pool
}
