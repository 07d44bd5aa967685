//! Changes to a whole response.

use super::{header, order};
use alloc::boxed::Box;
use alloc::vec::Vec;
use cc_lb_pdk_wasmtime::types::{Header, TransformResponseRequest, TransformResponseResult};

type Replacement = (Option<u16>, Option<Box<[Header]>>, Option<Box<[u8]>>);

pub fn transform(request: TransformResponseRequest) -> TransformResponseResult {
    let (name, number) = order(&request.principal);
    let upper = || request.body.to_ascii_uppercase().into_boxed_slice();
    let headers = |more: &[Header]| Some(request.response_headers.iter().chain(more).cloned().collect());
    let (status, headers, body): Replacement = match name {
        "status" => (Some(number as u16), None, None),
        "headers" => (None, headers(&[header("x-transformed", b"yes")]), None),
        "no-headers" => (None, Some(Box::default()), None),
        "body" => (None, None, Some(upper())),
        "empty-body" => (None, None, Some(Box::default())),
        "all" => (Some(299), headers(&[header("x-transformed", b"yes")]), Some(upper())),
        "nothing" => (None, None, None),
        "hop-by-hop" => {
            let lines =
                [("connection", "close"), ("Transfer-Encoding", "chunked"), ("content-length", "7"), ("x-kept", "1")];
            (None, headers(&lines.map(|(name, value)| header(name, value.as_bytes()))), None)
        }
        "bad-header-name" => (None, headers(&[header("no spaces", b"")]), None),
        "bad-header-value" => (None, headers(&[header("x-broken", b"a\r\nb")]), None),
        "many-headers" => (None, Some((0..number).map(|_| header("x-many", b"1")).collect()), None),
        "long-header" => (None, headers(&[header("x-long", &Vec::from_iter((0..number).map(|_| b'l')))]), None),
        "large-body" => (None, None, Some((0..number).map(|_| b'b').collect())),
        "trap" => core::arch::wasm32::unreachable(),
        "loop" => loop {
            core::hint::black_box(0);
        },
        _ => return TransformResponseResult::Unchanged,
    };
    TransformResponseResult::Replace { status, headers, body }
}
