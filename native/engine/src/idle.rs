//! Idle memories, in lists of which each thread prefers one, so that threads rarely contend for a lock.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::Reservation;

/// The number of lists. More threads share lists.
const LISTS: usize = 8;

/// Idle memories.
#[derive(Default)]
pub struct IdleMemories([List; LISTS]);

/// Memories in order of use, the last one used last. Aligned so that threads with different lists share no cache line.
#[derive(Default)]
#[repr(align(128))]
struct List(Mutex<Vec<Idle>>);

struct Idle {
    /// The memory, which reads as zero.
    memory: Box<Reservation>,
    /// When it became idle, in nanoseconds of [`crate::deadline::now`].
    since: u64,
}

impl List {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleMemories {
    /// The list that this thread prefers.
    fn own(&self) -> &List {
        thread_local! {
            static LIST: Cell<Option<usize>> = const { Cell::new(None) };
        }
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let index = LIST.get().unwrap_or_else(|| {
            let index = NEXT.fetch_add(1, Relaxed) % LISTS;
            LIST.set(Some(index));
            index
        });
        &self.0[index]
    }

    /// Returns the memory that this thread used last, or one of another thread.
    pub fn take(&self) -> Option<Box<Reservation>> {
        let own = self.own().lock().pop();
        // Skips lists that other threads are using.
        own.or_else(|| self.0.iter().find_map(|list| list.0.try_lock().ok()?.pop())).map(|idle| idle.memory)
    }

    /// Adds a reset memory that is idle from time `now` on.
    pub fn put(&self, memory: Box<Reservation>, now: u64) {
        self.own().lock().push(Idle { memory, since: now });
    }

    /// Returns since when the memory that is idle for the longest time is idle.
    pub fn oldest(&self) -> Option<u64> {
        self.0.iter().filter_map(|list| list.lock().first().map(|idle| idle.since)).min()
    }

    /// Drops the memories that are idle since `time` or longer. Returns how many.
    pub fn release_idle(&self, time: u64) -> usize {
        let mut released = Vec::new();
        for list in &self.0 {
            let mut list = list.lock();
            let old = list.partition_point(|idle| idle.since <= time);
            released.extend(list.drain(..old));
        }
        released.len()
    }

    /// How many memories are idle.
    pub fn count(&self) -> usize {
        self.0.iter().map(|list| list.lock().len()).sum()
    }
}
