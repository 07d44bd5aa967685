//! The requests that the benchmark sends: of one size, and different from call to call.

use bytes::Bytes;
use cc_lb_plugin_api::types::{CacheScore, Upstream};
use cc_lb_plugin_api::{Principal, PrincipalKind, RequestContext, UpstreamCandidate, UpstreamKind};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;
use uuid::Uuid;

/// What all requests of a measurement have in common.
#[derive(Clone, Copy, PartialEq)]
pub struct Size {
    pub body_bytes: usize,
    pub candidates: usize,
    pub headers: usize,
}

pub struct Input {
    pub context: RequestContext,
    pub principal: Principal,
    pub candidates: Vec<UpstreamCandidate>,
    pub upstream: Upstream,
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn letters(&mut self, count: u64) -> String {
        (0..count).map(|_| (b'a' + (self.next() % 26) as u8) as char).collect()
    }
}

/// As many inputs as fit into 64 MiB of bodies, at most 64 and at least 4.
pub fn ring(size: Size) -> Vec<Input> {
    let length = ((64 << 20) / size.body_bytes.max(1)).clamp(4, 64);
    let mut rng = Rng(1);
    (0..length).map(|_| input(&mut rng, size)).collect()
}

fn input(rng: &mut Rng, size: Size) -> Input {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("authorization", text(&format!("Bearer {}", rng.letters(40))));
    for number in headers.len()..size.headers.max(2) {
        let name = HeaderName::try_from(format!("x-header-{number}")).expect("header name");
        let length = rng.between(8, 40);
        headers.insert(name, text(&rng.letters(length)));
    }
    let body: Vec<u8> = (0..size.body_bytes.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes()).collect();
    Input {
        context: RequestContext {
            request_id: Uuid::from_u64_pair(rng.next(), rng.next()).to_string(),
            downstream_headers: headers,
            method: Method::POST,
            path: "/v1/messages".to_owned(),
            query: Some(format!("beta={}", rng.letters(6))),
            body_bytes: Bytes::from(body).slice(..size.body_bytes),
            cache_breakpoints: Vec::new(),
            canonical_model_id: String::new(),
        },
        principal: Principal {
            id: format!("tenant-{}", rng.between(1, 1000)),
            kind: PrincipalKind::ApiKey,
            claims: [("keep".to_owned(), json!(rng.between(1, 3))), ("plan".to_owned(), json!(rng.letters(8)))]
                .into_iter()
                .collect(),
        },
        candidates: (0..size.candidates).map(|number| candidate(rng, number)).collect(),
        upstream: Upstream::AnthropicDirect { base_url: Some("https://api.anthropic.com/".parse().expect("URL")) },
    }
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("header value")
}

fn candidate(rng: &mut Rng, number: usize) -> UpstreamCandidate {
    UpstreamCandidate {
        upstream_id: Uuid::from_u64_pair(rng.next(), rng.next()),
        name: format!("upstream-{number}"),
        kind: UpstreamKind::AnthropicApiKey,
        observed_rate_limits: Vec::new(),
        subscription_quotas: Vec::new(),
        observed_at_unix_secs: rng.between(1_700_000_000, 1_800_000_000),
        cache_score: Some(CacheScore {
            predicted_cache_read_tokens: rng.between(0, 100_000) as u32,
            predicted_cache_creation_tokens_5m: 0,
            predicted_cache_creation_tokens_1h: 0,
            predicted_uncached_input_tokens: 0,
            predicted_expires_at_unix_secs: None,
            matched_breakpoint_index: None,
            confidence: 0.0,
            ambiguity_reason: None,
        }),
        base_url: None,
    }
}
