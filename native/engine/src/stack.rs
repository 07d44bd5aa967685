//! Determines the native stack that the current thread has left. wasmtime limits the stack of a guest, but does not
//! check that the thread has it: entering a guest with less than its limit left ends the process on some threads.

use std::cell::Cell;

/// Stack of the host's own frames in addition to the guest's limit: trap handling, memory growth, the call path.
const HOST_MARGIN: usize = 192 * 1024;

thread_local! {
    static LOWEST: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Checks that a guest with a limit of `wasm_stack` bytes can be entered on this thread. Fails with the stack left and
/// needed.
pub fn check(wasm_stack: usize) -> Result<(), (usize, usize)> {
    let marker = 0u8;
    let here = std::ptr::from_ref(&marker) as usize;
    let lowest = LOWEST.with(|cell| {
        if cell.get().is_none() {
            cell.set(lowest_address());
        }
        cell.get()
    });
    check_range(here, lowest, wasm_stack)
}

/// A stack whose end is unknown counts as exhausted, because the memory below it may belong to something else.
fn check_range(here: usize, lowest: Option<usize>, wasm_stack: usize) -> Result<(), (usize, usize)> {
    let left = lowest.map_or(0, |lowest| here.saturating_sub(lowest));
    let needed = wasm_stack.saturating_add(HOST_MARGIN);
    if left < needed { Err((left, needed)) } else { Ok(()) }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn lowest_address() -> Option<usize> {
    #[cfg(target_env = "musl")]
    if let Some(lowest) = lowest_address_of_main_thread() {
        return Some(lowest);
    }
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut address = std::ptr::null_mut();
    let mut size = 0;
    let mut guard = 0;
    // SAFETY: `pthread_getattr_np` initializes the attributes if it returns 0. Only then are they read and destroyed. The
    // other pointers are to locals that outlive the calls.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let found = libc::pthread_attr_getstack(attributes.as_ptr(), &mut address, &mut size) == 0;
        libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        found.then(|| address as usize + guard)
    }
}

/// musl reports only the used part of the main thread's stack. The kernel lets the stack grow down to its limit, or to
/// the mapping below it.
#[cfg(target_env = "musl")]
fn lowest_address_of_main_thread() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `gettid` and `getpid` have no preconditions; `getrlimit` writes to a local that outlives the call.
    let found = unsafe { libc::gettid() == libc::getpid() && libc::getrlimit(libc::RLIMIT_STACK, &mut limit) == 0 };
    if !found {
        return None;
    }
    let here = std::ptr::from_ref(&limit) as usize;
    let mut below = 0;
    for line in std::fs::read_to_string("/proc/self/maps").ok()?.lines() {
        let (from, rest) = line.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(rest.split(' ').next()?, 16).ok()?;
        if (from..to).contains(&here) {
            return Some(to.saturating_sub(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)).max(below));
        }
        below = to;
    }
    None
}

#[cfg(target_os = "macos")]
fn lowest_address() -> Option<usize> {
    // SAFETY: `pthread_self` returns the current thread, which is alive during both calls that read its properties.
    unsafe {
        let this = libc::pthread_self();
        let highest = libc::pthread_get_stackaddr_np(this) as usize;
        Some(highest - libc::pthread_get_stacksize_np(this))
    }
}

#[cfg(windows)]
fn lowest_address() -> Option<usize> {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentThreadStackLimits(low: *mut usize, high: *mut usize);
    }
    let (mut low, mut high) = (0, 0);
    // SAFETY: both pointers are to locals that outlive the call.
    unsafe { GetCurrentThreadStackLimits(&mut low, &mut high) };
    Some(low)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
fn lowest_address() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_whose_end_is_unknown_rejects_every_guest() {
        let here = 64 << 20;
        assert_eq!(check_range(here, None, 1 << 10), Err((0, (1 << 10) + HOST_MARGIN)));
        assert_eq!(check_range(here, Some(here - (1 << 10) - HOST_MARGIN), 1 << 10), Ok(()));
    }

    #[test]
    fn a_small_thread_rejects_a_large_guest_and_accepts_a_small_one() {
        std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn(|| {
                // glibc may reuse the stack of an ended thread, which is up to four times the requested size.
                assert!(check(16 * 1024 * 1024).is_err());
                assert!(check(64 * 1024).is_ok());
            })
            .expect("a thread")
            .join()
            .expect("no panic");
    }
}
