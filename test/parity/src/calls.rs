//! The calls: varied requests to well-behaved guests, and every behavior of `misbehave`.

use crate::requests::{candidates, config, context, integer, principal, upstream};
use crate::rng::Rng;
use serde_json::{Value, json};

/// Behaviors that end. `loop` is omitted: the published crate would wait forever.
const BEHAVIORS: [&str; 27] = [
    "unreachable",
    "divide-by-zero",
    "integer-overflow",
    "read-outside",
    "write-outside",
    "call-null",
    "call-outside-table",
    "call-wrong-type",
    "overflow-stack",
    "overflow-shadow-stack",
    "spin:10",
    "allocate",
    "grow:3",
    "grow-to-the-limit",
    "answer-nothing",
    "answer-null-pointer",
    "answer-null-length",
    "answer-outside",
    "answer-far-outside",
    "answer-overflowing",
    "answer-to-the-end",
    "answer-garbage:64",
    "answer-garbage:7",
    "answer-zeros:8",
    "answer-zeros:32",
    "grow-and-answer:2",
    "no-such-behavior",
];

pub fn all(rng: &mut Rng) -> Vec<Value> {
    let mut cases = Vec::new();
    for (plugin, count, longest) in
        [("cache-aware", 70, 65_536), ("cache-aware-v2", 15, 300), ("report-0-1-0", 70, 1000)]
    {
        for number in 0..count {
            let mut case = json!({
                "name": format!("filter {plugin} {number}"),
                "plugin": plugin,
                "hook": "filter",
                "config": config(rng),
                "ctx": context(rng, longest),
                "principal": principal(rng),
                "candidates": candidates(rng),
            });
            if plugin.starts_with("report") {
                case["config"]["wireBounds"] = json!({ "reasonBytes": 1 << 20 });
            }
            cases.push(case);
        }
    }
    for (plugin, count, longest) in [("rewrite", 40, 65_536), ("echo", 30, 65_536), ("report-0-1-0", 50, 1000)] {
        for number in 0..count {
            cases.push(json!({
                "name": format!("shape {plugin} {number}"),
                "plugin": plugin,
                "hook": "shape",
                "config": config(rng),
                "ctx": context(rng, longest),
                "principal": principal(rng),
                "upstream": upstream(rng),
            }));
        }
    }
    cases.extend(behaviors(rng));
    cases.extend(events(rng));
    cases
}

fn behaviors(rng: &mut Rng) -> Vec<Value> {
    let mut cases = Vec::new();
    for behavior in BEHAVIORS {
        for hook in ["filter", "shape", "observe"] {
            let mut case = json!({ "name": format!("{hook} misbehave {behavior}"), "plugin": "misbehave", "hook": hook, "config": {} });
            if hook == "observe" {
                case["event"] = json!({ "type": "request_started", "requestId": format!("do:{behavior}"), "downstreamUserAgent": null });
            } else {
                case["ctx"] = context(rng, 60);
                case["principal"] = json!({ "id": "p", "kind": "api_key", "claims": { "do": behavior } });
            }
            match hook {
                "filter" => case["candidates"] = candidates(rng),
                "shape" => case["upstream"] = upstream(rng),
                _ => {}
            }
            cases.push(case);
        }
    }
    cases
}

/// The 64-bit FNV-1a hash that the reporting guest requires in the last field of an event.
fn digest(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn hex(parts: &[&[u8]]) -> String {
    format!("{:016x}", digest(parts))
}

/// An event of each type, with a correct and with a wrong digest.
fn events(rng: &mut Rng) -> Vec<Value> {
    let mut cases = Vec::new();
    for number in 0..8 {
        for (kind, last) in [
            ("request_started", "downstreamUserAgent"),
            ("authn_complete", "principalId"),
            ("upstream_chosen", "upstream"),
            ("chunk", "totalBytes"),
            ("request_finished", "durationMs"),
            ("error", "source"),
        ] {
            let right = event(rng, kind, number);
            let mut wrong = right.clone();
            wrong[last] = match kind {
                "chunk" | "request_finished" => json!(1),
                "upstream_chosen" => json!({ "kind": "anthropic_direct", "baseUrl": "https://h/wrong" }),
                _ => json!("wrong"),
            };
            for (plugin, word, event) in
                [("report-0-1-0", "right", &right), ("report-0-1-0", "wrong", &wrong), ("lifecycle", "any", &right)]
            {
                if number < 2 || word == "right" {
                    cases.push(json!({
                        "name": format!("observe {plugin} {kind} {word} {number}"),
                        "plugin": plugin, "hook": "observe", "config": {}, "event": event,
                    }));
                }
            }
        }
    }
    cases
}

fn event(rng: &mut Rng, kind: &str, number: u64) -> Value {
    let word = |rng: &mut Rng| (*rng.pick(&["", "a", "Ünïcödé 🦀", "overloaded_error", "nul\0", "日本語"])).to_owned();
    let count = |rng: &mut Rng| *rng.pick(&[0, 1, 4096, (1 << 53) + 1, u64::MAX]);
    match kind {
        "request_started" if number == 0 => {
            json!({ "type": kind, "requestId": "no-agent", "downstreamUserAgent": null })
        }
        "request_started" => {
            let id = format!("req-{number}{}", word(rng));
            json!({ "type": kind, "requestId": id, "downstreamUserAgent": hex(&[id.as_bytes()]) })
        }
        "authn_complete" => {
            // The guest receives the OAuth kind in the spelling of wire 0.2.0; a caller always passes the later
            // spelling.
            let seen = ["api_key", "o_auth_subject", "internal_key", "workload_identity", "subscription_bearer"];
            let seen = seen[number as usize % 5];
            let written = if seen == "o_auth_subject" { "oauth_subject" } else { seen };
            json!({ "type": kind, "principalId": hex(&[seen.as_bytes()]), "principalKind": written })
        }
        "upstream_chosen" if number == 0 => json!({ "type": kind, "upstream": { "kind": "anthropic_direct" } }),
        "upstream_chosen" => {
            let before = format!("https://observe.test/{number}");
            let url = format!("{before}/{}", hex(&[before.as_bytes()]));
            json!({ "type": kind, "upstream": { "kind": "anthropic_direct", "baseUrl": url } })
        }
        "chunk" => {
            let (index, events) = (count(rng), count(rng));
            let total = digest(&[&index.to_le_bytes(), &events.to_le_bytes()]);
            json!({ "type": kind, "batchIndex": integer(index), "eventCount": integer(events), "totalBytes": integer(total) })
        }
        "request_finished" => {
            let status: u16 = *rng.pick(&[100, 200, 404, 529, 999]);
            let tokens: [Option<u64>; 4] = std::array::from_fn(|_| (!rng.once_in(3)).then(|| count(rng)));
            let flat: Vec<u8> = tokens.iter().flat_map(|token| optional(*token)).collect();
            let field = |index: usize| tokens[index].map(integer);
            json!({
                "type": kind, "status": status, "inputTokens": field(0), "outputTokens": field(1),
                "cacheCreationInputTokens": field(2), "cacheReadInputTokens": field(3),
                "durationMs": integer(digest(&[&status.to_le_bytes(), &flat])),
            })
        }
        _ => {
            let (code, message) = (word(rng), word(rng));
            json!({ "type": kind, "code": code, "message": message, "source": hex(&[code.as_bytes(), &[0], message.as_bytes()]) })
        }
    }
}

fn optional(count: Option<u64>) -> [u8; 9] {
    let mut bytes = [0; 9];
    if let Some(count) = count {
        bytes[0] = 1;
        bytes[1..].copy_from_slice(&count.to_le_bytes());
    }
    bytes
}
