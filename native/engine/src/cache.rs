//! Cache of compiled modules by content. Modules of registered versions stay in the cache; other modules are kept up to
//! a limit, and the least recently used is evicted first.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::module::CompiledModule;

struct Entry {
    /// The strong reference that keeps the entry until it is evicted.
    kept: Option<Arc<CompiledModule>>,
    module: Weak<CompiledModule>,
    used: u64,
}

/// The compiled modules of one engine.
pub struct Cache {
    max_entries: usize,
    max_bytes: usize,
    entries: HashMap<String, Entry>,
    clock: u64,
    /// Lookups that found a module.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Evicted modules.
    pub evictions: u64,
}

impl Cache {
    /// Creates an empty cache that keeps up to `max_entries` modules and `max_bytes` bytes.
    pub fn new(max_entries: u32, max_bytes: u64) -> Self {
        Cache {
            max_entries: max_entries as usize,
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            entries: HashMap::new(),
            clock: 0,
            hits: 0,
            misses: 0,
            evictions: 0,
        }
    }

    /// Returns the module of this content if it is in the cache or in use.
    pub fn find(&mut self, hash: &str) -> Option<Arc<CompiledModule>> {
        self.clock += 1;
        let found = self.entries.get_mut(hash).and_then(|entry| {
            entry.used = self.clock;
            entry.module.upgrade()
        });
        if found.is_some() {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
        found
    }

    /// Inserts `module`, unless another thread inserted one of this content first. Returns the module of the cache.
    pub fn keep(&mut self, hash: &str, module: Arc<CompiledModule>) -> Arc<CompiledModule> {
        if let Some(first) = self.entries.get(hash).and_then(|entry| entry.module.upgrade()) {
            return first;
        }
        self.clock += 1;
        let entry = Entry { module: Arc::downgrade(&module), kept: Some(Arc::clone(&module)), used: self.clock };
        self.entries.insert(hash.to_owned(), entry);
        self.shrink();
        module
    }

    /// Returns the number of entries and their bytes.
    pub fn kept(&self) -> (usize, usize) {
        self.kept_modules().fold((0, 0), |(count, bytes), (_, _, module)| (count + 1, bytes + module.image_bytes))
    }

    fn kept_modules(&self) -> impl Iterator<Item = (&String, u64, &Arc<CompiledModule>)> {
        self.entries.iter().filter_map(|(hash, entry)| Some((hash, entry.used, entry.kept.as_ref()?)))
    }

    fn shrink(&mut self) {
        loop {
            let (count, bytes) = self.kept();
            if count <= self.max_entries && bytes <= self.max_bytes {
                break;
            }
            // Modules of registered versions are evicted last, because they would stay in memory anyway.
            let serving = |module: &CompiledModule| module.versions.load(std::sync::atomic::Ordering::SeqCst) > 0;
            let oldest = self
                .kept_modules()
                .min_by_key(|(_, used, module)| (serving(module), *used))
                .map(|(hash, ..)| hash.clone());
            let Some(entry) = oldest.and_then(|hash| self.entries.get_mut(&hash)) else {
                break;
            };
            entry.kept = None;
            self.evictions += 1;
        }
        self.entries.retain(|_, entry| entry.module.strong_count() > 0);
    }
}
