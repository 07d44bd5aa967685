//! Modules that are malformed, break the contract, or are just within it, with the verdict of the crate on each.

use crate::rng::Rng;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cc_lb_plugin_wire::schema::WireSchema;
use cc_lb_plugin_wire::{FilterRequest, FilterResponse, ObserveEvent, ShapeRequest, ShapeResponse};
use cc_lb_runtime_wasmtime::{HookKind, HotEngineAllocationStrategy, HotEngineConfig, inspect_wasm};
use cc_lb_runtime_wasmtime::{WasmtimeRuntime, WasmtimeRuntimeError};
use rkyv::rancor::Error;
use serde_json::{Value, json};

mod bodies;
mod metadata;

const HOOKS: [HookKind; 3] = [HookKind::Filter, HookKind::Shape, HookKind::Observe];

/// The parts of a module.
#[derive(Clone)]
pub struct Module {
    /// The text format; `$ANSWER` expands to the packed pointer of the hook's valid answer, `$DATA` to its data
    /// segment.
    pub text: String,
    /// Custom sections, appended in this order.
    pub sections: Vec<(String, Vec<u8>)>,
}

impl Module {
    /// A valid plugin with one hook.
    pub fn of(hook: HookKind) -> Self {
        let text = bodies::PLAIN.replace("$HOOK", hook.export_name());
        Self { text: filled(&text, hook), sections: vec![metadata_of(&[hook]), schema_of(hook)] }
    }

    pub fn with_text(hook: HookKind, text: &str) -> Self {
        Self { text: filled(&text.replace("$HOOK", hook.export_name()), hook), ..Self::of(hook) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = wat::parse_str(&self.text).unwrap_or_else(|error| panic!("{error}\n{}", self.text));
        for (name, data) in &self.sections {
            append_section(&mut bytes, name.as_bytes(), data);
        }
        bytes
    }
}

/// The valid answer to a hook's probe.
fn answer(hook: HookKind) -> Vec<u8> {
    match hook {
        HookKind::Filter => {
            rkyv::to_bytes::<Error>(&FilterResponse { results: Box::default() }).expect("archive").to_vec()
        }
        HookKind::Shape => {
            let (url, method) = ("https://h/".into(), "POST".into());
            let response = ShapeResponse { url, method, headers: Box::default(), body: Box::default() };
            rkyv::to_bytes::<Error>(&response).expect("archive").to_vec()
        }
        HookKind::Observe => Vec::new(),
    }
}

fn filled(text: &str, hook: HookKind) -> String {
    let data = answer(hook);
    let packed = if data.is_empty() { 0 } else { 16 << 32 | data.len() };
    let escaped: String = data.iter().map(|byte| format!("\\{byte:02x}")).collect();
    text.replace("$ANSWER", &packed.to_string()).replace("$DATA", &escaped)
}

fn fingerprint(hook: HookKind) -> [u8; 32] {
    match hook {
        HookKind::Filter => <FilterRequest as WireSchema>::FINGERPRINT,
        HookKind::Shape => <ShapeRequest as WireSchema>::FINGERPRINT,
        HookKind::Observe => <ObserveEvent as WireSchema>::FINGERPRINT,
    }
}

pub fn schema_of(hook: HookKind) -> (String, Vec<u8>) {
    (format!("cc_lb.schema.{}.v1", hook.as_str()), fingerprint(hook).to_vec())
}

pub fn metadata_of(hooks: &[HookKind]) -> (String, Vec<u8>) {
    let hooks: Vec<_> = hooks
        .iter()
        .map(|hook| format!(r#""{}":{{"wire_version":1,"description":"d","usage":"u"}}"#, hook.as_str()))
        .collect();
    let text = format!(r#"{{"name":"n","version":"1","description":"d","usage":"u","hooks":{{{}}}}}"#, hooks.join(","));
    ("cc_lb.plugin.v1".to_owned(), text.into_bytes())
}

fn leb(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub fn append_section(bytes: &mut Vec<u8>, name: &[u8], data: &[u8]) {
    let mut content = Vec::new();
    leb(&mut content, name.len());
    content.extend([name, data].concat());
    bytes.push(0);
    leb(bytes, content.len());
    bytes.extend(content);
}

/// A module and the kind of its slot.
pub struct Case {
    pub name: String,
    pub kind: HookKind,
    pub bytes: Vec<u8>,
}

impl Case {
    pub fn new(name: impl Into<String>, kind: HookKind, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), kind, bytes }
    }
}

pub fn all(rng: &mut Rng) -> Vec<Value> {
    let runtime = |allocation_strategy| {
        let config = HotEngineConfig { allocation_strategy, ..HotEngineConfig::default() };
        WasmtimeRuntime::new(config).expect("engine")
    };
    let on_demand = runtime(HotEngineAllocationStrategy::OnDemand);
    let pooling = runtime(HotEngineAllocationStrategy::Pooling);
    let cases = [bytes(rng), metadata::cases(), bodies::cases()].into_iter().flatten();
    cases
        .map(|Case { name, kind, bytes }| {
            json!({
                "name": name,
                "kind": kind.as_str(),
                "bytes": STANDARD.encode(&bytes),
                "inspect": verdict(inspect_wasm(kind, &bytes)),
                "admit": verdict(on_demand.admit_wasm(kind, &bytes)),
                "admitPooling": verdict(pooling.admit_wasm(kind, &bytes)),
            })
        })
        .collect()
}

fn verdict<T>(result: Result<T, WasmtimeRuntimeError>) -> Value {
    let Err(error) = result else { return json!("ok") };
    let text = error.to_string();
    let variant = match &error {
        WasmtimeRuntimeError::EngineInit(_) => "EngineInit",
        WasmtimeRuntimeError::ModuleCompile(_) => "ModuleCompile",
        WasmtimeRuntimeError::InstantiateFailed(_) => "InstantiateFailed",
        WasmtimeRuntimeError::ModuleRejected { .. } => "ModuleRejected",
        WasmtimeRuntimeError::ProbeFailed { hook, .. } => {
            return json!({ "error": "ProbeFailed", "hook": hook, "text": text });
        }
        WasmtimeRuntimeError::GuestTrap { .. } => "GuestTrap",
        WasmtimeRuntimeError::PoolSaturated { .. } => "PoolSaturated",
    };
    json!({ "error": variant, "text": text })
}

/// Bytes that are not a module, or a damaged one.
fn bytes(rng: &mut Rng) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>| cases.push(Case::new(name, HookKind::Filter, bytes));
    add("no bytes".into(), Vec::new());
    add("magic alone".into(), b"\0asm".to_vec());
    add("empty module".into(), b"\0asm\x01\0\0\0".to_vec());
    add("version 2".into(), b"\0asm\x02\0\0\0".to_vec());
    add("empty component".into(), b"\0asm\x0d\0\x01\0".to_vec());
    add("text format".into(), b"(module)".to_vec());
    add("ELF".into(), b"\x7fELF\x02\x01\x01\0".to_vec());
    for length in [1, 4, 8, 9, 33, 100, 300] {
        add(format!("{length} random bytes"), rng.bytes(length));
        add(format!("header and {length} random bytes"), [b"\0asm\x01\0\0\0".to_vec(), rng.bytes(length)].concat());
    }
    let whole = Module::of(HookKind::Filter).bytes();
    for length in (1..whole.len()).step_by(7) {
        add(format!("cut to {length} of {}", whole.len()), whole[..length].to_vec());
    }
    for position in (0..whole.len()).step_by(3) {
        let mut flipped = whole.clone();
        flipped[position] ^= 1 << rng.below(8);
        add(format!("one bit flipped in byte {position}"), flipped);
    }
    add("trailing zero".into(), [&whole[..], &[0]].concat());
    add("twice".into(), [&whole[..], &whole[..]].concat());
    cases
}
