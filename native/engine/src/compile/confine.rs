//! The limits that a compile process sets on itself. They are in force before it reads a byte of a module.

#[cfg(not(unix))]
pub use elsewhere::{after_threads, before_threads};
#[cfg(unix)]
pub use unix::{after_threads, before_threads};

#[cfg(unix)]
mod unix {
    use std::io;
    use std::time::Duration;

    /// How much less of the processor's time the compiler gets than the load balancer: each step of niceness is a tenth.
    const NICENESS: libc::c_int = 10;
    /// Processor time beyond the time limit, in seconds. The parent kills the process before that, if it is alive.
    const SPARE_SECONDS: u64 = 2;
    /// What Node uses, rounded up, where the system does not report it.
    const NODE_BYTES: u64 = 512 << 20;

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    type Resource = libc::__rlimit_resource_t;
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    type Resource = libc::c_int;

    /// What [`Limits::apply`] starts from.
    pub struct Limits {
        data_bytes: u64,
    }

    /// Sets what threads inherit from the thread that starts them, and what does not depend on them.
    pub fn before_threads() -> Result<(), String> {
        close_inherited();
        // SAFETY: the call has no preconditions. Where it fails, the process has the priority of its parent.
        unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, NICENESS) };
        limit(libc::RLIMIT_CORE, 0)?;
        // No file can be created or extended; pipes are not files.
        limit(libc::RLIMIT_FSIZE, 0)?;
        before_threads_on_this_system()
    }

    /// Sets the rest, once all threads of the process are running.
    pub fn after_threads() -> Result<Limits, String> {
        let data_bytes = data_bytes().unwrap_or(NODE_BYTES);
        // Nothing can be opened any more: no file, no socket.
        limit(libc::RLIMIT_NOFILE, 0)?;
        Ok(Limits { data_bytes })
    }

    impl Limits {
        /// Limits memory, beyond what the process uses already, and processor time.
        pub fn apply(&self, memory: u64, time: Duration) -> Result<(), String> {
            limit(libc::RLIMIT_DATA, self.data_bytes.saturating_add(memory))?;
            watch_memory(memory);
            let used = used_seconds();
            limit_up_to(libc::RLIMIT_CPU, used.saturating_add(time.as_secs()).saturating_add(SPARE_SECONDS), 1)
        }
    }

    /// Lowers a limit for good.
    fn limit(resource: Resource, value: u64) -> Result<(), String> {
        limit_up_to(resource, value, 0)
    }

    /// Lowers a limit for good, the hard one to so much more than the soft one. The hard limit of processor time kills
    /// without a signal of its own.
    fn limit_up_to(resource: Resource, value: u64, margin: u64) -> Result<(), String> {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer leads to a live value, in both calls.
        let done = unsafe {
            libc::getrlimit(resource, &raw mut limits) == 0 && {
                // A lower limit of the parent's stays.
                limits.rlim_max = limits.rlim_max.min(value.saturating_add(margin) as libc::rlim_t);
                limits.rlim_cur = limits.rlim_max.min(value as libc::rlim_t);
                libc::setrlimit(resource, &raw const limits) == 0
            }
        };
        if done { Ok(()) } else { Err(format!("limit {resource} was refused: {}", io::Error::last_os_error())) }
    }

    fn used_seconds() -> u64 {
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer leads to a live value.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used) };
        u64::try_from(used.tv_sec).unwrap_or(0)
    }

    /// Closes what this process has from its parent besides the three pipes. What Node opened closes on exec; a
    /// descriptor without that flag came through one.
    fn close_inherited() {
        let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
        let listed = std::fs::read_dir(directory).map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<libc::c_int>>()
        });
        // Without the list, the lowest thousand is what a process usually has.
        for descriptor in listed.unwrap_or_else(|_| (0..1024).collect()).into_iter().filter(|&number| number > 2) {
            // SAFETY: reads a flag, which fails for a number that is not open; nobody here uses what is closed.
            unsafe {
                let flags = libc::fcntl(descriptor, libc::F_GETFD);
                if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                    libc::close(descriptor);
                }
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn before_threads_on_this_system() -> Result<(), String> {
        // The first that the kernel kills when memory is short. Writing it belongs to the owner of a dumpable process.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        // SAFETY: these options take numbers.
        let done = unsafe {
            // When the supervisor's thread ends, which it does with its process.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
        };
        if done { Ok(()) } else { Err(format!("prctl was refused: {}", io::Error::last_os_error())) }
    }

    #[cfg(not(target_os = "linux"))]
    fn before_threads_on_this_system() -> Result<(), String> {
        Ok(())
    }

    /// What counts against `RLIMIT_DATA` now: data and stack, in pages, is the sixth number.
    #[cfg(target_os = "linux")]
    fn data_bytes() -> Option<u64> {
        let counts = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = counts.split_ascii_whitespace().nth(5)?.parse().ok()?;
        // SAFETY: asks for a constant of the system.
        pages.checked_mul(u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?)
    }

    #[cfg(not(target_os = "linux"))]
    fn data_bytes() -> Option<u64> {
        None
    }

    /// macOS does not count mappings against `RLIMIT_DATA`, so a thread compares the footprint of the process.
    #[cfg(target_os = "macos")]
    fn watch_memory(memory: u64) {
        use super::super::protocol::EXIT_MEMORY;

        const LOOK_EVERY: Duration = Duration::from_millis(10);

        fn footprint() -> u64 {
            // SAFETY: the structure holds numbers alone, and is of the flavor that is asked for.
            unsafe {
                let mut usage: libc::rusage_info_v0 = std::mem::zeroed();
                libc::proc_pid_rusage(libc::getpid(), libc::RUSAGE_INFO_V0, (&raw mut usage).cast());
                usage.ri_phys_footprint
            }
        }

        let limit = footprint().saturating_add(memory);
        std::thread::spawn(move || {
            loop {
                if footprint() > limit {
                    super::super::exit::exit(EXIT_MEMORY);
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
    }

    #[cfg(not(target_os = "macos"))]
    fn watch_memory(_memory: u64) {}
}

/// Elsewhere the parent sets what limits there are.
#[cfg(not(unix))]
mod elsewhere {
    use std::time::Duration;

    /// Nothing is measured here.
    pub struct Limits;

    /// Nothing is set here.
    pub fn before_threads() -> Result<(), String> {
        Ok(())
    }

    /// Nothing is set here.
    pub fn after_threads() -> Result<Limits, String> {
        Ok(Limits)
    }

    impl Limits {
        /// Nothing is set here.
        pub fn apply(&self, _memory: u64, _time: Duration) -> Result<(), String> {
            Ok(())
        }
    }
}
