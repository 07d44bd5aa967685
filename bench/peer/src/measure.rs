//! Measures requests and the resources that the process uses.

use serde_json::{Value, json};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How a measurement runs.
#[derive(Clone, Copy)]
pub struct Plan {
    /// The number of concurrent threads.
    pub threads: usize,
    /// Milliseconds of requests that do not count.
    pub warmup: u64,
    /// Milliseconds of requests that count.
    pub measure: u64,
    /// Requests that each thread makes at least.
    pub minimum: usize,
}

/// The time of each request of a thread in nanoseconds, and of all of them.
struct Made {
    nanoseconds: Vec<u64>,
    elapsed: Duration,
}

/// Makes requests as planned, with the numbers 0, 1, 2 … on each thread.
pub fn run(plan: Plan, request: impl Fn(usize) + Sync) -> Value {
    let request = &request;
    let (warmup, measure) = (Duration::from_millis(plan.warmup), Duration::from_millis(plan.measure));
    let warm = Barrier::new(plan.threads + 1);
    let start = Barrier::new(plan.threads + 1);
    let (made, cpu) = std::thread::scope(|scope| {
        let thread = || {
            make(request, warmup, 1);
            warm.wait();
            start.wait();
            make(request, measure, plan.minimum)
        };
        let running: Vec<_> = (0..plan.threads).map(|_| scope.spawn(thread)).collect();
        warm.wait();
        reset_peak();
        let cpu = cpu_time();
        start.wait();
        let made: Vec<Made> = running.into_iter().map(|thread| thread.join().expect("thread")).collect();
        (made, cpu_time() - cpu)
    });
    summary(&made, cpu)
}

fn make(request: &impl Fn(usize), time: Duration, minimum: usize) -> Made {
    let mut nanoseconds = Vec::with_capacity(1024);
    let start = Instant::now();
    loop {
        let started = Instant::now();
        request(nanoseconds.len());
        let ended = Instant::now();
        nanoseconds.push((ended - started).as_nanos() as u64);
        if ended - start >= time && nanoseconds.len() >= minimum {
            return Made { nanoseconds, elapsed: ended - start };
        }
    }
}

fn summary(made: &[Made], cpu: Duration) -> Value {
    let mut nanoseconds: Vec<u64> = made.iter().flat_map(|made| &made.nanoseconds).copied().collect();
    nanoseconds.sort_unstable();
    let count = nanoseconds.len();
    let quantile = |share: f64| nanoseconds[((count as f64 * share) as usize).min(count - 1)] as f64 / 1000.0;
    let rate = |made: &Made| made.nanoseconds.len() as f64 / made.elapsed.as_secs_f64();
    json!({
        "p50Us": quantile(0.5),
        "p90Us": quantile(0.9),
        "p99Us": quantile(0.99),
        "maxUs": quantile(1.0),
        "requests": count,
        "requestsPerSecond": made.iter().map(rate).sum::<f64>(),
        "cpuUs": cpu.as_secs_f64() * 1e6 / count as f64,
        "rssKiB": status("VmRSS:"),
        "peakRssKiB": status("VmHWM:"),
    })
}

/// User and system time of all threads.
fn cpu_time() -> Duration {
    // SAFETY: all zeros are a valid rusage, and the call writes nothing but it.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Resets the peak of resident memory, where the system can (Linux).
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// A field of /proc/self/status in KiB; null if it is absent.
fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().trim_end_matches(" kB").parse().ok()
}
