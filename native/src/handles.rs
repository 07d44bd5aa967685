//! What JavaScript holds: an engine and a compiled module. Plain data crosses in both directions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{AsyncTask, BufferSlice, Either, Either3, Uint8ArraySlice};
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::cache::Cache;
use crate::call::{Call, Request, call};
use crate::deadline::Cancel;
use crate::engine::{EngineOptions, HotEngine};
use crate::failure::{Failure, NativeFailure};
use crate::inspect::{Facts, facts};
use crate::meter;
use crate::module::{Bounds, CompiledModule, abandoned};
use crate::task::{StagedCall, cancel_at_end};

/// Where a call leaves how long it took: an f64 at the start of its scratch memory.
const SECONDS_BYTES: usize = 8;

/// An engine; every handle to equal options is a handle to the same engine.
#[napi]
pub struct NativeEngine {
    inner: Arc<HotEngine>,
}

/// Counts of an engine.
#[napi(object, object_from_js = false)]
pub struct EngineStats {
    /// Guests running now.
    pub running: u32,
    /// Memories that the pool has handed out, 0 on demand.
    pub pool_memories: u32,
    /// Core instances that the pool has handed out, 0 on demand.
    pub pool_core_instances: u32,
    /// Instances that are ready or wait to be thrown away.
    pub prepared: u32,
    /// Bytes that the ready ones are reckoned to hold.
    pub prepared_bytes: f64,
    /// Bytes staged for off-thread calls.
    pub staged_bytes: f64,
    /// Compilations that outlived their limit and still run, in the whole process.
    pub abandoned_compiles: u32,
    /// Bytes that compilations kept when they were stopped, in the whole process.
    pub lost_compile_bytes: f64,
    /// Look-ups in the cache of compiled modules that found one.
    pub cache_hits: f64,
    /// Look-ups that found none.
    pub cache_misses: f64,
    /// Modules that the cache's limits pushed out.
    pub cache_evictions: f64,
    /// Modules in the cache.
    pub cache_entries: u32,
    /// Their bytes.
    pub cache_bytes: f64,
}

fn cache(engine: &HotEngine) -> MutexGuard<'_, Cache> {
    engine.cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine of these options, made now unless it exists.
#[napi(catch_unwind)]
pub fn open_engine(options: EngineOptions) -> Either<NativeEngine, NativeFailure> {
    match HotEngine::open(options) {
        Ok(inner) => {
            wasmtime::Engine::tls_eager_initialize();
            Either::A(NativeEngine { inner })
        }
        Err(failure) => Either::B(failure.into()),
    }
}

#[napi]
impl NativeEngine {
    /// The compiled module of this content, if the engine has it.
    #[napi(catch_unwind)]
    pub fn find(&self, hash: String) -> Option<NativeModule> {
        let found = cache(&self.inner).find(&hash);
        found.map(|module| NativeModule::new(&self.inner, module))
    }

    /// Compiles on a thread of its own, which may take so many milliseconds and bytes, and waits for it.
    #[napi(catch_unwind)]
    pub fn compile(
        &self,
        source: &NativeSource,
        hash: String,
        has_start: bool,
        limit_ms: u32,
        most_bytes: i64,
    ) -> Either<NativeModule, NativeFailure> {
        Compile::new(self, source, hash, has_start, limit_ms, most_bytes).run().into()
    }

    /// The same off the JavaScript thread.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeModule | NativeFailure>")]
    pub fn compile_async(
        &self,
        env: Env,
        source: &NativeSource,
        hash: String,
        has_start: bool,
        limit_ms: u32,
        most_bytes: i64,
    ) -> Result<AsyncTask<Compile>> {
        let cancel = Arc::default();
        cancel_at_end(&env, &cancel)?;
        let compile = Compile::new(self, source, hash, has_start, limit_ms, most_bytes);
        Ok(AsyncTask::new(Compile { cancel: Some(cancel), ..compile }))
    }

    /// Counts of this moment.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> EngineStats {
        let pool = self.inner.engine.pooling_allocator_metrics();
        let (prepared, prepared_bytes) = self.inner.preparer.held();
        let cache = cache(&self.inner);
        let (entries, bytes) = cache.kept();
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        EngineStats {
            running: self.inner.budget.running(),
            pool_memories: pool.as_ref().map_or(0, |pool| small(pool.memories())),
            pool_core_instances: pool.as_ref().map_or(0, |pool| u32::try_from(pool.core_instances()).unwrap_or(0)),
            prepared: small(prepared),
            prepared_bytes: prepared_bytes as f64,
            staged_bytes: self.inner.staged.load(SeqCst) as f64,
            abandoned_compiles: abandoned(),
            lost_compile_bytes: meter::lost() as f64,
            cache_hits: cache.hits as f64,
            cache_misses: cache.misses as f64,
            cache_evictions: cache.evictions as f64,
            cache_entries: small(entries),
            cache_bytes: bytes as f64,
        }
    }
}

/// A compilation and all that it needs.
pub struct Compile {
    engine: Arc<HotEngine>,
    wasm: Arc<Vec<u8>>,
    hash: String,
    has_start: bool,
    time: Duration,
    memory: usize,
    cancel: Option<Arc<Cancel>>,
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

impl Compile {
    fn new(
        engine: &NativeEngine,
        source: &NativeSource,
        hash: String,
        has_start: bool,
        limit_ms: u32,
        most_bytes: i64,
    ) -> Compile {
        Compile {
            engine: Arc::clone(&engine.inner),
            wasm: Arc::clone(&source.wasm),
            hash,
            has_start,
            time: Duration::from_millis(u64::from(limit_ms)),
            memory: usize::try_from(most_bytes).unwrap_or(0),
            cancel: None,
        }
    }

    fn run(&mut self) -> Compiled {
        let wasm = Arc::clone(&self.wasm);
        let bounds = Bounds { time: self.time, memory: self.memory, cancel: self.cancel.as_deref() };
        let compiled = self.engine.compile(wasm, self.has_start, &bounds);
        Compiled(compiled.map(|module| {
            let module = cache(&self.engine).keep(&self.hash, Arc::new(module));
            NativeModule::new(&self.engine, module)
        }))
    }
}

impl Task for Compile {
    type Output = Compiled;
    type JsValue = Either<NativeModule, NativeFailure>;

    fn compute(&mut self) -> Result<Compiled> {
        Ok(self.run())
    }

    fn resolve(&mut self, _env: Env, compiled: Compiled) -> Result<Self::JsValue> {
        Ok(compiled.into())
    }
}

/// A compiled module in its engine.
#[napi]
pub struct NativeModule {
    engine: Arc<HotEngine>,
    module: Arc<CompiledModule>,
    /// Cells that serve the module through this handle.
    serving: AtomicU32,
}

impl NativeModule {
    fn new(engine: &Arc<HotEngine>, module: Arc<CompiledModule>) -> NativeModule {
        NativeModule { engine: Arc::clone(engine), module, serving: AtomicU32::new(0) }
    }

    fn release(&self, cells: u32) {
        if cells > 0 && self.module.cells.fetch_sub(cells, SeqCst) == cells {
            self.engine.preparer.retire(&self.module);
        }
    }
}

impl Drop for NativeModule {
    /// A thread may end, or a runtime be forgotten, with slots that nobody evicts.
    fn drop(&mut self) {
        self.release(self.serving.load(SeqCst));
    }
}

#[napi]
impl NativeModule {
    /// What was noted when the module was admitted, or null before that.
    #[napi(catch_unwind)]
    pub fn admission(&self) -> Option<String> {
        self.module.admission.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the outcome of the admission, for other threads that register the same content.
    #[napi(catch_unwind)]
    pub fn admit(&self, note: String) {
        *self.module.admission.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// A slot serves this module from now on: its instances are prepared ahead.
    #[napi(catch_unwind)]
    pub fn serve(&self) {
        self.serving.fetch_add(1, SeqCst);
        self.module.cells.fetch_add(1, SeqCst);
    }

    /// A slot serves it no more; with the last one, what was prepared is released.
    #[napi(catch_unwind)]
    pub fn retire(&self) {
        self.serving.fetch_sub(1, SeqCst);
        self.release(1);
    }

    /// Calls a hook on this thread. The request is `scratch[start..start + head]`, the body, and then the `tail`
    /// bytes behind the head. The answer goes behind those if it fits there (its length comes back), else into a
    /// buffer of its own. `scratch[0..8]` receives the seconds that the call took, as an f64.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "one flat call costs less than an object would")]
    pub fn call<'env>(
        &self,
        env: &'env Env,
        hook: u32,
        mut scratch: Uint8ArraySlice<'env>,
        start: u32,
        head: u32,
        tail: u32,
        body: &[u8],
        limit_ms: u32,
        max_answer: u32,
        probe: bool,
    ) -> Result<Either3<u32, BufferSlice<'env>, NativeFailure>> {
        // SAFETY: the scratch memory is leased to this call: JavaScript does not run and nobody else writes to it.
        let scratch = unsafe { scratch.as_mut() };
        let end = start as usize + head as usize + tail as usize;
        let (given, room) = scratch.split_at_mut(end);
        let request = request_in(given, start, head, body);
        let rules = Call {
            engine: &self.engine,
            module: &self.module,
            hook: hook as usize,
            limit: Duration::from_millis(u64::from(limit_ms)),
            cancel: None,
            max_answer: max_answer as usize,
            probe,
        };
        let outcome = call(&rules, request, |answer| {
            if let Some(place) = room.get_mut(..answer.len()) {
                place.copy_from_slice(answer);
                return Ok(Either3::A(u32::try_from(answer.len()).unwrap_or(u32::MAX)));
            }
            BufferSlice::copy_from(env, answer).map(Either3::B)
        });
        scratch[..SECONDS_BYTES].copy_from_slice(&outcome.seconds.to_ne_bytes());
        outcome.result.unwrap_or_else(|failure| Ok(Either3::C(failure.into())))
    }

    /// Copies a request, laid out like that of `call`, for a call off the JavaScript thread.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "the same parameters as `call`")]
    pub fn stage(
        &self,
        hook: u32,
        scratch: &[u8],
        start: u32,
        head: u32,
        tail: u32,
        body: &[u8],
        limit_ms: u32,
        max_answer: u32,
        probe: bool,
    ) -> Either<StagedCall, NativeFailure> {
        let end = start as usize + head as usize + tail as usize;
        let request = request_in(&scratch[..end], start, head, body);
        let limit = Duration::from_millis(u64::from(limit_ms));
        match StagedCall::stage(&self.engine, &self.module, hook as usize, request, limit, max_answer as usize, probe) {
            Ok(staged) => Either::A(staged),
            Err(failure) => Either::B(failure.into()),
        }
    }
}

/// The request whose head is `scratch[start..start + head]` and whose tail is the rest.
fn request_in<'a>(scratch: &'a [u8], start: u32, head: u32, body: &'a [u8]) -> Request<'a> {
    let (head, tail) = scratch[start as usize..].split_at(head as usize);
    Request { head, body, tail }
}

/// BLAKE3 over the policy version and the memory cap, both as u32 little endian, and the bytes, in lower-case hex.
#[napi(catch_unwind)]
pub fn content_hash(policy_version: u32, memory_max_pages: u32, wasm: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&policy_version.to_le_bytes()).update(&memory_max_pages.to_le_bytes()).update(wasm);
    hasher.finalize().to_hex().to_string()
}

/// The signals whose handler is no longer the one that the engine installed.
#[napi(catch_unwind)]
pub fn replaced_signal_handlers() -> Vec<String> {
    crate::signals::replaced().into_iter().map(str::to_owned).collect()
}

/// The bytes of a module, copied once, so that nothing that happens to the caller's buffer later matters.
#[napi]
pub struct NativeSource {
    wasm: Arc<Vec<u8>>,
}

/// What a module is: its identity and what it says about itself.
#[napi(object, object_from_js = false)]
pub struct Reading {
    /// See `contentHash`.
    pub hash: String,
    /// See `Facts`.
    pub facts: Facts,
}

#[napi]
impl NativeSource {
    /// Copies the bytes.
    #[napi(constructor, catch_unwind)]
    pub fn new(wasm: &[u8]) -> NativeSource {
        NativeSource { wasm: Arc::new(wasm.to_vec()) }
    }

    /// Hashes and inspects, without running anything.
    #[napi(catch_unwind)]
    pub fn read(&self, policy_version: u32, memory_max_pages: u32) -> Reading {
        Read { wasm: Arc::clone(&self.wasm), policy_version, memory_max_pages }.run()
    }

    /// The same off the JavaScript thread.
    #[napi(catch_unwind, ts_return_type = "Promise<Reading>")]
    pub fn read_async(&self, policy_version: u32, memory_max_pages: u32) -> AsyncTask<Read> {
        AsyncTask::new(Read { wasm: Arc::clone(&self.wasm), policy_version, memory_max_pages })
    }
}

/// A reading and all that it needs.
pub struct Read {
    wasm: Arc<Vec<u8>>,
    policy_version: u32,
    memory_max_pages: u32,
}

impl Read {
    fn run(&self) -> Reading {
        let hash = content_hash(self.policy_version, self.memory_max_pages, &self.wasm);
        Reading { hash, facts: facts(&self.wasm) }
    }
}

impl Task for Read {
    type Output = Reading;
    type JsValue = Reading;

    fn compute(&mut self) -> Result<Reading> {
        catch_unwind(AssertUnwindSafe(|| self.run())).map_err(|_| napi::Error::from_reason("inspection panicked"))
    }

    fn resolve(&mut self, _env: Env, reading: Reading) -> Result<Reading> {
        Ok(reading)
    }
}
