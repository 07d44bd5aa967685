//! The health check of the process's signal handlers.

use napi_derive::napi;

/// The signals whose handler is no longer the one that the engine installed.
#[napi(catch_unwind)]
pub fn replaced_signal_handlers() -> Vec<String> {
    cc_lb_engine::signals::replaced().into_iter().map(str::to_owned).collect()
}
