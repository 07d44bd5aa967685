//! Says back everything that a request holds. The including crate provides `types`, its wire types, and lists with
//! `report_fields!` what is in them, so that the fields of each wire schema are listed once.
//!
//! In JSON: text is a string, u64 a string of decimal digits, smaller integers numbers, f64 a string of its 16 hex
//! digits (IEEE 754), bytes a string of hex digits, an absent value null.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::json::Json;
use super::types::{Claim, FilterRequest, FilterResponse, Header, PerCandidateReason, Principal, ShapeRequest};
use super::types::{ShapeResponse, Upstream};

pub trait Report {
    fn report(&self, out: &mut Json);
}

/// Implements `Report` for a struct as an object of the named fields.
macro_rules! report_fields {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {
        $(impl $crate::report::Report for $name {
            fn report(&self, out: &mut $crate::json::Json) {
                out.open('{');
                $(out.key(stringify!($field));
                $crate::report::Report::report(&self.$field, out);)+
                out.close('}');
            }
        })+
    };
}
pub(crate) use report_fields;

report_fields! {
    Claim { key, value }
    Header { name, value }
    Principal { id, kind, claims }
    ShapeRequest { request_id, method, path, query, headers, body, principal, upstream }
}

impl Report for Upstream {
    fn report(&self, out: &mut Json) {
        let Upstream::AnthropicDirect { base_url } = self;
        out.open('{');
        out.key("kind");
        out.string("anthropic_direct");
        out.key("base_url");
        base_url.report(out);
        out.close('}');
    }
}

impl Report for Box<str> {
    fn report(&self, out: &mut Json) {
        out.string(self);
    }
}

impl Report for Box<[u8]> {
    fn report(&self, out: &mut Json) {
        out.hex(self);
    }
}

impl Report for u16 {
    fn report(&self, out: &mut Json) {
        out.raw(&self.to_string());
    }
}

impl Report for u32 {
    fn report(&self, out: &mut Json) {
        out.raw(&self.to_string());
    }
}

impl Report for u64 {
    fn report(&self, out: &mut Json) {
        out.string(&self.to_string());
    }
}

impl Report for f64 {
    fn report(&self, out: &mut Json) {
        out.string(&format!("{:016x}", self.to_bits()));
    }
}

impl<T: Report> Report for Option<T> {
    fn report(&self, out: &mut Json) {
        match self {
            Some(value) => value.report(out),
            None => out.raw("null"),
        }
    }
}

impl<T: Report> Report for Box<[T]> {
    fn report(&self, out: &mut Json) {
        out.open('[');
        for item in self {
            item.report(out);
        }
        out.close(']');
    }
}

pub fn to_json(value: &impl Report) -> Box<str> {
    let mut out = Json::default();
    value.report(&mut out);
    out.0.into()
}

/// The id under which the request itself is reported.
const REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Rejects everything: the first reason holds the request under the nil UUID, then comes one per candidate.
pub fn filter(request: FilterRequest) -> FilterResponse {
    let reject = |id: &str, reason| PerCandidateReason { upstream_id: id.into(), decision: "report".into(), reason };
    let mut results = Vec::from([reject(REQUEST_ID, to_json(&request))]);
    results.extend(request.candidates.iter().map(|candidate| reject(&candidate.upstream_id, to_json(candidate))));
    FilterResponse { results: results.into() }
}

/// Sends the report as the body, to the base URL.
pub fn shape(request: ShapeRequest) -> ShapeResponse {
    let body = Vec::from(to_json(&request).as_bytes()).into();
    let Upstream::AnthropicDirect { base_url } = request.upstream;
    ShapeResponse {
        url: base_url.unwrap_or_else(|| "https://report.test/".into()),
        method: "REPORT".into(),
        headers: [Header { name: "x-report".into(), value: Box::from(*b"shape") }].into(),
        body,
    }
}
