//! Deadlines: a thread that sleeps until the nearest one and then ticks the epochs of the engines, so that a guest
//! that overran its deadline reaches an epoch check and looks at the clock. It sleeps while no guest is near its
//! deadline, so a call costs two atomic operations here and, in steady traffic, no system call.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak, Store, Trap, UpdateDeadline};

/// No guest runs on this thread, or the watchdog has nothing to wait for.
const NEVER: u64 = u64::MAX;
/// How often an overdue guest is ticked until it has noticed.
const TICK: Duration = Duration::from_millis(1);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(Watchdog::default);

#[derive(Default)]
struct Watchdog {
    state: Mutex<State>,
    wake: Condvar,
    /// When the watchdog will look at the clocks next, in nanoseconds since `EPOCH`.
    looks_at: AtomicU64,
}

#[derive(Default)]
struct State {
    started: bool,
    clocks: Vec<Weak<AtomicU64>>,
    engines: Vec<EngineWeak>,
}

thread_local! {
    static CLOCK: Arc<AtomicU64> = register();
}

fn register() -> Arc<AtomicU64> {
    let clock = Arc::new(AtomicU64::new(NEVER));
    let mut state = WATCHDOG.lock();
    state.clocks.retain(|clock| clock.strong_count() > 0);
    state.clocks.push(Arc::downgrade(&clock));
    clock
}

/// A way to end one call early, from any thread and at any moment: its deadline becomes now.
#[derive(Default)]
pub struct Cancel(Mutex<Cancelling>);

#[derive(Default)]
struct Cancelling {
    cancelled: bool,
    /// The clock of the thread that the call runs on, while it does.
    clock: Weak<AtomicU64>,
}

impl Cancel {
    fn lock(&self) -> MutexGuard<'_, Cancelling> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends the call, or keeps it from beginning.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        if let Some(clock) = state.clock.upgrade() {
            clock.store(0, SeqCst);
            WATCHDOG.notify();
        }
    }

    /// Whether that was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }
}

/// Nanoseconds since an instant of this process.
pub fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(NEVER - 1)
}

/// Makes the watchdog tick `engine` for as long as it lives. Fails where its thread cannot be started.
pub fn watch(engine: &Engine) -> std::io::Result<()> {
    let mut state = WATCHDOG.lock();
    if !state.started {
        LazyLock::force(&EPOCH);
        std::thread::Builder::new()
            .name("cc-lb-deadline".to_owned())
            .stack_size(256 * 1024)
            .spawn(|| WATCHDOG.run())?;
        state.started = true;
    }
    state.engines.retain(|engine| engine.upgrade().is_some());
    state.engines.push(engine.weak());
    Ok(())
}

/// A deadline in force on this thread until it is dropped.
pub struct Armed {
    cancel: Option<Arc<Cancel>>,
    // Belongs to the thread whose clock it set.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// Puts a deadline in force for the guest that this thread is about to enter; `cancel` ends it early.
/// A thread runs one guest at a time: guests import nothing, so they cannot call back.
pub fn arm(limit: Duration, cancel: Option<Arc<Cancel>>) -> Armed {
    let mut deadline = now().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(NEVER)).min(NEVER - 1);
    CLOCK.with(|clock| {
        let mut state = cancel.as_deref().map(Cancel::lock);
        if let Some(state) = &mut state {
            state.clock = Arc::downgrade(clock);
            if state.cancelled {
                deadline = 0;
            }
        }
        clock.store(deadline, SeqCst);
    });
    // Either the watchdog's second look at the clocks sees this deadline, or this thread sees when it will look next.
    if deadline < WATCHDOG.looks_at.load(SeqCst) {
        WATCHDOG.notify();
    }
    Armed { cancel, _not_send: std::marker::PhantomData }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Nobody may cancel the next call on this thread in place of this one.
        let mut state = self.cancel.as_deref().map(Cancel::lock);
        if let Some(state) = &mut state {
            state.clock = Weak::new();
        }
        CLOCK.with(|clock| clock.store(NEVER, SeqCst));
    }
}

/// Whether the deadline in force on this thread is over, for the host's own steps between guest entries.
pub fn is_over() -> bool {
    CLOCK.with(|clock| now() >= clock.load(SeqCst))
}

/// Makes a new store ask the clock of the thread it runs on at every tick, from the next [`bind`] or [`unbind`] on.
pub fn prepare<T>(store: &mut Store<T>) {
    store.epoch_deadline_callback(|_| {
        if is_over() { Err(Trap::Interrupt.into()) } else { Ok(UpdateDeadline::Continue(1)) }
    });
}

/// Lets what the engine itself compiles into instantiation, such as the copying of initial data, run to its end: it is
/// short, and no guest's. Until [`bind`].
pub fn unbind<T>(store: &mut Store<T>) {
    store.set_epoch_deadline(u64::from(u32::MAX));
}

/// Sets the epoch of a store that was made earlier; to be called under an armed deadline, before the guest.
pub fn bind<T>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
}

impl Watchdog {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a list of weak handles, valid after any panic.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Has the watchdog look at the clocks now.
    fn notify(&self) {
        let _state = self.lock();
        self.wake.notify_one();
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let nearest = state.nearest();
            self.looks_at.store(nearest, SeqCst);
            if state.nearest() < nearest {
                continue;
            }
            let now = now();
            state = if nearest == NEVER {
                self.wake.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner)
            } else {
                let pause = if nearest > now {
                    Duration::from_nanos(nearest - now)
                } else {
                    state.tick();
                    TICK
                };
                self.wake.wait_timeout(state, pause).unwrap_or_else(std::sync::PoisonError::into_inner).0
            };
        }
    }
}

impl State {
    fn nearest(&self) -> u64 {
        self.clocks.iter().filter_map(Weak::upgrade).map(|clock| clock.load(SeqCst)).min().unwrap_or(NEVER)
    }

    fn tick(&self) {
        for engine in self.engines.iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
    }
}
