//! Tests of the memories that modules keep.

use wasmtime::Trap;

use super::*;
use crate::call::{Request, Target, call};
use crate::engine::HotEngine;
use crate::failure::Failure;
use crate::hook::Hook;
use crate::options::EngineOptions;
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

/// A module that a slot serves.
fn served(engine: &HotEngine, limits: &str, number: usize) -> Arc<CompiledModule> {
    let wasm = wat::parse_str(guest(limits, number)).expect("valid text");
    let module = testing::load(engine.options.clone(), &wasm).module;
    module.versions.store(1, SeqCst);
    module
}

fn run(engine: &Arc<HotEngine>, module: &Arc<CompiledModule>, hook: Hook) -> Result<(), Failure> {
    let target = Target { engine: Arc::clone(engine), module: Arc::clone(module), stream: None };
    call(&testing::call_of(&target, hook), Request { head: b"a", body: b"", tail: b"" }, |_| ()).result
}

#[test]
fn every_call_finds_zeroes_whatever_the_one_before_did() {
    let engine = engine("zeroes", 256 << 20);
    for limits in ["2", "2 64", "2 2", "32"] {
        let module = served(&engine, limits, 1);
        for round in 0..600 {
            let hook = [FILTER, FILTER, GROW, TRAP][round % 4];
            let result = run(&engine, &module, hook);
            match result {
                Err(Failure::Trap(trap)) => assert_eq!((hook, trap.code), (TRAP, Some(Trap::UnreachableCodeReached))),
                result => assert!(hook != TRAP && result.is_ok()),
            }
        }
        assert_eq!(module.memories.as_ref().map(ModuleMemories::count), Some(1));
    }
}

#[test]
fn modules_that_take_turns_stay_within_a_small_budget() {
    let budget = 1 << 20;
    let engine = engine("turns", budget);
    let modules: Vec<_> = (0..200).map(|number| served(&engine, "2", number + 1)).collect();
    for _ in 0..3 {
        for module in &modules {
            run(&engine, module, FILTER).expect("an answer");
            let (count, bytes) = engine.pool.idle();
            assert!(count > 0 && bytes as u64 <= budget);
        }
    }
}

#[test]
fn of_modules_that_take_turns_and_exceed_the_budget_some_always_find_their_memory() {
    let engine = engine("some", 1 << 20);
    let modules: Vec<_> = (0..100).map(|number| served(&engine, "2", number + 1)).collect();
    let kept = |rounds| {
        for module in modules.iter().cycle().take(rounds * modules.len()) {
            run(&engine, module, FILTER).expect("an answer");
        }
        let counts = modules.iter().map(|module| module.memories.as_ref().map_or(0, ModuleMemories::count));
        counts.collect::<Vec<_>>()
    };
    let (before, after) = (kept(4), kept(4));
    assert!(before.iter().zip(after).filter(|(before, after)| **before + after == 2).count() >= 4);
}

#[test]
fn a_module_that_is_no_longer_called_gives_way_to_one_that_is_called_twice() {
    let engine = engine("replaced", 256 << 10);
    let modules: Vec<_> = (0..2).flat_map(|_| (0..20).map(|number| served(&engine, "2", number + 1))).collect();
    let (old, new) = modules.split_at(20);
    for module in old.iter().chain(old).chain(new).chain(new) {
        run(&engine, module, FILTER).expect("an answer");
    }
    let count = |modules: &[Arc<CompiledModule>]| {
        modules.iter().filter_map(|module| module.memories.as_ref()).map(ModuleMemories::count).sum::<usize>()
    };
    assert!(count(new) > 0);
    assert_eq!(count(old), 0);
}

#[test]
fn the_least_recently_used_module_gives_way() {
    let engine = engine("eviction", 4 << 20);
    let often = served(&engine, "2", 1);
    for number in 0..200 {
        let module = served(&engine, "2", number + 2);
        run(&engine, &module, FILTER).expect("an answer");
        run(&engine, &often, FILTER).expect("an answer");
        assert_eq!(often.memories.as_ref().map(ModuleMemories::count), Some(1));
    }
}

#[test]
fn a_retired_module_keeps_nothing() {
    let engine = engine("retired", 256 << 20);
    let module = served(&engine, "2", 1);
    run(&engine, &module, FILTER).expect("an answer");
    assert_eq!(engine.pool.idle().0, 1);
    module.versions.store(0, SeqCst);
    engine.pool.release(&module);
    assert_eq!(engine.pool.idle(), (0, 0));
    run(&engine, &module, FILTER).expect("an answer");
    assert_eq!(engine.pool.idle(), (0, 0));
}

#[test]
fn what_is_idle_for_long_is_released_and_a_dropped_module_frees_all() {
    let engine = engine("idle", 256 << 20);
    let module = served(&engine, "2", 1);
    run(&engine, &module, FILTER).expect("an answer");
    engine.pool.release_idle(0);
    assert_eq!(engine.pool.idle().0, 1);
    engine.pool.release_idle(deadline::now());
    assert_eq!(engine.pool.idle(), (0, 0));
    run(&engine, &module, FILTER).expect("an answer");
    drop(module);
    assert_eq!(engine.pool.idle(), (0, 0));
}

#[test]
fn a_budget_of_nothing_keeps_nothing() {
    let engine = engine("nothing", 0);
    let module = served(&engine, "2", 1);
    for _ in 0..4 {
        run(&engine, &module, FILTER).expect("an answer");
        assert_eq!(engine.pool.idle(), (0, 0));
    }
}

#[test]
fn threads_that_share_a_module_keep_a_memory_each() {
    let engine = engine("threads", 256 << 20);
    let module = served(&engine, "2", 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| run(&engine, &module, FILTER).expect("an answer")));
        }
    });
    let (count, _) = engine.pool.idle();
    assert!((1..=4).contains(&count));
}
