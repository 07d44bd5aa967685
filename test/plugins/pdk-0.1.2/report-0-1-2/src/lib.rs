//! Says back every field that PDK 0.1.2 shows a plugin.
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
#[path = "../../../shared/report_transforms.rs"]
mod report_transforms;

use report::report_fields;
use types::{CachePricingSummary, FilterRequest, UpstreamCandidate};

report_fields! {
    CachePricingSummary {
        status, input_micros_per_million, cache_creation_5m_micros_per_million, cache_creation_1h_micros_per_million,
        cache_read_micros_per_million,
    }
    FilterRequest {
        request_id, thread_id, service_tier, canonical_model_id, cache_pricing, method, path, query, headers, body,
        principal,
    }
    UpstreamCandidate {
        upstream_id, name, kind, observed_at_unix_secs, predicted_cache_read_tokens, predicted_cache_creation_tokens_5m,
        predicted_cache_creation_tokens_1h, predicted_uncached_input_tokens, plan_capacity_ratio, organization_type,
        rate_limit_tier, seat_tier,
    }
}

#[cc_lb_plugin(
    name = "report-0-1-2",
    version = "1.0.0",
    description = "Reports every field of a request, as PDK 0.1.2 shows it",
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

    #[handler(
        transform_response,
        wire = 1,
        description = "Puts the report in place of the body",
        usage = "Nothing to configure"
    )]
    pub fn transform_response(request: TransformResponseRequest) -> TransformResponseResult {
        report_transforms::transform_response(request)
    }

    #[handler(
        transform_sse_event,
        wire = 1,
        description = "Puts the report in place of the event",
        usage = "Nothing to configure"
    )]
    pub fn transform_sse_event(request: TransformSseEventRequest) -> TransformSseEventResult {
        report_transforms::transform_sse_event(request)
    }
}
