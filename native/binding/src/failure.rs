//! A failure as the record that crosses to JavaScript.

use cc_lb_engine::failure::{Failure, Frame, Phase};
use napi_derive::napi;

/// A failure as JavaScript sees it. `failed` distinguishes it from every other answer.
#[napi(object, use_nullable = true, object_from_js = false)]
pub struct NativeFailure {
    /// Always true.
    pub failed: bool,
    /// The kind, which determines the error class.
    #[napi(
        ts_type = "'engine-init' | 'compile' | 'compile-process' | 'instantiate' | 'rejected' | 'trap' | 'saturated' | 'sliced' | 'busy' | 'ended' | 'stack' | 'cancelled' | 'answer-size'"
    )]
    pub kind: &'static str,
    /// The message, one sentence.
    pub message: String,
    /// What is wrong with a module that does not compile, for the kind `compile`.
    #[napi(ts_type = "'invalid' | 'time' | 'memory' | 'image' | 'crash'")]
    pub reason: Option<&'static str>,
    /// The limited resource, for the kind `saturated`. TypeScript creates the failures of `queue`.
    #[napi(ts_type = "'stores' | 'pool' | 'queue' | 'staging' | 'compile' | 'streams' | 'address-space'")]
    pub resource: Option<&'static str>,
    /// Whether the host may be able to run a compile process later.
    pub retryable: bool,
    /// What was going on when the guest trapped: `instantiate`, `cc_lb_alloc`, `memory.write` or the name of the hook's
    /// export.
    pub phase: Option<&'static str>,
    /// The trap's name in kebab-case; null if the guest did not trap.
    pub trap: Option<&'static str>,
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

impl NativeFailure {
    fn new(kind: &'static str, message: String) -> NativeFailure {
        NativeFailure {
            failed: true,
            kind,
            message,
            reason: None,
            resource: None,
            retryable: false,
            phase: None,
            trap: None,
            cpu_share: None,
            frames: Vec::new(),
        }
    }
}

impl From<Failure> for NativeFailure {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        let of_kind = |kind| NativeFailure::new(kind, message);
        match failure {
            Failure::EngineInit(_) => of_kind("engine-init"),
            Failure::Compile { reason, .. } => NativeFailure { reason: Some(reason.as_str()), ..of_kind("compile") },
            Failure::CompileProcess { retryable, .. } => NativeFailure { retryable, ..of_kind("compile-process") },
            Failure::Instantiate(_) => of_kind("instantiate"),
            Failure::Rejected(_) => of_kind("rejected"),
            Failure::Trap(trap) => NativeFailure {
                phase: Some(trap.phase.as_str()),
                trap: Some(trap.name()),
                cpu_share: trap.cpu_share,
                frames: trap.frames.into_iter().map(Into::into).collect(),
                // A start function that traps is the cause of a failed instantiation.
                ..of_kind(if trap.phase == Phase::Instantiate { "instantiate" } else { "trap" })
            },
            Failure::Saturated(resource) => NativeFailure { resource: Some(resource.as_str()), ..of_kind("saturated") },
            Failure::Sliced => of_kind("sliced"),
            Failure::Busy => of_kind("busy"),
            Failure::Ended => of_kind("ended"),
            Failure::Stack { .. } => of_kind("stack"),
            Failure::Cancelled => of_kind("cancelled"),
            Failure::AnswerSize(_) => of_kind("answer-size"),
        }
    }
}

impl From<Frame> for NativeFrame {
    fn from(Frame { function, index, offset }: Frame) -> Self {
        NativeFrame { function, index, offset: offset.and_then(|offset| u32::try_from(offset).ok()) }
    }
}
