#![no_std]
extern crate alloc;

use alloc::boxed::Box;
use cc_lb_pdk_wasmtime::types::{FilterRequest, FilterResponse, PerCandidateReason};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

#[cc_lb_plugin(
    name = "no-staging",
    version = "1.0.0",
    description = "Rejects upstreams whose name starts with `staging-`",
    usage = "No claims are read"
)]
mod plugin {
    use super::*;

    #[handler(filter, wire = 1, description = "Decides by name", usage = "No claims are read")]
    pub fn filter(request: FilterRequest) -> FilterResponse {
        let results = request.candidates.into_iter().map(|candidate| {
            let rejected = candidate.name.starts_with("staging-");
            PerCandidateReason {
                upstream_id: candidate.upstream_id,
                decision: Box::from(if rejected { "reject" } else { "accept" }),
                reason: Box::from(if rejected { "a staging upstream" } else { "" }),
            }
        });
        FilterResponse { results: results.collect() }
    }
}
