//! Deadlines. Each thread publishes the time at which the guest that it runs must be checked next. A watchdog thread
//! sleeps until the earliest of these times and then increments the epochs of the engines, so that the guest reaches an
//! epoch check, whose callback reads the time and ends the guest or publishes a later check. While no check is due the
//! watchdog sleeps, so that a call costs two atomic operations and, in steady traffic, no system call.
//!
//! The first check is at half of the guest's time. From then on the CPU time of its thread is measured, which limits the
//! slice of an event loop that a guest gets, and shows whether an expired guest computed or its machine was busy:
//!
//! ```text
//! arm ────── half of the slice ────── slice of CPU time used ──▶ interrupted, repeated off the thread
//! arm ────── half of the deadline ─── deadline ────────────────▶ interrupted, expired
//! ```
//!
//! The published time of a thread, its `next_check`:
//!
//! | value | meaning | set by |
//! | --- | --- | --- |
//! | `NEVER` | no guest runs | the thread, when it drops its [`Armed`] |
//! | a time | the running guest is checked then | the thread: [`arm`], and each check that lets the guest continue |
//! | 0 | the running guest was canceled | any thread: [`Cancel::cancel`] |

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak, Store, Trap, UpdateDeadline};

use crate::cpu_time;

/// The time of a check that is not scheduled: no guest runs on this thread, or on any.
const NEVER: u64 = u64::MAX;
/// The interval of epoch increments while a check is due.
const TICK: Duration = Duration::from_millis(1);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(Watchdog::default);

#[derive(Default)]
struct Watchdog {
    state: Mutex<State>,
    wake: Condvar,
    /// The time until which the watchdog sleeps, in nanoseconds since `EPOCH`.
    wake_time: AtomicU64,
}

#[derive(Default)]
struct State {
    started: bool,
    /// The next check of each thread, in nanoseconds since `EPOCH`.
    next_checks: Vec<Weak<AtomicU64>>,
    engines: Vec<EngineWeak>,
}

thread_local! {
    static NEXT_CHECK: Arc<AtomicU64> = register();
}

fn register() -> Arc<AtomicU64> {
    let next_check = Arc::new(AtomicU64::new(NEVER));
    let mut state = WATCHDOG.lock();
    state.next_checks.retain(|next_check| next_check.strong_count() > 0);
    state.next_checks.push(Arc::downgrade(&next_check));
    next_check
}

/// Ends one call early, from any thread and at any time, by making its check due.
#[derive(Default)]
pub struct Cancel(Mutex<CancelState>);

#[derive(Default)]
struct CancelState {
    cancelled: bool,
    /// The next check of the call's thread while it runs.
    next_check: Weak<AtomicU64>,
}

impl Cancel {
    fn lock(&self) -> MutexGuard<'_, CancelState> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends the call, or prevents it from starting.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        if let Some(next_check) = state.next_check.upgrade() {
            next_check.store(0, SeqCst);
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
    /// Nanoseconds from the start to the deadline.
    limit: u64,
    /// The slice of CPU time of the guest on this thread in nanoseconds, if any.
    slice: Option<u64>,
    /// Wall-clock and CPU time of the thread at the first check, after half of the slice or of the deadline: a call
    /// that ends earlier reads no CPU clock, which takes a system call.
    base: Option<(u64, u64)>,
    /// Whether the slice is used up.
    sliced: bool,
}

/// The part of a slice or of a deadline that passes before CPU time is measured: half of it.
const UNMEASURED_DIVISOR: u64 = 2;
/// A guest passes a check at least this often while its thread runs, in nanoseconds: several times the duration of the
/// longest operation, a bulk write of a whole memory.
const LONGEST_OPERATION: u64 = 500_000_000;
/// The shortest time between two checks of a slice, in nanoseconds.
const RECHECK: u64 = 500_000;

thread_local! {
    static LIMITS: Cell<Limits> = const { Cell::new(Limits { end: NEVER, limit: 0, slice: None, base: None, sliced: false }) };
}

/// A deadline that is active on this thread until it is dropped.
pub struct Armed {
    cancel: Option<Arc<Cancel>>,
    // Not `Send`: it belongs to the thread whose next check it set.
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
    let mut first_check =
        end.min(now.saturating_add(slice.map_or(limit, |slice| slice.min(limit)) / UNMEASURED_DIVISOR));
    LIMITS.set(Limits { end, limit, slice, base: None, sliced: false });
    NEXT_CHECK.with(|next_check| {
        let mut state = cancel.as_deref().map(Cancel::lock);
        if let Some(state) = &mut state {
            state.next_check = Arc::downgrade(next_check);
            if state.cancelled {
                first_check = 0;
            }
        }
        next_check.store(first_check, SeqCst);
    });
    // The watchdog publishes the time until which it will sleep and then rereads every next check. If the store above
    // happens before the reread, the watchdog sees it; if after, this thread reads the published time and wakes it.
    if first_check < WATCHDOG.wake_time.load(SeqCst) {
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
        let Limits { limit, base, sliced, .. } = LIMITS.get();
        if sliced {
            return Interruption::Slice;
        }
        if base.is_none() && limit - limit / UNMEASURED_DIVISOR >= LONGEST_OPERATION {
            // Its thread did not run when it was to be checked, for example because the machine was suspended.
            return Interruption::Deadline(Some(0.0));
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
            state.next_check = Weak::new();
        }
        NEXT_CHECK.with(|next_check| next_check.store(NEVER, SeqCst));
    }
}

/// Whether the guest on this thread must end. Called by epoch checks and by the host between guest entries.
pub fn must_end() -> bool {
    NEXT_CHECK.with(|next_check| {
        let due = next_check.load(SeqCst);
        let now = now();
        now >= due && check(next_check, due, now)
    })
}

/// Checks the limits at `now`. Returns whether the guest must end, and otherwise publishes the time of its next check.
#[cold]
fn check(next_check: &AtomicU64, due: u64, now: u64) -> bool {
    let mut limits = LIMITS.get();
    if due == 0 || now >= limits.end {
        return true;
    }
    // A platform without a CPU clock measures the rest of the slice in wall-clock time.
    let cpu = cpu_time::thread_nanos().unwrap_or(now);
    let (_, cpu_at_base) = *limits.base.get_or_insert((now, cpu));
    let next = limits.slice.map_or(limits.end, |slice| {
        let left = (slice - slice / UNMEASURED_DIVISOR).saturating_sub(cpu.saturating_sub(cpu_at_base));
        limits.sliced = left == 0;
        limits.end.min(now.saturating_add(left.max(RECHECK)))
    });
    LIMITS.set(limits);
    // The exchange fails if the call was canceled in the meantime.
    limits.sliced || next_check.compare_exchange(due, next, SeqCst, SeqCst).is_err()
}

/// Makes a new store check its thread's guest at every epoch increment, from the next [`bind`] or [`unbind`] on.
pub fn prepare<T>(store: &mut Store<T>) {
    store.epoch_deadline_callback(|_| {
        if must_end() { Err(Trap::Interrupt.into()) } else { Ok(UpdateDeadline::Continue(1)) }
    });
}

/// Disables interruption until [`bind`], for an instantiation without a start function. It runs only code that the engine
/// generates, which initializes globals, tables and memory from the module: the size of the module bounds it.
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

    /// Wakes the watchdog to read the next checks.
    fn notify(&self) {
        let _state = self.lock();
        self.wake.notify_one();
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let earliest = state.earliest();
            self.wake_time.store(earliest, SeqCst);
            if state.earliest() < earliest {
                continue;
            }
            let now = now();
            state = if earliest == NEVER {
                self.wake.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner)
            } else {
                let pause = if earliest > now {
                    Duration::from_nanos(earliest - now)
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
    fn earliest(&self) -> u64 {
        self.next_checks
            .iter()
            .filter_map(Weak::upgrade)
            .map(|next_check| next_check.load(SeqCst))
            .min()
            .unwrap_or(NEVER)
    }

    fn tick(&self) {
        for engine in self.engines.iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_without_a_check_is_not_the_guests() {
        for (millis, share) in [(1_200, Some(0.0)), (100, None)] {
            let limit = Duration::from_millis(millis);
            let armed = arm(limit, None, None);
            std::thread::sleep(limit);
            assert!(must_end());
            assert!(matches!(armed.interruption(), Interruption::Deadline(found) if found == share), "{millis} ms");
        }
    }
}
