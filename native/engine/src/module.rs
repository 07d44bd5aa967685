//! A compiled module: ready to be instantiated, and it knows where its exports are.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use wasmtime::{Engine, ExternType, FuncType, InstancePre, Linker, Module, ModuleExport, ValType};

use crate::failure::{Failure, Kind, chain};
use crate::host::HostState;
use crate::idle::ModuleMemories;

/// The hooks in the order of their numbers on the boundary.
pub const HOOKS: [&str; 5] =
    ["cc_lb_filter", "cc_lb_shape", "cc_lb_observe", "cc_lb_transform_response", "cc_lb_transform_sse_event"];
/// The hook that may answer nothing.
pub const OBSERVE: usize = 2;

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

    /// Makes a module of an image that was compiled for this engine.
    pub fn load(engine: &Engine, image: &[u8], has_start: bool, memory_cap: usize) -> Result<CompiledModule, Failure> {
        // SAFETY: the image is the compiler's: it came through a pipe from a process that this one started, or with a
        // code that only the holder of the cache directory's key can make.
        let module = unsafe { Module::deserialize(engine, image) }
            .map_err(|error| Failure { place: "invalid", ..Failure::new(Kind::Compile, chain(&error)) })?;
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
