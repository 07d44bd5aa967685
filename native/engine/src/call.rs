//! The path of a call on any thread: alloc, write, hook, bounds, copy.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Trap;

use crate::deadline::{self, Cancel, Interruption};
use crate::engine::HotEngine;
use crate::failure::{Failure, GuestTrap, Phase, Resource, catching};
use crate::hook::Hook;
use crate::instance::Instance;
use crate::module::CompiledModule;
use crate::pool::Lease;
use crate::stack;
use crate::stream::Stream;

/// The alignment of every request: the strictest of rkyv's archives.
const ALIGN: u32 = 16;

/// A request in the caller's memory. Its parts are joined only in the guest's memory.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The bytes before the body.
    pub head: &'a [u8],
    /// The body, possibly empty.
    pub body: &'a [u8],
    /// The bytes after the body.
    pub tail: &'a [u8],
}

impl Request<'_> {
    /// Its bytes in total.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.len() + self.tail.len()
    }
}

/// What is called: a module, or the instance of a stream.
#[derive(Clone)]
pub struct Target {
    /// The engine of the module.
    pub engine: Arc<HotEngine>,
    /// The module.
    pub module: Arc<CompiledModule>,
    /// The stream to which the call's event belongs; its instance is called. `None` for a fresh instance.
    pub stream: Option<Arc<Stream>>,
}

/// The call of a hook and its limits. It borrows its target if it runs on the thread that makes it, because cloning a
/// target writes to reference counts that all threads share, and owns it if another thread will run it.
#[derive(Clone)]
pub struct Call<'a> {
    /// What is called.
    pub target: Cow<'a, Target>,
    /// The hook.
    pub hook: Hook,
    /// Time for instantiation, alloc and hook together.
    pub limit: Duration,
    /// CPU time after which the call is interrupted, to be repeated off-thread. An event of a stream has none, because
    /// its instance has state.
    pub slice: Option<Duration>,
    /// Ends the call early when set.
    pub cancel: Option<Arc<Cancel>>,
    /// Maximum bytes of an answer; a larger one is rejected before it is copied.
    pub max_answer: usize,
    /// Whether this is a probe, which is not counted in the engine's budget.
    pub probe: bool,
}

impl Call<'_> {
    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled())
    }

    /// Returns the same call with a target of its own.
    pub fn into_owned(self) -> Call<'static> {
        let Call { target, hook, limit, slice, cancel, max_answer, probe } = self;
        Call { target: Cow::Owned(target.into_owned()), hook, limit, slice, cancel, max_answer, probe }
    }
}

/// The result of a call, and its duration without instantiation.
pub struct Outcome<R> {
    /// The result of `read` on the answer, or the failure.
    pub result: Result<R, Failure>,
    /// Seconds, or NaN for a call without an instance.
    pub seconds: f64,
}

/// Calls the hook and passes its answer, in the guest's memory, to `read`. A call that fails after it was canceled fails
/// as canceled.
pub fn call<R>(call: &Call<'_>, request: Request<'_>, read: impl FnOnce(&[u8]) -> R) -> Outcome<R> {
    let mut seconds = f64::NAN;
    let panicked = |message| Failure::guest(Phase::Hook(call.hook), message);
    let mut result = catching(panicked, || enter(call, request, read, &mut seconds));
    if result.is_err() && call.is_cancelled() {
        result = Err(Failure::Cancelled);
    }
    Outcome { result, seconds }
}

fn enter<R>(
    call: &Call<'_>,
    request: Request<'_>,
    read: impl FnOnce(&[u8]) -> R,
    seconds: &mut f64,
) -> Result<R, Failure> {
    let engine = &call.target.engine;
    stack::check(engine.options.max_wasm_stack as usize).map_err(|(left, needed)| Failure::Stack { left, needed })?;
    let _permit = if call.probe { None } else { Some(engine.budget.take()?) };
    let deadline = deadline::arm(call.limit, call.slice, call.cancel.clone());
    attempt(call, request, read, seconds).map_err(|failure| interrupted(&deadline, failure))
}

/// Returns the failure of an interrupted guest, with the interruption.
fn interrupted(deadline: &deadline::Armed, failure: Failure) -> Failure {
    match failure {
        Failure::Trap(trap) if trap.code == Some(Trap::Interrupt) => match deadline.interruption() {
            Interruption::Slice => Failure::Sliced,
            Interruption::Deadline(cpu_share) => Failure::Trap(GuestTrap { cpu_share, ..trap }),
        },
        other => other,
    }
}

/// Makes the call under an armed deadline.
fn attempt<R>(
    call: &Call<'_>,
    request: Request<'_>,
    read: impl FnOnce(&[u8]) -> R,
    seconds: &mut f64,
) -> Result<R, Failure> {
    // A call that was canceled while it waited is not started.
    if call.is_cancelled() {
        return Err(Failure::Cancelled);
    }
    let Target { engine, module, stream } = &*call.target;
    let serve = |instance: &mut Instance| {
        let began = Instant::now();
        let result = run(call, instance, request, read);
        *seconds = began.elapsed().as_secs_f64();
        module.note_memory(instance.memory().len());
        result
    };
    if let Some(stream) = stream {
        // The memory serves all events, whatever the size of the first one.
        return stream.with(|| create(call, &engine.pool.lease(module, 0)), serve);
    }
    // Outlives the instance, whose memory it resets and keeps, also after a panic.
    let lease = engine.pool.lease(module, request.bytes());
    let mut instance = create(call, &lease)?;
    serve(&mut instance)
}

fn create(call: &Call<'_>, lease: &Lease<'_>) -> Result<Instance, Failure> {
    loop {
        let created = Instance::new(&call.target.module, call.hook);
        if created.is_ok() || !lease.lacks_address_space() {
            return created;
        }
        // The module is not the cause.
        if !lease.frees_address_space() {
            return Err(Failure::Saturated(Resource::AddressSpace));
        }
    }
}

fn run<R>(
    call: &Call<'_>,
    instance: &mut Instance,
    request: Request<'_>,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<R, Failure> {
    let Request { head, body, tail } = request;
    let length = u32::try_from(request.bytes()).map_err(|_| {
        Failure::Rejected("the request has more than 4,294,967,295 bytes, which no guest can address".to_owned())
    })?;
    let pointer = instance.alloc(length, ALIGN).map_err(|error| Failure::trap(Phase::Alloc, &error))?;
    if pointer == 0 {
        return Err(Failure::guest(Phase::Alloc, format!("cc_lb_alloc returned 0 for {length} bytes")));
    }
    // An allocator that returns before it reaches an epoch check may still have exceeded the deadline.
    if deadline::must_end() {
        return Err(Failure::trap(Phase::Alloc, &Trap::Interrupt.into()));
    }
    let memory = instance.memory_mut();
    let start = pointer as usize;
    let memory_bytes = memory.len();
    let target = memory.get_mut(start..start + length as usize).ok_or_else(|| {
        let message = format!("cc_lb_alloc returned {start} for {length} bytes in a memory of {memory_bytes}");
        Failure::guest(Phase::Write, message)
    })?;
    let (at_head, rest) = target.split_at_mut(head.len());
    let (at_body, at_tail) = rest.split_at_mut(body.len());
    at_head.copy_from_slice(head);
    at_body.copy_from_slice(body);
    at_tail.copy_from_slice(tail);

    let packed = instance.hook(pointer, length).map_err(|error| Failure::trap(Phase::Hook(call.hook), &error))?;
    let (pointer, length) = ((packed >> 32) as usize, (packed & 0xffff_ffff) as usize);
    let name = call.hook.export();
    if pointer == 0 && length == 0 && call.hook == Hook::Observe {
        return Ok(read(&[]));
    }
    if pointer == 0 || length == 0 {
        let message = format!("{name} returned pointer {pointer} and length {length}; only observe may return (0, 0)");
        return Err(Failure::Rejected(message));
    }
    let memory = instance.memory();
    let answer = memory.get(pointer..pointer + length).ok_or_else(|| {
        let bytes = memory.len();
        let message = format!("{name} returned {length} bytes at {pointer}, out of bounds of a memory of {bytes}");
        Failure::Rejected(message)
    })?;
    if answer.len() > call.max_answer {
        let message = format!("the answer has {} bytes, more than outputBodyBytes ({})", answer.len(), call.max_answer);
        return Err(Failure::AnswerSize(message));
    }
    // The answer of observe is ignored.
    Ok(read(if call.hook == Hook::Observe { &[] } else { answer }))
}

#[cfg(test)]
mod concurrency_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{call_of, load, options};

    /// A module whose filter returns its request, and whose shape never returns.
    const ECHO: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "cc_lb_alloc") (param i32 i32) (result i32) i32.const 1024)
        (func (export "cc_lb_free") (param i32 i32 i32))
        (func (export "cc_lb_filter") (param i32 i32) (result i64)
            local.get 0 i64.extend_i32_u i64.const 32 i64.shl local.get 1 i64.extend_i32_u i64.or)
        (func (export "cc_lb_shape") (param i32 i32) (result i64) (loop br 0) i64.const 0))"#;
    const ECHOES: Hook = Hook::Filter;
    const LOOPS: Hook = Hook::Shape;
    const REQUEST: Request<'static> = Request { head: b"he", body: b"ll", tail: b"o" };

    fn echo(group: &str) -> Target {
        load(options(group), &wat::parse_str(ECHO).expect("valid text"))
    }

    fn trap_of<R: std::fmt::Debug>(outcome: Outcome<R>) -> GuestTrap {
        match outcome.result {
            Err(Failure::Trap(trap)) => trap,
            other => panic!("not a trap: {other:?}"),
        }
    }

    #[test]
    fn the_parts_of_a_request_are_joined_in_the_guest() {
        let target = echo("joined");
        let outcome = call(&call_of(&target, ECHOES), REQUEST, <[u8]>::to_vec);
        assert_eq!(outcome.result.expect("an answer"), b"hello");
    }

    #[test]
    fn a_panic_becomes_a_failure_and_the_next_call_works() {
        let target = echo("panic");
        let trap = trap_of::<()>(call(&call_of(&target, ECHOES), REQUEST, |_| panic!("deliberate")));
        assert_eq!((trap.phase, trap.code), (Phase::Hook(ECHOES), None));
        assert!(trap.message.contains("deliberate"));
        assert_eq!(target.engine.budget.running(), 0);
        assert!(call(&call_of(&target, ECHOES), REQUEST, <[u8]>::len).result.is_ok());
    }

    #[test]
    fn a_call_that_exceeds_its_slice_is_interrupted_to_be_repeated() {
        let target = echo("slice");
        let sliced = |hook| Call { slice: Some(Duration::from_millis(4)), ..call_of(&target, hook) };
        assert!(matches!(call(&sliced(LOOPS), REQUEST, <[u8]>::len).result, Err(Failure::Sliced)));
        let next = call(&sliced(ECHOES), REQUEST, <[u8]>::len);
        assert_eq!(next.result.expect("the next call has a new slice"), 5);
    }

    #[test]
    fn an_expired_call_has_the_share_of_its_time_in_which_its_thread_ran() {
        let target = echo("share");
        // Long enough for the thread to get a processor on a busy machine.
        let expiring = Call { limit: Duration::from_secs(1), ..call_of(&target, LOOPS) };
        let share = trap_of(call(&expiring, REQUEST, <[u8]>::len)).cpu_share.expect("this platform has a CPU clock");
        assert!(share > 0.0 && share <= 1.0, "{share}");
    }

    #[test]
    fn an_endless_loop_ends_at_its_deadline() {
        let target = echo("loop");
        // Long enough to reach the hook on a busy machine.
        let expiring = Call { limit: Duration::from_secs(1), ..call_of(&target, LOOPS) };
        let trap = trap_of(call(&expiring, REQUEST, <[u8]>::len));
        assert_eq!((trap.phase, trap.code), (Phase::Hook(LOOPS), Some(Trap::Interrupt)));
    }

    #[test]
    fn a_canceled_call_fails_as_canceled_before_and_during_the_guest() {
        let target = echo("cancel");
        let cancel = Arc::<Cancel>::default();
        let canceled = Call { cancel: Some(Arc::clone(&cancel)), ..call_of(&target, LOOPS) };
        std::thread::scope(|scope| {
            let running = scope.spawn(|| call(&canceled, REQUEST, <[u8]>::len).result);
            while target.engine.budget.running() == 0 && !running.is_finished() {
                std::thread::yield_now();
            }
            cancel.cancel();
            assert!(matches!(running.join().expect("no panic"), Err(Failure::Cancelled)));
        });
        assert!(matches!(call(&canceled, REQUEST, <[u8]>::len).result, Err(Failure::Cancelled)));
    }

    #[test]
    fn an_owned_call_keeps_its_target_and_its_limits() {
        let target = echo("owned");
        let owned = Call { max_answer: 4, ..call_of(&target, ECHOES) }.into_owned();
        drop(target);
        let result = std::thread::spawn(move || call(&owned, REQUEST, <[u8]>::len).result).join().expect("no panic");
        assert!(matches!(result, Err(Failure::AnswerSize(_))));
    }
}
