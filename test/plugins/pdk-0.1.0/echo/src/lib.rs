//! The least that a shape plugin can do: everything goes on as it came. Benchmarks measure with it.
#![no_std]
extern crate alloc;

#[cfg(feature = "static-data")]
#[path = "../../../shared/static_data.rs"]
mod static_data;

use alloc::string::String;
use cc_lb_pdk_wasmtime::types::{ShapeRequest, ShapeResponse, Upstream};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

#[cc_lb_plugin(
    name = "echo",
    version = "1.0.0",
    description = "Sends method, headers and body on unchanged",
    usage = "A baseline for benchmarks; no claims are read"
)]
mod plugin {
    use super::*;

    #[handler(
        shape,
        wire = 1,
        description = "Unchanged request to base URL + path",
        usage = "Nothing to configure; the query is left out"
    )]
    pub fn shape(request: ShapeRequest) -> ShapeResponse {
        #[cfg(feature = "static-data")]
        static_data::read(request.body.len());
        let Upstream::AnthropicDirect { base_url } = &request.upstream;
        let base = base_url.as_deref().unwrap_or("https://echo.test").trim_end_matches('/');
        let mut url = String::with_capacity(base.len() + request.path.len());
        url.push_str(base);
        url.push_str(&request.path);
        ShapeResponse { url: url.into(), method: request.method, headers: request.headers, body: request.body }
    }
}
