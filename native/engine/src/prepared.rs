//! Prepared instances: fresh ones wait on their module's shelf, and a thread throws used ones away and makes the
//! next. A call still gets an instance that nobody used; it only does not wait for the making and the resetting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant as Moment};

use crate::failure::{Failure, Kind};
use crate::instance::Instance;
use crate::memory::{self, Reservations, Wish};
use crate::module::CompiledModule;
use crate::options::EngineOptions;
use crate::pages::{Pages, Touched};

/// How many instances a module has ready at first; doubled whenever a call finds none.
const FIRST_TARGET: usize = 2;
/// How long the preparer leaves used instances lying before it looks by itself.
const LINGER: Duration = Duration::from_millis(20);
/// A shelf that nobody took from for this long is emptied.
const IDLE: Duration = Duration::from_secs(2);
/// How often and how long a call waits for a place that the preparer is about to give up: 20 ms, where another process
/// took the preparer its CPU.
const RECLAIM_TRIES: u32 = 400;
const RECLAIM_PAUSE: Duration = Duration::from_micros(50);
/// What an instance holds besides the pages of its memory.
const INSTANCE_OVERHEAD: usize = 32 << 10;

/// The instances of one module that are ready.
#[derive(Default)]
pub struct Shelf {
    inner: Mutex<ShelfState>,
    /// Only the preparer's thread looks at it.
    touched: Mutex<Touched>,
}

#[derive(Default)]
struct ShelfState {
    ready: Vec<Ready>,
    target: usize,
    taken: Option<Moment>,
}

impl ShelfState {
    /// Takes what is ready, to be dropped without the lock; the next call starts small again.
    fn clear(&mut self) -> Vec<Ready> {
        self.target = 0;
        std::mem::take(&mut self.ready)
    }
}

/// A fresh instance and the resident bytes that it is reckoned to hold.
struct Ready {
    instance: Instance,
    _held: Held,
}

/// The instance of a call that is over.
struct Used {
    module: Arc<CompiledModule>,
    instance: Instance,
    held: Held,
}

/// What a ready or used instance counts for, wherever it ends: on its shelf's own end too.
struct Held {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Held {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.shared.resident.fetch_add(bytes, SeqCst);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(1, SeqCst);
        self.shared.resident.fetch_sub(self.bytes, SeqCst);
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, ShelfState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touched(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prepares instances for the modules of one engine.
pub struct Preparer {
    shared: Arc<Shared>,
}

struct Shared {
    enabled: bool,
    prefault: bool,
    /// Ready and used instances together.
    most: usize,
    /// Where memories go to be used again.
    reservations: Arc<Reservations>,
    /// Pages behind the present size of a memory that names no maximum may be accessible: its guest reaches none. Not in a
    /// pool, where the next memory at that place may name one and rely on their being inaccessible.
    opens_ahead: bool,
    keep_resident: usize,
    held: AtomicUsize,
    resident: Arc<AtomicUsize>,
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Default)]
struct Work {
    used: Vec<Used>,
    asked: Vec<Weak<CompiledModule>>,
    shelves: Vec<Weak<CompiledModule>>,
    started: bool,
    /// The preparer sleeps until it is woken.
    asleep: bool,
    stopped: bool,
}

impl Preparer {
    /// The preparer of an engine with these options; its thread starts with the first call.
    pub fn new(options: &EngineOptions, reservations: Arc<Reservations>, resident: Arc<AtomicUsize>) -> Preparer {
        let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let most = options.most_prepared();
        Preparer {
            shared: Arc::new(Shared {
                enabled: options.prepare && most > 0,
                prefault: options.prefault,
                most,
                opens_ahead: options.checks_size() && !options.pooling,
                reservations,
                keep_resident: if options.pooling { bytes(options.keep_resident_bytes) } else { 0 },
                held: AtomicUsize::new(0),
                resident,
                work: Mutex::default(),
                wake: Condvar::new(),
            }),
        }
    }

    /// An instance for one call: a ready one, or one made here.
    pub fn check_out(&self, module: &Arc<CompiledModule>) -> Result<Instance, Failure> {
        if self.serves(module)
            && let Some(instance) = self.take(module)
        {
            return Ok(instance);
        }
        self.make(module)
    }

    /// An instance made here. On a full pool, or without address space, the preparer gives up what it holds before that
    /// is reported.
    pub fn make(&self, module: &CompiledModule) -> Result<Instance, Failure> {
        for _ in 0..RECLAIM_TRIES {
            // Asked before the try as well: the preparer may give up its last place between the two.
            let held = self.shared.held.load(SeqCst) > 0;
            let made = Instance::new(module);
            let full = made.as_ref().is_err_and(|failure| failure.kind == Kind::Saturated || memory::was_refused());
            if !full || !(held || self.shared.held.load(SeqCst) > 0) {
                return made;
            }
            if !self.shared.give_up_one() {
                // The preparer's thread is about to finish with one.
                std::thread::sleep(RECLAIM_PAUSE);
            }
        }
        Instance::new(module)
    }

    /// Takes back the instance of a call that is over. It is never used again. When the preparer is far behind,
    /// the caller throws it away itself.
    pub fn give_back(&self, module: &Arc<CompiledModule>, instance: Instance) {
        if !self.serves(module) {
            return;
        }
        let Some(held) = self.shared.hold(0) else { return };
        let mut work = self.shared.lock();
        work.used.push(Used { module: Arc::clone(module), instance, held });
        if work.asleep {
            self.wake(work);
        }
    }

    /// Drops the ready instances of a module that no slot serves any more.
    pub fn retire(&self, module: &CompiledModule) {
        self.shared.empty(module);
    }

    /// Instances that are ready or wait to be thrown away, and the bytes that ready ones and idle memories hold.
    pub fn held(&self) -> (usize, usize) {
        let Shared { held, resident, reservations, .. } = &*self.shared;
        (held.load(SeqCst), resident.load(SeqCst) + reservations.kept())
    }

    fn serves(&self, module: &CompiledModule) -> bool {
        // A start function is guest code and runs under the deadline of its call, not ahead of it.
        self.shared.enabled && !module.has_start && module.cells.load(SeqCst) > 0
    }

    fn take(&self, module: &Arc<CompiledModule>) -> Option<Instance> {
        let mut shelf = module.shelf.lock();
        let first = shelf.taken.is_none();
        shelf.taken = Some(Moment::now());
        let taken = shelf.ready.pop();
        if taken.is_none() {
            shelf.target = (shelf.target * 2).max(FIRST_TARGET).min(self.shared.most);
        }
        let low = shelf.ready.len() <= shelf.target / 2;
        drop(shelf);
        if low || first {
            let mut work = self.shared.lock();
            if first {
                work.shelves.push(Arc::downgrade(module));
            }
            let at = Arc::as_ptr(module);
            if low && !work.asked.iter().any(|asked| asked.as_ptr() == at) {
                work.asked.push(Arc::downgrade(module));
                self.wake(work);
            }
        }
        taken.map(|ready| ready.instance)
    }

    fn wake(&self, mut work: MutexGuard<'_, Work>) {
        work.asleep = false;
        if work.started {
            drop(work);
            self.shared.wake.notify_one();
            return;
        }
        work.started = true;
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("cc-lb-prepare".to_owned()).stack_size(512 << 10);
        if thread.spawn(move || shared.run()).is_err() {
            // Calls do without it, and a later one tries again.
            work.started = false;
            work.asked.clear();
            let used = std::mem::take(&mut work.used);
            drop(work);
            drop(used);
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for an instance that is ready or waits to be thrown away; nothing if all are taken.
    fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        self.held.fetch_update(SeqCst, SeqCst, |held| (held < self.most).then_some(held + 1)).ok()?;
        self.resident.fetch_add(bytes, SeqCst);
        Some(Held { shared: Arc::clone(self), bytes })
    }

    fn run(self: &Arc<Self>) {
        let mut pages = Pages::open();
        while let Some((used, asked)) = self.wait() {
            let round = AssertUnwindSafe(|| self.round(used, &asked, &mut pages));
            if catch_unwind(round).is_err() {
                // What the round had in hand is lost; the calls of the next ones are not.
                continue;
            }
            self.linger();
            // Steady traffic on one module must not keep what another one had.
            let released = self.release_idle(&mut self.lock());
            drop(released);
            self.reservations.release(IDLE);
        }
    }

    /// Waits until there is something to throw away or to make; nothing when the engine is gone.
    fn wait(&self) -> Option<(Vec<Used>, Vec<Weak<CompiledModule>>)> {
        let mut work = self.lock();
        while !work.stopped && work.used.is_empty() && work.asked.is_empty() {
            let idle = work.shelves.is_empty();
            if idle && self.reservations.waiting() > 0 {
                drop(work);
                self.reservations.release(Duration::ZERO);
                work = self.lock();
                continue;
            }
            work.asleep = true;
            work = if idle {
                self.wake.wait(work).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.wake.wait_timeout(work, IDLE / 2).unwrap_or_else(PoisonError::into_inner).0
            };
            work.asleep = false;
            let released = self.release_idle(&mut work);
            if !released.is_empty() {
                drop(work);
                drop(released);
                work = self.lock();
            }
        }
        let used = std::mem::take(&mut work.used);
        let asked = std::mem::take(&mut work.asked);
        (!work.stopped).then_some((used, asked))
    }

    fn round(self: &Arc<Self>, mut used: Vec<Used>, asked: &[Weak<CompiledModule>], pages: &mut Pages) {
        for module in asked.iter().filter_map(Weak::upgrade) {
            self.fill(&module, usize::MAX);
        }
        for Used { module, instance, .. } in &used {
            self.learn(module, instance, pages);
        }
        pages.discard(
            used.iter_mut().filter(|used| !self.keeps(&used.module)).map(|used| &mut used.instance),
            self.keep_resident,
        );
        for Used { module, instance, held } in used {
            let keep = if self.keeps(&module) { module.shelf.touched().ranges() } else { Vec::new() };
            memory::keeping(keep, || drop(instance));
            drop(held);
            self.fill(&module, 1);
        }
    }

    /// Whether the pages that calls of this module write to stay resident when its memories are used again.
    fn keeps(&self, module: &CompiledModule) -> bool {
        self.prefault && module.reuses_memories
    }

    /// Lets used instances gather, unless somebody asks: one round for several calls costs their threads nothing.
    fn linger(&self) {
        let work = self.lock();
        if !work.stopped && work.asked.is_empty() {
            drop(self.wake.wait_timeout(work, LINGER));
        }
    }

    fn learn(&self, module: &CompiledModule, instance: &Instance, pages: &Pages) {
        if self.prefault && module.shelf.touched().sample(instance, self.keep_resident, pages) {
            let stale = std::mem::take(&mut module.shelf.lock().ready);
            drop(stale);
        }
    }

    fn fill(self: &Arc<Self>, module: &Arc<CompiledModule>, most: usize) {
        for _ in 0..most {
            let (wanted, hurry) = {
                let shelf = module.shelf.lock();
                (
                    shelf.ready.len() < shelf.target && module.cells.load(SeqCst) > 0,
                    shelf.ready.len() < shelf.target / 2,
                )
            };
            let mut touched = module.shelf.touched();
            let bytes = INSTANCE_OVERHEAD + self.keep_resident + touched.bytes();
            if !wanted || bytes > self.reservations.room() + self.reservations.next_kept() {
                return;
            }
            let Some(mut held) = self.hold(bytes) else { return };
            // Where the pool is full or memory is short, calls report it, with what they need.
            let sample = !self.prefault || touched.is_sample();
            let reach = if self.opens_ahead && !module.names_maximum { module.memory_cap } else { 0 };
            let open = if sample || !module.reuses_memories { 0 } else { touched.open(reach) };
            let made = memory::wishing(Wish { open, clean: sample }, || Instance::new(module));
            let Ok(mut instance) = made else { return };
            // The memory may have come with pages of another module's calls.
            held.add(instance.came_resident.saturating_sub(bytes));
            if !sample {
                touched.populate(&mut instance, reach, open, hurry);
            }
            module.shelf.lock().ready.push(Ready { instance, _held: held });
            // The last slot may have gone meanwhile, and with it whoever empties the shelf.
            if module.cells.load(SeqCst) == 0 {
                self.empty(module);
            }
        }
    }

    /// Makes room in the pool: resets a used instance or gives up a ready one. False if there was neither.
    fn give_up_one(&self) -> bool {
        let mut work = self.lock();
        if let Some(used) = work.used.pop() {
            drop(work);
            drop(used);
            return true;
        }
        let shelves: Vec<_> = work.shelves.iter().filter_map(Weak::upgrade).collect();
        drop(work);
        shelves.iter().any(|module| {
            let mut shelf = module.shelf.lock();
            let ready = shelf.ready.pop();
            drop(shelf);
            ready.is_some()
        })
    }

    fn empty(&self, module: &CompiledModule) {
        let ready = module.shelf.lock().clear();
        drop(ready);
    }

    /// Takes what idle modules have ready; to be dropped without the lock.
    fn release_idle(&self, work: &mut Work) -> Vec<Ready> {
        let now = Moment::now();
        let mut released = Vec::new();
        work.shelves.retain(|weak| {
            let Some(module) = weak.upgrade() else {
                return false;
            };
            let mut shelf = module.shelf.lock();
            let idle = shelf.taken.is_none_or(|taken| now.duration_since(taken) > IDLE);
            if idle {
                shelf.taken = None;
                released.append(&mut shelf.clear());
            }
            !idle
        });
        released
    }
}
