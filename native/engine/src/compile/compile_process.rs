//! The supervisor's view of a compile process.
//!
//! ```text
//!   started ──READY──> idle ──job──> working ──answer──> ending ──reaped──> dropped
//!      └──────────────job assigned early──────┘             ^
//!   any state ──deadline, cancellation, wrong bytes, exit───┘
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Compiled, Job, Outcome};
use super::process::{Command, Exit, Process, Watched, fault, is_time_limit, is_transient};
use super::protocol::{ANSWER_HEADER_BYTES, AnswerHeader, EXIT_MEMORY, JOB_HEADER_BYTES, JobHeader, READY, Status};
use super::{host_failure, module_failure, took_too_long, took_too_much_memory};
use crate::failure::{CompileReason, Failure};

/// Time until the process reports that it is ready.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of stderr that are kept for messages.
const MAX_ERROR_BYTES: usize = 2 << 10;
/// Bytes of a message instead of an image.
const MAX_MESSAGE_BYTES: u64 = 16 << 10;

/// A process that compiles one module.
pub struct CompileProcess {
    /// How it was started.
    pub command: Arc<Command>,
    process: Process,
    job: Option<Assigned>,
    /// When it was started, then when the job began.
    since: Instant,
    ready: bool,
    output: Vec<u8>,
    errors: Vec<u8>,
    killed: bool,
}

struct Assigned {
    job: Arc<Job>,
    header: [u8; JOB_HEADER_BYTES],
    /// Written bytes of the header and the module.
    sent: usize,
    ended: bool,
}

impl CompileProcess {
    /// Starts a process.
    pub fn start(command: &Arc<Command>) -> Result<CompileProcess, Failure> {
        let process = Process::start(command).map_err(|error| cannot_start(command, &error))?;
        Ok(CompileProcess {
            command: Arc::clone(command),
            process,
            job: None,
            since: Instant::now(),
            ready: false,
            output: Vec::new(),
            errors: Vec::new(),
            killed: false,
        })
    }

    /// Assigns its only job.
    pub fn assign(&mut self, job: Arc<Job>) {
        let request = &job.request;
        let header = JobHeader {
            code: request.code.clone(),
            memory: request.limits.memory,
            time: request.limits.time,
            wasm_bytes: request.wasm.len() as u64,
        };
        self.job = Some(Assigned { header: header.encode(), job, sent: 0, ended: false });
        if self.ready {
            self.since = Instant::now();
        }
    }

    /// The job, from its assignment until the process is reaped.
    pub fn job(&self) -> Option<&Arc<Job>> {
        self.job.as_ref().map(|assigned| &assigned.job)
    }

    /// Whether it can take a job.
    pub fn free(&self) -> bool {
        self.job.is_none() && !self.killed
    }

    /// Whether it has not yet reported that it is ready.
    pub fn starting(&self) -> bool {
        !self.ready && !self.killed
    }

    /// The latest time of the next call of [`CompileProcess::advance`].
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        /// Interval of polling for an exit that the kernel does not report.
        const CHECK_INTERVAL: Duration = Duration::from_millis(2);
        let limit = self.limit().filter(|_| !self.killed).map(|limit| self.since + limit);
        let ending = self.killed || self.process.output_closed();
        let check = (ending && !self.process.end_is_watched()).then(|| now + CHECK_INTERVAL);
        limit.into_iter().chain(check).min()
    }

    fn limit(&self) -> Option<Duration> {
        match &self.job {
            _ if !self.ready => Some(START_LIMIT),
            Some(assigned) => Some(assigned.job.request.limits.time),
            None => None,
        }
    }

    /// Adds the events to wait for.
    pub fn watch(&self, watched: &mut Vec<Watched>) {
        let writing = self.ready && self.job.as_ref().is_some_and(|assigned| !assigned.all_sent());
        self.process.watch(writing, watched);
    }

    /// Kills the process. It must still be reaped.
    pub fn kill(&mut self) {
        if !self.killed {
            self.killed = true;
            self.process.kill();
        }
    }

    /// Makes progress without blocking. Returns the outcome of the job once, and whether the process is reaped.
    /// `unwanted` is whether nothing waits for a job.
    pub fn advance(&mut self, now: Instant, unwanted: impl Fn(&Job) -> bool) -> (Option<Outcome>, bool) {
        // Check for the exit first: after it, everything that the process wrote is in the pipe.
        let exit = self.process.exit();
        self.process.read_errors(&mut self.errors, MAX_ERROR_BYTES);
        if !self.killed {
            self.process.read_output(&mut self.output);
        }
        let mut outcome = self.interpret();
        if outcome.is_none() && !self.killed {
            self.send();
            outcome = exit.map(|exit| Err(self.failure_of(exit)));
            if outcome.is_none() {
                outcome = self.overdue(now, unwanted).map(Err);
            }
        }
        if outcome.is_some() {
            self.kill();
            self.output = Vec::new();
        }
        (outcome.filter(|_| self.end_job()), exit.is_some())
    }

    /// Marks the job as ended. Returns false without a job or if it had already ended.
    fn end_job(&mut self) -> bool {
        self.job.as_mut().is_some_and(|assigned| !std::mem::replace(&mut assigned.ended, true))
    }

    fn overdue(&self, now: Instant, unwanted: impl Fn(&Job) -> bool) -> Option<Failure> {
        let assigned = self.job.as_ref();
        if assigned.is_some_and(|assigned| unwanted(&assigned.job)) {
            return Some(Failure::Cancelled);
        }
        if now.saturating_duration_since(self.since) < self.limit()? {
            return None;
        }
        Some(match assigned.filter(|_| self.ready) {
            Some(assigned) => took_too_long(&assigned.job.request.limits),
            None => host_failure(true, format!("{} was not ready in {} s", self.name(), START_LIMIT.as_secs())),
        })
    }

    /// Writes the rest of the job.
    fn send(&mut self) {
        let Some(assigned) = self.job.as_mut().filter(|_| self.ready) else { return };
        while !assigned.all_sent() {
            let wasm = &assigned.job.request.wasm;
            let rest = match assigned.sent.checked_sub(JOB_HEADER_BYTES) {
                Some(start) => &wasm[start..],
                None => &assigned.header[assigned.sent..],
            };
            match self.process.write(rest) {
                Ok(count) if count > 0 => assigned.sent += count,
                // The pipe is full, or the process is ending, which the exit check notices.
                _ => return,
            }
        }
    }

    /// Interprets the bytes that the process has written so far. They are untrusted.
    fn interpret(&mut self) -> Option<Outcome> {
        if self.killed {
            return None;
        }
        if !self.ready {
            let start = &self.output[..self.output.len().min(READY.len())];
            if !READY.starts_with(start) {
                let problem =
                    format!("{} sends an answer that the protocol of this version does not have", self.name());
                return Some(Err(host_failure(false, problem)));
            }
            if start.len() < READY.len() {
                return None;
            }
            self.ready = true;
            self.since = Instant::now();
        }
        self.interpret_answer()
    }

    /// Interprets the bytes after [`READY`].
    fn interpret_answer(&mut self) -> Option<Outcome> {
        let answer = &self.output[READY.len()..];
        let Some(assigned) = self.job.as_ref().filter(|assigned| assigned.sent > 0) else {
            return (!answer.is_empty()).then(|| Err(self.invalid_answer()));
        };
        let header = AnswerHeader::decode(answer.first_chunk::<ANSWER_HEADER_BYTES>()?);
        let Some(AnswerHeader { status, digest, payload_bytes }) = header else {
            return Some(Err(self.invalid_answer()));
        };
        let max_image = assigned.job.request.limits.image;
        if status == Status::Image && payload_bytes > max_image {
            let problem = format!("its image has {payload_bytes} bytes, more than maxImageBytes ({max_image})");
            return Some(Err(module_failure(CompileReason::Image, problem)));
        }
        let present = (answer.len() - ANSWER_HEADER_BYTES) as u64;
        if present > payload_bytes || (status != Status::Image && payload_bytes > MAX_MESSAGE_BYTES) {
            return Some(Err(self.invalid_answer()));
        }
        if present < payload_bytes {
            // Without the reservation, memory that is short would end this process instead of the compilation.
            let reserved = usize::try_from(payload_bytes - present).is_ok_and(|rest| self.reserve(rest));
            let problem = || host_failure(true, format!("no memory for an answer of {payload_bytes} bytes"));
            return (!reserved).then(|| Err(problem()));
        }
        let mut payload = std::mem::take(&mut self.output);
        payload.drain(..READY.len() + ANSWER_HEADER_BYTES);
        let text = || String::from_utf8_lossy(&payload).into_owned();
        Some(match status {
            Status::Image => Ok(Compiled { image: Arc::new(payload), digest }),
            Status::Refused => Err(module_failure(CompileReason::Invalid, text())),
            Status::Panicked => Err(module_failure(CompileReason::Crash, format!("the compiler panicked: {}", text()))),
        })
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        self.output.try_reserve_exact(bytes).is_ok()
    }

    fn invalid_answer(&self) -> Failure {
        host_failure(false, format!("{} sent an invalid answer", self.name()))
    }

    /// Returns the failure for a process that ended without an answer.
    fn failure_of(&self, exit: Exit) -> Failure {
        let job = self.job.as_ref().filter(|_| self.ready).map(|assigned| &assigned.job.request.limits);
        match (exit, job) {
            (Exit::Code(EXIT_MEMORY), Some(limits)) => took_too_much_memory(limits),
            (_, Some(limits)) if is_time_limit(exit) => took_too_long(limits),
            (_, Some(_)) if fault(exit).is_some() => {
                let name = fault(exit).unwrap_or_default();
                module_failure(CompileReason::Crash, format!("the compiler crashed ({name})"))
            }
            (Exit::Signal(signal), _) => {
                let retryable = fault(exit).is_none();
                host_failure(retryable, format!("{} was ended by signal {signal}{}", self.name(), self.reason()))
            }
            (Exit::Code(code), _) => {
                host_failure(false, format!("{} ended with exit code {code}{}", self.name(), self.reason()))
            }
            (Exit::Unknown, _) => host_failure(true, format!("{} ended, and other code reaped it", self.name())),
        }
    }

    fn name(&self) -> String {
        format!("the compile process ({})", self.command.program)
    }

    /// Returns the first line of its stderr.
    fn reason(&self) -> String {
        let text = String::from_utf8_lossy(&self.errors);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.map(|line| format!(": {line}")).unwrap_or_default()
    }
}

impl Assigned {
    fn all_sent(&self) -> bool {
        self.sent == JOB_HEADER_BYTES + self.job.request.wasm.len()
    }
}

/// Returns the failure of a process that could not be started.
fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    host_failure(is_transient(error), format!("{} cannot be started: {error}", command.program))
}
