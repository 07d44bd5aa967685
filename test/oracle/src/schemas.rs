//! The published wire crates: descriptions of their types, and the list of their root types.

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;

use crate::random::Random;
use crate::wire::{Wire, print_latin1, print_text};

/// The verdict on a buffer.
pub enum Verdict {
    Rejected,
    /// The value as canonical JSON, and whether rkyv writes the same bytes for it.
    Accepted {
        value: String,
        canonical: bool,
    },
}

/// A root type of one wire crate.
pub struct Root {
    pub wire: &'static str,
    pub name: &'static str,
    pub size: usize,
    pub align: usize,
    pub judge: fn(&AlignedVec) -> Verdict,
    pub sample: fn(&mut Random) -> AlignedVec,
}

/// A hook's fingerprint as one wire crate computes it.
pub struct Fingerprint {
    pub wire: &'static str,
    pub hook: &'static str,
    pub bytes: [u8; 32],
}

macro_rules! object {
    ($type:path { $($field:ident $name:literal),+ $(,)? }) => {
        impl Wire for $type {
            fn print(&self, out: &mut String) {
                let mut before = '{';
                $(
                    out.push(before);
                    before = ',';
                    out.push_str(concat!("\"", $name, "\":"));
                    self.$field.print(out);
                )+
                let _ = before;
                out.push('}');
            }
            fn sample(random: &mut Random) -> Self {
                Self { $($field: Wire::sample(random)),+ }
            }
        }
    };
}

macro_rules! variants {
    ($type:path, $tag:literal { $($variant:ident $label:literal { $($field:ident $name:literal),* }),+ $(,)? }) => {
        impl Wire for $type {
            fn print(&self, out: &mut String) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        out.push_str(concat!("{\"", $tag, "\":\"", $label, "\""));
                        $(
                            out.push_str(concat!(",\"", $name, "\":"));
                            $field.print(out);
                        )*
                        out.push('}');
                    })+
                }
            }
            fn sample(random: &mut Random) -> Self {
                let makers: &[fn(&mut Random) -> Self] =
                    &[$(|_random| Self::$variant { $($field: Wire::sample(_random)),* }),+];
                makers[random.below(makers.len() as u64) as usize](random)
            }
        }
    };
}

/// The types that are equal in every wire crate.
macro_rules! common {
    ($wire:ident) => {
        impl Wire for $wire::Header {
            fn print(&self, out: &mut String) {
                print_text(&self.name, out);
                out.push(',');
                print_latin1(&self.value, out);
            }
            fn sample(random: &mut Random) -> Self {
                Self { name: Wire::sample(random), value: Wire::sample(random) }
            }
        }
        impl Wire for $wire::Claim {
            fn print(&self, out: &mut String) {
                self.key.print(out);
                out.push(',');
                self.value.print(out);
            }
            fn sample(random: &mut Random) -> Self {
                Self { key: Wire::sample(random), value: Wire::sample(random) }
            }
        }
        impl Wire for $wire::Upstream {
            fn print(&self, out: &mut String) {
                let Self::AnthropicDirect { base_url } = self;
                out.push_str("{\"baseUrl\":");
                base_url.print(out);
                out.push('}');
            }
            fn sample(random: &mut Random) -> Self {
                Self::AnthropicDirect { base_url: Wire::sample(random) }
            }
        }
        object!($wire::Principal { id "id", kind "kind", claims "claims" });
        object!($wire::PerCandidateReason { upstream_id "upstreamId", decision "decision", reason "reason" });
        object!($wire::FilterResponse { results "results" });
        object!($wire::ShapeRequest {
            request_id "requestId", method "method", path "path", query "query", headers "headers", body "body",
            principal "principal", upstream "upstream",
        });
        object!($wire::ShapeResponse { url "url", method "method", headers "headers", body "body" });
    };
}

macro_rules! observe {
    ($wire:ident) => {
        variants!($wire::ObserveEvent, "type" {
            RequestStarted "request_started" { request_id "requestId", downstream_user_agent "downstreamUserAgent" },
            AuthnComplete "authn_complete" { principal_id "principalId", principal_kind "principalKind" },
            UpstreamChosen "upstream_chosen" { upstream "upstream" },
            Chunk "chunk" { batch_index "batchIndex", event_count "eventCount", total_bytes "totalBytes" },
            RequestFinished "request_finished" {
                status "status", input_tokens "inputTokens", output_tokens "outputTokens",
                cache_creation_input_tokens "cacheCreationInputTokens",
                cache_read_input_tokens "cacheReadInputTokens", duration_ms "durationMs"
            },
            Error "error" { code "code", message "message", source "source" },
        });
    };
}

/// The types that wire 0.6 added: plans, pricing and the transforms.
macro_rules! since_0_6 {
    ($wire:ident) => {
        object!($wire::UpstreamCandidate {
            upstream_id "upstreamId", name "name", kind "kind", observed_at_unix_secs "observedAtUnixSecs",
            predicted_cache_read_tokens "predictedCacheReadTokens",
            predicted_cache_creation_tokens_5m "predictedCacheCreationTokens5m",
            predicted_cache_creation_tokens_1h "predictedCacheCreationTokens1h",
            predicted_uncached_input_tokens "predictedUncachedInputTokens",
            plan_capacity_ratio "planCapacityRatio", organization_type "organizationType",
            rate_limit_tier "rateLimitTier", seat_tier "seatTier",
        });
        object!($wire::CachePricingSummary {
            status "status", input_micros_per_million "inputMicrosPerMillion",
            cache_creation_5m_micros_per_million "cacheCreation5mMicrosPerMillion",
            cache_creation_1h_micros_per_million "cacheCreation1hMicrosPerMillion",
            cache_read_micros_per_million "cacheReadMicrosPerMillion",
        });
        object!($wire::SseEvent { event "event", data "data" });
        object!($wire::TransformResponseRequest {
            request_id "requestId", principal "principal", upstream "upstream", request_method "requestMethod",
            request_path "requestPath", canonical_model_id "canonicalModelId", response_status "responseStatus",
            response_headers "responseHeaders", body "body",
        });
        object!($wire::TransformSseEventRequest {
            request_id "requestId", principal "principal", upstream "upstream", request_method "requestMethod",
            request_path "requestPath", canonical_model_id "canonicalModelId", response_status "responseStatus",
            response_headers "responseHeaders", event "event",
        });
        variants!($wire::TransformResponseResult, "kind" {
            Unchanged "unchanged" {},
            Replace "replace" { status "status", headers "headers", body "body" },
        });
        variants!($wire::TransformSseEventResult, "kind" {
            Unchanged "unchanged" {},
            Replace "replace" { events "events" },
            Drop "drop" {},
        });
    };
}

macro_rules! since_0_8 {
    ($wire:ident) => {
        object!($wire::FilterRequest {
            request_id "requestId", thread_id "threadId", service_tier "serviceTier",
            canonical_model_id "canonicalModelId", cache_pricing "cachePricing", method "method", path "path",
            query "query", headers "headers", body "body", principal "principal", candidates "candidates",
        });
    };
}

common!(wire_0_2);
common!(wire_0_6);
common!(wire_0_8);
common!(wire_0_9);
observe!(wire_0_2);
observe!(wire_0_6);
observe!(wire_0_8);
since_0_6!(wire_0_6);
since_0_6!(wire_0_8);
since_0_6!(wire_0_9);
since_0_8!(wire_0_8);
since_0_8!(wire_0_9);

object!(wire_0_2::UpstreamCandidate {
    upstream_id "upstreamId", name "name", kind "kind", observed_at_unix_secs "observedAtUnixSecs",
    predicted_cache_read_tokens "predictedCacheReadTokens",
});
object!(wire_0_2::FilterRequest {
    request_id "requestId", method "method", path "path", query "query", headers "headers", body "body",
    principal "principal", candidates "candidates",
});
object!(wire_0_6::FilterRequest {
    request_id "requestId", thread_id "threadId", canonical_model_id "canonicalModelId",
    cache_pricing "cachePricing", method "method", path "path", query "query", headers "headers", body "body",
    principal "principal", candidates "candidates",
});

macro_rules! roots {
    ($wire:ident $version:literal: $($type:ident),+) => {
        [$(Root {
            wire: $version,
            name: stringify!($type),
            size: size_of::<rkyv::Archived<$wire::$type>>(),
            align: align_of::<rkyv::Archived<$wire::$type>>(),
            judge: |bytes| {
                let Ok(archived) = rkyv::access::<rkyv::Archived<$wire::$type>, Error>(bytes) else {
                    return Verdict::Rejected;
                };
                let value = rkyv::deserialize::<$wire::$type, Error>(archived).expect("checked bytes deserialize");
                let canonical = rkyv::to_bytes::<Error>(&value).is_ok_and(|written| written[..] == bytes[..]);
                let mut printed = String::new();
                value.print(&mut printed);
                Verdict::Accepted { value: printed, canonical }
            },
            sample: |random| {
                rkyv::to_bytes::<Error>(&<$wire::$type>::sample(random)).expect("a sample serializes")
            },
        }),+]
    };
}

/// Every root type of every published wire crate.
pub fn roots() -> Vec<Root> {
    let mut roots = Vec::new();
    roots.extend(roots!(wire_0_2 "0.2.0": FilterRequest, FilterResponse, ShapeRequest, ShapeResponse, ObserveEvent));
    roots.extend(roots!(wire_0_6 "0.6.1": FilterRequest, FilterResponse, ShapeRequest, ShapeResponse, ObserveEvent,
        TransformResponseRequest, TransformResponseResult, TransformSseEventRequest, TransformSseEventResult));
    roots.extend(roots!(wire_0_8 "0.8.0": FilterRequest, FilterResponse, ShapeRequest, ShapeResponse, ObserveEvent,
        TransformResponseRequest, TransformResponseResult, TransformSseEventRequest, TransformSseEventResult));
    roots.extend(roots!(wire_0_9 "0.9.0": FilterRequest, FilterResponse, ShapeRequest, ShapeResponse,
        TransformResponseRequest, TransformResponseResult, TransformSseEventRequest, TransformSseEventResult));
    roots
}

macro_rules! fingerprints {
    ($wire:ident $version:literal: $($hook:literal $type:ident),+) => {
        [$(Fingerprint {
            wire: $version,
            hook: $hook,
            bytes: <$wire::$type as $wire::WireSchema>::FINGERPRINT,
        }),+]
    };
}

/// Every hook's fingerprint in every published wire crate.
pub fn fingerprints() -> Vec<Fingerprint> {
    let mut all = Vec::new();
    all.extend(fingerprints!(wire_0_2 "0.2.0": "filter" FilterRequest, "shape" ShapeRequest, "observe" ObserveEvent));
    all.extend(fingerprints!(wire_0_6 "0.6.1": "filter" FilterRequest, "shape" ShapeRequest, "observe" ObserveEvent,
        "transform_response" TransformResponseRequest, "transform_sse_event" TransformSseEventRequest));
    all.extend(fingerprints!(wire_0_8 "0.8.0": "filter" FilterRequest, "shape" ShapeRequest, "observe" ObserveEvent,
        "transform_response" TransformResponseRequest, "transform_sse_event" TransformSseEventRequest));
    all.extend(fingerprints!(wire_0_9 "0.9.0": "filter" FilterRequest, "shape" ShapeRequest,
        "transform_response" TransformResponseRequest, "transform_sse_event" TransformSseEventRequest));
    all
}
