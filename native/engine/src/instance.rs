//! An instance that nobody has used: a store with its limits, and the exports of the contract found in it.

use wasmtime::{Memory, PoolConcurrencyLimitError, Store, StoreLimits, StoreLimitsBuilder, Trap, TypedFunc};

use crate::deadline;
use crate::engine::{TABLE_ELEMENTS, TABLES};
use crate::failure::{Failure, Kind, chain};
use crate::memory;
use crate::module::{CompiledModule, HOOKS};

/// What a store carries: the limits of its guest.
pub struct HostState {
    limits: StoreLimits,
}

/// A hook's function: `(pointer, length) -> pointer << 32 | length`.
pub type Hook = TypedFunc<(u32, u32), u64>;

/// A fresh instance in a store of its own, good for one call.
pub struct Instance {
    /// The store; dropping it is what resets the memory.
    pub store: Store<HostState>,
    /// The guest's memory.
    pub memory: Memory,
    /// `cc_lb_alloc`.
    pub alloc: TypedFunc<(u32, u32), u32>,
    /// Bytes that the memory has before anybody grows it.
    pub initial_bytes: usize,
    /// Bytes of pages that its memory came with.
    pub came_resident: usize,
    /// Whether its memory may have got huge pages.
    pub huge_pages: bool,
    /// Whether pages of its memory were resident before its call.
    pub populated: bool,
    /// How far that went beyond its initial size, in bytes from its start; 0 if it did not.
    pub reached: usize,
    /// The hooks that the module exports with the right type.
    hooks: [Option<Hook>; HOOKS.len()],
}

impl Instance {
    /// Instantiates `module`; runs its start function, if it has one, under the deadline in force on this thread.
    pub fn new(module: &CompiledModule) -> Result<Instance, Failure> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(module.memory_cap)
            .tables(TABLES)
            .table_elements(TABLE_ELEMENTS)
            .build();
        let mut store = Store::new(module.pre.module().engine(), HostState { limits });
        store.limiter(|state| &mut state.limits);
        deadline::prepare(&mut store);
        if module.has_start {
            deadline::bind(&mut store);
        } else {
            deadline::unbind(&mut store);
        }
        let instance = module.pre.instantiate(&mut store).map_err(|error| instantiation_failure(&error))?;
        let rejected = |reason: &String| Failure::new(Kind::Rejected, reason.clone());
        let memory_at = module.memory.as_ref().map_err(rejected)?;
        let alloc_at = module.alloc.as_ref().map_err(rejected)?;
        // The kinds and types of both were checked when the module was compiled.
        let memory = instance.get_module_export(&mut store, memory_at).and_then(wasmtime::Extern::into_memory);
        let alloc = instance.get_module_export(&mut store, alloc_at).and_then(wasmtime::Extern::into_func);
        let (Some(memory), Some(alloc)) = (memory, alloc) else {
            return Err(Failure::new(Kind::Rejected, "an export changed its kind"));
        };
        let alloc = alloc.typed(&store).map_err(|error| Failure::new(Kind::Rejected, chain(&error)))?;
        let hooks = [0, 1, 2, 3, 4].map(|number| {
            let at = module.hooks[number].as_ref().ok()?;
            let function = instance.get_module_export(&mut store, at).and_then(wasmtime::Extern::into_func)?;
            function.typed(&store).ok()
        });
        let initial_bytes = memory.data_size(&store);
        let came_resident = if module.reuses_memories { memory::came_resident() } else { 0 };
        let populated = came_resident > 0;
        Ok(Instance {
            store,
            memory,
            alloc,
            initial_bytes,
            came_resident,
            populated,
            huge_pages: false,
            reached: 0,
            hooks,
        })
    }

    /// The hook of this number, or why it cannot be called.
    pub fn hook(&self, module: &CompiledModule, number: usize) -> Result<Hook, Failure> {
        self.hooks[number].clone().ok_or_else(|| {
            let reason = module.hooks[number].as_ref().err();
            Failure::new(Kind::Rejected, reason.cloned().unwrap_or_else(|| format!("`{}` is missing", HOOKS[number])))
        })
    }
}

fn instantiation_failure(error: &wasmtime::Error) -> Failure {
    if let Some(limit) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        // A pool has no heaps for references to host objects at all: waiting would not help.
        if limit.to_string().contains("GC heap") {
            let message = "it keeps references to host objects, for which a pool reserves no heap";
            return Failure::new(Kind::Instantiate, message);
        }
        return Failure::saturated("pool");
    }
    let mut failure = Failure::new(Kind::Instantiate, chain(error));
    if error.downcast_ref::<Trap>().is_some() {
        // The start function trapped or expired: the trap becomes the cause.
        failure.place = "instantiate";
        failure.trap = Failure::trap("instantiate", error).trap;
    }
    failure
}
