//! The N-API addon of cc-lb-runtime-wasmtime. It builds and drives the wasmtime engine; it holds no policy and no
//! default, both of which belong to the TypeScript layer.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod cache;
pub mod call;
pub mod deadline;
pub mod engine;
pub mod failure;
pub mod handles;
pub mod inspect;
pub mod instance;
pub mod memory;
pub mod meter;
pub mod module;
#[cfg_attr(not(target_os = "linux"), path = "pages_elsewhere.rs")]
pub mod pages;
pub mod prepared;
pub mod signals;
pub mod stack;
pub mod task;
