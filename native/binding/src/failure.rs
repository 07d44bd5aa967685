//! A failure as data.

use cc_lb_engine::failure::{Failure, Frame};
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
    /// The message, one sentence; empty if the kind describes the failure completely.
    pub message: String,
    /// For an expired call, the share of CPU time that its thread received, from 0 to 1; null if it is unknown.
    pub cpu_share: Option<f64>,
    /// The wasm functions that were active, innermost first; empty unless the engine explains failures.
    pub frames: Vec<NativeFrame>,
}

/// One active function of a guest that failed.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeFrame {
    /// Its name, if the module has a name section.
    pub function: Option<String>,
    /// Its index in the module.
    pub index: u32,
    /// The offset of the instruction from the start of the module's file.
    pub offset: Option<u32>,
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
            frames: failure.frames.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Frame> for NativeFrame {
    fn from(Frame { function, index, offset }: Frame) -> Self {
        NativeFrame { function, index, offset: offset.and_then(|offset| u32::try_from(offset).ok()) }
    }
}
