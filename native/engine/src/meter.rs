//! A bound on the memory that a compilation takes. The compiler has none, and some hundred kilobytes of wasm can make it
//! ask for any amount. An allocator cannot make it fail either: to answer that there is no memory ends the process, and an
//! allocator must not unwind. So the thread of a compilation that asks for too much is stopped where it stands, for good:
//! it gives back what it owns and the pages of its large blocks, and sleeps.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Blocks from this size on are remembered, to give their pages back. What the compiler keeps for the process is smaller.
const LARGE: usize = 64 << 10;
/// How many are remembered at once.
const MOST_LARGE: usize = 8192;

static LOST: AtomicUsize = AtomicUsize::new(0);

/// The allocator of the addon: the system's, with an eye on threads that are bounded.
pub struct Metered;

#[global_allocator]
static ALLOCATOR: Metered = Metered;

thread_local! {
    /// The meter of the work that this thread does now; null where there is no bound.
    static METER: Cell<*mut Meter> = const { Cell::new(ptr::null_mut()) };
}

struct Meter {
    most: usize,
    used: usize,
    /// Address and size of the large blocks.
    large: [(usize, usize); MOST_LARGE],
    large_count: usize,
    /// What the work owns, and what becomes of it when it is stopped.
    owned: *mut (),
    stop: unsafe fn(*mut ()),
}

/// Runs `work` on what it owns, and hands that back with the result. If this thread then holds more than `most` bytes, or
/// there are no more, it never returns: `stopped` gets what the work owns, of which no reference is used any more. The
/// work must hold no lock that others wait for while it allocates.
pub fn bounded<T, R>(most: usize, owned: T, stopped: fn(T), work: impl FnOnce(&T) -> R) -> (T, R) {
    /// What the work owns, with whom to give it to.
    struct Owned<T> {
        value: T,
        stopped: fn(T),
    }
    /// # Safety
    /// `owned` leads to an `Owned<T>` that is not used any more, nor dropped.
    unsafe fn stop<T>(owned: *mut ()) {
        // SAFETY: the caller's promise.
        let owned = unsafe { owned.cast::<Owned<T>>().read() };
        (owned.stopped)(owned.value);
    }

    let mut owned = Owned { value: owned, stopped };
    let owned_at = &raw mut owned;
    let mut meter =
        Meter { most, used: 0, large: [(0, 0); MOST_LARGE], large_count: 0, owned: owned_at.cast(), stop: stop::<T> };
    METER.set(&raw mut meter);
    let result = {
        let _until = Unmeter;
        // SAFETY: `owned` lives on, and whoever else reads it does so when this reference is not used any more.
        work(unsafe { &(*owned_at).value })
    };
    (owned.value, result)
}

/// Bytes that stopped work could not give back.
pub fn lost() -> usize {
    LOST.load(SeqCst)
}

/// Ends the counting, also after a panic.
struct Unmeter;

impl Drop for Unmeter {
    fn drop(&mut self) {
        METER.set(ptr::null_mut());
    }
}

// SAFETY: every request goes to the system's allocator as it is; what is noted beside allocates nothing and unwinds never.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        let block = unsafe { System.alloc(layout) };
        note((ptr::null_mut(), 0), (block, layout.size()));
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        note((ptr::null_mut(), 0), (block, layout.size()));
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(block, layout) };
        note((block, layout.size()), (ptr::dangling_mut(), 0));
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        let moved = unsafe { System.realloc(block, layout, size) };
        note((block, layout.size()), (moved, size));
        moved
    }
}

/// Notes that the first block, with its size, has become the second.
fn note(old: (*mut u8, usize), new: (*mut u8, usize)) {
    let meter = METER.get();
    if !meter.is_null() {
        // SAFETY: `bounded` set it, on this thread, and takes it away before it ends; nobody else looks at it meanwhile.
        unsafe { (*meter).change(old, new) };
    }
}

impl Meter {
    fn change(&mut self, (old, old_size): (*mut u8, usize), (new, new_size): (*mut u8, usize)) {
        // A block may be older than the meter.
        let used = self.used.saturating_sub(old_size).saturating_add(new_size);
        // A panic is told under locks of the whole process, and ends the work anyway.
        if (new.is_null() || (used > self.most && new_size > old_size)) && !std::thread::panicking() {
            self.stop();
        }
        self.used = used;
        if old_size >= LARGE {
            let found = self.large[..self.large_count].iter().rposition(|&(at, _)| at == old as usize);
            if let Some(found) = found {
                self.large_count -= 1;
                self.large[found] = self.large[self.large_count];
            }
        }
        if new_size >= LARGE && self.large_count < MOST_LARGE {
            self.large[self.large_count] = (new as usize, new_size);
            self.large_count += 1;
        }
    }

    fn stop(&mut self) -> ! {
        METER.set(ptr::null_mut());
        let given_back: usize = self.large[..self.large_count].iter().map(|&(at, size)| give_back(at, size)).sum();
        LOST.fetch_add(self.used.saturating_sub(given_back), SeqCst);
        // SAFETY: this thread never leaves this function, so nothing below it on the stack reads or drops what it owns.
        unsafe { (self.stop)(self.owned) };
        loop {
            std::thread::park();
        }
    }
}

/// Gives the pages of a block that nobody reads any more back to the system, and says how many bytes that were.
#[cfg(unix)]
fn give_back(at: usize, size: usize) -> usize {
    #[cfg(target_os = "linux")]
    const ADVICE: libc::c_int = libc::MADV_DONTNEED;
    #[cfg(not(target_os = "linux"))]
    const ADVICE: libc::c_int = libc::MADV_FREE;
    // SAFETY: asks for a constant of the system.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let (from, to) = (at.next_multiple_of(page), (at + size) / page * page);
    // SAFETY: whole pages inside a live block, whose only users are frames that never run again.
    let done = from < to && unsafe { libc::madvise(from as *mut libc::c_void, to - from, ADVICE) } == 0;
    if done { to - from } else { 0 }
}

/// Elsewhere the memory stays with the thread.
#[cfg(not(unix))]
fn give_back(_at: usize, _size: usize) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;

    /// Runs `work` on a thread that may hold 8 MiB; true if it came to its end.
    fn ends(work: fn()) -> bool {
        let (sender, receiver) = channel();
        let stopped = |sender: Sender<bool>| sender.send(false).expect("somebody listens");
        std::thread::spawn(move || {
            let (sender, ()) = bounded(8 << 20, sender, stopped, |_| work());
            sender.send(true).expect("somebody listens");
        });
        receiver.recv_timeout(Duration::from_secs(60)).expect("it ends or is stopped")
    }

    #[test]
    fn work_within_its_bound_ends() {
        assert!(ends(|| {
            for _ in 0..100 {
                std::hint::black_box(vec![1u8; 7 << 20]);
            }
            let mut grown = Vec::new();
            grown.resize(3 << 20, 1u8);
            std::hint::black_box(grown);
        }));
    }

    #[test]
    fn work_beyond_its_bound_is_stopped() {
        let large: fn() = || drop(std::hint::black_box(vec![0u8; 9 << 20]));
        let small: fn() = || drop(std::hint::black_box((0..9 << 10).map(|_| vec![1u8; 1 << 10]).collect::<Vec<_>>()));
        let growing: fn() = || (0..9 << 20).for_each(|_| std::hint::black_box(&mut vec![0u8; 1]).clear());
        assert!(!ends(large));
        assert!(!ends(small));
        assert!(ends(growing));
    }

    #[test]
    fn a_panic_ends_the_counting_and_drops_what_was_owned() {
        std::thread::spawn(|| {
            let owned = Arc::new(());
            let given = Arc::clone(&owned);
            let panicked = std::panic::catch_unwind(|| bounded(1 << 20, given, drop, |_| panic!("deliberate")));
            assert!(panicked.is_err());
            assert_eq!(Arc::strong_count(&owned), 1);
            std::hint::black_box(vec![1u8; 2 << 20]);
        })
        .join()
        .expect("no bound is left");
    }
}
