//! Says back every field that PDK 0.1.0 shows a plugin.
#![no_std]
extern crate alloc;

use cc_lb_pdk_wasmtime::types;
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};

#[path = "../../../shared/checked_event.rs"]
mod checked_event;
#[path = "../../../shared/json.rs"]
mod json;
#[path = "../../../shared/report.rs"]
mod report;

use report::report_fields;
use types::{FilterRequest, UpstreamCandidate};

report_fields! {
    FilterRequest {
        request_id, method, path, query, headers, body, principal,
    }
    UpstreamCandidate {
        upstream_id, name, kind, observed_at_unix_secs, predicted_cache_read_tokens,
    }
}

#[cc_lb_plugin(
    name = "report-0-1-0",
    version = "1.0.0",
    description = "Reports every field of a request, as PDK 0.1.0 shows it",
    usage = "For tests of a host: compare the report with what was sent"
)]
mod plugin {
    use super::types::*;
    use super::*;

    #[handler(
        filter,
        wire = 1,
        description = "Rejects all, the reasons being the report",
        usage = "Nothing to configure"
    )]
    pub fn filter(request: FilterRequest) -> FilterResponse {
        report::filter(request)
    }

    #[handler(shape, wire = 1, description = "Sends the report as the body", usage = "Nothing to configure")]
    pub fn shape(request: ShapeRequest) -> ShapeResponse {
        report::shape(request)
    }

    #[handler(observe, wire = 1, description = "Traps unless the event is consistent", usage = "Nothing to configure")]
    pub fn observe(event: ObserveEvent) {
        checked_event::observe(event);
    }
}
