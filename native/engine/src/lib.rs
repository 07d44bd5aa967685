//! The engine of cc-lb-runtime-wasmtime: compiles plugins, keeps their memories, and calls their hooks on wasmtime. It
//! is independent of Node and has no policy and no defaults, which belong to the TypeScript layer.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod budget;
pub mod cache;
pub mod call;
pub mod charge;
pub mod code;
pub mod compile;
pub mod cpu_time;
pub mod deadline;
pub mod engine;
pub mod failure;
pub mod fair_budget;
pub mod heap;
pub mod hook;
pub mod host;
pub mod idle;
pub mod inspect;
pub mod instance;
pub mod memory;
pub mod module;
pub mod module_bytes;
pub mod options;
pub mod permits;
pub mod pool;
pub mod signals;
pub mod stack;
pub mod stream;
#[cfg(any(test, feature = "bench"))]
pub mod testing;
