//! Measures encoding and decoding in Rust with the request of bench/codec.mjs and its answer, in two forms: rkyv alone,
//! from strings to strings, and as an adapter needs it, from host types (UUIDs, JSON claims, unfiltered headers) and
//! back.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use serde_json::Value;
use uuid::Uuid;

const SAMPLES: usize = 301;
const PER_SAMPLE: u32 = 200;

const HEADERS: [(&str, &str); 10] = [
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br"),
    ("anthropic-beta", "prompt-caching-2024-07-31"),
    ("anthropic-version", "2023-06-01"),
    ("content-type", "application/json"),
    ("user-agent", "claude-cli/1.0.80 (external, cli)"),
    ("x-app", "cli"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-request-id", "0190f2f6-5c0e-7c60-9c0a-6d8f3f2b1a00"),
    ("x-stainless-lang", "js"),
];
const CLAIMS: [(&str, &str); 2] = [("plan", "\"team\""), ("seats", "25")];

fn id(index: usize) -> String {
    format!("0190f2f6-5c0e-7c60-9c0a-6d8f3f2b1a{index:02x}")
}

fn median_nanos(mut step: impl FnMut()) -> f64 {
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..PER_SAMPLE {
                step();
            }
            started.elapsed().as_nanos() as f64 / f64::from(PER_SAMPLE)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[SAMPLES / 2]
}

fn encode_base(ids: &[String], names: &[String], body: &[u8]) -> AlignedVec {
    use wire_0_2::{ClaimRef, FilterRequestRef, HeaderRef, PrincipalRef, QueryRef, UpstreamCandidateRef};
    let headers: Vec<_> = HEADERS.iter().map(|(name, value)| HeaderRef { name, value: value.as_bytes() }).collect();
    let claims: Vec<_> = CLAIMS.iter().map(|(key, value)| ClaimRef { key, value: value.as_bytes() }).collect();
    let candidates: Vec<_> = ids
        .iter()
        .zip(names)
        .map(|(id, name)| UpstreamCandidateRef {
            upstream_id: id,
            name,
            kind: "anthropic_direct",
            observed_at_unix_secs: 1_760_000_000,
            predicted_cache_read_tokens: 1_200,
        })
        .collect();
    let request = FilterRequestRef {
        request_id: "req_011CSHoEeqs5C35K2UUqR7Fy",
        method: "POST",
        path: "/v1/messages",
        query: Some(QueryRef { value: "beta=true" }),
        headers: &headers,
        body,
        principal: PrincipalRef { id: "team-42", kind: "api_key", claims: &claims },
        candidates: &candidates,
    };
    rkyv::to_bytes::<Error>(&request).expect("the request serializes")
}

fn encode_tiered(ids: &[String], names: &[String], body: &[u8]) -> AlignedVec {
    use wire_0_9::{
        CachePricingSummaryRef, ClaimRef, FilterRequestRef, HeaderRef, PrincipalRef, QueryRef, UpstreamCandidateRef,
    };
    let headers: Vec<_> = HEADERS.iter().map(|(name, value)| HeaderRef { name, value: value.as_bytes() }).collect();
    let claims: Vec<_> = CLAIMS.iter().map(|(key, value)| ClaimRef { key, value: value.as_bytes() }).collect();
    let candidates: Vec<_> = ids
        .iter()
        .zip(names)
        .map(|(id, name)| UpstreamCandidateRef {
            upstream_id: id,
            name,
            kind: "anthropic_direct",
            observed_at_unix_secs: 1_760_000_000,
            predicted_cache_read_tokens: 1_200,
            predicted_cache_creation_tokens_5m: 300,
            predicted_cache_creation_tokens_1h: 0,
            predicted_uncached_input_tokens: 40,
            plan_capacity_ratio: 0.75,
            organization_type: "team",
            rate_limit_tier: "tier_3",
            seat_tier: "standard",
        })
        .collect();
    let request = FilterRequestRef {
        request_id: "req_011CSHoEeqs5C35K2UUqR7Fy",
        thread_id: Some(QueryRef { value: "thread_01" }),
        service_tier: Some(QueryRef { value: "priority" }),
        canonical_model_id: "claude-3-haiku-20240307",
        cache_pricing: CachePricingSummaryRef {
            status: "known",
            input_micros_per_million: Some(250_000),
            cache_creation_5m_micros_per_million: Some(300_000),
            cache_creation_1h_micros_per_million: None,
            cache_read_micros_per_million: Some(30_000),
        },
        method: "POST",
        path: "/v1/messages",
        query: Some(QueryRef { value: "beta=true" }),
        headers: &headers,
        body,
        principal: PrincipalRef { id: "team-42", kind: "api_key", claims: &claims },
        candidates: &candidates,
    };
    rkyv::to_bytes::<Error>(&request).expect("the request serializes")
}

fn answer(ids: &[String]) -> AlignedVec {
    let results = ids
        .iter()
        .enumerate()
        .map(|(index, id)| wire_0_2::PerCandidateReason {
            upstream_id: id.as_str().into(),
            decision: if index == 0 { "accept" } else { "reject" }.into(),
            reason: if index == 0 { "" } else { "rate_limit: not the warmest cache" }.into(),
        })
        .collect();
    rkyv::to_bytes::<Error>(&wire_0_2::FilterResponse { results }).expect("the answer serializes")
}

/// Decodes as the adapter does: copies to an aligned buffer, checks, and converts to an owned value.
fn decode(bytes: &[u8]) -> Vec<[String; 3]> {
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    let archived = rkyv::access::<wire_0_2::ArchivedFilterResponse, Error>(&aligned).expect("the answer checks");
    archived
        .results
        .iter()
        .map(|result| [result.upstream_id.to_string(), result.decision.to_string(), result.reason.to_string()])
        .collect()
}

/// The request in the types of a Rust host.
struct Host {
    headers: Vec<(String, Vec<u8>)>,
    claims: BTreeMap<String, Value>,
    ids: Vec<Uuid>,
    names: Vec<String>,
    body: Vec<u8>,
}

impl Host {
    fn new(names: &[String], body: &[u8]) -> Self {
        let withheld = [("authorization", "Bearer x"), ("host", "localhost")];
        let headers = HEADERS.iter().chain(&withheld);
        Self {
            headers: headers.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
            claims: CLAIMS
                .iter()
                .map(|(key, value)| ((*key).to_owned(), serde_json::from_str(value).expect("a claim is JSON")))
                .collect(),
            ids: (0..8).map(|index| Uuid::parse_str(&id(index)).expect("an id is a UUID")).collect(),
            names: names.to_vec(),
            body: body.to_vec(),
        }
    }

    fn encode(&self) -> AlignedVec {
        use wire_0_2::{ClaimRef, FilterRequestRef, HeaderRef, PrincipalRef, QueryRef, UpstreamCandidateRef};
        let withheld = ["authorization", "x-api-key", "host", "proxy-authorization"];
        let headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| !withheld.contains(&name.to_ascii_lowercase().as_str()))
            .map(|(name, value)| HeaderRef { name, value })
            .collect();
        let values: Vec<Vec<u8>> =
            self.claims.values().map(|value| serde_json::to_vec(value).expect("a claim serializes")).collect();
        let claims: Vec<_> = self.claims.keys().zip(&values).map(|(key, value)| ClaimRef { key, value }).collect();
        let ids: Vec<String> = self.ids.iter().map(Uuid::to_string).collect();
        let candidates: Vec<_> = ids
            .iter()
            .zip(&self.names)
            .map(|(id, name)| UpstreamCandidateRef {
                upstream_id: id,
                name,
                kind: "anthropic_direct",
                observed_at_unix_secs: 1_760_000_000,
                predicted_cache_read_tokens: 1_200,
            })
            .collect();
        let request = FilterRequestRef {
            request_id: "req_011CSHoEeqs5C35K2UUqR7Fy",
            method: "POST",
            path: "/v1/messages",
            query: Some(QueryRef { value: "beta=true" }),
            headers: &headers,
            body: &self.body,
            principal: PrincipalRef { id: "team-42", kind: "api_key", claims: &claims },
            candidates: &candidates,
        };
        rkyv::to_bytes::<Error>(&request).expect("the request serializes")
    }
}

/// Returns the kept ids, the meanings of the rejections, and the joined reasons.
fn decode_for_host(bytes: &[u8]) -> (Vec<Uuid>, Vec<u8>, String) {
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    let archived = rkyv::access::<wire_0_2::ArchivedFilterResponse, Error>(&aligned).expect("the answer checks");
    let (mut kept, mut rejected, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for result in archived.results.iter() {
        let id = Uuid::parse_str(&result.upstream_id).expect("an id is a UUID");
        if &*result.decision == "accept" {
            kept.push(id);
        } else {
            let label = result.decision.replace('-', "_").to_ascii_lowercase();
            let labels = ["rate_limit", "quota", "unhealthy"];
            rejected.push(labels.iter().position(|known| label.contains(known)).unwrap_or(labels.len()) as u8);
        }
        if !result.reason.is_empty() {
            reasons.push(format!("{}: {}", &*result.upstream_id, &*result.reason));
        }
    }
    (kept, rejected, reasons.join("; "))
}

/// Formats the median nanoseconds per step as one line of JSON, with the bytes in hex for comparison.
pub fn run() -> String {
    let ids: Vec<String> = (0..8).map(id).collect();
    let names: Vec<String> = (0..8).map(|index| format!("upstream-{index}")).collect();
    let body = vec![b'x'; 1024];
    let answer = answer(&ids).to_vec();
    let base = median_nanos(|| {
        black_box(encode_base(black_box(&ids), &names, &body));
    });
    let tiered = median_nanos(|| {
        black_box(encode_tiered(black_box(&ids), &names, &body));
    });
    let decoded = median_nanos(|| {
        black_box(decode(black_box(&answer)));
    });
    let host = Host::new(&names, &body);
    assert_eq!(host.encode()[..], encode_base(&ids, &names, &body)[..]);
    let host_encoded = median_nanos(|| {
        black_box(black_box(&host).encode());
    });
    let host_decoded = median_nanos(|| {
        black_box(decode_for_host(black_box(&answer)));
    });
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!(
        "{{\"encodeBase\":{base:.0},\"encodeTiered\":{tiered:.0},\"decode\":{decoded:.0},\"hostEncode\":{host_encoded:.0},\"hostDecode\":{host_decoded:.0},\"base\":\"{}\",\"tiered\":\"{}\",\"answer\":\"{}\"}}",
        hex(&encode_base(&ids, &names, &body)),
        hex(&encode_tiered(&ids, &names, &body)),
        hex(&answer),
    )
}
