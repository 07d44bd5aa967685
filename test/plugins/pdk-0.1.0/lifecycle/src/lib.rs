//! Follows a request through its life. It never traps on an event.
#![no_std]
extern crate alloc;

use alloc::format;
use alloc::string::String;
use cc_lb_pdk_wasmtime::types::{ObserveEvent, Upstream};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};
use core::hint::black_box;

#[cc_lb_plugin(
    name = "lifecycle",
    version = "1.0.0",
    description = "Writes a log line for each of the six lifecycle events",
    usage = "Register as an observe plugin; the line is built and thrown away"
)]
mod plugin {
    use super::*;

    #[handler(observe, wire = 1, description = "Formats the event as a log line", usage = "Nothing to configure")]
    pub fn observe(event: ObserveEvent) {
        // A guest has nowhere to log to: the work of making the line is what counts here.
        black_box(log_line(&event));
    }
}

fn log_line(event: &ObserveEvent) -> String {
    match event {
        ObserveEvent::RequestStarted { request_id, downstream_user_agent } => {
            format!("started {request_id} by {}", downstream_user_agent.as_deref().unwrap_or("-"))
        }
        ObserveEvent::AuthnComplete { principal_id, principal_kind } => {
            format!("authenticated {principal_id} as {principal_kind}")
        }
        ObserveEvent::UpstreamChosen { upstream: Upstream::AnthropicDirect { base_url } } => {
            format!("upstream {}", base_url.as_deref().unwrap_or("default"))
        }
        ObserveEvent::Chunk { batch_index, event_count, total_bytes } => {
            format!("chunk {batch_index}: {event_count} events, {total_bytes} bytes so far")
        }
        ObserveEvent::RequestFinished {
            status,
            input_tokens,
            output_tokens,
            cache_creation_input_tokens,
            cache_read_input_tokens,
            duration_ms,
        } => {
            let tokens = [input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens];
            let total = tokens.into_iter().flatten().fold(0u64, |sum, count| sum.saturating_add(*count));
            format!("finished {status} after {duration_ms} ms, {total} tokens")
        }
        ObserveEvent::Error { code, message, source } => format!("error {code} from {source}: {message}"),
    }
}
