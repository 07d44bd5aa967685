//! The path of a call on any thread: alloc, write, hook, bounds, copy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Trap;

use crate::deadline::{self, Cancel, Interruption};
use crate::engine::HotEngine;
use crate::failure::{Failure, GuestTrap, Phase, catching};
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

/// The call of a hook and its limits.
pub struct Call<'a> {
    /// The engine of the module.
    pub engine: &'a HotEngine,
    /// The module.
    pub module: &'a Arc<CompiledModule>,
    /// The hook.
    pub hook: Hook,
    /// Time for instantiation, alloc and hook together.
    pub limit: Duration,
    /// CPU time after which the call is interrupted, to be repeated off-thread.
    pub slice: Option<Duration>,
    /// The stream to which the call's event belongs; its instance is called.
    pub stream: Option<&'a Stream>,
    /// Ends the call early when set.
    pub cancel: Option<Arc<Cancel>>,
    /// Maximum bytes of an answer; a larger one is rejected before it is copied.
    pub max_answer: usize,
    /// Whether this is a probe, which is not counted in the engine's budget.
    pub probe: bool,
}

/// The result of a call, and its duration without instantiation.
pub struct Outcome<R> {
    /// The result of `read` on the answer, or the failure.
    pub result: Result<R, Failure>,
    /// Seconds, or NaN for a call without an instance.
    pub seconds: f64,
}

/// Calls the hook and passes its answer, in the guest's memory, to `read`.
pub fn call<R>(call: &Call<'_>, request: Request<'_>, read: impl FnOnce(&[u8]) -> R) -> Outcome<R> {
    let mut seconds = f64::NAN;
    let panicked = |message| Failure::guest(Phase::Hook(call.hook), message);
    let result = catching(panicked, || enter(call, request, read, &mut seconds));
    Outcome { result, seconds }
}

fn enter<R>(
    call: &Call<'_>,
    request: Request<'_>,
    read: impl FnOnce(&[u8]) -> R,
    seconds: &mut f64,
) -> Result<R, Failure> {
    stack::check(call.engine.options.max_wasm_stack as usize)
        .map_err(|(left, needed)| Failure::Stack { left, needed })?;
    let _permit = if call.probe { None } else { Some(call.engine.budget.take()?) };
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
    if call.cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled()) {
        return Err(Failure::Cancelled);
    }
    let serve = |instance: &mut Instance| {
        let began = Instant::now();
        let result = run(call, instance, request, read);
        *seconds = began.elapsed().as_secs_f64();
        call.module.note_memory(instance.memory().len());
        result
    };
    if let Some(stream) = call.stream {
        return stream.with(|| create(call, &call.engine.pool.lease(call.module)), serve);
    }
    // Outlives the instance, whose memory it resets and keeps, also after a panic.
    let lease = call.engine.pool.lease(call.module);
    let mut instance = create(call, &lease)?;
    serve(&mut instance)
}

fn create(call: &Call<'_>, lease: &Lease<'_>) -> Result<Instance, Failure> {
    loop {
        match Instance::new(call.module, call.hook) {
            Err(_) if lease.frees_address_space() => {}
            instance => return instance,
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
    let length = u32::try_from(head.len() + body.len() + tail.len()).map_err(|_| {
        Failure::Rejected("the request has more than 4,294,967,295 bytes, which no guest can address".to_owned())
    })?;
    let pointer = instance.alloc(length, ALIGN).map_err(|error| Failure::trap(Phase::Alloc, &error))?;
    if pointer == 0 {
        return Err(Failure::guest(Phase::Alloc, format!("cc_lb_alloc returned 0 for {length} bytes")));
    }
    // An allocator that returns before it reaches an epoch check may still have exceeded the deadline.
    if deadline::is_over() {
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
mod tests {
    use super::*;
    use crate::code::compile_code;
    use crate::options::EngineOptions;

    const ECHO: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "cc_lb_alloc") (param i32 i32) (result i32) i32.const 1024)
        (func (export "cc_lb_free") (param i32 i32 i32))
        (func (export "cc_lb_filter") (param i32 i32) (result i64)
            local.get 0 i64.extend_i32_u i64.const 32 i64.shl local.get 1 i64.extend_i32_u i64.or)
        (func (export "cc_lb_shape") (param i32 i32) (result i64) (loop br 0) i64.const 0))"#;

    /// A hook that answers, and milliseconds that suffice on any machine.
    const FILTER: (Hook, u64) = (Hook::Filter, 60_000);
    /// A hook that never answers, and its deadline in milliseconds.
    const LOOP: (Hook, u64) = (Hook::Shape, 50);

    /// Options of an engine that no concurrent test shares.
    fn options(group: &str) -> EngineOptions {
        EngineOptions {
            pooling: false,
            memory_max_pages: 16,
            max_wasm_stack: 128 << 10,
            max_tables: 8,
            max_table_elements: 200_000,
            pool_table_elements: 20_000,
            max_cached_modules: 64,
            max_cached_module_bytes: 48 << 20,
            pool_total_memories: 4,
            pool_total_core_instances: 4,
            memory_reservation_bytes: 1 << 20,
            memory_guard_bytes: 1 << 16,
            keep_resident_bytes: 0,
            resident_budget_bytes: 1 << 20,
            max_staging_bytes: 1 << 20,
            max_stream_bytes: 1 << 20,
            explain: false,
            group: Some(group.to_owned()),
        }
    }

    fn with_echo(group: &str, test: impl FnOnce(&HotEngine, &Arc<CompiledModule>)) {
        let engine = HotEngine::open(options(group)).expect("an engine");
        let wasm = wat::parse_str(ECHO).expect("valid text");
        let image = compile_code(&engine.code_settings(&wasm), &wasm).expect("it compiles");
        let module = engine.load(&wasm, &image, false).expect("it loads");
        test(&engine, &Arc::new(module));
    }

    fn echo<R>(
        engine: &HotEngine,
        module: &Arc<CompiledModule>,
        (hook, milliseconds): (Hook, u64),
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Failure> {
        let limit = Duration::from_millis(milliseconds);
        let rules = Call {
            engine,
            module,
            hook,
            limit,
            slice: None,
            stream: None,
            cancel: None,
            max_answer: usize::MAX,
            probe: false,
        };
        call(&rules, Request { head: b"he", body: b"ll", tail: b"o" }, read).result
    }

    #[test]
    fn the_parts_of_a_request_are_joined_in_the_guest() {
        with_echo("joined", |engine, module| {
            assert_eq!(echo(engine, module, FILTER, <[u8]>::to_vec).expect("an answer"), b"hello");
        });
    }

    #[test]
    fn a_panic_becomes_a_failure_and_the_next_call_works() {
        with_echo("panic", |engine, module| {
            let failure = echo(engine, module, FILTER, |_| panic!("deliberate")).expect_err("it panicked");
            let Failure::Trap(trap) = failure else { panic!("{failure:?}") };
            assert_eq!((trap.phase, trap.code), (Phase::Hook(Hook::Filter), None));
            assert!(trap.message.contains("deliberate"));
            assert_eq!(engine.budget.running(), 0);
            assert!(echo(engine, module, FILTER, <[u8]>::len).is_ok());
        });
    }

    #[test]
    fn a_call_that_outlives_its_slice_is_interrupted_to_be_repeated() {
        with_echo("slice", |engine, module| {
            let limit = Duration::from_secs(60);
            let slice = Some(Duration::from_millis(4));
            let call_hook = |hook| {
                let max_answer = usize::MAX;
                let rules =
                    Call { engine, module, hook, limit, slice, stream: None, cancel: None, max_answer, probe: false };
                call(&rules, Request { head: b"a", body: b"", tail: b"" }, <[u8]>::len).result
            };
            assert!(matches!(call_hook(LOOP.0), Err(Failure::Sliced)));
            assert_eq!(call_hook(FILTER.0).expect("the next call has a new slice"), 1);
        });
    }

    #[test]
    fn an_expired_call_says_how_much_of_its_time_its_thread_ran() {
        with_echo("share", |engine, module| {
            // Long enough for the thread to get a processor on a busy machine.
            let failure = echo(engine, module, (LOOP.0, 1_000), <[u8]>::len).expect_err("it never answers");
            let Failure::Trap(trap) = failure else { panic!("{failure:?}") };
            let share = trap.cpu_share.expect("this platform has a CPU clock");
            assert!(share > 0.0 && share <= 1.0, "{share}");
        });
    }

    #[test]
    fn an_endless_loop_ends_at_its_deadline() {
        with_echo("loop", |engine, module| {
            let failure = echo(engine, module, LOOP, <[u8]>::len).expect_err("it never answers");
            let Failure::Trap(trap) = failure else { panic!("{failure:?}") };
            assert_eq!((trap.phase, trap.code), (Phase::Hook(Hook::Shape), Some(Trap::Interrupt)));
        });
    }
}
