//! The idle memories of an engine's modules, under one budget.
//!
//! A memory belongs to the module whose calls use it, so that its initial size, working set and accessible range fit
//! the next call. Each module has several lists of idle memories, and each thread prefers one of them, so that threads
//! rarely contend for a lock. A memory is charged to the budget when it first becomes idle and whenever its working set
//! changes, and stays charged while a call uses it: a call in the steady state writes nothing that other threads read.
//!
//! When the budget is exhausted, a memory is kept only at the expense of modules that were last used before the previous
//! call of its own module. Modules that take turns and exceed the budget together would otherwise release each other's
//! memories in each call; with this rule, those that fit keep theirs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::charge::Charge;
use crate::deadline;
use crate::idle::{Idle, ModuleMemories};
use crate::memory::{Exchange, Reservation};
use crate::module::CompiledModule;

/// The cost of a memory in addition to its resident pages: page tables, two mappings and the pool's own data.
const OVERHEAD_BYTES: usize = 32 << 10;
/// Nanoseconds for which a memory may be idle while other calls run. The budget bounds what idle memories hold, and an
/// early release costs one call its faults, so this is not a setting.
const IDLE_NS: u64 = 10_000_000_000;
/// The share of the budget that eviction frees beyond what is needed: not every call evicts, and no call evicts much.
const SLACK: usize = 64;

/// The idle memories of an engine.
pub struct Pool {
    /// The budget of all memories in bytes.
    budget: usize,
    charged: Arc<AtomicUsize>,
    modules: Mutex<Vec<Weak<CompiledModule>>>,
    /// The time of the next check of idle memories, in nanoseconds of [`deadline::now`].
    next_look: AtomicU64,
    /// No module was last used before this time, in nanoseconds of [`deadline::now`].
    least_recent: AtomicU64,
}

/// The memory of one call: supplied at its start, reset and kept at its end. It must outlive the call's store.
pub struct Lease<'a> {
    pool: &'a Pool,
    module: &'a Arc<CompiledModule>,
    /// When the supplied memory became idle; 0 for a new one.
    since: u64,
    exchange: Exchange,
}

impl Lease<'_> {
    /// Frees address space if the system had none for the requested memory. Returns whether a retry may succeed.
    pub fn frees_address_space(&self) -> bool {
        self.exchange.take_refusal() && self.pool.release_all()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(memory) = self.exchange.take() {
            self.pool.keep(self.module, memory, self.since);
        }
    }
}

impl Pool {
    /// Creates a pool with a budget of `budget` bytes.
    pub fn new(budget: usize) -> Pool {
        Pool {
            budget,
            charged: Arc::default(),
            modules: Mutex::default(),
            next_look: AtomicU64::new(IDLE_NS),
            least_recent: AtomicU64::new(0),
        }
    }

    /// Supplies the next instance of this thread, which must be one of `module`, with an idle memory or a new one.
    pub fn lease<'a>(&'a self, module: &'a Arc<CompiledModule>) -> Lease<'a> {
        let idle = module.memories.as_ref().and_then(ModuleMemories::take);
        let since = idle.as_ref().map_or(0, |idle| idle.since);
        Lease { pool: self, module, since, exchange: Exchange::begin(idle.map(|idle| idle.memory)) }
    }

    /// Receives the memory of an instance that is dropped on this thread while the lease exists.
    pub fn collect<'a>(&'a self, module: &'a Arc<CompiledModule>) -> Lease<'a> {
        Lease { pool: self, module, since: 0, exchange: Exchange::begin(None) }
    }

    /// Resets a memory and keeps it for the next call, if its module is registered, and the kernel and the budget allow
    /// it. `since` is when it became idle before its call; 0 for a new one.
    fn keep(&self, module: &Arc<CompiledModule>, mut memory: Box<Reservation>, since: u64) {
        let Some(memories) = &module.memories else { return };
        let previous_use = since.max(memories.refused_at.load(Relaxed));
        // A new memory whose module was refused earlier probably has no space again, and is then not worth a reset.
        let expected = if memory.charge().is_none() { memories.refused_bytes.load(Relaxed) } else { 0 };
        if module.versions.load(SeqCst) == 0 {
            return;
        }
        let fits = self.has_space(expected, previous_use);
        if !fits || !memory.reset() || !self.charge(memories, &mut memory, previous_use) {
            memories.refused_at.store(deadline::now(), Relaxed);
            return;
        }
        if !memories.known.load(Relaxed) && !memories.known.swap(true, SeqCst) {
            self.modules().push(Arc::downgrade(module));
        }
        let now = deadline::now();
        memories.own().lock().push(Idle { memory, since: now });
        // The last version of the module may have been removed in the meantime, after which nothing else releases the
        // memories.
        if module.versions.load(SeqCst) == 0 {
            self.release(module);
        }
        let next = self.next_look.load(Relaxed);
        if now >= next && self.next_look.compare_exchange(next, now + IDLE_NS / 2, Relaxed, Relaxed).is_ok() {
            self.release_idle(now.saturating_sub(IDLE_NS));
        }
    }

    /// Charges a reset memory. Returns false if the budget is exhausted.
    fn charge(&self, memories: &ModuleMemories, memory: &mut Reservation, previous_use: u64) -> bool {
        let bytes = memory.resident_bytes() + OVERHEAD_BYTES;
        let charge = memory.charge().get_or_insert_with(|| Charge::new(Arc::clone(&self.charged)));
        if charge.bytes() == bytes {
            return true;
        }
        charge.set(bytes);
        let fits = self.has_space(0, previous_use);
        if !fits {
            memories.refused_bytes.store(bytes, Relaxed);
        }
        fits
    }

    /// Whether the budget has space for `more` bytes, if necessary after releasing modules that were last used before
    /// `previous_use`.
    fn has_space(&self, more: usize, previous_use: u64) -> bool {
        let has_space = || self.charged.load(Relaxed) + more <= self.budget;
        has_space() || (previous_use > self.least_recent.load(Relaxed) && self.evict(more, previous_use) && has_space())
    }

    /// Drops the memories of the least recently used modules until the budget has space for `more` bytes and some slack,
    /// but of none that was used since `previous_use`. Returns whether it dropped any.
    fn evict(&self, more: usize, previous_use: u64) -> bool {
        let target = self.budget.saturating_sub(more + self.budget / SLACK);
        let mut modules: Vec<_> = self
            .served()
            .into_iter()
            .filter_map(|module| Some((module.memories.as_ref()?.last_used()?, module)))
            .collect();
        modules.sort_unstable_by_key(|(last_used, _)| *last_used);
        let mut remaining = modules.into_iter().peekable();
        let mut any = false;
        while let Some((_, module)) =
            remaining.next_if(|(last_used, _)| *last_used < previous_use && self.charged.load(Relaxed) > target)
        {
            self.release(&module);
            any = true;
        }
        if let Some((last_used, _)) = remaining.peek() {
            self.least_recent.store(*last_used, Relaxed);
        }
        any
    }

    /// Drops the idle memories of a module.
    pub fn release(&self, module: &CompiledModule) {
        drop(module.memories.as_ref().map(|memories| memories.take_idle_since(u64::MAX)));
    }

    /// Drops memories that are idle since `time` or longer.
    fn release_idle(&self, time: u64) {
        for module in self.served() {
            drop(module.memories.as_ref().map(|memories| memories.take_idle_since(time)));
        }
    }

    /// Drops all idle memories. Returns false if there was none.
    fn release_all(&self) -> bool {
        let any = self.idle().0 > 0;
        self.release_idle(u64::MAX);
        any
    }

    /// Returns the number of idle memories, and the charge of all memories in bytes, including those of running calls.
    pub fn idle(&self) -> (usize, usize) {
        let count = self.served().iter().filter_map(|module| module.memories.as_ref()).map(ModuleMemories::count).sum();
        (count, self.charged.load(Relaxed))
    }

    /// Returns the modules that may have idle memories.
    fn served(&self) -> Vec<Arc<CompiledModule>> {
        let mut served = Vec::new();
        self.modules().retain(|module| {
            let module = module.upgrade();
            served.extend(module.clone());
            module.is_some()
        });
        served
    }

    fn modules(&self) -> MutexGuard<'_, Vec<Weak<CompiledModule>>> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
