//! A call off the JavaScript thread. The request is copied to native memory on the calling thread, so later changes to
//! the caller's buffers have no effect. Guest code runs on a thread of libuv's pool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cc_lb_engine::call::{Call, Outcome, Request, Target, call};
use cc_lb_engine::deadline::Cancel;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::failure::{Failure, Phase, Resource, catching};
use cc_lb_engine::fair_budget::FairCharge;
use napi::bindgen_prelude::{AsyncTask, Either};
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::bytes::Bytes;
use crate::call::Header;
use crate::failure::NativeFailure;
use crate::tasks::cancel_at_end;

/// Bytes of buffers that are kept for the next requests, and how many buffers.
const KEPT_BYTES: usize = 32 << 20;
const KEPT_BUFFERS: usize = 8;

static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The request in native memory; its bytes count against its principal's share of the engine's limit until it is dropped.
struct Staged {
    bytes: Vec<u8>,
    _charge: FairCharge,
}

impl Staged {
    fn copy(engine: &HotEngine, principal: &str, request: Request<'_>) -> std::result::Result<Staged, Failure> {
        let Request { head, body, tail } = request;
        let mut charge = FairCharge::new(&engine.staged, principal);
        if !charge.set(request.bytes() as u64) {
            return Err(Failure::Saturated(Resource::Staging));
        }
        let mut bytes = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if bytes.try_reserve(request.bytes()).is_err() {
            return Err(Failure::Saturated(Resource::Staging));
        }
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(tail);
        Ok(Staged { bytes, _charge: charge })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut kept = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes_kept: usize = kept.iter().map(Vec::capacity).sum();
        if kept.len() < KEPT_BUFFERS && bytes_kept + bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            kept.push(bytes);
        }
    }
}

/// A call that waits to run off the JavaScript thread.
#[napi]
pub struct NativeStagedCall {
    call: Call<'static>,
    cancel: Arc<Cancel>,
    staged: Mutex<Option<Staged>>,
}

impl NativeStagedCall {
    fn take(&self) -> Option<Staged> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Copies a request for a call off this thread; see `NativeModule::stage`. Fails if `staging` is exhausted.
pub(crate) fn stage(
    target: &Target,
    scratch: &[u8],
    body: &[u8],
    principal: &str,
) -> Result<Either<NativeStagedCall, NativeFailure>> {
    let header = Header::read(scratch);
    let mut call = header.call(target)?.into_owned();
    let cancel = Arc::default();
    call.slice = None;
    call.cancel = Some(Arc::clone(&cancel));
    Ok(match Staged::copy(&target.engine, principal, header.request(scratch, body)) {
        Ok(staged) => Either::A(NativeStagedCall { call, cancel, staged: Mutex::new(Some(staged)) }),
        Err(failure) => Either::B(failure.into()),
    })
}

#[napi]
impl NativeStagedCall {
    /// Runs the call on a thread of libuv's pool, once.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeTaskOutcome>")]
    pub fn run(&self, env: Env) -> Result<AsyncTask<CallTask>> {
        let staged = self.take().ok_or_else(|| napi::Error::from_reason("a staged call runs once"))?;
        cancel_at_end(&env, &self.cancel)?;
        Ok(AsyncTask::new(CallTask { call: self.call.clone(), staged: Some(staged) }))
    }

    /// Interrupts the guest, or makes a call that has not started fail immediately.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.cancel.cancel();
        drop(self.take());
    }
}

/// A staged call as a task of the thread pool.
pub struct CallTask {
    call: Call<'static>,
    staged: Option<Staged>,
}

/// The outcome of a call off the JavaScript thread.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeTaskOutcome {
    /// The answer's bytes.
    #[napi(ts_type = "Buffer")]
    pub answer: Option<Bytes>,
    /// The failure, or null.
    pub failure: Option<NativeFailure>,
    /// Seconds inside the guest, NaN if it was never entered.
    pub seconds: f64,
    /// Seconds of the whole call, including instantiation and the reset of its memory.
    pub total_seconds: f64,
}

/// A finished call, before its outcome is converted for JavaScript.
pub struct Finished {
    outcome: Outcome<Vec<u8>>,
    total_seconds: f64,
}

impl CallTask {
    fn run(&mut self) -> Outcome<Vec<u8>> {
        let Some(staged) = self.staged.take() else {
            return Outcome { result: Err(Failure::Cancelled), seconds: f64::NAN };
        };
        HotEngine::prepare_thread();
        let request = Request { head: &staged.bytes, body: &[], tail: &[] };
        let outcome = call(&self.call, request, |answer| {
            let mut bytes = Vec::new();
            let reserved = bytes.try_reserve_exact(answer.len());
            bytes.extend_from_slice(if reserved.is_ok() { answer } else { &[] });
            reserved.map(|()| bytes)
        });
        let out_of_memory = |_| Failure::AnswerSize("not enough memory for the answer".to_owned());
        let result = outcome.result.and_then(|bytes| bytes.map_err(out_of_memory));
        Outcome { result, seconds: outcome.seconds }
    }
}

impl Task for CallTask {
    type Output = Finished;
    type JsValue = NativeTaskOutcome;

    fn compute(&mut self) -> Result<Finished> {
        let began = Instant::now();
        let hook = self.call.hook;
        let caught = catching(|message| Failure::guest(Phase::Hook(hook), message), || Ok(self.run()));
        let outcome = caught.unwrap_or_else(|failure| Outcome { result: Err(failure), seconds: f64::NAN });
        Ok(Finished { outcome, total_seconds: began.elapsed().as_secs_f64() })
    }

    fn resolve(&mut self, _env: Env, finished: Finished) -> Result<NativeTaskOutcome> {
        let Finished { outcome: Outcome { result, seconds }, total_seconds } = finished;
        let (answer, failure) = match result {
            Ok(bytes) => (Some(Bytes(bytes)), None),
            Err(failure) => (None, Some(failure.into())),
        };
        Ok(NativeTaskOutcome { answer, failure, seconds, total_seconds })
    }
}
