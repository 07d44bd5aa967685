//! The decision that both versions of the plugin share.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use cc_lb_pdk_wasmtime::types::{ArchivedFilterRequest, FilterResponse, PerCandidateReason};

/// Keeps the `keep` candidates with the most predicted cache-read tokens; of equals, those offered first.
/// The answer names every candidate, in the order in which they were offered.
pub fn keep_most_cached(request: &ArchivedFilterRequest, default_keep: usize) -> FilterResponse {
    let keep = claimed_keep(request).unwrap_or(default_keep);
    let tokens: Vec<u32> =
        request.candidates.iter().map(|candidate| candidate.predicted_cache_read_tokens.to_native()).collect();
    let mut ranking: Vec<usize> = (0..tokens.len()).collect();
    ranking.sort_by_key(|&index| core::cmp::Reverse(tokens[index]));
    let mut kept = Vec::from_iter(tokens.iter().map(|_| false));
    for &index in ranking.iter().take(keep) {
        kept[index] = true;
    }
    let bar = ranking.get(keep.wrapping_sub(1)).map(|&index| tokens[index]);

    let results = request.candidates.iter().enumerate().map(|(index, candidate)| PerCandidateReason {
        upstream_id: Box::from(candidate.upstream_id.as_ref()),
        decision: Box::from(if kept[index] { "accept" } else { "reject" }),
        reason: match bar {
            _ if kept[index] => Box::default(),
            Some(bar) => format!("{} cached tokens, {bar} needed", tokens[index]).into(),
            None => Box::from("none is kept"),
        },
    });
    FilterResponse { results: results.collect() }
}

/// The claim `keep` when it is a JSON integer without sign, fraction or exponent; anything else counts as absent.
fn claimed_keep(request: &ArchivedFilterRequest) -> Option<usize> {
    let claim = request.principal.claims.iter().find(|claim| claim.key.as_ref() == "keep")?;
    let digits = core::str::from_utf8(claim.value.as_ref()).ok()?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(usize::MAX))
}
