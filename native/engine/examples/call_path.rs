//! Measures the engine's call path from Rust, in alternation with Node. Input line: `<pooling 0|1> <iterations>
//! <guest.wasm> <encoded filter request>`. Output line: the median of a call in nanoseconds, answer copied
//! into a reused buffer.

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use cc_lb_engine::call::{Request, Target, call};
use cc_lb_engine::hook::Hook;
use cc_lb_engine::options::EngineOptions;
use cc_lb_engine::testing::{call_of, load, options};

fn open(pooling: bool, guest: &str) -> Target {
    let options = EngineOptions {
        pooling,
        memory_max_pages: 2048,
        max_wasm_stack: 1 << 20,
        pool_total_memories: 64,
        pool_total_core_instances: 64,
        memory_reservation_bytes: 256 << 20,
        memory_guard_bytes: 64 << 20,
        ..options("call path")
    };
    let target = load(options, &std::fs::read(guest).expect("the guest"));
    target.module.versions.store(1, SeqCst);
    target
}

fn main() {
    let mut opened: HashMap<bool, Target> = HashMap::new();
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [pooling, iterations, guest, request] = words[..] else { panic!("four words") };
        let pooling = pooling == "1";
        let target = opened.entry(pooling).or_insert_with(|| open(pooling, guest));
        let call_of_filter = call_of(target, Hook::Filter);
        let bytes = std::fs::read(request).expect("the request");
        let mut answer = vec![0u8; 64 << 10];
        let mut nanos: Vec<u128> = (0..iterations.parse().expect("a number"))
            .map(|_| {
                let parts = Request { head: &bytes, body: &[], tail: &[] };
                let began = Instant::now();
                let outcome = call(&call_of_filter, parts, |bytes| answer[..bytes.len()].copy_from_slice(bytes));
                let elapsed = began.elapsed().as_nanos();
                outcome.result.expect("an answer");
                elapsed
            })
            .collect();
        nanos.sort_unstable();
        println!("{}", nanos[nanos.len() / 2]);
    }
}
