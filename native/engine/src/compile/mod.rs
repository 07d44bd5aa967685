//! Compiles untrusted modules. The compiler has no limits of time or memory, so it runs in a child process: the
//! operating system limits the memory, and the process can be killed at any moment.
//!
//! [`submit`] queues a compilation and returns immediately. The supervisor, one native thread per process, starts,
//! feeds, reads, kills and reaps the compile processes; it makes progress while the JavaScript threads are blocked.
//!
//! ```text
//! submit ──> queue ──> supervisor ──stdin──> compile process (child.rs)
//!                        ^    |<──stdout──         |
//!                        |    └──> Compilation: ended, wait, take
//!                   wake pipe
//! ```

mod alloc;
#[cfg(unix)]
mod cache_dir;
#[cfg(not(unix))]
mod cache_dir_elsewhere;
mod cache_dir_stats;
mod child;
mod command;
mod compilation;
mod compile_process;
mod confine;
mod exit;
mod job;
#[cfg(unix)]
mod process;
// Tests on Unix compile it too, because a build for another system is rare.
#[cfg(any(test, not(unix)))]
#[cfg_attr(unix, allow(dead_code, reason = "its tests use a part of it"))]
mod process_elsewhere;
mod protocol;
mod queue;
mod refusals;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod seccomp;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

#[cfg(not(unix))]
use cache_dir_elsewhere as cache_dir;
#[cfg(not(unix))]
use process_elsewhere as process;

pub use cache_dir::{CacheDir, CacheDirStats, ImageName};
pub use child::run as run_compile_process;
pub use command::Command;
pub use compilation::{Compilation, submit};
pub use queue::Principal;
pub use supervisor::{Counts, counts};

use crate::failure::{CompileReason, Failure};
use crate::module_bytes::ModuleBytes;
use crate::options::CodeSettings;

/// Stack of the compiling thread. Cranelift recurses on deep nesting in a module.
const COMPILE_STACK: usize = 64 << 20;

/// One module to compile, and its limits.
pub struct Request {
    /// The settings of the compiler.
    pub code: CodeSettings,
    /// The module.
    pub wasm: Arc<ModuleBytes>,
    /// Identifies the content.
    pub hash: String,
    /// The principal that owns the module.
    pub principal: Principal,
    /// Limits of this compilation.
    pub limits: Limits,
    /// Limits of all compilations in the process that apply to this one.
    pub capacity: Capacity,
    /// Where the compiler runs.
    pub compile_in: CompileIn,
    /// Whether a JavaScript thread blocks until it ends. It precedes its principal's other compilations, and fails as
    /// saturated if it does not start within its time limit.
    pub urgent: bool,
}

/// Where the compiler runs.
#[derive(Clone)]
pub enum CompileIn {
    /// In a separate process.
    Process {
        /// The command that starts it.
        command: Arc<Command>,
        /// How long an idle process waits for the next module.
        spare: Duration,
    },
    /// On a thread of this process. Its memory is not limited, and it cannot be stopped.
    Thread,
}

/// Limits of one compilation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Time from the start of compiling.
    pub time: Duration,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the image.
    pub image: u64,
}

/// Limits of all compilations in the process.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Concurrent compilations.
    pub running: u64,
    /// Bytes of memory that they may use together.
    pub memory: u64,
    /// Waiting compilations.
    pub waiting: u64,
    /// Bytes of waiting modules.
    pub waiting_bytes: u64,
}

/// Returns the failure of a module.
fn module_failure(reason: CompileReason, message: impl Into<String>) -> Failure {
    Failure::Compile { reason, message: message.into() }
}

/// Returns a failure of the host, which does not concern the module.
fn host_failure(retryable: bool, message: impl Into<String>) -> Failure {
    Failure::CompileProcess { retryable, message: message.into() }
}

fn took_too_long(limits: &Limits) -> Failure {
    let message = format!("compiling takes longer than compileTimeoutMs ({})", limits.time.as_millis());
    module_failure(CompileReason::Time, message)
}

fn took_too_much_memory(limits: &Limits) -> Failure {
    let message = format!("compiling takes more memory than maxCompileBytes ({})", limits.memory);
    module_failure(CompileReason::Memory, message)
}
