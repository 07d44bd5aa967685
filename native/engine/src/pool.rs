//! The idle memories of an engine, under one budget.
//!
//! The memory that a thread used last serves its next call, whatever the module: a reset memory reads as zero, and this
//! one is still in the CPU's cache. Memories of their own for each of many modules would be loaded from main memory in
//! every call and multiply what is resident.
//!
//! Resetting takes time for each resident page, so calls that use little memory do not share it with calls that use much:
//! the class of a call is that of its request's size, and each class limits what stays resident. A module of which one
//! call used more than this limit is in the next class from then on.
//!
//! A memory is charged to the budget when it first becomes idle and whenever its working set changes, and stays charged
//! while a call uses it: a call in the steady state writes nothing that other threads read. When the budget is exhausted,
//! the memories that are idle for the longest time are released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::charge::Charge;
use crate::deadline;
use crate::idle::IdleMemories;
use crate::memory::{Exchange, Reservation, Reusable};
use crate::module::CompiledModule;

/// The cost of a memory in addition to its resident pages: page tables, two mappings and the pool's own data.
const OVERHEAD_BYTES: usize = 32 << 10;
/// Nanoseconds for which a memory may be idle while other calls run. The budget bounds what idle memories hold, and an
/// early release costs one call its faults, so this is not a setting.
const IDLE_NS: u64 = 10_000_000_000;
/// The share of the budget that eviction frees beyond what is needed, so that not every call evicts.
const SLACK: usize = 64;
/// Classes of requests.
const CLASSES: usize = 4;
/// Maximum request bytes of the first class. Each next class has requests up to 16 times as large; the last one has no
/// maximum.
const SMALL_REQUEST_BYTES: usize = 16 << 10;
/// Maximum resident bytes of an idle memory of each class: enough for the stack, the data and several copies of the
/// request.
const MAX_RESIDENT_BYTES: [usize; CLASSES] = [256 << 10, 5 << 20, 80 << 20, usize::MAX];

/// The idle memories of an engine.
pub struct Pool {
    /// The budget of all memories in bytes.
    budget: usize,
    charged: Arc<AtomicUsize>,
    classes: [IdleMemories; CLASSES],
    /// The time of the next check of idle memories, in nanoseconds of [`deadline::now`].
    next_release: AtomicU64,
}

/// Returns the class of a request of this many bytes.
fn class_of(request_bytes: usize) -> usize {
    (0..CLASSES - 1).find(|class| request_bytes <= SMALL_REQUEST_BYTES << (4 * class)).unwrap_or(CLASSES - 1)
}

/// The memory of one call: supplied at its start, reset and kept at its end. It must outlive the call's store.
pub struct Lease<'a> {
    pool: &'a Pool,
    module: &'a CompiledModule,
    class: usize,
    exchange: Exchange,
}

impl Lease<'_> {
    /// Whether the last instance failed because the system had no address space for its memory.
    pub fn lacks_address_space(&self) -> bool {
        self.exchange.take_refusal()
    }

    /// Frees address space. Returns whether a retry may succeed.
    pub fn frees_address_space(&self) -> bool {
        self.pool.release_all()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(memory) = self.exchange.take() {
            self.pool.keep(memory, self.module, self.class);
        }
    }
}

impl Pool {
    /// Creates a pool with a budget of `budget` bytes.
    pub fn new(budget: usize) -> Pool {
        Pool { budget, charged: Arc::default(), classes: Default::default(), next_release: AtomicU64::new(IDLE_NS) }
    }

    /// Supplies the next instance of this thread, which must be one of `module`, with an idle memory or a new one.
    pub fn lease<'a>(&'a self, module: &'a CompiledModule, request_bytes: usize) -> Lease<'a> {
        let class = class_of(request_bytes).max(module.memory_class.load(Relaxed));
        let memory = if module.reuses_memories { self.classes[class].take() } else { None };
        Lease { pool: self, module, class, exchange: Exchange::begin(memory) }
    }

    /// Receives the memory of an instance of `module` that is dropped on this thread while the lease exists, for calls
    /// with small requests.
    pub fn collect<'a>(&'a self, module: &'a CompiledModule) -> Lease<'a> {
        let class = module.memory_class.load(Relaxed);
        Lease { pool: self, module, class, exchange: Exchange::begin(None) }
    }

    /// Resets the memory of a call and keeps it for the next call of its class, if the kernel and the budget allow it.
    fn keep(&self, mut memory: Box<Reservation>, module: &CompiledModule, class: usize) {
        if self.budget == 0 || !memory.reset(MAX_RESIDENT_BYTES[class]) {
            return;
        }
        if memory.used_bytes() > MAX_RESIDENT_BYTES[class] {
            module.memory_class.fetch_max(class + 1, Relaxed);
        }
        if !self.charge(&mut memory) {
            return;
        }
        let now = deadline::now();
        self.classes[class].put(memory, now);
        let next = self.next_release.load(Relaxed);
        if now >= next && self.next_release.compare_exchange(next, now + IDLE_NS / 2, Relaxed, Relaxed).is_ok() {
            self.release_idle(now.saturating_sub(IDLE_NS));
        }
    }

    /// Charges a reset memory. Returns false if the budget has no space for it.
    fn charge(&self, memory: &mut Reservation) -> bool {
        let bytes = memory.resident_bytes() + OVERHEAD_BYTES;
        let charge = memory.charge().get_or_insert_with(|| Charge::new(Arc::clone(&self.charged)));
        if charge.bytes() == bytes {
            return true;
        }
        charge.set(bytes);
        self.charged.load(Relaxed) <= self.budget || self.evict()
    }

    /// Drops the memories that are idle for the longest time until the budget has some slack. Returns whether all charges
    /// are within the budget.
    fn evict(&self) -> bool {
        while self.charged.load(Relaxed) > self.budget - self.budget / SLACK {
            let oldest = self.classes.iter().filter_map(|class| Some((class.oldest()?, class)));
            let Some((since, class)) = oldest.min_by_key(|(since, _)| *since) else { break };
            class.release_idle(since);
        }
        self.charged.load(Relaxed) <= self.budget
    }

    /// Drops memories that are idle since `time` or longer. Returns how many.
    fn release_idle(&self, time: u64) -> usize {
        self.classes.iter().map(|class| class.release_idle(time)).sum()
    }

    /// Drops all idle memories. Returns false if there was none.
    pub fn release_all(&self) -> bool {
        self.release_idle(u64::MAX) > 0
    }

    /// Returns the number of idle memories, and the charge of all memories in bytes, including those of running calls.
    pub fn idle(&self) -> (usize, usize) {
        (self.classes.iter().map(IdleMemories::count).sum(), self.charged.load(Relaxed))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
