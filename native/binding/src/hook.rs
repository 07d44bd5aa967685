//! The hooks, which JavaScript passes by index.

use cc_lb_engine::hook::Hook;
use napi_derive::napi;

/// Returns the export of each hook. A hook is passed as its index in this list.
#[napi(catch_unwind)]
pub fn hook_exports() -> Vec<&'static str> {
    Hook::ALL.map(Hook::export).to_vec()
}

/// Returns the hook with this index.
pub(crate) fn hook_at(index: u32) -> napi::Result<Hook> {
    Hook::from_index(index).ok_or_else(|| napi::Error::from_reason(format!("hook {index} does not exist")))
}
