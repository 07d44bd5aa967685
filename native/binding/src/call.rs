//! A call of a hook on the JavaScript thread, and the scratch memory by which JavaScript describes a call: one memory
//! costs less to pass than a parameter for each value, and every form of a call has the same ones.
//!
//! | bytes | written by JavaScript (`src/dispatch/scratch.ts`), except the first |
//! | --- | --- |
//! | 0..8 | an f64: the seconds that the call took, written when it ends |
//! | 8..44 | the fields of `Header` in order, each a u32 |
//! | from `start` | the head of the request, then its tail |
//! | after it | the answer, if it fits |

use std::borrow::Cow;
use std::time::Duration;

use cc_lb_engine::call::{Call, Request, Target, call};
use napi::bindgen_prelude::{BufferSlice, Either3, Uint8ArraySlice};
use napi::{Env, Result};
use napi_derive::napi;

use crate::failure::NativeFailure;
use crate::hook::hook_at;
use crate::targets::target;

const SECONDS_BYTES: usize = 8;

/// The parameters of a call, as JavaScript writes them.
pub(crate) struct Header {
    /// The index of the hook.
    hook: u32,
    /// Milliseconds until the deadline.
    limit_ms: u32,
    /// Milliseconds of CPU time after which the call fails as `sliced`; 0 for no slice.
    slice_ms: u32,
    /// Maximum bytes of an answer.
    max_answer: u32,
    /// Not 0 for a probe.
    probe: u32,
    /// The offset of the request.
    start: u32,
    /// Bytes of the request before the body.
    head: u32,
    /// Bytes of the request after the body.
    tail: u32,
    /// The number of the target.
    target: u32,
}

impl Header {
    pub(crate) fn read(scratch: &[u8]) -> Header {
        let words: [u32; 9] = std::array::from_fn(|index| {
            let at = SECONDS_BYTES + index * size_of::<u32>();
            u32::from_ne_bytes(scratch[at..at + size_of::<u32>()].try_into().expect("four bytes"))
        });
        let [hook, limit_ms, slice_ms, max_answer, probe, start, head, tail, target] = words;
        Header { hook, limit_ms, slice_ms, max_answer, probe, start, head, tail, target }
    }

    /// The call of `target` that it describes.
    pub(crate) fn call<'a>(&self, target: &'a Target) -> Result<Call<'a>> {
        Ok(Call {
            target: Cow::Borrowed(target),
            hook: hook_at(self.hook)?,
            limit: Duration::from_millis(u64::from(self.limit_ms)),
            slice: (self.slice_ms > 0).then(|| Duration::from_millis(u64::from(self.slice_ms))),
            cancel: None,
            max_answer: self.max_answer as usize,
            probe: self.probe != 0,
        })
    }

    /// The offset after the request.
    fn end(&self) -> usize {
        self.start as usize + self.head as usize + self.tail as usize
    }

    /// The request: `body` between the head and the tail in the scratch memory.
    pub(crate) fn request<'a>(&self, scratch: &'a [u8], body: &'a [u8]) -> Request<'a> {
        let (head, tail) = scratch[self.start as usize..self.end()].split_at(self.head as usize);
        Request { head, body, tail }
    }
}

/// Calls a hook on this thread. `scratch` is memory that JavaScript leases to the call: it contains the parameters of the
/// call and the request except `body`, see `native/binding/src/call.rs`. The answer is written after the request if it
/// fits there (its length is returned), else to a new buffer. A call that uses its slice of CPU time fails with kind
/// `sliced`; an event of a stream must not have a slice, because its instance has state and the call would be repeated.
#[napi(catch_unwind)]
pub fn call_hook<'env>(
    env: &'env Env,
    mut scratch: Uint8ArraySlice<'env>,
    body: &[u8],
) -> Result<Either3<u32, BufferSlice<'env>, NativeFailure>> {
    // SAFETY: the scratch memory is leased to this call. JavaScript does not run, no other thread has the memory, and `body` is
    // not a part of it, because no view of leased memory leaves a call.
    let scratch = unsafe { scratch.as_mut() };
    let header = Header::read(scratch);
    let (given, free) = scratch.split_at_mut(header.end());
    let target = target(header.target)?;
    let outcome = call(&header.call(&target)?, header.request(given, body), |answer| {
        if let Some(target) = free.get_mut(..answer.len()) {
            target.copy_from_slice(answer);
            return Ok(Either3::A(u32::try_from(answer.len()).unwrap_or(u32::MAX)));
        }
        BufferSlice::copy_from(env, answer).map(Either3::B)
    });
    scratch[..SECONDS_BYTES].copy_from_slice(&outcome.seconds.to_ne_bytes());
    outcome.result.unwrap_or_else(|failure| Ok(Either3::C(failure.into())))
}
