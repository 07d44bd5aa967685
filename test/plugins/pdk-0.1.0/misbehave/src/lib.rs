//! Misbehaves on request, in one way for each call. A filter or shape request names the behavior with claim `do` (a JSON
//! string) or, without that claim, with a path `/do/<behavior>`; an event with a `RequestStarted` whose request id is
//! `do:<behavior>`. A behavior may take an argument after a colon, such as `grow:10`. Without one, the plugin behaves well.
#![no_std]
extern crate alloc;

#[path = "../../../shared/abi.rs"]
mod abi;
mod behaviors;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use behaviors::Outcome;
use cc_lb_pdk_wasmtime::types::schema::WireSchema;
use cc_lb_pdk_wasmtime::types::{ArchivedFilterRequest, ArchivedObserveEvent, ArchivedPrincipal, ArchivedShapeRequest};
use cc_lb_pdk_wasmtime::types::{FilterRequest, FilterResponse, Header, ObserveEvent, PerCandidateReason};
use cc_lb_pdk_wasmtime::types::{ShapeRequest, ShapeResponse};
use rkyv::rancor::Error;

abi::custom_section!(FILTER, "cc_lb.schema.filter.v1", <FilterRequest as WireSchema>::FINGERPRINT);
abi::custom_section!(SHAPE, "cc_lb.schema.shape.v1", <ShapeRequest as WireSchema>::FINGERPRINT);
abi::custom_section!(OBSERVE, "cc_lb.schema.observe.v1", <ObserveEvent as WireSchema>::FINGERPRINT);
abi::custom_section!(
    METADATA,
    "cc_lb.plugin.v1",
    br#"{"name":"misbehave","version":"1.0.0","description":"Misbehaves on request","usage":"Claim `do`, path /do/<behavior>, or request id do:<behavior> in a RequestStarted","hooks":{"filter":{"wire_version":1,"description":"Accepts all candidates, or misbehaves","usage":"See the plugin"},"observe":{"wire_version":1,"description":"Does nothing, or misbehaves","usage":"See the plugin"},"shape":{"wire_version":1,"description":"Echoes the request, or misbehaves","usage":"See the plugin"}}}"#
);

#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_filter(ptr: u32, len: u32) -> u64 {
    // SAFETY: these are the hook's own arguments.
    let request = rkyv::access::<ArchivedFilterRequest, Error>(unsafe { abi::input(ptr, len) }).unwrap();
    let note = match behaviors::run(requested(&request.principal, &request.path)) {
        Outcome::Return(packed) => return packed,
        Outcome::Note(note) => note,
    };
    let accept =
        |id: &str| PerCandidateReason { upstream_id: id.into(), decision: "accept".into(), reason: note.clone() };
    let results = request.candidates.iter().map(|candidate| accept(&candidate.upstream_id)).collect();
    abi::answer(rkyv::to_bytes::<Error>(&FilterResponse { results }).unwrap())
}

#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_shape(ptr: u32, len: u32) -> u64 {
    // SAFETY: these are the hook's own arguments.
    let request = rkyv::access::<ArchivedShapeRequest, Error>(unsafe { abi::input(ptr, len) }).unwrap();
    let note = match behaviors::run(requested(&request.principal, &request.path)) {
        Outcome::Return(packed) => return packed,
        Outcome::Note(note) => note,
    };
    let response = ShapeResponse {
        url: format!("https://misbehave.test{}", request.path).into(),
        method: request.method.as_ref().into(),
        headers: [Header { name: "x-note".into(), value: note.into_boxed_bytes() }].into(),
        body: request.body.as_ref().into(),
    };
    abi::answer(rkyv::to_bytes::<Error>(&response).unwrap())
}

#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_observe(ptr: u32, len: u32) -> u64 {
    // SAFETY: these are the hook's own arguments.
    let event = rkyv::access::<ArchivedObserveEvent, Error>(unsafe { abi::input(ptr, len) }).unwrap();
    let ArchivedObserveEvent::RequestStarted { request_id, .. } = event else { return abi::pointer(0, 0) };
    match behaviors::run(request_id.strip_prefix("do:").unwrap_or_default()) {
        Outcome::Return(packed) => packed,
        Outcome::Note(_) => abi::pointer(0, 0),
    }
}

/// Returns the requested behavior. Names need no escapes, so the claim's JSON string is read between its quotes.
fn requested<'a>(principal: &'a ArchivedPrincipal, path: &'a str) -> &'a str {
    let claim = principal.claims.iter().find(|claim| claim.key.as_ref() == "do");
    match claim.map(|claim| core::str::from_utf8(&claim.value)) {
        Some(Ok(text)) => text.trim_matches('"'),
        Some(Err(_)) => "",
        None => path.strip_prefix("/do/").unwrap_or_default(),
    }
}

/// A text in the answer.
type Note = Box<str>;

fn note(text: String) -> Note {
    text.into()
}
