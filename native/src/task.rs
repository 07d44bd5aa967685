//! A call off the JavaScript thread. The request is copied into native memory on the calling thread, so nothing that
//! happens to the caller's buffers later matters; everything that runs guest code happens on a thread of libuv's pool.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use napi::bindgen_prelude::{AsyncTask, BufferSlice};
use napi::{Env, Result, ScopedTask};
use napi_derive::napi;

use crate::call::{Call, Outcome, Request, call};
use crate::deadline::Cancel;
use crate::engine::HotEngine;
use crate::failure::{Failure, Kind, NativeFailure};
use crate::module::CompiledModule;

/// Bytes of buffers that are kept for the next requests, and how many buffers.
const KEPT_BYTES: usize = 32 << 20;
const KEPT_BUFFERS: usize = 8;
/// Answers up to this size are copied on the JavaScript thread; a larger one becomes the memory of its Buffer.
const COPIED_BYTES: usize = 64 << 10;

static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Takes one of `limit` places for guests off the JavaScript threads of the process; false if all are taken.
#[napi(catch_unwind)]
pub fn take_task_place(env: Env, limit: u32) -> Result<bool> {
    RUNS.with_borrow_mut(|runs| {
        runs.watch(&env)?;
        let taken = RUNNING.fetch_update(SeqCst, SeqCst, |running| (running < limit).then_some(running + 1)).is_ok();
        runs.places += u32::from(taken);
        Ok(taken)
    })
}

/// Gives a place back.
#[napi(catch_unwind)]
pub fn return_task_place() {
    RUNS.with_borrow_mut(|runs| runs.places -= 1);
    RUNNING.fetch_sub(1, SeqCst);
}

/// Interrupts the calls and compilations that this JavaScript thread has running off it. To be called when the thread is about to end:
/// Node waits for them before it calls any hook of its own.
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

/// The calls that one JavaScript thread has given to the pool, and the places that it holds there.
#[derive(Default)]
struct Runs {
    watched: bool,
    live: Vec<Weak<Cancel>>,
    places: u32,
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

    /// Nobody is left to give the thread's places back, which others wait for.
    fn end(&mut self) {
        self.interrupt();
        RUNNING.fetch_sub(std::mem::take(&mut self.places), SeqCst);
    }
}

/// The request in native memory; its bytes count against the engine's staging bound until it is dropped.
struct Staged {
    engine: Arc<HotEngine>,
    bytes: Vec<u8>,
}

impl Staged {
    fn copy(engine: &Arc<HotEngine>, request: Request<'_>) -> std::result::Result<Staged, Failure> {
        let Request { head, body, tail } = request;
        let length = (head.len() + body.len() + tail.len()) as u64;
        let most = u64::try_from(engine.options.max_staging_bytes).unwrap_or(0);
        engine
            .staged
            .fetch_update(SeqCst, SeqCst, |staged| (staged + length <= most).then_some(staged + length))
            .map_err(|_| Failure::saturated("staging"))?;
        let mut bytes = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if bytes.try_reserve(head.len() + body.len() + tail.len()).is_err() {
            engine.staged.fetch_sub(length, SeqCst);
            return Err(Failure::saturated("staging"));
        }
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(tail);
        Ok(Staged { engine: Arc::clone(engine), bytes })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.engine.staged.fetch_sub(self.bytes.len() as u64, SeqCst);
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut kept = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes_kept: usize = kept.iter().map(Vec::capacity).sum();
        if kept.len() < KEPT_BUFFERS && bytes_kept + bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            kept.push(bytes);
        }
    }
}

/// A request that waits for its turn off the JavaScript thread.
#[napi]
pub struct StagedCall {
    module: Arc<CompiledModule>,
    staged: Mutex<Option<Staged>>,
    hook: usize,
    limit: Duration,
    probe: bool,
    max_answer: usize,
    cancel: Arc<Cancel>,
}

impl StagedCall {
    /// Copies the request, or says that `staging` is used up.
    pub fn stage(
        engine: &Arc<HotEngine>,
        module: &Arc<CompiledModule>,
        hook: usize,
        request: Request<'_>,
        limit: Duration,
        max_answer: usize,
        probe: bool,
    ) -> std::result::Result<StagedCall, Failure> {
        Ok(StagedCall {
            module: Arc::clone(module),
            staged: Mutex::new(Some(Staged::copy(engine, request)?)),
            hook,
            limit,
            probe,
            max_answer,
            cancel: Arc::default(),
        })
    }

    fn take(&self) -> Option<Staged> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[napi]
impl StagedCall {
    /// Runs it on a thread of libuv's pool, once.
    #[napi(catch_unwind, ts_return_type = "Promise<TaskOutcome>")]
    pub fn run(&self, env: Env) -> Result<AsyncTask<Run>> {
        let staged = self.take().ok_or_else(|| napi::Error::from_reason("a staged call runs once"))?;
        let run = Run {
            module: Arc::clone(&self.module),
            staged: Some(staged),
            hook: self.hook,
            limit: self.limit,
            probe: self.probe,
            max_answer: self.max_answer,
            cancel: Arc::clone(&self.cancel),
        };
        cancel_at_end(&env, &self.cancel)?;
        Ok(AsyncTask::new(run))
    }

    /// Interrupts the guest, or lets a call that has not begun fail at once.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.cancel.cancel();
        drop(self.take());
    }
}

/// A staged call on its way through the pool.
pub struct Run {
    module: Arc<CompiledModule>,
    staged: Option<Staged>,
    hook: usize,
    limit: Duration,
    probe: bool,
    max_answer: usize,
    cancel: Arc<Cancel>,
}

/// What became of a call off the JavaScript thread.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct TaskOutcome<'env> {
    /// The answer's bytes.
    pub answer: Option<BufferSlice<'env>>,
    /// Or the failure.
    pub failure: Option<NativeFailure>,
    /// Seconds inside the guest, NaN if it was never entered.
    pub seconds: f64,
}

impl<'task> ScopedTask<'task> for Run {
    type Output = Outcome<Vec<u8>>;
    type JsValue = TaskOutcome<'task>;

    fn compute(&mut self) -> Result<Self::Output> {
        let cancelled = Failure::new(Kind::Cancelled, "the call was cancelled");
        let Some(staged) = self.staged.take() else {
            return Ok(Outcome { result: Err(cancelled), seconds: f64::NAN });
        };
        wasmtime::Engine::tls_eager_initialize();
        let request = Request { head: &staged.bytes, body: &[], tail: &[] };
        let outcome = call(
            &Call {
                engine: &staged.engine,
                module: &self.module,
                hook: self.hook,
                limit: self.limit,
                cancel: Some(Arc::clone(&self.cancel)),
                max_answer: self.max_answer,
                probe: self.probe,
            },
            request,
            |answer| {
                let mut bytes = Vec::new();
                let room = bytes.try_reserve_exact(answer.len());
                bytes.extend_from_slice(if room.is_ok() { answer } else { &[] });
                room.map(|()| bytes)
            },
        );
        let no_room = |_| Failure::new(Kind::AnswerSize, "there is no memory for the answer");
        let mut result = outcome.result.and_then(|bytes| bytes.map_err(no_room));
        if result.is_err() && self.cancel.is_cancelled() {
            result = Err(cancelled);
        }
        Ok(Outcome { result, seconds: outcome.seconds })
    }

    fn resolve(&mut self, env: &'task Env, outcome: Self::Output) -> Result<TaskOutcome<'task>> {
        let (answer, failure) = match outcome.result {
            Ok(bytes) if bytes.len() <= COPIED_BYTES => (Some(BufferSlice::copy_from(env, bytes)?), None),
            Ok(bytes) => (Some(BufferSlice::from_data(env, bytes)?), None),
            Err(failure) => (None, Some(failure.into())),
        };
        Ok(TaskOutcome { answer, failure, seconds: outcome.seconds })
    }
}
