//! What JavaScript threads run off themselves: permits for libuv's pool, and cancellation when a thread ends.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use cc_lb_engine::deadline::Cancel;
use napi::{Env, Result};
use napi_derive::napi;

static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Takes one of `limit` permits for guests off the JavaScript threads of the process; false if all are taken.
#[napi(catch_unwind)]
pub fn take_task_permit(env: Env, limit: u32) -> Result<bool> {
    RUNS.with_borrow_mut(|runs| {
        runs.watch(&env)?;
        let taken = RUNNING.fetch_update(SeqCst, SeqCst, |running| (running < limit).then_some(running + 1)).is_ok();
        runs.permits += u32::from(taken);
        Ok(taken)
    })
}

/// Returns a permit.
#[napi(catch_unwind)]
pub fn return_task_permit() {
    RUNS.with_borrow_mut(|runs| runs.permits -= 1);
    RUNNING.fetch_sub(1, SeqCst);
}

/// Interrupts the calls and compilations that this JavaScript thread has running off it. To be called when the thread is
/// about to end: Node waits for them before it calls any hook of its own.
#[napi(catch_unwind)]
pub fn interrupt_tasks() {
    RUNS.with_borrow(Runs::interrupt);
}

/// Has `cancel` cancelled by `interrupt_tasks` on this JavaScript thread, and when the thread ends.
pub fn cancel_at_end(env: &Env, cancel: &Arc<Cancel>) -> Result<()> {
    RUNS.with_borrow_mut(|runs| {
        runs.add(cancel);
        runs.watch(env)
    })
}

/// The calls that one JavaScript thread has given to the pool, and the permits that it holds there.
#[derive(Default)]
struct Runs {
    watched: bool,
    live: Vec<Weak<Cancel>>,
    permits: u32,
}

thread_local! {
    static RUNS: RefCell<Runs> = RefCell::default();
}

impl Runs {
    /// Has `end` called when the thread's JavaScript ends.
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

    /// Returns the permits of a thread that ends: other threads wait for them.
    fn end(&mut self) {
        self.interrupt();
        RUNNING.fetch_sub(std::mem::take(&mut self.permits), SeqCst);
    }
}
