//! Runs a case, which is JSON in the form of the Node package, with the adapters of the published crate.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cc_lb_plugin_api::types::{CacheScore, Upstream};
use cc_lb_plugin_api::{DialectError, FilterError, FilterPlugin, ObservabilityError, ObservabilityHook};
use cc_lb_plugin_api::{
    ObserveEvent, Principal, PrincipalKind, RequestContext, SlotKey, UpstreamCandidate, UpstreamKind,
};
use cc_lb_runtime_wasmtime::policy::{PluginWireBounds, ShapeOriginPolicy};
use cc_lb_runtime_wasmtime::{HotEngineConfig, PluginSlot, WasmtimeFilterPlugin, WasmtimeObservabilityHookPlugin};
use cc_lb_runtime_wasmtime::{WasmtimeRuntime, WasmtimeRuntimeError, WasmtimeUpstreamDialect};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Number, Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

pub struct Host {
    runtime: WasmtimeRuntime,
    plugins: PathBuf,
}

impl Host {
    pub fn new(plugins: PathBuf) -> Self {
        Self { runtime: WasmtimeRuntime::with_defaults().expect("engine"), plugins }
    }

    /// The result of the case: `{"ok": …}` or `{"error": {"kind", "text"}}`.
    pub fn run(&self, case: &Value) -> Value {
        let plugin = text(&case["plugin"]);
        let config = Arc::new(config(&case["config"]));
        match case["hook"].as_str() {
            Some("filter") => {
                let slot = self.slot(plugin, WasmtimeRuntime::register_filter, "filter");
                let key = SlotKey::global(plugin);
                filter(&WasmtimeFilterPlugin::new(slot, key, Uuid::nil(), plugin, config), case)
            }
            Some("shape") => {
                let slot = self.slot(plugin, WasmtimeRuntime::register_shape, "shape");
                shape(&WasmtimeUpstreamDialect::new(slot, config), case)
            }
            Some("observe") => {
                let slot = self.slot(plugin, WasmtimeRuntime::register_observe, "observe");
                match WasmtimeObservabilityHookPlugin::new(slot, config).observe(event(&case["event"])) {
                    Ok(()) => json!({ "ok": null }),
                    Err(ObservabilityError::Dropped { reason }) => failure("dropped", reason),
                    Err(other) => failure("queue_full", other.to_string()),
                }
            }
            other => panic!("no such hook: {other:?}"),
        }
    }

    fn slot(&self, plugin: &str, register: Register, kind: &str) -> Arc<PluginSlot> {
        let wasm = std::fs::read(self.plugins.join(format!("{plugin}.wasm"))).expect("plugin file");
        register(&self.runtime, SlotKey::new(kind, plugin), plugin.to_owned(), &wasm).expect("admitted")
    }
}

type Register = fn(&WasmtimeRuntime, SlotKey, String, &[u8]) -> Result<Arc<PluginSlot>, WasmtimeRuntimeError>;

fn failure(kind: &str, text: String) -> Value {
    json!({ "error": { "kind": kind, "text": text } })
}

fn filter(plugin: &WasmtimeFilterPlugin, case: &Value) -> Value {
    let candidates: Vec<_> = items(&case["candidates"]).iter().map(candidate).collect();
    match plugin.filter(&context(&case["ctx"]), &principal(&case["principal"]), &candidates) {
        Ok(output) => json!({ "ok": {
            "keptUpstreamIds": output.kept_upstream_ids,
            "reason": output.reason,
            "perCandidateReasons": output.per_candidate_reasons,
        } }),
        Err(FilterError::Trap { reason }) => failure("trap", reason),
        Err(FilterError::Runtime { reason }) => failure("runtime", reason),
    }
}

fn shape(dialect: &WasmtimeUpstreamDialect, case: &Value) -> Value {
    let (context, principal) = (context(&case["ctx"]), principal(&case["principal"]));
    match cc_lb_plugin_api::shape_request(dialect, &context, &upstream(&case["upstream"]), &principal) {
        Ok(request) => {
            let headers: Vec<_> = request
                .headers()
                .iter()
                .map(|(name, value)| json!([name.as_str(), latin1(value.as_bytes())]))
                .collect();
            let body = request.body();
            json!({ "ok": {
                "url": request.url().as_str(),
                "method": request.method().as_str(),
                "headers": headers,
                "body": if *body == context.body_bytes { json!("same") } else { crate::requests::body(body, 1) },
            } })
        }
        Err(DialectError::UnsupportedRequest { reason }) => failure("unsupported_request", reason),
        Err(DialectError::UpstreamMismatch { reason }) => failure("upstream_mismatch", reason),
        Err(DialectError::InvalidUrl { source }) => failure("invalid_url", source.to_string()),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("text expected, not {value}"))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| byte as char).collect()
}

fn u64_of(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| text(&value["$bigint"]).parse().expect("u64"))
}

pub fn bytes(value: &Value) -> Vec<u8> {
    let once = STANDARD.decode(text(&value["base64"])).expect("base64");
    once.repeat(value["times"].as_u64().unwrap_or(1) as usize)
}

/// Converts `{"$bigint": "…"}` in JSON to integers.
fn revived(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(revived).collect(),
        Value::Object(fields) => match fields.get("$bigint").and_then(Value::as_str) {
            Some(digits) => {
                let number =
                    digits.parse::<u64>().map(Number::from).or_else(|_| digits.parse::<i64>().map(Number::from));
                Value::Number(number.expect("an integer of 64 bits"))
            }
            None => fields.iter().map(|(key, value)| (key.clone(), revived(value))).collect::<Map<_, _>>().into(),
        },
        other => other.clone(),
    }
}

fn context(ctx: &Value) -> RequestContext {
    let mut headers = HeaderMap::new();
    for line in items(&ctx["headers"]) {
        let value: Vec<u8> = text(&line[1]).chars().map(|unit| u8::try_from(unit).expect("latin1")).collect();
        headers.append(
            HeaderName::from_bytes(text(&line[0]).as_bytes()).expect("header name"),
            HeaderValue::from_bytes(&value).expect("header value"),
        );
    }
    RequestContext {
        request_id: text(&ctx["requestId"]).to_owned(),
        downstream_headers: headers,
        method: Method::from_bytes(text(&ctx["method"]).as_bytes()).expect("method"),
        path: text(&ctx["path"]).to_owned(),
        query: ctx["query"].as_str().map(str::to_owned),
        body_bytes: bytes(&ctx["body"]).into(),
        cache_breakpoints: Vec::new(),
        canonical_model_id: String::new(),
    }
}

fn principal(principal: &Value) -> Principal {
    let claims = revived(&principal["claims"]).as_object().cloned().expect("claims");
    Principal { id: text(&principal["id"]).to_owned(), kind: principal_kind(text(&principal["kind"])), claims }
}

fn principal_kind(kind: &str) -> PrincipalKind {
    match kind {
        "api_key" => PrincipalKind::ApiKey,
        "oauth_subject" | "o_auth_subject" => PrincipalKind::OAuthSubject,
        "internal_key" => PrincipalKind::InternalKey,
        "workload_identity" => PrincipalKind::WorkloadIdentity,
        "subscription_bearer" => PrincipalKind::SubscriptionBearer,
        other => panic!("no such principal kind: {other}"),
    }
}

fn candidate(candidate: &Value) -> UpstreamCandidate {
    let tokens = candidate["predictedCacheReadTokens"].as_u64();
    UpstreamCandidate {
        upstream_id: Uuid::parse_str(text(&candidate["upstreamId"])).expect("uuid"),
        name: text(&candidate["name"]).to_owned(),
        kind: match text(&candidate["kind"]) {
            "anthropic_oauth" => UpstreamKind::AnthropicOauth,
            _ => UpstreamKind::AnthropicApiKey,
        },
        observed_rate_limits: Vec::new(),
        subscription_quotas: Vec::new(),
        observed_at_unix_secs: u64_of(&candidate["observedAtUnixSecs"]),
        cache_score: tokens.map(|tokens| CacheScore {
            predicted_cache_read_tokens: u32::try_from(tokens).expect("u32"),
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

fn upstream(upstream: &Value) -> Upstream {
    let base_url = upstream["baseUrl"].as_str().map(|url| url.parse().expect("base URL"));
    Upstream::AnthropicDirect { base_url }
}

fn event(event: &Value) -> ObserveEvent {
    let field = |name: &str| text(&event[name]).to_owned();
    let count = |name: &str| Some(&event[name]).filter(|value| !value.is_null()).map(u64_of);
    match text(&event["type"]) {
        "request_started" => ObserveEvent::RequestStarted {
            request_id: field("requestId"),
            downstream_user_agent: event["downstreamUserAgent"].as_str().map(str::to_owned),
        },
        "authn_complete" => ObserveEvent::AuthnComplete {
            principal_id: field("principalId"),
            kind: principal_kind(text(&event["principalKind"])),
        },
        "upstream_chosen" => ObserveEvent::UpstreamChosen { upstream: upstream(&event["upstream"]) },
        "chunk" => ObserveEvent::Chunk {
            batch_index: u64_of(&event["batchIndex"]),
            event_count: u64_of(&event["eventCount"]) as usize,
            total_bytes: u64_of(&event["totalBytes"]) as usize,
        },
        "request_finished" => ObserveEvent::RequestFinished {
            status: StatusCode::from_u16(event["status"].as_u64().expect("status") as u16).expect("status"),
            input_tokens: count("inputTokens"),
            output_tokens: count("outputTokens"),
            cache_creation_input_tokens: count("cacheCreationInputTokens"),
            cache_read_input_tokens: count("cacheReadInputTokens"),
            duration_ms: u64_of(&event["durationMs"]),
        },
        "error" => ObserveEvent::Error { code: field("code"), message: field("message"), source: field("source") },
        other => panic!("no such event: {other}"),
    }
}

fn config(overrides: &Value) -> HotEngineConfig {
    let bounds = &overrides["wireBounds"];
    let defaults = PluginWireBounds::default();
    let small = |name: &str, default: u32| bounds[name].as_u64().map_or(default, |value| value as u32);
    HotEngineConfig {
        cookie_redaction: overrides["cookieRedaction"].as_bool().unwrap_or(false),
        shape_origin_policy: match overrides["shapeOriginPolicy"].as_str() {
            Some("selected-upstream-origin") => ShapeOriginPolicy::SelectedUpstreamOrigin,
            _ => ShapeOriginPolicy::Unrestricted,
        },
        wire_bounds: PluginWireBounds {
            output_body_bytes: bounds["outputBodyBytes"].as_u64().unwrap_or(defaults.output_body_bytes),
            max_headers: small("maxHeaders", defaults.max_headers),
            max_header_value_bytes: small("maxHeaderValueBytes", defaults.max_header_value_bytes),
            reason_bytes: small("reasonBytes", defaults.reason_bytes),
        },
        ..HotEngineConfig::default()
    }
}
