//! The health check of the process's signal handlers.

use napi_derive::napi;

/// Returns the signals whose handler was replaced after the engine installed its own.
#[napi(catch_unwind)]
pub fn replaced_signal_handlers() -> Vec<String> {
    cc_lb_engine::signals::replaced().into_iter().map(str::to_owned).collect()
}
