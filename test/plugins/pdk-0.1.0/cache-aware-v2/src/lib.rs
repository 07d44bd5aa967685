//! Sends a request where its prompt is most likely cached; keeps two upstreams by default.
#![no_std]
extern crate alloc;

#[path = "../../cache-aware/src/keep.rs"]
mod keep;

use cc_lb_pdk_wasmtime::types::{ArchivedFilterRequest, FilterResponse};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

#[cc_lb_plugin(
    name = "cache-aware",
    version = "2.0.0",
    description = "Keeps the upstreams that have most of the prompt cached",
    usage = "Claim `keep` (JSON number, default 2) says how many upstreams stay"
)]
mod plugin {
    use super::*;

    // The archived view spares the guest a copy of the body, which it never reads.
    #[handler(
        filter,
        wire = 1,
        description = "Ranks candidates by predicted cache-read tokens",
        usage = "Claim `keep`: how many to keep, default 2",
        view
    )]
    pub fn filter(request: &ArchivedFilterRequest) -> FilterResponse {
        keep::keep_most_cached(request, 2)
    }
}
