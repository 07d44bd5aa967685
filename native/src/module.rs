//! Compiling: bytes in, a module that is ready to be instantiated and knows where its exports are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Engine, ExternType, FuncType, InstancePre, Linker, Module, ModuleExport, ValType};

use crate::deadline::Cancel;
use crate::failure::{Failure, Kind, chain};
use crate::instance::HostState;
use crate::prepared::Shelf;

/// The hooks in the order of their numbers on the boundary.
pub const HOOKS: [&str; 5] =
    ["cc_lb_filter", "cc_lb_shape", "cc_lb_observe", "cc_lb_transform_response", "cc_lb_transform_sse_event"];
/// The hook that may answer nothing.
pub const OBSERVE: usize = 2;

/// Stack for the compiler: deep nesting in a module is recursion in Cranelift.
const COMPILE_STACK: usize = 64 << 20;
/// Compilations that outlived their time limit and cannot be stopped; beyond this many, none is begun.
const MAX_ABANDONED: u32 = 2;
/// How soon whoever waits for a compilation notices that nobody wants it any more.
const CANCEL_POLL: Duration = Duration::from_millis(20);
static ABANDONED: AtomicU32 = AtomicU32::new(0);

/// Where an export of the contract is, or why it cannot be called.
pub type Slot = Result<ModuleExport, String>;

/// A module compiled for one engine.
pub struct CompiledModule {
    /// Linked against nothing: plugins import nothing.
    pub pre: InstancePre<HostState>,
    /// `memory`.
    pub memory: Slot,
    /// `cc_lb_alloc`; refused too if `cc_lb_free` is missing or of another type.
    pub alloc: Slot,
    /// The hooks, by number.
    pub hooks: [Slot; HOOKS.len()],
    /// Whether instantiation runs guest code.
    pub has_start: bool,
    /// Bytes that a memory of this module may grow to.
    pub memory_cap: usize,
    /// Whether its memory names a maximum of its own, to which the compiler may make checks coarser.
    pub names_maximum: bool,
    /// Whether its memories are taken from those of instances that are over.
    pub reuses_memories: bool,
    /// Bytes of compiled code and data.
    pub image_bytes: usize,
    /// Instances ready for calls.
    pub shelf: Shelf,
    /// What TypeScript noted when it admitted the module; not read here.
    pub admission: Mutex<Option<String>>,
    /// Cells of slots that serve this module now.
    pub cells: AtomicU32,
}

impl CompiledModule {
    /// Compiles on the calling thread.
    fn compile(engine: &Engine, wasm: &[u8], has_start: bool, memory_cap: usize) -> Result<CompiledModule, Failure> {
        let module = Module::new(engine, wasm).map_err(|error| Failure::new(Kind::Compile, chain(&error)))?;
        let pre = Linker::new(engine)
            .instantiate_pre(&module)
            .map_err(|error| Failure::new(Kind::Instantiate, chain(&error)))?;
        let range = module.image_range();
        let i32s = |count| vec![ValType::I32; count];
        let function = |name: &str, params: usize, result: Option<ValType>| -> Slot {
            let expected = FuncType::new(engine, i32s(params), result);
            match module.get_export(name) {
                Some(ExternType::Func(found)) if FuncType::eq(&found, &expected) => {
                    Ok(module.get_export_index(name).expect("the export was just found"))
                }
                Some(ExternType::Func(found)) => Err(format!("`{name}` has type {found}, expected {expected}")),
                Some(_) => Err(format!("`{name}` is exported but is no function")),
                None => Err(format!("`{name}` is not exported")),
            }
        };
        let memory_type = module.get_export("memory");
        let names_maximum =
            memory_type.as_ref().and_then(ExternType::memory).is_none_or(|found| found.maximum().is_some());
        let memory = match memory_type {
            Some(ExternType::Memory(_)) => Ok(module.get_export_index("memory").expect("the export was just found")),
            Some(_) => Err("`memory` is exported but is no memory".to_owned()),
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
            names_maximum,
            reuses_memories: false,
            image_bytes: range.end as usize - range.start as usize,
            shelf: Shelf::default(),
            admission: Mutex::new(None),
            cells: AtomicU32::new(0),
        })
    }
}

/// Compiles on a thread of its own, with a stack for hostile nesting and a limit in time. A compilation cannot be
/// stopped: one that exceeds the limit, or that nobody waits for any more, is left to its thread and counted until it
/// ends.
pub fn compile(
    engine: &Engine,
    wasm: Arc<Vec<u8>>,
    has_start: bool,
    memory_cap: usize,
    limit: Duration,
    cancel: Option<&Cancel>,
) -> Result<CompiledModule, Failure> {
    if ABANDONED.load(SeqCst) >= MAX_ABANDONED {
        return Err(Failure::saturated("compile"));
    }
    let (sender, receiver) = mpsc::channel();
    let engine = engine.clone();
    let abandoned = Arc::new(Mutex::new(false));
    let left_behind = Arc::clone(&abandoned);
    std::thread::Builder::new()
        .name("cc-lb-compile".to_owned())
        .stack_size(COMPILE_STACK)
        .spawn(move || {
            let result =
                catch_unwind(AssertUnwindSafe(|| CompiledModule::compile(&engine, &wasm, has_start, memory_cap)))
                    .unwrap_or_else(|payload| Err(Failure::panic(Kind::Compile, &*payload)));
            // The receiver is gone when the limit has passed.
            let _ = sender.send(result);
            if *left_behind.lock().unwrap_or_else(PoisonError::into_inner) {
                ABANDONED.fetch_sub(1, SeqCst);
            }
        })
        .map_err(|error| Failure::new(Kind::Compile, format!("no thread to compile on: {error}")))?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(CANCEL_POLL)) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(Kind::Compile, "the compiling thread ended"));
            }
            Err(RecvTimeoutError::Timeout) if left > CANCEL_POLL && !cancel.is_some_and(Cancel::is_cancelled) => {}
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    let mut abandoned = abandoned.lock().unwrap_or_else(PoisonError::into_inner);
    // It may have ended between the limit and this line.
    if let Ok(result) = receiver.try_recv() {
        return result;
    }
    *abandoned = true;
    ABANDONED.fetch_add(1, SeqCst);
    Err(Failure::new(Kind::Compile, format!("compiling took longer than {} ms", limit.as_millis())))
}

/// Compilations that outlived their limit and still run.
pub fn abandoned() -> u32 {
    ABANDONED.load(SeqCst)
}
