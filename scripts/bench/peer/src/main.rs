//! The Rust original as a benchmark peer: one JSON command a line on stdin, one JSON result a line on stdout.
//! README.md describes both. `bench-peer <folder of .wasm plugins>`

mod codec;
mod inputs;
mod measure;

use cc_lb_plugin_api::{FilterPlugin, SlotKey, shape_request};
use cc_lb_runtime_wasmtime::{HotEngineAllocationStrategy, HotEngineConfig, WasmtimeFilterPlugin};
use cc_lb_runtime_wasmtime::{WasmtimeRuntime, WasmtimeUpstreamDialect};
use inputs::{Input, Size};
use measure::Plan;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "kebab-case")]
enum Strategy {
    OnDemand,
    Pooling,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Step {
    /// The typed call of a filter, encode and decode included.
    Filter,
    /// The typed call of a shape.
    Shape,
    /// The filter's call with the request encoded already and the answer not decoded.
    Raw,
    /// Building and serialising the filter's request.
    Encode,
    /// Validating and converting the filter's answer.
    Decode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Command {
    step: Step,
    #[serde(default = "on_demand")]
    strategy: Strategy,
    body_bytes: usize,
    #[serde(default = "eight")]
    candidates: usize,
    #[serde(default = "twelve")]
    headers: usize,
    /// Slots that the calls go round, all of the same module.
    #[serde(default = "one")]
    slots: usize,
    #[serde(default)]
    warmup: usize,
    iterations: usize,
    open_loop_rate: Option<f64>,
    #[serde(default = "one")]
    threads: usize,
}

fn on_demand() -> Strategy {
    Strategy::OnDemand
}

fn one() -> usize {
    1
}

fn eight() -> usize {
    8
}

fn twelve() -> usize {
    12
}

/// What outlives a command, so that commands can take turns with those to another process.
struct Peer {
    plugins: PathBuf,
    runtimes: HashMap<Strategy, WasmtimeRuntime>,
    ring: Option<(Size, Vec<Input>)>,
}

fn main() {
    let Some(plugins) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: bench-peer <folder of .wasm plugins>");
        std::process::exit(2);
    };
    let mut peer = Peer { plugins, runtimes: HashMap::new(), ring: None };
    say(&json!({ "runtime": "cc-lb-runtime-wasmtime 0.1.1", "rssKiB": measure::status("VmRSS:") }));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("stdin");
        match serde_json::from_str::<Command>(&line) {
            Ok(command) => say(&peer.measure(&command)),
            Err(error) => say(&json!({ "error": error.to_string() })),
        }
    }
}

fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").and_then(|()| out.flush()).expect("stdout");
}

impl Peer {
    fn measure(&mut self, command: &Command) -> Value {
        let size = Size { body_bytes: command.body_bytes, candidates: command.candidates, headers: command.headers };
        if self.ring.as_ref().is_none_or(|(made, _)| *made != size) {
            // The old ring goes first: two of them would count in the peak of memory.
            self.ring = None;
            self.ring = Some((size, inputs::ring(size)));
        }
        let ring = &self.ring.as_ref().expect("ring").1;
        let runtime = self.runtimes.entry(command.strategy).or_insert_with(|| runtime(command.strategy));
        let mut plan = Plan {
            warmup: command.warmup,
            iterations: command.iterations,
            rate: command.open_loop_rate,
            batch: 1,
            threads: command.threads,
        };
        let input = |number: usize| &ring[number % ring.len()];
        match command.step {
            Step::Filter => {
                let filters = slots(runtime, &self.plugins, "cache-aware", command.slots, filter);
                measure::run(plan, |number| {
                    let Input { context, principal, candidates, .. } = input(number);
                    black_box(filters[number % filters.len()].filter(context, principal, candidates).expect("answer"));
                })
            }
            Step::Shape => {
                let dialects = slots(runtime, &self.plugins, "echo", command.slots, shape);
                measure::run(plan, |number| {
                    let Input { context, principal, upstream, .. } = input(number);
                    let dialect = &dialects[number % dialects.len()];
                    black_box(shape_request(dialect, context, upstream, principal).expect("answer"));
                })
            }
            Step::Raw => {
                slots(runtime, &self.plugins, "cache-aware", 1, filter);
                let key = SlotKey::new("0", "cache-aware");
                let requests: Vec<_> = ring.iter().map(codec::encode).collect();
                measure::run(plan, |number| {
                    black_box(runtime.call_filter(&key, &requests[number % requests.len()]).expect("answer"));
                })
            }
            Step::Encode => {
                plan.batch = 20;
                measure::run(plan, |number| {
                    black_box(codec::encode(black_box(input(number))));
                })
            }
            Step::Decode => {
                plan.batch = 20;
                slots(runtime, &self.plugins, "cache-aware", 1, filter);
                let key = SlotKey::new("0", "cache-aware");
                let answer = |input| runtime.call_filter(&key, &codec::encode(input)).expect("answer");
                let answers: Vec<_> = ring.iter().map(answer).collect();
                measure::run(plan, |number| {
                    black_box(codec::decode(black_box(&answers[number % answers.len()])));
                })
            }
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

/// `count` adapters of the plugin, each of a slot of its own.
fn slots<A>(
    runtime: &WasmtimeRuntime,
    plugins: &Path,
    plugin: &str,
    count: usize,
    adapter: fn(&WasmtimeRuntime, SlotKey, &str, &[u8]) -> A,
) -> Vec<A> {
    let wasm = std::fs::read(plugins.join(format!("{plugin}.wasm"))).expect("plugin file");
    (0..count).map(|number| adapter(runtime, SlotKey::new(number.to_string(), plugin), plugin, &wasm)).collect()
}

fn filter(runtime: &WasmtimeRuntime, key: SlotKey, plugin: &str, wasm: &[u8]) -> WasmtimeFilterPlugin {
    let slot = runtime.register_filter(key.clone(), plugin, wasm).expect("admitted");
    WasmtimeFilterPlugin::new(slot, key, Uuid::nil(), plugin, runtime.config_arc())
}

fn shape(runtime: &WasmtimeRuntime, key: SlotKey, plugin: &str, wasm: &[u8]) -> WasmtimeUpstreamDialect {
    let slot = runtime.register_shape(key, plugin, wasm).expect("admitted");
    WasmtimeUpstreamDialect::new(slot, runtime.config_arc())
}
