//! Whether wasmtime's handler still receives the signals that guests trap by. Somebody who replaces it (JavaScript's
//! `process.on('SIGSEGV')` does) turns every out-of-bounds access of a guest into a loop or a crash.

#[cfg(unix)]
mod imp {
    use std::sync::OnceLock;

    const SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];
    static INSTALLED: OnceLock<[usize; 4]> = OnceLock::new();

    fn current(signal: libc::c_int) -> usize {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: with a null new action this only reads the current one into a live out-parameter.
        unsafe {
            libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
            action.assume_init().sa_sigaction
        }
    }

    /// Notes the handlers right after the first engine installed them.
    pub fn remember_handler() {
        INSTALLED.get_or_init(|| SIGNALS.map(current));
    }

    /// The signals whose handler is no longer the one that the engine installed.
    pub fn replaced() -> Vec<&'static str> {
        let Some(installed) = INSTALLED.get() else {
            return Vec::new();
        };
        let names = ["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"];
        (0..SIGNALS.len()).filter(|&at| current(SIGNALS[at]) != installed[at]).map(|at| names[at]).collect()
    }
}

#[cfg(not(unix))]
mod imp {
    /// Windows chains vectored handlers: nobody can replace one.
    pub fn remember_handler() {}

    /// Always empty.
    pub fn replaced() -> Vec<&'static str> {
        Vec::new()
    }
}

pub use imp::{remember_handler, replaced};
