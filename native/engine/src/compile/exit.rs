//! The end of a compile process.

/// Ends the process without running anything of Node's.
pub fn exit(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}
