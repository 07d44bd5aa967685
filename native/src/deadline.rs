//! Deadlines: a thread that sleeps until the nearest one and then ticks the epochs of the engines, so that a guest
//! that overran its deadline reaches an epoch check and looks at the clock. It sleeps while no guest is near its
//! deadline, so a call costs two atomic operations here and, in steady traffic, no system call.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
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

struct Clock {
    deadline: Arc<AtomicU64>,
    cancelled: RefCell<Option<Arc<AtomicBool>>>,
}

thread_local! {
    static CLOCK: Clock = Clock::register();
}

impl Clock {
    fn register() -> Clock {
        let deadline = Arc::new(AtomicU64::new(NEVER));
        let mut state = WATCHDOG.lock();
        state.clocks.retain(|clock| clock.strong_count() > 0);
        state.clocks.push(Arc::downgrade(&deadline));
        Clock { deadline, cancelled: RefCell::new(None) }
    }

    fn is_over(&self) -> bool {
        now() >= self.deadline.load(SeqCst) || self.cancelled.borrow().as_ref().is_some_and(|flag| flag.load(SeqCst))
    }
}

fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(NEVER - 1)
}

/// Makes the watchdog tick `engine` for as long as it lives.
pub fn watch(engine: &Engine) {
    let mut state = WATCHDOG.lock();
    state.engines.retain(|engine| engine.upgrade().is_some());
    state.engines.push(engine.weak());
    if !state.started {
        state.started = true;
        LazyLock::force(&EPOCH);
        std::thread::Builder::new()
            .name("cc-lb-deadline".to_owned())
            .stack_size(256 * 1024)
            .spawn(|| WATCHDOG.run())
            .expect("the deadline thread starts");
    }
}

/// Ticks every engine now, for a call that was cancelled.
pub fn tick() {
    WATCHDOG.lock().tick();
}

/// A deadline in force on this thread until it is dropped.
pub struct Armed {
    // Belongs to the thread whose clock it set.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// Puts a deadline in force for the guest that this thread is about to enter; `cancelled` ends it early.
/// A thread runs one guest at a time: guests import nothing, so they cannot call back.
pub fn arm(limit: Duration, cancelled: Option<Arc<AtomicBool>>) -> Armed {
    let deadline = now().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(NEVER)).min(NEVER - 1);
    CLOCK.with(|clock| {
        *clock.cancelled.borrow_mut() = cancelled;
        clock.deadline.store(deadline, SeqCst);
    });
    // Either the watchdog's second look at the clocks sees this deadline, or this thread sees when it will look next.
    if deadline < WATCHDOG.looks_at.load(SeqCst) {
        let _state = WATCHDOG.lock();
        WATCHDOG.wake.notify_one();
    }
    Armed { _not_send: std::marker::PhantomData }
}

impl Drop for Armed {
    fn drop(&mut self) {
        CLOCK.with(|clock| {
            clock.deadline.store(NEVER, SeqCst);
            clock.cancelled.borrow_mut().take();
        });
    }
}

/// Whether the deadline in force on this thread is over, for the host's own steps between guest entries.
pub fn is_over() -> bool {
    CLOCK.with(Clock::is_over)
}

/// Makes a new store ask the clock of the thread it runs on at every tick.
pub fn prepare<T>(store: &mut Store<T>) {
    store.epoch_deadline_callback(|_| {
        if is_over() { Err(Trap::Interrupt.into()) } else { Ok(UpdateDeadline::Continue(1)) }
    });
    bind(store);
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
