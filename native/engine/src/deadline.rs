//! Deadlines. A watchdog thread sleeps until the nearest one and then increments the epochs of the engines, so that a
//! guest that exceeded its deadline reaches an epoch check and reads the clock. The watchdog sleeps while no guest is
//! near its deadline, so that a call costs two atomic operations and, in steady traffic, no system call.
//!
//! Each guest is checked at half of its time. From then on the CPU time of its thread is measured, which limits the
//! slice that a guest gets on an event loop, and shows whether an expired guest computed or its machine was busy:
//!
//! ```text
//! arm ────── half of the slice ────── slice of CPU time used ──▶ interrupted, repeated off the thread
//! arm ────── half of the deadline ─── deadline ────────────────▶ interrupted, expired
//! ```

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak, Store, Trap, UpdateDeadline};

use crate::cpu_time;

/// The time without a deadline: no guest runs on this thread, or the watchdog has nothing to wait for.
const NEVER: u64 = u64::MAX;
/// The interval of epoch increments for an overdue guest.
const TICK: Duration = Duration::from_millis(1);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(Watchdog::default);

#[derive(Default)]
struct Watchdog {
    state: Mutex<State>,
    wake: Condvar,
    /// The time at which the watchdog next reads the deadlines, in nanoseconds since `EPOCH`.
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

/// Ends one call early, from any thread and at any time, by setting its deadline to now.
#[derive(Default)]
pub struct Cancel(Mutex<Cancelling>);

#[derive(Default)]
struct Cancelling {
    cancelled: bool,
    /// The clock of the call's thread while it runs.
    clock: Weak<AtomicU64>,
}

impl Cancel {
    fn lock(&self) -> MutexGuard<'_, Cancelling> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends the call, or prevents it from starting.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        if let Some(clock) = state.clock.upgrade() {
            clock.store(0, SeqCst);
            WATCHDOG.notify();
        }
    }

    /// Whether the call was canceled.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }
}

/// Nanoseconds since an instant of this process.
pub fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(NEVER - 1)
}

/// Makes the watchdog increment the epoch of `engine` while it exists. Fails if the watchdog thread cannot be started.
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

/// The limits of the guest on this thread, and its measurements.
#[derive(Clone, Copy)]
struct Limits {
    /// The deadline in nanoseconds since `EPOCH`.
    end: u64,
    /// The slice of CPU time of the guest on this thread in nanoseconds, if any.
    slice: Option<u64>,
    /// Wall-clock and CPU time of the thread at the first check, after half of the slice or of the deadline: a call
    /// that ends earlier reads no CPU clock, which takes a system call.
    base: Option<(u64, u64)>,
    /// Whether the slice is used up.
    sliced: bool,
}

/// Half of a slice or of a deadline passes before CPU time is measured.
const UNMEASURED: u64 = 2;
/// The shortest time between two checks of a slice, in nanoseconds.
const RECHECK: u64 = 500_000;

thread_local! {
    static LIMITS: Cell<Limits> = const { Cell::new(Limits { end: NEVER, slice: None, base: None, sliced: false }) };
}

/// A deadline that is active on this thread until it is dropped.
pub struct Armed {
    cancel: Option<Arc<Cancel>>,
    // Not `Send`: it belongs to the thread whose clock it set.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// Activates a deadline for the guest that this thread is about to enter; `cancel` ends it early. With a `slice`, a
/// guest that uses this much CPU time is interrupted before its deadline. A thread runs one guest at a time, because
/// guests import nothing and cannot call back.
pub fn arm(limit: Duration, slice: Option<Duration>, cancel: Option<Arc<Cancel>>) -> Armed {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(NEVER);
    let (limit, slice) = (nanos(limit), slice.map(nanos));
    let now = now();
    let end = now.saturating_add(limit).min(NEVER - 1);
    let mut first_check = end.min(now.saturating_add(slice.map_or(limit, |slice| slice.min(limit)) / UNMEASURED));
    LIMITS.set(Limits { end, slice, base: None, sliced: false });
    CLOCK.with(|clock| {
        let mut state = cancel.as_deref().map(Cancel::lock);
        if let Some(state) = &mut state {
            state.clock = Arc::downgrade(clock);
            if state.cancelled {
                first_check = 0;
            }
        }
        clock.store(first_check, SeqCst);
    });
    // The watchdog publishes its next wake-up time and then rereads every clock. If the store above happens before the
    // reread, the watchdog sees it; if after, this thread reads the published time and wakes the watchdog.
    if first_check < WATCHDOG.looks_at.load(SeqCst) {
        WATCHDOG.notify();
    }
    Armed { cancel, _not_send: std::marker::PhantomData }
}

/// Why a guest was interrupted.
pub enum Interruption {
    /// Its slice of CPU time is exhausted, before its deadline.
    Slice,
    /// Its deadline is exceeded. Has the share of the time since the first check in which its thread ran, if known.
    Deadline(Option<f64>),
}

impl Armed {
    /// Returns why the guest was interrupted.
    pub fn interruption(&self) -> Interruption {
        let Limits { base, sliced, .. } = LIMITS.get();
        if sliced {
            return Interruption::Slice;
        }
        let share = base.zip(cpu_time::thread_nanos()).map(|((wall, cpu), cpu_now)| {
            let elapsed = now().saturating_sub(wall).max(1);
            (cpu_now.saturating_sub(cpu) as f64 / elapsed as f64).min(1.0)
        });
        Interruption::Deadline(share)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Detached, so that a later cancellation cannot affect the next call on this thread.
        let mut state = self.cancel.as_deref().map(Cancel::lock);
        if let Some(state) = &mut state {
            state.clock = Weak::new();
        }
        CLOCK.with(|clock| clock.store(NEVER, SeqCst));
    }
}

/// Whether the guest on this thread must end. Used by epoch checks and by the host between guest entries.
pub fn is_over() -> bool {
    CLOCK.with(|clock| {
        let due = clock.load(SeqCst);
        let now = now();
        now >= due && check(clock, due, now)
    })
}

/// Checks the limits at `now` and sets the clock to the next check unless the guest must end.
#[cold]
fn check(clock: &AtomicU64, due: u64, now: u64) -> bool {
    let mut limits = LIMITS.get();
    if due == 0 || now >= limits.end {
        return true;
    }
    let Some(cpu) = cpu_time::thread_nanos() else {
        // Without a CPU clock the first check is that of half the slice: the other half is given in wall time.
        limits.sliced = limits.slice.is_some() && limits.base.is_some();
        limits.base = Some((now, 0));
        LIMITS.set(limits);
        let next = limits.slice.map_or(limits.end, |slice| limits.end.min(now.saturating_add(slice / UNMEASURED)));
        return limits.sliced || clock.compare_exchange(due, next, SeqCst, SeqCst).is_err();
    };
    let (_, cpu_at_base) = *limits.base.get_or_insert((now, cpu));
    let next = limits.slice.map_or(limits.end, |slice| {
        let left = (slice - slice / UNMEASURED).saturating_sub(cpu.saturating_sub(cpu_at_base));
        limits.sliced = left == 0;
        limits.end.min(now.saturating_add(left.max(RECHECK)))
    });
    LIMITS.set(limits);
    // The exchange fails if the call was canceled in the meantime.
    limits.sliced || clock.compare_exchange(due, next, SeqCst, SeqCst).is_err()
}

/// Makes a new store check the clock of its thread at every epoch increment, from the next [`bind`] or [`unbind`] on.
pub fn prepare<T>(store: &mut Store<T>) {
    store.epoch_deadline_callback(|_| {
        if is_over() { Err(Trap::Interrupt.into()) } else { Ok(UpdateDeadline::Continue(1)) }
    });
}

/// Disables interruption until [`bind`], so that code that the engine itself compiles into instantiation, such as
/// copying of initial data, finishes. It is short, and not code of the guest.
pub fn unbind<T>(store: &mut Store<T>) {
    store.set_epoch_deadline(u64::from(u32::MAX));
}

/// Sets the epoch of a store that was created earlier. Must be called under an armed deadline, before entering the
/// guest.
pub fn bind<T>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
}

impl Watchdog {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a list of weak handles, valid after any panic.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Wakes the watchdog to read the clocks.
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
