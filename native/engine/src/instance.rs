//! A fresh instance for one call: a store with its limits, and the exports that the call needs.

use wasmtime::{Extern, Func, Memory, PoolConcurrencyLimitError, Store, Trap, ValRaw};

use crate::deadline;
use crate::failure::{Failure, Phase, Resource, chain};
use crate::hook::Hook;
use crate::host::HostState;
use crate::module::{CompiledModule, Export};

/// A fresh instance in its own store, for one call of one hook.
pub struct Instance {
    store: Store<HostState>,
    memory: Memory,
    alloc: Func,
    hook: Func,
}

impl Instance {
    /// Instantiates `module` to call `hook`. Its start function, if any, runs under the deadline
    /// that is active on this thread.
    pub fn new(module: &CompiledModule, hook: Hook) -> Result<Instance, Failure> {
        let export = |export: &Export| export.clone().map_err(Failure::Rejected);
        let (memory, alloc, hook) =
            (export(&module.memory)?, export(&module.alloc)?, export(&module.hooks[hook as usize])?);
        let state = HostState::new(module.limits);
        let mut store = Store::new(module.pre.module().engine(), state);
        store.limiter(|state| state);
        deadline::prepare(&mut store);
        if module.needs.start {
            deadline::bind(&mut store);
        } else {
            deadline::unbind(&mut store);
        }
        let instance = module.pre.instantiate(&mut store).map_err(|error| instantiation_failure(&error))?;
        deadline::bind(&mut store);
        // The kinds and types of all three exports were checked when the module was loaded.
        let memory = instance.get_module_export(&mut store, &memory).and_then(Extern::into_memory);
        let alloc = instance.get_module_export(&mut store, &alloc).and_then(Extern::into_func);
        let hook = instance.get_module_export(&mut store, &hook).and_then(Extern::into_func);
        let (Some(memory), Some(alloc), Some(hook)) = (memory, alloc, hook) else {
            return Err(Failure::Rejected("an export changed its kind".to_owned()));
        };
        Ok(Instance { store, memory, alloc, hook })
    }

    /// Applies the active deadline of this thread to an instance that was created earlier.
    pub fn bind_deadline(&mut self) {
        deadline::bind(&mut self.store);
    }

    /// The guest's memory.
    pub fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// Bytes of its memory and its tables.
    pub fn bytes(&self) -> usize {
        self.memory().len() + self.store.data().table_bytes()
    }

    /// The guest's memory for writing.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.store)
    }

    /// Calls `cc_lb_alloc` and returns its pointer.
    pub fn alloc(&mut self, bytes: u32, align: u32) -> wasmtime::Result<u32> {
        self.call(self.alloc, bytes, align).map(|result| result.get_u32())
    }

    /// Calls the hook and returns `pointer << 32 | length` of its answer.
    pub fn hook(&mut self, pointer: u32, length: u32) -> wasmtime::Result<u64> {
        self.call(self.hook, pointer, length).map(|result| result.get_u64())
    }

    /// Calls a function without looking up its type, which would lock the engine and write to a reference count that
    /// all threads share.
    fn call(&mut self, function: Func, first: u32, second: u32) -> wasmtime::Result<ValRaw> {
        let mut values = [ValRaw::u32(first), ValRaw::u32(second)];
        // SAFETY: the function is of this store; `CompiledModule::load` checked that it takes two i32 and returns one number.
        // The array holds both the parameters and the result.
        unsafe { function.call_unchecked(&mut self.store, &mut values)? };
        Ok(values[0])
    }
}

fn instantiation_failure(error: &wasmtime::Error) -> Failure {
    if let Some(limit) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        // A pool has no heaps for references to host objects, so that a retry cannot succeed.
        if limit.to_string().contains("GC heap") {
            let message = "it uses references to host objects, for which a pool reserves no heap";
            return Failure::Instantiate(message.to_owned());
        }
        return Failure::Saturated(Resource::Pool);
    }
    // Only a start function that traps or expires makes instantiation trap.
    if error.downcast_ref::<Trap>().is_some() {
        return Failure::trap(Phase::Instantiate, error);
    }
    Failure::Instantiate(chain(error))
}
