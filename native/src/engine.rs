//! Options in, wasmtime engine out. Engines of equal options are one engine in the process, shared by every
//! runtime and thread that asks for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use napi_derive::napi;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy};

use crate::cache::Cache;
use crate::deadline;
use crate::failure::{Failure, Kind, chain};
use crate::inspect;
use crate::memory::{self, Reservations};
use crate::module::{self, Bounds, CompiledModule};
use crate::prepared::Preparer;
use crate::signals;

/// Tables that a pooled instance may have, and their elements: wasmtime's own pooling defaults.
const POOLED_TABLE_ELEMENTS: usize = 20_000;
/// Initial data up to which it is copied into every instance's memory. More is mapped, page by page as it is touched.
const COPIED_DATA_BYTES: usize = 256 << 10;
/// Bytes of a pooled table that stay resident.
const TABLE_RESIDENT_BYTES: usize = 16 << 10;
/// Tables, and elements of each, that a guest may have where no pool bounds them: its memory cap is no use against them.
pub const TABLES: usize = 8;
/// See [`TABLES`].
pub const TABLE_ELEMENTS: usize = 200_000;

/// Everything that makes two engines different. Every field is filled in by TypeScript.
#[napi(object, use_nullable = true, object_to_js = false)]
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EngineOptions {
    /// Pooling or, if false, on-demand allocation.
    pub pooling: bool,
    /// Pages of 64 KiB that a memory may have.
    pub memory_max_pages: u32,
    /// Bytes of native stack that a guest may use.
    pub max_wasm_stack: u32,
    /// Memories in the pool.
    pub pool_total_memories: u32,
    /// Core instances in the pool; also how many calls may run at once under either strategy.
    pub pool_total_core_instances: u32,
    /// Bytes of address space reserved for a memory.
    pub memory_reservation_bytes: i64,
    /// Bytes of guard behind a memory.
    pub memory_guard_bytes: i64,
    /// Bytes at the start of a pooled memory that stay resident and are reset by copying.
    pub keep_resident_bytes: i64,
    /// Whether instances are prepared ahead of calls.
    pub prepare: bool,
    /// Whether the pages that calls are known to touch are faulted in ahead of calls.
    pub prefault: bool,
    /// Bytes of resident memory that idle instances may hold.
    pub resident_budget_bytes: i64,
    /// Bytes of requests that off-thread calls may hold, each until its call ends.
    pub max_staging_bytes: i64,
    /// Engines of different groups are different engines.
    pub group: Option<String>,
}

/// What a guest's 32-bit address can reach. A reservation and guard of this size take bounds checks away altogether.
const ADDRESSABLE_BYTES: i64 = 4 << 30;

/// How wasmtime is told to lay a memory out, and with it how guests check their bounds.
struct Layout {
    reservation: u64,
    guard: u64,
    may_move: bool,
}

impl EngineOptions {
    /// Whether every access of a guest is compared with its memory's present size, to the byte, if the memory names no
    /// maximum. Then pages behind that size can be accessible before the guest grows into them, and growing changes no
    /// protection: that is a change of the address space, and by far the slowest thing that a small call does.
    pub fn checks_size(&self) -> bool {
        let cap = i64::from(self.memory_max_pages) << 16;
        cap <= self.memory_reservation_bytes
            && self.memory_reservation_bytes.saturating_add(self.memory_guard_bytes) < ADDRESSABLE_BYTES
    }

    /// Whether memories on demand are taken from those of instances that are over, see [`crate::memory`].
    pub fn reuses_memories(&self) -> bool {
        !self.pooling && self.prepare && self.checks_size() && memory::usable()
    }

    /// Instances that may be ready or wait to be thrown away: at most half of the pool, so that calls find a place.
    pub fn most_prepared(&self) -> usize {
        let places = match self.pooling {
            true => self.pool_total_core_instances.min(self.pool_total_memories),
            false => self.pool_total_core_instances,
        };
        places as usize / 2
    }

    /// wasmtime lets the checks be coarse, up to the reservation or the guard behind it, and leaves the rest to
    /// inaccessible pages, if a memory cannot move or has a guard. So the guard is made a part of the reservation: the
    /// address space behind a memory is as inaccessible, but checks are exact. No memory moves for that: its cap fits. A
    /// memory that names a maximum is compared with the reservation all the same.
    fn layout(&self) -> Layout {
        let bytes = |value: i64| u64::try_from(value).unwrap_or(0);
        let (reservation, guard) = (bytes(self.memory_reservation_bytes), bytes(self.memory_guard_bytes));
        if self.checks_size() {
            return Layout { reservation: reservation + guard, guard: 0, may_move: true };
        }
        let may_move = i64::from(self.memory_max_pages) << 16 > self.memory_reservation_bytes;
        Layout { reservation, guard, may_move }
    }
}

/// A wasmtime engine and what belongs to it: the budget of concurrent calls, the compiled modules, the preparer.
pub struct HotEngine {
    /// The engine itself.
    pub engine: Engine,
    /// The same without memories that are used again, for modules that these do not suit; built when the first comes.
    mapping: OnceLock<Engine>,
    /// What it was built from.
    pub options: EngineOptions,
    /// Calls inside a guest now.
    pub budget: Budget,
    /// Bytes staged for off-thread calls now.
    pub staged: AtomicU64,
    /// Compiled modules by content.
    pub cache: Mutex<Cache>,
    /// Makes instances ready ahead of calls.
    pub preparer: Preparer,
}

static ENGINES: LazyLock<Mutex<HashMap<EngineOptions, Weak<HotEngine>>>> = LazyLock::new(Mutex::default);

impl HotEngine {
    /// The engine of these options, made now unless it exists.
    pub fn open(options: EngineOptions) -> Result<Arc<HotEngine>, Failure> {
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&options).and_then(Weak::upgrade) {
            return Ok(engine);
        }
        // wasmtime installs process-wide signal handlers that point into this image: it must never be unmapped.
        napi::bindgen_prelude::retain_current_module_for_unload_safety();
        let resident = Arc::default();
        let budget = usize::try_from(options.resident_budget_bytes).unwrap_or(0);
        let reservations = Reservations::new(options.most_prepared(), Arc::clone(&resident), budget);
        let engine = build(&options, Some(&reservations))?;
        let engine = Arc::new(HotEngine {
            budget: Budget::new(options.pool_total_core_instances),
            staged: AtomicU64::new(0),
            cache: Mutex::default(),
            preparer: Preparer::new(&options, reservations, resident),
            engine,
            mapping: OnceLock::new(),
            options: options.clone(),
        });
        engines.retain(|_, engine| engine.strong_count() > 0);
        engines.insert(options, Arc::downgrade(&engine));
        Ok(engine)
    }

    /// Compiles a module for the engine that suits it; as [`module::compile`] otherwise.
    pub fn compile(&self, wasm: Arc<Vec<u8>>, has_start: bool, bounds: &Bounds<'_>) -> Result<CompiledModule, Failure> {
        let cap = (self.options.memory_max_pages as usize) << 16;
        let engine = self.engine_for(&wasm)?;
        let mut module = module::compile(engine, wasm, has_start, cap, bounds)?;
        module.reuses_memories =
            self.options.reuses_memories() && Engine::same(engine, &self.engine) && !module.names_maximum;
        Ok(module)
    }

    fn engine_for(&self, wasm: &[u8]) -> Result<&Engine, Failure> {
        if !self.options.reuses_memories() || inspect::copies_cheaply(wasm, COPIED_DATA_BYTES) {
            return Ok(&self.engine);
        }
        if let Some(engine) = self.mapping.get() {
            return Ok(engine);
        }
        let engine = build(&self.options, None)?;
        Ok(self.mapping.get_or_init(|| engine))
    }
}

/// Builds an engine, whose deadlines are kept from now on; its memories come from `reservations` where that pays.
fn build(options: &EngineOptions, reservations: Option<&Arc<Reservations>>) -> Result<Engine, Failure> {
    let Layout { reservation, guard, may_move } = options.layout();
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // The proposals that plugins may not use. Threads and the component model are left out of the build.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        // rustc emits reference types for wasm32 by default.
        .wasm_reference_types(true)
        .signals_based_traps(true)
        .memory_reservation(reservation)
        .memory_guard_size(guard)
        .memory_may_move(may_move)
        // A pool with reference types wants both kinds of heap laid out alike.
        .gc_heap_reservation(reservation)
        .gc_heap_guard_size(guard)
        .gc_heap_may_move(may_move)
        .memory_init_cow(true)
        // Filled when the instance is made, which is ahead of its call, and not at the first indirect calls.
        .table_lazy_init(false)
        // No frames are collected because of a trap; core dumps are left out of the build.
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .epoch_interruption(true)
        .max_wasm_stack(options.max_wasm_stack as usize);
    if options.pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    } else {
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    }
    if let Some(reservations) = reservations.filter(|_| options.reuses_memories()) {
        reservations.serve(&mut config);
    }
    let engine = Engine::new(&config).map_err(|error| Failure::new(Kind::EngineInit, chain(&error)))?;
    signals::remember_handler();
    deadline::watch(&engine).map_err(|error| {
        Failure::new(Kind::EngineInit, format!("the thread that keeps deadlines does not start: {error}"))
    })?;
    Ok(engine)
}

fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let keep_resident = usize::try_from(options.keep_resident_bytes).unwrap_or(0);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(options.pool_total_memories)
        .total_core_instances(options.pool_total_core_instances)
        .total_tables(options.pool_total_core_instances)
        .table_elements(POOLED_TABLE_ELEMENTS)
        // Tables of plugins are small: clearing one costs less than the faults on a page that was given back.
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        // Guests hold no references to host objects, so no heap for them is reserved.
        .total_gc_heaps(0)
        .max_memory_size((options.memory_max_pages as usize) << 16)
        .linear_memory_keep_resident(keep_resident);
    let budget = usize::try_from(options.resident_budget_bytes).unwrap_or(0);
    if let Some(slots) = budget.checked_div(keep_resident) {
        pool.max_unused_warm_slots(u32::try_from(slots).unwrap_or(u32::MAX));
    }
    pool
}

/// How many guests may run at once.
pub struct Budget {
    limit: u32,
    running: AtomicU32,
}

/// One running guest; dropping it gives the place back.
pub struct Permit<'a>(&'a Budget);

impl Budget {
    fn new(limit: u32) -> Self {
        Budget { limit, running: AtomicU32::new(0) }
    }

    /// Takes a place, or says that `stores` are used up.
    pub fn take(&self) -> Result<Permit<'_>, Failure> {
        self.running
            .fetch_update(Relaxed, Relaxed, |running| (running < self.limit).then_some(running + 1))
            .map(|_| Permit(self))
            .map_err(|_| Failure::saturated("stores"))
    }

    /// Guests running now.
    pub fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_refuses_one_more_and_takes_it_after_a_return() {
        let budget = Budget::new(1);
        let first = budget.take().expect("one fits");
        assert_eq!(budget.take().err().expect("two do not").place, "stores");
        drop(first);
        assert!(budget.take().is_ok());
    }
}
