//! CPU time of the calling thread.

/// Nanoseconds of CPU time that the calling thread has used; `None` if the platform does not provide it.
#[cfg(unix)]
pub fn thread_nanos() -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that outlives the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if result != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?)
}

/// Nanoseconds of CPU time that the calling thread has used; `None` if the platform does not provide it.
#[cfg(windows)]
pub fn thread_nanos() -> Option<u64> {
    /// Hundreds of nanoseconds, in two halves.
    #[repr(C)]
    #[derive(Default)]
    struct FileTime {
        low: u32,
        high: u32,
    }
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentThread() -> *mut std::ffi::c_void;
        fn GetThreadTimes(
            thread: *mut std::ffi::c_void,
            created: *mut FileTime,
            exited: *mut FileTime,
            kernel: *mut FileTime,
            user: *mut FileTime,
        ) -> i32;
    }
    let [mut created, mut exited, mut kernel, mut user] = [const { FileTime { low: 0, high: 0 } }; 4];
    // SAFETY: the handle of the current thread is always valid, and the pointers are to values that outlive the call.
    let ok = unsafe {
        GetThreadTimes(GetCurrentThread(), &raw mut created, &raw mut exited, &raw mut kernel, &raw mut user)
    };
    let nanos = |time: &FileTime| ((u64::from(time.high) << 32) | u64::from(time.low)) * 100;
    (ok != 0).then(|| nanos(&kernel) + nanos(&user))
}

/// Nanoseconds of CPU time that the calling thread has used; `None` if the platform does not provide it.
#[cfg(not(any(unix, windows)))]
pub fn thread_nanos() -> Option<u64> {
    None
}
