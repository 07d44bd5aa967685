//! The filter adapter's two codec steps by themselves. The crate keeps them private, so they are rebuilt here from the
//! published wire types and rkyv: the same fields out of the same inputs, the same allocations.

use crate::inputs::Input;
use cc_lb_plugin_api::{FilterOutput, PerCandidateReason};
use cc_lb_plugin_wire::UpstreamCandidateRef;
use cc_lb_plugin_wire::{ArchivedFilterResponse, ClaimRef, FilterRequestRef, HeaderRef, PrincipalRef, QueryRef};
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use uuid::Uuid;

const HIDDEN: [&str; 4] = ["authorization", "x-api-key", "host", "proxy-authorization"];
const REASON_BYTES: usize = 256;

/// Borrows the input into the wire's request and serialises it.
pub fn encode(input: &Input) -> AlignedVec {
    let context = &input.context;
    let kind = serde_json::to_value(&input.principal.kind).expect("kind");
    let claims: Vec<(&str, Vec<u8>)> = input
        .principal
        .claims
        .iter()
        .map(|(key, value)| (key.as_str(), serde_json::to_vec(value).expect("claim")))
        .collect();
    let claims: Vec<ClaimRef<'_>> = claims.iter().map(|(key, value)| ClaimRef { key, value }).collect();
    let visible = |name: &str| !HIDDEN.contains(&name.to_ascii_lowercase().as_str());
    let headers: Vec<HeaderRef<'_>> = context
        .downstream_headers
        .iter()
        .filter(|(name, _)| visible(name.as_str()))
        .map(|(name, value)| HeaderRef { name: name.as_str(), value: value.as_bytes() })
        .collect();
    let ids: Vec<String> = input.candidates.iter().map(|candidate| candidate.upstream_id.to_string()).collect();
    let candidates: Vec<UpstreamCandidateRef<'_>> = input
        .candidates
        .iter()
        .zip(&ids)
        .map(|(candidate, id)| UpstreamCandidateRef {
            upstream_id: id,
            name: &candidate.name,
            kind: candidate.kind.as_str(),
            observed_at_unix_secs: candidate.observed_at_unix_secs,
            predicted_cache_read_tokens: candidate
                .cache_score
                .as_ref()
                .map_or(0, |score| score.predicted_cache_read_tokens),
        })
        .collect();
    let request = FilterRequestRef {
        request_id: &context.request_id,
        method: context.method.as_str(),
        path: &context.path,
        query: context.query.as_deref().map(|value| QueryRef { value }),
        headers: &headers,
        body: &context.body_bytes,
        principal: PrincipalRef { id: &input.principal.id, kind: kind.as_str().expect("text"), claims: &claims },
        candidates: &candidates,
    };
    rkyv::to_bytes::<Error>(&request).expect("archive")
}

/// Aligns the answer, validates it and turns it into the adapter's output.
pub fn decode(answer: &[u8]) -> FilterOutput {
    let mut aligned = AlignedVec::<16>::with_capacity(answer.len());
    aligned.extend_from_slice(answer);
    let response = rkyv::access::<ArchivedFilterResponse, Error>(&aligned).expect("answer");
    let mut output =
        FilterOutput { kept_upstream_ids: Vec::new(), reason: String::new(), per_candidate_reasons: Vec::new() };
    let mut reasons = Vec::new();
    for result in response.results.iter() {
        let id = Uuid::parse_str(&result.upstream_id).expect("id");
        match &*result.decision {
            "accept" => output.kept_upstream_ids.push(id),
            decision => output.per_candidate_reasons.push(rejection(decision)),
        }
        if !result.reason.is_empty() {
            let end = result.reason.floor_char_boundary(REASON_BYTES);
            reasons.push(format!("{}: {}", &*result.upstream_id, &result.reason[..end]));
        }
    }
    output.reason = reasons.join("; ");
    output
}

fn rejection(decision: &str) -> PerCandidateReason {
    let label = decision.replace('-', "_").to_ascii_lowercase();
    if label.contains("rate_limit") {
        PerCandidateReason::RateLimited
    } else if label.contains("quota") {
        PerCandidateReason::InsufficientQuota
    } else if label.contains("unhealthy") {
        PerCandidateReason::Unhealthy
    } else {
        PerCandidateReason::RejectedByPlugin
    }
}
