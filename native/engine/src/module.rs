//! A compiled module, ready for instantiation, with the indices of its exports.

use std::panic::resume_unwind;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::thread;

use wasmtime::{Engine, ExternType, FuncType, InstancePre, Linker, Module, ModuleExport, ValType};

use crate::failure::{CompileReason, Failure, chain};
use crate::hook::Hook;
use crate::host::{HostState, InstanceLimits};
use crate::inspect::InstanceNeeds;

/// The index of an export of the contract, or why it cannot be called.
pub type Export = Result<ModuleExport, String>;

/// BLAKE3 over the policy version and the memory cap, both as little-endian u32, and the bytes, in lowercase hex.
pub fn content_hash(policy_version: u32, memory_max_pages: u32, wasm: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&policy_version.to_le_bytes()).update(&memory_max_pages.to_le_bytes()).update(wasm);
    hasher.finalize().to_hex().to_string()
}

/// Reads one image at a time, on a thread of its own. glibc keeps freed memory for the threads that allocated it, and a
/// hostile module takes megabytes to read. A new thread continues with the memory of the last one that ended, whereas
/// concurrent ones, or the threads of a pool, would keep memory of their own.
fn deserialize(engine: &Engine, image: &[u8]) -> wasmtime::Result<Module> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _reading = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the compiler created the image: on a thread of this process, in a process that this one started and that sent it
    // through a pipe, or earlier, with a MAC that only the holder of the cache directory's key can create.
    let read = || unsafe { Module::deserialize(engine, image) };
    thread::scope(|scope| match thread::Builder::new().name("cc-lb-load".to_owned()).spawn_scoped(scope, read) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Err(_) => read(),
    })
}

/// A module compiled for one engine.
pub struct CompiledModule {
    /// Instantiates without imports, because plugins import nothing.
    pub pre: InstancePre<HostState>,
    /// `memory`.
    pub memory: Export,
    /// `cc_lb_alloc`; also an error if `cc_lb_free` is missing or has another type.
    pub alloc: Export,
    /// The hooks, by discriminant.
    pub hooks: [Export; Hook::ALL.len()],
    /// What its instances need.
    pub needs: InstanceNeeds,
    /// The limits of its instances.
    pub limits: InstanceLimits,
    /// Bytes of compiled code and data.
    pub image_bytes: usize,
    /// Whether its calls use the memories of finished calls.
    pub reuses_memories: bool,
    /// The lowest class of memories that its calls use; see [`crate::pool`].
    pub memory_class: AtomicUsize,
    /// Data that TypeScript stores at admission; not used here.
    pub admission: Mutex<Option<String>>,
    /// The number of registered versions of this module.
    pub versions: AtomicU32,
    /// The largest memory after a call in bytes; see `note_memory`.
    highest_memory: AtomicUsize,
}

impl CompiledModule {
    /// Records the size of a memory after a call. It is only written if it is the largest so far, so that threads do
    /// not contend for it.
    pub fn note_memory(&self, bytes: usize) {
        if bytes > self.highest_memory.load(Relaxed) {
            self.highest_memory.fetch_max(bytes, Relaxed);
        }
    }

    /// Returns the largest memory after a call in bytes.
    pub fn highest_memory(&self) -> usize {
        self.highest_memory.load(Relaxed)
    }

    /// Creates a module from an image that was compiled for this engine.
    pub fn load(
        engine: &Engine,
        image: &[u8],
        needs: InstanceNeeds,
        limits: InstanceLimits,
        reuses_memories: bool,
    ) -> Result<CompiledModule, Failure> {
        // An engine with a pool rejects a module that does not fit into it.
        let module = deserialize(engine, image)
            .map_err(|error| Failure::Compile { reason: CompileReason::Invalid, message: chain(&error) })?;
        let pre = Linker::new(engine).instantiate_pre(&module).map_err(|error| Failure::Instantiate(chain(&error)))?;
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
        let hooks = Hook::ALL.map(|hook| function(hook.export(), 2, Some(ValType::I64)));
        Ok(CompiledModule {
            pre,
            memory,
            alloc,
            hooks,
            needs,
            limits,
            image_bytes: range.end as usize - range.start as usize,
            reuses_memories,
            memory_class: AtomicUsize::new(0),
            admission: Mutex::new(None),
            versions: AtomicU32::new(0),
            highest_memory: AtomicUsize::new(0),
        })
    }
}
