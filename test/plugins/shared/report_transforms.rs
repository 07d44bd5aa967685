//! The transforms of a plugin that reports everything that it receives.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::report::{report_fields, to_json};
use super::types::{SseEvent, TransformResponseRequest, TransformResponseResult};
use super::types::{TransformSseEventRequest, TransformSseEventResult};

report_fields! {
    SseEvent { event, data }
    TransformResponseRequest {
        request_id, principal, upstream, request_method, request_path, canonical_model_id, response_status,
        response_headers, body,
    }
    TransformSseEventRequest {
        request_id, principal, upstream, request_method, request_path, canonical_model_id, response_status,
        response_headers, event,
    }
}

/// Replaces the body by the report and nothing else.
pub fn transform_response(request: TransformResponseRequest) -> TransformResponseResult {
    TransformResponseResult::Replace { status: None, headers: None, body: Some(bytes(&to_json(&request))) }
}

/// Replaces the event by one named `report` that holds the report.
pub fn transform_sse_event(request: TransformSseEventRequest) -> TransformSseEventResult {
    let event = SseEvent { event: "report".into(), data: bytes(&to_json(&request)) };
    TransformSseEventResult::Replace { events: [event].into() }
}

fn bytes(text: &str) -> Box<[u8]> {
    Vec::from(text.as_bytes()).into()
}
