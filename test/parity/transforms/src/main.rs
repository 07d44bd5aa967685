//! Records the verdicts of the published Rust host on plugins that accept one request of a transform and trap at any
//! other. The verdicts show which samples it sends to transforms when it admits a plugin.
//!
//! `cargo run --release -- <folder for the golden file>`

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cc_lb_plugin_wire::schema::{HookKind, WireSchema};
use cc_lb_plugin_wire::{
    Header, Principal, ShapeRequest, ShapeResponse, SseEvent, TransformResponseRequest, TransformResponseResult,
    TransformSseEventRequest, TransformSseEventResult, Upstream,
};
use cc_lb_runtime_wasmtime::{HotEngineConfig, WasmtimeRuntime, WasmtimeRuntimeError};
use rkyv::rancor::Error;
use serde_json::{Value, json};

/// The address of the accepted request in the plugin's memory, and the address of received requests.
const ACCEPTED_AT: usize = 0x4000;
const REQUEST_AT: usize = 0x8000;

fn main() {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: parity-transforms <folder for the golden file>");
        std::process::exit(2);
    };
    let runtime = WasmtimeRuntime::new(HotEngineConfig::default()).expect("engine");
    let cases: Vec<String> = cases()
        .into_iter()
        .map(|(hook, name, accepted)| {
            let module = module(hook, &accepted);
            let admit = verdict(runtime.admit_wasm(HookKind::Shape, &module));
            json!({ "name": format!("{hook}: {name}"), "bytes": STANDARD.encode(&module), "admit": admit }).to_string()
        })
        .collect();
    let about = json!({ "from": "cc-lb-runtime-wasmtime 0.1.2", "count": cases.len(), "plugins": {} });
    let text = format!("{{\n\"about\": {about},\n\"cases\": [\n{}\n]\n}}\n", cases.join(",\n"));
    std::fs::write(folder.join("transforms.golden.json"), text).expect("golden file");
}

fn verdict<T>(result: Result<T, WasmtimeRuntimeError>) -> Value {
    match result {
        Ok(_) => json!("ok"),
        Err(error) => match &error {
            WasmtimeRuntimeError::ProbeFailed { hook, .. } => json!({ "error": "ProbeFailed", "hook": hook }),
            other => panic!("the plugins are well-formed: {other}"),
        },
    }
}

/// A hook, the description of its request, and the archive of the request.
fn cases() -> Vec<(HookKind, &'static str, Vec<u8>)> {
    let mut cases = Vec::new();
    let mut response = |name, request: TransformResponseRequest| {
        let bytes = rkyv::to_bytes::<Error>(&request).expect("archive").to_vec();
        cases.push((HookKind::TransformResponse, name, bytes));
    };
    let messages = r#"{"model":"claude-3-haiku-20240307","messages":[]}"#;
    response("an empty message", response_request());
    response("a request's body", TransformResponseRequest { body: bytes(messages), ..response_request() });
    response("no body", TransformResponseRequest { body: bytes(""), ..response_request() });
    let stream = || Box::new([content_type("text/event-stream")]);
    response("as a stream", TransformResponseRequest { response_headers: stream(), ..response_request() });
    response("status 201", TransformResponseRequest { response_status: 201, ..response_request() });

    let mut event = |name, request: TransformSseEventRequest| {
        let bytes = rkyv::to_bytes::<Error>(&request).expect("archive").to_vec();
        cases.push((HookKind::TransformSseEvent, name, bytes));
    };
    let start = || sse_event("content_block_start", r#"{"type":"content_block_start"}"#);
    event("the start of a block", event_request(start()));
    event("the start of a message", event_request(sse_event("message_start", r#"{"type":"message_start"}"#)));
    event("no data", event_request(sse_event("content_block_start", "")));
    let plain = Box::new([content_type("application/json")]);
    event("as JSON", TransformSseEventRequest { response_headers: plain, ..event_request(start()) });
    event("status 201", TransformSseEventRequest { response_status: 201, ..event_request(start()) });
    cases
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn content_type(value: &str) -> Header {
    Header { name: "content-type".into(), value: bytes(value) }
}

fn sse_event(event: &str, data: &str) -> SseEvent {
    SseEvent { event: event.into(), data: bytes(data) }
}

fn principal() -> Principal {
    Principal { id: "probe-principal".into(), kind: "api_key".into(), claims: Box::default() }
}

fn upstream() -> Upstream {
    Upstream::AnthropicDirect { base_url: Some("https://example.test".into()) }
}

fn response_request() -> TransformResponseRequest {
    TransformResponseRequest {
        request_id: "probe-req-1".into(),
        principal: principal(),
        upstream: upstream(),
        request_method: "POST".into(),
        request_path: "/v1/messages".into(),
        canonical_model_id: "claude-3-haiku-20240307".into(),
        response_status: 200,
        response_headers: Box::new([content_type("application/json")]),
        body: bytes(r#"{"content":[]}"#),
    }
}

fn event_request(event: SseEvent) -> TransformSseEventRequest {
    TransformSseEventRequest {
        request_id: "probe-req-1".into(),
        principal: principal(),
        upstream: upstream(),
        request_method: "POST".into(),
        request_path: "/v1/messages".into(),
        canonical_model_id: "claude-3-haiku-20240307".into(),
        response_status: 200,
        response_headers: Box::new([content_type("text/event-stream")]),
        event,
    }
}

/// A shape plugin with both transforms. The transform `judged` traps unless its request is `accepted`.
fn module(judged: HookKind, accepted: &[u8]) -> Vec<u8> {
    let (url, method) = ("https://h/".into(), "POST".into());
    let shaped = ShapeResponse { url, method, headers: Box::default(), body: Box::default() };
    let response = rkyv::to_bytes::<Error>(&TransformResponseResult::Unchanged).expect("archive").to_vec();
    let event = rkyv::to_bytes::<Error>(&TransformSseEventResult::Unchanged).expect("archive").to_vec();
    let answers = [
        (HookKind::Shape, rkyv::to_bytes::<Error>(&shaped).expect("archive").to_vec(), ShapeRequest::FINGERPRINT),
        (HookKind::TransformResponse, response, TransformResponseRequest::FINGERPRINT),
        (HookKind::TransformSseEvent, event, TransformSseEventRequest::FINGERPRINT),
    ];
    let mut fields = format!("(data (i32.const {ACCEPTED_AT}) \"{}\")", escaped(accepted));
    for (index, (hook, answer, _)) in answers.iter().enumerate() {
        let at = 0x100 * (index + 1);
        let check = if *hook == judged {
            format!("(call $check (local.get 0) (local.get 1) (i32.const {}))", accepted.len())
        } else {
            String::new()
        };
        fields += &format!(
            "(data (i32.const {at}) \"{}\")
             (func (export \"cc_lb_{hook}\") (param i32 i32) (result i64) {check} (i64.const {}))",
            escaped(answer),
            (at << 32) | answer.len(),
        );
    }
    let text = format!(
        "(module
           (memory (export \"memory\") 2)
           (func (export \"cc_lb_alloc\") (param i32 i32) (result i32) (i32.const {REQUEST_AT}))
           (func (export \"cc_lb_free\") (param i32 i32 i32))
           (func $check (param $at i32) (param $length i32) (param $accepted i32)
             (if (i32.ne (local.get $length) (local.get $accepted)) (then unreachable))
             (loop $byte
               (if (local.get $length) (then
                 (local.set $length (i32.sub (local.get $length) (i32.const 1)))
                 (if (i32.ne
                       (i32.load8_u (i32.add (local.get $at) (local.get $length)))
                       (i32.load8_u (i32.add (i32.const {ACCEPTED_AT}) (local.get $length))))
                   (then unreachable))
                 (br $byte)))))
           {fields})"
    );
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let hooks: Vec<String> = answers
        .iter()
        .map(|(hook, ..)| format!(r#""{hook}":{{"wire_version":1,"description":"d","usage":"u","mode":"active"}}"#))
        .collect();
    let metadata =
        format!(r#"{{"name":"n","version":"1","description":"d","usage":"u","hooks":{{{}}}}}"#, hooks.join(","));
    append_section(&mut module, "cc_lb.plugin.v1", metadata.as_bytes());
    for (hook, _, fingerprint) in answers {
        append_section(&mut module, &format!("cc_lb.schema.{hook}.v1"), &fingerprint);
    }
    module
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

fn append_section(module: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut content = Vec::new();
    leb(&mut content, name.len());
    content.extend([name.as_bytes(), data].concat());
    module.push(0);
    leb(module, content.len());
    module.extend(content);
}

fn leb(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}
