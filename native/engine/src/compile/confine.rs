//! The limits that a compile process sets on itself before it reads a byte of a module.

#[cfg(not(unix))]
pub use elsewhere::{after_threads, before_threads};
#[cfg(unix)]
pub use unix::{after_threads, before_threads};

#[cfg(unix)]
mod unix {
    use std::io;
    use std::time::Duration;

    /// Niceness of the compiler, which gives the load balancer priority: each step is about a tenth of processor time.
    const NICENESS: libc::c_int = 10;
    /// Processor time beyond the time limit, in seconds. A live parent kills the process earlier.
    const SPARE_SECONDS: u64 = 2;
    /// Memory of Node, rounded up, if the system does not report it.
    const NODE_BYTES: u64 = 512 << 20;

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    type Resource = libc::__rlimit_resource_t;
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    type Resource = libc::c_int;

    /// The memory in use when [`Limits::apply`] is called.
    pub struct Limits {
        data_bytes: u64,
    }

    /// Sets the limits that threads inherit from the thread that starts them, and those that do not depend on threads.
    pub fn before_threads() -> Result<(), String> {
        close_inherited();
        // Node's handlers would call more than this process may, such as `tgkill`.
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: the default action runs no code of this process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        // SAFETY: the call has no preconditions. If it fails, the process keeps the priority of its parent.
        unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, NICENESS) };
        limit(libc::RLIMIT_CORE, 0)?;
        // No file can be created or extended; pipes are not files.
        limit(libc::RLIMIT_FSIZE, 0)?;
        before_threads_on_this_system()
    }

    /// Sets the remaining limits after all threads of the process have started.
    pub fn after_threads() -> Result<Limits, String> {
        let data_bytes = data_bytes().unwrap_or(NODE_BYTES);
        // No file or socket can be opened from here on.
        limit(libc::RLIMIT_NOFILE, 0)?;
        Ok(Limits { data_bytes })
    }

    impl Limits {
        /// Limits processor time, memory in addition to what the process already uses, and on Linux the system calls.
        pub fn apply(&self, memory: u64, time: Duration) -> Result<(), String> {
            limit(libc::RLIMIT_DATA, self.data_bytes.saturating_add(memory))?;
            watch_memory(memory);
            let used = used_seconds();
            limit_up_to(libc::RLIMIT_CPU, used.saturating_add(time.as_secs()).saturating_add(SPARE_SECONDS), 1)?;
            restrict_system_calls();
            Ok(())
        }
    }

    /// Lowers a limit permanently.
    fn limit(resource: Resource, value: u64) -> Result<(), String> {
        limit_up_to(resource, value, 0)
    }

    /// Lowers a limit permanently, with the hard limit above the soft one. The hard limit of processor time kills with
    /// SIGKILL, which does not identify the cause.
    fn limit_up_to(resource: Resource, value: u64, margin: u64) -> Result<(), String> {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer refers to a live value in both calls.
        let done = unsafe {
            libc::getrlimit(resource, &raw mut limits) == 0 && {
                // A lower limit inherited from the parent is kept.
                limits.rlim_max = limits.rlim_max.min(value.saturating_add(margin) as libc::rlim_t);
                limits.rlim_cur = limits.rlim_max.min(value as libc::rlim_t);
                libc::setrlimit(resource, &raw const limits) == 0
            }
        };
        if done { Ok(()) } else { Err(format!("limit {resource} was refused: {}", io::Error::last_os_error())) }
    }

    /// A kernel or a container without seccomp filters leaves the other limits.
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn restrict_system_calls() {
        super::super::seccomp::restrict();
    }

    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    fn restrict_system_calls() {}

    fn used_seconds() -> u64 {
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer refers to a live value.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used) };
        u64::try_from(used.tv_sec).unwrap_or(0)
    }

    /// Closes the descriptors inherited from the parent, except the three pipes. Node's own descriptors close on exec;
    /// a descriptor without that flag was inherited.
    fn close_inherited() {
        let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
        let listed = std::fs::read_dir(directory).map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<libc::c_int>>()
        });
        // If the list is unavailable, check the lowest thousand.
        for descriptor in listed.unwrap_or_else(|_| (0..1024).collect()).into_iter().filter(|&number| number > 2) {
            // SAFETY: reading the flag fails for a number that is not open, and no code here uses the closed descriptors.
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
        // The kernel kills this process first when memory is short. Only a dumpable process may write this file.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        // SAFETY: these options take numbers.
        let done = unsafe {
            // The kernel kills this process when the supervisor's thread ends.
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

        const CHECK_INTERVAL: Duration = Duration::from_millis(10);

        fn footprint() -> u64 {
            // SAFETY: the structure holds only numbers and matches the requested flavor.
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
                std::thread::sleep(CHECK_INTERVAL);
            }
        });
    }

    #[cfg(not(target_os = "macos"))]
    fn watch_memory(_memory: u64) {}
}

/// On other systems, the process sets no limits.
#[cfg(not(unix))]
mod elsewhere {
    use std::time::Duration;

    /// Not measured on this system.
    pub struct Limits;

    /// Not available on this system.
    pub fn before_threads() -> Result<(), String> {
        Ok(())
    }

    /// Not available on this system.
    pub fn after_threads() -> Result<Limits, String> {
        Ok(Limits)
    }

    impl Limits {
        /// Not available on this system.
        pub fn apply(&self, _memory: u64, _time: Duration) -> Result<(), String> {
            Ok(())
        }
    }
}
