//! A shape plugin that has the transforms but does not want to be called for them: a call traps.
#![no_std]
extern crate alloc;

use alloc::boxed::Box;
use cc_lb_pdk_wasmtime::types::{Header, ShapeRequest, ShapeResponse, Upstream};
use cc_lb_pdk_wasmtime::types::{TransformResponseRequest, TransformResponseResult};
use cc_lb_pdk_wasmtime::types::{TransformSseEventRequest, TransformSseEventResult};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

#[cc_lb_plugin(
    name = "transforms-noop",
    version = "1.0.0",
    description = "Shapes requests and leaves responses alone",
    usage = "Its transforms are noop: a host that calls them meets a trap"
)]
mod plugin {
    use super::*;

    #[handler(shape, wire = 1, description = "Adds x-noop to the request", usage = "Nothing to configure")]
    pub fn shape(request: ShapeRequest) -> ShapeResponse {
        let Upstream::AnthropicDirect { base_url } = request.upstream;
        let stamp = Header { name: "x-noop".into(), value: Box::from(*b"1") };
        ShapeResponse {
            url: base_url.unwrap_or_else(|| "https://noop.test/".into()),
            method: request.method,
            headers: request.headers.into_iter().chain([stamp]).collect(),
            body: request.body,
        }
    }

    #[handler(
        transform_response,
        wire = 1,
        description = "Never called",
        usage = "Nothing to configure",
        mode = "noop"
    )]
    pub fn transform_response(_request: TransformResponseRequest) -> TransformResponseResult {
        core::arch::wasm32::unreachable()
    }

    #[handler(
        transform_sse_event,
        wire = 1,
        description = "Never called",
        usage = "Nothing to configure",
        mode = "noop"
    )]
    pub fn transform_sse_event(_request: TransformSseEventRequest) -> TransformSseEventResult {
        core::arch::wasm32::unreachable()
    }
}
