//! Varied requests as JSON in the form of the Node package. Integers that JavaScript cannot hold are `{"$bigint":
//! "…"}`, bodies `{"base64": "…", "times": n}`, header values latin1 code units.

use crate::rng::Rng;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

const WORDS: [&str; 16] = [
    "",
    "a",
    "tenant-a",
    "Ünïcödé",
    "日本語",
    "🦀🚀",
    "quote\"and\\slash",
    "tab\there",
    "line\nbreak",
    "nul\0in",
    "\u{feff}bom",
    " spaced ",
    "ｅ",
    "zz",
    "9",
    "10",
];
const PATHS: [&str; 10] = [
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/",
    "",
    "/a/../b/./c",
    "/with space",
    "/%7Eescaped%2Fslash",
    "/ünï/日本",
    "//double//slash",
    "/semi;colon,comma:colon@at",
];
const METHODS: [&str; 8] = ["POST", "GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "purge-Cache"];
const NAMES: [&str; 24] = [
    "content-type",
    "Content-Type",
    "ACCEPT",
    "user-agent",
    "x-request-id",
    "X-Custom",
    "x-custom",
    "anthropic-version",
    "anthropic-beta",
    "authorization",
    "Authorization",
    "x-api-key",
    "X-API-Key",
    "host",
    "Proxy-Authorization",
    "cookie",
    "Cookie",
    "connection",
    "transfer-encoding",
    "x-anthropic-secret",
    "forwarded",
    "x-forwarded-for",
    "te",
    "!#$%&'*+-.^_`|~09",
];
const VALUES: [&str; 10] = [
    "",
    "application/json",
    "Bearer secret",
    " leading and trailing ",
    "tab\tinside",
    "caf\u{e9}",
    "\u{80}\u{ff}",
    "a, b, c",
    "2023-06-01",
    "x",
];
const KINDS: [&str; 5] = ["api_key", "oauth_subject", "internal_key", "workload_identity", "subscription_bearer"];
const BASE_URLS: [&str; 12] = [
    "https://api.anthropic.com",
    "https://api.anthropic.com/",
    "http://127.0.0.1:8080",
    "https://gateway.example/prefix/",
    "https://gateway.example/prefix",
    "HTTPS://Upper.Example:443/A/../B",
    "https://user:pass@host.example/",
    "http://[::1]:3000/",
    "https://bücher.example/",
    "https://host.example/?base=query",
    "https://host.example/#fragment",
    "http://host.example:80/x%20y",
];

pub fn body(bytes: &[u8], times: usize) -> Value {
    match times {
        1 => json!({ "base64": STANDARD.encode(bytes) }),
        _ => json!({ "base64": STANDARD.encode(bytes), "times": times }),
    }
}

pub fn integer(value: u64) -> Value {
    if value <= 1 << 53 { json!(value) } else { json!({ "$bigint": value.to_string() }) }
}

pub fn uuid(rng: &mut Rng) -> String {
    uuid::Uuid::from_u64_pair(rng.next(), rng.next()).to_string()
}

fn headers(rng: &mut Rng) -> Value {
    let count = *rng.pick(&[0, 1, 2, 3, 5, 8, 13, 30]);
    (0..count).map(|_| json!([rng.pick(&NAMES), rng.pick(&VALUES)])).collect()
}

/// A request context whose body is at most `max_bytes` bytes.
pub fn context(rng: &mut Rng, max_bytes: usize) -> Value {
    let length = [0, 1, 7, 60, 300, 1000, 4096, 65_536][rng.below(8) as usize].min(max_bytes);
    // A long body repeats a short one, which keeps the files small.
    let body = match length {
        0..=300 => body(&rng.bytes(length), 1),
        _ => body(&rng.bytes(length / 50), 50),
    };
    let mut context = json!({
        "requestId": format!("req-{}{}", rng.below(1000), rng.pick(&WORDS)),
        "method": rng.pick(&METHODS),
        "path": rng.pick(&PATHS),
        "headers": headers(rng),
        "body": body,
    });
    match rng.below(4) {
        0 => context["query"] = json!(""),
        1 => context["query"] = json!("beta=true&x=%20y"),
        2 => context["query"] = json!(format!("q={}", rng.pick(&WORDS))),
        _ => {}
    }
    context
}

fn claim(rng: &mut Rng, depth: u32) -> Value {
    match rng.below(if depth == 0 { 10 } else { 13 }) {
        0 => Value::Null,
        1 => json!(rng.once_in(2)),
        2 => json!(rng.below(100)),
        3 => json!(-(rng.below(1 << 40) as i64)),
        4 => integer(
            rng.pick(&[1 << 53, (1 << 53) + 1, u64::MAX, i64::MAX as u64, 10_000_000_000_000_000_000]).to_owned(),
        ),
        5 => json!({ "$bigint": rng.pick(&[i64::MIN, -(1 << 53) - 1]).to_string() }),
        6 => json!(rng.pick(&[
            0.5,
            -0.25,
            1e-6,
            1e-7,
            1e20,
            1e21,
            1.7976931348623157e308,
            5e-324,
            0.1,
            123456.789,
            1.5e300
        ])),
        7..=9 => json!(rng.pick(&WORDS)),
        10 => (0..rng.below(4)).map(|_| claim(rng, depth - 1)).collect(),
        _ => Value::Object((0..rng.below(6)).map(|_| (key(rng), claim(rng, depth - 1))).collect()),
    }
}

/// Keys whose order differs between UTF-16 and UTF-8, and between numbers and text.
fn key(rng: &mut Rng) -> String {
    (*rng
        .pick(&["keep", "b", "a", "B", "10", "9", "ｅ", "😀", "é", "\u{0}", "nested", "\"", "scope", "z.z", "_", "aa"]))
    .to_owned()
}

pub fn principal(rng: &mut Rng) -> Value {
    let mut claims: Map<String, Value> = (0..rng.below(7)).map(|_| (key(rng), claim(rng, 3))).collect();
    if rng.once_in(2) {
        claims.insert("keep".to_owned(), json!(rng.below(12)));
    }
    json!({ "id": format!("p{}", rng.pick(&WORDS)), "kind": rng.pick(&KINDS), "claims": claims })
}

pub fn candidates(rng: &mut Rng) -> Value {
    let count = *rng.pick(&[0, 1, 2, 3, 5, 8, 8, 20, 40]);
    (0..count)
        .map(|_| {
            let mut candidate = json!({
                "upstreamId": spelled(rng),
                "name": format!("up-{}", rng.pick(&WORDS)),
                "kind": rng.pick(&["anthropic_api_key", "anthropic_oauth"]),
                "observedAtUnixSecs": integer(*rng.pick(&[0, 1, 1_700_000_000, u64::MAX, 1 << 53, (1 << 53) + 1])),
            });
            if !rng.once_in(4) {
                candidate["predictedCacheReadTokens"] = json!(rng.pick(&[0, 1, 100, 100, 2048, 50_000, u32::MAX]));
            }
            candidate
        })
        .collect()
}

/// A UUID in one of the accepted spellings.
fn spelled(rng: &mut Rng) -> String {
    let id = uuid(rng);
    match rng.below(8) {
        0 => id.to_uppercase(),
        1 => id.replace('-', ""),
        2 => format!("{{{id}}}"),
        3 => format!("urn:uuid:{id}"),
        _ => id,
    }
}

pub fn upstream(rng: &mut Rng) -> Value {
    match rng.below(6) {
        0 => json!({ "kind": "anthropic_direct" }),
        _ => json!({ "kind": "anthropic_direct", "baseUrl": rng.pick(&BASE_URLS) }),
    }
}

/// Overrides of the default config, often none.
pub fn config(rng: &mut Rng) -> Value {
    let mut config = json!({});
    if rng.once_in(3) {
        config["cookieRedaction"] = json!(true);
    }
    if rng.once_in(3) {
        config["shapeOriginPolicy"] = json!("selected-upstream-origin");
    }
    if rng.once_in(6) {
        config["wireBounds"] = json!({ "reasonBytes": rng.below(40) });
    }
    config
}
