//! Checks that wasmtime's handler still receives the signals by which guests trap. Replacing it (as JavaScript's
//! `process.on('SIGSEGV')` does) makes every out-of-bounds access of a guest loop or end the process.

#[cfg(all(unix, not(target_vendor = "apple")))]
mod imp {
    use std::sync::OnceLock;

    /// The signals for which wasmtime installs a handler, as in its `foreach_handler`. For other signals, another
    /// handler has no effect on guests.
    const SIGNALS: &[(libc::c_int, &str)] = &[
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGILL, "SIGILL"),
        // Division by zero.
        #[cfg(any(target_arch = "x86_64", target_arch = "s390x"))]
        (libc::SIGFPE, "SIGFPE"),
        // The signal of an access to a guard page on this system.
        #[cfg(target_os = "freebsd")]
        (libc::SIGBUS, "SIGBUS"),
    ];
    static INSTALLED: OnceLock<Vec<usize>> = OnceLock::new();

    fn current(signal: libc::c_int) -> usize {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: with a null new action, `sigaction` changes nothing and writes the current action to a local that
        // outlives the call. If it fails, the action is all zeroes, which is a valid value of the type.
        unsafe {
            libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
            action.assume_init().sa_sigaction
        }
    }

    /// Records the handlers. Must be called after the first engine installed them and before other code can replace them.
    pub fn record_handlers() {
        INSTALLED.get_or_init(|| SIGNALS.iter().map(|&(signal, _)| current(signal)).collect());
    }

    /// Returns the signals whose handler is not the one that the engine installed.
    pub fn replaced() -> Vec<&'static str> {
        let Some(installed) = INSTALLED.get() else {
            return Vec::new();
        };
        let changed = SIGNALS.iter().zip(installed).filter(|&(&(signal, _), &handler)| current(signal) != handler);
        changed.map(|(&(_, name), _)| name).collect()
    }
}

#[cfg(any(not(unix), target_vendor = "apple"))]
mod imp {
    /// Does nothing, because signal handlers have no effect on guests: Windows calls every vectored exception handler, and
    /// Apple's systems send an exception of a thread to wasmtime before they make a signal of it.
    pub fn record_handlers() {}

    /// Always empty.
    pub fn replaced() -> Vec<&'static str> {
        Vec::new()
    }
}

pub use imp::{record_handlers, replaced};
