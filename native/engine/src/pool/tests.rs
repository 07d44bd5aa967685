//! Tests of the memories that finished calls leave.

use wasmtime::Trap;

use super::*;
use crate::call::{Request, Target, call};
use crate::engine::HotEngine;
use crate::failure::Failure;
use crate::hook::Hook;
use crate::options::EngineOptions;
use crate::stream::Stream;
use crate::testing;

/// A guest whose hook of each number does something else with its memory.
fn guest(limits: &str, number: usize) -> String {
    format!(
        r#"(module
        (memory (export "memory") {limits})
        (global $used (mut i32) (i32.const 0))
        (func (export "cc_lb_alloc") (param i32 i32) (result i32) i32.const 1024)
        (func (export "cc_lb_free") (param i32 i32 i32))
        (func $check (local $at i32)
            (local.set $at (i32.const 2048))
            (if (global.get $used) (then unreachable))
            (global.set $used (i32.const 1))
            (loop $next
                (if (i32.load (local.get $at)) (then unreachable))
                (i32.store (local.get $at) (i32.const {number}))
                (br_if $next (i32.lt_u
                    (local.tee $at (i32.add (local.get $at) (i32.const 4096)))
                    (i32.mul (memory.size) (i32.const 65536))))))
        (func $answer (result i64) i64.const 0x0000_0400_0000_0001)
        (func (export "cc_lb_filter") (param i32 i32) (result i64) call $check call $answer)
        (func (export "cc_lb_shape") (param i32 i32) (result i64)
            (drop (memory.grow (i32.const 100000))) (loop (br_if 0 (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))
            call $check call $answer)
        (func (export "cc_lb_transform_response") (param i32 i32) (result i64) call $check unreachable))"#
    )
}

const FILTER: Hook = Hook::Filter;
const GROW: Hook = Hook::Shape;
const TRAP: Hook = Hook::TransformResponse;

fn engine(group: &str, budget: u64) -> Arc<HotEngine> {
    let options = testing::options(&format!("pool {group}"));
    HotEngine::open(EngineOptions { resident_budget_bytes: budget, ..options }).expect("an engine")
}

/// A module of the engine.
fn module(engine: &HotEngine, limits: &str, number: usize) -> Arc<CompiledModule> {
    let wasm = wat::parse_str(guest(limits, number)).expect("valid text");
    testing::load(engine.options.clone(), &wasm).module
}

fn run(engine: &Arc<HotEngine>, module: &Arc<CompiledModule>, hook: Hook) -> Result<(), Failure> {
    run_with(engine, module, hook, &[])
}

fn run_with(engine: &Arc<HotEngine>, module: &Arc<CompiledModule>, hook: Hook, body: &[u8]) -> Result<(), Failure> {
    let target = Target { engine: Arc::clone(engine), module: Arc::clone(module), stream: None };
    call(&testing::call_of(&target, hook), Request { head: b"a", body, tail: b"" }, |_| ()).result
}

#[test]
fn every_call_finds_zeroes_whatever_the_one_before_did() {
    let engine = engine("zeroes", 256 << 20);
    let modules = ["2", "2 64", "2 2", "32"].map(|limits| module(&engine, limits, 1));
    let run_one = |round: usize, module| {
        let hook = [FILTER, FILTER, GROW, TRAP][round % 4];
        match run(&engine, module, hook) {
            Err(Failure::Trap(trap)) => assert_eq!((hook, trap.code), (TRAP, Some(Trap::UnreachableCodeReached))),
            result => assert!(hook != TRAP && result.is_ok()),
        }
    };
    for module in &modules {
        (0..600).for_each(|round| run_one(round, module));
    }
    // Five is prime to four: each module follows each other one with each hook.
    for (round, module) in modules.iter().cycle().take(2_000).enumerate() {
        run_one(round / 5, module);
    }
    // Those that grow are in a class with more memory.
    assert!(engine.pool.idle().0 < modules.len());
}

#[test]
fn modules_that_take_turns_share_the_memory_of_their_thread() {
    let engine = engine("turns", 256 << 20);
    let modules: Vec<_> = (0..200).map(|number| module(&engine, "2", number + 1)).collect();
    for module in modules.iter().chain(&modules) {
        run(&engine, module, FILTER).expect("an answer");
        assert_eq!(engine.pool.idle().0, 1);
    }
}

#[test]
fn a_large_request_leaves_small_ones_their_memory() {
    let engine = engine("classes", 256 << 20);
    // It uses too little memory to change its own class.
    let module = module(&engine, "2", 1);
    let large = vec![0; SMALL_REQUEST_BYTES + 1];
    for body in [&[] as &[u8], &large, &[], &large] {
        run_with(&engine, &module, FILTER, body).expect("an answer");
    }
    assert_eq!(engine.pool.classes.each_ref().map(IdleMemories::count), [1, 1, 0, 0]);
}

#[test]
fn a_stream_with_a_large_first_event_leaves_large_requests_their_memory() {
    let engine = engine("streams", 256 << 20);
    let module = module(&engine, "2", 1);
    let large = vec![0; SMALL_REQUEST_BYTES + 1];
    run_with(&engine, &module, FILTER, &large).expect("an answer");
    let stream = Arc::new(Stream::new(&engine, &module, "one".to_owned()));
    let target = Target { engine: Arc::clone(&engine), module, stream: Some(Arc::clone(&stream)) };
    let request = Request { head: b"a", body: &large, tail: b"" };
    call(&testing::call_of(&target, FILTER), request, |_| ()).result.expect("an answer");
    stream.close();
    assert_eq!(engine.pool.classes.each_ref().map(IdleMemories::count), [1, 1, 0, 0]);
}

#[test]
fn classes_cover_all_requests() {
    assert_eq!(
        [0, 16 << 10, (16 << 10) + 1, 256 << 10, 4 << 20, (4 << 20) + 1, usize::MAX].map(class_of),
        [0, 0, 1, 1, 2, 3, 3]
    );
}

#[test]
fn a_module_that_uses_much_memory_leaves_others_theirs() {
    let engine = engine("much", 256 << 20);
    let (large, small) = (module(&engine, "32", 1), module(&engine, "2", 2));
    for _ in 0..10 {
        run(&engine, &large, FILTER).expect("an answer");
        run(&engine, &small, FILTER).expect("an answer");
    }
    let classes = [&large, &small].map(|module| module.memory_class.load(Relaxed));
    assert_eq!(classes, [1, 0]);
    // Each guest writes every page of its memory.
    let resident = [2 << 20, 128 << 10].map(|bytes| bytes + OVERHEAD_BYTES);
    assert_eq!(engine.pool.idle(), (2, resident.iter().sum()));
}

#[test]
fn a_module_that_uses_much_memory_in_shared_ones_is_noticed_too() {
    let engine = engine("added", 256 << 20);
    let (large, small) = (module(&engine, "32", 1), module(&engine, "2", 2));
    // The first call of the large module finds the memory that the small one left.
    for _ in 0..10 {
        run(&engine, &small, FILTER).expect("an answer");
    }
    run(&engine, &large, FILTER).expect("an answer");
    assert_eq!(large.memory_class.load(Relaxed), 1);
}

#[test]
fn the_memories_of_concurrent_calls_stay_within_the_budget_and_the_oldest_are_released() {
    let budget = 1 << 20;
    let engine = engine("eviction", budget as u64);
    let module = module(&engine, "2", 1);
    let memory = || {
        let mut memory = Box::new(Reservation::map(0, 1 << 20).expect("address space"));
        memory.resize(64 << 10).expect("memory");
        memory
    };
    for _ in 0..2 * budget / OVERHEAD_BYTES {
        engine.pool.keep(memory(), &module, 0);
        assert!(engine.pool.idle().1 <= budget);
    }
    let oldest = engine.pool.classes[0].oldest();
    engine.pool.keep(memory(), &module, 1);
    assert!(engine.pool.classes[0].oldest() > oldest);
    assert_eq!(engine.pool.classes[1].count(), 1);
}

#[test]
fn a_memory_that_exceeds_the_budget_alone_is_dropped() {
    let engine = engine("alone", (OVERHEAD_BYTES + (64 << 10)) as u64);
    let module = module(&engine, "32", 1);
    for _ in 0..10 {
        run(&engine, &module, FILTER).expect("an answer");
        assert!(engine.pool.idle().1 <= OVERHEAD_BYTES + (64 << 10));
    }
}

#[test]
fn what_is_idle_for_long_is_released() {
    let engine = engine("idle", 256 << 20);
    let module = module(&engine, "2", 1);
    run(&engine, &module, FILTER).expect("an answer");
    engine.pool.release_idle(0);
    assert_eq!(engine.pool.idle().0, 1);
    engine.pool.release_idle(deadline::now());
    assert_eq!(engine.pool.idle(), (0, 0));
    run(&engine, &module, FILTER).expect("an answer");
    assert!(engine.pool.release_all());
    assert_eq!(engine.pool.idle(), (0, 0));
    assert!(!engine.pool.release_all());
}

#[test]
fn a_budget_of_nothing_keeps_nothing() {
    let engine = engine("nothing", 0);
    let module = module(&engine, "2", 1);
    for _ in 0..4 {
        run(&engine, &module, FILTER).expect("an answer");
        assert_eq!(engine.pool.idle(), (0, 0));
    }
}

#[test]
fn threads_keep_a_memory_each_at_most() {
    let engine = engine("threads", 256 << 20);
    let module = module(&engine, "2", 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| run(&engine, &module, FILTER).expect("an answer")));
        }
    });
    let (count, _) = engine.pool.idle();
    assert!((1..=4).contains(&count));
}
