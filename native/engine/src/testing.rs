//! Engines, modules and calls for the tests and benchmarks of this crate.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, Target};
use crate::code::compile_code;
use crate::engine::HotEngine;
use crate::hook::Hook;
use crate::inspect::inspect;
use crate::options::EngineOptions;

/// Options of a small engine on demand. Tests of different groups share no engine.
pub fn options(group: &str) -> EngineOptions {
    EngineOptions {
        pooling: false,
        memory_max_pages: 64,
        max_wasm_stack: 128 << 10,
        max_tables: 8,
        max_table_elements: 200_000,
        pool_table_elements: 20_000,
        max_cached_modules: 64,
        max_cached_module_bytes: 48 << 20,
        pool_total_memories: 16,
        pool_total_core_instances: 16,
        memory_reservation_bytes: 4 << 20,
        memory_guard_bytes: 1 << 16,
        keep_resident_bytes: 0,
        resident_budget_bytes: 256 << 20,
        max_staging_bytes: 1 << 20,
        max_stream_bytes: 1 << 20,
        explain: false,
        group: Some(group.to_owned()),
    }
}

/// Compiles and loads a module in the engine of these options.
pub fn load(options: EngineOptions, wasm: &[u8]) -> Target {
    let engine = HotEngine::open(options).expect("an engine");
    let needs = inspect(wasm, usize::MAX).needs;
    let image = compile_code(&engine.code_settings(&needs), wasm).expect("it compiles");
    let module = Arc::new(engine.load(&image, needs).expect("it loads"));
    Target { engine, module, stream: None }
}

/// A call of `hook` whose deadline is far away.
pub fn call_of(target: &Target, hook: Hook) -> Call<'_> {
    Call {
        target: Cow::Borrowed(target),
        hook,
        limit: Duration::from_secs(60),
        slice: None,
        cancel: None,
        max_answer: usize::MAX,
        probe: false,
    }
}
