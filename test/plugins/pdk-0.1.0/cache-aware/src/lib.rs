//! Sends a request where its prompt is most likely cached.
#![no_std]
extern crate alloc;

mod keep;
#[cfg(feature = "static-data")]
#[path = "../../../shared/static_data.rs"]
mod static_data;

use cc_lb_pdk_wasmtime::types::{ArchivedFilterRequest, FilterResponse};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

#[cc_lb_plugin(
    name = "cache-aware",
    version = "1.0.0",
    description = "Keeps the upstreams that have most of the prompt cached",
    usage = "Claim `keep` (JSON number, default 1) says how many upstreams stay"
)]
mod plugin {
    use super::*;

    // The archived view spares the guest a copy of the body, which it never reads.
    #[handler(
        filter,
        wire = 1,
        description = "Ranks candidates by predicted cache-read tokens",
        usage = "Claim `keep`: how many to keep, default 1",
        view
    )]
    pub fn filter(request: &ArchivedFilterRequest) -> FilterResponse {
        #[cfg(feature = "static-data")]
        static_data::read(request.body.len());
        keep::keep_most_cached(request, 1)
    }
}
