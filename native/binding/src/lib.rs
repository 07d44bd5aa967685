//! The N-API addon of cc-lb-runtime-wasmtime: plain data and handles over `cc_lb_engine`, a file per handle. It holds no
//! policy and no default, both of which belong to the TypeScript layer. Every type that JavaScript sees is prefixed
//! `Native`.
#![deny(unsafe_op_in_unsafe_fn)]

use napi_derive::napi;

pub mod batch;
pub mod bytes;
pub mod cache_dir;
pub mod call;
pub mod compile;
pub mod content;
pub mod engine;
pub mod failure;
pub mod hook;
pub mod inspection;
pub mod module;
pub mod signals;
pub mod source;
pub mod staged;
pub mod stream;
pub mod targets;
pub mod tasks;

/// Returns the version of the package that this addon belongs to.
#[napi(catch_unwind)]
pub fn package_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
