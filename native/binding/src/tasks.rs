//! Off-thread work of JavaScript threads: permits for libuv's pool, and cancellation when a thread ends.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Weak};

use cc_lb_engine::deadline::Cancel;
use cc_lb_engine::permits::{Permits, Turn};
use napi::{Env, Result};
use napi_derive::napi;

static PERMITS: LazyLock<Permits> = LazyLock::new(Permits::default);
static THREADS: AtomicU64 = AtomicU64::new(0);

/// Acquires one of `limit` permits for guests off the JavaScript threads of the process, for work of `principal`.
/// Returns `granted`, `share` if only another principal may acquire the permit that is left, or `wait`.
#[napi(catch_unwind)]
pub fn take_task_permit(env: Env, limit: u32, principal: String) -> Result<&'static str> {
    RUNS.with_borrow_mut(|runs| {
        runs.watch(&env)?;
        Ok(match PERMITS.acquire(limit, &principal, runs.thread) {
            Turn::Granted => {
                runs.permits.push(principal);
                "granted"
            }
            Turn::Share => "share",
            Turn::Wait => "wait",
        })
    })
}

/// Returns a permit of `principal`.
#[napi(catch_unwind)]
pub fn return_task_permit(principal: String) {
    let held = RUNS.with_borrow_mut(|runs| {
        let at = runs.permits.iter().position(|held| *held == principal)?;
        Some(runs.permits.swap_remove(at))
    });
    if let Some(principal) = held {
        PERMITS.release(&principal);
    }
}

/// Interrupts the off-thread calls of this JavaScript thread. Call it when the thread is about to end: Node waits for
/// these calls before it calls any of its hooks.
#[napi(catch_unwind)]
pub fn interrupt_tasks() {
    RUNS.with_borrow(Runs::interrupt);
}

/// Registers `cancel` to be canceled by `interrupt_tasks` on this JavaScript thread, and when the thread ends.
pub fn cancel_at_end(env: &Env, cancel: &Arc<Cancel>) -> Result<()> {
    RUNS.with_borrow_mut(|runs| {
        runs.add(cancel);
        runs.watch(env)
    })
}

/// The pool's calls of one JavaScript thread, and the permits that it holds.
struct Runs {
    /// Number of the JavaScript thread.
    thread: u64,
    watched: bool,
    live: Vec<Weak<Cancel>>,
    /// The principal of each permit.
    permits: Vec<String>,
}

thread_local! {
    static RUNS: RefCell<Runs> = RefCell::new(Runs {
        thread: THREADS.fetch_add(1, SeqCst),
        watched: false,
        live: Vec::new(),
        permits: Vec::new(),
    });
}

impl Runs {
    /// Registers `end` to be called when the thread's JavaScript ends.
    fn watch(&mut self, env: &Env) -> Result<()> {
        if !self.watched {
            env.add_env_cleanup_hook((), |()| RUNS.with_borrow_mut(Runs::end))?;
            self.watched = true;
        }
        Ok(())
    }

    fn add(&mut self, cancel: &Arc<Cancel>) {
        if self.live.len() == self.live.capacity() {
            self.live.retain(|run| run.strong_count() > 0);
        }
        self.live.push(Arc::downgrade(cancel));
    }

    fn interrupt(&self) {
        for run in self.live.iter().filter_map(Weak::upgrade) {
            run.cancel();
        }
    }

    /// Returns the permits of an ending thread, because other threads wait for them.
    fn end(&mut self) {
        self.interrupt();
        for principal in self.permits.drain(..) {
            PERMITS.release(&principal);
        }
    }
}
