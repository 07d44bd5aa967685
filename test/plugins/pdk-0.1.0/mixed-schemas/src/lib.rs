//! Declares all five hooks, of two wire schemas: filter and observe as PDK 0.1.0 lays them out, shape and both transforms
//! as PDK 0.2.0 does. A hook that receives the layout of the other schema traps.
#![no_std]
extern crate alloc;

#[path = "../../../shared/abi.rs"]
mod abi;

use alloc::boxed::Box;
use alloc::format;
use cc_lb_pdk_wasmtime::types as early;
use early::schema::WireSchema as EarlySchema;
use later_wire::schema::WireSchema as LaterSchema;
use later_wire::{Header, ShapeRequest, ShapeResponse, SseEvent, Upstream};
use later_wire::{
    TransformResponseRequest, TransformResponseResult, TransformSseEventRequest, TransformSseEventResult,
};
use rkyv::rancor::Error;

abi::custom_section!(FILTER, "cc_lb.schema.filter.v1", <early::FilterRequest as EarlySchema>::FINGERPRINT);
abi::custom_section!(OBSERVE, "cc_lb.schema.observe.v1", <early::ObserveEvent as EarlySchema>::FINGERPRINT);
abi::custom_section!(SHAPE, "cc_lb.schema.shape.v1", <ShapeRequest as LaterSchema>::FINGERPRINT);
abi::custom_section!(
    TRANSFORM_RESPONSE,
    "cc_lb.schema.transform_response.v1",
    <TransformResponseRequest as LaterSchema>::FINGERPRINT
);
abi::custom_section!(
    TRANSFORM_SSE_EVENT,
    "cc_lb.schema.transform_sse_event.v1",
    <TransformSseEventRequest as LaterSchema>::FINGERPRINT
);
abi::custom_section!(
    METADATA,
    "cc_lb.plugin.v1",
    br#"{"name":"mixed-schemas","version":"1.0.0","description":"Hooks of PDK 0.1.0 and of PDK 0.2.0 in one plugin","usage":"For tests of a host","hooks":{"filter":{"wire_version":1,"description":"As of PDK 0.1.0: accepts all candidates","usage":"Nothing to configure"},"observe":{"wire_version":1,"description":"As of PDK 0.1.0: decodes the event","usage":"Nothing to configure"},"shape":{"wire_version":1,"description":"As of PDK 0.2.0: adds x-schema","usage":"Nothing to configure","mode":"active"},"transform_response":{"wire_version":1,"description":"As of PDK 0.2.0: names the request","usage":"Nothing to configure","mode":"active"},"transform_sse_event":{"wire_version":1,"description":"As of PDK 0.2.0: names the request","usage":"Nothing to configure","mode":"active"}}}"#
);

/// Reads the request in its wire schema and answers with the result of `$answer`.
macro_rules! hook {
    ($export:ident, $request:ty, $answer:expr) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn $export(ptr: u32, len: u32) -> u64 {
            // SAFETY: these are the hook's own arguments.
            let request = rkyv::from_bytes::<$request, Error>(unsafe { abi::input(ptr, len) }).unwrap();
            abi::answer(rkyv::to_bytes::<Error>(&$answer(request)).unwrap())
        }
    };
}

hook!(cc_lb_filter, early::FilterRequest, |request: early::FilterRequest| {
    let accept = |candidate: &early::UpstreamCandidate| early::PerCandidateReason {
        upstream_id: candidate.upstream_id.clone(),
        decision: "accept".into(),
        reason: format!("{} has {}", candidate.name, candidate.predicted_cache_read_tokens).into(),
    };
    early::FilterResponse { results: request.candidates.iter().map(accept).collect() }
});

hook!(cc_lb_shape, ShapeRequest, |request: ShapeRequest| {
    let Upstream::AnthropicDirect { base_url } = request.upstream;
    ShapeResponse {
        url: base_url.unwrap_or_else(|| "https://mixed.test/".into()),
        method: request.method,
        headers: [Header { name: "x-schema".into(), value: Box::from(*b"0.2.0") }].into(),
        body: request.body,
    }
});

hook!(cc_lb_transform_response, TransformResponseRequest, |request: TransformResponseRequest| {
    TransformResponseResult::Replace { status: None, headers: None, body: Some(request.request_id.into_boxed_bytes()) }
});

hook!(cc_lb_transform_sse_event, TransformSseEventRequest, |request: TransformSseEventRequest| {
    let event = SseEvent { event: request.event.event, data: request.request_id.into_boxed_bytes() };
    TransformSseEventResult::Replace { events: [event].into() }
});

#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_observe(ptr: u32, len: u32) -> u64 {
    // SAFETY: these are the hook's own arguments.
    rkyv::access::<early::ArchivedObserveEvent, Error>(unsafe { abi::input(ptr, len) }).unwrap();
    abi::pointer(0, 0)
}
