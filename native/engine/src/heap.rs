//! The C library's heap, from which Node allocates the bodies of answers.

use std::hint::black_box;
use std::sync::Once;

/// Nearly the size above which glibc never adapts its limits (`DEFAULT_MMAP_THRESHOLD_MAX`).
const BLOCK_BYTES: usize = 31 << 20;

/// Makes glibc keep freed memory for the next bodies. By default it returns memory at the end of its heap whenever more
/// than 128 KiB are free, and maps each larger block separately. The garbage collector frees many bodies at once, so every
/// body would be faulted in again, which takes longer than the call of a small plugin.
///
/// glibc itself changes these limits when a process frees a block that was mapped separately: it then maps no block up to
/// that size, and keeps up to twice that size in each of its heaps, of which a thread has its own, up to eight per CPU
/// (mallopt(3), `M_MMAP_THRESHOLD` and `M_ARENA_MAX`). This is done here once. Limits from the environment
/// (`MALLOC_TRIM_THRESHOLD_`) take precedence, and other C libraries ignore it.
pub fn keep_freed_memory() {
    static ONCE: Once = Once::new();
    // SAFETY: the block is not accessed, and freed once; `free` accepts null.
    ONCE.call_once(|| unsafe { libc::free(black_box(libc::malloc(BLOCK_BYTES))) });
}

/// Returns the freed memory of glibc's heap to the system, as far as whole pages are free. Threads that allocate wait for
/// this, some milliseconds if much is free. Other C libraries return memory themselves.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function has no requirements; memory in use is not affected.
    unsafe {
        libc::malloc_trim(0);
    }
}
