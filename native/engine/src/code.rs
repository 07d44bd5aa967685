//! The compiler's settings, which engines that compile and engines that run must share.

use wasmtime::{Config, Engine, OptLevel, Strategy};

use crate::options::CodeSettings;

/// Compiles a module to an image. Nothing bounds this, so untrusted modules are compiled in a process of their own.
pub fn compile_code(settings: &CodeSettings, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    Engine::new(&code_config(settings))?.precompile_module(wasm)
}

/// Returns the part of an engine's config that decides about its code.
pub fn code_config(settings: &CodeSettings) -> Config {
    let CodeSettings { memory, gc_heap, copy_on_write, address_map } = settings;
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // The proposals that plugins may not use. The component model is left out of the build.
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        // rustc emits reference types for wasm32 by default.
        .wasm_reference_types(true)
        .signals_based_traps(true)
        .memory_reservation(memory.reservation)
        .memory_guard_size(memory.guard)
        .memory_may_move(memory.may_move)
        .gc_heap_reservation(gc_heap.reservation)
        .gc_heap_guard_size(gc_heap.guard)
        .gc_heap_may_move(gc_heap.may_move)
        .memory_init_cow(*copy_on_write)
        .generate_address_map(*address_map)
        .native_unwind_info(false)
        .epoch_interruption(true);
    config
}
