//! Compiling: bytes in, a module that is ready to be instantiated and knows where its exports are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Engine, ExternType, FuncType, InstancePre, Linker, Module, ModuleExport, ValType};

use crate::deadline::Cancel;
use crate::failure::{Failure, Kind, chain};
use crate::instance::HostState;
use crate::meter;
use crate::pool::ModuleMemories;

/// The hooks in the order of their numbers on the boundary.
pub const HOOKS: [&str; 5] =
    ["cc_lb_filter", "cc_lb_shape", "cc_lb_observe", "cc_lb_transform_response", "cc_lb_transform_sse_event"];
/// The hook that may answer nothing.
pub const OBSERVE: usize = 2;

/// Stack for the compiler: deep nesting in a module is recursion in Cranelift.
const COMPILE_STACK: usize = 64 << 20;
/// Compilations that outlived their time limit and cannot be stopped; beyond this many, none is begun.
const MAX_ABANDONED: u32 = 2;
/// How soon whoever waits for a compilation notices that it was stopped, or that nobody wants it any more.
const POLL: Duration = Duration::from_millis(20);
static ABANDONED: AtomicU32 = AtomicU32::new(0);

/// Where an export of the contract is, or why it cannot be called.
pub type Export = Result<ModuleExport, String>;

/// BLAKE3 over the policy version and the memory cap, both as u32 little endian, and the bytes, in lower-case hex.
pub fn content_hash(policy_version: u32, memory_max_pages: u32, wasm: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&policy_version.to_le_bytes()).update(&memory_max_pages.to_le_bytes()).update(wasm);
    hasher.finalize().to_hex().to_string()
}

/// A module compiled for one engine.
pub struct CompiledModule {
    /// Linked against nothing: plugins import nothing.
    pub pre: InstancePre<HostState>,
    /// `memory`.
    pub memory: Export,
    /// `cc_lb_alloc`; refused too if `cc_lb_free` is missing or of another type.
    pub alloc: Export,
    /// The hooks, by number.
    pub hooks: [Export; HOOKS.len()],
    /// Whether instantiation runs guest code.
    pub has_start: bool,
    /// Bytes that a memory of this module may grow to.
    pub memory_cap: usize,
    /// Tables that an instance may have: none until the engine of the module sets it.
    pub max_tables: usize,
    /// Elements of one table: none until the engine of the module sets it.
    pub max_table_elements: usize,
    /// Bytes of compiled code and data.
    pub image_bytes: usize,
    /// The memories of its finished calls, if they are reused.
    pub memories: Option<ModuleMemories>,
    /// What TypeScript noted when it admitted the module; not read here.
    pub admission: Mutex<Option<String>>,
    /// Cells of slots that serve this module now.
    pub cells: AtomicU32,
    /// Bytes of the largest memory that a call of the module left; see `note_memory`.
    highest_memory: AtomicUsize,
}

impl CompiledModule {
    /// Remembers the size of a memory that a call left. It is only written where it is the largest so far, so that threads do
    /// not meet on it.
    pub fn note_memory(&self, bytes: usize) {
        if bytes > self.highest_memory.load(Relaxed) {
            self.highest_memory.fetch_max(bytes, Relaxed);
        }
    }

    /// Bytes of the largest memory that a call of the module left.
    pub fn highest_memory(&self) -> usize {
        self.highest_memory.load(Relaxed)
    }

    /// Makes a module of what the engine compiled.
    fn load(engine: &Engine, image: &[u8], has_start: bool, memory_cap: usize) -> Result<CompiledModule, Failure> {
        // SAFETY: the image was compiled by this engine just now, and nobody else has had it.
        let module = unsafe { Module::deserialize(engine, image) }
            .map_err(|error| Failure::new(Kind::Compile, chain(&error)))?;
        let pre = Linker::new(engine)
            .instantiate_pre(&module)
            .map_err(|error| Failure::new(Kind::Instantiate, chain(&error)))?;
        let range = module.image_range();
        let i32s = |count| vec![ValType::I32; count];
        let function = |name: &str, params: usize, result: Option<ValType>| -> Export {
            let expected = FuncType::new(engine, i32s(params), result);
            match module.get_export(name) {
                Some(ExternType::Func(found)) if FuncType::eq(&found, &expected) => {
                    Ok(module.get_export_index(name).expect("the export was just found"))
                }
                Some(ExternType::Func(found)) => Err(format!("`{name}` has type {found}, expected {expected}")),
                Some(_) => Err(format!("`{name}` is exported but is not a function")),
                None => Err(format!("`{name}` is not exported")),
            }
        };
        let memory = match module.get_export("memory") {
            Some(ExternType::Memory(_)) => Ok(module.get_export_index("memory").expect("the export was just found")),
            Some(_) => Err("`memory` is exported but is not a memory".to_owned()),
            None => Err("`memory` is not exported".to_owned()),
        };
        let free = function("cc_lb_free", 3, None);
        let alloc = function("cc_lb_alloc", 2, Some(ValType::I32)).and_then(|alloc| free.map(|_| alloc));
        let hooks = HOOKS.map(|name| function(name, 2, Some(ValType::I64)));
        Ok(CompiledModule {
            pre,
            memory,
            alloc,
            hooks,
            has_start,
            memory_cap,
            max_tables: 0,
            max_table_elements: 0,
            image_bytes: range.end as usize - range.start as usize,
            memories: None,
            admission: Mutex::new(None),
            cells: AtomicU32::new(0),
            highest_memory: AtomicUsize::new(0),
        })
    }
}

/// How much a compilation may take.
pub struct Bounds<'a> {
    /// Time until nobody waits for it any more.
    pub time: Duration,
    /// Bytes of memory.
    pub memory: usize,
    /// Set when nobody wants it any more.
    pub cancel: Option<&'a Cancel>,
}

/// What a compilation works on.
struct Work {
    engine: Engine,
    wasm: Arc<Vec<u8>>,
    progress: Arc<Mutex<Progress>>,
}

/// What a compilation and whoever waits for it tell each other.
#[derive(Default)]
struct Progress {
    /// Nobody waits any more.
    abandoned: bool,
    /// It took too much memory and never ends.
    stopped: bool,
}

/// Notes that a compilation runs no more.
fn over(progress: &Mutex<Progress>, stopped: bool) {
    let mut progress = lock(progress);
    progress.stopped = stopped;
    if progress.abandoned {
        ABANDONED.fetch_sub(1, SeqCst);
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles on a thread of its own, with a stack for hostile nesting and limits in time and memory. A compilation cannot
/// be told to end: one that exceeds its time, or that nobody waits for any more, is left to its thread and counted until
/// it ends; one that exceeds its memory is stopped for good, see [`meter`].
pub fn compile(
    engine: &Engine,
    wasm: Arc<Vec<u8>>,
    has_start: bool,
    memory_cap: usize,
    bounds: &Bounds<'_>,
) -> Result<CompiledModule, Failure> {
    let Bounds { time, memory, cancel } = *bounds;
    if ABANDONED.load(SeqCst) >= MAX_ABANDONED || meter::lost() > memory {
        return Err(Failure::saturated("compile"));
    }
    let (sender, receiver) = mpsc::channel();
    let progress = Arc::<Mutex<Progress>>::default();
    let work = Work { engine: engine.clone(), wasm, progress: Arc::clone(&progress) };
    std::thread::Builder::new()
        .name("cc-lb-compile".to_owned())
        .stack_size(COMPILE_STACK)
        .spawn(move || {
            let progress = Arc::clone(&work.progress);
            let result = catch_unwind(AssertUnwindSafe(|| {
                // No lock is held while this allocates, unlike in the making of a `Module`.
                let precompile = |work: &Work| work.engine.precompile_module(&work.wasm);
                let (work, image) = meter::bounded(memory, work, |work| over(&work.progress, true), precompile);
                let image = image.map_err(|error| Failure::new(Kind::Compile, chain(&error)))?;
                CompiledModule::load(&work.engine, &image, has_start, memory_cap)
            }));
            let result = result.unwrap_or_else(|payload| Err(Failure::panic(Kind::Compile, &*payload)));
            // The receiver is gone when the limit has passed.
            let _ = sender.send(result);
            over(&progress, false);
        })
        .map_err(|error| Failure::new(Kind::Compile, format!("no thread to compile on: {error}")))?;
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(POLL)) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(Kind::Compile, "the compiling thread ended"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if left <= POLL || cancel.is_some_and(Cancel::is_cancelled) || lock(&progress).stopped {
            break;
        }
    }
    let mut progress = lock(&progress);
    // It may have ended between the limit and this line.
    if let Ok(result) = receiver.try_recv() {
        return result;
    }
    if progress.stopped {
        return Err(Failure::new(Kind::Compile, format!("compiling takes more than maxCompileBytes ({memory})")));
    }
    progress.abandoned = true;
    ABANDONED.fetch_add(1, SeqCst);
    Err(Failure::new(Kind::Compile, format!("compiling took longer than {} ms", time.as_millis())))
}

/// Compilations that outlived their limit and still run.
pub fn abandoned() -> u32 {
    ABANDONED.load(SeqCst)
}
