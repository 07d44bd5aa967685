//! The supervisor thread: it takes compilations from the queue, and starts, feeds, reads, kills, and reaps their
//! processes. It lives as long as the process, because a compile process dies with the thread that started it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::compile_process::CompileProcess;
use super::job::{Compiled, Job, Outcome};
use super::process::{Command, Wake, block_broken_pipe, wait};
use super::queue::{Queue, share_of};
use super::refusals::Refusals;
use super::{COMPILE_STACK, CompileIn, Request, host_failure, module_failure, took_too_long};
use crate::code::compile_code;
use crate::failure::{CompileReason, Failure, Resource, chain, panic_text};
use crate::heap;

/// Interval of checking the queue for compilations whose waiting time has elapsed.
const QUEUE_INTERVAL: Duration = Duration::from_millis(100);

/// State shared by the supervisor and the submitting threads.
#[derive(Default)]
struct Shared {
    queue: Queue<Arc<Job>>,
    refusals: Refusals,
    /// Wakes the supervisor; `None` while none is running.
    wake: Option<Arc<Wake>>,
    counts: Counts,
}

/// Current numbers of compilations in the whole process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Running compilations.
    pub running: u64,
    /// Waiting compilations.
    pub waiting: u64,
    /// Compile processes, including idle and ending ones.
    pub processes: u64,
}

static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);

fn shared() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`super::submit`].
pub fn submit(request: Request) -> Result<Arc<Job>, Failure> {
    let mut shared = shared();
    if let Some(failure) = shared.refusals.find(&request.hash, &request.limits, Instant::now()) {
        return Err(failure);
    }
    let wake = match &shared.wake {
        Some(wake) => Arc::clone(wake),
        None => {
            let wake = start().map_err(|error| {
                host_failure(true, format!("the thread that supervises compilations does not start: {error}"))
            })?;
            Arc::clone(shared.wake.insert(wake))
        }
    };
    let capacity = request.capacity;
    let job = Arc::new(Job::new(request));
    let pushed = shared.queue.push(Arc::clone(&job), capacity.waiting, capacity.waiting_bytes);
    pushed.map_err(|_| Failure::Saturated(Resource::Compile))?;
    drop(shared);
    wake.wake();
    Ok(job)
}

/// Notifies the supervisor that a job was canceled.
pub(super) fn cancelled() {
    let mut shared = shared();
    let removed = shared.queue.remove(|job| job.cancelled());
    let wake = shared.wake.clone();
    drop(shared);
    removed.iter().for_each(|job| job.end(Err(Failure::Cancelled)));
    wake.inspect(|wake| wake.wake());
}

/// Returns the current numbers of compilations.
pub fn counts() -> Counts {
    let shared = shared();
    Counts { waiting: shared.queue.len(), ..shared.counts }
}

fn start() -> std::io::Result<Arc<Wake>> {
    let wake = Arc::new(Wake::new()?);
    let supervisor = Supervisor { wake: Arc::clone(&wake), processes: Vec::new(), threads: Vec::new(), spare: None };
    thread::Builder::new().name("cc-lb-compile".to_owned()).spawn(move || {
        block_broken_pipe();
        // A panic drops the supervisor, which ends its compilations. The next submission starts another supervisor.
        let _ = catch_unwind(AssertUnwindSafe(|| supervisor.run()));
        let mut shared = shared();
        shared.wake = None;
        shared.counts = Counts::default();
        let waiting = shared.queue.remove(|_| true);
        drop(shared);
        waiting.iter().for_each(|job| job.end(Err(host_failure(true, "the supervisor of compilations panicked"))));
    })?;
    Ok(wake)
}

/// The idle process that is kept, and its expiry.
struct Spare {
    command: Arc<Command>,
    until: Instant,
}

/// A compilation on a thread.
struct ThreadCompilation {
    job: Arc<Job>,
    since: Instant,
    finished: Arc<AtomicBool>,
}

struct Supervisor {
    wake: Arc<Wake>,
    processes: Vec<CompileProcess>,
    threads: Vec<ThreadCompilation>,
    spare: Option<Spare>,
}

impl Supervisor {
    fn run(mut self) {
        let mut watched = Vec::new();
        let mut was_idle = true;
        loop {
            self.wake.clear();
            self.advance();
            self.start_jobs();
            self.keep_spare();
            let is_idle = self.processes.is_empty() && self.threads.is_empty();
            if is_idle && !was_idle {
                // Modules, their images and the loader's temporary blocks leave free pages that requests do not need.
                heap::return_freed_memory();
            }
            was_idle = is_idle;
            watched.clear();
            self.wake.watch(&mut watched);
            self.processes.iter().for_each(|process| process.watch(&mut watched));
            let timeout = self.publish();
            wait(&self.wake, &mut watched, timeout, !self.processes.is_empty());
        }
    }

    /// Publishes the counts, and returns how long the supervisor may wait for events.
    fn publish(&self) -> Option<Duration> {
        let mut shared = shared();
        shared.counts =
            Counts { running: self.jobs().count() as u64, waiting: 0, processes: self.processes.len() as u64 };
        let now = Instant::now();
        let of_queue = (shared.queue.len() > 0).then(|| now + QUEUE_INTERVAL);
        drop(shared);
        let of_threads =
            self.threads.iter().filter(|one| !one.job.has_ended()).map(|one| one.since + one.job.request.limits.time);
        let of_processes = self.processes.iter().filter_map(|process| process.deadline(now));
        let of_spare = self.spare.as_ref().map(|spare| spare.until);
        let first = of_threads.chain(of_processes).chain(of_spare).chain(of_queue).min();
        first.map(|first| first.saturating_duration_since(now))
    }

    /// The jobs that hold a permit: until their process is reaped or their thread has finished.
    fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.processes.iter().filter_map(CompileProcess::job).chain(self.threads.iter().map(|one| &one.job))
    }

    /// Advances every compilation without blocking.
    fn advance(&mut self) {
        let now = Instant::now();
        let mut ended = Vec::new();
        self.processes.retain_mut(|process| {
            let (outcome, reaped) = process.advance(now, unwanted);
            ended.extend(outcome.zip(process.job().cloned()));
            if reaped && process.job().is_none() {
                // A spare process that exits early is not replaced before the next job.
                self.spare.take_if(|spare| spare.command == process.command);
            }
            !reaped
        });
        self.threads.retain(|one| {
            let overdue = now.saturating_duration_since(one.since) >= one.job.request.limits.time;
            let failure = overdue.then(|| took_too_long(&one.job.request.limits));
            let failure = failure.or_else(|| unwanted(&one.job).then_some(Failure::Cancelled));
            if let Some(failure) = failure.filter(|_| !one.job.has_ended()) {
                ended.push((Err(failure), Arc::clone(&one.job)));
            }
            !one.finished.load(SeqCst)
        });
        for (outcome, job) in ended {
            if let CompileIn::Process { command, spare } = &job.request.compile_in {
                self.spare = Some(Spare { command: Arc::clone(command), until: now + *spare });
            }
            end(&job, outcome);
        }
    }

    /// Starts the compilations that the limits permit.
    fn start_jobs(&mut self) {
        loop {
            let mut shared = shared();
            // An equal compilation that runs will end this one too.
            let attached = |job: &Arc<Job>| self.jobs().any(|other| !other.has_ended() && other.equals(job));
            if let Some(job) = shared.queue.take(attached, |job| self.may_start(job)) {
                drop(shared);
                match job.request.compile_in.clone() {
                    CompileIn::Process { command, .. } => self.start_process(job, &command),
                    CompileIn::Thread => self.start_thread(job),
                }
                continue;
            }
            // A job that can start is never late, however late this thread runs.
            let now = Instant::now();
            let late = shared.queue.remove(|job| {
                let waited = now.saturating_duration_since(job.submitted);
                job.request.urgent && waited >= job.request.limits.time && !attached(job)
            });
            drop(shared);
            late.iter().for_each(|job| job.end(Err(Failure::Saturated(Resource::Compile))));
            return;
        }
    }

    /// Whether the limits permit the job and its principal has not used up its share.
    fn may_start(&self, job: &Job) -> bool {
        let capacity = job.request.capacity;
        let (mut running, mut memory, mut of_principal) = (0, 0u64, 0);
        for other in self.jobs() {
            running += 1;
            memory = memory.saturating_add(other.memory());
            of_principal += u64::from(other.request.principal == job.request.principal);
        }
        running < capacity.running
            && of_principal < share_of(capacity.running)
            && (running == 0 || memory.saturating_add(job.memory()) <= capacity.memory)
    }

    fn start_process(&mut self, job: Arc<Job>, command: &Arc<Command>) {
        let free = self.processes.iter_mut().find(|process| process.free() && process.command == *command);
        if let Some(process) = free {
            process.assign(job);
            return;
        }
        match CompileProcess::start(command) {
            Ok(mut process) => {
                process.assign(job);
                self.processes.push(process);
            }
            Err(failure) => end(&job, Err(failure)),
        }
    }

    fn start_thread(&mut self, job: Arc<Job>) {
        let finished = Arc::new(AtomicBool::new(false));
        let compilation =
            ThreadCompilation { job: Arc::clone(&job), since: Instant::now(), finished: Arc::clone(&finished) };
        let wake = Arc::clone(&self.wake);
        let compile = move || {
            end(&job, compile_here(&job.request));
            finished.store(true, SeqCst);
            wake.wake();
        };
        match thread::Builder::new().name("cc-lb-compiler".to_owned()).stack_size(COMPILE_STACK).spawn(compile) {
            Ok(_) => self.threads.push(compilation),
            Err(error) => end(&compilation.job, Err(host_failure(true, format!("no thread to compile on: {error}")))),
        }
    }

    /// Keeps one idle process for the next job for a while after the last one.
    fn keep_spare(&mut self) {
        if self.spare.as_ref().is_some_and(|spare| spare.until <= Instant::now()) {
            self.spare = None;
        }
        let wanted = self.spare.as_ref().map(|spare| &spare.command);
        let mut found = false;
        for process in self.processes.iter_mut().filter(|process| process.free()) {
            if wanted == Some(&process.command) && !found {
                found = true;
            } else {
                process.kill();
            }
        }
        // A process that a job waits for is started first, because starting uses processor time.
        let starting = self.processes.iter().any(CompileProcess::starting);
        if let Some(command) = wanted.filter(|_| !found && !starting) {
            match CompileProcess::start(command) {
                Ok(process) => self.processes.push(process),
                Err(_) => self.spare = None,
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for job in self.jobs() {
            job.end(Err(host_failure(true, "the supervisor of compilations panicked")));
        }
    }
}

/// Whether nothing waits for a job.
fn unwanted(job: &Job) -> bool {
    job.cancelled() && !shared().queue.any(|other| other.equals(job))
}

/// Ends a job and the waiting ones that it equals, and remembers a failure that would recur.
fn end(job: &Job, outcome: Outcome) {
    let mut shared = shared();
    if let Err(Failure::Compile { reason: reason @ (CompileReason::Time | CompileReason::Memory), message }) = &outcome
    {
        let Request { hash, limits, .. } = &job.request;
        shared.refusals.add(hash.clone(), *limits, *reason, message.clone(), Instant::now());
    }
    // One that was submitted after the last one was canceled waits for its own turn.
    let cancelled = matches!(outcome, Err(Failure::Cancelled));
    let equal = shared.queue.remove(|other| !cancelled && other.equals(job));
    drop(shared);
    equal.iter().for_each(|other| other.end(outcome.clone()));
    job.end(outcome);
}

/// Compiles on this thread.
fn compile_here(request: &Request) -> Outcome {
    let compiled = catch_unwind(AssertUnwindSafe(|| compile_code(&request.code, &request.wasm)));
    let image = compiled
        .map_err(|panic| {
            module_failure(CompileReason::Crash, format!("the compiler panicked: {}", panic_text(&*panic)))
        })?
        .map_err(|error| module_failure(CompileReason::Invalid, chain(&error)))?;
    if image.len() as u64 > request.limits.image {
        let problem =
            format!("its image has {} bytes, more than maxImageBytes ({})", image.len(), request.limits.image);
        return Err(module_failure(CompileReason::Image, problem));
    }
    Ok(Compiled { image: Arc::new(image), digest: *blake3::hash(&request.wasm).as_bytes() })
}
