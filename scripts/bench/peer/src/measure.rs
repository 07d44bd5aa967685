//! Times calls, in a closed loop or at a rate, and reads what the process used meanwhile.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How a measurement runs.
#[derive(Clone, Copy)]
pub struct Plan {
    pub warmup: usize,
    pub iterations: usize,
    /// Calls a second of the open loop: a call that starts late has its wait counted. None is a closed loop.
    pub rate: Option<f64>,
    /// Calls that share one reading of the clock, for steps as short as the reading.
    pub batch: usize,
    /// Threads that each do all of the above at once.
    pub threads: usize,
}

/// Runs `call` as planned with the numbers 0, 1, 2 … on each thread.
pub fn run(plan: Plan, call: impl Fn(usize) + Sync) -> Value {
    (0..plan.warmup).for_each(&call);
    forget_peak();
    let (cpu, start) = (cpu_time(), Instant::now());
    let nanoseconds = match plan.threads {
        0 | 1 => thread(plan, &call),
        threads => std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| thread(plan, &call))).collect();
            running.into_iter().flat_map(|thread| thread.join().expect("thread")).collect()
        }),
    };
    let (elapsed, cpu) = (start.elapsed(), cpu_time() - cpu);
    summary(nanoseconds, plan.batch, elapsed, cpu)
}

/// The time per call of each round, in nanoseconds.
fn thread(plan: Plan, call: &impl Fn(usize)) -> Vec<u64> {
    let start = Instant::now();
    let rounds = 0..plan.iterations.div_ceil(plan.batch);
    rounds
        .map(|round| {
            let due = match plan.rate {
                Some(rate) => wait_until(start + Duration::from_secs_f64(round as f64 / rate)),
                None => Instant::now(),
            };
            for step in 0..plan.batch {
                call(round * plan.batch + step);
            }
            due.elapsed().as_nanos() as u64 / plan.batch as u64
        })
        .collect()
}

/// Spins, because a sleep would wake up too late to start on time.
fn wait_until(due: Instant) -> Instant {
    while Instant::now() < due {
        std::hint::spin_loop();
    }
    due
}

fn summary(mut nanoseconds: Vec<u64>, batch: usize, elapsed: Duration, cpu: Duration) -> Value {
    let calls = (nanoseconds.len() * batch) as f64;
    nanoseconds.sort_unstable();
    let microseconds = |value: u64| value as f64 / 1000.0;
    let quantile = |part: f64| microseconds(nanoseconds[((nanoseconds.len() - 1) as f64 * part).round() as usize]);
    json!({
        "calls": calls,
        "p50Us": quantile(0.5),
        "p90Us": quantile(0.9),
        "p99Us": quantile(0.99),
        "maxUs": quantile(1.0),
        "meanUs": microseconds(nanoseconds.iter().sum()) / nanoseconds.len() as f64,
        "callsPerSecond": calls / elapsed.as_secs_f64(),
        "cpuUsPerCall": cpu.as_secs_f64() * 1e6 / calls,
        "peakRssKiB": status("VmHWM:"),
        "rssKiB": status("VmRSS:"),
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

/// Lets the peak of resident memory start anew where the system can (Linux); elsewhere it stays the process's.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// A field of /proc/self/status in KiB; null where there is none.
pub fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().trim_end_matches(" kB").parse().ok()
}
