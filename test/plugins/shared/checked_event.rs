//! An observe hook answers nothing, so it reports by trapping: the last field of each event must follow from the others.

use super::types::{ObserveEvent, Upstream};
use alloc::format;

/// FNV-1a, 64 bit, over the parts in turn.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn is_digest(text: &str, parts: &[&[u8]]) -> bool {
    text == format!("{:016x}", hash(parts))
}

/// 0 for an absent count, else 1 and its eight bytes, little endian.
fn optional(count: &Option<u64>) -> [u8; 9] {
    let mut bytes = [0; 9];
    if let Some(count) = count {
        bytes[0] = 1;
        bytes[1..].copy_from_slice(&count.to_le_bytes());
    }
    bytes
}

/// Whether the event is one that a host sent whole. The digest is that of all fields before the last one, numbers as
/// little-endian bytes; README.md spells it out per event.
pub fn is_consistent(event: &ObserveEvent) -> bool {
    match event {
        ObserveEvent::RequestStarted { request_id, downstream_user_agent } => match downstream_user_agent.as_deref() {
            None => &**request_id == "no-agent",
            // What admission sends.
            Some("cc-lb-probe/1.0") => &**request_id == "probe-req-1",
            Some(agent) => is_digest(agent, &[request_id.as_bytes()]),
        },
        ObserveEvent::AuthnComplete { principal_id, principal_kind } => {
            is_digest(principal_id, &[principal_kind.as_bytes()])
        }
        ObserveEvent::UpstreamChosen { upstream: Upstream::AnthropicDirect { base_url } } => {
            let Some((before, digest)) = base_url.as_deref().and_then(|url| url.rsplit_once('/')) else {
                return base_url.is_none();
            };
            is_digest(digest, &[before.as_bytes()])
        }
        ObserveEvent::Chunk { batch_index, event_count, total_bytes } => {
            *total_bytes == hash(&[&batch_index.to_le_bytes(), &event_count.to_le_bytes()])
        }
        ObserveEvent::RequestFinished {
            status,
            input_tokens,
            output_tokens,
            cache_creation_input_tokens,
            cache_read_input_tokens,
            duration_ms,
        } => {
            let tokens =
                [input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens].map(optional);
            *duration_ms == hash(&[&status.to_le_bytes(), tokens.as_flattened()])
        }
        ObserveEvent::Error { code, message, source } => {
            is_digest(source, &[code.as_bytes(), &[0], message.as_bytes()])
        }
    }
}

/// Traps unless the event is consistent.
pub fn observe(event: ObserveEvent) {
    assert!(is_consistent(&event));
}
