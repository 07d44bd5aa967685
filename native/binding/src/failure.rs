//! A failure as data.

use cc_lb_engine::failure::Failure;
use napi_derive::napi;

/// A failure as JavaScript sees it. `failed` distinguishes it from every other answer.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeFailure {
    /// Always true.
    pub failed: bool,
    /// The kind, in kebab-case.
    pub kind: String,
    /// The phase of a trap or the saturated resource.
    pub place: Option<String>,
    /// The trap's name in kebab-case.
    pub trap: Option<String>,
    /// One sentence for a person; empty where the kind says it all.
    pub message: String,
    /// For an expired call, the share of CPU time that its thread received, from 0 to 1; null if it is unknown.
    pub cpu_share: Option<f64>,
}

impl From<Failure> for NativeFailure {
    fn from(failure: Failure) -> Self {
        let some = |text: &'static str| (!text.is_empty()).then(|| text.to_owned());
        NativeFailure {
            failed: true,
            kind: failure.kind.as_str().to_owned(),
            place: some(failure.place),
            trap: some(failure.trap),
            message: failure.message,
            cpu_share: failure.cpu_share,
        }
    }
}
