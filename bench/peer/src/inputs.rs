//! Requests as a load balancer sees them: what recurs in real traffic recurs here, ids, scores, tokens and bodies differ
//! from request to request. ../traffic.mjs makes the same for the package.

use bytes::Bytes;
use cc_lb_plugin_api::types::{CacheScore, Upstream};
use cc_lb_plugin_api::{ObserveEvent, Principal, PrincipalKind, RequestContext, UpstreamCandidate, UpstreamKind};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

const REQUESTS: usize = 512;
const BODY_RING_BYTES: usize = 64 << 20;
const CANDIDATES: u64 = 8;
const USER_AGENTS: [&str; 3] = ["claude-cli/1.0.80 (external, cli)", "anthropic-sdk-python/0.39.0", "node-fetch/3.3.2"];
const BETAS: [&str; 2] = ["prompt-caching-2024-07-31", "prompt-caching-2024-07-31,token-counting-2024-11-01"];

pub struct Input {
    pub context: RequestContext,
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

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.below(values.len() as u64) as usize]
    }

    fn letters(&mut self, count: usize) -> String {
        (0..count).map(|_| (b'a' + self.below(26) as u8) as char).collect()
    }
}

/// 512 requests that share as many bodies as fit into 64 MiB, at least 4 and at most 64.
pub fn ring(body_bytes: usize) -> Vec<Input> {
    let mut rng = Rng(1);
    let count = (BODY_RING_BYTES / body_bytes.max(1)).clamp(4, 64);
    let bodies: Vec<Bytes> = (0..count)
        .map(|_| {
            let bytes: Vec<u8> = (0..body_bytes.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes()).collect();
            Bytes::from(bytes).slice(..body_bytes)
        })
        .collect();
    (0..REQUESTS).map(|index| input(&mut rng, bodies[index % count].clone())).collect()
}

/// The principals, each with what its plugins read.
pub fn principals(count: usize) -> Vec<Principal> {
    (0..count)
        .map(|index| Principal {
            id: format!("tenant-{index}"),
            kind: PrincipalKind::ApiKey,
            claims: [
                ("keep".to_owned(), json!(1 + index % 3)),
                ("plan".to_owned(), json!("team")),
                ("transform".to_owned(), json!("upper")),
            ]
            .into_iter()
            .collect(),
        })
        .collect()
}

/// One of each kind of event that an observer is given in the course of a request.
pub fn observe_events(input: &Input, principal: &Principal) -> [ObserveEvent; 6] {
    [
        ObserveEvent::RequestStarted {
            request_id: input.context.request_id.clone(),
            downstream_user_agent: Some(USER_AGENTS[0].to_owned()),
        },
        ObserveEvent::AuthnComplete { principal_id: principal.id.clone(), kind: principal.kind.clone() },
        ObserveEvent::UpstreamChosen { upstream: input.upstream.clone() },
        ObserveEvent::Chunk { batch_index: 1, event_count: 20, total_bytes: 5_000 },
        ObserveEvent::RequestFinished {
            status: StatusCode::OK,
            input_tokens: Some(1_200),
            output_tokens: Some(300),
            cache_creation_input_tokens: Some(0),
            cache_read_input_tokens: Some(900),
            duration_ms: 1_500,
        },
        ObserveEvent::Error {
            code: "upstream_timeout".to_owned(),
            message: "no answer in time".to_owned(),
            source: "upstream".to_owned(),
        },
    ]
}

fn input(rng: &mut Rng, body: Bytes) -> Input {
    Input {
        context: RequestContext {
            request_id: format!("req_{}", rng.letters(24)),
            downstream_headers: headers(rng),
            method: Method::POST,
            path: "/v1/messages".to_owned(),
            query: Some("beta=true".to_owned()),
            body_bytes: body,
            cache_breakpoints: Vec::new(),
            canonical_model_id: String::new(),
        },
        candidates: (0..CANDIDATES).map(|number| candidate(rng, number)).collect(),
        upstream: Upstream::AnthropicDirect { base_url: Some("https://api.anthropic.com/".parse().expect("URL")) },
    }
}

fn headers(rng: &mut Rng) -> HeaderMap {
    let values = [
        ("accept", "application/json".to_owned()),
        ("accept-encoding", "gzip, deflate, br".to_owned()),
        ("anthropic-beta", rng.pick(&BETAS).to_owned()),
        ("anthropic-version", "2023-06-01".to_owned()),
        ("authorization", format!("Bearer {}", rng.letters(40))),
        ("content-type", "application/json".to_owned()),
        ("user-agent", rng.pick(&USER_AGENTS).to_owned()),
        ("x-app", "cli".to_owned()),
        ("x-forwarded-for", format!("203.0.113.{}", rng.below(256))),
        ("x-request-id", rng.letters(32)),
        ("x-stainless-lang", "js".to_owned()),
        ("x-stainless-os", "Linux".to_owned()),
    ];
    values
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).expect("header value")))
        .collect()
}

fn candidate(rng: &mut Rng, number: u64) -> UpstreamCandidate {
    UpstreamCandidate {
        upstream_id: Uuid::from_u128(0x0190_f2f6_5c0e_7c60_9c0a_6d8f_3f2b_1a00 + u128::from(number)),
        name: format!("upstream-{number}"),
        kind: UpstreamKind::AnthropicApiKey,
        observed_rate_limits: Vec::new(),
        subscription_quotas: Vec::new(),
        observed_at_unix_secs: 1_700_000_000 + rng.below(1_000_000),
        cache_score: Some(CacheScore {
            predicted_cache_read_tokens: rng.below(100_001) as u32,
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
