//! Changes to one server-sent event.

use super::{claim, order};
use alloc::boxed::Box;
use alloc::vec::Vec;
use cc_lb_pdk_wasmtime::types::{SseEvent, TransformSseEventRequest, TransformSseEventResult};

pub fn transform(request: TransformSseEventRequest) -> TransformSseEventResult {
    let (name, number) = order(&request.principal);
    let only = claim(&request.principal, "event");
    if !only.is_empty() && only != &*request.event.event {
        return TransformSseEventResult::Unchanged;
    }
    let event = request.event;
    let events: Box<[SseEvent]> = match name {
        "drop" => return TransformSseEventResult::Drop,
        "no-events" => Box::default(),
        "upper" => [SseEvent { data: event.data.to_ascii_uppercase().into(), ..event }].into(),
        "rename" => [SseEvent { event: "renamed".into(), ..event }].into(),
        "no-name" => [SseEvent { event: Box::default(), ..event }].into(),
        "repeat" => (0..number).map(|_| event.clone()).collect(),
        "lines" => [SseEvent { data: Box::from(*b"one\ntwo\r\nthree\rfour\n"), ..event }].into(),
        "name-with-line-break" => [SseEvent { event: "a\ndata: injected".into(), ..event }].into(),
        "not-utf8" => [SseEvent { data: Box::from(*b"\xff\xfe"), ..event }].into(),
        "large" => [SseEvent { data: Vec::from_iter((0..number).map(|_| b'd')).into(), ..event }].into(),
        "trap" => core::arch::wasm32::unreachable(),
        "loop" => loop {
            core::hint::black_box(0);
        },
        _ => return TransformSseEventResult::Unchanged,
    };
    TransformSseEventResult::Replace { events }
}
