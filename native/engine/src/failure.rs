//! Failures as data: kind, phase, and wasmtime's trap name. TypeScript converts them to error classes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

/// The kind of a failure, which determines the TypeScript class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The engine could not be built.
    EngineInit,
    /// The module cannot be compiled, or not within its limits; `place` is the reason.
    Compile,
    /// The host cannot run the compile process; `place` is `retryable` if it may be able to later.
    CompileProcess,
    /// The module could not be instantiated.
    Instantiate,
    /// The module or its answer breaks the contract.
    Rejected,
    /// The guest trapped or expired.
    Trap,
    /// A limit is reached; `place` names the resource.
    Saturated,
    /// The call exceeded its slice and must be repeated off-thread.
    Sliced,
    /// An earlier event of the stream still runs.
    Busy,
    /// The stream has ended.
    Ended,
    /// Too little native stack is left on the thread.
    Stack,
    /// The caller canceled the call.
    Cancelled,
    /// The answer is larger than the caller's limit.
    AnswerSize,
}

impl Kind {
    /// Its name for JavaScript, in kebab-case.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::EngineInit => "engine-init",
            Kind::Compile => "compile",
            Kind::CompileProcess => "compile-process",
            Kind::Instantiate => "instantiate",
            Kind::Rejected => "rejected",
            Kind::Trap => "trap",
            Kind::Saturated => "saturated",
            Kind::Sliced => "sliced",
            Kind::Busy => "busy",
            Kind::Ended => "ended",
            Kind::Stack => "stack",
            Kind::Cancelled => "cancelled",
            Kind::AnswerSize => "answer-size",
        }
    }
}

/// A failure for JavaScript.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The kind, which determines the class.
    pub kind: Kind,
    /// The phase of a trap, or the saturated resource.
    pub place: &'static str,
    /// The trap's name; empty if the failure is not a trap.
    pub trap: &'static str,
    /// The message.
    pub message: String,
    /// For an expired call, the share of the last half of its time or more in which its thread ran, from 0 to 1. A
    /// small share means that the machine was busy and the guest did not cause the expiry.
    pub cpu_share: Option<f64>,
    /// The wasm functions that were active, innermost first; empty unless the engine explains failures.
    pub frames: Vec<Frame>,
}

/// One active function of a guest that failed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its name, if the module has a name section.
    pub function: Option<String>,
    /// Its index in the module.
    pub index: u32,
    /// The offset of the instruction from the start of the module's file.
    pub offset: Option<usize>,
}

impl Failure {
    /// The trap of a guest that was interrupted.
    pub const INTERRUPT: &str = "interrupt";

    /// A failure that is neither a trap nor saturation.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure { kind, place: "", trap: "", message: message.into(), cpu_share: None, frames: Vec::new() }
    }

    /// Creates the failure of a reached limit.
    pub fn saturated(resource: &'static str) -> Self {
        Failure {
            kind: Kind::Saturated,
            place: resource,
            trap: "",
            message: String::new(),
            cpu_share: None,
            frames: Vec::new(),
        }
    }

    /// A trap during `phase`; the cause's trap code is looked up in the error chain.
    pub fn trap(phase: &'static str, error: &wasmtime::Error) -> Self {
        let trap = error.downcast_ref::<Trap>().map_or("unknown", |trap| trap_name(*trap));
        let frames = frames(error);
        // The message of an error with frames starts with the frames.
        let message = if frames.is_empty() { chain(error) } else { error.root_cause().to_string() };
        Failure { kind: Kind::Trap, place: phase, trap, message, cpu_share: None, frames }
    }

    /// Creates a failure of the guest that is not a wasm trap but is reported as one in `phase`.
    pub fn guest(phase: &'static str, message: impl Into<String>) -> Self {
        Failure {
            kind: Kind::Trap,
            place: phase,
            trap: "unknown",
            message: message.into(),
            cpu_share: None,
            frames: Vec::new(),
        }
    }

    /// Creates the failure of a caught panic. The engine stays usable.
    pub fn panic(kind: Kind, payload: &(dyn std::any::Any + Send)) -> Self {
        let message = format!("the native layer panicked: {}", panic_text(payload));
        Failure { kind, place: "native", trap: "unknown", message, cpu_share: None, frames: Vec::new() }
    }
}

/// Runs `work` and converts a panic to a failure of this kind, because a panic must not unwind into C code.
pub fn catching<R>(kind: Kind, work: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Failure::panic(kind, &*payload)))
}

fn frames(error: &wasmtime::Error) -> Vec<Frame> {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let frame = |frame: &FrameInfo| Frame {
        function: frame.func_name().map(str::to_owned),
        index: frame.func_index(),
        offset: frame.module_offset(),
    };
    backtrace.map_or_else(Vec::new, |backtrace| backtrace.frames().iter().map(frame).collect())
}

/// Returns the message of a panic.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Formats the error and its causes in one line, outermost first.
pub fn chain(error: &wasmtime::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Returns wasmtime's variant name in kebab-case; `unknown` for a trap of a newer wasmtime that is not listed here.
fn trap_name(trap: Trap) -> &'static str {
    match trap {
        Trap::StackOverflow => "stack-overflow",
        Trap::MemoryOutOfBounds => "memory-out-of-bounds",
        Trap::HeapMisaligned => "heap-misaligned",
        Trap::TableOutOfBounds => "table-out-of-bounds",
        Trap::IndirectCallToNull => "indirect-call-to-null",
        Trap::BadSignature => "bad-signature",
        Trap::IntegerOverflow => "integer-overflow",
        Trap::IntegerDivisionByZero => "integer-division-by-zero",
        Trap::BadConversionToInteger => "bad-conversion-to-integer",
        Trap::UnreachableCodeReached => "unreachable-code-reached",
        Trap::Interrupt => Failure::INTERRUPT,
        Trap::AllocationTooLarge => "allocation-too-large",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_failure_of_the_kind_that_is_given() {
        let failure = catching::<()>(Kind::Compile, || panic!("deliberate")).expect_err("it panics");
        assert_eq!(failure.kind, Kind::Compile);
        assert!(failure.message.ends_with("deliberate"));
        assert_eq!(catching(Kind::Compile, || Ok(1)).expect("no panic"), 1);
    }
}
