//! Answers with the very bytes of the request's body, so that a test decides what the guest answers, byte for byte.
#![no_std]
extern crate alloc;

#[path = "../../../shared/abi.rs"]
mod abi;

use alloc::boxed::Box;
use cc_lb_pdk_wasmtime::types::schema::WireSchema;
use cc_lb_pdk_wasmtime::types::{ArchivedFilterRequest, ArchivedPrincipal, ArchivedShapeRequest};
use cc_lb_pdk_wasmtime::types::{FilterRequest, FilterResponse, ShapeRequest, ShapeResponse};
use rkyv::rancor::Error;

abi::custom_section!(FILTER, "cc_lb.schema.filter.v1", <FilterRequest as WireSchema>::FINGERPRINT);
abi::custom_section!(SHAPE, "cc_lb.schema.shape.v1", <ShapeRequest as WireSchema>::FINGERPRINT);
abi::custom_section!(
    METADATA,
    "cc_lb.plugin.v1",
    br#"{"name":"puppet","version":"1.0.0","description":"Answers with the bytes of the request's body","usage":"Claim `puppet` (any value) switches it on; without it the answer is an empty one","hooks":{"filter":{"wire_version":1,"description":"The body is the archived FilterResponse","usage":"Set claim `puppet`"},"shape":{"wire_version":1,"description":"The body is the archived ShapeResponse","usage":"Set claim `puppet`"}}}"#
);

#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_filter(ptr: u32, len: u32) -> u64 {
    // SAFETY: these are the hook's own arguments.
    let request = rkyv::access::<ArchivedFilterRequest, Error>(unsafe { abi::input(ptr, len) }).unwrap();
    if is_puppet(&request.principal) {
        return abi::answer(&request.body);
    }
    abi::answer(rkyv::to_bytes::<Error>(&FilterResponse { results: Box::default() }).unwrap())
}

#[unsafe(no_mangle)]
pub extern "C" fn cc_lb_shape(ptr: u32, len: u32) -> u64 {
    // SAFETY: these are the hook's own arguments.
    let request = rkyv::access::<ArchivedShapeRequest, Error>(unsafe { abi::input(ptr, len) }).unwrap();
    if is_puppet(&request.principal) {
        return abi::answer(&request.body);
    }
    let (url, method) = ("https://puppet.test/".into(), "POST".into());
    let response = ShapeResponse { url, method, headers: Box::default(), body: Box::default() };
    abi::answer(rkyv::to_bytes::<Error>(&response).unwrap())
}

fn is_puppet(principal: &ArchivedPrincipal) -> bool {
    principal.claims.iter().any(|claim| claim.key.as_ref() == "puppet")
}
