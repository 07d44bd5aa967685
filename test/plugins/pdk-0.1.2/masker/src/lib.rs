//! Masks a secret in the events of a stream, also where the secret is split over several events: an event that may end in the
//! beginning of the secret is held back until the next one decides. That needs an instance that serves the whole stream. An
//! event named `owner` is answered with the data of the first such event that the instance saw.
#![no_std]
extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use cc_lb_pdk_wasmtime::types::{ShapeRequest, ShapeResponse, SseEvent, Upstream};
use cc_lb_pdk_wasmtime::types::{TransformResponseRequest, TransformResponseResult};
use cc_lb_pdk_wasmtime::types::{TransformSseEventRequest, TransformSseEventResult};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};
use core::cell::UnsafeCell;

const SECRET: &[u8] = b"sk-secret";
const MASK: &[u8] = b"*********";

/// What one instance remembers between events.
struct State {
    /// The data of events that are held back.
    held: Vec<u8>,
    owner: Option<Box<[u8]>>,
}

struct Instance(UnsafeCell<State>);

// SAFETY: a guest without the threads proposal has one thread.
unsafe impl Sync for Instance {}

static INSTANCE: Instance = Instance(UnsafeCell::new(State { held: Vec::new(), owner: None }));

#[cc_lb_plugin(
    name = "masker",
    version = "1.0.0",
    description = "Masks a secret that may be split over events",
    usage = "Register with instance: stream"
)]
mod plugin {
    use super::*;

    #[handler(shape, wire = 1, description = "Sends the request to its base URL", usage = "Nothing to configure")]
    pub fn shape(request: ShapeRequest) -> ShapeResponse {
        let Upstream::AnthropicDirect { base_url } = request.upstream;
        let url = base_url.unwrap_or_else(|| "https://masker.test/".into());
        ShapeResponse { url, method: request.method, headers: request.headers, body: request.body }
    }

    #[handler(
        transform_response,
        wire = 1,
        description = "Does nothing",
        usage = "Nothing to configure",
        mode = "noop"
    )]
    pub fn transform_response(_request: TransformResponseRequest) -> TransformResponseResult {
        TransformResponseResult::Unchanged
    }

    #[handler(
        transform_sse_event,
        wire = 1,
        description = "Masks the secret",
        usage = "Nothing to configure",
        mode = "active"
    )]
    pub fn transform_sse_event(request: TransformSseEventRequest) -> TransformSseEventResult {
        // SAFETY: hooks do not nest, so nothing else refers to the state.
        let state = unsafe { &mut *INSTANCE.0.get() };
        let event = request.event;
        if &*event.event == "owner" {
            let owner = state.owner.get_or_insert_with(|| event.data.clone()).clone();
            return TransformSseEventResult::Replace { events: [SseEvent { event: event.event, data: owner }].into() };
        }
        let held = !state.held.is_empty();
        let mut data = core::mem::take(&mut state.held);
        data.extend_from_slice(&event.data);
        let masked = mask(&mut data);
        let ends_in = |length| SECRET.get(..length).is_some_and(|beginning| data.ends_with(beginning));
        if (1..SECRET.len()).any(ends_in) {
            state.held = data;
            return TransformSseEventResult::Drop;
        }
        if !held && !masked {
            return TransformSseEventResult::Unchanged;
        }
        TransformSseEventResult::Replace { events: [SseEvent { event: event.event, data: data.into() }].into() }
    }
}

/// Overwrites each occurrence of the secret. Whether there was one.
fn mask(data: &mut [u8]) -> bool {
    let mut masked = false;
    let mut at = 0;
    while let Some(window) = data.get_mut(at..at + SECRET.len()) {
        if window == SECRET {
            window.iter_mut().zip(MASK).for_each(|(byte, mask)| *byte = *mask);
            masked = true;
        }
        at += 1;
    }
    masked
}
