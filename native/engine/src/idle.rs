//! The idle memories of one module.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::Reservation;

/// The number of lists of a module. More threads share lists.
const LISTS: usize = 8;

/// The idle memories of one module.
#[derive(Default)]
pub struct ModuleMemories {
    lists: [List; LISTS],
    /// Whether the module is in the list of the engine's pool.
    pub(crate) known: AtomicBool,
    /// When the budget last had no space for a memory of the module; 0 if it always had.
    pub(crate) refused_at: AtomicU64,
    /// The charge of that memory in bytes.
    pub(crate) refused_bytes: AtomicUsize,
}

/// Idle memories in order of use, each with the time at which it became idle. Aligned so that threads with different
/// lists share no cache line.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct List(Mutex<Vec<Idle>>);

pub(crate) struct Idle {
    /// The memory, which reads as zero.
    pub memory: Box<Reservation>,
    /// When it became idle, in nanoseconds of [`crate::deadline::now`].
    pub since: u64,
}

impl List {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModuleMemories {
    /// The list that this thread prefers.
    pub(crate) fn own(&self) -> &List {
        thread_local! {
            static LIST: Cell<Option<usize>> = const { Cell::new(None) };
        }
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let index = LIST.get().unwrap_or_else(|| {
            let index = NEXT.fetch_add(1, Relaxed) % LISTS;
            LIST.set(Some(index));
            index
        });
        &self.lists[index]
    }

    /// Returns the idle memory that this thread used last, or one of another thread.
    pub(crate) fn take(&self) -> Option<Idle> {
        self.own().lock().pop().or_else(|| {
            // Skips lists that other threads are using.
            self.lists.iter().find_map(|list| list.0.try_lock().ok()?.pop())
        })
    }

    /// Returns the latest time at which an idle memory became idle.
    pub(crate) fn last_used(&self) -> Option<u64> {
        self.lists.iter().filter_map(|list| list.lock().last().map(|idle| idle.since)).max()
    }

    /// Removes and returns the memories that are idle since `time` or longer.
    pub(crate) fn take_idle_since(&self, time: u64) -> Vec<Idle> {
        let mut taken = Vec::new();
        for list in &self.lists {
            let mut list = list.lock();
            let old = list.partition_point(|idle| idle.since <= time);
            taken.extend(list.drain(..old));
        }
        taken
    }

    /// How many memories are idle.
    pub(crate) fn count(&self) -> usize {
        self.lists.iter().map(|list| list.lock().len()).sum()
    }
}
