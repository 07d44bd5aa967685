//! Failures of the engine as data. The addon passes them on, and TypeScript converts them to error classes.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use crate::hook::Hook;

/// Why an engine, a compilation or a call failed. Its `Display` is the message, one sentence.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The engine could not be built.
    EngineInit(String),
    /// The module cannot be compiled within its limits.
    Compile {
        /// What is wrong with the module.
        reason: CompileReason,
        /// The message.
        message: String,
    },
    /// The host cannot run the compile process. The module is not the cause.
    CompileProcess {
        /// Whether the host may be able to later.
        retryable: bool,
        /// The message.
        message: String,
    },
    /// The module could not be instantiated, for another reason than a trap of its start function.
    Instantiate(String),
    /// The module or its answer breaks the contract.
    Rejected(String),
    /// The guest trapped, or was interrupted at its deadline.
    Trap(GuestTrap),
    /// A limit is reached.
    Saturated(Resource),
    /// The call used its slice of CPU time and must be repeated off-thread.
    Sliced,
    /// An earlier event of the stream still runs.
    Busy,
    /// The stream has ended.
    Ended,
    /// Too little native stack is left on the thread.
    Stack {
        /// Bytes that are left.
        left: usize,
        /// Bytes that are needed.
        needed: usize,
    },
    /// The caller canceled the call or the compilation.
    Cancelled,
    /// The answer is larger than the caller's limit, or than the memory that is left.
    AnswerSize(String),
}

/// What is wrong with a module that cannot be compiled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompileReason {
    /// The compiler rejects it.
    Invalid,
    /// It takes too long.
    Time,
    /// It takes too much memory.
    Memory,
    /// Its image is too large.
    Image,
    /// The compiler crashes or panics.
    Crash,
}

/// A limited resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resource {
    /// Concurrent calls.
    Stores,
    /// Memories, tables or instances of the pooling allocator.
    Pool,
    /// Bytes of requests that wait for an off-thread call.
    Staging,
    /// Waiting compilations.
    Compile,
    /// Bytes of the instances of streams.
    Streams,
    /// Address space of the process for memories.
    AddressSpace,
}

/// What the host or the guest was doing when the guest trapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Instantiation, in which the start function runs. The module counts as one that could not be instantiated.
    Instantiate,
    /// The guest's allocation of memory for the request.
    Alloc,
    /// The host's write of the request.
    Write,
    /// The hook.
    Hook(Hook),
}

/// The trap of a guest, or a fault of the guest that counts as one.
#[derive(Clone, Debug)]
pub struct GuestTrap {
    /// What was going on.
    pub phase: Phase,
    /// wasmtime's code; `None` for a fault that is not a wasm trap.
    pub code: Option<Trap>,
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
    /// Creates the failure of a trap; its code is looked up in the chain of errors.
    pub fn trap(phase: Phase, error: &wasmtime::Error) -> Failure {
        let code = error.downcast_ref::<Trap>().copied();
        let frames = frames(error);
        // The message of an error with frames starts with the frames.
        let message = if frames.is_empty() { chain(error) } else { error.root_cause().to_string() };
        Failure::Trap(GuestTrap { phase, code, message, cpu_share: None, frames })
    }

    /// Creates the failure of a guest that did not trap but is at fault.
    pub fn guest(phase: Phase, message: impl Into<String>) -> Failure {
        Failure::Trap(GuestTrap { phase, code: None, message: message.into(), cpu_share: None, frames: Vec::new() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::EngineInit(message)
            | Failure::Compile { message, .. }
            | Failure::CompileProcess { message, .. }
            | Failure::Instantiate(message)
            | Failure::Rejected(message)
            | Failure::Trap(GuestTrap { message, .. })
            | Failure::AnswerSize(message) => formatter.write_str(message),
            Failure::Saturated(resource) => write!(formatter, "the limit of {} is reached", resource.as_str()),
            Failure::Sliced => formatter.write_str("the call exceeded its slice"),
            Failure::Busy => formatter.write_str("an earlier event of the stream still runs"),
            Failure::Ended => formatter.write_str("the stream has ended"),
            Failure::Stack { left, needed } => {
                write!(formatter, "{left} bytes of native stack are left on this thread and {needed} are needed")
            }
            Failure::Cancelled => formatter.write_str("the call was canceled"),
        }
    }
}

impl CompileReason {
    /// Its name for JavaScript.
    pub fn as_str(self) -> &'static str {
        match self {
            CompileReason::Invalid => "invalid",
            CompileReason::Time => "time",
            CompileReason::Memory => "memory",
            CompileReason::Image => "image",
            CompileReason::Crash => "crash",
        }
    }
}

impl Resource {
    /// Its name for JavaScript.
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Stores => "stores",
            Resource::Pool => "pool",
            Resource::Staging => "staging",
            Resource::Compile => "compile",
            Resource::Streams => "streams",
            Resource::AddressSpace => "address-space",
        }
    }
}

impl Phase {
    /// Its name for JavaScript: that of the export that ran, if one did.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Instantiate => "instantiate",
            Phase::Alloc => "cc_lb_alloc",
            Phase::Write => "memory.write",
            Phase::Hook(hook) => hook.export(),
        }
    }
}

impl GuestTrap {
    /// wasmtime's variant name in kebab-case; `unknown` for a fault that is not a wasm trap, and for a trap of a newer
    /// wasmtime that is not listed here.
    pub fn name(&self) -> &'static str {
        match self.code {
            Some(Trap::StackOverflow) => "stack-overflow",
            Some(Trap::MemoryOutOfBounds) => "memory-out-of-bounds",
            Some(Trap::HeapMisaligned) => "heap-misaligned",
            Some(Trap::TableOutOfBounds) => "table-out-of-bounds",
            Some(Trap::IndirectCallToNull) => "indirect-call-to-null",
            Some(Trap::BadSignature) => "bad-signature",
            Some(Trap::IntegerOverflow) => "integer-overflow",
            Some(Trap::IntegerDivisionByZero) => "integer-division-by-zero",
            Some(Trap::BadConversionToInteger) => "bad-conversion-to-integer",
            Some(Trap::UnreachableCodeReached) => "unreachable-code-reached",
            Some(Trap::Interrupt) => "interrupt",
            Some(Trap::AllocationTooLarge) => "allocation-too-large",
            _ => "unknown",
        }
    }
}

/// Runs `work`, and converts the message of a panic to a failure, because a panic must not unwind into C code. The
/// engine stays usable.
pub fn catching<R>(
    failure: impl FnOnce(String) -> Failure,
    work: impl FnOnce() -> Result<R, Failure>,
) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(failure(format!("the native layer panicked: {}", panic_text(&*payload)))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_given_failure() {
        let failure = catching::<()>(Failure::EngineInit, || panic!("deliberate")).expect_err("it panics");
        assert!(matches!(failure, Failure::EngineInit(message) if message == "the native layer panicked: deliberate"));
        assert_eq!(catching(Failure::EngineInit, || Ok(1)).expect("no panic"), 1);
    }

    #[test]
    fn a_fault_of_a_guest_that_is_no_wasm_trap_has_no_name() {
        let Failure::Trap(trap) = Failure::guest(Phase::Alloc, "it returned 0") else { panic!("a trap") };
        assert_eq!((trap.phase.as_str(), trap.name()), ("cc_lb_alloc", "unknown"));
        let Failure::Trap(trap) = Failure::trap(Phase::Write, &Trap::Interrupt.into()) else { panic!("a trap") };
        assert_eq!((trap.phase.as_str(), trap.name()), ("memory.write", "interrupt"));
    }
}
