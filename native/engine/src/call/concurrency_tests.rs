//! Threads that call, cancel, end streams and release memories at random share an engine, which must have nothing left of
//! their calls afterwards.

use std::sync::Mutex;
use std::thread;

use super::*;
use crate::options::EngineOptions;
use crate::testing::{self, call_of};

const THREADS: u64 = 6;
const TURNS: usize = 400;
const STREAMS: usize = 4;
/// Fewer than the threads, so that some calls are refused.
const CONCURRENT_CALLS: u32 = 5;
/// Bytes of the memories of a few calls, so that others evict them.
const RESIDENT_BUDGET_BYTES: u64 = 1 << 20;

/// A filter that grows by the pages in the first byte of its request and writes to each page, a shape that never returns,
/// a transform that traps, and one for events that grows by a page each time.
const GUEST: &str = r#"(module
    (memory (export "memory") 2 64)
    (func (export "cc_lb_alloc") (param i32 i32) (result i32) i32.const 1024)
    (func (export "cc_lb_free") (param i32 i32 i32))
    (func (export "cc_lb_filter") (param i32 i32) (result i64) (local $at i32)
        (drop (memory.grow (i32.load8_u (local.get 0))))
        (loop $next
            (i32.store (local.get $at) (i32.const 1))
            (br_if $next (i32.lt_u
                (local.tee $at (i32.add (local.get $at) (i32.const 4096)))
                (i32.mul (memory.size) (i32.const 65536)))))
        i64.const 0x0000_0400_0000_0001)
    (func (export "cc_lb_shape") (param i32 i32) (result i64) (loop br 0) i64.const 0)
    (func (export "cc_lb_transform_response") (param i32 i32) (result i64) unreachable)
    (func (export "cc_lb_transform_sse_event") (param i32 i32) (result i64)
        (drop (memory.grow (i32.const 1)))
        i64.const 0x0000_0400_0000_0001))"#;

/// The xorshift generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Targets with a stream, which the threads replace.
type Streams = [Mutex<Option<Target>>; STREAMS];

fn call_module(target: &Target, request: Request<'_>, random: &mut Random) -> Result<usize, Failure> {
    let cancel = Arc::<Cancel>::default();
    let call = Call {
        hook: [Hook::Filter, Hook::Shape, Hook::TransformResponse][random.below(3) as usize],
        limit: Duration::from_millis(random.below(10)),
        slice: (random.below(4) == 0).then_some(Duration::from_millis(2)),
        cancel: Some(Arc::clone(&cancel)),
        ..call_of(target, Hook::Filter)
    };
    let cancel_after = (random.below(3) == 0).then(|| Duration::from_micros(random.below(2_000)));
    thread::scope(|scope| {
        if let Some(time) = cancel_after {
            scope.spawn(move || {
                thread::sleep(time);
                cancel.cancel();
            });
        }
        super::call(&call, request, <[u8]>::len).result
    })
}

fn call_stream(
    target: &Target,
    streams: &Streams,
    request: Request<'_>,
    random: &mut Random,
) -> Result<usize, Failure> {
    let index = random.below(STREAMS as u64) as usize;
    let streamed = {
        let mut streamed = streams[index].lock().expect("no panic");
        streamed.take_if(|_| random.below(10) == 0);
        let open = || {
            let stream = Arc::new(Stream::new(&target.engine, &target.module, index.to_string()));
            Target { stream: Some(stream), ..target.clone() }
        };
        streamed.get_or_insert_with(open).clone()
    };
    if random.below(4) == 0 {
        streamed.stream.as_ref().expect("it has one").close();
        return Ok(0);
    }
    let call = Call { limit: Duration::from_millis(10), ..call_of(&streamed, Hook::TransformSseEvent) };
    super::call(&call, request, <[u8]>::len).result
}

fn take_turns(target: &Target, streams: &Streams, random: &mut Random) {
    for _ in 0..TURNS {
        let head = vec![random.below(16) as u8; 1 + random.below(40_000) as usize];
        let request = Request { head: &head, body: &[], tail: &[] };
        let result = match random.below(20) {
            0 => Ok(usize::from(target.engine.pool.release_all())),
            1..=6 => call_stream(target, streams, request, random),
            _ => call_module(target, request, random),
        };
        match result {
            Ok(_)
            | Err(Failure::Saturated(_) | Failure::Sliced | Failure::Cancelled | Failure::Busy | Failure::Ended) => {}
            Err(Failure::Trap(trap)) if trap.code.is_some() => {}
            Err(failure) => panic!("{failure:?}"),
        }
    }
}

fn nothing_is_left(pooling: bool, group: &str) {
    let options = EngineOptions {
        pooling,
        pool_total_core_instances: CONCURRENT_CALLS,
        resident_budget_bytes: RESIDENT_BUDGET_BYTES,
        ..testing::options(group)
    };
    let target = testing::load(options, &wat::parse_str(GUEST).expect("valid text"));
    let streams = Streams::default();
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (target, streams) = (&target, &streams);
            scope.spawn(move || take_turns(target, streams, &mut Random(seed << 32)));
        }
    });
    drop(streams);
    let engine = &target.engine;
    assert_eq!((engine.budget.running(), engine.streams.held()), (0, 0));
    assert!(engine.pool.idle().1 <= RESIDENT_BUDGET_BYTES as usize);
    engine.pool.release_all();
    assert_eq!(engine.pool.idle(), (0, 0));
    if let Some(pool) = engine.engine.pooling_allocator_metrics() {
        assert_eq!((pool.core_instances(), pool.memories()), (0, 0));
    }
}

#[test]
fn concurrent_calls_on_demand_leave_nothing() {
    nothing_is_left(false, "concurrent on demand");
}

#[test]
fn concurrent_calls_in_a_pool_leave_nothing() {
    nothing_is_left(true, "concurrent in a pool");
}
