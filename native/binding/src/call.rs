//! A call of a hook on the JavaScript thread.

use std::sync::Arc;
use std::time::Duration;

use cc_lb_engine::call::{Call, Request, call};
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::hook::Hook;
use cc_lb_engine::module::CompiledModule;
use cc_lb_engine::stream::Stream;
use napi::bindgen_prelude::{BufferSlice, Either3, Uint8ArraySlice};
use napi::{Env, Result};

use crate::failure::NativeFailure;

/// Where a call leaves how long it took: an f64 at the start of its scratch memory.
const SECONDS_BYTES: usize = 8;

/// The target of a call.
pub(crate) struct CallOf<'a> {
    pub(crate) engine: &'a Arc<HotEngine>,
    pub(crate) module: &'a Arc<CompiledModule>,
    pub(crate) hook: Hook,
    pub(crate) stream: Option<&'a Arc<Stream>>,
}

/// The limits of a call, as JavaScript passes them.
pub(crate) struct Rules {
    pub(crate) limit_ms: u32,
    pub(crate) slice_ms: u32,
    pub(crate) max_answer: u32,
    pub(crate) probe: bool,
}

/// A call on this thread; see `NativeModule::call`.
pub(crate) fn call_here<'env>(
    env: &'env Env,
    CallOf { engine, module, hook, stream }: &CallOf<'_>,
    scratch: &mut Uint8ArraySlice<'env>,
    (start, head, tail): (u32, u32, u32),
    body: &[u8],
    rules: &Rules,
) -> Result<Either3<u32, BufferSlice<'env>, NativeFailure>> {
    // SAFETY: the scratch memory is leased to this call: JavaScript does not run and no other thread writes to it.
    let scratch = unsafe { scratch.as_mut() };
    let end = start as usize + head as usize + tail as usize;
    let (given, room) = scratch.split_at_mut(end);
    let request = request_in(given, start, head, body);
    let rules = Call {
        engine,
        module,
        hook: *hook,
        limit: Duration::from_millis(u64::from(rules.limit_ms)),
        slice: (rules.slice_ms > 0).then(|| Duration::from_millis(u64::from(rules.slice_ms))),
        stream: stream.map(|stream| &**stream),
        cancel: None,
        max_answer: rules.max_answer as usize,
        probe: rules.probe,
    };
    let outcome = call(&rules, request, |answer| {
        if let Some(target) = room.get_mut(..answer.len()) {
            target.copy_from_slice(answer);
            return Ok(Either3::A(u32::try_from(answer.len()).unwrap_or(u32::MAX)));
        }
        BufferSlice::copy_from(env, answer).map(Either3::B)
    });
    scratch[..SECONDS_BYTES].copy_from_slice(&outcome.seconds.to_ne_bytes());
    outcome.result.unwrap_or_else(|failure| Ok(Either3::C(failure.into())))
}

/// The request whose head is `scratch[start..start + head]` and whose tail is the rest.
pub(crate) fn request_in<'a>(scratch: &'a [u8], start: u32, head: u32, body: &'a [u8]) -> Request<'a> {
    let (head, tail) = scratch[start as usize..].split_at(head as usize);
    Request { head, body, tail }
}
