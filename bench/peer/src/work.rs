//! The work of a request: typed calls of the crate, with separate modules for each principal.

use crate::inputs::{self, Input};
use cc_lb_plugin_api::{FilterPlugin, ObservabilityHook, Principal, SlotKey, shape_request};
use cc_lb_runtime_wasmtime::{HotEngineAllocationStrategy, HotEngineConfig, WasmtimeFilterPlugin, WasmtimeRuntime};
use cc_lb_runtime_wasmtime::{WasmtimeObservabilityHookPlugin, WasmtimeUpstreamDialect};
use serde::Deserialize;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use uuid::Uuid;

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    OnDemand,
    Pooling,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Filter and shape.
    Request,
    /// The filter alone.
    Filter,
    /// Filter, shape, and one of each event for the observer.
    Observed,
}

/// The plugins of one principal; what the work does not call is absent.
struct Plugins {
    filter: WasmtimeFilterPlugin,
    shape: Option<WasmtimeUpstreamDialect>,
    observe: Option<WasmtimeObservabilityHookPlugin>,
}

/// What outlives a command, so that commands can take turns with those to another process.
pub struct Bench {
    plugins_folder: PathBuf,
    guests_folder: PathBuf,
    runtimes: HashMap<Strategy, WasmtimeRuntime>,
    plugins: HashMap<(Work, Strategy, String), Vec<Plugins>>,
    ring: Option<(usize, Vec<Input>)>,
}

impl Bench {
    pub fn new(plugins_folder: PathBuf, guests_folder: PathBuf) -> Self {
        Bench { plugins_folder, guests_folder, runtimes: HashMap::new(), plugins: HashMap::new(), ring: None }
    }

    /// A function that makes the request of a number: principals take turns.
    pub fn request(
        &mut self,
        work: Work,
        strategy: Strategy,
        guests: &str,
        principals: usize,
        body_bytes: usize,
    ) -> impl Fn(usize) + Sync {
        if self.ring.as_ref().is_none_or(|(bytes, _)| *bytes != body_bytes) {
            // The old ring goes first: two of them would count in the peak of memory.
            self.ring = None;
            self.ring = Some((body_bytes, inputs::ring(body_bytes)));
        }
        let runtime = self.runtimes.entry(strategy).or_insert_with(|| runtime(strategy));
        let plugins = self.plugins.entry((work, strategy, guests.to_owned())).or_default();
        let read = |plugin: &str, principal: usize| {
            let file = match guests {
                "plain" => self.plugins_folder.join(format!("{plugin}.wasm")),
                guests => self.guests_folder.join(format!("{plugin}-{guests}.wasm")),
            };
            distinct(std::fs::read(file).expect("plugin file"), principal)
        };
        for principal in plugins.len()..principals {
            plugins.push(register(runtime, work, guests, principal, &read));
        }
        let ring = &self.ring.as_ref().expect("ring").1;
        let callers = inputs::principals(principals);
        let plugins = &plugins[..principals];
        move |number| {
            let principal = number % plugins.len();
            request(&plugins[principal], &ring[number % ring.len()], &callers[principal]);
        }
    }
}

fn request(plugins: &Plugins, input: &Input, principal: &Principal) {
    let Input { context, candidates, upstream } = input;
    black_box(plugins.filter.filter(context, principal, candidates).expect("answer"));
    if let Some(shape) = &plugins.shape {
        black_box(shape_request(shape, context, upstream, principal).expect("answer"));
    }
    if let Some(observe) = &plugins.observe {
        for event in inputs::observe_events(input, principal) {
            observe.observe(event).expect("observed");
        }
    }
}

fn runtime(strategy: Strategy) -> WasmtimeRuntime {
    let allocation_strategy = match strategy {
        Strategy::OnDemand => HotEngineAllocationStrategy::OnDemand,
        Strategy::Pooling => HotEngineAllocationStrategy::Pooling,
    };
    WasmtimeRuntime::new(HotEngineConfig { allocation_strategy, ..HotEngineConfig::default() }).expect("engine")
}

fn register(
    runtime: &WasmtimeRuntime,
    work: Work,
    guests: &str,
    principal: usize,
    read: &impl Fn(&str, usize) -> Vec<u8>,
) -> Plugins {
    let key = |plugin: &str| SlotKey::new(format!("tenant-{principal}"), format!("{plugin}-{guests}"));
    let config = runtime.config_arc();
    let filter = {
        let (key, name) = (key("cache-aware"), "cache-aware");
        let slot = runtime.register_filter(key.clone(), name, &read(name, principal)).expect("admitted");
        WasmtimeFilterPlugin::new(slot, key, Uuid::nil(), name, config.clone())
    };
    let shape = (work != Work::Filter).then(|| {
        let slot = runtime.register_shape(key("echo"), "echo", &read("echo", principal)).expect("admitted");
        WasmtimeUpstreamDialect::new(slot, config.clone())
    });
    let observe = (work == Work::Observed).then(|| {
        let wasm = read("lifecycle", principal);
        let slot = runtime.register_observe(key("lifecycle"), "lifecycle", &wasm).expect("admitted");
        WasmtimeObservabilityHookPlugin::new(slot, config.clone())
    });
    Plugins { filter, shape, observe }
}

/// Appends a custom section without content, so that equal code has a different hash. Names are shorter than 126 bytes,
/// so that each length is one byte of LEB128.
fn distinct(mut wasm: Vec<u8>, principal: usize) -> Vec<u8> {
    let name = format!("principal-{principal}");
    wasm.extend_from_slice(&[0, name.len() as u8 + 1, name.len() as u8]);
    wasm.extend_from_slice(name.as_bytes());
    wasm
}
