//! Changes responses and events as claim `transform` (a JSON string) says; without the claim nothing changes. Claim
//! `event` (a JSON string) limits the SSE transform to events of that name.
#![no_std]
extern crate alloc;

mod response;
mod sse;

use alloc::boxed::Box;
use cc_lb_pdk_wasmtime::types::{Header, Principal, ShapeRequest, ShapeResponse, Upstream};
use cc_lb_pdk_wasmtime::types::{TransformResponseRequest, TransformResponseResult};
use cc_lb_pdk_wasmtime::types::{TransformSseEventRequest, TransformSseEventResult};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

#[cc_lb_plugin(
    name = "transforms",
    version = "1.0.0",
    description = "Transforms responses and server-sent events as a claim says",
    usage = "Claim `transform` names the change, claim `event` the events that it concerns"
)]
mod plugin {
    use super::*;

    #[handler(shape, wire = 1, description = "Sends the request to its base URL", usage = "Nothing to configure")]
    pub fn shape(request: ShapeRequest) -> ShapeResponse {
        let Upstream::AnthropicDirect { base_url } = request.upstream;
        let url = base_url.unwrap_or_else(|| "https://transforms.test/".into());
        ShapeResponse { url, method: request.method, headers: request.headers, body: request.body }
    }

    #[handler(
        transform_response,
        wire = 1,
        description = "Replaces status, headers or body",
        usage = "Claim `transform`",
        mode = "active"
    )]
    pub fn transform_response(request: TransformResponseRequest) -> TransformResponseResult {
        response::transform(request)
    }

    #[handler(
        transform_sse_event,
        wire = 1,
        description = "Replaces, multiplies or drops events",
        usage = "Claims `transform` and `event`",
        mode = "active"
    )]
    pub fn transform_sse_event(request: TransformSseEventRequest) -> TransformSseEventResult {
        sse::transform(request)
    }
}

/// The text of a claim that is a JSON string without escapes; empty if there is none.
fn claim<'a>(principal: &'a Principal, key: &str) -> &'a str {
    let claim = principal.claims.iter().find(|claim| &*claim.key == key);
    let text = claim.and_then(|claim| core::str::from_utf8(&claim.value).ok()).unwrap_or_default();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default()
}

/// What to do, and the number after its colon.
fn order(principal: &Principal) -> (&str, usize) {
    let (name, argument) = claim(principal, "transform").split_once(':').unwrap_or((claim(principal, "transform"), ""));
    (name, argument.parse().unwrap_or(0))
}

fn header(name: &str, value: &[u8]) -> Header {
    Header { name: name.into(), value: Box::from(value) }
}
