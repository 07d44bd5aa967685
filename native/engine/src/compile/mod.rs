//! Compiling untrusted modules. The compiler has no limits of its own in time or memory, so it runs in a child process:
//! the operating system limits the memory, and the process can be killed at any moment.
//!
//! [`submit`] queues a compilation and returns at once. The supervisor, one native thread per process, starts, feeds,
//! reads, kills and reaps the compile processes; it makes progress while the JavaScript threads are blocked.
//!
//! ```text
//! submit ──> queue ──> supervisor ──stdin──> compile process (child.rs)
//!                        ^    |<──stdout──         |
//!                        |    └──> Compilation: ended, wait, take
//!                   wake pipe
//! ```

mod alloc;
#[cfg_attr(not(unix), path = "cache_dir_elsewhere.rs")]
mod cache_dir;
mod child;
mod command;
mod compilation;
mod compile_process;
mod confine;
mod exit;
mod job;
#[cfg_attr(not(unix), path = "process_elsewhere.rs")]
mod process;
mod protocol;
mod queue;
mod refusals;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

pub use cache_dir::{CacheDir, CacheDirStats, ImageName, Lookup};
pub use child::run as run_compile_process;
pub use command::Command;
pub use compilation::{Compilation, submit};
pub use queue::Principal;
pub use supervisor::{Counts, counts};

use crate::failure::{Failure, Kind};
use crate::options::CodeSettings;

/// Stack of the compiling thread: deep nesting in a module is recursion in Cranelift.
const COMPILE_STACK: usize = 64 << 20;

/// One module to compile, and all that limits it.
pub struct Request {
    /// Which code the compiler generates.
    pub code: CodeSettings,
    /// The module.
    pub wasm: Arc<Vec<u8>>,
    /// Identifies the content.
    pub hash: String,
    /// Whose module it is.
    pub principal: Principal,
    /// Limits of this compilation.
    pub limits: Limits,
    /// Limits of all compilations in the process, as far as they concern this one.
    pub capacity: Capacity,
    /// Where the compiler runs.
    pub place: Place,
    /// Whether a JavaScript thread blocks until it ends. It goes ahead of its principal's others, and fails as saturated
    /// if it does not start within its time limit.
    pub urgent: bool,
}

/// Where the compiler runs.
#[derive(Clone)]
pub enum Place {
    /// In a process of its own.
    Process {
        /// How to start it.
        command: Arc<Command>,
        /// How long an idle process waits for the next module.
        spare: Duration,
    },
    /// On a thread of this process. Its memory has no limit, and it cannot be stopped.
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
    /// Compilations at once.
    pub running: u64,
    /// Bytes of memory that those may use together.
    pub memory: u64,
    /// Compilations that wait.
    pub waiting: u64,
    /// Bytes of modules that wait.
    pub waiting_bytes: u64,
}

/// The failure of a module, with the reason's name on the boundary.
fn module_failure(reason: &'static str, message: impl Into<String>) -> Failure {
    Failure { place: reason, ..Failure::new(Kind::Compile, message) }
}

/// A failure of the host, which says nothing about the module.
fn host_failure(retryable: bool, message: impl Into<String>) -> Failure {
    Failure { place: if retryable { "retryable" } else { "" }, ..Failure::new(Kind::CompileProcess, message) }
}

fn took_too_long(limits: &Limits) -> Failure {
    module_failure("time", format!("compiling takes longer than compileTimeoutMs ({})", limits.time.as_millis()))
}

fn took_too_much_memory(limits: &Limits) -> Failure {
    module_failure("memory", format!("compiling takes more memory than maxCompileBytes ({})", limits.memory))
}
