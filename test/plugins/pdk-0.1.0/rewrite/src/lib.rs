//! Turns the client's request into the one that its upstream wants.
#![no_std]
extern crate alloc;

use alloc::boxed::Box;
use alloc::string::String;
use cc_lb_pdk_wasmtime::types::{Header, ShapeRequest, ShapeResponse, Upstream};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

const DEFAULT_BASE_URL: &str = "https://api.anthropic.com";
/// What concerns the hop to the load balancer and not the upstream.
const DROPPED: [&str; 4] = ["cookie", "forwarded", "x-forwarded-for", "x-request-start"];

#[cc_lb_plugin(
    name = "rewrite",
    version = "1.0.0",
    description = "Rewrites a request for its upstream",
    usage = "Register as the shape plugin of a principal; no claims are read"
)]
mod plugin {
    use super::*;

    #[handler(
        shape,
        wire = 1,
        description = "Base URL + path + query, without client-side headers, with x-shaped-by",
        usage = "Nothing to configure"
    )]
    pub fn shape(request: ShapeRequest) -> ShapeResponse {
        let stamp = Header { name: "x-shaped-by".into(), value: Box::from(*b"rewrite/1.0.0") };
        let headers = request.headers.into_iter().filter(|header| !DROPPED.contains(&&*header.name));
        ShapeResponse {
            url: upstream_url(&request.upstream, &request.path, request.query.as_deref()),
            method: request.method,
            headers: headers.chain([stamp]).collect(),
            body: request.body,
        }
    }
}

fn upstream_url(upstream: &Upstream, path: &str, query: Option<&str>) -> Box<str> {
    let Upstream::AnthropicDirect { base_url } = upstream;
    let base = base_url.as_deref().unwrap_or(DEFAULT_BASE_URL).trim_end_matches('/');
    let mut url = String::from(base);
    url.push_str(path);
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    url.into()
}
