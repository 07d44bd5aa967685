//! placeholder
use napi_derive::napi;
#[napi]
pub fn ping() -> u32 { let mut c = wasmtime::Config::new(); c.epoch_interruption(true); let e = wasmtime::Engine::new(&c).unwrap(); e.increment_epoch(); 1 }
