//! Measures the engine's call path from Rust, in alternation with Node. Input line: `<pooling 0|1> <iterations>
//! <guest.wasm> <encoded filter request>`. Output line: the median of a call in nanoseconds, answer copied
//! into a reused buffer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use cc_lb_engine::call::{Call, Request, call};
use cc_lb_engine::code::compile_code;
use cc_lb_engine::engine::HotEngine;
use cc_lb_engine::hook::Hook;
use cc_lb_engine::module::CompiledModule;
use cc_lb_engine::options::EngineOptions;

type Opened = (Arc<HotEngine>, Arc<CompiledModule>);

fn open(pooling: bool, guest: &str) -> Opened {
    let options = EngineOptions {
        pooling,
        memory_max_pages: 2048,
        max_wasm_stack: 1 << 20,
        max_tables: 8,
        max_table_elements: 200_000,
        pool_table_elements: 20_000,
        max_cached_modules: 64,
        max_cached_module_bytes: 48 << 20,
        pool_total_memories: 64,
        pool_total_core_instances: 64,
        memory_reservation_bytes: 256 << 20,
        memory_guard_bytes: 64 << 20,
        keep_resident_bytes: 0,
        resident_budget_bytes: 256 << 20,
        max_staging_bytes: 0,
        max_stream_bytes: 0,
        explain: false,
        group: None,
    };
    let engine = HotEngine::open(options).expect("an engine");
    let wasm = std::fs::read(guest).expect("the guest");
    let image = compile_code(&engine.code_settings(&wasm), &wasm).expect("it compiles");
    let module = engine.load(&wasm, &image, false).expect("it loads");
    module.versions.store(1, SeqCst);
    (engine, Arc::new(module))
}

fn main() {
    let mut opened: HashMap<bool, Opened> = HashMap::new();
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [pooling, iterations, guest, request] = words[..] else { panic!("four words") };
        let pooling = pooling == "1";
        let (engine, module) = opened.entry(pooling).or_insert_with(|| open(pooling, guest)).clone();
        let bytes = std::fs::read(request).expect("the request");
        let limit = Duration::from_secs(1);
        let mut answer = vec![0u8; 64 << 10];
        let mut nanos: Vec<u128> = (0..iterations.parse().expect("a number"))
            .map(|_| {
                let rules = Call {
                    engine: &engine,
                    module: &module,
                    hook: Hook::Filter,
                    limit,
                    slice: None,
                    stream: None,
                    cancel: None,
                    max_answer: usize::MAX,
                    probe: false,
                };
                let parts = Request { head: &bytes, body: &[], tail: &[] };
                let began = Instant::now();
                let outcome = call(&rules, parts, |bytes| answer[..bytes.len()].copy_from_slice(bytes));
                let elapsed = began.elapsed().as_nanos();
                outcome.result.expect("an answer");
                elapsed
            })
            .collect();
        nanos.sort_unstable();
        println!("{}", nanos[nanos.len() / 2]);
    }
}
