//! Many small requests of one hook in one task off the JavaScript thread. A task for each would block the event loop for
//! longer than the calls themselves.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cc_lb_engine::call::{Call, Request, call};
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::failure::{Failure, Phase, catching};
use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::failure::NativeFailure;
use crate::hook::hook_at;
use crate::module::NativeModule;
use crate::tasks::cancel_at_end;

#[napi]
impl NativeModule {
    /// Calls a hook once for each request, in order, off the JavaScript thread, and drops the answers. `bytes` contains
    /// the requests one after the other, `lengths` the length of each. Ends early after a failure or after `budget_ms`;
    /// the number of outcomes is the number of calls made.
    #[napi(catch_unwind, ts_return_type = "Promise<Array<NativeBatchOutcome>>")]
    pub fn call_batch(
        &self,
        env: Env,
        hook: u32,
        bytes: &[u8],
        lengths: Vec<u32>,
        limit_ms: u32,
        budget_ms: u32,
    ) -> Result<AsyncTask<BatchTask>> {
        let cancel = Arc::default();
        cancel_at_end(&env, &cancel)?;
        let call = Call {
            target: Cow::Owned(self.target.clone()),
            hook: hook_at(hook)?,
            limit: Duration::from_millis(u64::from(limit_ms)),
            slice: None,
            cancel: Some(cancel),
            max_answer: usize::MAX,
            probe: false,
        };
        let budget = Duration::from_millis(u64::from(budget_ms));
        Ok(AsyncTask::new(BatchTask { call, bytes: bytes.to_vec(), lengths, budget }))
    }
}

/// A batch as a task of the thread pool.
pub struct BatchTask {
    /// The call of each request.
    call: Call<'static>,
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    budget: Duration,
}

/// The outcome of one call of a batch.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeBatchOutcome {
    /// The failure, if it failed.
    pub failure: Option<NativeFailure>,
    /// Seconds inside the guest, NaN if it was never entered.
    pub seconds: f64,
}

/// The outcome of one call, before it is converted for JavaScript.
pub struct Ended {
    failure: Option<Failure>,
    seconds: f64,
}

impl BatchTask {
    fn run(&self) -> Vec<Ended> {
        HotEngine::prepare_thread();
        let began = Instant::now();
        let mut rest = self.bytes.as_slice();
        let mut ended = Vec::with_capacity(self.lengths.len());
        for length in &self.lengths {
            let Some((head, after)) = rest.split_at_checked(*length as usize) else { break };
            rest = after;
            let outcome = call(&self.call, Request { head, body: &[], tail: &[] }, |_| ());
            let failure = outcome.result.err();
            let failed = failure.is_some();
            ended.push(Ended { failure, seconds: outcome.seconds });
            if failed || began.elapsed() >= self.budget {
                break;
            }
        }
        ended
    }
}

impl Task for BatchTask {
    type Output = Vec<Ended>;
    type JsValue = Vec<NativeBatchOutcome>;

    fn compute(&mut self) -> Result<Vec<Ended>> {
        let caught = catching(|message| Failure::guest(Phase::Hook(self.call.hook), message), || Ok(self.run()));
        Ok(caught.unwrap_or_else(|failure| vec![Ended { failure: Some(failure), seconds: f64::NAN }]))
    }

    fn resolve(&mut self, _env: Env, ended: Vec<Ended>) -> Result<Vec<NativeBatchOutcome>> {
        let outcomes = ended.into_iter();
        let cross = |Ended { failure, seconds }| NativeBatchOutcome { failure: failure.map(Into::into), seconds };
        Ok(outcomes.map(cross).collect())
    }
}
