//! The N-API addon of cc-lb-runtime-wasmtime. It builds and drives the wasmtime engine; it holds no policy and no
//! default, both of which belong to the TypeScript layer.

mod cache;
mod call;
mod deadline;
mod engine;
mod failure;
mod handles;
mod inspect;
mod instance;
mod module;
mod pages;
mod prepared;
mod signals;
mod stack;
mod task;
